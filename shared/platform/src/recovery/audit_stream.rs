//! The job that sends the entries of audit trails to a queue, every minute: those of one trail in order, each at least once.
//!
//! An entry that is added notes its trail, so that a run reads only trails that have something to send. A note can be lost,
//! as it follows the entry: once an hour a walk through all tenants notes the trails that are behind. How far a trail was
//! sent is noted after the queue has taken the entries. So a run that dies in between sends them again, and none is lost.

use std::time::Duration;

use domain::{
    TenantId, Timestamp,
    audit::{ChainedEntry, line::AuditLine},
    saturating,
};
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use super::budget::StopTime;
use crate::{
    Fault,
    aws::sqs::{Queue, QueueMessage},
    runtime::{
        clock,
        telemetry::{self, Metric, Unit},
    },
    setup::{self, Parts},
    store::{
        audit::Audit,
        registry::{
            erasures::Erasures,
            progress::JobProgress,
            streamed_trails::{StreamedTrails, TouchedTrail},
            tenants::Tenants,
        },
        table::keys::{TENANT_SHARDS, access::TOUCHED_SHARDS},
    },
};

/// The job's name among those whose progress is saved.
const JOB: &str = "audit-stream";

/// How long after the beginning of a walk the next one begins.
const WALK_INTERVAL: Duration = Duration::from_hours(1);

/// The time of a run that a walk may take: what is noted must be sent, too.
const WALK_TIME: Duration = Duration::from_secs(20);

/// What must be left of an invocation for one more page of entries.
const ROUND: Duration = Duration::from_secs(20);

/// Tenants in one page of the list.
const TENANTS: i32 = 100;

/// Entries in one read. One can hold some 100 KB, and the function has 128 MB.
const ENTRIES: usize = 25;

/// Trails that are read concurrently.
const CONCURRENT_TRAILS: usize = 4;

/// How far the job has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// When the last run began that left nothing to send.
    complete_at: i64,
    /// When the last walk began.
    walk_begun_at: i64,
    shard: u8,
    after: Option<String>,
}

impl State {
    fn begin(now: Timestamp) -> Self {
        let now = now.millis();
        Self { complete_at: now, walk_begun_at: now, shard: 0, after: None }
    }

    /// The state of a run: with a new walk when one is due.
    fn next(known: Option<Self>, now: Timestamp) -> Self {
        let Some(known) = known else { return Self::begin(now) };
        let is_due = now.since(Timestamp::from_millis(known.walk_begun_at)) >= WALK_INTERVAL;
        if known.is_walked() && is_due {
            return Self { complete_at: known.complete_at, ..Self::begin(now) };
        }
        known
    }

    fn is_walked(&self) -> bool {
        self.shard >= TENANT_SHARDS
    }

    /// How long ago the last run began that left nothing to send.
    fn lag(&self, now: Timestamp) -> Duration {
        now.since(Timestamp::from_millis(self.complete_at))
    }
}

/// The counts of a run.
#[derive(Debug, Default)]
struct Totals {
    sent: usize,
    faults: usize,
    /// Trails for which the time did not suffice.
    unfinished: usize,
}

/// How a trail was left.
struct TrailEnd {
    sent: usize,
    result: Result<bool, Fault>,
}

/// What sending needs.
#[derive(Debug)]
pub struct AuditStreamer {
    /// Nothing is sent without one.
    target: Option<Target>,
    tenants: Tenants,
    erasures: Erasures,
    progress: JobProgress,
    audit: Audit,
    trails: StreamedTrails,
}

#[derive(Debug)]
struct Target {
    queue: Queue,
    is_fifo: bool,
}

impl AuditStreamer {
    /// Made of a function's parts.
    pub fn new(parts: &Parts) -> Result<Self, setup::Error> {
        Ok(Self {
            target: parts.audit_stream()?.map(|(queue, is_fifo)| Target { queue, is_fifo }),
            tenants: parts.tenants.clone(),
            erasures: parts.erasures.clone(),
            progress: parts.progress.clone(),
            audit: parts.audit()?,
            trails: parts.streamed_trails.clone(),
        })
    }

    /// Sends what was added to the trails, as far as the time allows. Does nothing while another run is at it: of two, one
    /// could send what the other has just sent.
    pub async fn run(&self, deadline: Timestamp) -> Result<(), Fault> {
        let Some(target) = &self.target else { return Ok(()) };
        if !self.progress.lease(JOB, deadline, clock::machine_now()).await? {
            tracing::info!("another run of the audit stream has the lease");
            return Ok(());
        }
        let result = self.send_all(target, StopTime(deadline - ROUND)).await;
        if let Err(fault) = self.progress.release(JOB, deadline).await {
            tracing::warn!(%fault, "could not return the lease on the audit stream; it will expire");
        }
        result
    }

    async fn send_all(&self, target: &Target, stop: StopTime) -> Result<(), Fault> {
        let now = clock::now();
        let mut state = State::next(self.progress.get(JOB).await?, now);
        let mut totals = Totals::default();
        let walk_stop = StopTime(stop.0.min(clock::machine_now() + WALK_TIME));
        if let Err(fault) = self.walk(&mut state, walk_stop).await {
            totals.faults += 1;
            tracing::error!(%fault, "could not look for audit entries that were not sent; the next run continues");
        }
        for shard in 0..TOUCHED_SHARDS {
            self.send_shard(target, shard, &mut totals, stop).await;
        }
        let Totals { sent, faults, unfinished } = totals;
        if faults + unfinished == 0 {
            state.complete_at = now.millis();
        }
        let lag_seconds = state.lag(now).as_secs();
        if sent + faults + unfinished > 0 {
            tracing::info!(sent, faults, unfinished, lag_seconds, "audit stream");
        }
        telemetry::measure(&[Metric::one("AuditStreamLag", Unit::Seconds, lag_seconds)], &[], now);
        self.progress.save(JOB, &state).await
    }

    /// Notes the trails that are behind and are not noted.
    async fn walk(&self, state: &mut State, stop: StopTime) -> Result<(), Fault> {
        while !state.is_walked() && !stop.has_passed() {
            if state.shard == 0 && state.after.is_none() {
                // Those that are in no list.
                let mut others = self.erasures.unsigned_trails().await?;
                others.push(TenantId::operator());
                self.note(others).await?;
            }
            let tenants = self.tenants.list(state.shard, state.after.as_deref(), TENANTS).await?;
            if let Some(last) = tenants.last().map(ToString::to_string) {
                self.note(tenants).await?;
                state.after = Some(last);
            } else {
                (state.shard, state.after) = (state.shard + 1, None);
            }
        }
        Ok(())
    }

    async fn note(&self, tenants: Vec<TenantId>) -> Result<(), Fault> {
        let notes = tenants.into_iter().map(async |tenant| {
            let (mark, head) = (self.trails.mark(&tenant).await?, self.audit.head(&tenant).await?);
            if head.seq > mark { self.trails.touch(&tenant, head.seq).await } else { Ok(()) }
        });
        let mut notes = stream::iter(notes).buffer_unordered(CONCURRENT_TRAILS);
        while let Some(noted) = notes.next().await {
            noted?;
        }
        Ok(())
    }

    async fn send_shard(&self, target: &Target, shard: u8, totals: &mut Totals, stop: StopTime) {
        let touched = match self.trails.touched(shard).await {
            Ok(touched) => touched,
            Err(fault) => {
                totals.faults += 1;
                tracing::error!(%fault, "could not read which audit trails have grown; the next run continues");
                return;
            }
        };
        let sends = touched.into_iter().map(async |trail| {
            let end = self.send_trail(target, &trail, stop).await;
            (trail, end)
        });
        let mut sends = stream::iter(sends).buffer_unordered(CONCURRENT_TRAILS);
        while let Some((TouchedTrail { tenant, .. }, TrailEnd { sent, result })) = sends.next().await {
            totals.sent += sent;
            match result {
                Ok(true) => {}
                Ok(false) => totals.unfinished += 1,
                Err(fault) => {
                    totals.faults += 1;
                    tracing::error!(%fault, %tenant, "could not send audit entries; the next run continues");
                }
            }
        }
    }

    /// Sends the entries of a trail behind its mark; whether that is all of it.
    async fn send_trail(&self, target: &Target, trail: &TouchedTrail, stop: StopTime) -> TrailEnd {
        let mut sent = 0;
        let result = async {
            let mut mark = self.trails.mark(&trail.tenant).await?;
            loop {
                if stop.has_passed() {
                    return Ok(false);
                }
                let entries =
                    self.audit.from(&trail.tenant, mark.saturating_add(1), saturating(ENTRIES)).await?;
                let is_end = entries.len() < ENTRIES;
                let (mut taken, mut result) = (mark, Ok(()));
                for entry in entries {
                    let seq = entry.entry.seq;
                    result = target.send(&trail.tenant, entry).await;
                    if result.is_err() {
                        break;
                    }
                    (taken, sent) = (seq, sent + 1);
                }
                if taken > mark {
                    self.trails.set_mark(&trail.tenant, taken).await?;
                    mark = taken;
                }
                result?;
                if is_end {
                    self.trails.clear(trail).await?;
                    return Ok(true);
                }
            }
        };
        let result = result.await;
        TrailEnd { sent, result }
    }
}

impl Target {
    /// Sends one entry. Not several in one call, of which the queue could take the second and not the first.
    async fn send(&self, tenant: &TenantId, entry: ChainedEntry) -> Result<(), Fault> {
        const DOING: &str = "sending an audit entry to the stream";
        let deduplication = self.is_fifo.then(|| entry.hash.clone());
        let body = AuditLine::new(tenant, entry).message().map_err(Fault::on(DOING))?;
        let message = QueueMessage { group: tenant.as_str(), body, delay: Duration::ZERO, deduplication };
        let sent = self.queue.send_batch(vec![message]).await?;
        sent.into_iter().next().unwrap_or_else(|| Err(Fault::new(DOING, "the response does not have it")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_begins_once_an_hour() {
        let minute = |minute: i64| Timestamp::from_secs(60 * minute);
        let walked = State { shard: TENANT_SHARDS, complete_at: 7, ..State::begin(minute(100)) };
        let open = State { shard: 1, after: Some("acme".into()), ..walked.clone() };
        let new = |at| State { complete_at: 7, ..State::begin(minute(at)) };
        for (name, known, now, expected) in [
            ("the first", None, 100, State::begin(minute(100))),
            ("not finished", Some(open.clone()), 190, open),
            ("finished", Some(walked.clone()), 159, walked.clone()),
            ("the next hour", Some(walked), 160, new(160)),
        ] {
            assert_eq!(State::next(known, minute(now)), expected, "{name}");
        }
    }
}
