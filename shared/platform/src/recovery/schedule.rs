//! The verb that brings back what waits outside the lanes, every minute.
//!
//! Due deliveries go to the slow lane. An endpoint for which work is held has one entry, and what
//! becomes of its work depends on how the endpoint fares: nothing yet, one probe, as much as its
//! rate allows for a minute, or all of it dropped.

use std::{sync::Arc, time::Duration};

use domain::{
    Timestamp,
    delivery::ParkedReason,
    endpoint::{
        DRAIN_RATE, Endpoint,
        gate::{Gate, gate},
    },
    saturating,
};
use futures_util::{StreamExt, future::join_all, stream};
use serde::{Deserialize, Serialize};

use super::replay::{self, Bounds, Replayer};
use crate::{
    Fault,
    publish::lanes::{Body, Lane, Outgoing},
    runtime::{
        clock,
        telemetry::{self, Metric, Unit},
    },
    store::{
        due::{
            drains::{DISABLED_STEP, DRAIN_STEP, DrainEntry, Drains, drain_place},
            index::{DueDelivery, DueEndpoint, DueIndex, DuePage},
        },
        registry::{endpoints::Endpoints, progress::JobProgress},
        table::keys::{self, DUE_SHARDS, HELD_SHARDS},
    },
};

/// Entries in one page of the due index.
const PAGE: i32 = 500;

/// By how much the mark trails: the index shows a write late, and clocks differ.
const TRAIL: Duration = Duration::from_mins(15);

/// How long one run has an endpoint's held work for itself.
const DRAIN_LEASE: Duration = Duration::from_mins(5);

/// Most deliveries that are let go for one endpoint in one run, whatever its rate.
const MOST_AT_ONCE: usize = 30_000;

/// What must be left of an invocation for one more round.
const ROUND: Duration = Duration::from_secs(20);

/// How much of a run one endpoint's held work can take, so that a large backlog of one tenant does
/// not keep the others' waiting.
const SLICE: Duration = Duration::from_secs(10);

/// Endpoints that are seen to side by side.
const DRAINS: usize = 4;

/// Messages that wait in the slow lane from which no more are sent into it.
const BACKLOG: u32 = 100_000;

/// Messages that wait in the slow lane from which replays add none: live traffic goes first.
const REPLAY_BACKLOG: u32 = 10_000;

/// Most deliveries that one run lets go for replays, all of them together.
const REPLAYED_AT_ONCE: usize = 30_000;

/// The job's name among those whose progress is kept.
const JOB: &str = "due";

/// From which bucket of the due index on there may be something.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    bucket: i64,
}

/// What scheduling needs.
#[derive(Debug)]
pub struct Scheduler {
    /// Where endpoints are looked up.
    pub endpoints: Endpoints,
    /// Where the mark is.
    pub progress: JobProgress,
    /// What is due.
    pub due: DueIndex,
    /// Entries of held work.
    pub drains: Drains,
    /// Continues replays.
    pub replayer: Replayer,
    /// Where what is due goes.
    pub slow_lane: Arc<Lane>,
}

/// What a run did.
#[derive(Debug, Default)]
struct Done {
    sent: usize,
    dropped: usize,
    endpoints: usize,
    replays: usize,
    replayed: usize,
    /// How late the longest due entry was.
    lag: Duration,
}

/// An endpoint whose held work is this run's to see to.
struct Taken {
    entry: DueEndpoint,
    endpoint: Option<Arc<Endpoint>>,
    drain: DrainEntry,
}

/// What was found in a part of the due index.
#[derive(Default)]
struct Found {
    /// Whether it was not empty from the start.
    any: bool,
    done: Done,
    endpoints: Vec<Taken>,
    replays: Vec<replay::Taken>,
}

/// Whether it is time to stop.
#[derive(Debug, Clone, Copy)]
struct Until(Timestamp);

impl Until {
    fn is_over(self) -> bool {
        clock::machine_now() >= self.0
    }
}

impl Scheduler {
    /// Brings back all that is due, as far as the time allows: first what is due by its own time, of
    /// all tenants, then what is held for endpoints, each of which gets a slice of the time.
    pub async fn run(&self, deadline: Timestamp) -> Result<(), Fault> {
        let now = clock::now();
        let until = Until(deadline - ROUND);
        let busy = match self.slow_lane.waiting().await {
            // Due entries are leases: what waits in the lane for longer than one would be sent again.
            Ok(waiting) if waiting > BACKLOG => {
                tracing::warn!("the slow lane is full; what is due waits where it is");
                return Ok(());
            }
            Ok(waiting) => waiting > REPLAY_BACKLOG,
            Err(fault) => {
                tracing::warn!(%fault, "the slow lane is taken for not full");
                false
            }
        };
        let last = keys::bucket(now);
        let trailing = keys::bucket(now - TRAIL);
        let mark = self.mark(trailing).await?;
        let mut done = Done::default();
        let (mut taken, mut replays) = (Vec::new(), Vec::new());
        let mut passed = mark;
        let mut emptied = true;
        for bucket in mark..=last {
            if until.is_over() {
                tracing::warn!(bucket, "the scheduler's time is over with work left");
                break;
            }
            let shards = (0..DUE_SHARDS).map(|shard| self.bucket(bucket, shard, now, until));
            for shard in join_all(shards).await {
                // One shard that cannot be read must not keep the others from going on.
                let found = shard.unwrap_or_else(|fault| {
                    tracing::error!(%fault, bucket, "a part of the due index was left out");
                    Found { any: true, ..Found::default() }
                });
                emptied &= !found.any;
                done.add(&found.done);
                taken.extend(found.endpoints);
                replays.extend(found.replays);
            }
            // The mark passes only buckets that were found empty, and never gets closer than the trail.
            if emptied && bucket < trailing {
                passed = bucket + 1;
            }
        }
        if passed != mark {
            self.progress.save(JOB, &Mark { bucket: passed }).await?;
        }
        let drains = taken.into_iter().map(|taken| self.drain(taken, now, until));
        let mut drains = stream::iter(drains).buffer_unordered(DRAINS);
        while let Some(of_drain) = drains.next().await {
            done.add(&of_drain);
        }
        let lag_seconds = done.lag.as_secs();
        // Not written by a run that took nothing since the lane is full: then everything is late,
        // and its alarm takes silence for that.
        telemetry::measure(&[Metric::one("DueLag", Unit::Seconds, lag_seconds)], &[], now);
        done.replays = replays.len();
        done.replayed = self.replay(replays, busy, now, until).await;
        tracing::info!(
            sent = done.sent,
            dropped = done.dropped,
            endpoints = done.endpoints,
            replays = done.replays,
            replayed = done.replayed,
            lag_seconds,
            "due"
        );
        Ok(())
    }

    /// From which bucket on to look. Before the first run nothing can be older than the trail, and
    /// that is kept at once: the first runs may fail, and what is due meanwhile must not be passed.
    async fn mark(&self, trailing: i64) -> Result<i64, Fault> {
        if let Some(mark) = self.progress.get::<Mark>(JOB).await? {
            return Ok(mark.bucket);
        }
        self.progress.save(JOB, &Mark { bucket: trailing }).await?;
        Ok(trailing)
    }

    /// One shard of a bucket: what is due by its own time is sent, endpoints and replays are taken.
    async fn bucket(&self, bucket: i64, shard: u8, now: Timestamp, until: Until) -> Result<Found, Fault> {
        let mut found = Found::default();
        let end = now.min(keys::bucket_end(bucket));
        loop {
            let page = self.due.page(keys::due_partition(bucket, shard), end, PAGE).await?;
            if page.is_empty() {
                return Ok(found);
            }
            found.any = true;
            // Nothing moved: the index is behind the table, or others are at it.
            if !self.take_page(page, now, &mut found).await || until.is_over() {
                return Ok(found);
            }
        }
    }

    /// Takes a page of what is due; whether anything was taken.
    async fn take_page(&self, page: DuePage, now: Timestamp, found: &mut Found) -> bool {
        let oldest = page.deliveries.first().map(|due| due.place.at);
        let oldest = oldest.into_iter().chain(page.endpoints.first().map(|due| due.place.at)).min();
        found.done.lag = found.done.lag.max(oldest.map_or(Duration::ZERO, |at| now.since(at)));
        let sent = self.send_due(&page.deliveries, now).await;
        found.done.sent += sent;
        let takes = page.endpoints.into_iter().map(|entry| self.take(entry, now));
        let endpoints: Vec<_> = stream::iter(takes).buffer_unordered(DRAINS).collect().await;
        let takes = page.replays.into_iter().map(|entry| self.replayer.take(entry, now));
        let replays: Vec<_> = stream::iter(takes).buffer_unordered(DRAINS).collect().await;
        let before = found.endpoints.len() + found.replays.len();
        found.endpoints.extend(endpoints.into_iter().flatten());
        found.replays.extend(replays.into_iter().flatten());
        sent > 0 || found.endpoints.len() + found.replays.len() > before
    }

    /// Lets replays go on, after all else, each with a slice of the time and an even part of what
    /// one run lets go; how many deliveries that were.
    async fn replay(&self, replays: Vec<replay::Taken>, busy: bool, now: Timestamp, until: Until) -> usize {
        let most = saturating::<u32>(REPLAYED_AT_ONCE / replays.len().max(1)).max(1);
        let steps = replays.into_iter().map(async |taken| {
            let until = until.0.min(clock::machine_now() + SLICE);
            self.replayer.step(taken, Bounds { busy, most, now, until }).await
        });
        stream::iter(steps).buffer_unordered(DRAINS).fold(0, async |sum, let_go| sum + let_go).await
    }

    /// Takes the work held for an endpoint, unless another run has it.
    async fn take(&self, mut entry: DueEndpoint, now: Timestamp) -> Option<Taken> {
        let lease = now + DRAIN_LEASE;
        let taking = async {
            // The endpoint before its entry: whoever enables it marks what is to be dropped first,
            // so one that is seen enabled has its mark.
            let endpoint = self.endpoints.get_now(&entry.owner, entry.endpoint).await?;
            Ok::<_, Fault>(self.drains.take(&entry, lease).await?.map(|drain| (endpoint, drain)))
        };
        match taking.await {
            Ok(taken) => taken.map(|(endpoint, drain)| {
                entry.place = drain_place(entry.endpoint, lease);
                Taken { entry, endpoint, drain }
            }),
            Err(fault) => {
                tracing::error!(%fault, tenant = %entry.owner, endpoint_id = %entry.endpoint, "held work was left out");
                None
            }
        }
    }

    /// Takes due deliveries and sends them; how many were.
    async fn send_due(&self, due: &[DueDelivery], now: Timestamp) -> usize {
        let taken = self.due.take(due, now).await;
        self.send(due, taken, |_| Duration::ZERO).await
    }

    /// Sends those that were taken. One that is not sent stays leased and is due again then.
    async fn send(
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
                Err(fault) => tracing::error!(%fault, "a due delivery was not taken"),
            }
        }
        let sent = self.slow_lane.send_each(&outgoing).await;
        let failed = sent.iter().find_map(|sent| sent.as_ref().err());
        if let Some(fault) = failed {
            tracing::error!(%fault, "due deliveries were not sent; they are due again when their lease ends");
        }
        outgoing.len()
    }

    /// Sees to the work held for one endpoint. Where that fails its entry is due again when its lease
    /// ends.
    async fn drain(&self, taken: Taken, now: Timestamp, until: Until) -> Done {
        let mut done = Done { endpoints: 1, ..Done::default() };
        let until = Until(until.0.min(clock::machine_now() + SLICE));
        if let Err(fault) = self.try_drain(&taken, now, until, &mut done).await {
            let (owner, endpoint) = (&taken.entry.owner, taken.entry.endpoint);
            tracing::error!(%fault, tenant = %owner, endpoint_id = %endpoint, "held work was left half-way");
        }
        done
    }

    async fn try_drain(
        &self,
        taken: &Taken,
        now: Timestamp,
        until: Until,
        done: &mut Done,
    ) -> Result<(), Fault> {
        let Taken { entry, drain, .. } = taken;
        let next = match self.drain_once(taken, now, until, done).await? {
            None if self.drains.end(entry, drain, now).await? => return Ok(()),
            next => next.unwrap_or(now + DRAIN_STEP),
        };
        // Lost where somebody woke the entry meanwhile, which then is due as they said.
        self.drains.take(entry, next).await?;
        Ok(())
    }

    /// Does what the endpoint's state asks for; when to look again, if ever.
    async fn drain_once(
        &self,
        taken: &Taken,
        now: Timestamp,
        until: Until,
        done: &mut Done,
    ) -> Result<Option<Timestamp>, Fault> {
        let Taken { entry, endpoint, drain } = taken;
        let gate = endpoint.as_ref().map_or(Gate::Cancel, |endpoint| gate(endpoint, now));
        let discard_before = if gate == Gate::Cancel { Some(now) } else { drain.discard_before };
        if let Some(before) = discard_before {
            let (dropped, whole) = self.discard_held(entry, before, until).await?;
            done.dropped += dropped;
            if !whole {
                return Ok(Some(now + DRAIN_STEP));
            }
            if gate == Gate::Cancel {
                return Ok(None);
            }
        }
        let Some(endpoint) = endpoint else { return Ok(None) };
        let budget = match gate {
            Gate::Hold(ParkedReason::CircuitOpen) => {
                return Ok(Some(endpoint.health.circuit.map_or(now + DRAIN_STEP, |circuit| circuit.until)));
            }
            Gate::Hold(_) => return Ok(Some(now + DISABLED_STEP)),
            Gate::Probe => 1,
            Gate::Cancel => return Ok(None),
            Gate::Go(rate) => {
                let chosen = endpoint.settings.delivery_rate.unwrap_or(DRAIN_RATE);
                let per_second = rate.map_or(chosen, |rate| rate.get().min(chosen));
                usize::try_from(u64::from(per_second) * DRAIN_STEP.as_secs()).unwrap_or(MOST_AT_ONCE)
            }
        };
        let (released, empty) = self.release(entry, budget.min(MOST_AT_ONCE), now, until).await?;
        done.sent += released;
        Ok((!empty).then_some(now + DRAIN_STEP))
    }

    /// Lets up to `budget` held deliveries go, spread over the time until the next run: how many,
    /// and whether every shard was found empty from the start.
    async fn release(
        &self,
        entry: &DueEndpoint,
        budget: usize,
        now: Timestamp,
        until: Until,
    ) -> Result<(usize, bool), Fault> {
        let mut released = 0;
        let mut empty = true;
        for shard in 0..HELD_SHARDS {
            let pk = || keys::held_partition(&entry.owner, entry.endpoint, shard);
            // A fair part for each shard, and what others left for the last ones.
            let fair = (budget - released).div_ceil(usize::from(HELD_SHARDS - shard));
            let mut left = fair;
            // A shard that was not looked at may hold something.
            empty &= left > 0 && !until.is_over();
            while left > 0 && !until.is_over() {
                let limit = i32::try_from(left).unwrap_or(PAGE).min(PAGE);
                let page = self.due.page(pk(), now, limit).await?;
                if page.deliveries.is_empty() {
                    break;
                }
                empty = false;
                let let_go = self.due.release(&page.deliveries, now).await;
                let spread = |at: usize| {
                    let place = saturating::<u32>(released + at);
                    DRAIN_STEP * place / saturating::<u32>(budget.max(1))
                };
                let sent = self.send(&page.deliveries, let_go, spread).await;
                if sent == 0 {
                    break;
                }
                released += sent;
                left = left.saturating_sub(sent);
            }
        }
        Ok((released, empty))
    }

    /// Drops what was held until `before`: how many, and whether that was all.
    async fn discard_held(
        &self,
        entry: &DueEndpoint,
        before: Timestamp,
        until: Until,
    ) -> Result<(usize, bool), Fault> {
        let mut dropped = 0;
        for shard in 0..HELD_SHARDS {
            loop {
                if until.is_over() {
                    return Ok((dropped, false));
                }
                let pk = keys::held_partition(&entry.owner, entry.endpoint, shard);
                let page = self.due.page(pk, before, PAGE).await?;
                let mut moved = 0;
                let mut failed = None;
                for result in self.due.cancel(&page.deliveries).await {
                    match result {
                        Ok(cancelled) => moved += usize::from(cancelled),
                        Err(fault) => failed = Some(fault),
                    }
                }
                if let Some(fault) = failed {
                    // Too much at once for the table, most likely; the rest is dropped in a minute.
                    tracing::warn!(%fault, "held work is dropped more slowly");
                    return Ok((dropped + moved, false));
                }
                dropped += moved;
                if page.deliveries.is_empty() {
                    break;
                }
                // Nothing moved: the index is behind the table, so nobody knows what else it hides.
                if moved == 0 {
                    return Ok((dropped, false));
                }
            }
        }
        Ok((dropped, true))
    }
}

impl Done {
    fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.dropped += other.dropped;
        self.endpoints += other.endpoints;
        self.lag = self.lag.max(other.lag);
    }
}
