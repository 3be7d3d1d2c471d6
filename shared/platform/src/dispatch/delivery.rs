//! A delivery of a batch whose message was claimed: what its attempt needs, and what came before it.

use std::sync::Arc;

use domain::{
    DeliveryId, TenantId, Timestamp,
    delivery::{
        Retention,
        driver::LaneKind,
        engine::{change::Change, message::Run},
    },
    endpoint::Endpoint,
    event::EventType,
};

use super::EndpointKey;
use crate::{
    lambda::sqs::Record,
    store::events::deliveries::{DeliveryChange, DeliveryKey},
};

/// A delivery that is attempted, if its endpoint may be called.
#[derive(Debug)]
pub(super) struct PendingDelivery {
    /// The message's place in its batch.
    pub(super) batch_index: usize,
    /// How often the message was received, this time included.
    pub(super) received: u32,
    pub(super) lane: LaneKind,
    /// The tenant whose endpoint it is.
    pub(super) owner: TenantId,
    pub(super) key: DeliveryKey,
    /// Whether the endpoint is the operator's.
    pub(super) operator: bool,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) event_type: Option<EventType>,
    /// The body to sign and send; `None` where the event is no longer stored.
    pub(super) payload: Option<Arc<str>>,
    /// When the event was accepted, where the message or the event says so.
    pub(super) accepted_at: Option<Timestamp>,
    /// How long the event is kept from then on.
    pub(super) retention: Retention,
    /// The message as it was received.
    pub(super) record: Arc<Record>,
    pub(super) span: tracing::Span,
    /// The state machine of this message.
    pub(super) run: Run,
}

impl PendingDelivery {
    pub(super) fn id(&self) -> DeliveryId {
        self.key.id
    }

    pub(super) fn tenant(&self) -> &TenantId {
        &self.key.tenant
    }

    pub(super) fn endpoint_key(&self) -> EndpointKey {
        (self.owner.clone(), self.key.id.endpoint)
    }

    /// A change to this delivery, for the table.
    pub(super) fn change(&self, change: Change, now: Timestamp) -> DeliveryChange {
        DeliveryChange {
            key: self.key.clone(),
            operator: self.operator,
            event_type: self.event_type.clone(),
            change,
            accepted_at: self.accepted_at,
            retention: self.retention,
            now,
        }
    }
}
