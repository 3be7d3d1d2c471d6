//! A change to a value that may be missing: unchanged, cleared, or set.
//!
//! JSON merge patch has the same three cases (RFC 7396, section 2): absent, null, a value.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};

/// A change to one field. In a body of JSON, null clears it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// It is left out: it does not change.
    #[default]
    Absent,
    /// It is null: it is reset to its default.
    Clear,
    /// It has a value.
    Set(T),
}

impl<T> Patch<T> {
    /// The change that leaves exactly this.
    #[must_use]
    pub fn to(value: Option<T>) -> Self {
        value.map_or(Self::Clear, Self::Set)
    }

    /// The new value, where there is one.
    #[must_use]
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Absent | Self::Clear => None,
        }
    }

    /// The same change to a value that is parsed or checked further.
    pub fn try_map<U, E>(self, map: impl FnOnce(T) -> Result<U, E>) -> Result<Patch<U>, E> {
        Ok(match self {
            Self::Absent => Patch::Absent,
            Self::Clear => Patch::Clear,
            Self::Set(value) => Patch::Set(map(value)?),
        })
    }

    /// The new value, where null means this default; `None` where nothing changes.
    #[must_use]
    pub fn or_cleared_to(self, default: impl FnOnce() -> T) -> Option<T> {
        match self {
            Self::Absent => None,
            Self::Clear => Some(default()),
            Self::Set(value) => Some(value),
        }
    }

    /// Makes the change.
    pub fn apply(self, field: &mut Option<T>) {
        match self {
            Self::Absent => {}
            Self::Clear => *field = None,
            Self::Set(value) => *field = Some(value),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::to(Option::deserialize(deserializer)?))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Body {
        #[serde(default)]
        field: Patch<u32>,
    }

    #[test]
    fn a_field_is_absent_null_or_a_value() {
        for (text, expected, after) in [
            ("{}", Patch::Absent, Some(1)),
            (r#"{"field":null}"#, Patch::Clear, None),
            (r#"{"field":7}"#, Patch::Set(7), Some(7)),
        ] {
            let patch = serde_json::from_str::<Body>(text).unwrap().field;
            assert_eq!(patch, expected, "{text}");
            let mut field = Some(1);
            patch.apply(&mut field);
            assert_eq!(field, after, "{text}");
        }
        assert!(serde_json::from_str::<Body>(r#"{"field":"7"}"#).is_err());
    }
}
