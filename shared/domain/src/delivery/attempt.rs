//! One attempt as it is kept and shown: its outcome, how long its parts took, which of the response's
//! headers are kept, and how much of its body.
//!
//! An update bills the whole item, so every byte kept is paid for on each later attempt. A delivery
//! that succeeds at once is to stay within one write unit, 1 KiB: what is kept of a success shares
//! [`SUCCESS_ROOM`]. A failure keeps more, since a person has to fix it.

use std::{borrow::Cow, collections::BTreeMap};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::outcome::{Failure, Outcome, in_words};
use crate::Timestamp;

/// Longest excerpt of a response, in bytes: of the last attempt, where that failed.
pub const EXCERPT_LIMIT: usize = 4096;

/// Longest excerpt of earlier attempts, in bytes.
pub const EARLIER_EXCERPT_LIMIT: usize = 512;

/// What a success keeps of its response, headers and excerpt together, in bytes as they are stored.
pub const SUCCESS_ROOM: usize = 512;

/// What a success keeps of its response's headers, in bytes as they are stored.
const SUCCESS_HEADERS_ROOM: usize = 160;

/// What a failure keeps of its response's headers, in bytes as they are stored.
const FAILURE_HEADERS_ROOM: usize = 512;

/// Longest value of a header that is kept, in bytes.
const VALUE_LIMIT: usize = 200;

/// The headers of a response that are kept, the most useful first: the room may not do for all.
/// They say when to come again, where the thing went, what the response is, under which name the
/// receiver and the proxies before it have logged it, who responded, and by which clock. Cookies and
/// what has to do with credentials are never kept.
pub const KEPT_HEADERS: [&str; 20] = [
    "retry-after",
    "location",
    "allow",
    "content-type",
    "x-request-id",
    "request-id",
    "x-correlation-id",
    "x-amzn-requestid",
    "x-amzn-errortype",
    "x-amz-cf-id",
    "cf-ray",
    "x-vercel-id",
    "fly-request-id",
    "x-cloud-trace-context",
    "traceresponse",
    "server",
    "date",
    "content-length",
    "content-encoding",
    "via",
];

/// One HTTP try, as it is kept and shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// Counted from 1.
    pub number: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u32,
    /// Whether the request was sent, in whole or in part. `false`: it never was, so the receiver
    /// cannot have it: there was no address, no connection, or no TLS, or the address may not be
    /// called.
    #[serde(default = "was_sent")]
    pub sent: bool,
    /// How long its parts took; null where that was not measured.
    #[serde(default)]
    pub timing: Option<Timing>,
    /// The HTTP status code, if the endpoint responded.
    #[serde(default)]
    pub status_code: Option<u16>,
    /// What went wrong; absent on success.
    #[serde(default)]
    pub failure: Option<Failure>,
    /// The same in words.
    #[serde(default)]
    pub error: Option<String>,
    /// Those of the response's headers that are kept.
    #[serde(default)]
    pub response_headers: BTreeMap<String, String>,
    /// The beginning of the response's body: at most 512 bytes, or 4 KiB of the last attempt where
    /// that failed.
    #[serde(default)]
    pub response_excerpt: Option<String>,
}

impl Attempt {
    /// The record of `outcome`, without its details.
    #[must_use]
    pub fn new(number: u32, started_at: Timestamp, duration_ms: u32, outcome: &Outcome) -> Self {
        let (status_code, failure, excerpt) = match outcome {
            Outcome::Response { status, excerpt, .. } => {
                let failure = (!outcome.is_success()).then_some(Failure::HttpStatus);
                (Some(*status), failure, (!excerpt.is_empty()).then(|| excerpt.clone()))
            }
            Outcome::Failed(failure) => (None, Some(*failure), None),
        };
        Self {
            number,
            started_at,
            duration_ms,
            sent: true,
            timing: None,
            status_code,
            failure,
            error: in_words(status_code, failure, true),
            response_headers: BTreeMap::new(),
            response_excerpt: excerpt,
        }
    }

    /// The same with its details. A success keeps less of its response.
    #[must_use]
    pub fn with_details(mut self, details: AttemptDetails) -> Self {
        self.sent = details.sent;
        self.error = in_words(self.status_code, self.failure, self.sent);
        self.timing = Some(details.timing);
        self.response_headers = details.headers;
        if self.failure.is_none()
            && let Some(excerpt) = &mut self.response_excerpt
        {
            excerpt.truncate(success_excerpt(excerpt, &self.response_headers).len());
        }
        self
    }
}

/// What a stored attempt is that does not say otherwise.
fn was_sent() -> bool {
    true
}

/// How long the parts of an attempt took, in milliseconds. They follow each other; what is missing
/// to the whole is the response's body, and what was spent on a connection that broke. A part of the
/// way to a connection that was not over when the attempt failed counts up to then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Timing {
    /// Whether the request was sent on a connection that was there before. Look-up, connection and
    /// TLS are then null.
    #[serde(default)]
    pub reused: bool,
    /// Finding the host's addresses; null where the host is an address.
    #[serde(default)]
    pub dns_ms: Option<u32>,
    /// Making the connection.
    #[serde(default)]
    pub connect_ms: Option<u32>,
    /// The TLS handshake; null over plain http.
    #[serde(default)]
    pub tls_ms: Option<u32>,
    /// From then on, or on a reused connection from the beginning, to the end of the response's head:
    /// the request, and the receiver's own time. Null where no response came.
    #[serde(default)]
    pub first_byte_ms: Option<u32>,
}

/// The details of an attempt beside its outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttemptDetails {
    /// Whether any byte of the request was written to a connection.
    pub sent: bool,
    /// How long its parts took.
    pub timing: Timing,
    /// The response's headers, as [`kept_headers`] chose them.
    pub headers: BTreeMap<String, String>,
}

/// Chooses the headers that are kept of a response with this status. `value` gives the first value
/// of a header.
pub fn kept_headers<'a>(status: u16, value: impl Fn(&str) -> Option<&'a [u8]>) -> BTreeMap<String, String> {
    let mut room = if (200..300).contains(&status) { SUCCESS_HEADERS_ROOM } else { FAILURE_HEADERS_ROOM };
    let mut kept = BTreeMap::new();
    for name in KEPT_HEADERS {
        let Some(text) = value(name).map(String::from_utf8_lossy) else { continue };
        let text = match name {
            "location" if !(300..400).contains(&status) && status != 201 => continue,
            // What follows the path may be a secret: a token, a state.
            "location" => Cow::Borrowed(text.split(['?', '#']).next().unwrap_or_default()),
            _ => Cow::Borrowed(&*text),
        };
        let text = fitting(&text, VALUE_LIMIT);
        let Some(left) = room.checked_sub(header_len(name, text)) else { continue };
        room = left;
        kept.insert(name.to_owned(), text.to_owned());
    }
    kept
}

/// The excerpt that a success keeps beside these headers.
#[must_use]
pub fn success_excerpt<'a>(text: &'a str, headers: &BTreeMap<String, String>) -> &'a str {
    let headers: usize = headers.iter().map(|(name, value)| header_len(name, value)).sum();
    fitting(text, SUCCESS_ROOM.saturating_sub(headers))
}

/// The beginning of `text` that takes at most `room` bytes in JSON, cut between characters.
#[must_use]
pub fn fitting(text: &str, room: usize) -> &str {
    let mut used = 0;
    let end = text.char_indices().find(|(_, char)| {
        used += json_len(*char);
        used > room
    });
    end.map_or(text, |(index, _)| &text[..index])
}

/// Bytes of a header in JSON: `"name":"value",`.
fn header_len(name: &str, value: &str) -> usize {
    name.len() + value.chars().map(json_len).sum::<usize>() + 6
}

/// Bytes of a character within a text of JSON (RFC 8259, section 7), as serde writes it.
fn json_len(char: char) -> usize {
    match char {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        _ => char.len_utf8(),
    }
}

#[cfg(test)]
mod tests;
