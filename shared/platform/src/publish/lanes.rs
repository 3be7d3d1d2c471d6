//! The queues that drive deliveries.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use aws_sdk_sqs::{
    Client,
    types::{ChangeMessageVisibilityBatchRequestEntry, QueueAttributeName, SendMessageBatchRequestEntry},
};
use domain::{
    TenantId,
    delivery::{
        driver::{self, LaneKind},
        lane::{self, Message, PageMessage},
    },
    endpoint::Target,
};
use futures_util::future::join_all;

use crate::{
    Fault,
    store::events::{deliveries::DeliveryKey, stored::StoredEvent},
};

/// Entries in one call of SQS.
const BATCH: usize = 10;

/// The longest that a received message can stay hidden: SQS allows 12 hours from its receipt,
/// of which the invocation has used up some seconds.
const LONGEST_HIDE: Duration = Duration::from_mins(719);

/// Calls under way at once. A call holds up to 600 KB, and a small function has 128 MB.
const CONCURRENCY: usize = 4;

/// How long a lane's pressure is believed; what SQS says of it is about as old itself.
const PRESSURE_AGE: Duration = Duration::from_secs(30);

/// What is sent. It is put into words only when its turn comes: a hundred events to a hundred
/// endpoints are ten thousand messages, and all of them at once would not fit.
#[derive(Debug, Clone)]
pub enum Body {
    /// A delivery to begin.
    First {
        /// What is delivered.
        event: Arc<StoredEvent>,
        /// Where to.
        target: Target,
        /// Whether the payload rides in the message.
        inline: bool,
        /// Whether another message may have been sent before.
        check: bool,
    },
    /// A delivery that goes on.
    Again {
        /// Which one.
        delivery: DeliveryKey,
        /// Whether its endpoint is the operator's.
        operator: bool,
    },
    /// One page of a wide fan-out.
    Page(PageMessage),
    /// What somebody else wrote.
    Text(String),
}

/// A message to send.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Whose it is: fair queues keep one tenant's backlog from holding up the others'.
    pub tenant: TenantId,
    /// What it says.
    pub body: Body,
    /// How long it stays hidden at first; 15 minutes at most.
    pub delay: Duration,
}

impl Outgoing {
    fn text(&self) -> Result<String, Fault> {
        let message = match &self.body {
            Body::First { event, target, inline, check } => Message {
                v: lane::VERSION,
                tenant: self.tenant.clone(),
                event_id: event.id,
                endpoint_id: target.endpoint,
                generation: 0,
                operator: target.operator,
                check: *check,
                again: false,
                event_type: Some(event.event_type.clone()),
                at: Some(event.at),
                payload: if *inline { event.payload_here() } else { None },
            },
            Body::Again { delivery, operator } => Message {
                v: lane::VERSION,
                tenant: self.tenant.clone(),
                event_id: delivery.id.event,
                endpoint_id: delivery.id.endpoint,
                generation: delivery.generation,
                operator: *operator,
                check: false,
                again: true,
                event_type: None,
                at: None,
                payload: None,
            },
            Body::Page(page) => {
                return serde_json::to_string(page).map_err(Fault::on("writing a message"));
            }
            Body::Text(text) => return Ok(text.clone()),
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

/// One queue.
#[derive(Debug)]
pub struct Lane {
    client: Client,
    url: String,
    pressure: Mutex<Option<(Instant, bool)>>,
}

/// The two lanes of deliveries.
#[derive(Debug, Clone)]
pub struct Lanes {
    /// First attempts to endpoints that answer in time.
    pub fast: Arc<Lane>,
    /// Everything else.
    pub slow: Arc<Lane>,
}

impl Lanes {
    /// One of the two.
    #[must_use]
    pub fn get(&self, kind: LaneKind) -> &Lane {
        match kind {
            LaneKind::Fast => &self.fast,
            LaneKind::Slow => &self.slow,
        }
    }

    /// How many messages wait in both, about.
    pub async fn waiting(&self) -> Result<u32, Fault> {
        Ok(self.fast.waiting().await?.saturating_add(self.slow.waiting().await?))
    }

    /// Which of the two a queue's ARN names; what is neither is taken for the slow one, whose
    /// messages are believed less.
    #[must_use]
    pub fn kind_of(&self, arn: &str) -> LaneKind {
        if arn.rsplit(':').next() == self.fast.url.rsplit('/').next() {
            LaneKind::Fast
        } else {
            LaneKind::Slow
        }
    }
}

impl Lane {
    /// The lane whose queue has this URL.
    #[must_use]
    pub fn new(client: Client, url: String) -> Self {
        Self { client, url, pressure: Mutex::default() }
    }

    /// Sends all messages, in calls of ten: a message holds at most
    /// [`domain::delivery::lane::INLINE_LIMIT`] bytes of payload, so ten stay below SQS's 1 MiB.
    ///
    /// # Errors
    /// [`Fault`] where any message was not taken; some may have been.
    pub async fn send(&self, messages: &[Outgoing]) -> Result<(), Fault> {
        self.send_each(messages).await.into_iter().collect()
    }

    /// Sends all messages and says of each whether it was taken.
    pub async fn send_each(&self, messages: &[Outgoing]) -> Vec<Result<(), Fault>> {
        let mut results = Vec::with_capacity(messages.len());
        for wave in messages.chunks(BATCH * CONCURRENCY) {
            let batches = join_all(wave.chunks(BATCH).map(|batch| self.send_batch(batch))).await;
            let failed = batches.iter().any(|batch| batch.iter().any(Result::is_err));
            results.extend(batches.into_iter().flatten());
            if failed {
                // Whoever sends starts over; more of it would only be sent twice.
                let stopped = || Err(Fault::new("sending to a lane", "messages before it were not taken"));
                results.resize_with(messages.len(), stopped);
                break;
            }
        }
        results
    }

    async fn send_batch(&self, messages: &[Outgoing]) -> Vec<Result<(), Fault>> {
        match self.try_send_batch(messages).await {
            Ok(results) => results,
            Err(fault) => {
                let text = fault.to_string();
                messages.iter().map(|_| Err(Fault::new("sending to a lane", text.clone()))).collect()
            }
        }
    }

    async fn try_send_batch(&self, messages: &[Outgoing]) -> Result<Vec<Result<(), Fault>>, Fault> {
        let bodies: Vec<_> = messages.iter().map(Outgoing::text).collect::<Result<_, _>>()?;
        let entries = messages.iter().zip(bodies).enumerate().map(|(at, (message, body))| {
            let delay = i32::try_from(message.delay.as_millis().div_ceil(1000).min(900)).unwrap_or(900);
            SendMessageBatchRequestEntry::builder()
                .id(at.to_string())
                .message_body(body)
                .message_group_id(message.tenant.as_str())
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
        let mut results: Vec<_> = messages.iter().map(|_| Ok(())).collect();
        for failed in answer.failed() {
            let fault = Fault::new("sending to a lane", failed.message().unwrap_or(failed.code()));
            if let Some(result) = failed.id().parse().ok().and_then(|at: usize| results.get_mut(at)) {
                *result = Err(fault);
            }
        }
        Ok(results)
    }

    /// How many messages wait, about.
    pub async fn waiting(&self) -> Result<u32, Fault> {
        self.attribute(QueueAttributeName::ApproximateNumberOfMessages).await
    }

    async fn attribute(&self, name: QueueAttributeName) -> Result<u32, Fault> {
        let doing = "asking how full a lane is";
        let asked = self.client.get_queue_attributes().queue_url(&self.url).attribute_names(name.clone());
        let answer = asked.send().await.map_err(Fault::on(doing))?;
        let count = answer.attributes.and_then(|all| all.get(&name)?.parse().ok());
        count.ok_or_else(|| Fault::new(doing, "the queue does not say"))
    }

    /// Whether so many messages are in flight that long waits must go elsewhere. Unknown counts as
    /// yes: the due index always has room.
    pub async fn is_under_pressure(&self) -> bool {
        let known = *self.pressure.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, pressure)) = known
            && since.elapsed() < PRESSURE_AGE
        {
            return pressure;
        }
        let in_flight = self.attribute(QueueAttributeName::ApproximateNumberOfMessagesNotVisible).await;
        let pressure = in_flight.map_or_else(
            |fault| {
                tracing::warn!(%fault, "a lane's pressure is taken for high");
                true
            },
            |count| count >= driver::PRESSURE,
        );
        *self.pressure.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), pressure));
        pressure
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
