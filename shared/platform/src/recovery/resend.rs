//! What a person does with one delivery: has it made again, or calls it off.
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

/// How often it is tried to make a delivery due that others change too. Who changes it makes
/// attempts, so that after some more nothing is left to be done.
const TRIES: u32 = 4;

/// A delivery that somebody may see.
#[derive(Debug)]
pub struct Subject {
    /// Whose event it is.
    pub tenant: TenantId,
    /// Which delivery.
    pub id: DeliveryId,
    /// Whether its endpoint is the operator's.
    pub operator: bool,
    /// The event's type.
    pub event_type: EventType,
}

/// What came of asking for a delivery once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resent {
    /// It is made as soon as may be, or is on its way anyway.
    Yes,
    /// Its endpoint is disabled: it would only be parked.
    Disabled,
    /// Its endpoint was deleted.
    Deleted,
    /// It was delivered again too often.
    TooOften,
}

/// What came of calling a delivery off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// It is cancelled, now or before.
    Yes,
    /// It had ended already.
    Finished(Status),
}

/// By what single deliveries are made again and called off.
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
    /// Has a delivery made again.
    pub async fn resend(&self, of: &Subject, now: Timestamp) -> Result<Resent, Fault> {
        let owner = of.tenant.owner_of_endpoint(of.operator);
        match self.endpoints.get_now(&owner, of.id.endpoint).await?.map(|endpoint| endpoint.state) {
            Some(State::Enabled) => {}
            Some(State::Disabled(_)) => return Ok(Resent::Disabled),
            Some(State::Deleted) | None => return Ok(Resent::Deleted),
        }
        for _ in 0..TRIES {
            // Without an item it is in a lane, and comes out of it soon.
            let Some(DeliveryRow { delivery, .. }) = self.tracked.latest(&of.tenant, of.id).await? else {
                break;
            };
            let key = |generation| DeliveryKey { tenant: of.tenant.clone(), id: of.id, generation };
            if delivery.status.is_final() {
                let Some(next) = replay::next_generation(delivery.generation) else {
                    return Ok(Resent::TooOften);
                };
                if self.begin(of, key(next), now).await? {
                    self.send(of, key(next)).await;
                }
                // Whoever else asks at the same time has begun it.
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
        Ok(Resent::Yes)
    }

    async fn begin(&self, of: &Subject, key: DeliveryKey, now: Timestamp) -> Result<bool, Fault> {
        let begin = NewGeneration {
            key,
            operator: of.operator,
            event_type: Some(of.event_type.clone()),
            replay: None,
        };
        let begun = self.generations.start(&[begin], now).await.pop();
        begun.unwrap_or_else(|| Err(Fault::new("beginning a generation", "there is no answer")))
    }

    async fn send(&self, of: &Subject, delivery: DeliveryKey) {
        let body = Body::Again { delivery, operator: of.operator };
        let message = Outgoing { tenant: of.tenant.clone(), body, delay: Duration::ZERO };
        if let Err(fault) = self.slow_lane.send(&[message]).await {
            tracing::warn!(%fault, tenant = %of.tenant, delivery_id = %of.id, "a delivery that was asked for waits for its due entry");
        }
    }

    /// Calls a delivery off. An attempt that is under way may still arrive.
    pub async fn cancel(
        &self,
        of: &Subject,
        mut stored: Option<Delivery>,
        now: Timestamp,
    ) -> Result<Cancelled, Fault> {
        loop {
            match stored.as_ref().map(|stored| stored.status) {
                Some(Status::Cancelled) => return Ok(Cancelled::Yes),
                Some(status) if status.is_final() => return Ok(Cancelled::Finished(status)),
                _ => {}
            }
            let change = DeliveryChange {
                tenant: of.tenant.clone(),
                id: of.id,
                generation: stored.as_ref().map_or(0, |stored| stored.generation),
                operator: of.operator,
                event_type: Some(of.event_type.clone()),
                known: stored.map(|stored| saturating::<u32>(stored.attempts.len())),
                attempt: None,
                status: Status::Cancelled,
                next_at: None,
                parked_reason: None,
                place: None,
                now,
            };
            // Each round is lost only to one more recorded attempt, and those are bounded.
            match self.deliveries.record_one(change).await? {
                RecordOutcome::New => {
                    tracing::info!(tenant = %of.tenant, delivery_id = %of.id, "cancelled");
                    return Ok(Cancelled::Yes);
                }
                RecordOutcome::Lost(found) => stored = Some(found),
            }
        }
    }
}
