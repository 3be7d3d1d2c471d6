//! The words of a challenge's row: when it must be signed, what its value may be, and what is sent back.

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::{ChallengeReply, Table};
use crate::{Secret, inbound::engine};

/// Whether a challenge must be signed as an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignatureRule {
    /// It never is.
    Never,
    /// Where it has a signature, that must be valid.
    IfPresent,
    /// It must be.
    Required,
}

/// The form that a challenge's value must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guard {
    /// A UUID (RFC 9562), in any case.
    Uuid,
    /// 1 to 64 letters, digits, `_` and `-`.
    Identifier,
    /// 1 to 256 visible ASCII characters.
    Visible,
}

impl Guard {
    /// Whether a value has this form.
    #[must_use]
    pub fn allows(self, value: &str) -> bool {
        match self {
            Self::Uuid => {
                let groups: Vec<_> = value.split('-').collect();
                groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
                    && groups.concat().bytes().all(|byte| byte.is_ascii_hexdigit())
            }
            Self::Identifier => {
                (1..=64).contains(&value.len())
                    && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
            }
            Self::Visible => {
                (1..=256).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic())
            }
        }
    }

    /// Whether no value of this form is the signed text of an event: that has braces, colons or an equals sign.
    pub(super) fn excludes_events(self) -> bool {
        matches!(self, Self::Uuid | Self::Identifier)
    }
}

/// A response with words: `{value}` as it is, `{value_json}` as a JSON text, and `{hmac}`, the HMAC-SHA256 of the value
/// in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplyTemplate {
    /// The status code.
    pub status: u16,
    /// The content type of the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// A header with the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_header: Option<String>,
    /// The body.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub body: String,
}

impl ReplyTemplate {
    /// Whether it contains the value, or what is made of it.
    pub(super) fn uses_value(&self) -> bool {
        self.value_header.is_some() || self.body.contains("{value") || self.signs()
    }

    /// Whether it signs the value.
    pub(super) fn signs(&self) -> bool {
        self.body.contains("{hmac}")
    }

    /// The response; `None` where it must sign and there is no key.
    pub(super) fn fill(&self, value: &str, table: &Table, secrets: &[Secret]) -> Option<ChallengeReply> {
        let hmac = if self.signs() { hmac(value, table, secrets)? } else { String::new() };
        let json = serde_json::Value::from(value).to_string();
        // One pass: a value that contains a word must not be filled in turn.
        let mut body = String::new();
        let mut rest = self.body.as_str();
        while let Some(begin) = rest.find('{') {
            let (before, tail) = rest.split_at(begin);
            body.push_str(before);
            let words = [("{value}", value), ("{value_json}", json.as_str()), ("{hmac}", hmac.as_str())];
            let word = words.iter().find(|(word, _)| tail.starts_with(word));
            // A brace that begins no word stays.
            let (length, text) = word.map_or((1, "{"), |(word, text)| (word.len(), *text));
            body.push_str(text);
            rest = &tail[length..];
        }
        body.push_str(rest);
        // The value is a stranger's: no browser may guess another type.
        let mut headers = vec![("x-content-type-options".to_owned(), "nosniff".to_owned())];
        headers.extend(self.content_type.iter().map(|kind| ("content-type".to_owned(), kind.clone())));
        headers.extend(self.value_header.iter().map(|name| (name.clone(), value.to_owned())));
        Some(ChallengeReply { status: self.status, headers, body })
    }
}

/// Signed with the newest secret, which the provider has as well.
fn hmac(value: &str, table: &Table, secrets: &[Secret]) -> Option<String> {
    let method = table.scheme.methods.first()?;
    let key = engine::key(&method.key, method.algorithm, secrets.first()?.expose())?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    mac.update(value.as_bytes());
    Some(HEXLOWER.encode(&mac.finalize().into_bytes()))
}
