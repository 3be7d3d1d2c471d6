//! Several writes, all of them or none.

use std::time::Duration;

use aws_sdk_dynamodb::{
    error::{BuildError, SdkError},
    operation::{
        transact_write_items::TransactWriteItemsError, update_item::builders::UpdateItemFluentBuilder,
    },
    types::{TransactWriteItem, Update, error::TransactionCanceledException},
};

use super::Table;
use crate::{Fault, aws::throttles, runtime::clock};

/// Retries of a write that conflicts with a transaction, or of a transaction that was throttled: some three seconds.
pub(super) const CONFLICT_RETRIES: u32 = 7;

/// Why a transaction was not carried out and may be later. The SDK retries none of these, since they are reasons within
/// one error.
/// Source: <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html>.
const CONFLICT: &str = "TransactionConflict";
const THROTTLED: [&str; 2] = ["ThrottlingError", "ProvisionedThroughputExceeded"];

impl Table {
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

/// Waits until a write is tried again that conflicted with a transaction: up to 100 ms, doubling up to a second.
pub(super) async fn after_conflict(retry: u32) {
    let longest = Duration::from_millis(100 << retry.min(4)).min(Duration::from_secs(1));
    tokio::time::sleep(longest.mul_f64(clock::jitter())).await;
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
