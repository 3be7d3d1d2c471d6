//! Batches of SQS messages, and the response that says which of them stay in the queue.
//!
//! Shapes: SQS with `ReportBatchItemFailures`
//! (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>), by the types of
//! `aws_lambda_events`. Of the event itself only the list is typed here: its own `SqsEvent` is read as a
//! whole, so that one malformed record would fail the batch. The records are read one by one.

use aws_lambda_events::sqs::{SqsBatchResponse, SqsMessage};
use domain::Timestamp;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::deadline;
use crate::aws::{spending, throttles};

/// A received message.
#[derive(Debug, Clone)]
pub struct Record {
    /// Identifies the message in the response.
    pub message_id: String,
    /// Identifies this receipt of the message.
    pub receipt_handle: String,
    /// The text.
    pub body: String,
    /// The ARN of the queue.
    pub source_arn: String,
    receive_count: u32,
}

impl Record {
    /// How often the message was received, this time included. Where SQS does not say, 2 is the
    /// careful reading: an earlier receipt may have made an attempt.
    #[must_use]
    pub fn receive_count(&self) -> u32 {
        self.receive_count
    }

    fn read(json: &str) -> Option<Self> {
        let message: SqsMessage = serde_json::from_str(json).ok()?;
        let count = message.attributes.get("ApproximateReceiveCount");
        Some(Self {
            message_id: message.message_id.filter(|id| !id.is_empty())?,
            receipt_handle: message.receipt_handle?,
            body: message.body?,
            source_arn: message.event_source_arn.unwrap_or_default(),
            receive_count: count.and_then(|count| count.parse().ok()).unwrap_or(2),
        })
    }
}

/// An event, its records not read yet.
#[derive(Deserialize)]
struct SqsEvent {
    #[serde(rename = "Records")]
    records: Vec<Box<RawValue>>,
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
        spending::begin(spending::Trigger::Queue);
        let deadline = deadline::of(&event.context);
        let response = respond(event.payload, deadline, handle).await;
        throttles::flush();
        spending::end();
        Ok::<_, Error>(response)
    }))
    .await
}

/// Hands the records that can be read to the handler. The others stay in the queue, like those that
/// the handler names.
async fn respond<H, F>(event: SqsEvent, deadline: Timestamp, handle: &H) -> SqsBatchResponse
where
    H: Fn(Vec<Record>, Timestamp) -> F,
    F: Future<Output = Vec<String>>,
{
    let (mut records, mut failed) = (Vec::with_capacity(event.records.len()), Vec::new());
    for json in &event.records {
        match Record::read(json.get()) {
            Some(record) => records.push(record),
            None => failed.extend(malformed_record_id(json.get())),
        }
    }
    if !records.is_empty() {
        failed.extend(Box::pin(handle(records, deadline)).await);
    }
    // A response that Lambda cannot read keeps the whole batch, and one without items deletes it, so
    // its spelling has a test of its own.
    let mut response = SqsBatchResponse::default();
    response.set_failures(failed);
    response
}

/// The id of a record that cannot be read. It stays in the queue until SQS moves it to the dead
/// letters. Without an id the response cannot name it: an empty one would keep the whole batch, again
/// and again, so the log is all that is left of such a record.
fn malformed_record_id(json: &str) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct MessageId {
        message_id: String,
    }
    let identified = serde_json::from_str::<MessageId>(json).ok();
    let message_id = identified.map(|record| record.message_id).filter(|id| !id.is_empty());
    tracing::error!(message_id, "malformed SQS record");
    message_id
}

#[cfg(test)]
mod tests;
