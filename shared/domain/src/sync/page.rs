//! A page of a third party's records: how it is requested, and what is in it.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{Timestamp, client::Call, listing};

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestTarget {
    /// A path of the API with a query.
    Path {
        /// The path, filled in, with a slash at its beginning.
        path: String,
        /// The query without its question mark, percent-encoded.
        query: String,
    },
    /// The URL that the API gave for the next page. It is used byte for byte.
    Link(String),
}

/// A request for a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// The call that it is.
    pub call: Call,
    /// Where it goes.
    pub target: RequestTarget,
}

/// Whether a record is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// It is, and this is what is shown of it.
    Live(Value),
    /// An occurrence of a series that was taken out: it stays known for as long as its series lives, and this is what is
    /// shown of it.
    Excluded(Value),
    /// It is not, or may not be shown.
    Gone,
}

/// A record as a page has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// The third party's id of the record.
    pub key: String,
    /// The third party's version of it, where it has one.
    pub version: Option<String>,
    /// Whether it is there.
    pub presence: Presence,
    /// When it changed, where the third party says so; feeds that are ordered by it continue from the greatest.
    pub modified_at: Option<Timestamp>,
}

/// A page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Its records.
    pub records: Vec<Incoming>,
    /// Where the next page is; nothing on the last one.
    pub next: Option<String>,
    /// From where the next pass reads, on the last page of feeds that say so.
    pub position: Option<String>,
    /// Records that could not be read, with the reason; they are skipped and counted.
    pub unreadable: Vec<MalformedPage>,
}

/// Why a page, or a record of it, cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MalformedPage {
    /// The field.
    pub field: &'static str,
}

/// The hash of what is shown of a record, by which a change is recognised.
#[must_use]
pub fn content_hash(shown: &Value) -> String {
    let digest = Sha256::digest(listing::without_signed_links(shown).to_string());
    data_encoding::BASE64URL_NOPAD.encode(digest.get(..16).unwrap_or(&digest))
}
