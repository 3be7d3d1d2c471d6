//! What a person does with one delivery: sends it again, or cancels it.
//!
//! A delivery that is finished gets a new generation, one that is not is made due now. Either way
//! its place in the due index is written before its message is sent, so that it has a driver
//! whenever this stops.

use std::time::Duration;

use domain::{
    DeliveryId, TenantId, Timestamp,
    delivery::{
        Delivery, Retention, Status,
        engine::{
            change::{Change, RecordOutcome},
            resend::{self, Cancel, Resend},
        },
    },
    endpoint::State,
    event::EventType,
};

use crate::{
    Fault,
    publish::lanes::{Body, Lane, Outgoing},
    store::{
        events::{
            deliveries::{Deliveries, DeliveryChange, DeliveryKey},
            generations::{Generations, NewGeneration},
            tracking::TrackedDeliveries,
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
    /// When the event was accepted.
    pub accepted_at: Timestamp,
    /// How long it is kept from then on.
    pub retention: Retention,
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
            let latest = self.tracked.latest(&of.tenant, of.id).await?.map(|row| row.delivery);
            let key = |generation| DeliveryKey { tenant: of.tenant.clone(), id: of.id, generation };
            match resend::resend(latest.as_ref(), now) {
                Resend::OnItsWay => break,
                Resend::TooOften => return Ok(ResendOutcome::TooOften),
                Resend::Start(generation, change) => {
                    if self.start(of, key(generation), change, now).await? {
                        self.send(of, key(generation)).await;
                    }
                    // Otherwise a concurrent call has started it.
                    break;
                }
                Resend::Hasten(change) => {
                    let key = key(latest.map_or(0, |latest| latest.generation));
                    if self.generations.make_due(&key, &change).await? {
                        self.send(of, key).await;
                        break;
                    }
                }
            }
        }
        Ok(ResendOutcome::Accepted)
    }

    async fn start(
        &self,
        of: &ResendSubject,
        key: DeliveryKey,
        change: Change,
        now: Timestamp,
    ) -> Result<bool, Fault> {
        let new = NewGeneration {
            key,
            change,
            operator: of.operator,
            accepted_at: of.accepted_at,
            retention: of.retention,
            event_type: of.event_type.clone(),
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
            let change = match resend::cancel(stored.as_ref()) {
                Cancel::Already => return Ok(CancelOutcome::Cancelled),
                Cancel::Finished(status) => return Ok(CancelOutcome::Finished(status)),
                Cancel::Record(change) => change,
            };
            let generation = stored.map_or(0, |stored| stored.generation);
            let change = DeliveryChange {
                key: DeliveryKey { tenant: of.tenant.clone(), id: of.id, generation },
                operator: of.operator,
                event_type: Some(of.event_type.clone()),
                change,
                accepted_at: Some(of.accepted_at),
                retention: of.retention,
                now,
            };
            match self.deliveries.record_one(change).await? {
                RecordOutcome::New => {
                    tracing::info!(tenant = %of.tenant, delivery_id = %of.id, "cancelled");
                    return Ok(CancelOutcome::Cancelled);
                }
                RecordOutcome::Conflict(found) => stored = Some(found),
            }
        }
    }
}
