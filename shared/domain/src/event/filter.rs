//! Content filters: which events an endpoint gets, by what their data holds.
//!
//! A filter is a JSON object of conditions, each under the JSON pointer of its field, which must
//! all hold; and `any`, a list of such objects, of which one must. It is matched, never run: the
//! number of conditions is bounded, and each looks at one field once. `docs/events.md` has the
//! grammar in words.

use std::{borrow::Cow, cmp::Ordering, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use serde_json::{Map, Number, Value};

/// Conditions of one filter, those under `any` included; every operator is one.
pub const CONDITION_LIMIT: usize = 20;

/// Longest path of a field, in bytes.
pub const PATH_LIMIT: usize = 256;

/// Values that `in` can list.
pub const LIST_LIMIT: usize = 50;

/// Size of a filter as compact JSON, in bytes.
pub const SIZE_LIMIT: usize = 4096;

/// The one key that is no path: alternatives.
/// How much of a text `contains` looks through, in bytes.
pub const TEXT_LOOKED_THROUGH: usize = 64 * 1024;

const ANY: &str = "any";

const OPERATORS: &str = "eq, ne, in, gt, gte, lt, lte, exists, starts_with and contains";

/// What is wrong with a filter, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// JSON pointer into the filter.
    pub pointer: String,
    /// What is wrong there.
    pub detail: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.pointer, self.detail)
    }
}

impl std::error::Error for Invalid {}

/// What an endpoint asks of an event's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    all: Group,
    any: Vec<Group>,
}

/// Fields, each with what is asked of it. All of it must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Group(Vec<(String, Vec<Test>)>);

/// What is asked of one field. The values are scalars.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Eq(Value),
    Ne(Value),
    In(Vec<Value>),
    Order(Direction, Value),
    Exists(bool),
    StartsWith(String),
    Contains(Value),
}

/// On which side of a value the field must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Gt,
    Gte,
    Lt,
    Lte,
}

impl Filter {
    /// Reads a filter.
    pub fn parse(value: &Value) -> Result<Self, Invalid> {
        let refuse = |pointer: &str, detail: &str| Invalid { pointer: pointer.into(), detail: detail.into() };
        let Value::Object(fields) = value else { return Err(refuse("", "must be a JSON object")) };
        if value.to_string().len() > SIZE_LIMIT {
            return Err(refuse("", &format!("must be at most {SIZE_LIMIT} bytes long")));
        }
        let all = Group::parse(fields.iter().filter(|(key, _)| *key != ANY), "")?;
        let any = match fields.get(ANY) {
            None => Vec::new(),
            Some(Value::Array(groups)) if !groups.is_empty() => {
                let groups = groups.iter().enumerate().map(|(at, group)| {
                    let place = format!("/{ANY}/{at}");
                    match group {
                        Value::Object(fields) if !fields.is_empty() => Group::parse(fields.iter(), &place),
                        _ => Err(refuse(&place, "must be a JSON object with at least one condition")),
                    }
                });
                groups.collect::<Result<_, _>>()?
            }
            Some(_) => return Err(refuse("/any", "must be a list of objects with conditions")),
        };
        let filter = Self { all, any };
        match filter.conditions() {
            0 => Err(refuse("", "must hold at least one condition")),
            1..=CONDITION_LIMIT => Ok(filter),
            _ => Err(refuse("", &format!("must hold at most {CONDITION_LIMIT} conditions in all"))),
        }
    }

    /// Reads a filter as it is kept.
    pub fn from_text(text: &str) -> Result<Self, Invalid> {
        let value = serde_json::from_str(text);
        let odd = |_| Invalid { pointer: String::new(), detail: "must be JSON".into() };
        Self::parse(&value.map_err(odd)?)
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

    fn conditions(&self) -> usize {
        let groups = self.any.iter().chain([&self.all]);
        groups.flat_map(|group| &group.0).map(|(_, tests)| tests.len()).sum()
    }
}

impl Group {
    fn parse<'a>(
        fields: impl Iterator<Item = (&'a String, &'a Value)>,
        place: &str,
    ) -> Result<Self, Invalid> {
        let mut group = Vec::new();
        for (path, condition) in fields {
            let place = format!("{place}/{}", escaped(path));
            if let Err(why) = check_path(path) {
                return Err(Invalid { pointer: place, detail: why.into() });
            }
            group.push((path.clone(), Test::parse_all(condition, &place)?));
        }
        Ok(Self(group))
    }

    fn matches(&self, data: &Value) -> bool {
        self.0.iter().all(|(path, tests)| {
            let field = data.pointer(path);
            tests.iter().all(|test| test.holds(field))
        })
    }

    fn to_map(&self) -> Map<String, Value> {
        let condition = |tests: &[Test]| match tests {
            [Test::Eq(value)] => value.clone(),
            tests => Value::Object(tests.iter().map(Test::to_entry).collect()),
        };
        self.0.iter().map(|(path, tests)| (path.clone(), condition(tests))).collect()
    }
}

impl Test {
    /// What a field's condition asks for: a scalar alone, or operators.
    fn parse_all(condition: &Value, place: &str) -> Result<Vec<Self>, Invalid> {
        let refuse = |detail: &str| Invalid { pointer: place.to_owned(), detail: detail.to_owned() };
        match condition {
            Value::Array(_) => {
                Err(refuse("must be a value or an object of operators; for one of several, in"))
            }
            Value::Object(operators) if operators.is_empty() => {
                Err(refuse(&format!("must hold at least one operator, of {OPERATORS}")))
            }
            Value::Object(operators) => {
                let test = |(operator, operand): (&String, &Value)| {
                    Self::parse(operator, operand).map_err(|detail| Invalid {
                        pointer: format!("{place}/{}", escaped(operator)),
                        detail,
                    })
                };
                operators.iter().map(test).collect()
            }
            scalar => Ok(vec![Self::Eq(scalar.clone())]),
        }
    }

    fn parse(operator: &str, operand: &Value) -> Result<Self, String> {
        let scalar = || match operand {
            Value::Array(_) | Value::Object(_) => Err("must be a text, a number, true, false or null"),
            scalar => Ok(scalar.clone()),
        };
        let ordered = || match operand {
            Value::Number(_) | Value::String(_) => Ok(operand.clone()),
            _ => Err("must be a number or a text"),
        };
        let test = match operator {
            "eq" => Self::Eq(scalar()?),
            "ne" => Self::Ne(scalar()?),
            "in" => Self::In(list(operand)?),
            "gt" => Self::Order(Direction::Gt, ordered()?),
            "gte" => Self::Order(Direction::Gte, ordered()?),
            "lt" => Self::Order(Direction::Lt, ordered()?),
            "lte" => Self::Order(Direction::Lte, ordered()?),
            "exists" => Self::Exists(operand.as_bool().ok_or("must be true or false")?),
            "starts_with" => Self::StartsWith(operand.as_str().ok_or("must be a text")?.to_owned()),
            "contains" => Self::Contains(scalar()?),
            _ => return Err(format!("is no operator; there are {OPERATORS}")),
        };
        Ok(test)
    }

    /// A field that is missing is not equal to anything, and nothing else is true of it.
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
            Self::Exists(wanted) => *wanted,
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
            Self::Exists(wanted) => ("exists", Value::Bool(*wanted)),
            Self::StartsWith(beginning) => ("starts_with", Value::String(beginning.clone())),
            Self::Contains(value) => ("contains", value.clone()),
        };
        (operator.to_owned(), operand)
    }
}

/// As much of a text as is looked through: a payload can be a megabyte, and many endpoints can ask.
fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_LOOKED_THROUGH)]
}

fn list(operand: &Value) -> Result<Vec<Value>, String> {
    let scalar = |value: &Value| !value.is_array() && !value.is_object();
    match operand.as_array() {
        Some(values) if (1..=LIST_LIMIT).contains(&values.len()) && values.iter().all(scalar) => {
            Ok(values.clone())
        }
        _ => Err(format!("must be a list of 1 to {LIST_LIMIT} texts, numbers, true, false or null")),
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
    let whole = |rest: &str| rest.starts_with(['0', '1']);
    if !path.split('~').skip(1).all(whole) {
        return Err("must be a JSON pointer, in which ~ is written ~0 and / within a name ~1");
    }
    Ok(())
}

/// A name as a part of a JSON pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn equal(field: &Value, value: &Value) -> bool {
    match (field, value) {
        (Value::Number(a), Value::Number(b)) => compare(a, b) == Some(Ordering::Equal),
        (a, b) => a == b,
    }
}

/// How a field stands to a value of its own kind.
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

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

impl JsonSchema for Filter {
    fn schema_name() -> Cow<'static, str> {
        "Filter".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "minProperties": 1,
            "description": "Conditions on the event's data, which must all hold: under each JSON pointer into data a value, which the field must equal, or operators (eq, ne, in, gt, gte, lt, lte, exists, starts_with, contains). Under any a list of such objects, of which one must hold.",
        })
    }
}

#[cfg(test)]
mod tests;
