//! What a person does with one delivery: sends it again, or cancels it.
//!
//! A delivery that is finished gets a new generation, one that is not is made due now. Either way
//! its place in the due index is written before its message is sent, so that it has a driver
//! whenever this stops.

use std::time::Duration;

use domain::{
    DeliveryId, TenantId, Timestamp,
    delivery::{Delivery, Status},
    endpoint::State,
    event::EventType,
    recovery::replay,
    saturating,
};

use crate::{
    Fault,
    publish::lanes::{Body, Lane, Outgoing},
    store::{
        events::{
            deliveries::{Deliveries, DeliveryChange, DeliveryKey, RecordOutcome},
            generations::{Generations, NewGeneration},
            tracking::{DeliveryRow, TrackedDeliveries},
        },
        registry::endpoints::Endpoints,
    },
};

/// Tries to make a delivery due that is updated concurrently. Each such update is an attempt, so after
/// some of them nothing is left to be done.
const RESEND_TRIES: u32 = 4;

/// A delivery that the caller may see.
#[derive(Debug)]
pub struct ResendSubject {
    /// Whose event it is.
    pub tenant: TenantId,
    /// Which delivery.
    pub id: DeliveryId,
    /// Whether its endpoint is the operator's.
    pub operator: bool,
    /// The event's type.
    pub event_type: EventType,
}

/// The result of sending a delivery again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResendOutcome {
    /// It is made as soon as may be, or is on its way anyway.
    Accepted,
    /// Its endpoint is disabled: it would only be parked.
    Disabled,
    /// Its endpoint was deleted.
    Deleted,
    /// It was sent again too often.
    TooOften,
}

/// The result of cancelling a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelOutcome {
    /// It is cancelled, now or before.
    Cancelled,
    /// It had already finished.
    Finished(Status),
}

/// Sends single deliveries again, and cancels them.
#[derive(Debug)]
pub struct Resender<'a> {
    /// Where endpoints are looked up.
    pub endpoints: &'a Endpoints,
    /// Where deliveries are changed.
    pub deliveries: &'a Deliveries,
    /// Where generations are started.
    pub generations: &'a Generations,
    /// Where deliveries are looked up.
    pub tracked: &'a TrackedDeliveries,
    /// Where messages go.
    pub slow_lane: &'a Lane,
}

impl Resender<'_> {
    /// Sends a delivery again.
    pub async fn resend(&self, of: &ResendSubject, now: Timestamp) -> Result<ResendOutcome, Fault> {
        let owner = of.tenant.owner_of_endpoint(of.operator);
        match self.endpoints.get_now(&owner, of.id.endpoint).await?.map(|endpoint| endpoint.state) {
            Some(State::Enabled) => {}
            Some(State::Disabled(_)) => return Ok(ResendOutcome::Disabled),
            Some(State::Deleted) | None => return Ok(ResendOutcome::Deleted),
        }
        for _ in 0..RESEND_TRIES {
            // Without an item it is in a lane, and comes out of it soon.
            let Some(DeliveryRow { delivery, .. }) = self.tracked.latest(&of.tenant, of.id).await? else {
                break;
            };
            let key = |generation| DeliveryKey { tenant: of.tenant.clone(), id: of.id, generation };
            if delivery.status.is_final() {
                let Some(next) = replay::next_generation(delivery.generation) else {
                    return Ok(ResendOutcome::TooOften);
                };
                if self.start(of, key(next), now).await? {
                    self.send(of, key(next)).await;
                }
                // Otherwise a concurrent call has started it.
                break;
            }
            if replay::is_on_its_way(&delivery, now) {
                break;
            }
            let key = key(delivery.generation);
            let known = saturating::<u32>(delivery.attempts.len());
            if self.generations.make_due(&key, known, now).await? {
                self.send(of, key).await;
                break;
            }
        }
        Ok(ResendOutcome::Accepted)
    }

    async fn start(&self, of: &ResendSubject, key: DeliveryKey, now: Timestamp) -> Result<bool, Fault> {
        let new = NewGeneration {
            key,
            operator: of.operator,
            event_type: Some(of.event_type.clone()),
            replay: None,
        };
        let started = self.generations.start(&[new], now).await.pop();
        started.unwrap_or_else(|| Err(Fault::new("beginning a generation", "the statement has no result")))
    }

    async fn send(&self, of: &ResendSubject, delivery: DeliveryKey) {
        let body = Body::Again { delivery, operator: of.operator };
        let message = Outgoing { tenant: of.tenant.clone(), body, delay: Duration::ZERO };
        if let Err(fault) = self.slow_lane.send(&[message]).await {
            tracing::warn!(%fault, tenant = %of.tenant, delivery_id = %of.id, "could not send message of a resent delivery; its due entry will");
        }
    }

    /// Cancels a delivery. An attempt that is under way may still arrive.
    pub async fn cancel(
        &self,
        of: &ResendSubject,
        mut stored: Option<Delivery>,
        now: Timestamp,
    ) -> Result<CancelOutcome, Fault> {
        loop {
            match stored.as_ref().map(|stored| stored.status) {
                Some(Status::Cancelled) => return Ok(CancelOutcome::Cancelled),
                Some(status) if status.is_final() => return Ok(CancelOutcome::Finished(status)),
                _ => {}
            }
            let generation = stored.as_ref().map_or(0, |stored| stored.generation);
            let known = stored.map(|stored| saturating::<u32>(stored.attempts.len()));
            let key = DeliveryKey { tenant: of.tenant.clone(), id: of.id, generation };
            let change = DeliveryChange::to(Status::Cancelled, key, known, now)
                .describing(of.operator, Some(of.event_type.clone()));
            // Each round is lost only to one more recorded attempt, and those are bounded.
            match self.deliveries.record_one(change).await? {
                RecordOutcome::New => {
                    tracing::info!(tenant = %of.tenant, delivery_id = %of.id, "cancelled");
                    return Ok(CancelOutcome::Cancelled);
                }
                RecordOutcome::Lost(found) => stored = Some(found),
            }
        }
    }
}
