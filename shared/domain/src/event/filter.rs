//! Content filters: which events an endpoint receives, by what their data holds.
//!
//! A filter is a JSON object of conditions, each under the JSON pointer of its field; all must hold.
//! Under `any` is a list of such objects, of which one must hold.
//! `docs/events.md` has the grammar in words.
//!
//! Written by hand because a filter must be matched, never run: a tenant writes it, and every publish
//! pays for it. Here the number of conditions is bounded and each looks at one field once, which no
//! query language promises.

use std::{borrow::Cow, cmp::Ordering, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use serde_json::{Map, Number, Value};

use crate::pointer::{self, Violation};

/// Conditions of one filter, those under `any` included; every operator is one.
pub const CONDITION_LIMIT: usize = 20;

/// Longest path of a field, in bytes.
pub const PATH_LIMIT: usize = 256;

/// Values that `in` can list.
pub const LIST_LIMIT: usize = 50;

/// Size of a filter as compact JSON, in bytes.
pub const SIZE_LIMIT: usize = 4096;

/// How much of a string `contains` searches, in bytes: a payload can be a megabyte, and many endpoints
/// can filter it.
const SEARCH_LIMIT: usize = 64 * 1024;

/// The one key that is not a path: alternatives.
const ANY: &str = "any";

const OPERATORS: &str = "eq, ne, in, gt, gte, lt, lte, exists, starts_with, contains";

/// The conditions under which an endpoint receives an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentFilter {
    all: ConditionGroup,
    any: Vec<ConditionGroup>,
}

/// The conditions of each field, by its path. All must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct ConditionGroup(Vec<(String, Vec<Condition>)>);

/// One condition on a field. The values are scalars.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    Eq(Value),
    Ne(Value),
    In(Vec<Value>),
    Order(Direction, Value),
    Exists(bool),
    StartsWith(String),
    Contains(Value),
}

/// A condition that an event's data does not fulfil. It names neither the value of the data nor that of the filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FailedCondition {
    /// JSON pointer into the filter, to the field's conditions.
    pub pointer: String,
    /// JSON pointer into the event's data, to the field.
    pub path: String,
    /// The operator, such as `eq`.
    pub operator: String,
    /// What the data has there.
    pub found: FieldKind,
}

impl fmt::Display for FailedCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, operator, found, .. } = self;
        match found {
            FieldKind::Missing => write!(f, "{path} is missing, so {operator} does not hold"),
            found => write!(f, "{operator} does not hold for {path}, which is {}", found.words()),
        }
    }
}

/// The kind of a value in an event's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FieldKind {
    /// The data lacks the field.
    Missing,
    /// null.
    Null,
    /// true or false.
    Boolean,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl FieldKind {
    fn of(field: Option<&Value>) -> Self {
        match field {
            None => Self::Missing,
            Some(Value::Null) => Self::Null,
            Some(Value::Bool(_)) => Self::Boolean,
            Some(Value::Number(_)) => Self::Number,
            Some(Value::String(_)) => Self::String,
            Some(Value::Array(_)) => Self::Array,
            Some(Value::Object(_)) => Self::Object,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Null => "null",
            Self::Boolean => "a boolean",
            Self::Number => "a number",
            Self::String => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
}

/// On which side of a value the field must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Gt,
    Gte,
    Lt,
    Lte,
}

impl ContentFilter {
    /// Reads a filter.
    pub fn parse(value: &Value) -> Result<Self, Violation> {
        let refuse = |pointer: &str, detail: &str| Err(Violation::new(pointer, detail));
        let Value::Object(fields) = value else { return refuse("", "must be a JSON object") };
        if value.to_string().len() > SIZE_LIMIT {
            return refuse("", &format!("must be at most {SIZE_LIMIT} bytes long"));
        }
        let all = ConditionGroup::parse(fields.iter().filter(|(key, _)| *key != ANY), "")?;
        let any = match fields.get(ANY) {
            None => Vec::new(),
            Some(Value::Array(groups)) if !groups.is_empty() => {
                let groups = groups.iter().enumerate().map(|(index, group)| {
                    let pointer = format!("/{ANY}/{index}");
                    match group {
                        Value::Object(fields) if !fields.is_empty() => {
                            ConditionGroup::parse(fields.iter(), &pointer)
                        }
                        _ => {
                            Err(Violation::new(pointer, "must be a JSON object with at least one condition"))
                        }
                    }
                });
                groups.collect::<Result<_, _>>()?
            }
            Some(_) => return refuse("/any", "must be an array of objects with conditions"),
        };
        let filter = Self { all, any };
        match filter.conditions() {
            0 => refuse("", "must hold at least one condition"),
            1..=CONDITION_LIMIT => Ok(filter),
            _ => refuse("", &format!("must hold at most {CONDITION_LIMIT} conditions in all")),
        }
    }

    /// Reads a filter as it is stored.
    pub fn from_text(text: &str) -> Result<Self, Violation> {
        let value = serde_json::from_str(text).map_err(|_| Violation::new("", "must be JSON"))?;
        Self::parse(&value)
    }

    /// The filter as JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut fields = self.all.to_map();
        if !self.any.is_empty() {
            let groups = self.any.iter().map(|group| Value::Object(group.to_map()));
            fields.insert(ANY.to_owned(), groups.collect());
        }
        Value::Object(fields)
    }

    /// Whether an event with this data passes.
    #[must_use]
    pub fn matches(&self, data: &Value) -> bool {
        self.all.matches(data) && (self.any.is_empty() || self.any.iter().any(|group| group.matches(data)))
    }

    /// The conditions that this data does not fulfil: each one beside `any`, and where no alternative of `any` holds, the
    /// first of each. None where the data passes.
    #[must_use]
    pub fn failures(&self, data: &Value) -> Vec<FailedCondition> {
        let mut failures: Vec<_> = self.all.failures(data, "").collect();
        if !self.any.is_empty() && !self.any.iter().any(|group| group.matches(data)) {
            let alternatives = self.any.iter().enumerate();
            failures.extend(
                alternatives
                    .filter_map(|(index, group)| group.failures(data, &format!("/{ANY}/{index}")).next()),
            );
        }
        failures
    }

    fn conditions(&self) -> usize {
        let groups = self.any.iter().chain([&self.all]);
        groups.flat_map(|group| &group.0).map(|(_, conditions)| conditions.len()).sum()
    }
}

impl ConditionGroup {
    fn parse<'a>(
        fields: impl Iterator<Item = (&'a String, &'a Value)>,
        parent: &str,
    ) -> Result<Self, Violation> {
        let mut group = Vec::new();
        for (path, condition) in fields {
            let pointer = pointer::member(parent, path);
            if let Err(reason) = check_path(path) {
                return Err(Violation::new(pointer, reason));
            }
            group.push((path.clone(), Condition::parse_all(condition, &pointer)?));
        }
        Ok(Self(group))
    }

    fn matches(&self, data: &Value) -> bool {
        self.0.iter().all(|(path, conditions)| {
            let field = data.pointer(path);
            conditions.iter().all(|condition| condition.holds(field))
        })
    }

    fn failures<'a>(
        &'a self,
        data: &'a Value,
        parent: &'a str,
    ) -> impl Iterator<Item = FailedCondition> + 'a {
        self.0.iter().flat_map(move |(path, conditions)| {
            let field = data.pointer(path);
            conditions.iter().filter(move |condition| !condition.holds(field)).map(move |condition| {
                FailedCondition {
                    pointer: pointer::member(parent, path),
                    path: path.clone(),
                    operator: condition.to_entry().0,
                    found: FieldKind::of(field),
                }
            })
        })
    }

    fn to_map(&self) -> Map<String, Value> {
        let to_value = |conditions: &[Condition]| match conditions {
            [Condition::Eq(value)] => value.clone(),
            conditions => Value::Object(conditions.iter().map(Condition::to_entry).collect()),
        };
        self.0.iter().map(|(path, conditions)| (path.clone(), to_value(conditions))).collect()
    }
}

impl Condition {
    /// The conditions of one field: a scalar alone, or operators.
    fn parse_all(condition: &Value, pointer: &str) -> Result<Vec<Self>, Violation> {
        let refuse = |detail: &str| Violation::new(pointer, detail);
        match condition {
            Value::Array(_) => {
                Err(refuse("must be a value or an object of operators; use in for one of several values"))
            }
            Value::Object(operators) if operators.is_empty() => {
                Err(refuse(&format!("must hold at least one operator: {OPERATORS}")))
            }
            Value::Object(operators) => {
                let parse = |(operator, operand): (&String, &Value)| {
                    Self::parse(operator, operand)
                        .map_err(|detail| Violation::new(pointer::member(pointer, operator), detail))
                };
                operators.iter().map(parse).collect()
            }
            scalar => Ok(vec![Self::Eq(scalar.clone())]),
        }
    }

    fn parse(operator: &str, operand: &Value) -> Result<Self, String> {
        let scalar = || match operand {
            Value::Array(_) | Value::Object(_) => Err("must be a string, number, boolean or null"),
            scalar => Ok(scalar.clone()),
        };
        let ordered = || match operand {
            Value::Number(_) | Value::String(_) => Ok(operand.clone()),
            _ => Err("must be a number or a string"),
        };
        let condition = match operator {
            "eq" => Self::Eq(scalar()?),
            "ne" => Self::Ne(scalar()?),
            "in" => Self::In(list(operand)?),
            "gt" => Self::Order(Direction::Gt, ordered()?),
            "gte" => Self::Order(Direction::Gte, ordered()?),
            "lt" => Self::Order(Direction::Lt, ordered()?),
            "lte" => Self::Order(Direction::Lte, ordered()?),
            "exists" => Self::Exists(operand.as_bool().ok_or("must be true or false")?),
            "starts_with" => Self::StartsWith(operand.as_str().ok_or("must be a string")?.to_owned()),
            "contains" => Self::Contains(scalar()?),
            _ => return Err(format!("unknown operator; expected one of {OPERATORS}")),
        };
        Ok(condition)
    }

    /// A missing field differs from every value and fulfils no other condition.
    fn holds(&self, field: Option<&Value>) -> bool {
        let Some(field) = field else { return matches!(self, Self::Ne(_) | Self::Exists(false)) };
        match self {
            Self::Eq(value) => equal(field, value),
            Self::Ne(value) => !equal(field, value),
            Self::In(values) => values.iter().any(|value| equal(field, value)),
            Self::Order(direction, value) => order(field, value).is_some_and(|order| match direction {
                Direction::Gt => order.is_gt(),
                Direction::Gte => order.is_ge(),
                Direction::Lt => order.is_lt(),
                Direction::Lte => order.is_le(),
            }),
            Self::Exists(expected) => *expected,
            Self::StartsWith(beginning) => field.as_str().is_some_and(|text| text.starts_with(beginning)),
            Self::Contains(value) => match (field, value) {
                (Value::Array(members), value) => members.iter().any(|member| equal(member, value)),
                (Value::String(text), Value::String(part)) => beginning(text).contains(part.as_str()),
                _ => false,
            },
        }
    }

    fn to_entry(&self) -> (String, Value) {
        let (operator, operand) = match self {
            Self::Eq(value) => ("eq", value.clone()),
            Self::Ne(value) => ("ne", value.clone()),
            Self::In(values) => ("in", values.iter().cloned().collect()),
            Self::Order(Direction::Gt, value) => ("gt", value.clone()),
            Self::Order(Direction::Gte, value) => ("gte", value.clone()),
            Self::Order(Direction::Lt, value) => ("lt", value.clone()),
            Self::Order(Direction::Lte, value) => ("lte", value.clone()),
            Self::Exists(expected) => ("exists", Value::Bool(*expected)),
            Self::StartsWith(beginning) => ("starts_with", Value::String(beginning.clone())),
            Self::Contains(value) => ("contains", value.clone()),
        };
        (operator.to_owned(), operand)
    }
}

/// The part of a string that is searched.
fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(SEARCH_LIMIT)]
}

fn list(operand: &Value) -> Result<Vec<Value>, String> {
    let scalar = |value: &Value| !value.is_array() && !value.is_object();
    match operand.as_array() {
        Some(values) if (1..=LIST_LIMIT).contains(&values.len()) && values.iter().all(scalar) => {
            Ok(values.clone())
        }
        _ => Err(format!("must be an array of 1 to {LIST_LIMIT} strings, numbers, booleans or null")),
    }
}

/// A path is a JSON pointer (RFC 6901) to a field.
fn check_path(path: &str) -> Result<(), &'static str> {
    if !path.starts_with('/') {
        return Err("must be a JSON pointer into data, such as /address/zip, or any");
    }
    if path.len() > PATH_LIMIT {
        return Err("must be at most 256 bytes long");
    }
    let is_escaped = |after_tilde: &str| after_tilde.starts_with(['0', '1']);
    if !path.split('~').skip(1).all(is_escaped) {
        return Err("must be a JSON pointer, in which ~ is written ~0 and / within a name ~1");
    }
    Ok(())
}

fn equal(field: &Value, value: &Value) -> bool {
    match (field, value) {
        (Value::Number(a), Value::Number(b)) => compare(a, b) == Some(Ordering::Equal),
        (a, b) => a == b,
    }
}

/// The order of a field and a value, where both are numbers or both are strings.
fn order(field: &Value, value: &Value) -> Option<Ordering> {
    match (field, value) {
        (Value::Number(a), Value::Number(b)) => compare(a, b),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

/// Compares numbers by their value: 1 is 1.0, and no whole number is rounded for it.
fn compare(a: &Number, b: &Number) -> Option<Ordering> {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        (Some(whole), None) => compare_whole(whole, b.as_f64()?),
        (None, Some(whole)) => compare_whole(whole, a.as_f64()?).map(Ordering::reverse),
        (None, None) => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

fn compare_whole(whole: i128, float: f64) -> Option<Ordering> {
    // Whole numbers of JSON lie within 64 bits, so a float beyond 2^65 is beyond them all, and
    // within that its whole part is exact in 128 bits.
    const BEYOND: f64 = 36_893_488_147_419_103_232.0;
    if float.is_nan() {
        return None;
    }
    if float.abs() >= BEYOND {
        return Some(if float > 0.0 { Ordering::Less } else { Ordering::Greater });
    }
    #[allow(clippy::cast_possible_truncation, reason = "whole and within 2^65")]
    let floor = float.floor() as i128;
    let fraction = || if float > float.floor() { Ordering::Less } else { Ordering::Equal };
    Some(whole.cmp(&floor).then_with(fraction))
}

impl Serialize for ContentFilter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

impl JsonSchema for ContentFilter {
    fn schema_name() -> Cow<'static, str> {
        "ContentFilter".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "minProperties": 1,
            "description": "Conditions on the event's data, all of which must hold: under each JSON pointer into data, a value that the field must equal, or operators (eq, ne, in, gt, gte, lt, lte, exists, starts_with, contains). Under any, an array of such objects, of which one must hold.",
        })
    }
}

#[cfg(test)]
mod tests;
