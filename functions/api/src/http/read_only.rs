//! Fields that PATCH ignores.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::IgnoredAny};

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
        #[serde(default, rename = "id")]
        _id: ReadOnly,
    }

    #[test]
    fn a_field_is_ignored_whatever_its_value() {
        for text in ["{}", r#"{"id":null}"#, r#"{"id":{"a":[1,null]}}"#] {
            assert!(serde_json::from_str::<Body>(text).is_ok(), "{text}");
        }
        assert!(serde_json::from_str::<Body>(r#"{"other":1}"#).is_err());
    }
}
