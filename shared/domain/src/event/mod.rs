//! Events: their types and data, the catalog, the filters that select them, and the bytes that are signed and sent.
//!
//! Where an event goes is decided in `endpoint`, and its way there in `delivery`.

pub mod catalog;
pub mod channel;
pub mod explain;
pub mod filter;
pub mod listen;
pub mod payload;
pub mod schema;

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::{
    Timestamp,
    event::channel::{Channel, Channels},
    text::serde_as_text,
};

/// Longest event type, in bytes.
const TYPE_LIMIT: usize = 128;

/// Why a text is not an event type or a filter on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidType {
    /// Not an event type.
    Type,
    /// Not a filter.
    Filter,
}

impl fmt::Display for InvalidType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Type => "must be words of A-Z a-z 0-9 _ - [ ] joined by full stops, such as contact.created, 128 characters at most",
            Self::Filter => "must be an event type, or its beginning and an asterisk, such as contact.*, or * alone",
        })
    }
}

impl std::error::Error for InvalidType {}

/// What kind of thing happened: `contact.created`, `stripe.invoice.paid`.
///
/// Words joined by full stops, as Standard Webhooks 1.0.0 advises; brackets are let through
/// because Stripe's v2 types have them (`v2.core.account[requirements].updated`).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EventType(String);

impl EventType {
    /// The type as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for EventType {
    type Err = InvalidType;

    fn from_str(text: &str) -> Result<Self, InvalidType> {
        let word = |word: &str| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'[' | b']'))
        };
        if text.len() <= TYPE_LIMIT && text.split('.').all(word) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidType::Type)
        }
    }
}

/// Which event types an endpoint listens to: one type, a beginning (`contact.*`), or all (`*`).
#[derive(Clone, PartialEq, Eq)]
pub struct EventTypeFilter(String);

impl EventTypeFilter {
    /// Whether every type passes.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.0 == "*"
    }

    /// Whether it names one type and no others.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        !self.0.ends_with('*')
    }

    /// Whether `event_type` passes. `contact.*` passes every type below `contact`, at any depth.
    #[must_use]
    pub fn matches(&self, event_type: &EventType) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => event_type.0.starts_with(beginning),
            None => event_type.0 == self.0,
        }
    }
}

impl fmt::Display for EventTypeFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for EventTypeFilter {
    type Err = InvalidType;

    fn from_str(text: &str) -> Result<Self, InvalidType> {
        let fixed = text.strip_suffix(".*").unwrap_or(text);
        if text == "*" || fixed.parse::<EventType>().is_ok() {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidType::Filter)
        }
    }
}

serde_as_text!(EventType, {
    "maxLength": TYPE_LIMIT,
    "pattern": r"^[A-Za-z0-9_\[\]-]+(\.[A-Za-z0-9_\[\]-]+)*$",
    "description": "Words joined by full stops.",
    "examples": ["contact.created"],
});
serde_as_text!(EventTypeFilter, {
    "maxLength": TYPE_LIMIT,
    "pattern": r"^(\*|[A-Za-z0-9_\[\]-]+(\.[A-Za-z0-9_\[\]-]+)*(\.\*)?)$",
    "description": "An event type, all below one (`contact.*`), or all (`*`).",
    "examples": ["contact.*"],
});

/// The object an event carries, kept byte for byte as it came (no number or key order changes).
#[derive(Debug, Clone)]
pub struct EventData(Box<RawValue>);

impl EventData {
    /// An object without anything in it.
    #[must_use]
    pub fn empty() -> Self {
        // An empty map can always be written.
        Self(serde_json::value::to_raw_value(&serde_json::Map::new()).unwrap_or_default())
    }

    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// The same as a value, to look into. None where it holds more than [`VALUES_LIMIT`] values, or
    /// what JSON allows and we cannot compute with: a number beyond all floats, half of a character.
    #[must_use]
    pub fn to_value(&self) -> Option<serde_json::Value> {
        if self.has_too_many_values() { None } else { serde_json::from_str(self.0.get()).ok() }
    }

    /// Whether it holds too many values to filter or validate.
    #[must_use]
    pub fn has_too_many_values(&self) -> bool {
        // Every value but the first of its list or object has a comma before it.
        let values = outside_texts(self.0.get()).filter(|byte| matches!(byte, b'{' | b'[' | b',')).count();
        values > VALUES_LIMIT
    }

    /// The JSON value, for a response.
    #[must_use]
    pub fn as_raw(&self) -> &RawValue {
        &self.0
    }
}

impl TryFrom<Box<RawValue>> for EventData {
    type Error = &'static str;

    fn try_from(raw: Box<RawValue>) -> Result<Self, &'static str> {
        if !raw.get().starts_with('{') {
            return Err("must be a JSON object");
        }
        if is_too_deep(raw.get()) {
            return Err("must not be nested more than 100 deep");
        }
        Ok(Self(raw))
    }
}

/// Values of an event's data that filters and schemas look into. An object is some 640 bytes in
/// memory, and functions have 128 MB: a megabyte of small objects would be as much.
pub const VALUES_LIMIT: usize = 20_000;

/// How deep objects and arrays may lie in each other: more than anyone means, and less than the
/// parsers of receivers give up at, of which 128 is a common limit.
const DEPTH_LIMIT: u32 = 100;

/// Whether a valid JSON text is nested too deeply.
pub(crate) fn is_too_deep(json: &str) -> bool {
    depth(json) > DEPTH_LIMIT
}

/// How deep a valid JSON text is nested.
fn depth(json: &str) -> u32 {
    let (mut deepest, mut depth) = (0, 0u32);
    for byte in outside_texts(json) {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// The bytes of a valid JSON text that are not within its texts.
fn outside_texts(json: &str) -> impl Iterator<Item = u8> {
    let (mut in_text, mut escaped) = (false, false);
    json.bytes().filter(move |byte| match byte {
        _ if escaped => {
            escaped = false;
            false
        }
        b'\\' if in_text => {
            escaped = true;
            false
        }
        b'"' => {
            in_text = !in_text;
            false
        }
        _ => !in_text,
    })
}

impl Serialize for EventData {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for EventData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer)?.try_into().map_err(de::Error::custom)
    }
}

impl JsonSchema for EventData {
    fn schema_name() -> Cow<'static, str> {
        "EventData".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "description": "The event's own object, passed on byte for byte." })
    }
}

/// The body of every webhook of this event: the bytes that are stored, signed and sent.
///
/// `{"type", "timestamp", "data"}` is the payload structure of Standard Webhooks 1.0.0.
#[must_use]
pub fn payload(event_type: &EventType, timestamp: Timestamp, data: &EventData) -> String {
    // The grammar of types leaves nothing in them that JSON would have to escape.
    format!(r#"{{"type":"{event_type}","timestamp":"{timestamp}","data":{}}}"#, data.as_str())
}

/// What makes two publishings under one idempotency key the same: a hash of all that was said.
/// `timestamp` is the one the client gave, if it gave one.
#[must_use]
pub fn fingerprint(
    event_type: &EventType,
    timestamp: Option<Timestamp>,
    data: &EventData,
    channels: &Channels,
) -> [u8; 32] {
    let timestamp = timestamp.map(|at| at.to_string()).unwrap_or_default();
    let mut hash = Sha256::new();
    // Without channels it is what it was before there were any.
    let channels = channels.iter().map(Channel::as_str);
    for part in [event_type.as_str(), &timestamp, data.as_str()].into_iter().chain(channels) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests;
