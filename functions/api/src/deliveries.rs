//! Where is my webhook: an event's deliveries, and their attempts.

use std::sync::Arc;

use domain::{
    DeliveryId, EndpointId, EventId, Timestamp,
    delivery::{Attempt, Delivery, Status},
    event::EventType,
};
use platform::problem::Problem;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    Api,
    route::{Call, Page},
};

/// A delivery.
#[derive(Serialize, JsonSchema)]
pub(crate) struct DeliveryView {
    id: DeliveryId,
    event_id: EventId,
    event_type: EventType,
    endpoint_id: EndpointId,
    status: Status,
    attempt_count: usize,
    /// When it is tried again; null unless it is retrying.
    next_attempt_at: Option<Timestamp>,
}

impl DeliveryView {
    fn new(id: DeliveryId, event_type: &EventType, delivery: Option<&Delivery>) -> Self {
        Self {
            id,
            event_id: id.event,
            event_type: event_type.clone(),
            endpoint_id: id.endpoint,
            status: delivery.map_or(Status::Pending, |delivery| delivery.status),
            attempt_count: delivery.map_or(0, |delivery| delivery.attempts.len()),
            next_attempt_at: delivery.and_then(|delivery| delivery.next_attempt_at),
        }
    }
}

pub(crate) async fn list(api: Arc<Api>, call: Call) -> Result<Page<DeliveryView>, Problem> {
    let event_id: EventId = call.id("event_id", "event")?;
    let tenant = call.tenant()?;
    let event = api.events.get(tenant, event_id).await?.ok_or_else(|| Problem::not_found("event"))?;
    let attempted = api.events.deliveries(tenant, event_id).await?;
    let mut endpoints = event.endpoints;
    endpoints.sort_unstable_by(|a, b| b.cmp(a));
    let view = |endpoint: EndpointId| {
        let id = DeliveryId { event: event_id, endpoint };
        DeliveryView::new(id, &event.event_type, attempted.get(&endpoint))
    };
    call.page(endpoints, |endpoint| *endpoint, view)
}

/// A delivery with its attempts.
#[derive(Serialize, JsonSchema)]
pub(crate) struct FullDelivery {
    #[serde(flatten)]
    delivery: DeliveryView,
    /// In order, the first one first.
    attempts: Vec<Attempt>,
}

pub(crate) async fn get(api: Arc<Api>, call: Call) -> Result<FullDelivery, Problem> {
    let id: DeliveryId = call.id("delivery_id", "delivery")?;
    let tenant = call.tenant()?;
    let event = api.events.get(tenant, id.event).await?;
    let event = event
        .filter(|event| event.endpoints.contains(&id.endpoint))
        .ok_or_else(|| Problem::not_found("delivery"))?;
    let delivery = api.events.delivery(tenant, id, 0).await?;
    let view = DeliveryView::new(id, &event.event_type, delivery.as_ref());
    let attempts = delivery.map(|delivery| delivery.attempts).unwrap_or_default();
    Ok(FullDelivery { delivery: view, attempts })
}
