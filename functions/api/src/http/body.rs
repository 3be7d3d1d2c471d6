//! Bodies: JSON into types, and errors that point at the field.

use std::{fmt, marker::PhantomData, ops::RangeInclusive};

use domain::{endpoint::egress::Allow, pointer};
use platform::lambda::problem::{Kind, Problem};
use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_path_to_error::{Path, Segment};
use url::Url;

use super::unreadable::{self, Flaw};

/// Reads a body. The types reject unknown fields.
pub(crate) fn parse<T: DeserializeOwned>(content_type: Option<&str>, bytes: &[u8]) -> Result<T, Problem> {
    if let Some(content_type) = content_type {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            return Err(Problem::header(
                Kind::UnsupportedMediaType,
                "Content-Type",
                "must be application/json",
            ));
        }
    }
    if bytes.trim_ascii().is_empty() {
        let detail = "the body is empty; it must be a JSON object, at least {}";
        return Err(Problem::new(Kind::InvalidRequest, detail));
    }
    // For a struct, serde would accept an array of its fields too.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(Problem::field(Kind::InvalidField, "", "must be a JSON object"));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let pointer = pointer_to(error.path());
        let inner = error.into_inner();
        match inner.classify() {
            serde_json::error::Category::Data => Problem::field(Kind::InvalidField, pointer, words(&inner)),
            // serde reports as errors of syntax what JSON allows and it has no value for, and null
            // for an enum.
            _ => match json_text(bytes) {
                Some(text) => {
                    let Flaw { pointer, reason } = unreadable::flaw(text, &pointer)
                        .unwrap_or(Flaw { pointer, reason: "has a value that cannot be read" });
                    Problem::field(Kind::InvalidField, pointer, reason)
                }
                None => Problem::new(Kind::InvalidRequest, format!("the body is not JSON: {inner}")),
            },
        }
    })?;
    json.end()
        .map_err(|error| Problem::new(Kind::InvalidRequest, format!("the body is not JSON: {error}")))?;
    Ok(value)
}

/// The text of a body that is JSON.
fn json_text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    serde_json::from_str::<IgnoredAny>(text).is_ok().then_some(text)
}

/// The error without the position in the text, which the pointer shows better, and without the
/// value, which may be a secret.
fn words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = text.strip_suffix(&place).unwrap_or(&text);
    let Some((found, expected)) = text.rsplit_once(", expected ") else { return text.to_owned() };
    if found.starts_with("unknown field") {
        return format!("unknown field; expected {expected}");
    }
    let expected = match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number",
        "a sequence" => "an array",
        "a map" => "an object",
        // The names of our types mean nothing to clients.
        other if other.starts_with("struct ") => "a JSON object",
        other => other,
    };
    format!("must be {expected}")
}

/// A path as a JSON pointer (RFC 6901).
fn pointer_to(path: &Path) -> String {
    path.iter().fold(String::new(), |parent, segment| match segment {
        Segment::Seq { index } => pointer::member(&parent, &index.to_string()),
        Segment::Map { key } => pointer::member(&parent, key),
        Segment::Enum { .. } | Segment::Unknown => parent,
    })
}

/// Rejects null for a field that has no default to reset to.
pub(crate) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Rejects a number outside its range.
pub(crate) fn within(pointer: &str, value: u32, range: RangeInclusive<u32>) -> Result<(), Problem> {
    if range.contains(&value) {
        return Ok(());
    }
    let detail = format!("must be a whole number from {} to {}", range.start(), range.end());
    Err(Problem::field(Kind::InvalidField, pointer, detail))
}

/// A value that must be an object. For a struct, serde would accept an array of its fields too.
#[derive(Debug, Default)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfFields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OfFields<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(OfFields(PhantomData)).map(Self)
    }
}

/// A body without fields.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// A name: 1 to 200 characters.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(!try_from)]
pub(crate) struct Name(#[schemars(length(min = 1, max = 200), regex(pattern = r"\S"))] String);

impl Name {
    pub(crate) fn into_inner(self) -> String {
        self.0
    }
}

impl TryFrom<String> for Name {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let text = text.trim();
        if (1..=200).contains(&text.chars().count()) {
            Ok(Self(text.to_owned()))
        } else {
            Err("must be 1 to 200 characters")
        }
    }
}

/// A description, which can be empty: at most 1000 characters.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(!try_from)]
pub(crate) struct Description(#[schemars(length(max = 1000))] String);

impl Description {
    pub(crate) fn into_inner(self) -> String {
        self.0
    }
}

impl TryFrom<String> for Description {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        if text.chars().count() <= 1000 { Ok(Self(text)) } else { Err("must be at most 1000 characters") }
    }
}

/// An address on the web that others call or open, and not this service; over http only on the local stack.
///
/// # Errors
/// What it must be, as the end of a sentence.
pub(crate) fn web_url(text: &str, allow: &Allow) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    match url.scheme() {
        "https" => {}
        // The local stack has no certificate.
        "http" if !allow.is_empty() => {}
        _ => return Err("must begin with https://".to_owned()),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not contain a user or a password".to_owned());
    }
    Ok(url)
}

#[cfg(test)]
mod tests;
