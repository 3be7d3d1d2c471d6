//! Operational events: what a tenant must know about its own webhooks.
//!
//! They are events like others, published to those endpoints that ask for them by name, and to the
//! topic of alerts, at most one of a kind for each endpoint and window of time. Windows are cut out of
//! time so that an alert's id can be derived from them, and the conditional put that stores it is what
//! makes it one. A storm does not end where a window does, so who is the first in one looks at the
//! alert of the one before. What was raised is remembered, so that a storm is not a put each time.

use std::{sync::Arc, time::Duration};

use domain::{
    DeliveryId, EndpointId, EventId, TenantId, Timestamp,
    delivery::stats::FailureRate,
    endpoint::DisabledBy,
    event::{EventData, EventType, channel::Channels},
    saturating,
};
use serde_json::{Value, json, value::RawValue};

use crate::{
    Fault,
    aws::sns::Topic,
    publish::{Identity, NewEvent, Publisher, Refused},
    runtime::{cache::Cache, clock},
};

/// What happened.
#[derive(Debug, Clone)]
pub enum Alert {
    /// A delivery failed for the last time.
    Exhausted(DeliveryId),
    /// An endpoint fails often.
    Failing(FailureRate),
    /// An endpoint has failed for so long that it will be disabled if it goes on.
    Disabling {
        /// When it will be.
        disabled_at: Timestamp,
    },
    /// An endpoint was disabled by its own doing.
    Disabled(DisabledBy),
    /// An endpoint that was left alone answers again; what was held for it is delivered.
    Recovered,
    /// A delivery was not finished when its event's retention ended.
    Expired(DeliveryId),
    /// A message about a delivery could not be worked on for so long that it was quarantined.
    Quarantined(DeliveryId),
    /// An endpoint got a new signing key.
    Rotated {
        /// The new key's fingerprint.
        fingerprint: String,
        /// The fingerprints of those that still sign.
        previous: Vec<String>,
        /// When the last of these ends.
        previous_expires_at: Timestamp,
    },
}

/// The types of operational events. Nobody else publishes them: whoever gets one can believe it.
pub const EVENT_TYPES: [&str; 7] = [
    "delivery.exhausted",
    "delivery.expired",
    "delivery.quarantined",
    "endpoint.disabled",
    "endpoint.failing",
    "endpoint.recovered",
    "secret.rotated",
];

/// Alerts that one function remembers; more than so many endpoints in trouble at once cost it a put
/// more for some of them.
const REMEMBERED: usize = 4096;

/// The longest window.
const LONGEST_WINDOW: Duration = Duration::from_hours(24);

impl Alert {
    /// Its event type; one of [`EVENT_TYPES`].
    #[must_use]
    pub fn event_type(&self) -> &'static str {
        match self {
            Self::Exhausted(_) => "delivery.exhausted",
            Self::Failing(_) | Self::Disabling { .. } => "endpoint.failing",
            Self::Disabled(_) => "endpoint.disabled",
            Self::Recovered => "endpoint.recovered",
            Self::Expired(_) => "delivery.expired",
            Self::Quarantined(_) => "delivery.quarantined",
            Self::Rotated { .. } => "secret.rotated",
        }
    }

    /// What tells it from others about the same endpoint: of those of one name there is one in a window.
    fn name(&self) -> &'static str {
        match self {
            Self::Disabling { .. } => "endpoint.failing: disabling",
            _ => self.event_type(),
        }
    }

    /// How long there is no second one of its name about the same endpoint.
    fn window(&self) -> Duration {
        match self {
            // Each matters, and nobody rotates twice within a second.
            Self::Rotated { .. } => Duration::from_secs(1),
            Self::Disabled(_) => Duration::from_mins(1),
            // An endpoint that comes and goes opens its circuit again within a minute.
            Self::Recovered => Duration::from_mins(10),
            Self::Exhausted(_) | Self::Failing(_) | Self::Quarantined(_) => Duration::from_hours(1),
            Self::Disabling { .. } | Self::Expired(_) => LONGEST_WINDOW,
        }
    }

    fn data(&self, endpoint: EndpointId) -> Value {
        match self {
            Self::Exhausted(delivery) => json!({
                "endpoint_id": endpoint, "delivery_id": delivery, "event_id": delivery.event,
                "message": "a delivery failed for the last time; others of this endpoint may have within the hour",
            }),
            Self::Failing(FailureRate { rate, attempts, from, to }) => json!({
                "endpoint_id": endpoint, "reason": "rate",
                "failure_rate": rate, "attempts": attempts, "window": { "from": from, "to": to },
                "message": format!("{:.0} % of the last {attempts} attempts at the endpoint failed", rate * 100.0),
            }),
            Self::Disabling { disabled_at } => json!({
                "endpoint_id": endpoint, "reason": "disabling", "disabled_at": disabled_at,
                "message": "the endpoint fails without one success, and is disabled at that time if it goes on",
            }),
            Self::Disabled(by) => json!({
                "endpoint_id": endpoint, "disabled_by": by,
                "message": format!("the endpoint was disabled: {by}; its deliveries are held until it is enabled"),
            }),
            Self::Recovered => json!({
                "endpoint_id": endpoint,
                "message": "the endpoint answers again; what was held for it meanwhile is delivered now",
            }),
            Self::Expired(delivery) => json!({
                "endpoint_id": endpoint, "delivery_id": delivery, "event_id": delivery.event,
                "message": "a delivery was not finished when its event's retention ended; there may be others",
            }),
            Self::Quarantined(delivery) => json!({
                "endpoint_id": endpoint, "delivery_id": delivery, "event_id": delivery.event,
                "message": "a delivery could not be worked on for a long time and was parked; there may be others",
            }),
            Self::Rotated { fingerprint, previous, previous_expires_at } => json!({
                "endpoint_id": endpoint, "fingerprint": fingerprint, "previous_fingerprints": previous,
                "previous_expires_at": previous_expires_at,
                "message": "the endpoint has a new signing key; those before sign until the time given",
            }),
        }
    }
}

/// Who tells.
#[derive(Debug)]
pub struct Alerts {
    publisher: Arc<Publisher>,
    topic: Topic,
    /// When alerts of a name about an endpoint were raised last, as far as this function knows.
    raised: Cache<(TenantId, EndpointId, &'static str), Timestamp>,
}

impl Alerts {
    /// Tells by operational events that this publishes, and by the topic.
    #[must_use]
    pub fn new(publisher: Arc<Publisher>, topic: Topic) -> Self {
        Self { publisher, topic, raised: Cache::new(LONGEST_WINDOW, REMEMBERED) }
    }

    /// Tells the owner of an endpoint. Telling is never worth failing for: where it cannot be done
    /// the log has to do.
    pub async fn raise(&self, owner: &TenantId, endpoint: EndpointId, alert: &Alert) {
        let now = clock::now();
        let subject = (owner.clone(), endpoint, alert.name());
        if self.raised.get(&subject).is_some_and(|at| now.since(at) < alert.window()) {
            return;
        }
        let event_type = alert.event_type();
        tracing::warn!(tenant = %owner, endpoint_id = %endpoint, alert = event_type, "alert");
        match self.try_raise(owner, endpoint, alert, now).await {
            Ok(at) => self.raised.put(subject, at),
            Err(fault) => {
                tracing::error!(%fault, tenant = %owner, endpoint_id = %endpoint, alert = event_type, "an alert was not sent");
            }
        }
    }

    /// Raises an alert unless there is one; answers when that was raised which there is then.
    async fn try_raise(
        &self,
        owner: &TenantId,
        endpoint: EndpointId,
        alert: &Alert,
        now: Timestamp,
    ) -> Result<Timestamp, Fault> {
        const DOING: &str = "raising an alert";
        let (name, length) = (alert.name(), alert.window());
        let window = now.millis() / saturating::<i64>(length.as_millis()).max(1);
        let before = EventId::from_alert(owner, name, endpoint, window - 1);
        if let Some(before) = self.publisher.events.get(owner, before).await?
            && now.since(before.at) < length
        {
            return Ok(before.at);
        }
        let event_type: EventType =
            alert.event_type().parse().map_err(|_| Fault::new(DOING, "its type is odd"))?;
        let object = alert.data(endpoint);
        let data = RawValue::from_string(object.to_string()).map_err(Fault::on(DOING))?;
        let data = EventData::try_from(data).map_err(|why| Fault::new(DOING, why))?;
        let identity = Identity::Alert { name, endpoint, window };
        let event = NewEvent { event_type, timestamp: None, data, channels: Channels::new(), identity };
        match self.publisher.publish(owner, event, now).await {
            Ok(published) => {
                if published.new {
                    self.tell_topic(owner, alert, object, now).await;
                }
                Ok(published.at)
            }
            Err(Refused::Fault(fault)) => Err(fault),
            Err(Refused::Conflict | Refused::TooLarge) => Err(Fault::new(DOING, "it was refused")),
        }
    }

    /// Tells those who run the deployment, once for each operational event.
    async fn tell_topic(&self, owner: &TenantId, alert: &Alert, mut object: Value, now: Timestamp) {
        let event_type = alert.event_type();
        object["type"] = event_type.into();
        object["tenant"] = owner.as_str().into();
        object["time"] = now.to_string().into();
        let attributes = [("type", event_type), ("tenant", owner.as_str())];
        if let Err(fault) = self.topic.publish(event_type, &object.to_string(), &attributes).await {
            tracing::error!(%fault, tenant = %owner, alert = event_type, "the topic was not told of an alert");
        }
    }
}

#[cfg(test)]
mod tests;
