//! Operational events: what a tenant must know about its own webhooks.
//!
//! They are events like others, published to those endpoints that ask for them by name, at most one
//! for each endpoint and window of time: its id is derived from both, so the conditional put that
//! stores it is what makes it one.

use std::{sync::Arc, time::Duration};

use domain::{
    DeliveryId, EndpointId, TenantId, Timestamp,
    endpoint::DisabledBy,
    event::{EventData, EventType},
};
use serde_json::{Value, json, value::RawValue};

use crate::{
    Fault, clock,
    publish::{Identity, NewEvent, Publisher, Refused},
};

/// What happened.
#[derive(Debug, Clone)]
pub enum Alert {
    /// A delivery failed for the last time.
    Exhausted(DeliveryId),
    /// An endpoint fails, and will be disabled if it goes on.
    Failing {
        /// When it will be.
        disabled_at: Timestamp,
    },
    /// An endpoint was disabled by its own doing.
    Disabled(DisabledBy),
    /// A delivery was not finished when its event's retention ended.
    Expired(DeliveryId),
    /// A message about a delivery could not be worked on for so long that it was set aside.
    SetAside(DeliveryId),
}

/// The types of operational events. Nobody else publishes them: whoever gets one can believe it.
pub const EVENT_TYPES: [&str; 5] =
    ["delivery.exhausted", "delivery.expired", "delivery.set_aside", "endpoint.disabled", "endpoint.failing"];

impl Alert {
    /// Its event type; one of [`EVENT_TYPES`].
    #[must_use]
    pub fn event_type(&self) -> &'static str {
        match self {
            Self::Exhausted(_) => "delivery.exhausted",
            Self::Failing { .. } => "endpoint.failing",
            Self::Disabled(_) => "endpoint.disabled",
            Self::Expired(_) => "delivery.expired",
            Self::SetAside(_) => "delivery.set_aside",
        }
    }

    /// How long there is no second one about the same endpoint.
    fn window(&self) -> Duration {
        match self {
            Self::Disabled(_) => Duration::from_mins(1),
            Self::Exhausted(_) | Self::SetAside(_) => Duration::from_hours(1),
            Self::Failing { .. } | Self::Expired(_) => Duration::from_hours(24),
        }
    }

    fn data(&self, endpoint: EndpointId) -> Value {
        match self {
            Self::Exhausted(delivery) => json!({
                "endpoint_id": endpoint, "delivery_id": delivery, "event_id": delivery.event,
                "message": "a delivery failed for the last time; others of this endpoint may have within the hour",
            }),
            Self::Failing { disabled_at } => json!({
                "endpoint_id": endpoint, "disabled_at": disabled_at,
                "message": "the endpoint fails without one success, and is disabled at that time if it goes on",
            }),
            Self::Disabled(by) => json!({
                "endpoint_id": endpoint, "disabled_by": by,
                "message": format!("the endpoint was disabled: {by}; its deliveries are held until it is enabled"),
            }),
            Self::Expired(delivery) => json!({
                "endpoint_id": endpoint, "delivery_id": delivery, "event_id": delivery.event,
                "message": "a delivery was not finished when its event's retention ended; there may be others",
            }),
            Self::SetAside(delivery) => json!({
                "endpoint_id": endpoint, "delivery_id": delivery, "event_id": delivery.event,
                "message": "a delivery could not be worked on for a long time and was parked; there may be others",
            }),
        }
    }
}

/// Who tells.
#[derive(Debug, Clone)]
pub struct Alerts {
    /// By what operational events are published.
    pub publisher: Arc<Publisher>,
}

impl Alerts {
    /// Tells the owner of an endpoint. Telling is never worth failing for: where it cannot be done
    /// the log has to do.
    pub async fn raise(&self, owner: &TenantId, endpoint: EndpointId, alert: &Alert) {
        let now = clock::now();
        let event_type = alert.event_type();
        tracing::warn!(tenant = %owner, endpoint_id = %endpoint, alert = event_type, "alert");
        if let Err(fault) = self.try_raise(owner, endpoint, alert, now).await {
            tracing::error!(%fault, tenant = %owner, endpoint_id = %endpoint, alert = event_type, "an alert was not sent");
        }
    }

    async fn try_raise(
        &self,
        owner: &TenantId,
        endpoint: EndpointId,
        alert: &Alert,
        now: Timestamp,
    ) -> Result<(), Fault> {
        const DOING: &str = "raising an alert";
        let event_type: EventType =
            alert.event_type().parse().map_err(|_| Fault::new(DOING, "its type is odd"))?;
        let data = RawValue::from_string(alert.data(endpoint).to_string()).map_err(Fault::on(DOING))?;
        let data = EventData::try_from(data).map_err(|why| Fault::new(DOING, why))?;
        let window = now.millis() / i64::try_from(alert.window().as_millis()).unwrap_or(i64::MAX).max(1);
        let identity = Identity::Alert { endpoint, window };
        let event = NewEvent { event_type, timestamp: None, data, identity };
        match self.publisher.publish(owner, event, now).await {
            Ok(_) => Ok(()),
            Err(Refused::Fault(fault)) => Err(fault),
            Err(Refused::Conflict | Refused::TooLarge) => Err(Fault::new(DOING, "it was refused")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alert_is_of_a_reserved_type() {
        let now = Timestamp::EPOCH;
        let endpoint = EndpointId::new(now, [1; 10]);
        let delivery = DeliveryId { event: domain::EventId::new(now, [2; 10]), endpoint };
        let all = [
            Alert::Exhausted(delivery),
            Alert::Expired(delivery),
            Alert::SetAside(delivery),
            Alert::Disabled(DisabledBy::Gone),
            Alert::Failing { disabled_at: now },
        ];
        let types: Vec<_> = all.iter().map(Alert::event_type).collect();
        assert_eq!(types, EVENT_TYPES);
        for alert in all {
            alert.event_type().parse::<EventType>().unwrap();
            assert_eq!(alert.data(endpoint)["endpoint_id"], endpoint.to_string());
        }
    }
}
