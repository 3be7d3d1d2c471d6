//! Queues: messages are sent in batches, counted, and hidden. Their meaning belongs to `publish`.

use std::time::Duration;

use aws_sdk_sqs::types::{ChangeMessageVisibilityBatchRequestEntry, QueueAttributeName};
use domain::audit::stream::QueueArn;
use serde::{Deserialize, Serialize};

use super::{
    json::{Operation, SQS},
    region,
    sdk::Sqs,
};
use crate::{Fault, runtime::config::Runtime};

/// Entries in one call of SQS.
pub const BATCH: usize = 10;

/// The longest that a received message can stay hidden: SQS allows 12 hours from its receipt,
/// of which the invocation has used up some seconds.
const LONGEST_HIDE: Duration = Duration::from_mins(719);

/// A message to send.
#[derive(Debug)]
pub struct QueueMessage<'a> {
    /// The group that it belongs to: fair queues keep one group's backlog from delaying the others.
    pub group: &'a str,
    /// Its text.
    pub body: String,
    /// How long it stays hidden at first; 15 minutes at most.
    pub delay: Duration,
    /// What it is recognised by where it is sent again, at a FIFO queue; other queues refuse it.
    pub deduplication: Option<String>,
}

/// A received message that is to stay hidden for a while.
#[derive(Debug)]
pub struct Hide {
    /// The message's receipt handle.
    pub receipt_handle: String,
    /// For how long.
    pub wait: Duration,
}

/// Why a call that sends did not return what it did.
#[derive(Debug)]
pub enum SendFault {
    /// SQS has none of the messages.
    NotSent(Fault),
    /// It may have them: its response was lost, or late, or said that it failed.
    Unknown(Fault),
}

impl From<SendFault> for Fault {
    fn from((SendFault::NotSent(fault) | SendFault::Unknown(fault)): SendFault) -> Self {
        fault
    }
}

/// A call whose effect is unknown is not repeated here: it would send the same messages, and nothing would
/// distinguish the copies.
/// Source: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html>.
const SEND_MESSAGE_BATCH: Operation = Operation { target: "AmazonSQS.SendMessageBatch", repeatable: false };

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SendRequest<'a> {
    queue_url: &'a str,
    entries: Vec<SendEntry<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SendEntry<'a> {
    id: String,
    message_body: String,
    message_group_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_seconds: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_deduplication_id: Option<String>,
}

#[derive(Deserialize)]
struct SendResponse {
    #[serde(rename = "Failed")]
    failed: Option<Vec<FailedEntry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FailedEntry {
    id: String,
    code: String,
    message: Option<String>,
}

/// One queue.
#[derive(Debug)]
pub struct Queue {
    sqs: Sqs,
    url: String,
}

impl Queue {
    /// The queue with this URL.
    #[must_use]
    pub fn new(sqs: Sqs, url: String) -> Self {
        Self { sqs, url }
    }

    /// The queue of this ARN, which must be in our region.
    #[must_use]
    pub fn of_arn(sqs: Sqs, runtime: &Runtime, QueueArn { account, name, .. }: &QueueArn) -> Self {
        let url = format!("{}{account}/{name}", region::url(runtime, SQS.name()));
        Self { sqs, url }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.url.rsplit('/').next().unwrap_or_default()
    }

    /// Sends up to [`BATCH`] messages in one call; for each, whether it was accepted. A call whose effect
    /// is unknown is not repeated.
    pub async fn send_batch(
        &self,
        messages: Vec<QueueMessage<'_>>,
    ) -> Result<Vec<Result<(), Fault>>, SendFault> {
        const DOING: &str = "sending to a queue";
        let mut results: Vec<_> = messages.iter().map(|_| Ok(())).collect();
        let entries = messages.into_iter().enumerate().map(|(index, message)| {
            let delay = message.delay.as_millis().div_ceil(1000).min(900);
            SendEntry {
                id: index.to_string(),
                message_body: message.body,
                message_group_id: message.group,
                delay_seconds: u16::try_from(delay).ok().filter(|delay| *delay > 0),
                message_deduplication_id: message.deduplication,
            }
        });
        let request = SendRequest { queue_url: &self.url, entries: entries.collect() };
        let response: SendResponse =
            self.sqs.json.call(SEND_MESSAGE_BATCH, &request).await.map_err(|error| {
                let wrap = if error.may_have_effect() { SendFault::Unknown } else { SendFault::NotSent };
                wrap(Fault::on(DOING)(error))
            })?;
        for failed in response.failed.unwrap_or_default() {
            if let Some(result) = failed.id.parse().ok().and_then(|index: usize| results.get_mut(index)) {
                *result = Err(Fault::new(DOING, failed.message.unwrap_or(failed.code)));
            }
        }
        Ok(results)
    }

    /// How many messages wait, approximately.
    pub async fn waiting(&self) -> Result<u32, Fault> {
        self.attribute(QueueAttributeName::ApproximateNumberOfMessages).await
    }

    /// How many messages are received and not yet deleted, approximately.
    pub async fn in_flight(&self) -> Result<u32, Fault> {
        self.attribute(QueueAttributeName::ApproximateNumberOfMessagesNotVisible).await
    }

    async fn attribute(&self, name: QueueAttributeName) -> Result<u32, Fault> {
        const DOING: &str = "reading the depth of a queue";
        let request =
            self.sqs.client.get_queue_attributes().queue_url(&self.url).attribute_names(name.clone());
        let response = request.send().await.map_err(Fault::on(DOING))?;
        let count = response.attributes.and_then(|all| all.get(&name)?.parse().ok());
        count.ok_or_else(|| Fault::new(DOING, "the response does not have it"))
    }

    /// Hides received messages. One that cannot be hidden reappears when the queue's own visibility
    /// timeout ends. Its next receiver reads the delivery and sees what is due, so a failure is only
    /// logged.
    pub async fn hide(&self, messages: &[Hide]) {
        for chunk in messages.chunks(BATCH) {
            if let Err(fault) = self.hide_batch(chunk).await {
                tracing::warn!(%fault, "could not set visibility timeout; messages will reappear early");
            }
        }
    }

    async fn hide_batch(&self, messages: &[Hide]) -> Result<(), Fault> {
        const DOING: &str = "hiding messages";
        let entries = messages.iter().enumerate().map(|(index, message)| {
            // Rounded up: a message that came a moment early would be hidden once more.
            let secs = message.wait.min(LONGEST_HIDE).as_millis().div_ceil(1000);
            ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(index.to_string())
                .receipt_handle(&message.receipt_handle)
                .visibility_timeout(i32::try_from(secs).unwrap_or(0))
                .build()
        });
        let entries: Vec<_> = entries.collect::<Result<_, _>>().map_err(Fault::on(DOING))?;
        let request =
            self.sqs.client.change_message_visibility_batch().queue_url(&self.url).set_entries(Some(entries));
        let response = request.send().await.map_err(Fault::on(DOING))?;
        match response.failed().first() {
            None => Ok(()),
            Some(failed) => Err(Fault::new(DOING, failed.message().unwrap_or(failed.code()))),
        }
    }
}
