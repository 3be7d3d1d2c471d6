//! The verb in the middle: every producer publishes, nothing else writes events.

use std::{sync::Arc, time::Duration};

use domain::{
    EndpointId, EventId, SourceId, TenantId, Timestamp,
    endpoint::Endpoint,
    event::{self, EventData, EventType},
    lane,
};
use futures_util::{StreamExt, stream};
use serde_json::value::RawValue;

use crate::{
    Fault, clock,
    lanes::{Lane, Outgoing},
    store::{
        events::{Events, Put, StoredEvent},
        registry::Registry,
    },
};

/// Largest payload, in bytes.
pub const PAYLOAD_LIMIT: usize = 256 * 1024;

/// How long a repeated publish leaves the first one to itself: its messages carry a delay that
/// ends this long after the event was accepted. Within that the first attempt is usually on
/// record, and the repeat's message finds it. Longer than [`domain::delivery::FRESH`], a whole
/// attempt and its recording together.
const SETTLING: Duration = Duration::from_secs(30);

/// By how much several repeats are spread out.
const SPREAD: Duration = Duration::from_secs(10);

/// Events of one call that are stored at the same time.
const CONCURRENCY: usize = 16;

/// What makes two publishings the same.
#[derive(Debug, Clone)]
pub enum Identity {
    /// Nothing: each is its own event.
    None,
    /// The client's key; the same key with another body is refused.
    IdempotencyKey(String),
    /// The provider's own id of the event; providers change details between their retries, so
    /// the body is not compared.
    ProviderEvent(SourceId, String),
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
    /// What makes it the same as another.
    pub identity: Identity,
}

/// An event that was accepted, now or before.
#[derive(Debug, Clone)]
pub struct Published {
    /// Which one.
    pub id: EventId,
    /// Its type.
    pub event_type: EventType,
    /// When it happened.
    pub timestamp: Timestamp,
    /// When it was accepted first.
    pub at: Timestamp,
}

/// Why an event was not accepted.
#[derive(Debug)]
pub enum Refused {
    /// The idempotency key was used for another body.
    Conflict,
    /// The payload is over [`PAYLOAD_LIMIT`].
    TooLarge,
    /// Our failure; publishing again completes it.
    Fault(Fault),
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// What publishing needs.
#[derive(Debug)]
pub struct Publisher {
    /// Where endpoints are looked up.
    pub registry: Arc<Registry>,
    /// Where events are stored.
    pub events: Events,
    /// Where deliveries begin.
    pub fast_lane: Lane,
}

impl Publisher {
    /// Publishes one event.
    pub async fn publish(
        &self,
        tenant: &TenantId,
        event: NewEvent,
        now: Timestamp,
    ) -> Result<Published, Refused> {
        let mut results = self.publish_all(tenant, vec![event], now).await;
        results.pop().unwrap_or_else(|| Err(Fault::new("publishing", "no result came of one event").into()))
    }

    /// Publishes many events, with a result for each, in order.
    ///
    /// An event counts as accepted only when it is stored and all its messages are in the lane.
    /// Where sending fails, every event of the call is reported as failed: publishing them again
    /// under the same idempotency keys completes what is missing.
    pub async fn publish_all(
        &self,
        tenant: &TenantId,
        events: Vec<NewEvent>,
        now: Timestamp,
    ) -> Vec<Result<Published, Refused>> {
        // Read once for the whole call, whose events all go by what is subscribed now.
        let endpoints = match self.registry.endpoints(tenant).await {
            Ok(endpoints) => endpoints,
            Err(fault) => {
                tracing::error!(%fault, %tenant, "publishing stopped before storing");
                let unread = || Fault::new("publishing", "the endpoints could not be read");
                return events.iter().map(|_| Err(unread().into())).collect();
            }
        };
        let mut messages = Vec::new();
        let mut results = Vec::with_capacity(events.len());
        let mut stored =
            stream::iter(events.into_iter().map(|event| self.store(tenant, event, &endpoints, now)))
                .buffered(CONCURRENCY);
        while let Some(result) = stored.next().await {
            results.push(result.map(|(published, outgoing)| {
                messages.extend(outgoing);
                published
            }));
        }
        if let Err(fault) = self.fast_lane.send(tenant, &messages).await {
            tracing::error!(%fault, %tenant, "publishing stopped between storing and sending");
            for result in results.iter_mut().filter(|result| result.is_ok()) {
                *result = Err(Fault::new("publishing", "the lane did not take the messages").into());
            }
        }
        results
    }

    /// Stores one event, and says which messages it needs.
    async fn store(
        &self,
        tenant: &TenantId,
        event: NewEvent,
        endpoints: &[Endpoint],
        now: Timestamp,
    ) -> Result<(Published, Vec<Outgoing>), Refused> {
        let id = match &event.identity {
            Identity::None => EventId::new(now, clock::random()?),
            Identity::IdempotencyKey(key) => EventId::from_idempotency_key(tenant, key),
            Identity::ProviderEvent(source, event_id) => {
                EventId::from_provider_event(tenant, *source, event_id)
            }
        };
        let timestamp = event.timestamp.unwrap_or(now);
        let payload = event::payload(&event.event_type, timestamp, &event.data);
        if payload.len() > PAYLOAD_LIMIT {
            return Err(Refused::TooLarge);
        }
        let new = StoredEvent {
            id,
            timestamp,
            at: now,
            source_id: match event.identity {
                Identity::ProviderEvent(source, _) => Some(source),
                Identity::None | Identity::IdempotencyKey(_) => None,
            },
            payload: RawValue::from_string(payload).map_err(Fault::on("writing a payload"))?,
            fingerprint: event::fingerprint(&event.event_type, event.timestamp, &event.data),
            endpoints: endpoints
                .iter()
                .filter(|endpoint| endpoint.matches(&event.event_type))
                .map(|endpoint| endpoint.id)
                .collect(),
            event_type: event.event_type,
        };
        let (stored, check, delay) = match self.events.put(tenant, &new).await? {
            Put::New => (new, false, Duration::ZERO),
            Put::Exists(stored) => {
                if matches!(event.identity, Identity::IdempotencyKey(_))
                    && stored.fingerprint != new.fingerprint
                {
                    return Err(Refused::Conflict);
                }
                // Spread, so that many repeats do not all arrive at the same moment.
                let wait = SETTLING + SPREAD.mul_f64(clock::jitter());
                let delay = wait.saturating_sub(now.since(stored.at));
                (*stored, true, delay)
            }
        };
        let event = Arc::new(stored);
        let inline = lane::fits_inline(event.payload.get());
        let outgoing = |endpoint: &EndpointId| Outgoing {
            event: Arc::clone(&event),
            endpoint: *endpoint,
            inline,
            check,
            delay,
        };
        let messages = event.endpoints.iter().map(outgoing).collect();
        let StoredEvent { id, timestamp, at, .. } = *event;
        Ok((Published { id, event_type: event.event_type.clone(), timestamp, at }, messages))
    }
}
