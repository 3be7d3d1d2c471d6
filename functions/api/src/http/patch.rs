//! Fields of PATCH bodies: absent, cleared or set; and those that PATCH ignores.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::IgnoredAny};

/// A field that null resets to its default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Patch<T> {
    /// It is left out: it does not change.
    #[default]
    Absent,
    /// It is null: it is reset to its default.
    Clear,
    /// It has a value.
    Set(T),
}

impl<T> Patch<T> {
    /// The new value, or nothing if the field does not change; the inner `None` clears it.
    #[allow(clippy::option_option, reason = "as the store's edits have it")]
    pub(crate) fn into_change(self) -> Option<Option<T>> {
        match self {
            Self::Absent => None,
            Self::Clear => Some(None),
            Self::Set(value) => Some(Some(value)),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Clear, Self::Set))
    }
}

impl<T: JsonSchema> JsonSchema for Patch<T> {
    fn inline_schema() -> bool {
        Option::<T>::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        Option::<T>::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        Option::<T>::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Option::<T>::json_schema(generator)
    }
}

/// A field of responses that PATCH accepts and ignores, so that what GET returns can be sent back.
#[derive(Debug, Default)]
pub(crate) struct ReadOnly;

impl<'de> Deserialize<'de> for ReadOnly {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

impl JsonSchema for ReadOnly {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ReadOnly".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "readOnly": true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        #[serde(default)]
        field: Patch<u32>,
        #[serde(default, rename = "id")]
        _id: ReadOnly,
    }

    #[test]
    fn a_field_is_absent_null_or_a_value() {
        for (text, expected) in [
            ("{}", Patch::Absent),
            (r#"{"field":null}"#, Patch::Clear),
            (r#"{"field":7}"#, Patch::Set(7)),
            (r#"{"id":{"a":[1,null]}}"#, Patch::Absent),
        ] {
            assert_eq!(serde_json::from_str::<Body>(text).unwrap().field, expected, "{text}");
        }
        for text in [r#"{"field":"7"}"#, r#"{"other":1}"#] {
            assert!(serde_json::from_str::<Body>(text).is_err(), "{text}");
        }
    }
}
