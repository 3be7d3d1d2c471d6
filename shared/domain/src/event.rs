//! Events: their types, the filters on types, and the bytes that are signed and sent.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::{
    Timestamp,
    channel::{Channel, Channels},
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
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventTypeFilter(String);

impl EventTypeFilter {
    /// Whether every type passes.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.0 == "*"
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

macro_rules! serde_as_text {
    ($name:ident, $pattern:literal, $example:literal, $description:literal) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string", "maxLength": TYPE_LIMIT, "pattern": $pattern,
                    "description": $description, "examples": [$example],
                })
            }
        }
    };
}

serde_as_text!(
    EventType,
    r"^[A-Za-z0-9_\[\]-]+(\.[A-Za-z0-9_\[\]-]+)*$",
    "contact.created",
    "Words joined by full stops."
);
serde_as_text!(
    EventTypeFilter,
    r"^(\*|[A-Za-z0-9_\[\]-]+(\.[A-Za-z0-9_\[\]-]+)*(\.\*)?)$",
    "contact.*",
    "An event type, all below one (`contact.*`), or all (`*`)."
);

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

    /// Whether it holds more values than are looked into.
    #[must_use]
    pub fn has_too_many_values(&self) -> bool {
        // Every value but the first of its list or object has a comma before it.
        let values = outside_texts(self.0.get()).filter(|byte| matches!(byte, b'{' | b'[' | b',')).count();
        values > VALUES_LIMIT
    }

    /// The JSON value, for an answer.
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

/// Whether a valid JSON text is nested deeper than is taken.
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
mod tests {
    use super::*;

    #[test]
    fn types_and_filters_are_parsed() {
        for (text, is_type, is_filter) in [
            ("contact.created", true, true),
            ("stripe.v2.core.account[requirements].updated", true, true),
            ("contact", true, true),
            ("contact.*", false, true),
            ("*", false, true),
            ("", false, false),
            ("contact.", false, false),
            (".contact", false, false),
            ("con tact", false, false),
            ("contact*", false, false),
            ("*.created", false, false),
            ("contact.*.created", false, false),
            ("contact\"", false, false),
        ] {
            assert_eq!(text.parse::<EventType>().is_ok(), is_type, "{text}");
            assert_eq!(text.parse::<EventTypeFilter>().is_ok(), is_filter, "{text}");
        }
        assert!("a".repeat(129).parse::<EventType>().is_err());
    }

    #[test]
    fn only_so_many_values_are_looked_into() {
        let limit = VALUES_LIMIT;
        let list = |members: usize| format!(r#"{{"a":[{}]}}"#, vec!["0"; members].join(","));
        for (json, looked_into) in [
            (r#"{"a":",,[[{{"}"#.to_owned(), true),
            (list(limit - 1), true),
            (list(limit + 1), false),
            (format!(r#"{{"a":"{}"}}"#, ",".repeat(limit + 1)), true),
        ] {
            let data: EventData = serde_json::from_str(&json).unwrap();
            assert_eq!(data.to_value().is_some(), looked_into, "{} bytes", json.len());
        }
        assert_eq!(EventData::empty().as_str(), "{}");
    }

    #[test]
    fn filters_match_whole_words() {
        let matches = |filter: &str, event_type: &str| {
            filter.parse::<EventTypeFilter>().unwrap().matches(&event_type.parse().unwrap())
        };
        assert!(matches("*", "contact.created"));
        assert!(matches("contact.*", "contact.created"));
        assert!(matches("contact.*", "contact.email.changed"));
        assert!(matches("contact.created", "contact.created"));
        assert!(!matches("contact.*", "contact"));
        assert!(!matches("contact.*", "contacts.created"));
        assert!(!matches("contact.created", "contact.created.late"));
    }

    #[test]
    fn data_keeps_its_bytes() {
        let text = r#"{"b": 1.50,  "a":12345678901234567890, "ü":"\u00fc"}"#;
        let data: EventData = serde_json::from_str(text).unwrap();
        let body = payload(&"a.b".parse().unwrap(), Timestamp::from_millis(0), &data);
        assert_eq!(body, format!(r#"{{"type":"a.b","timestamp":"1970-01-01T00:00:00.000Z","data":{text}}}"#));
        for text in ["1", "[]", "null", "\"x\"", "{", "{\"a\":01}"] {
            assert!(serde_json::from_str::<EventData>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn nesting_has_an_end() {
        let nested = |levels: usize| format!("{{\"x\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        let read = |text: &str| serde_json::from_str::<EventData>(text).map(|_| ());
        assert!(read(&nested(99)).is_ok());
        assert!(read(&nested(100)).unwrap_err().to_string().contains("nested"));
        assert!(read(&nested(50_000)).is_err());
        // Brackets in texts are not nesting, whatever stands before them.
        let text = format!(r#"{{"a":"{}","b":"\"{}","c":"\\"}}"#, "[".repeat(500), "{".repeat(500));
        assert_eq!(depth(&text), 1);
        assert!(read(&text).is_ok());
    }

    #[test]
    fn fingerprints_differ_where_bodies_do() {
        let on = |kind: &str, at: Option<i64>, data: &str, channels: &[&str]| {
            fingerprint(
                &kind.parse().unwrap(),
                at.map(Timestamp::from_millis),
                &serde_json::from_str(data).unwrap(),
                &channels.iter().map(|name| name.parse().unwrap()).collect(),
            )
        };
        let print = |kind: &str, at: Option<i64>, data: &str| on(kind, at, data, &[]);
        let first = print("a.b", None, "{}");
        assert_eq!(first, print("a.b", None, "{}"));
        assert_ne!(first, print("a.c", None, "{}"));
        assert_ne!(first, print("a.b", Some(0), "{}"));
        assert_ne!(first, print("a.b", None, "{ }"));
        assert_ne!(first, on("a.b", None, "{}", &["x"]));
        assert_eq!(on("a.b", None, "{}", &["x", "y"]), on("a.b", None, "{}", &["y", "x", "y"]));
        assert_ne!(on("a.b", None, "{}", &["xy"]), on("a.b", None, "{}", &["x", "y"]));
        // As it was before events could have channels: what was published then is known again.
        let known = "3b0d9e825e08bcd33f3c59b975f9b517afb1c9fb37f62c0b0ef2ba8763b091da";
        assert_eq!(crate::key::hex(&first), known);
    }
}
