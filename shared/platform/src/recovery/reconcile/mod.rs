//! The verb that looks for what was lost, every hour: it compares events with their deliveries.
//!
//! `repair` looks at each event once, at an age of 15 to 75 minutes, or later where a run did not
//! get through. What it finds are deliveries that nobody drives: without an item, as a publish
//! leaves them that died between storing and sending and that nobody repeated, or overdue by an hour
//! without a place in the due index. Their messages are sent now. A driver that is lost after this
//! one look is not found.
//!
//! `expire` looks at each event once before its retention ends. What is not finished of it is
//! marked `expired`, so that nothing just vanishes.
//!
//! What cannot be read or mended is logged, counted and passed over: it must not keep the rest from
//! being looked at.

use std::{collections::HashSet, sync::Arc, time::Duration};

use domain::{
    DeliveryId, EndpointId, EventId, TenantId, Timestamp,
    delivery::{RETENTION_DAYS, Status},
    endpoint::Target,
};
use futures_util::{StreamExt, future::join_all, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::{
    Fault,
    alert::{Alert, Alerts},
    publish::Publisher,
    runtime::clock,
    store::{
        events::{
            deliveries::{Deliveries, DeliveryChange, DeliverySummary, DuePlace, RecordOutcome},
            pages::{Snapshot, Snapshots},
            stored::{StoredEvent, StoredEvents},
            timeline::{Timeline, TimelineChunk},
        },
        registry::{progress::JobProgress, tenants::Tenants},
        table::keys::{self, TENANT_SHARDS, TIMELINE_SHARDS},
    },
};

/// How old an event is when it is looked at: by then its first attempts are on record.
const SETTLED: Duration = Duration::from_mins(15);

/// How long a due attempt has been missed when its driver is taken for lost.
const LOST_AFTER: Duration = Duration::from_hours(1);

/// How old an event is whose deliveries expire: two days before it is deleted.
const EXPIRES: Duration = Duration::from_hours(24 * (RETENTION_DAYS - 2));

/// How far back the first run looks.
const FIRST: Duration = Duration::from_hours(24);

/// Tenants read at a time.
const TENANTS: i32 = 100;

/// Places of a tenant's timeline read at a time, from one partition.
const CHUNK: i32 = 200;

/// Partitions of a timeline of which the first chunk is read side by side: two days' shards.
const PARTITIONS: usize = 2 * TIMELINE_SHARDS as usize;

/// Events looked at side by side. Of each there is its payload in memory, one page of its snapshot,
/// and where its deliveries stand: a megabyte or two of the widest.
const CONCURRENCY: usize = 8;

/// Deliveries of one event that are mended between two looks at the time: each may raise an alert,
/// which takes several calls.
const STEP: usize = 50;

/// Such steps made side by side.
const STEPS: usize = 2;

/// Alerts raised side by side.
const ALERTS: usize = 8;

/// Messages that wait in the lanes from which nothing is sent again: what seems lost then is only
/// late, and more messages would make it later.
const BACKLOG: u32 = 10_000;

/// What is left of an invocation when nothing is begun any more: a page of each event that is being
/// looked at, a step for all of them in turn, and keeping the progress.
const ROUND: Duration = Duration::from_secs(20);

/// Tenants one after another of which nothing could be looked at, from which on it is not theirs:
/// the run has failed, and the next one begins with the first of them.
const FAILED_IN_A_ROW: usize = 10;

/// How far a job has come: the span of time that it goes through, the last tenant it has done, and
/// where it stands within the next. Rows that were written before lack the last two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Progress {
    from: i64,
    to: i64,
    shard: u8,
    after: Option<String>,
    #[serde(default)]
    operator_done: bool,
    #[serde(default)]
    within: Option<Within>,
}

impl Progress {
    fn new(from: i64, to: i64) -> Self {
        Self { from, to, shard: 0, after: None, operator_done: false, within: None }
    }

    /// What a run goes through: the rest of the span before, or the span since.
    fn next(known: Option<Self>, to: Timestamp) -> Self {
        match known {
            // The last run did not get through.
            Some(progress) if progress.shard < TENANT_SHARDS => progress,
            Some(progress) => Self::new(progress.to, to.millis()),
            None => Self::new((to - FIRST).millis(), to.millis()),
        }
    }

    /// Whether the operator, who is in no list and comes first, is done.
    fn operator_is_done(&self) -> bool {
        self.operator_done || self.shard > 0 || self.after.is_some()
    }

    fn span(&self) -> (Timestamp, Timestamp) {
        (Timestamp::from_millis(self.from), Timestamp::from_millis(self.to))
    }

    /// The partitions of a tenant's timeline that are left of the span, each with the place behind
    /// which to go on.
    fn partitions(&self, tenant: &TenantId) -> Vec<Within> {
        let (from, to) = self.span();
        let begun = self.within.as_ref().filter(|within| within.tenant == tenant.as_str());
        let begun_at = begun.map(|within| (within.day, within.shard));
        let all = (from.day()..=to.day()).flat_map(|day| (0..TIMELINE_SHARDS).map(move |shard| (day, shard)));
        let left = all.filter(|at| begun_at.is_none_or(|begun| *at >= begun));
        let within = |(day, shard)| Within {
            tenant: tenant.to_string(),
            day,
            shard,
            after: begun.filter(|_| begun_at == Some((day, shard))).and_then(|begun| begun.after.clone()),
        };
        left.map(within).collect()
    }
}

/// A place in a tenant's timeline: a partition, and what of it was looked at last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Within {
    tenant: String,
    day: i64,
    shard: u8,
    after: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    Repair,
    Expire,
}

impl Job {
    fn name(self) -> &'static str {
        match self {
            Self::Repair => "repair",
            Self::Expire => "expire",
        }
    }

    fn age(self) -> Duration {
        match self {
            Self::Repair => SETTLED,
            Self::Expire => EXPIRES,
        }
    }

    /// Whether the job has something to do about a delivery that stands so.
    fn is_open(self, standing: Option<&DeliverySummary>, now: Timestamp) -> bool {
        match self {
            Self::Repair => is_lost(standing, now),
            Self::Expire => standing.is_none_or(|standing| !standing.status.is_final()),
        }
    }
}

/// What reconciling needs.
#[derive(Debug)]
pub struct Reconciler {
    /// Where tenants are listed.
    pub tenants: Tenants,
    /// Where the progress is saved.
    pub progress: JobProgress,
    /// Where events are stored.
    pub events: StoredEvents,
    /// Where it is stored which endpoints they go to.
    pub snapshots: Snapshots,
    /// Events in order of time.
    pub timeline: Timeline,
    /// Where deliveries are.
    pub deliveries: Deliveries,
    /// Who sends again.
    pub publisher: Arc<Publisher>,
    /// Who tells owners.
    pub alerts: Alerts,
}

impl Reconciler {
    /// Goes through the events that have come of age since the last run, as far as the time allows.
    ///
    /// Neither job can take the other's time or keep it from being done.
    pub async fn run(&self, deadline: Timestamp) -> Result<(), Fault> {
        let now = clock::machine_now();
        let until = deadline - ROUND;
        let expired = self.job(Job::Expire, now + until.since(now) / 2).await;
        if let Err(fault) = &expired {
            tracing::error!(%fault, job = Job::Expire.name(), "a job of reconciling failed");
        }
        if self.publisher.lanes.waiting().await? > BACKLOG {
            tracing::warn!("the lanes are full: what seems lost may only be late");
            return expired;
        }
        self.job(Job::Repair, until).await?;
        expired
    }

    async fn job(&self, job: Job, until: Timestamp) -> Result<(), Fault> {
        let known = self.progress.get::<Progress>(job.name()).await?;
        let mut run = Run {
            of: self,
            job,
            until,
            steps: Semaphore::new(STEPS),
            progress: Progress::next(known, clock::now() - job.age()),
            looked_at: 0,
            mended: 0,
            faults: 0,
            failed: Vec::new(),
        };
        let gone = run.all().await;
        let Run { progress, looked_at, mended, faults, .. } = run;
        let job = job.name();
        match &gone {
            Ok(Walk::Through) => tracing::info!(job, looked_at, mended, faults, "reconciled"),
            Ok(Walk::TimeOver) => {
                tracing::warn!(job, looked_at, mended, faults, "the time is over; the next run goes on");
            }
            Err(fault) => {
                tracing::error!(%fault, job, looked_at, mended, faults, "reconciling stopped; the next run goes on");
            }
        }
        self.progress.save(job, &progress).await?;
        gone.map(|_| ())
    }
}

/// How a walk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
enum Walk {
    Through,
    TimeOver,
}

/// What came of looking at one event.
#[derive(Debug, Default)]
struct Seen {
    mended: usize,
    faults: usize,
    /// It is to be looked at once more: the time was over.
    cut: bool,
}

/// One run of a job.
struct Run<'a> {
    of: &'a Reconciler,
    job: Job,
    /// When nothing is begun any more, by the machine's clock.
    until: Timestamp,
    steps: Semaphore,
    progress: Progress,
    looked_at: usize,
    mended: usize,
    faults: usize,
    /// Where the job stood before each of the last tenants of which nothing could be looked at.
    failed: Vec<Progress>,
}

impl Run<'_> {
    fn is_over(&self) -> bool {
        clock::machine_now() >= self.until
    }

    async fn all(&mut self) -> Result<Walk, Fault> {
        if !self.progress.operator_is_done() {
            if self.tenant(&TenantId::operator()).await? == Walk::TimeOver {
                return Ok(Walk::TimeOver);
            }
            self.progress.operator_done = true;
        }
        while self.progress.shard < TENANT_SHARDS {
            let Progress { shard, after, .. } = &self.progress;
            let tenants = self.of.tenants.list(*shard, after.as_deref(), TENANTS).await?;
            if tenants.is_empty() {
                (self.progress.shard, self.progress.after) = (self.progress.shard + 1, None);
                continue;
            }
            for tenant in tenants {
                if self.tenant(&tenant).await? == Walk::TimeOver {
                    return Ok(Walk::TimeOver);
                }
                self.progress.after = Some(tenant.to_string());
            }
        }
        Ok(Walk::Through)
    }

    /// One tenant, whose troubles are its own; those of many, one after another, are not.
    async fn tenant(&mut self, tenant: &TenantId) -> Result<Walk, Fault> {
        let before = self.progress.clone();
        let (looked_at, faults) = (self.looked_at, self.faults);
        if self.events(tenant).await? == Walk::TimeOver {
            return Ok(Walk::TimeOver);
        }
        self.progress.within = None;
        let (looked_at, faults) = (self.looked_at - looked_at, self.faults - faults);
        if looked_at > 0 {
            self.failed.clear();
        } else if faults > 0 {
            self.failed.push(before);
        }
        if self.failed.len() >= FAILED_IN_A_ROW {
            self.progress = self.failed.swap_remove(0);
            return Err(Fault::new("reconciling", "nothing could be looked at of many tenants in a row"));
        }
        Ok(Walk::Through)
    }

    /// One tenant's events of the span, partition by partition of its timeline.
    async fn events(&mut self, tenant: &TenantId) -> Result<Walk, Fault> {
        for group in self.progress.partitions(tenant).chunks(PARTITIONS) {
            if self.is_over() {
                self.progress.within = group.first().cloned();
                return Ok(Walk::TimeOver);
            }
            // Most tenants have few events, so that this is all.
            let firsts = join_all(group.iter().map(|at| self.list(tenant, at))).await;
            for (at, first) in group.iter().zip(firsts) {
                if self.partition(tenant, at.clone(), first).await? == Walk::TimeOver {
                    return Ok(Walk::TimeOver);
                }
            }
        }
        Ok(Walk::Through)
    }

    async fn list(&self, tenant: &TenantId, at: &Within) -> Result<TimelineChunk, Fault> {
        let (partition, span) = ((at.day, at.shard), self.progress.span());
        self.of.timeline.chunk(tenant, partition, span, at.after.as_deref(), CHUNK).await
    }

    /// One partition from a place on, of which the next chunk is listed already. Fails only where
    /// the progress cannot be kept.
    async fn partition(
        &mut self,
        tenant: &TenantId,
        mut at: Within,
        mut listed: Result<TimelineChunk, Fault>,
    ) -> Result<Walk, Fault> {
        loop {
            let chunk = match listed {
                Ok(chunk) => chunk,
                Err(fault) => {
                    let (job, day, shard) = (self.job.name(), at.day, at.shard);
                    tracing::error!(%fault, job, %tenant, day, shard, "a part of a timeline was passed over");
                    self.faults += 1;
                    return Ok(Walk::Through);
                }
            };
            for places in chunk.places.chunks(CONCURRENCY) {
                let walk =
                    if self.is_over() { Walk::TimeOver } else { self.wave(tenant, &mut at, places).await };
                if walk == Walk::TimeOver {
                    self.progress.within = Some(at);
                    return Ok(Walk::TimeOver);
                }
            }
            if !chunk.more {
                return Ok(Walk::Through);
            }
            // An invocation that is killed later has this behind it.
            self.progress.within = Some(at.clone());
            self.of.progress.save(self.job.name(), &self.progress).await?;
            listed = self.list(tenant, &at).await;
        }
    }

    /// Looks at a few events side by side, and moves `at` behind those that are done.
    async fn wave(&mut self, tenant: &TenantId, at: &mut Within, places: &[String]) -> Walk {
        let events = places.iter().map(|place| self.place(tenant, place));
        let seen: Vec<_> = stream::iter(events).buffered(CONCURRENCY).collect().await;
        let mut walk = Walk::Through;
        for (place, Seen { mended, faults, cut }) in places.iter().zip(seen) {
            self.mended += mended;
            self.faults += faults;
            if cut {
                walk = Walk::TimeOver;
            }
            if walk == Walk::Through {
                self.looked_at += usize::from(faults == 0);
                at.after = Some(place.clone());
            }
        }
        walk
    }

    async fn place(&self, tenant: &TenantId, place: &str) -> Seen {
        let mut seen = Seen::default();
        if let Some((_, id)) = keys::parse_timeline_place(place) {
            if let Err(fault) = self.event(tenant, id, &mut seen).await {
                self.pass_over(tenant, id, &fault, &mut seen);
            }
        } else {
            tracing::error!(job = self.job.name(), %tenant, place, "an odd place was passed over");
            seen.faults += 1;
        }
        seen
    }

    fn pass_over(&self, tenant: &TenantId, id: EventId, fault: &Fault, seen: &mut Seen) {
        let job = self.job.name();
        tracing::error!(%fault, job, %tenant, event_id = %id, "deliveries of an event were passed over");
        seen.faults += 1;
    }

    /// One event: first what is kept of its deliveries, also of those that its snapshot does not
    /// name, then those of its snapshot about which nothing is kept, page by page: a wide one has
    /// more of them than there is time for.
    async fn event(&self, tenant: &TenantId, id: EventId, seen: &mut Seen) -> Result<(), Fault> {
        let Some(event) = self.of.events.get(tenant, id).await? else { return Ok(()) };
        if self.is_over() {
            seen.cut = true;
            return Ok(());
        }
        let standings = self.of.deliveries.summaries(tenant, id).await?;
        let kept: HashSet<_> = standings.iter().map(|(endpoint, _)| *endpoint).collect();
        let open = self.open(tenant, id, standings, seen);
        self.mend(tenant, &event, &open, seen).await?;
        let (snapshot, count) = match &event.snapshot {
            Snapshot::Inline(targets) => {
                return self.mend(tenant, &event, &untouched(targets, &kept), seen).await;
            }
            Snapshot::Pages { id, count } => (id, *count),
        };
        for page in 0..count {
            if seen.cut {
                break;
            }
            let gone = || Fault::new("reading where an event goes", "a page is gone");
            let found = self
                .of
                .snapshots
                .page(tenant, id, snapshot, page)
                .await
                .and_then(|found| found.ok_or_else(gone));
            let done = match found {
                Ok(found) => self.mend(tenant, &event, &untouched(&found.targets, &kept), seen).await,
                Err(fault) => Err(fault),
            };
            if let Err(fault) = done {
                self.pass_over(tenant, id, &fault, seen);
            }
        }
        Ok(())
    }

    /// Those of an event's deliveries about which the job has something to do, as far as they can be
    /// read. `expire` sees to every generation, `repair` to the latest: it took the place of those
    /// before.
    fn open(
        &self,
        tenant: &TenantId,
        event: EventId,
        standings: Vec<(EndpointId, Result<DeliverySummary, Fault>)>,
        seen: &mut Seen,
    ) -> Vec<Open> {
        let now = clock::now();
        let mut open: Vec<Open> = Vec::new();
        for (endpoint, standing) in standings {
            if self.job == Job::Repair {
                // Generations come in order, so the last one stays.
                open.pop_if(|before| before.target.endpoint == endpoint);
            }
            match standing {
                Ok(standing) if self.job.is_open(Some(&standing), now) => {
                    let target = Target { endpoint, operator: standing.operator };
                    open.push(Open { target, standing: Some(standing) });
                }
                Ok(_) => {}
                Err(fault) => self.pass_over(tenant, event, &fault, seen),
            }
        }
        open
    }

    async fn mend(
        &self,
        tenant: &TenantId,
        event: &StoredEvent,
        open: &[Open],
        seen: &mut Seen,
    ) -> Result<(), Fault> {
        let now = clock::now();
        for step in open.chunks(STEP) {
            let _turn = self.steps.acquire().await.map_err(Fault::on("waiting for a turn"))?;
            if self.is_over() {
                seen.cut = true;
                return Ok(());
            }
            match self.job {
                Job::Repair => self.repair(tenant, event, step, now, seen).await?,
                Job::Expire => self.expire(tenant, event, step, now, seen).await,
            }
        }
        Ok(())
    }

    /// Gives deliveries a driver again: a message, or, where a message cannot name the generation, a
    /// due entry.
    async fn repair(
        &self,
        tenant: &TenantId,
        event: &StoredEvent,
        open: &[Open],
        now: Timestamp,
        seen: &mut Seen,
    ) -> Result<(), Fault> {
        let (replayed, first): (Vec<_>, Vec<_>) = open.iter().partition(|open| open.generation() > 0);
        let due = |open: &Open| DeliveryChange {
            next_at: Some(now),
            place: Some(DuePlace { pk: keys::due(open.id(event), now), at: now }),
            ..open.change(tenant, event, Status::Retrying, now)
        };
        let changes: Vec<_> = replayed.into_iter().map(due).collect();
        for recorded in self.of.deliveries.record(&changes).await {
            match recorded {
                Ok(RecordOutcome::New) => seen.mended += 1,
                // It has a driver after all.
                Ok(RecordOutcome::Lost(_)) => {}
                Err(fault) => self.pass_over(tenant, event.id, &fault, seen),
            }
        }
        let targets: Vec<_> = first.into_iter().map(|open| open.target).collect();
        if !targets.is_empty() {
            self.of.publisher.resend(tenant, event.clone(), &targets, now).await?;
        }
        seen.mended += targets.len();
        tracing::warn!(%tenant, event_id = %event.id, deliveries = open.len(), "sent again");
        Ok(())
    }

    async fn expire(
        &self,
        tenant: &TenantId,
        event: &StoredEvent,
        open: &[Open],
        now: Timestamp,
        seen: &mut Seen,
    ) {
        let change = |open: &Open| open.change(tenant, event, Status::Expired, now);
        let changes: Vec<_> = open.iter().map(change).collect();
        let mut expired = Vec::new();
        for (change, recorded) in changes.iter().zip(self.of.deliveries.record(&changes).await) {
            match recorded {
                Ok(RecordOutcome::New) => expired.push(change),
                // Whoever was faster has made an attempt of it, which says how it goes on.
                Ok(RecordOutcome::Lost(_)) => {}
                Err(fault) => self.pass_over(tenant, event.id, &fault, seen),
            }
        }
        seen.mended += expired.len();
        let tell = |change: &DeliveryChange| {
            let owner = tenant.owner_of_endpoint(change.operator);
            let id = change.id;
            async move { self.of.alerts.raise(&owner, id.endpoint, &Alert::Expired(id)).await }
        };
        let told: Vec<_> = expired.into_iter().map(tell).collect();
        stream::iter(told).buffer_unordered(ALERTS).collect::<()>().await;
    }
}

/// A delivery about which a job has something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Open {
    target: Target,
    /// `None` where nothing is kept about it.
    standing: Option<DeliverySummary>,
}

impl Open {
    fn generation(&self) -> u32 {
        self.standing.map_or(0, |standing| standing.generation)
    }

    fn id(&self, event: &StoredEvent) -> DeliveryId {
        DeliveryId { event: event.id, endpoint: self.target.endpoint }
    }

    fn change(
        &self,
        tenant: &TenantId,
        event: &StoredEvent,
        status: Status,
        now: Timestamp,
    ) -> DeliveryChange {
        DeliveryChange {
            tenant: tenant.clone(),
            id: self.id(event),
            generation: self.generation(),
            operator: self.target.operator,
            event_type: Some(event.event_type.clone()),
            known: self.standing.map(|standing| standing.attempts),
            attempt: None,
            status,
            next_at: None,
            parked_reason: None,
            place: None,
            now,
        }
    }
}

/// Those of an event's endpoints to which no delivery is kept; there is something to do about each.
fn untouched(targets: &[Target], kept: &HashSet<EndpointId>) -> Vec<Open> {
    let untouched = targets.iter().filter(|target| !kept.contains(&target.endpoint));
    untouched.map(|target| Open { target: *target, standing: None }).collect()
}

/// Whether nobody drives a delivery any more, as far as can be told.
fn is_lost(standing: Option<&DeliverySummary>, now: Timestamp) -> bool {
    standing.is_none_or(|standing| {
        let missed = standing.next_attempt_at.is_none_or(|due| now.since(due) >= LOST_AFTER);
        !standing.status.is_final() && !standing.in_due_index && missed
    })
}

#[cfg(test)]
mod tests;
