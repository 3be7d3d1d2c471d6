//! Several writes, all of them or none.

use std::time::Duration;

use aws_sdk_dynamodb::{
    error::SdkError,
    operation::transact_write_items::TransactWriteItemsError,
    types::{TransactWriteItem, error::TransactionCanceledException},
};

use super::Table;
use crate::runtime::clock;

impl Table {
    /// All of it or nothing. Who meets another transaction on the same row tries again, which the
    /// SDK does not do by itself.
    pub(crate) async fn transact(
        &self,
        writes: Vec<TransactWriteItem>,
    ) -> Result<(), SdkError<TransactWriteItemsError>> {
        let mut tries = 0..4;
        loop {
            let transaction = self.client.transact_write_items().set_transact_items(Some(writes.clone()));
            match transaction.send().await {
                Ok(_) => return Ok(()),
                Err(error) if has_reason(&error, "TransactionConflict") && tries.next().is_some() => {
                    tokio::time::sleep(Duration::from_millis(200).mul_f64(clock::jitter())).await;
                }
                Err(error) => return Err(error),
            }
        }
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
