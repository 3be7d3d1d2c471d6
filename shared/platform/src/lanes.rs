//! The queues that drive deliveries.

use std::{sync::Arc, time::Duration};

use aws_sdk_sqs::{
    Client,
    types::{ChangeMessageVisibilityBatchRequestEntry, SendMessageBatchRequestEntry},
};
use domain::{
    EndpointId, TenantId,
    lane::{self, Message},
};
use futures_util::future::try_join_all;

use crate::{Fault, store::events::StoredEvent};

/// Entries in one call of SQS.
const BATCH: usize = 10;

/// The longest that a received message can stay hidden: SQS allows 12 hours from its receipt,
/// of which the invocation has used up some seconds.
const LONGEST_HIDE: Duration = Duration::from_mins(719);

/// Calls under way at once. A call holds up to 600 KB, and a small function has 128 MB.
const CONCURRENCY: usize = 4;

/// A delivery to send off. It is put into words only when its turn comes: a hundred events to a
/// hundred endpoints are ten thousand messages, and all of them at once would not fit.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// What is delivered.
    pub event: Arc<StoredEvent>,
    /// Where to.
    pub endpoint: EndpointId,
    /// Whether the payload rides in the message.
    pub inline: bool,
    /// Whether another message may have been sent before.
    pub check: bool,
    /// How long it stays hidden at first; 15 minutes at most.
    pub delay: Duration,
}

impl Outgoing {
    fn body(&self, tenant: &TenantId) -> Result<String, Fault> {
        let event = &self.event;
        let message = Message {
            v: lane::VERSION,
            tenant: tenant.clone(),
            event_id: event.id,
            endpoint_id: self.endpoint,
            generation: 0,
            check: self.check,
            event_type: event.event_type.clone(),
            at: event.at,
            payload: self.inline.then_some(&*event.payload),
        };
        serde_json::to_string(&message).map_err(Fault::on("writing a message"))
    }
}

/// A received message that is to stay hidden for a while.
#[derive(Debug)]
pub struct Hide {
    /// The message's receipt handle.
    pub receipt_handle: String,
    /// For how long.
    pub wait: Duration,
}

/// One lane.
#[derive(Debug, Clone)]
pub struct Lane {
    client: Client,
    url: String,
}

impl Lane {
    /// The lane whose queue has this URL.
    #[must_use]
    pub fn new(client: Client, url: String) -> Self {
        Self { client, url }
    }

    /// Sends all messages, in calls of ten: a message holds at most
    /// [`domain::lane::INLINE_LIMIT`] bytes of payload, so ten stay below SQS's 1 MiB.
    ///
    /// # Errors
    /// [`Fault`] where any message was not taken; some may have been.
    pub async fn send(&self, tenant: &TenantId, messages: &[Outgoing]) -> Result<(), Fault> {
        for wave in messages.chunks(BATCH * CONCURRENCY) {
            try_join_all(wave.chunks(BATCH).map(|batch| self.send_batch(tenant, batch))).await?;
        }
        Ok(())
    }

    async fn send_batch(&self, tenant: &TenantId, messages: &[Outgoing]) -> Result<(), Fault> {
        let bodies: Vec<_> = messages.iter().map(|message| message.body(tenant)).collect::<Result<_, _>>()?;
        let entries = messages.iter().zip(bodies).enumerate().map(|(at, (message, body))| {
            let delay = i32::try_from(message.delay.as_secs().min(900)).unwrap_or(900);
            SendMessageBatchRequestEntry::builder()
                .id(at.to_string())
                .message_body(body)
                // Fair queues: one tenant's backlog does not hold up the others'.
                .message_group_id(tenant.as_str())
                .set_delay_seconds((delay > 0).then_some(delay))
                .build()
        });
        let entries: Vec<_> = entries.collect::<Result<_, _>>().map_err(Fault::on("sending to a lane"))?;
        let answer = self
            .client
            .send_message_batch()
            .queue_url(&self.url)
            .set_entries(Some(entries))
            .send()
            .await
            .map_err(Fault::on("sending to a lane"))?;
        match answer.failed().first() {
            None => Ok(()),
            Some(failed) => Err(Fault::new("sending to a lane", failed.message().unwrap_or(failed.code()))),
        }
    }

    /// Hides received messages. One that cannot be hidden comes back when the lane's own visibility
    /// timeout is over: whoever gets it reads the delivery and sees what is due, so a failure is
    /// logged and no more.
    pub async fn hide(&self, messages: &[Hide]) {
        for chunk in messages.chunks(BATCH) {
            if let Err(fault) = self.hide_batch(chunk).await {
                tracing::warn!(%fault, "messages come back at another time than theirs");
            }
        }
    }

    async fn hide_batch(&self, messages: &[Hide]) -> Result<(), Fault> {
        let entries = messages.iter().enumerate().map(|(at, message)| {
            // Rounded up: a message that came a moment early would be hidden once more.
            let secs = message.wait.min(LONGEST_HIDE).as_millis().div_ceil(1000);
            ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(at.to_string())
                .receipt_handle(&message.receipt_handle)
                .visibility_timeout(i32::try_from(secs).unwrap_or(0))
                .build()
        });
        let entries: Vec<_> = entries.collect::<Result<_, _>>().map_err(Fault::on("hiding messages"))?;
        let answer = self
            .client
            .change_message_visibility_batch()
            .queue_url(&self.url)
            .set_entries(Some(entries))
            .send()
            .await
            .map_err(Fault::on("hiding messages"))?;
        match answer.failed().first() {
            None => Ok(()),
            Some(failed) => Err(Fault::new("hiding messages", failed.message().unwrap_or(failed.code()))),
        }
    }
}
