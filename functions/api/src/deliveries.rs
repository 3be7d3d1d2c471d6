//! Where is my webhook: an event's deliveries, and their attempts.

use std::{collections::HashMap, sync::Arc};

use domain::{
    DeliveryId, EndpointId, EventId, Timestamp,
    delivery::{Attempt, Delivery, ParkedFor, Status},
    endpoint::Target,
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
    /// When it is tried again; null unless that is known.
    next_attempt_at: Option<Timestamp>,
    /// What it waits for; null unless it is parked.
    parked_for: Option<ParkedFor>,
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
            parked_for: delivery.and_then(|delivery| delivery.parked_for),
        }
    }
}

pub(crate) async fn list(api: Arc<Api>, call: Call) -> Result<Page<DeliveryView>, Problem> {
    let event_id: EventId = call.id("event_id", "event")?;
    let tenant = call.tenant()?;
    let event = api.events.get(tenant, event_id).await?.ok_or_else(|| Problem::not_found("event"))?;
    let targets = api.events.targets(tenant, &event).await?;
    let mut endpoints: Vec<_> =
        targets.into_iter().filter(|target| shown(&call, *target)).map(|target| target.endpoint).collect();
    endpoints.sort_unstable_by(|a, b| b.cmp(a));
    let Page { data: endpoints, next_cursor } =
        call.page(endpoints, |endpoint| *endpoint, |endpoint| endpoint)?;
    // Only what stands on the page is read, however many endpoints there are.
    let attempted = match (endpoints.last(), endpoints.first()) {
        (Some(oldest), Some(newest)) => {
            api.events.deliveries_between(tenant, event_id, *oldest, *newest).await?
        }
        _ => HashMap::new(),
    };
    let view = |endpoint: EndpointId| {
        let id = DeliveryId { event: event_id, endpoint };
        DeliveryView::new(id, &event.event_type, attempted.get(&endpoint))
    };
    Ok(Page { data: endpoints.into_iter().map(view).collect(), next_cursor })
}

/// A tenant does not see what goes to the operator's own endpoints.
fn shown(call: &Call, target: Target) -> bool {
    !target.operator || call.is_operator()
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
    let event = event.ok_or_else(|| Problem::not_found("delivery"))?;
    let targets = api.events.targets(tenant, &event).await?;
    let target = targets.into_iter().find(|target| target.endpoint == id.endpoint);
    target.filter(|target| shown(&call, *target)).ok_or_else(|| Problem::not_found("delivery"))?;
    let delivery = api.events.delivery(tenant, id, 0).await?;
    let view = DeliveryView::new(id, &event.event_type, delivery.as_ref());
    let attempts = delivery.map(|delivery| delivery.attempts).unwrap_or_default();
    Ok(FullDelivery { delivery: view, attempts })
}
