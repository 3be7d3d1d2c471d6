//! Attributes as they are read and written.

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{Timestamp, delivery::Retention};

use super::Item;
use crate::Fault;

pub(crate) fn malformed(attribute: &str) -> Fault {
    Fault::new("reading the events table", format!("the attribute {attribute} is missing or malformed"))
}

pub(crate) fn text<'a>(item: &'a Item, name: &str) -> Result<&'a str, Fault> {
    item.get(name).and_then(|value| value.as_s().ok()).map(String::as_str).ok_or_else(|| malformed(name))
}

pub(crate) fn parsed<T: std::str::FromStr>(item: &Item, name: &str) -> Result<T, Fault> {
    text(item, name)?.parse().map_err(|_| malformed(name))
}

pub(crate) fn integer<T: std::str::FromStr>(item: &Item, name: &str) -> Result<T, Fault> {
    let digits = item.get(name).and_then(|value| value.as_n().ok());
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| malformed(name))
}

pub(crate) fn millis(item: &Item, name: &str) -> Result<Timestamp, Fault> {
    integer(item, name).map(Timestamp::from_millis)
}

pub(crate) fn number(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

pub(crate) fn flag(item: &Item, name: &str) -> bool {
    item.get(name).and_then(|value| value.as_bool().ok()).copied().unwrap_or(false)
}

/// When DynamoDB may drop the item, in the seconds since 1970 that its TTL requires.
pub(crate) fn expires_at(from: Timestamp, retention: Retention) -> AttributeValue {
    number((from + retention.span()).secs())
}

/// The retention of the event whose item this is.
pub(crate) fn retention(item: &Item, accepted_at: Timestamp) -> Result<Retention, Fault> {
    Ok(Retention::of_row(accepted_at, integer(item, "expires_at")?))
}

/// What `read` makes of an attribute, where the row has it.
pub(crate) fn optional<T>(
    item: &Item,
    name: &str,
    read: impl FnOnce(&Item, &str) -> Result<T, Fault>,
) -> Result<Option<T>, Fault> {
    if item.contains_key(name) { read(item, name).map(Some) } else { Ok(None) }
}
