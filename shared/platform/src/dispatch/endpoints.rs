//! What a batch asks of each of its endpoints, once: may it be called; and what it then learns.

use std::{sync::Arc, time::Duration};

use domain::{
    TenantId, Timestamp,
    delivery::{ParkedReason, driver::LaneKind},
    endpoint::{
        Disabled, DisabledBy, Endpoint, OnDisable, State,
        gate::{Gate, gate},
        health::{Tally, Verdict},
        limit::Rate,
    },
    saturating,
};

use super::{Admitted, Dispatcher, EndpointKey, recorder::Ticket, work::Work};
use crate::{
    Fault,
    alert::Alert,
    runtime::clock,
    store::due::drains::{DISABLED_STEP, DRAIN_STEP, HeldAction},
};

/// A wait for a rate limit up to this long is spent hidden in the lane …
const SHORT_WAIT: Duration = Duration::from_secs(2);
/// … by messages that were not received more often than this.
const SHORT_WAIT_RECEIVES: u32 = 5;

/// How often a change of an endpoint's health is tried that others change too.
const TRIES: u32 = 3;

/// What a delivery may do.
#[derive(Debug, Clone, Copy)]
pub(super) enum Admission {
    /// Be attempted.
    Attempt,
    /// Go to the slow lane first.
    Move,
    /// Wait in its lane for a moment.
    Wait(Duration),
    /// Wait for its endpoint.
    Park(ParkedReason),
    /// Nothing any more.
    Cancel,
}

impl Dispatcher {
    /// Decides for the works of one endpoint.
    pub(super) async fn admit(&self, key: &EndpointKey, works: Vec<(Work, Ticket)>) -> Vec<Admitted> {
        let admissions = match works.first() {
            None => Vec::new(),
            Some((first, _)) => self.admissions(key, first, &works).await,
        };
        let admitted = works.into_iter().zip(admissions);
        admitted.map(|((work, ticket), admission)| (work, ticket, admission)).collect()
    }

    async fn admissions(&self, key: &EndpointKey, first: &Work, works: &[(Work, Ticket)]) -> Vec<Admission> {
        let endpoint = &first.endpoint;
        let now = clock::now();
        let all = |admission| vec![admission; works.len()];
        match gate(endpoint, now) {
            Gate::Cancel => all(Admission::Cancel),
            Gate::Hold(reason) => all(Admission::Park(reason)),
            Gate::Probe => {
                let mut admissions = all(Admission::Park(ParkedReason::CircuitOpen));
                if Box::pin(self.take_probe(&key.0, endpoint, now)).await {
                    admissions[0] = Admission::Attempt;
                }
                admissions
            }
            Gate::Go(_) if first.lane == LaneKind::Fast && endpoint.health.is_slow(now) => {
                all(Admission::Move)
            }
            Gate::Go(None) => all(Admission::Attempt),
            Gate::Go(Some(rate)) => Box::pin(self.ration(key, works, rate, now)).await,
        }
    }

    /// The lease on the probe of a half-open circuit is the write that says that it is under way.
    async fn take_probe(&self, owner: &TenantId, endpoint: &Endpoint, now: Timestamp) -> bool {
        let Some(probing) = endpoint.health.probing(now) else { return false };
        self.endpoints.save_health(owner, endpoint, &probing).await.unwrap_or_else(|fault| {
            tracing::error!(%fault, "a probe was not begun");
            false
        })
    }

    /// Charges a rate limit once for all works.
    async fn ration(
        &self,
        (owner, id): &EndpointKey,
        works: &[(Work, Ticket)],
        rate: Rate,
        now: Timestamp,
    ) -> Vec<Admission> {
        let wanted = saturating::<u32>(works.len());
        let (permits, wait) = match self.leases.take_permits(owner, *id, rate, wanted, now).await {
            Ok(grant) => (grant.permits, Duration::from_micros(grant.wait.unsigned_abs())),
            Err(fault) => {
                // A limit that cannot be counted is not a reason to break it.
                tracing::error!(%fault, tenant = %owner, endpoint_id = %id, "a rate limit was not charged");
                (0, Duration::from_secs(10))
            }
        };
        let ration = |(at, (work, _)): (u32, &(Work, Ticket))| {
            if at < permits {
                Admission::Attempt
            } else if wait <= SHORT_WAIT && work.received <= SHORT_WAIT_RECEIVES {
                Admission::Wait(wait)
            } else {
                Admission::Park(ParkedReason::RateLimit)
            }
        };
        (0..).zip(works).map(ration).collect()
    }

    /// Writes how an endpoint fares after these attempts, and acts on it.
    pub(super) async fn learn(
        &self,
        owner: &TenantId,
        endpoint: &Arc<Endpoint>,
        tally: &Tally,
    ) -> Result<(), Fault> {
        let mut endpoint = Arc::clone(endpoint);
        // The probe of this batch has changed it already.
        if let Some(newer) = self.endpoints.get(owner, endpoint.id).await? {
            endpoint = newer;
        }
        let now = clock::now();
        for _ in 0..TRIES {
            let health = endpoint.health.after(tally, now);
            if health == endpoint.health {
                break;
            }
            let saved = self.endpoints.save_health(owner, &endpoint, &health).await?;
            if saved {
                if endpoint.health.circuit.is_some() && health.circuit.is_none() {
                    tracing::info!(tenant = %owner, endpoint_id = %endpoint.id, "the circuit closed");
                    self.drains.wake(owner, endpoint.id, now, HeldAction::Unchanged, now).await?;
                    Box::pin(self.alerts.raise(owner, endpoint.id, &Alert::Recovered)).await;
                } else if endpoint.health.circuit.is_none() && health.circuit.is_some() {
                    tracing::warn!(tenant = %owner, endpoint_id = %endpoint.id, "the circuit opened");
                }
                endpoint = Arc::new(Endpoint {
                    health,
                    health_version: endpoint.health_version + 1,
                    ..Endpoint::clone(&endpoint)
                });
                break;
            }
            let newer = self.endpoints.get_now(owner, endpoint.id).await?;
            endpoint = newer.ok_or_else(|| Fault::new("dispatching", "the endpoint is gone"))?;
        }
        self.judge(owner, &endpoint, tally, now).await
    }

    /// Disables an endpoint that is gone or failed for days; warns before that.
    async fn judge(
        &self,
        owner: &TenantId,
        endpoint: &Endpoint,
        tally: &Tally,
        now: Timestamp,
    ) -> Result<(), Fault> {
        if endpoint.state != State::Enabled {
            return Ok(());
        }
        let verdict = match self.disable_after_days {
            0 => None,
            days => endpoint.health.verdict(now, days),
        };
        let by = match verdict {
            _ if tally.gone => DisabledBy::Gone,
            Some(Verdict::Disable) if tally.failed > 0 => DisabledBy::Failing,
            Some(Verdict::Warn { disabled_at }) if tally.failed > 0 => {
                self.alerts.raise(owner, endpoint.id, &Alert::Disabling { disabled_at }).await;
                return Ok(());
            }
            _ => return Ok(()),
        };
        let disabled = Disabled { mode: OnDisable::Hold, by, at: now };
        if self.endpoints.disable_enabled(owner, endpoint.id, disabled).await? {
            self.alerts.raise(owner, endpoint.id, &Alert::Disabled(by)).await;
        }
        Ok(())
    }

    /// Sees to it that what is about to be held for an endpoint comes back.
    pub(super) async fn expect_back(
        &self,
        owner: &TenantId,
        endpoint: &Endpoint,
        reason: ParkedReason,
    ) -> Result<(), Fault> {
        let now = clock::now();
        let due = match (reason, endpoint.health.circuit) {
            (ParkedReason::Disabled, _) => now + DISABLED_STEP,
            (ParkedReason::CircuitOpen, Some(circuit)) => circuit.until.max(now),
            (ParkedReason::CircuitOpen | ParkedReason::RateLimit, _) => now + DRAIN_STEP,
        };
        self.drains.touch(owner, endpoint.id, due, now).await
    }
}
