//! Several writes, all of them or none.

use aws_sdk_dynamodb::{
    error::{BuildError, SdkError},
    operation::{
        transact_write_items::TransactWriteItemsError, update_item::builders::UpdateItemFluentBuilder,
    },
    types::{
        AttributeValue, Delete, Put, TransactWriteItem, Update,
        builders::{DeleteBuilder, PutBuilder, UpdateBuilder},
        error::TransactionCanceledException,
    },
};
use serde::Serialize;

use super::{
    Table,
    keys::Key,
    rows::item,
    waits::{CONFLICT_RETRIES, after_conflict},
};
use crate::{Fault, aws::throttles};

/// Why a transaction was not carried out and may be later. The SDK retries none of these, since they are reasons within
/// one error.
/// Source: <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html>.
const CONFLICT: &str = "TransactionConflict";
const THROTTLED: [&str; 2] = ["ThrottlingError", "ProvisionedThroughputExceeded"];

impl Table {
    /// A deletion of the row under this key as a part of a transaction, to which the caller adds its condition.
    pub(crate) fn deletion(&self, (pk, sk): Key) -> DeleteBuilder {
        let delete = Delete::builder().table_name(self.name());
        delete.key("pk", AttributeValue::S(pk)).key("sk", AttributeValue::S(sk))
    }

    /// An update of the row under this key as a part of a transaction, to which the caller adds what it does.
    pub(crate) fn change(&self, (pk, sk): Key) -> UpdateBuilder {
        let update = Update::builder().table_name(self.name());
        update.key("pk", AttributeValue::S(pk)).key("sk", AttributeValue::S(sk))
    }

    /// A put of a row as a part of a transaction, to which the caller adds its condition.
    pub(crate) fn replacement<T: Serialize>(&self, key: Key, row: &T) -> Result<PutBuilder, Fault> {
        Ok(Put::builder().table_name(self.name()).set_item(Some(item(key, row)?)))
    }

    /// A put of a row that must not exist yet, as a part of a transaction.
    pub(crate) fn put_new<T: Serialize>(&self, key: Key, row: &T) -> Result<TransactWriteItem, Fault> {
        let put = self
            .replacement(key, row)?
            .condition_expression("attribute_not_exists(pk)")
            .build()
            .map_err(Fault::on("writing a row"))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// The removal of a row, of the revision that was read where one is given.
    pub(crate) fn removal(&self, key: Key, revision: Option<u64>) -> Result<TransactWriteItem, Fault> {
        let mut delete = self.deletion(key);
        if let Some(revision) = revision {
            delete = delete
                .condition_expression("revision = :revision")
                .expression_attribute_values(":revision", AttributeValue::N(revision.to_string()));
        }
        let delete = delete.build().map_err(Fault::on("removing a row"))?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }

    /// Makes all writes or none. A transaction that conflicts on a row, or was throttled, is retried here.
    pub(crate) async fn transact(
        &self,
        writes: Vec<TransactWriteItem>,
    ) -> Result<(), SdkError<TransactWriteItemsError>> {
        let mut retries = 0..CONFLICT_RETRIES;
        loop {
            let transaction =
                self.dynamodb.client.transact_write_items().set_transact_items(Some(writes.clone()));
            match transaction.send().await {
                Ok(_) => return Ok(()),
                Err(error) => match retries.next() {
                    Some(retry) if may_succeed_later(&error) => after_conflict(retry).await,
                    _ => return Err(error),
                },
            }
        }
    }
}

/// Whether no condition failed, and whatever stopped the transaction may pass.
fn may_succeed_later(error: &SdkError<TransactWriteItemsError>) -> bool {
    if THROTTLED.iter().any(|reason| has_reason(error, reason)) {
        throttles::add(throttles::Service::DynamoDb);
    } else if !has_reason(error, CONFLICT) {
        return false;
    }
    !has_reason(error, "ConditionalCheckFailed")
}

/// An update as one write of a transaction.
pub(crate) fn as_part_of_transaction(update: &UpdateItemFluentBuilder) -> Result<Update, BuildError> {
    let input = update.as_input();
    Update::builder()
        .set_table_name(input.get_table_name().clone())
        .set_key(input.get_key().clone())
        .set_update_expression(input.get_update_expression().clone())
        .set_condition_expression(input.get_condition_expression().clone())
        .set_expression_attribute_names(input.get_expression_attribute_names().clone())
        .set_expression_attribute_values(input.get_expression_attribute_values().clone())
        .build()
}

/// False where the condition of the first write did not hold.
pub(crate) fn first_condition_held(
    result: Result<(), SdkError<TransactWriteItemsError>>,
    doing: &'static str,
) -> Result<bool, Fault> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if first_condition_failed(&error) => Ok(false),
        Err(error) => Err(Fault::on(doing)(error)),
    }
}

/// Whether the transaction was cancelled by the condition of its first write.
pub(crate) fn first_condition_failed(error: &SdkError<TransactWriteItemsError>) -> bool {
    reasons(error).next() == Some("ConditionalCheckFailed")
}

/// Whether the transaction was cancelled for this reason, by whichever of its writes.
pub(crate) fn has_reason(error: &SdkError<TransactWriteItemsError>, reason: &str) -> bool {
    reasons(error).any(|found| found == reason)
}

/// Why each write of a cancelled transaction was not made.
pub(crate) fn reasons(error: &SdkError<TransactWriteItemsError>) -> impl Iterator<Item = &str> {
    let cancelled = match error.as_service_error() {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => Some(cancelled),
        _ => None,
    };
    let reasons = cancelled.into_iter().flat_map(TransactionCanceledException::cancellation_reasons);
    reasons.map(|reason| reason.code().unwrap_or_default())
}
