//! JSON Schemas of events' data: draft 2020-12, whole in themselves, and what data is wrong in.
//!
//! Nothing is ever fetched: a reference leads within the schema, or the schema is refused. Patterns
//! are matched in time that grows with the text alone, so look-around and back-references are
//! refused too. `format` is a remark, as the draft has it, and not checked.

use std::{borrow::Cow, fmt};

use jsonschema::{
    Draft, PatternOptions, ValidationError, Validator,
    error::{TypeKind, ValidationErrorKind as Kind},
};
use schemars::{JsonSchema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Value, value::RawValue};

use crate::event;

/// Longest schema, in bytes.
pub const SCHEMA_LIMIT: usize = 32 * 1024;

/// What is said of one publish at most: who sent something else altogether need not read all of it.
const VIOLATIONS: usize = 10;

/// Memory for one compiled pattern, in bytes.
const PATTERN_LIMIT: usize = 512 * 1024;

/// The draft, as a schema names it.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// JSON pointer into the data, or into the schema.
    pub pointer: String,
    /// What is wrong there. It repeats the schema's words and never the data's.
    pub detail: String,
}

impl Violation {
    /// Something is wrong.
    #[must_use]
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }

    /// The same, seen from where its document lies in another.
    #[must_use]
    pub fn within(self, place: &str) -> Self {
        Self { pointer: format!("{place}{}", self.pointer), ..self }
    }
}

/// The text of a schema, as its author wrote it.
#[derive(Debug, Clone)]
pub struct SchemaText(Box<RawValue>);

impl SchemaText {
    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Whether it says the same as another: neither spacing nor the order of names counts.
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

/// A schema, ready to be asked.
pub struct Schema(Validator);

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Schema")
    }
}

impl Schema {
    /// Makes a schema ready; the pointer of what is wrong leads into the schema.
    pub fn compile(text: &SchemaText) -> Result<Self, Violation> {
        let schema: Value = serde_json::from_str(text.as_str())
            .map_err(|_| Violation::new("", "holds a number or a text that cannot be read"))?;
        if schema.get("$schema").is_some_and(|named| named.as_str().map(without_end) != Some(DRAFT)) {
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
                Kind::Referencing(_) => "holds a reference that leads nowhere in the schema".to_owned(),
                Kind::Format { .. } | Kind::Pattern { .. } => {
                    "must be a regular expression, without look-around and back-references".to_owned()
                }
                _ => format!("is not as JSON Schema wants it: {}", words(&error)),
            };
            Violation::new(error.instance_path().as_str(), detail)
        })
    }

    /// What is wrong with `data`; the pointers lead into the data.
    #[must_use]
    pub fn violations(&self, data: &Value) -> Vec<Violation> {
        let said = |error: ValidationError| Violation::new(error.instance_path().as_str(), words(&error));
        self.0.iter_errors(data).take(VIOLATIONS).map(said).collect()
    }
}

/// An empty fragment changes nothing about a name.
fn without_end(name: &str) -> &str {
    name.strip_suffix('#').unwrap_or(name)
}

/// Refuses references that lead out of the schema.
fn check_references(schema: &Value, place: &mut String) -> Result<(), Violation> {
    let mut step = |name: &str, value: &Value| {
        let before = place.len();
        place.push('/');
        place.push_str(&name.replace('~', "~0").replace('/', "~1"));
        let is_reference = matches!(name, "$ref" | "$dynamicRef");
        if is_reference && value.as_str().is_some_and(|target| !target.starts_with('#')) {
            return Err(Violation::new(
                place.clone(),
                "must begin with #: references lead within the schema alone",
            ));
        }
        check_references(value, place)?;
        place.truncate(before);
        Ok(())
    };
    match schema {
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| step(name, value)),
        Value::Array(items) => {
            items.iter().enumerate().try_for_each(|(at, value)| step(&at.to_string(), value))
        }
        _ => Ok(()),
    }
}

/// An error in words. They name the keyword and what the schema says, and repeat nothing of the
/// data, which may be private.
fn words(error: &ValidationError) -> String {
    let kind = error.kind();
    let said = match kind {
        Kind::Type { kind: TypeKind::Single(wanted) } => format!("must be of type {wanted}"),
        Kind::Type { kind: TypeKind::Multiple(wanted) } => {
            let wanted: Vec<_> = wanted.iter().map(|wanted| wanted.to_string()).collect();
            format!("must be of type {}", wanted.join(" or "))
        }
        Kind::Required { property } => format!("must have the property {property}"),
        Kind::AdditionalProperties { .. } | Kind::UnevaluatedProperties { .. } => {
            "has a property that the schema does not allow".to_owned()
        }
        Kind::PropertyNames { .. } => "has a property whose name the schema does not allow".to_owned(),
        Kind::AdditionalItems { .. } | Kind::UnevaluatedItems { .. } => {
            "has an item that the schema does not allow".to_owned()
        }
        Kind::Constant { .. } => "must be the value that the schema wants".to_owned(),
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
        Kind::Contains => "does not hold what the schema wants among the items".to_owned(),
        Kind::Pattern { .. } => "does not match the pattern of the schema".to_owned(),
        Kind::AnyOf { .. } | Kind::OneOfNotValid { .. } => "is none of what the schema allows".to_owned(),
        Kind::OneOfMultipleValid { .. } => "is more than one of what the schema allows".to_owned(),
        Kind::FalseSchema => return "must not be there".to_owned(),
        _ => "is not as the schema wants it".to_owned(),
    };
    format!("{said} ({})", kind.keyword())
}

#[cfg(test)]
mod tests;
