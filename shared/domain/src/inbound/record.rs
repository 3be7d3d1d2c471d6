//! What is kept of an inbound request: enough to see what came, why it was refused, and to read its events again.
//!
//! Signatures, tokens and what looks like one are left out, since the record is shown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Provider,
    engine::VerifiedRecord,
    reading::{Origin, Place, Request, percent_decoded},
    table::Table,
};
use crate::{EventId, InboundRequestId, SourceId, TenantId, Timestamp, event::EventType, text::text_enum};

/// The text in the place of a value that is not kept.
pub const REDACTED: &str = "[redacted]";

/// Events of a request that are named in its record: a row has room for no more than a few thousand.
pub const RECORDED_EVENT_COUNT_LIMIT: usize = 200;

/// Bytes of a header, or of the query, that are kept of a refused request.
const REFUSED_TEXT_LIMIT: usize = 200;

/// Malformed items of which the reason is kept.
pub const MALFORMED_ITEM_COUNT_LIMIT: usize = 20;

text_enum! {
    /// The outcome of an inbound request.
    pub enum RequestStatus {
        /// It was verified, and its events were published.
        Accepted = "accepted",
        /// It was verified, and holds no event: a ping, or a batch without items.
        Ignored = "ignored",
        /// It was verified, but none of its events could be read.
        Malformed = "malformed",
        /// It was refused. Neither its body nor its events are kept.
        Refused = "refused",
    }
}

/// An event of an inbound request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedEvent {
    /// Which one.
    pub id: EventId,
    /// Its type.
    pub event_type: EventType,
    /// Whether it was new, and not a repeat.
    pub new: bool,
    /// Whose it is, where it is not the source's tenant: an account of the provider is mapped to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
}

/// An item of a batch that holds no event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedFault {
    /// Its place in the batch, from 0.
    pub index: usize,
    /// What is wrong with it.
    pub detail: String,
}

/// An inbound request, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// Which one.
    pub id: InboundRequestId,
    /// Where it came in.
    pub source_id: SourceId,
    /// Who sent it.
    pub provider: Provider,
    /// Its outcome.
    pub status: RequestStatus,
    /// Why it was refused, or holds no event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The method.
    pub method: String,
    /// The query, with secrets redacted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub query: String,
    /// The headers, with secrets redacted.
    pub headers: BTreeMap<String, String>,
    /// The sender's address, as the edge saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ip: Option<String>,
    /// Bytes of the body.
    pub body_size: usize,
    /// Which of the source's secrets matched, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_index: Option<usize>,
    /// Milliseconds from the signed time to the request's arrival.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<i64>,
    /// How many events it holds, the repeated ones too.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub event_count: usize,
    /// The first of them, and those of replays.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<RecordedEvent>,
    /// Items that hold no event, the first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub malformed_items: Vec<RecordedFault>,
    /// How many items hold no event.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub malformed_item_count: usize,
    /// How many of these are too large for a webhook.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub too_large_count: usize,
    /// How many items carried no valid token.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unverified_item_count: usize,
    /// What the verification found; nothing of a refused request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<VerifiedRecord>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl RequestRecord {
    /// When it came in.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        self.id.created_at()
    }

    /// Makes it the record of a refused request, of which less is kept: a stranger chooses its size.
    pub fn refuse(&mut self, reason: &str) {
        self.status = RequestStatus::Refused;
        self.reason = Some(reason.to_owned());
        for text in self.headers.values_mut().chain([&mut self.query]) {
            text.truncate(text.floor_char_boundary(REFUSED_TEXT_LIMIT));
        }
    }
}

/// What the names of headers and parameters hold that carry secrets.
const SECRET_WORDS: &[&str] =
    &["auth", "cookie", "sig", "secret", "token", "pass", "pwd", "hmac", "credential", "key", "code", "jwt"];

/// The headers of a request as they are kept. One that holds a signature or a token is redacted, unless it is no more
/// than a part of an event, such as an id.
#[must_use]
pub fn redacted_headers(table: &Table, request: &Request<'_>) -> BTreeMap<String, String> {
    let kept = |name: &str| -> String {
        let value = request.header(name).unwrap_or_default();
        let is_header = |origin: &Origin| match origin {
            Origin::Header(header) => header == name,
            Origin::Headers(beginning) => name.starts_with(beginning.as_str()),
            _ => false,
        };
        if is_secret(table, name, is_header) { REDACTED.to_owned() } else { value.into_owned() }
    };
    request.headers.iter().map(|(name, _)| ((*name).to_owned(), kept(name))).collect()
}

/// The query of a request as it is kept. The values of signatures and tokens are redacted.
#[must_use]
pub fn redacted_query(table: &Table, request: &Request<'_>) -> String {
    let kept = |pair: &str| -> String {
        // Without a name it can be anything.
        let Some((name, _)) = pair.split_once('=') else { return REDACTED.to_owned() };
        // Places have decoded names.
        let decoded = percent_decoded(name, true).unwrap_or_default();
        let is_query = |origin: &Origin| matches!(origin, Origin::Query(query) if *query == decoded);
        if is_secret(table, &decoded, is_query) { format!("{name}={REDACTED}") } else { pair.to_owned() }
    };
    request.query.split('&').filter(|pair| !pair.is_empty()).map(kept).collect::<Vec<_>>().join("&")
}

fn is_secret(table: &Table, name: &str, is_it: impl Fn(&Origin) -> bool) -> bool {
    let is_in = |place: &Place| place.origins().any(&is_it);
    let signatures = table.scheme.methods.iter().map(|method| &method.signature.from);
    let tokens = table.challenges.iter().filter_map(|challenge| challenge.verify_token.as_ref());
    if signatures.chain(tokens).any(is_in) {
        return true;
    }
    let is_read =
        table.event_places().any(is_in) || table.events.data_headers.iter().any(|header| header == name);
    let lower = name.to_ascii_lowercase();
    !is_read && SECRET_WORDS.iter().any(|word| lower.contains(word))
}

#[cfg(test)]
mod tests;
