//! The work that is held for an endpoint. What happens to it depends on the state of the endpoint:
//! nothing yet, one probe, as much as its rate allows for a minute, or all of it discarded.

use std::{sync::Arc, time::Duration};

use domain::{
    Timestamp,
    delivery::engine::due::DueChange,
    endpoint::Endpoint,
    recovery::drain::{self, DRAIN_LEASE, DRAIN_STEP, Next, Then},
    saturating,
};

use super::budget::{RunTotals, StopTime};
use crate::{
    Fault,
    publish::lanes::{Body, Lane, Outgoing},
    setup::Parts,
    store::{
        due::{
            drains::{DrainEntry, Drains, drain_place},
            index::{DueDelivery, DueEndpoint, DueIndex},
        },
        registry::endpoints::Endpoints,
        table::keys::{self, HELD_SHARDS},
    },
};

/// Entries in one page of the due index.
pub(super) const DUE_PAGE: i32 = 500;

/// What draining needs.
#[derive(Debug)]
pub struct Drainer {
    /// Where endpoints are looked up.
    pub(super) endpoints: Endpoints,
    /// What is due or held.
    pub(super) due: DueIndex,
    /// Entries of held work.
    pub(super) drains: Drains,
    /// Where what is released goes.
    pub(super) slow_lane: Arc<Lane>,
}

/// The held work of an endpoint that this run has leased.
pub(super) struct LeasedDrain {
    entry: DueEndpoint,
    endpoint: Option<Arc<Endpoint>>,
    drain: DrainEntry,
}

impl Drainer {
    /// Made of a function's parts.
    #[must_use]
    pub fn new(parts: &Parts) -> Self {
        Self {
            endpoints: parts.endpoints.clone(),
            due: parts.due.clone(),
            drains: parts.drains.clone(),
            slow_lane: Arc::clone(&parts.lanes.slow),
        }
    }

    /// Leases the work held for an endpoint, unless another run has it.
    pub(super) async fn lease(&self, mut entry: DueEndpoint, now: Timestamp) -> Option<LeasedDrain> {
        let lease = now + DRAIN_LEASE;
        let leasing = async {
            let endpoint = self.endpoints.get_now(&entry.owner, entry.endpoint).await?;
            Ok::<_, Fault>(self.drains.take(&entry, lease).await?.map(|drain| (endpoint, drain)))
        };
        match leasing.await {
            Ok(leased) => leased.map(|(endpoint, drain)| {
                entry.place = drain_place(entry.endpoint, lease);
                LeasedDrain { entry, endpoint, drain }
            }),
            Err(fault) => {
                let (owner, endpoint) = (&entry.owner, entry.endpoint);
                tracing::error!(%fault, tenant = %owner, endpoint_id = %endpoint, "could not lease held deliveries");
                None
            }
        }
    }

    /// Sends those deliveries that were taken; how many. One that is not sent stays leased and is due
    /// again when its lease expires.
    pub(super) async fn send(
        &self,
        due: &[DueDelivery],
        taken: Vec<Result<bool, Fault>>,
        delay: impl Fn(usize) -> Duration,
    ) -> usize {
        let mut outgoing = Vec::with_capacity(due.len());
        for (due, taken) in due.iter().zip(taken) {
            match taken {
                Ok(true) => outgoing.push(Outgoing {
                    tenant: due.key.tenant.clone(),
                    body: Body::Again { delivery: due.key.clone(), operator: due.operator },
                    delay: delay(outgoing.len()),
                }),
                Ok(false) => {}
                Err(fault) => tracing::error!(%fault, "could not take due delivery"),
            }
        }
        let sent = self.slow_lane.send_each(&outgoing).await;
        let failed = sent.iter().find_map(|sent| sent.as_ref().err());
        if let Some(fault) = failed {
            tracing::error!(%fault, "could not send due deliveries; they are due again when their lease expires");
        }
        outgoing.len()
    }

    /// Drains the work held for one endpoint, for one slice of the run. Where that fails, its entry is
    /// due again when its lease expires.
    /// Into a full lane only the probe of a half-open circuit goes.
    pub(super) async fn drain(
        &self,
        leased: LeasedDrain,
        full: bool,
        now: Timestamp,
        stop: StopTime,
    ) -> RunTotals {
        let mut totals = RunTotals { endpoints: 1, ..RunTotals::default() };
        if let Err(fault) = self.try_drain(&leased, full, now, stop.slice(), &mut totals).await {
            let (owner, endpoint) = (&leased.entry.owner, leased.entry.endpoint);
            tracing::error!(%fault, tenant = %owner, endpoint_id = %endpoint, "draining held deliveries failed");
        }
        totals
    }

    async fn try_drain(
        &self,
        leased: &LeasedDrain,
        full: bool,
        now: Timestamp,
        stop: StopTime,
        totals: &mut RunTotals,
    ) -> Result<(), Fault> {
        let LeasedDrain { entry, drain, .. } = leased;
        let next = match self.drain_once(leased, full, now, stop, totals).await? {
            Next::At(at) => at,
            Next::End if self.drains.end(entry, drain, now).await? => return Ok(()),
            Next::End => now + DRAIN_STEP,
        };
        // Has no effect where the entry was woken in the meantime: then it is due as that call said.
        self.drains.take(entry, next).await?;
        Ok(())
    }

    /// Does what the state of the endpoint requires, and returns what follows for the entry.
    async fn drain_once(
        &self,
        leased: &LeasedDrain,
        full: bool,
        now: Timestamp,
        stop: StopTime,
        totals: &mut RunTotals,
    ) -> Result<Next, Fault> {
        let LeasedDrain { entry, endpoint, .. } = leased;
        let plan = drain::plan(endpoint.as_deref(), now);
        if let Some(until) = plan.discard_until {
            let (discarded, all) = self.discard(entry, until, stop).await?;
            totals.discarded += discarded;
            if !all {
                return Ok(Next::At(now + DRAIN_STEP));
            }
        }
        let budget = match plan.then {
            Then::Next(next) => return Ok(next),
            Then::Release(budget) if full && budget > 1 => return Ok(Next::At(now + DRAIN_STEP)),
            Then::Release(budget) => saturating::<usize>(budget),
        };
        let (released, empty) = self.release(entry, budget, now, stop).await?;
        totals.sent += released;
        Ok(drain::after_release(empty, now))
    }

    /// Releases up to `budget` held deliveries, spread over the time until the next run: how many, and
    /// whether every shard was found empty from the start.
    async fn release(
        &self,
        entry: &DueEndpoint,
        budget: usize,
        now: Timestamp,
        stop: StopTime,
    ) -> Result<(usize, bool), Fault> {
        let mut released = 0;
        let mut empty = true;
        for shard in 0..HELD_SHARDS {
            let pk = || keys::held_partition(&entry.owner, entry.endpoint, shard);
            // An equal part for each shard, and what others left for the last ones.
            let share = (budget - released).div_ceil(usize::from(HELD_SHARDS - shard));
            let mut left = share;
            // A shard that was not read may hold something.
            empty &= left > 0 && !stop.has_passed();
            while left > 0 && !stop.has_passed() {
                let limit = i32::try_from(left).unwrap_or(DUE_PAGE).min(DUE_PAGE);
                let page = self.due.page(pk(), now, limit).await?;
                if page.deliveries.is_empty() {
                    break;
                }
                empty = false;
                let taken = self.due.change(&page.deliveries, DueChange::Release(now)).await;
                let spread = |index: usize| {
                    let position = saturating::<u32>(released + index);
                    DRAIN_STEP * position / saturating::<u32>(budget.max(1))
                };
                let sent = self.send(&page.deliveries, taken, spread).await;
                if sent == 0 {
                    break;
                }
                released += sent;
                left = left.saturating_sub(sent);
            }
        }
        Ok((released, empty))
    }

    /// Discards what was held until `before`: how many, and whether that was all.
    async fn discard(
        &self,
        entry: &DueEndpoint,
        before: Timestamp,
        stop: StopTime,
    ) -> Result<(usize, bool), Fault> {
        let mut discarded = 0;
        for shard in 0..HELD_SHARDS {
            loop {
                if stop.has_passed() {
                    return Ok((discarded, false));
                }
                let pk = keys::held_partition(&entry.owner, entry.endpoint, shard);
                let page = self.due.page(pk, before, DUE_PAGE).await?;
                let mut changed = 0;
                let mut failed = None;
                for result in self.due.change(&page.deliveries, DueChange::Discard).await {
                    match result {
                        Ok(done) => changed += usize::from(done),
                        Err(fault) => failed = Some(fault),
                    }
                }
                if let Some(fault) = failed {
                    // Too much at once for the table, most likely; the rest is discarded in a minute.
                    tracing::warn!(%fault, "could not discard all held deliveries; retrying in a minute");
                    return Ok((discarded + changed, false));
                }
                discarded += changed;
                if page.deliveries.is_empty() {
                    break;
                }
                // Nothing was discarded: the index is behind the table, so it may hide more.
                if changed == 0 {
                    return Ok((discarded, false));
                }
            }
        }
        Ok((discarded, true))
    }
}
