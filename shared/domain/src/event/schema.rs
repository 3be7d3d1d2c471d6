//! JSON Schemas of events' data (draft 2020-12), and how data violates them.
//!
//! Nothing is ever fetched: a reference that leads out of its schema is refused.
//! Patterns are matched in time that grows with the text alone, so look-around and back-references are
//! refused too.
//! `format` is an annotation, as the draft has it, and not checked.
//!
//! The crate `jsonschema` validates. Its messages are replaced here, because they repeat the data,
//! which may be private.

use std::{borrow::Cow, fmt};

use jsonschema::{
    Draft, PatternOptions, ValidationError, Validator,
    error::{TypeKind, ValidationErrorKind as Kind},
};
use schemars::{JsonSchema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Value, value::RawValue};

use crate::{
    event,
    pointer::{self, Violation},
};

/// Longest schema, in bytes.
pub const SCHEMA_LIMIT: usize = 32 * 1024;

/// Violations reported of one document at most: data of another shape altogether violates hundreds.
const VIOLATION_LIMIT: usize = 10;

/// Memory for one compiled pattern, in bytes.
const PATTERN_LIMIT: usize = 512 * 1024;

/// The draft, as a schema names it.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The text of a schema, as its author wrote it.
#[derive(Debug, Clone)]
pub struct SchemaText(Box<RawValue>);

impl SchemaText {
    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Whether it equals another, whatever their spacing and the order of their names.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let value = |text: &Self| serde_json::from_str::<Value>(text.as_str()).ok();
        self.as_str() == other.as_str() || value(self).is_some_and(|schema| Some(schema) == value(other))
    }
}

impl TryFrom<Box<RawValue>> for SchemaText {
    type Error = String;

    fn try_from(raw: Box<RawValue>) -> Result<Self, String> {
        let text = raw.get();
        if !text.starts_with('{') {
            return Err("must be a JSON object".to_owned());
        }
        if text.len() > SCHEMA_LIMIT {
            return Err(format!("must be at most {SCHEMA_LIMIT} bytes long"));
        }
        if event::is_too_deep(text) {
            return Err("must not be nested more than 100 deep".to_owned());
        }
        Ok(Self(raw))
    }
}

impl Serialize for SchemaText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SchemaText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer)?.try_into().map_err(de::Error::custom)
    }
}

impl JsonSchema for SchemaText {
    fn schema_name() -> Cow<'static, str> {
        "SchemaText".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> schemars::Schema {
        json_schema!({
            "type": "object",
            "description": "A JSON Schema of draft 2020-12, at most 32 KiB, without references to other documents.",
        })
    }
}

/// A compiled schema.
pub struct Schema(Validator);

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Schema")
    }
}

impl Schema {
    /// Compiles a schema; the pointer of a violation leads into the schema.
    pub fn compile(text: &SchemaText) -> Result<Self, Violation> {
        let schema: Value = serde_json::from_str(text.as_str())
            .map_err(|_| Violation::new("", "holds a number or a string that cannot be read"))?;
        if schema.get("$schema").is_some_and(|named| named.as_str().map(without_fragment) != Some(DRAFT)) {
            return Err(Violation::new("/$schema", format!("must be {DRAFT}, or be left out")));
        }
        check_references(&schema, &mut String::new())?;
        let patterns = PatternOptions::regex().size_limit(PATTERN_LIMIT).dfa_size_limit(PATTERN_LIMIT);
        let validator = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .with_pattern_options(patterns)
            .should_validate_formats(false)
            .offline()
            .build(&schema);
        validator.map(Self).map_err(|error| {
            let detail = match error.kind() {
                Kind::Referencing(_) => "holds a reference to something that is not in the schema".to_owned(),
                Kind::Format { .. } | Kind::Pattern { .. } => {
                    "must be a regular expression, without look-around and back-references".to_owned()
                }
                _ => format!("is not valid in JSON Schema: {}", words(&error)),
            };
            Violation::new(error.instance_path().as_str(), detail)
        })
    }

    /// What is wrong with `data`; the pointers lead into the data.
    #[must_use]
    pub fn violations(&self, data: &Value) -> Vec<Violation> {
        let violation =
            |error: ValidationError| Violation::new(error.instance_path().as_str(), words(&error));
        self.0.iter_errors(data).take(VIOLATION_LIMIT).map(violation).collect()
    }
}

/// An empty fragment changes nothing about a name.
fn without_fragment(name: &str) -> &str {
    name.strip_suffix('#').unwrap_or(name)
}

/// Refuses references that lead out of the schema, which `pointer` leads to.
fn check_references(schema: &Value, pointer: &mut String) -> Result<(), Violation> {
    let mut check = |name: &str, value: &Value| {
        let parent = pointer.len();
        pointer::push(pointer, name);
        let is_reference = matches!(name, "$ref" | "$dynamicRef");
        if is_reference && value.as_str().is_some_and(|target| !target.starts_with('#')) {
            let detail = "must begin with #: a reference must stay within the schema";
            return Err(Violation::new(pointer.as_str(), detail));
        }
        check_references(value, pointer)?;
        pointer.truncate(parent);
        Ok(())
    };
    match schema {
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| check(name, value)),
        Value::Array(items) => {
            items.iter().enumerate().try_for_each(|(index, value)| check(&index.to_string(), value))
        }
        _ => Ok(()),
    }
}

/// An error in words: the keyword and what the schema requires, and nothing of the data.
fn words(error: &ValidationError) -> String {
    let kind = error.kind();
    let requirement = match kind {
        Kind::Type { kind: TypeKind::Single(expected) } => format!("must be of type {expected}"),
        Kind::Type { kind: TypeKind::Multiple(expected) } => {
            let expected: Vec<_> = expected.iter().map(|expected| expected.to_string()).collect();
            format!("must be of type {}", expected.join(" or "))
        }
        Kind::Required { property } => format!("must have the property {property}"),
        Kind::AdditionalProperties { .. } | Kind::UnevaluatedProperties { .. } => {
            "has a property that the schema does not allow".to_owned()
        }
        Kind::PropertyNames { .. } => "has a property whose name the schema does not allow".to_owned(),
        Kind::AdditionalItems { .. } | Kind::UnevaluatedItems { .. } => {
            "has an item that the schema does not allow".to_owned()
        }
        Kind::Constant { .. } => "must be the value that the schema requires".to_owned(),
        Kind::Enum { .. } => "must be one of the values that the schema lists".to_owned(),
        Kind::Minimum { limit } => format!("must be at least {limit}"),
        Kind::Maximum { limit } => format!("must be at most {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("must be greater than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("must be less than {limit}"),
        Kind::MultipleOf { multiple_of } => format!("must be a multiple of {multiple_of}"),
        Kind::MinLength { limit } => format!("must be at least {limit} characters long"),
        Kind::MaxLength { limit } => format!("must be at most {limit} characters long"),
        Kind::MinItems { limit } => format!("must have at least {limit} items"),
        Kind::MaxItems { limit } => format!("must have at most {limit} items"),
        Kind::MinProperties { limit } => format!("must have at least {limit} properties"),
        Kind::MaxProperties { limit } => format!("must have at most {limit} properties"),
        Kind::UniqueItems => "must not have the same item twice".to_owned(),
        Kind::Contains => "has no item that the schema requires".to_owned(),
        Kind::Pattern { .. } => "does not match the pattern of the schema".to_owned(),
        Kind::AnyOf { .. } | Kind::OneOfNotValid { .. } => {
            "matches none of the alternatives of the schema".to_owned()
        }
        Kind::OneOfMultipleValid { .. } => "matches more than one alternative of the schema".to_owned(),
        Kind::FalseSchema => return "must be absent".to_owned(),
        _ => "violates the schema".to_owned(),
    };
    format!("{requirement} ({})", kind.keyword())
}

#[cfg(test)]
mod tests;
