//! An endpoint's own headers: what a tenant may have sent with each of its webhooks.
//!
//! Syntax: RFC 9110, sections 5.1, 5.5 and 5.6.2. Refused is what we set ourselves, and what
//! steers a connection or says how the body is framed or coded: setting those beside us makes
//! two servers read one request as two.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, de::IgnoredAny};

use crate::Secret;

/// How many headers an endpoint may have.
pub const HEADER_LIMIT: usize = 20;
/// Longest name, in bytes.
pub const NAME_LIMIT: usize = 128;
/// Longest value, in bytes: bearer tokens that hold claims exceed 1 KiB.
pub const VALUE_LIMIT: usize = 4096;
/// All names and values together, in bytes. Servers take 8 KiB of head and more (Tomcat 8 KiB, Node
/// and IIS 16 KiB, nginx and Apache 8 KiB a line), and our own headers and the URL's path are in it too.
pub const TOTAL_LIMIT: usize = 6144;

/// What is shown in place of a value that may be a secret.
pub const REDACTED: &str = "[redacted]";

/// Names that are refused.
const RESERVED: [&str; 17] = [
    // Ours.
    "content-length",
    "content-type",
    "tenant-id",
    "user-agent",
    // The connection's own (RFC 9110, section 7.6.1; RFC 9113, section 8.2.2).
    "connection",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    // Where a request goes, whether its body is waited for, and how bodies are coded: we send and
    // read them plain.
    "host",
    "expect",
    "accept-encoding",
    "content-encoding",
    "content-range",
    "content-transfer-encoding",
];

/// Beginnings of names that are refused: ours, and what is between a client and its proxy.
const RESERVED_PREFIXES: [&str; 4] = ["webhook-", "svix-", "core-webhooks-", "proxy-"];

/// Parts of names whose values are secrets.
const SENSITIVE: [&str; 8] =
    ["auth", "cookie", "credential", "key", "password", "secret", "signature", "token"];

/// Headers that were checked, by lower-case name, in its order.
///
/// A cookie is one of them: it is how some gateways know their callers, and to us a text like any
/// other, since we keep none of those that are set.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CustomHeaders(BTreeMap<String, Secret>);

/// Why headers are refused. Names the header, never repeats a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvalidHeaders {
    /// There are more than [`HEADER_LIMIT`].
    TooMany,
    /// They are longer than [`TOTAL_LIMIT`].
    TooLong,
    /// A name that is none: not a token, or too long.
    Name(String),
    /// A name that is ours or the connection's.
    Reserved(String),
    /// A name that was given twice.
    Twice(String),
    /// A value that is none.
    Value(String),
}

impl fmt::Display for InvalidHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => write!(f, "at most {HEADER_LIMIT} headers"),
            Self::TooLong => write!(f, "names and values together exceed {TOTAL_LIMIT} bytes"),
            Self::Name(name) => write!(
                f,
                "{name:?}: a name has 1 to {NAME_LIMIT} of A-Z a-z 0-9 ! # $ % & ' * + - . ^ _ ` | ~"
            ),
            Self::Reserved(name) => write!(f, "{name:?} is reserved"),
            Self::Twice(name) => write!(f, "{name:?} appears twice"),
            Self::Value(name) => write!(
                f,
                "{name:?}: a value has 1 to {VALUE_LIMIT} visible characters of ASCII, with spaces and tabs only inside"
            ),
        }
    }
}

impl std::error::Error for InvalidHeaders {}

impl CustomHeaders {
    /// Checks names and values.
    ///
    /// # Errors
    /// [`InvalidHeaders`] says which is refused first.
    pub fn new(given: impl IntoIterator<Item = (String, String)>) -> Result<Self, InvalidHeaders> {
        let mut headers = BTreeMap::new();
        let mut total = 0;
        for (name, value) in given {
            let value = Secret::new(value);
            if headers.len() == HEADER_LIMIT {
                return Err(InvalidHeaders::TooMany);
            }
            let name = checked_name(&name)?;
            if !is_value(value.expose()) {
                return Err(InvalidHeaders::Value(name));
            }
            total += name.len() + value.expose().len();
            if total > TOTAL_LIMIT {
                return Err(InvalidHeaders::TooLong);
            }
            if headers.contains_key(&name) {
                return Err(InvalidHeaders::Twice(name));
            }
            headers.insert(name, value);
        }
        Ok(Self(headers))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values. Where they are shown, those that are [sensitive](is_sensitive) are not.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

/// Whether a header's value is to be kept from sight, by its name in any case.
#[must_use]
pub fn is_sensitive(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SENSITIVE.iter().any(|part| name.contains(part))
}

fn checked_name(name: &str) -> Result<String, InvalidHeaders> {
    let token = name.bytes().take_while(|byte| is_token(*byte)).count();
    if !(1..=NAME_LIMIT).contains(&name.len()) || token < name.len() {
        // No more than its good beginning: this may be a whole line, value and all.
        return Err(InvalidHeaders::Name(name[..token.min(NAME_LIMIT)].to_owned()));
    }
    let name = name.to_ascii_lowercase();
    let reserved =
        RESERVED.contains(&&*name) || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    if reserved { Err(InvalidHeaders::Reserved(name)) } else { Ok(name) }
}

/// The characters of a token (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// RFC 9110, section 5.5, without what it calls obsolete, and not empty.
fn is_value(value: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_graphic());
    let mut bytes = value.bytes();
    value.len() <= VALUE_LIMIT
        && edge(value.bytes().next())
        && edge(value.bytes().next_back())
        && bytes.all(|byte| byte.is_ascii_graphic() || byte == b' ' || byte == b'\t')
}

impl TryFrom<BTreeMap<String, String>> for CustomHeaders {
    type Error = InvalidHeaders;

    fn try_from(given: BTreeMap<String, String>) -> Result<Self, InvalidHeaders> {
        Self::new(given)
    }
}

impl fmt::Debug for CustomHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.0).finish()
    }
}

impl Serialize for CustomHeaders {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for CustomHeaders {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Visitor)
    }
}

/// Reads pair by pair: a map would drop the first of two equal names.
struct Visitor;

/// serde's own words about a value that is no text would repeat it.
#[derive(Deserialize)]
#[serde(untagged)]
enum HeaderInput {
    Text(String),
    Other(IgnoredAny),
}

impl<'de> de::Visitor<'de> for Visitor {
    type Value = CustomHeaders;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of names and strings")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<CustomHeaders, A::Error> {
        let mut given = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, HeaderInput>()? {
            if given.len() == HEADER_LIMIT {
                return Err(de::Error::custom(InvalidHeaders::TooMany));
            }
            // No text is refused as the empty one is, and its name is checked before.
            given.push((name, if let HeaderInput::Text(text) = value { text } else { String::new() }));
        }
        CustomHeaders::new(given).map_err(de::Error::custom)
    }
}

impl JsonSchema for CustomHeaders {
    fn schema_name() -> Cow<'static, str> {
        "CustomHeaders".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "maxProperties": HEADER_LIMIT,
            "propertyNames": { "maxLength": NAME_LIMIT, "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$" },
            "additionalProperties": {
                "type": "string", "maxLength": VALUE_LIMIT, "pattern": "^[!-~]([ \\t!-~]*[!-~])?$",
            },
            "description": "Headers that are sent with each webhook, by name.",
            "examples": [{ "x-region": "west" }],
        })
    }
}

#[cfg(test)]
mod tests;
