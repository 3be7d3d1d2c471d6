//! Operational events: what tenants must know about their own webhooks. What each says is in `payload`;
//! alarms of the deployment itself are in the template.
//!
//! They are events like others, published to those endpoints that subscribe to them by name, and to the
//! topic of alerts, at most one of a kind for each endpoint and window of time. Windows divide time, so
//! that an alert's id can be derived from them, and the conditional put that stores it makes it unique.
//! A condition can outlast its window, so the first alert of a window checks for the one before. Raised
//! alerts are cached, so that a lasting condition does not cost a put each time.

pub mod payload;

use std::{sync::Arc, time::Duration};

use domain::{
    DeliveryId, EndpointId, EventId, TenantId, Timestamp,
    delivery::stats::FailureRate,
    endpoint::DisabledBy,
    event::{EventData, EventType, channel::Channels},
    saturating,
};
use serde_json::{Value, value::RawValue};

use self::payload::{
    DeliveryAlert, EndpointDisabled, EndpointFailing, EndpointRecovered, OperationalEvent, SecretRotated,
};
use crate::{
    Fault,
    aws::sns::Topic,
    publish::{Identity, NewEvent, PublishError, Publisher},
    runtime::{cache::Cache, clock},
};

/// Alerts that one function caches; more than so many endpoints in trouble at once cost it a put more
/// for some of them.
const CACHED_ALERTS: usize = 4096;

/// The longest window.
const LONGEST_WINDOW: Duration = Duration::from_hours(24);

/// How long it is remembered that an alert is muted: its tenant can want it again.
const MUTED: Duration = Duration::from_mins(1);

const DOING: &str = "raising an alert";

/// What happened.
#[derive(Debug, Clone)]
pub enum Alert {
    /// A delivery failed for the last time.
    Exhausted(DeliveryId),
    /// An endpoint fails often.
    Failing(FailureRate),
    /// An endpoint has failed for so long that it will be disabled unless an attempt succeeds.
    Disabling {
        /// When it will be.
        disabled_at: Timestamp,
    },
    /// The service disabled an endpoint.
    Disabled(DisabledBy),
    /// An endpoint whose circuit was open responds again; what was held for it is delivered.
    Recovered,
    /// A delivery was not finished when its event's retention ended.
    Expired(DeliveryId),
    /// A message about a delivery could not be processed for so long that it was quarantined.
    Quarantined(DeliveryId),
    /// An endpoint got a new signing key.
    Rotated {
        /// The new key's fingerprint.
        fingerprint: String,
        /// The fingerprints of those that still sign.
        previous: Vec<String>,
        /// When the last of these expires.
        previous_expires_at: Timestamp,
    },
}

impl Alert {
    /// How long there is no second one of its name about the same endpoint.
    fn window(&self) -> Duration {
        match self {
            // Each matters, and two rotations within a second are one.
            Self::Rotated { .. } => Duration::from_secs(1),
            Self::Disabled(_) => Duration::from_mins(1),
            // The circuit of an unstable endpoint opens again within a minute.
            Self::Recovered => Duration::from_mins(10),
            Self::Exhausted(_) | Self::Failing(_) | Self::Quarantined(_) => Duration::from_hours(1),
            Self::Disabling { .. } | Self::Expired(_) => LONGEST_WINDOW,
        }
    }

    /// Its payload.
    fn event(&self, endpoint: EndpointId) -> OperationalEvent {
        use OperationalEvent as Event;
        match self {
            Self::Exhausted(id) => Event::DeliveryExhausted(DeliveryAlert::exhausted(*id)),
            Self::Expired(id) => Event::DeliveryExpired(DeliveryAlert::expired(*id)),
            Self::Quarantined(id) => Event::DeliveryQuarantined(DeliveryAlert::quarantined(*id)),
            Self::Failing(rate) => Event::EndpointFailing(EndpointFailing::rate(endpoint, rate)),
            Self::Disabling { disabled_at } => {
                Event::EndpointFailing(EndpointFailing::disabling(endpoint, *disabled_at))
            }
            Self::Disabled(by) => Event::EndpointDisabled(EndpointDisabled::new(endpoint, *by)),
            Self::Recovered => Event::EndpointRecovered(EndpointRecovered::new(endpoint)),
            Self::Rotated { fingerprint, previous, previous_expires_at } => {
                let (fingerprint, previous) = (fingerprint.clone(), previous.clone());
                let rotated = SecretRotated::new(endpoint, fingerprint, previous, *previous_expires_at);
                Event::SecretRotated(rotated)
            }
        }
    }

    /// Its name among those about the same endpoint: of one name there is one in a window.
    fn name(&self, event: &OperationalEvent) -> &'static str {
        match self {
            Self::Disabling { .. } => "endpoint.failing: disabling",
            _ => event.event_type(),
        }
    }
}

/// The data of an operational event, as a JSON object.
fn data(event: &OperationalEvent) -> Result<Value, Fault> {
    let mut value = serde_json::to_value(event).map_err(Fault::on(DOING))?;
    Ok(value["data"].take())
}

/// Raises alerts.
#[derive(Debug)]
pub struct Alerts {
    publisher: Arc<Publisher>,
    topic: Topic,
    /// When alerts of a name about an endpoint were raised last, as far as this function knows.
    raised: Cache<Subject, Timestamp>,
    /// Those that were not raised lately, because they are muted.
    muted: Cache<Subject, ()>,
}

/// The owner of an endpoint, the endpoint, and the name of an alert about it.
type Subject = (TenantId, EndpointId, &'static str);

impl Alerts {
    /// Notifies by operational events that `publisher` publishes, and by the topic.
    #[must_use]
    pub fn new(publisher: Arc<Publisher>, topic: Topic) -> Self {
        Self {
            publisher,
            topic,
            raised: Cache::new(LONGEST_WINDOW, CACHED_ALERTS),
            muted: Cache::new(MUTED, CACHED_ALERTS),
        }
    }

    /// Notifies the owner of an endpoint. A failure to do so is logged, and fails nothing else.
    pub async fn raise(&self, owner: &TenantId, endpoint: EndpointId, alert: &Alert) {
        let now = clock::now();
        let event = alert.event(endpoint);
        let (event_type, name) = (event.event_type(), alert.name(&event));
        let subject = (owner.clone(), endpoint, name);
        let is_raised = self.raised.get(&subject).is_some_and(|at| now.since(at) < alert.window());
        if is_raised || self.muted.get(&subject).is_some() {
            return;
        }
        tracing::warn!(tenant = %owner, endpoint_id = %endpoint, alert = event_type, "alert");
        match self.try_raise(&subject, alert.window(), &event, now).await {
            Ok(Some(at)) => self.raised.put(subject, at),
            Ok(None) => self.muted.put(subject, ()),
            Err(fault) => {
                tracing::error!(%fault, tenant = %owner, endpoint_id = %endpoint, alert = event_type, "could not publish alert");
            }
        }
    }

    /// Raises an alert unless there is one; returns when the existing one was raised, or nothing where it is muted.
    async fn try_raise(
        &self,
        (owner, endpoint, name): &Subject,
        length: Duration,
        event: &OperationalEvent,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, Fault> {
        let window = now.millis() / saturating::<i64>(length.as_millis()).max(1);
        let event_type: EventType =
            event.event_type().parse().map_err(|_| Fault::new(DOING, "its type is malformed"))?;
        let object = data(event)?;
        let data = RawValue::from_string(object.to_string()).map_err(Fault::on(DOING))?;
        let data = EventData::try_from(data).map_err(|why| Fault::new(DOING, why))?;
        let identity = Identity::Alert { name, endpoint: *endpoint, window };
        let new = NewEvent { event_type, timestamp: None, data, channels: Channels::new(), identity };
        if self.publisher.is_muted(owner, &new).await? {
            return Ok(None);
        }
        // Two small reads come first: a function that does not know of the alert reads no list of endpoints for it.
        let [before, this] =
            [window - 1, window].map(|window| EventId::from_alert(owner, name, *endpoint, window));
        let events = &self.publisher.events;
        let (before, this) = futures_util::try_join!(events.get(owner, before), events.get(owner, this))?;
        if let Some(raised) = this.or(before.filter(|before| now.since(before.at) < length)) {
            return Ok(Some(raised.at));
        }
        match self.publisher.publish(owner, new, now).await {
            Ok(published) => {
                if published.new {
                    self.notify_operator(owner, event.event_type(), object, now).await;
                }
                Ok(Some(published.at))
            }
            Err(PublishError::Fault(fault)) => Err(fault),
            Err(PublishError::Conflict | PublishError::TooLarge) => Err(Fault::new(DOING, "it was refused")),
        }
    }

    /// Notifies the operator of the deployment, once for each operational event.
    async fn notify_operator(
        &self,
        owner: &TenantId,
        event_type: &'static str,
        mut object: Value,
        now: Timestamp,
    ) {
        object["type"] = event_type.into();
        object["tenant"] = owner.as_str().into();
        object["time"] = now.to_string().into();
        let attributes = [("type", event_type), ("tenant", owner.as_str())];
        if let Err(fault) = self.topic.publish(event_type, &object.to_string(), &attributes).await {
            tracing::error!(%fault, tenant = %owner, alert = event_type, "could not publish alert to topic");
        }
    }
}

#[cfg(test)]
mod tests;
