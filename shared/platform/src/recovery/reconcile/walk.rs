//! The walk of a job: tenant by tenant, through the events that have reached its age since the last pass.

use std::time::Duration;

use domain::{TenantId, Timestamp, delivery::Retention, tenant::UnusualRetention};
use futures_util::{StreamExt, future::join_all, stream};

use super::{
    Reconciler,
    event::{EventReconciler, EventReport},
    progress::{Job, Progress, Within},
};
use crate::{
    Fault,
    runtime::{
        clock,
        telemetry::{self, Metric, Unit},
    },
    store::{
        events::timeline::TimelineChunk,
        table::keys::{self, TENANT_SHARDS, TIMELINE_SHARDS},
    },
};

/// Tenants read at a time.
const TENANTS: i32 = 100;

/// Places of a tenant's timeline read at a time, from one partition.
const TIMELINE_CHUNK: i32 = 200;

/// Partitions of a timeline of which the first chunk is read concurrently: two days' shards.
const PARTITIONS: usize = 2 * TIMELINE_SHARDS as usize;

/// Events examined concurrently. Of each there is one page of its snapshot in memory, and the summaries of
/// its deliveries: a megabyte or two of the widest. Its payload is there only while it is acted on.
const CONCURRENT_EVENTS: usize = 8;

/// Messages that wait in the lanes from which nothing is sent again: what seems lost then is only
/// late, and more messages would make it later.
const LANES_FULL: u32 = 10_000;

/// What is left of an invocation when nothing is started any more: a page of each event that is being
/// examined, a step for all of them in turn, and saving the progress.
const ROUND: Duration = Duration::from_secs(20);

/// Tenants one after another of which nothing could be examined, from which on the failure is ours: the
/// run has failed, and the next one begins with the first of them.
const FAILED_IN_A_ROW: usize = 10;

/// The lease of a run is on all jobs.
const JOBS: &str = "reconcile";

/// How long a run waits for the lease: most runs end within seconds, and one that a person starts does
/// not have to be started twice.
const PATIENCE: Duration = Duration::from_secs(10);

/// The time between two tries to take the lease.
const BETWEEN_TRIES: Duration = Duration::from_millis(500);

/// How a walk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
enum WalkEnd {
    Complete,
    OutOfTime,
}

/// One walk of a job.
struct Walk<'a> {
    of: &'a Reconciler,
    events: EventReconciler<'a>,
    progress: Progress,
    examined: usize,
    repaired: usize,
    faults: usize,
    /// The progress before each of the last tenants of which nothing could be examined.
    failed: Vec<Progress>,
}

impl Reconciler {
    /// Goes through the events that have reached the age of each job since the last pass, as far as the
    /// time allows, and measures how far each job lags then. Does nothing while another run is at it.
    pub async fn run(&self, deadline: Timestamp) -> Result<(), Fault> {
        if !self.lease(deadline).await? {
            tracing::info!("another run of reconciliation has the lease");
            return Ok(());
        }
        let result = self.jobs(deadline - ROUND).await;
        // In the time that the others leave: a missing entry can wait for the next run.
        let entries = self.missing_entries(deadline - ROUND).await;
        if let Err(fault) = &entries {
            tracing::error!(%fault, job = "entries", "a job of reconciliation failed");
        }
        self.measure_lag().await;
        if let Err(fault) = self.progress.release(JOBS, deadline).await {
            tracing::warn!(%fault, "could not return the lease on reconciliation; it will expire");
        }
        result.and(entries)
    }

    async fn lease(&self, until: Timestamp) -> Result<bool, Fault> {
        let patience = clock::machine_now() + PATIENCE;
        loop {
            let now = clock::machine_now();
            if self.progress.lease(JOBS, until, now).await? {
                return Ok(true);
            }
            if now >= patience {
                return Ok(false);
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
    }

    /// Neither job can take the other's time or keep it from being done.
    async fn jobs(&self, until: Timestamp) -> Result<(), Fault> {
        let now = clock::machine_now();
        let expired = self.job(Job::Expire, now + until.since(now) / 2).await;
        if let Err(fault) = &expired {
            tracing::error!(%fault, job = Job::Expire.name(), "a job of reconciliation failed");
        }
        if self.publisher.lanes.waiting().await? > LANES_FULL {
            tracing::warn!("lanes are full; deliveries that seem lost may only be late");
            return expired;
        }
        self.job(Job::Repair, until).await?;
        expired
    }

    async fn job(&self, job: Job, until: Timestamp) -> Result<(), Fault> {
        let known = self.progress.get::<Progress>(job.name()).await?;
        let progress = Progress::next(known, clock::now() - job.age());
        if progress.is_finished() {
            return Ok(());
        }
        let mut walk = Walk {
            of: self,
            events: EventReconciler::new(self, job, until),
            progress,
            examined: 0,
            repaired: 0,
            faults: 0,
            failed: Vec::new(),
        };
        let end = walk.all().await;
        let Walk { progress, examined, repaired, faults, .. } = walk;
        let lag_seconds = progress.lag(clock::now() - job.age()).as_secs();
        let job = job.name();
        match &end {
            Ok(WalkEnd::Complete) => {
                tracing::info!(job, examined, repaired, faults, lag_seconds, "reconciled");
            }
            Ok(WalkEnd::OutOfTime) => {
                tracing::warn!(
                    job,
                    examined,
                    repaired,
                    faults,
                    lag_seconds,
                    "reconciliation ran out of time; the next run continues"
                );
            }
            Err(fault) => {
                tracing::error!(
                    %fault,
                    job,
                    examined,
                    repaired,
                    faults,
                    lag_seconds,
                    "reconciliation stopped; the next run continues"
                );
            }
        }
        self.progress.save(job, &progress).await?;
        end.map(|_| ())
    }

    /// Measures the lag of both jobs by the progress that is saved, however the run went: a job that
    /// fails, or that does not run while the lanes are full, lags as well.
    async fn measure_lag(&self) {
        let mut metrics = Vec::new();
        for job in [Job::Repair, Job::Expire] {
            match self.progress.get::<Progress>(job.name()).await {
                Ok(Some(progress)) => {
                    let lag = progress.lag(clock::now() - job.age());
                    metrics.push(Metric::one(job.lag_metric(), Unit::Seconds, lag.as_secs()));
                }
                // It was never saved. What is not measured is late, too, as the alarms see it.
                Ok(None) => {}
                Err(fault) => {
                    tracing::error!(%fault, job = job.name(), "could not measure reconciliation lag");
                }
            }
        }
        telemetry::measure(&metrics, &[], clock::now());
    }
}

impl Walk<'_> {
    fn job(&self) -> &'static str {
        self.events.job.name()
    }

    async fn all(&mut self) -> Result<WalkEnd, Fault> {
        if !self.progress.operator_is_done() {
            if self.tenant(&TenantId::operator(), &[]).await? == WalkEnd::OutOfTime {
                return Ok(WalkEnd::OutOfTime);
            }
            self.progress.operator_done = true;
        }
        while self.progress.shard < TENANT_SHARDS {
            let Progress { shard, after, .. } = &self.progress;
            let tenants = self.of.tenants.listings(*shard, after.as_deref(), TENANTS).await?;
            if tenants.is_empty() {
                (self.progress.shard, self.progress.after) = (self.progress.shard + 1, None);
                continue;
            }
            for tenant in tenants {
                if self.tenant(&tenant.id, &tenant.retentions).await? == WalkEnd::OutOfTime {
                    return Ok(WalkEnd::OutOfTime);
                }
                self.progress.after = Some(tenant.id.to_string());
            }
            // An invocation that is killed later does not repeat these tenants.
            let reached = self.failed.first().unwrap_or(&self.progress);
            self.of.progress.save(self.job(), reached).await?;
        }
        Ok(WalkEnd::Complete)
    }

    /// One tenant, whose failures are its own; those of many, one after another, are not.
    async fn tenant(&mut self, tenant: &TenantId, retentions: &[UnusualRetention]) -> Result<WalkEnd, Fault> {
        let before = self.progress.clone();
        let (examined, faults) = (self.examined, self.faults);
        if self.timeline(tenant, retentions).await? == WalkEnd::OutOfTime {
            return Ok(WalkEnd::OutOfTime);
        }
        self.progress.within = None;
        let (examined, faults) = (self.examined - examined, self.faults - faults);
        if examined > 0 {
            self.failed.clear();
        } else if faults > 0 {
            self.failed.push(before);
        }
        if self.failed.len() >= FAILED_IN_A_ROW {
            self.progress = self.failed.swap_remove(0);
            return Err(Fault::new("reconciling", "no event could be examined of many tenants in a row"));
        }
        Ok(WalkEnd::Complete)
    }

    /// One tenant's events of the span, partition by partition of its timeline.
    async fn timeline(
        &mut self,
        tenant: &TenantId,
        retentions: &[UnusualRetention],
    ) -> Result<WalkEnd, Fault> {
        let retentions = self.events.job.retentions(retentions, clock::now());
        for group in self.progress.partitions(tenant, &retentions).chunks(PARTITIONS) {
            if self.events.out_of_time() {
                self.progress.within = group.first().cloned();
                return Ok(WalkEnd::OutOfTime);
            }
            // Most tenants have few events, so that this is all.
            let firsts = join_all(group.iter().map(|position| self.list(tenant, position))).await;
            for (position, first) in group.iter().zip(firsts) {
                if self.partition(tenant, position.clone(), first).await? == WalkEnd::OutOfTime {
                    return Ok(WalkEnd::OutOfTime);
                }
            }
        }
        Ok(WalkEnd::Complete)
    }

    async fn list(&self, tenant: &TenantId, position: &Within) -> Result<TimelineChunk, Fault> {
        let (partition, span) = ((position.day, position.shard), self.progress.span(position.retention));
        let after = position.after.as_deref();
        self.of.timeline.chunk(tenant, partition, span, after, TIMELINE_CHUNK).await
    }

    /// One partition from a position on, of which the next chunk is listed already. Fails only where
    /// the progress cannot be saved.
    async fn partition(
        &mut self,
        tenant: &TenantId,
        mut position: Within,
        mut listed: Result<TimelineChunk, Fault>,
    ) -> Result<WalkEnd, Fault> {
        loop {
            let chunk = match listed {
                Ok(chunk) => chunk,
                Err(fault) => {
                    let (job, day, shard) = (self.job(), position.day, position.shard);
                    tracing::error!(%fault, job, %tenant, day, shard, "skipped unreadable part of a timeline");
                    self.faults += 1;
                    return Ok(WalkEnd::Complete);
                }
            };
            for places in chunk.places.chunks(CONCURRENT_EVENTS) {
                let end = if self.events.out_of_time() {
                    WalkEnd::OutOfTime
                } else {
                    self.batch(tenant, &mut position, places).await
                };
                if end == WalkEnd::OutOfTime {
                    self.progress.within = Some(position);
                    return Ok(WalkEnd::OutOfTime);
                }
            }
            if !chunk.more {
                return Ok(WalkEnd::Complete);
            }
            // An invocation that is killed later does not repeat this chunk.
            self.progress.within = Some(position.clone());
            self.of.progress.save(self.job(), &self.progress).await?;
            listed = self.list(tenant, &position).await;
        }
    }

    /// Examines a few events concurrently, and moves `position` behind those that are done.
    async fn batch(&mut self, tenant: &TenantId, position: &mut Within, places: &[String]) -> WalkEnd {
        let retention = position.retention;
        let events = places.iter().map(|place| self.event(tenant, place, retention));
        let reports: Vec<_> = stream::iter(events).buffered(CONCURRENT_EVENTS).collect().await;
        let mut end = WalkEnd::Complete;
        for (place, EventReport { repaired, faults, cut }) in places.iter().zip(reports) {
            self.repaired += repaired;
            self.faults += faults;
            if cut {
                end = WalkEnd::OutOfTime;
            }
            if end == WalkEnd::Complete {
                self.examined += usize::from(faults == 0);
                position.after = Some(place.clone());
            }
        }
        end
    }

    async fn event(&self, tenant: &TenantId, place: &str, only: Option<Retention>) -> EventReport {
        if let Some((_, id)) = keys::parse_timeline_place(place) {
            return self.events.event(tenant, id, only).await;
        }
        tracing::error!(job = self.job(), %tenant, place, "skipped unreadable timeline position");
        EventReport { faults: 1, ..EventReport::default() }
    }
}
