//! Batches of SQS messages, and the response that says which of them stay in the queue.
//!
//! Shapes: SQS with `ReportBatchItemFailures`
//! (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>).

use std::collections::HashMap;

use domain::Timestamp;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::{Deserialize, Serialize};

use super::deadline;
use crate::aws::throttles;

/// A received message.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Identifies the message in the response.
    pub message_id: String,
    /// Identifies this receipt of the message.
    pub receipt_handle: String,
    /// The text.
    pub body: String,
    /// The ARN of the queue.
    #[serde(default, rename = "eventSourceARN")]
    pub source_arn: String,
    /// The attributes that SQS sets.
    #[serde(default)]
    attributes: HashMap<String, String>,
}

impl Record {
    /// How often the message was received, this time included. Where SQS does not say, 2 is the
    /// careful reading: an earlier receipt may have made an attempt.
    #[must_use]
    pub fn receive_count(&self) -> u32 {
        self.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok()).unwrap_or(2)
    }
}

#[derive(Deserialize)]
struct SqsEvent {
    #[serde(rename = "Records")]
    records: Vec<Record>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SqsBatchResponse {
    batch_item_failures: Vec<BatchItemFailure>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BatchItemFailure {
    item_identifier: String,
}

/// Takes batches of messages until the environment ends. The handler returns the ids of the messages
/// that stay in the queue.
pub async fn run<H, F>(handle: H) -> Result<(), Error>
where
    H: Fn(Vec<Record>, Timestamp) -> F,
    F: Future<Output = Vec<String>>,
{
    let handle = &handle;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<SqsEvent>| async move {
        let deadline = deadline::of(&event.context);
        let failed = Box::pin(handle(event.payload.records, deadline)).await;
        throttles::flush();
        Ok::<_, Error>(response(failed))
    }))
    .await
}

/// Names the messages that stay in the queue. A response that Lambda cannot read keeps the whole
/// batch, and one without items deletes it, so its spelling has a test of its own.
fn response(failed: Vec<String>) -> SqsBatchResponse {
    let failures = failed.into_iter().map(|item_identifier| BatchItemFailure { item_identifier });
    SqsBatchResponse { batch_item_failures: failures.collect() }
}

#[cfg(test)]
mod tests;
