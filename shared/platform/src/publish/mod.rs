//! Publishing: events in, messages out to the lanes. Every producer publishes here, and nothing else
//! writes events. Attempts are made in `dispatch`.

pub mod catalog;
pub mod fan_out;
pub mod inbound;
pub mod lanes;
mod settings;
mod subscribers;

use std::{sync::Arc, time::Duration};

use domain::{
    ConnectionId, EndpointId, EventId, InboundRequestId, SourceId, SyncId, TenantId, Timestamp,
    delivery::{
        driver::LaneKind,
        lane::{self, PageMessage},
    },
    endpoint::{SNAPSHOT_INLINE, Target},
    event::{self, EventData, EventType, channel::Channels},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

pub use self::settings::TenantSettings;
use self::{
    lanes::{Body, Lane, Lanes, Outgoing},
    subscribers::{Subscribers, own_count},
};
use crate::{
    Fault,
    runtime::clock,
    store::{
        events::{
            pages::{Snapshot, Snapshots},
            stored::{PutOutcome, StoredEvent, StoredEvents},
        },
        registry::endpoints::Endpoints,
    },
};

/// Largest payload, in bytes.
pub const PAYLOAD_LIMIT: usize = 1024 * 1024;

/// How long a repeated publish leaves the first one to itself: its messages carry a delay that
/// ends this long after the event was accepted. Within that the first attempt is usually on
/// record, and the repeat's message finds it. Longer than [`domain::delivery::engine::claim::FRESH`], a whole
/// attempt and its recording together.
const SETTLING: Duration = Duration::from_secs(30);

/// By how much several repeats are spread out.
const SPREAD: Duration = Duration::from_secs(10);

/// Events of one call that are prepared at the same time.
const PREPARED_AT_ONCE: usize = 16;

/// Most messages, and bytes of their payloads, that a call of publish sends itself. What exceeds this is left
/// to `fanout`, so that the largest batch ends within the time of a request, at 128 MB of memory too.
const SENT_BY_PUBLISH: usize = 2000;
const BYTES_SENT_BY_PUBLISH: usize = 16 * 1024 * 1024;

/// What makes two publishings the same.
#[derive(Debug, Clone)]
pub enum Identity {
    /// Each is its own event.
    None,
    /// The client's key; the same key with another body is refused.
    IdempotencyKey(String),
    /// The provider's own id of the event; providers change details between their retries, so
    /// the body is not compared.
    ProviderEvent {
        /// Where it came in.
        source: SourceId,
        /// The provider's id, or the hash that counts instead of it.
        event_id: String,
        /// The request that it came with.
        request: InboundRequestId,
    },
    /// An event of an inbound request once more, as its own event.
    InboundReplay {
        /// Where it came in.
        source: SourceId,
        /// The request that it came with.
        request: InboundRequestId,
    },
    /// An operational event about a connection, of which there is one for each change of it. Only those endpoints get it
    /// that ask for it by name.
    ConnectionChange {
        /// What it is called among those about the same connection.
        name: &'static str,
        /// The connection.
        connection: ConnectionId,
        /// The number of the change.
        change: u64,
        /// Whether only those endpoints get it that name exactly its type.
        exact: bool,
    },
    /// A change of a record that a sync reads: the same change is one event, however often its page is read.
    SyncedChange {
        /// The sync.
        sync: SyncId,
        /// What makes the change the same as another one of this sync.
        change: String,
    },
    /// An operational event, of which there is one for its subject and its window of time. Only
    /// those endpoints get it that ask for it by name, and never the one that it is about.
    Alert {
        /// What it is called among those about the same endpoint.
        name: &'static str,
        /// The endpoint that it is about.
        endpoint: EndpointId,
        /// Which window of time.
        window: i64,
    },
}

/// An event to publish.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Its type.
    pub event_type: EventType,
    /// When it happened, if its producer said so.
    pub timestamp: Option<Timestamp>,
    /// Its object.
    pub data: EventData,
    /// The channels that it is on.
    pub channels: Channels,
    /// What makes it the same as another.
    pub identity: Identity,
}

/// An event that was accepted, now or before.
#[derive(Debug, Clone)]
pub struct PublishedEvent {
    /// Which one.
    pub id: EventId,
    /// Its type.
    pub event_type: EventType,
    /// When it happened.
    pub timestamp: Timestamp,
    /// When it was accepted first.
    pub at: Timestamp,
    /// Whether that was now.
    pub new: bool,
    /// The deliveries to the tenant's own endpoints that it leads to; none if it was accepted before.
    pub planned_deliveries: u64,
}

/// Why an event was not accepted.
#[derive(Debug)]
pub enum PublishError {
    /// The idempotency key was used for another body.
    Conflict,
    /// The payload exceeds [`PAYLOAD_LIMIT`].
    TooLarge,
    /// Our failure; publishing again completes it.
    Fault(Fault),
}

impl From<Fault> for PublishError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// What publishing needs.
#[derive(Debug)]
pub struct Publisher {
    /// Where endpoints are looked up.
    pub endpoints: Endpoints,
    /// What tenants have set about their events.
    pub settings: TenantSettings,
    /// Where events are stored.
    pub events: StoredEvents,
    /// Where it is stored which endpoints they go to.
    pub snapshots: Snapshots,
    /// Where deliveries begin.
    pub lanes: Lanes,
    /// Where the pages of wide fan-outs begin.
    pub fan_out: Arc<Lane>,
    /// Lets one wide event at a time be serialised.
    pub wide: Semaphore,
}

/// Messages on their way out, by queue.
#[derive(Default)]
struct Outbox {
    fast: Vec<Outgoing>,
    slow: Vec<Outgoing>,
    pages: Vec<Outgoing>,
    /// Bytes of the payloads that ride in messages.
    bytes: usize,
}

impl Outbox {
    /// Whether so many messages with a payload of this size still fit into what one call sends.
    fn has_room(&self, messages: usize, size: usize) -> bool {
        self.fast.len() + self.slow.len() + messages <= SENT_BY_PUBLISH
            && self.bytes + messages * size <= BYTES_SENT_BY_PUBLISH
    }
}

impl Publisher {
    /// Publishes one event.
    pub async fn publish(
        &self,
        tenant: &TenantId,
        event: NewEvent,
        now: Timestamp,
    ) -> Result<PublishedEvent, PublishError> {
        let mut results = self.publish_all(tenant, vec![event], now).await;
        results.pop().unwrap_or_else(|| Err(Fault::new("publishing", "one event has no result").into()))
    }

    /// Publishes one event if an endpoint gets it; `None` where none does.
    pub async fn publish_if_wanted(
        &self,
        tenant: &TenantId,
        event: NewEvent,
        now: Timestamp,
    ) -> Result<Option<PublishedEvent>, PublishError> {
        if self.subscribers(tenant).await?.targets(&event).is_empty() {
            return Ok(None);
        }
        self.publish(tenant, event, now).await.map(Some)
    }

    /// How many deliveries to the tenant's own endpoints these events would lead to.
    pub async fn planned_deliveries<'e>(
        &self,
        tenant: &TenantId,
        events: impl IntoIterator<Item = &'e NewEvent>,
    ) -> Result<u64, Fault> {
        let subscribers = self.subscribers(tenant).await?;
        Ok(events.into_iter().map(|event| own_count(&subscribers.targets(event))).sum())
    }

    /// Publishes many events, with a result for each, in order.
    ///
    /// An event counts as accepted only when it is stored and all its messages are in a lane.
    /// Where sending fails, every event of the call is reported as failed: publishing them again
    /// under the same idempotency keys completes what is missing.
    pub async fn publish_all(
        &self,
        tenant: &TenantId,
        events: Vec<NewEvent>,
        now: Timestamp,
    ) -> Vec<Result<PublishedEvent, PublishError>> {
        // Read once for the whole call, so that all its events have the same subscribers.
        let subscribers = match self.subscribers(tenant).await {
            Ok(subscribers) => subscribers,
            Err(fault) => {
                tracing::error!(%fault, %tenant, "could not read endpoints; events were not stored");
                let unread = || Fault::new("publishing", "the endpoints could not be read");
                return events.iter().map(|_| Err(unread().into())).collect();
            }
        };
        let identities: Vec<_> = events.iter().map(|event| event.identity.clone()).collect();
        let prepared = events.into_iter().map(|event| self.prepare(tenant, event, &subscribers, now));
        let prepared: Vec<_> = stream::iter(prepared).buffered(PREPARED_AT_ONCE).collect().await;
        let (indexes, new): (Vec<_>, Vec<_>) = prepared
            .iter()
            .enumerate()
            .filter_map(|(index, event)| Some((index, event.as_ref().ok()?.clone())))
            .unzip();
        let (new, planned): (Vec<_>, Vec<_>) = new.into_iter().unzip();
        let mut results: Vec<_> = prepared.into_iter().map(|event| event.map(|_| None)).collect();
        let mut outbox = Outbox::default();
        let put = self.events.put_all(tenant, &new).await;
        for ((index, (new, planned)), put) in indexes.into_iter().zip(new.into_iter().zip(planned)).zip(put) {
            results[index] = match put {
                Err(fault) => Err(fault.into()),
                Ok(put) => {
                    let enqueued =
                        Self::enqueue(tenant, &identities[index], new, put, &subscribers, now, &mut outbox);
                    enqueued.map(|event| {
                        let planned_deliveries = if event.new { planned } else { 0 };
                        Some(PublishedEvent { planned_deliveries, ..event })
                    })
                }
            };
        }
        let sent = self.send(&outbox).await;
        if let Err(fault) = &sent {
            tracing::error!(%fault, %tenant, "stored events but could not send their messages");
        }
        let unsent = || Fault::new("publishing", "the lane did not accept the messages").into();
        let no_result = || Fault::new("publishing", "storing has no result").into();
        let results = results.into_iter().map(|result| result?.ok_or_else(no_result));
        results.map(|result| if sent.is_err() { result.and(Err(unsent())) } else { result }).collect()
    }

    async fn subscribers(&self, tenant: &TenantId) -> Result<Subscribers, Fault> {
        let operators = async {
            if tenant.is_operator() {
                Ok(Arc::default())
            } else {
                self.endpoints.subscribers(&TenantId::operator()).await
            }
        };
        let (own, operator, settings) = futures_util::try_join!(
            self.endpoints.subscribers(tenant),
            operators,
            self.settings.get(tenant)
        )?;
        Ok(Subscribers { own, operator, settings })
    }

    /// Makes of an event what is stored, with how many deliveries to the tenant's own endpoints it leads to; the endpoints of a wide fan-out are stored here already.
    async fn prepare(
        &self,
        tenant: &TenantId,
        event: NewEvent,
        subscribers: &Subscribers,
        now: Timestamp,
    ) -> Result<(StoredEvent, u64), PublishError> {
        let id = match &event.identity {
            Identity::None | Identity::InboundReplay { .. } => EventId::new(now, clock::random()?),
            Identity::IdempotencyKey(key) => EventId::from_idempotency_key(tenant, key),
            Identity::ProviderEvent { source, event_id, .. } => {
                EventId::from_provider_event(tenant, *source, event_id)
            }
            Identity::Alert { name, endpoint, window } => {
                EventId::from_alert(tenant, name, *endpoint, *window)
            }
            Identity::ConnectionChange { name, connection, change, .. } => {
                EventId::from_connection(tenant, name, *connection, *change)
            }
            Identity::SyncedChange { sync, change } => EventId::from_sync(tenant, *sync, change),
        };
        let inbound = match event.identity {
            Identity::ProviderEvent { source, request, .. } | Identity::InboundReplay { source, request } => {
                Some((source, request))
            }
            Identity::None
            | Identity::IdempotencyKey(_)
            | Identity::Alert { .. }
            | Identity::SyncedChange { .. }
            | Identity::ConnectionChange { .. } => None,
        };
        let timestamp = event.timestamp.unwrap_or(now);
        let payload = event::payload(&event.event_type, timestamp, &event.data);
        if payload.len() > PAYLOAD_LIMIT {
            return Err(PublishError::TooLarge);
        }
        let targets = subscribers.targets(&event);
        let planned = own_count(&targets);
        let is_slow = |target: &Target| subscribers.is_slow(target, now);
        // Ten thousand endpoints as text are some megabytes, and a batch has a hundred events.
        let closed = |_| Fault::new("publishing", "semaphore closed");
        let _turn = if targets.len() > SNAPSHOT_INLINE {
            Some(self.wide.acquire().await.map_err(closed)?)
        } else {
            None
        };
        let retention = subscribers.settings.retention;
        let snapshot = self.snapshots.put(tenant, id, targets, is_slow, (now, retention)).await?;
        let payload = RawValue::from_string(payload).map_err(Fault::on("writing a payload"))?;
        let stored = StoredEvent {
            id,
            timestamp,
            at: now,
            retention,
            source_id: inbound.map(|(source, _)| source),
            inbound_request_id: inbound.map(|(_, request)| request),
            payload: self.events.store_payload(tenant, id, payload, retention).await?,
            fingerprint: event::fingerprint(&event.event_type, event.timestamp, &event.data, &event.channels),
            snapshot,
            channels: event.channels,
            event_type: event.event_type,
        };
        Ok((stored, planned))
    }

    /// Says which messages a stored event needs.
    fn enqueue(
        tenant: &TenantId,
        identity: &Identity,
        new: StoredEvent,
        put: PutOutcome,
        subscribers: &Subscribers,
        now: Timestamp,
        outbox: &mut Outbox,
    ) -> Result<PublishedEvent, PublishError> {
        let (event, check) = match put {
            PutOutcome::New => (new, false),
            PutOutcome::Exists(stored) => {
                if matches!(identity, Identity::IdempotencyKey(_)) && stored.fingerprint != new.fingerprint {
                    return Err(PublishError::Conflict);
                }
                (*stored, true)
            }
        };
        let StoredEvent { id, timestamp, at, .. } = event;
        let published = PublishedEvent {
            id,
            event_type: event.event_type.clone(),
            timestamp,
            at,
            new: !check,
            planned_deliveries: 0,
        };
        // There is one alert for a window, and it has been sent.
        if check && matches!(identity, Identity::Alert { .. }) {
            return Ok(published);
        }
        let delay = if check { repeat_delay(at, now) } else { Duration::ZERO };
        fill(outbox, tenant, event, check, delay, |target| subscribers.is_slow(target, now));
        Ok(published)
    }

    /// Sends messages of a stored event to some of its endpoints again, marked so that a
    /// finished delivery is not attempted again.
    pub async fn resend(
        &self,
        tenant: &TenantId,
        event: StoredEvent,
        targets: &[Target],
        now: Timestamp,
    ) -> Result<(), Fault> {
        let delay = repeat_delay(event.at, now);
        let event = Arc::new(event);
        let inline = event.fits_inline();
        let outgoing = |target: &Target| Outgoing {
            tenant: tenant.clone(),
            body: Body::First { event: Arc::clone(&event), target: *target, inline, check: true },
            delay,
        };
        let messages: Vec<_> = targets.iter().map(outgoing).collect();
        self.lanes.get(LaneKind::Slow).send(&messages).await
    }

    async fn send(&self, outbox: &Outbox) -> Result<(), Fault> {
        let Outbox { fast, slow, pages, .. } = outbox;
        let queues = [
            (self.lanes.get(LaneKind::Fast), fast),
            (self.lanes.get(LaneKind::Slow), slow),
            (&*self.fan_out, pages),
        ];
        stream::iter(queues.map(Ok)).try_for_each(|(lane, messages)| lane.send(messages)).await
    }
}

/// How long the messages of a repeated publish are held back.
pub(crate) fn repeat_delay(accepted: Timestamp, now: Timestamp) -> Duration {
    // Spread, so that many repeats do not all arrive at the same moment.
    (SETTLING + SPREAD.mul_f64(clock::jitter())).saturating_sub(now.since(accepted))
}

/// Puts an event's messages into the box: one for each endpoint, or one for each page of them. Where a
/// publish has too many to send, the endpoints of an event without pages are one page too.
fn fill(
    outbox: &mut Outbox,
    tenant: &TenantId,
    event: StoredEvent,
    check: bool,
    delay: Duration,
    is_slow: impl Fn(&Target) -> bool,
) {
    let event = Arc::new(event);
    let outgoing = |body| Outgoing { tenant: tenant.clone(), body, delay };
    let page = |page| {
        outgoing(Body::Page(PageMessage {
            v: lane::VERSION,
            tenant: tenant.clone(),
            event_id: event.id,
            page,
            check,
        }))
    };
    let inline = event.fits_inline();
    let size = event.payload_here().filter(|_| inline).map_or(0, |json| json.get().len());
    match &event.snapshot {
        Snapshot::Inline(targets) if !outbox.has_room(targets.len(), size) => outbox.pages.push(page(0)),
        Snapshot::Inline(targets) => {
            outbox.bytes += targets.len() * size;
            for target in targets {
                let lane = if is_slow(target) { &mut outbox.slow } else { &mut outbox.fast };
                lane.push(outgoing(Body::First {
                    event: Arc::clone(&event),
                    target: *target,
                    inline,
                    check,
                }));
            }
        }
        Snapshot::Pages { count, .. } => outbox.pages.extend((0..*count).map(page)),
    }
}

#[cfg(test)]
mod tests;
