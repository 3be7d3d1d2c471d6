//! A delivery as responses show it.

use domain::{
    DeliveryId, EndpointId, EventId, Timestamp,
    delivery::{ParkedReason, Status},
    event::EventType,
    saturating,
};
use platform::store::events::{lists::ListEntry, tracking::DeliveryRow};
use schemars::JsonSchema;
use serde::Serialize;

/// A delivery in its latest generation.
#[derive(Serialize, JsonSchema)]
pub(crate) struct DeliveryView {
    id: DeliveryId,
    event_id: EventId,
    event_type: EventType,
    endpoint_id: EndpointId,
    /// 0 at first, incremented by each replay.
    generation: u32,
    status: Status,
    /// The number of recorded attempts.
    attempt_count: usize,
    /// When the next attempt is due; null if that is not known.
    next_attempt_at: Option<Timestamp>,
    /// Why it is parked; null if it is not.
    parked_reason: Option<ParkedReason>,
    /// When it was first recorded; null before that.
    created_at: Option<Timestamp>,
}

impl DeliveryView {
    pub(crate) fn new(id: DeliveryId, event_type: &EventType, kept: Option<&DeliveryRow>) -> Self {
        let delivery = kept.map(|kept| &kept.delivery);
        Self {
            id,
            event_id: id.event,
            event_type: event_type.clone(),
            endpoint_id: id.endpoint,
            generation: delivery.map_or(0, |delivery| delivery.generation),
            status: delivery.map_or(Status::Pending, |delivery| delivery.status),
            attempt_count: delivery.map_or(0, |delivery| delivery.attempts.len()),
            next_attempt_at: delivery.and_then(|delivery| delivery.next_attempt_at),
            parked_reason: delivery.and_then(|delivery| delivery.parked_reason),
            created_at: kept.and_then(|kept| kept.created_at),
        }
    }

    pub(crate) fn listed(listed: &ListEntry, event_type: EventType) -> Self {
        Self {
            id: listed.key.id,
            event_id: listed.key.id.event,
            event_type,
            endpoint_id: listed.key.id.endpoint,
            generation: listed.key.generation,
            status: listed.status,
            attempt_count: saturating::<usize>(listed.attempts),
            next_attempt_at: listed.next_attempt_at,
            parked_reason: listed.parked_reason,
            created_at: Some(listed.place.at),
        }
    }
}
