//! The lanes: the queues that drive deliveries, and the messages in them.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use domain::{
    TenantId,
    delivery::{
        Retention,
        driver::{self, LaneKind},
        lane::{self, Message, PageMessage},
    },
    endpoint::Target,
};
use futures_util::future::join_all;

use crate::{
    Fault,
    aws::sqs::{BATCH, Hide, Queue, QueueMessage, SendFault},
    runtime::clock,
    store::events::{deliveries::DeliveryKey, stored::StoredEvent},
};

/// Calls under way at once. A call holds up to 600 KB, and a small function has 128 MB.
const SEND_CALLS: usize = 4;

/// How often a call is made whose effect is unknown. Each has 5 s.
const SEND_TRIES: u32 = 3;

/// How long the messages of such a call are held back when it is repeated: the attempts that their first
/// copies lead to are then on record, unless the endpoint is slow.
const COPY_DELAY: Duration = Duration::from_secs(5);

/// The same for messages that are no first ones and cannot wait behind another one: longer than an attempt and its
/// record together.
const UNMARKED_COPY_DELAY: Duration = Duration::from_secs(20);

/// The longest pause before the first repeat; it doubles.
const SEND_PAUSE: Duration = Duration::from_millis(200);

/// How long a lane's pressure is cached; what SQS reports is about as old itself.
const PRESSURE_AGE: Duration = Duration::from_secs(30);

/// What is sent. It is serialised only when its turn comes: a hundred events to a hundred
/// endpoints are ten thousand messages, and all of them at once would not fit.
#[derive(Debug, Clone)]
pub enum Body {
    /// A delivery to begin.
    First {
        /// What is delivered.
        event: Arc<StoredEvent>,
        /// Where to.
        target: Target,
        /// Whether the payload is in the message.
        inline: bool,
        /// Whether another message may have been sent before.
        check: bool,
    },
    /// A delivery that continues.
    Again {
        /// Which one.
        delivery: DeliveryKey,
        /// Whether its endpoint is the operator's.
        operator: bool,
    },
    /// One page of a wide fan-out.
    Page(PageMessage),
    /// A text as it is: as it was received, or of another queue than those of deliveries.
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
    fn to_queue_message(&self) -> Result<QueueMessage<'_>, Fault> {
        Ok(QueueMessage {
            group: self.tenant.as_str(),
            body: self.text()?,
            delay: self.delay,
            deduplication: None,
        })
    }

    /// The `nth` copy of a message that may have been sent before. No two come together, since each would find
    /// nothing on record.
    pub(super) fn copy(&self, nth: u32) -> Self {
        let mut copy = self.clone();
        let delay = match &mut copy.body {
            Body::First { check, .. } | Body::Page(PageMessage { check, .. }) => {
                *check = true;
                COPY_DELAY
            }
            Body::Again { .. } => UNMARKED_COPY_DELAY,
            // Marked as one whose delivery was changed, so that it is read. As a repeat it could be dropped,
            // although it may be the only driver.
            Body::Text(text) => {
                if let Ok(message) = serde_json::from_str::<Message<'_>>(text)
                    && let Ok(marked) = serde_json::to_string(&message.moved(true))
                {
                    *text = marked;
                }
                UNMARKED_COPY_DELAY
            }
        };
        copy.delay += delay * nth;
        copy
    }

    pub(super) fn text(&self) -> Result<String, Fault> {
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
                retention_days: event.retention,
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
                retention_days: Retention::DEFAULT,
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

/// One queue of deliveries, or of pages.
#[derive(Debug)]
pub struct Lane {
    queue: Queue,
    pressure: Mutex<Option<(Instant, bool)>>,
}

/// The two lanes of deliveries.
#[derive(Debug, Clone)]
pub struct Lanes {
    /// First attempts to endpoints that respond in time.
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

    /// How many messages wait in both, approximately.
    pub async fn waiting(&self) -> Result<u32, Fault> {
        Ok(self.fast.waiting().await?.saturating_add(self.slow.waiting().await?))
    }

    /// Which of the two a queue's ARN names; any other counts as the slow one, whose
    /// messages are checked more.
    #[must_use]
    pub fn kind_of(&self, arn: &str) -> LaneKind {
        if arn.rsplit(':').next() == Some(self.fast.queue.name()) { LaneKind::Fast } else { LaneKind::Slow }
    }
}

impl Lane {
    /// The lane over this queue.
    #[must_use]
    pub fn new(queue: Queue) -> Self {
        Self { queue, pressure: Mutex::default() }
    }

    /// Sends all messages, in calls of ten: a message holds at most
    /// [`domain::delivery::lane::INLINE_LIMIT`] bytes of payload, so ten stay below SQS's 1 MiB.
    ///
    /// # Errors
    /// [`Fault`] where any message was not accepted; some may have been.
    pub async fn send(&self, messages: &[Outgoing]) -> Result<(), Fault> {
        self.send_each(messages).await.into_iter().collect()
    }

    /// Sends all messages and returns for each whether it was accepted.
    pub async fn send_each(&self, messages: &[Outgoing]) -> Vec<Result<(), Fault>> {
        let mut results = Vec::with_capacity(messages.len());
        for wave in messages.chunks(BATCH * SEND_CALLS) {
            let batches = join_all(wave.chunks(BATCH).map(|batch| self.send_batch(batch))).await;
            let failed = batches.iter().any(|batch| batch.iter().any(Result::is_err));
            results.extend(batches.into_iter().flatten());
            if failed {
                // The caller starts over; sending more of it would only send it twice.
                let stopped = || Err(Fault::new("sending to a lane", "a message before it was not accepted"));
                results.resize_with(messages.len(), stopped);
                break;
            }
        }
        results
    }

    async fn send_batch(&self, messages: &[Outgoing]) -> Vec<Result<(), Fault>> {
        let mut sent = self.try_send_batch(messages).await;
        let mut pause = SEND_PAUSE;
        for nth in 1..SEND_TRIES {
            let Err(SendFault::Unknown(fault)) = &sent else { break };
            tracing::warn!(%fault, "unknown whether messages were sent; sending copies");
            tokio::time::sleep(pause.mul_f64(clock::jitter())).await;
            pause *= 2;
            let copies: Vec<_> = messages.iter().map(|message| message.copy(nth)).collect();
            sent = self.try_send_batch(&copies).await;
        }
        sent.unwrap_or_else(|fault| {
            let text = Fault::from(fault).to_string();
            messages.iter().map(|_| Err(Fault::new("sending to a lane", text.clone()))).collect()
        })
    }

    async fn try_send_batch(&self, messages: &[Outgoing]) -> Result<Vec<Result<(), Fault>>, SendFault> {
        let messages = messages.iter().map(Outgoing::to_queue_message).collect::<Result<_, _>>();
        self.queue.send_batch(messages.map_err(SendFault::NotSent)?).await
    }

    /// How many messages wait, approximately.
    pub async fn waiting(&self) -> Result<u32, Fault> {
        self.queue.waiting().await
    }

    /// Hides received messages, as [`Queue::hide`] does.
    pub async fn hide(&self, messages: &[Hide]) {
        self.queue.hide(messages).await;
    }

    /// Whether so many messages are in flight that long waits must use the due index. Unknown counts as
    /// yes: the due index always has room.
    pub async fn is_under_pressure(&self) -> bool {
        let known = *self.pressure.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, pressure)) = known
            && since.elapsed() < PRESSURE_AGE
        {
            return pressure;
        }
        let pressure = self.queue.in_flight().await.map_or_else(
            |fault| {
                tracing::warn!(%fault, "pressure of lane unknown; assuming high");
                true
            },
            |count| count >= driver::PRESSURE,
        );
        *self.pressure.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), pressure));
        pressure
    }
}
