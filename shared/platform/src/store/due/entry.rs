//! What the entries of connections and of syncs have in common: a row that is due at a time, and is taken by moving it
//! ahead.

use aws_sdk_dynamodb::types::AttributeValue;
use domain::Timestamp;

use crate::{
    Fault,
    store::{
        events::deliveries::DuePlace,
        table::{Item, Table, attributes::number, keys::Key, update_if},
    },
};

/// The entry under a key that is due at `due`; `due_pk` is its partition of the index.
pub(super) fn entry((pk, sk): Key, due_pk: String, due: Timestamp) -> Item {
    Item::from([
        ("pk".to_owned(), AttributeValue::S(pk)),
        ("sk".to_owned(), AttributeValue::S(sk)),
        ("due_pk".to_owned(), AttributeValue::S(due_pk)),
        ("due_at".to_owned(), number(due.millis())),
    ])
}

/// Moves an entry ahead to `lease`, if it is still at the place where it was found. False where it is not: it was put anew
/// or removed, or another run has it.
pub(super) async fn take(
    table: &Table,
    key: Key,
    found: &DuePlace,
    (due_pk, lease): (String, Timestamp),
    doing: &'static str,
) -> Result<bool, Fault> {
    let taken = table
        .update(key)
        .update_expression("SET due_pk = :pk, due_at = :due")
        .condition_expression("due_pk = :old_pk AND due_at = :old_due")
        .expression_attribute_values(":pk", AttributeValue::S(due_pk))
        .expression_attribute_values(":due", number(lease.millis()))
        .expression_attribute_values(":old_pk", AttributeValue::S(found.pk.clone()))
        .expression_attribute_values(":old_due", number(found.at.millis()));
    Ok(update_if(taken, doing).await?.is_some())
}
