//! The run of every minute, which brings back what waits outside the lanes.
//!
//! Due deliveries go to the slow lane, due connections to the queue of `token-refresher`. An endpoint for which work is held has one entry, and a replay
//! that is running has one: both are leased here and continued by `drain` and `replay`.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use domain::{Timestamp, delivery::engine::due::DueChange, saturating};
use futures_util::{StreamExt, future::join_all, stream};
use serde::{Deserialize, Serialize};

use super::{
    budget::{RunTotals, StopTime},
    connections::ConnectionSender,
    drain::{DUE_PAGE, Drainer, LeasedDrain},
    replay::{
        Replayer,
        step::{Bounds, LeasedReplay},
    },
    syncs::SyncSender,
};
use crate::{
    Fault,
    publish::lanes::Lane,
    runtime::{
        clock,
        telemetry::{self, Metric, Unit},
    },
    setup::{self, Parts},
    store::{
        due::index::{DueDelivery, DueIndex, DuePage, PageEnd},
        registry::progress::JobProgress,
        table::keys::{self, DUE_SHARDS},
    },
};

/// By how much the mark trails: the index shows a write late, and clocks differ.
const MARK_TRAIL: Duration = Duration::from_mins(15);

/// What must be left of an invocation for one more round.
const ROUND: Duration = Duration::from_secs(20);

/// Buckets of which the first pages are read before the first of them is worked on. Nearly all buckets
/// are empty, so that after an outage a run is not held up by one query after the other.
const BUCKETS_AHEAD: usize = 4;

/// First pages that are read concurrently.
const CONCURRENT_READS: usize = 2 * DUE_SHARDS as usize;

/// Endpoints, or replays, that are continued concurrently.
const CONCURRENT_DRAINS: usize = 4;

/// Messages that wait in the slow lane from which nothing that is held is released into it, except the
/// probes of half-open circuits.
const SLOW_LANE_FULL: u32 = 100_000;

/// Most due deliveries that one run sends into a full lane.
const SENT_TO_FULL_LANE: usize = 10_000;

/// Messages that wait in the slow lane from which replays add none: live traffic goes first.
const SLOW_LANE_BUSY: u32 = 10_000;

/// Most deliveries that one run starts for replays, all of them together.
const REPLAYED_AT_ONCE: usize = 30_000;

/// The job's name among those whose progress is saved.
pub const DUE_JOB: &str = "due";

/// From which bucket of the due index on there may be something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    bucket: i64,
    /// In which bucket a run last looked behind the mark; 0 in rows that were written before.
    #[serde(default)]
    looked_back: i64,
}

impl Mark {
    /// How many buckets are looked through once a day. Nothing is behind the mark, unless the table was
    /// restored to a time before, with the entries of that time. It takes 2,300 small queries.
    const LOOK_BACK: i64 = 24 * 60 / 5;

    /// The mark of a run in the bucket `now`. It is never ahead of where a run leaves it, so one that is
    /// was not left by a run.
    fn next(self, trailing: i64, now: i64) -> Self {
        let bucket = self.bucket.min(trailing);
        if now - self.looked_back < Self::LOOK_BACK {
            return Self { bucket, ..self };
        }
        Self { bucket: bucket.min(now - Self::LOOK_BACK), looked_back: now }
    }
}

/// What scheduling needs.
#[derive(Debug)]
pub struct Scheduler {
    /// Where the mark is.
    pub(super) progress: JobProgress,
    /// What is due.
    pub(super) due: DueIndex,
    /// Continues held work.
    pub(super) drainer: Drainer,
    /// Continues replays.
    pub(super) replayer: Replayer,
    /// Sends due connections.
    pub(super) connections: ConnectionSender,
    /// Sends due syncs.
    pub(super) syncs: SyncSender,
    /// Where due deliveries go.
    pub(super) slow_lane: Arc<Lane>,
}

/// What bounds a run.
#[derive(Clone, Copy)]
struct Limits<'a> {
    stop: StopTime,
    sendable: &'a Sendable,
}

/// How many due deliveries a run may still send.
struct Sendable(AtomicUsize);

/// How much was taken of a page.
enum TakeResult {
    All,
    /// All but some deliveries: no more of them may be sent.
    NotAllDeliveries,
    Nothing,
}

impl Sendable {
    fn new(limit: usize) -> Self {
        Self(AtomicUsize::new(limit))
    }

    /// Takes up to `wanted` of them: how many.
    fn take(&self, wanted: usize) -> usize {
        let mut taken = 0;
        let take = |left: usize| {
            taken = left.min(wanted);
            Some(left - taken)
        };
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken
    }
}

/// What was found in a part of the due index.
#[derive(Default)]
struct BucketScan {
    /// Whether there was any entry.
    any: bool,
    totals: RunTotals,
    endpoints: Vec<LeasedDrain>,
    replays: Vec<LeasedReplay>,
}

impl BucketScan {
    fn leased(&self) -> usize {
        self.endpoints.len() + self.replays.len()
    }
}

/// What was found from the mark on.
#[derive(Default)]
struct Scan {
    totals: RunTotals,
    endpoints: Vec<LeasedDrain>,
    replays: Vec<LeasedReplay>,
    /// The first bucket that the next run has to read.
    next_mark: i64,
}

impl Scheduler {
    /// Made of a function's parts.
    pub fn new(parts: &Parts) -> Result<Self, setup::Error> {
        Ok(Self {
            progress: parts.progress.clone(),
            due: parts.due.clone(),
            drainer: Drainer::new(parts),
            replayer: Replayer::new(parts),
            connections: ConnectionSender::new(parts)?,
            syncs: SyncSender::new(parts)?,
            slow_lane: Arc::clone(&parts.lanes.slow),
        })
    }

    /// Brings back all that is due, as far as the time allows: first what is due by time, of all
    /// tenants, then what is held for endpoints, each of which gets a slice of the time.
    pub async fn run(&self, deadline: Timestamp) -> Result<(), Fault> {
        let now = clock::now();
        let stop = StopTime(deadline - ROUND);
        let waiting = self.slow_lane.waiting().await.unwrap_or_else(|fault| {
            tracing::warn!(%fault, "slow lane depth unknown; assuming not full");
            0
        });
        let (busy, full) = (waiting > SLOW_LANE_BUSY, waiting > SLOW_LANE_FULL);
        // One endpoint can fill the lane, and must not keep everybody's retries and probes from it. Their
        // number is bounded by the schedules, and fair queues put them before what fills the lane.
        let sendable = Sendable::new(if full { SENT_TO_FULL_LANE } else { usize::MAX });
        if full {
            tracing::warn!(waiting, "slow lane is full; held deliveries and replays wait");
        }
        let trailing = keys::bucket(now - MARK_TRAIL);
        let known = self.mark(trailing, now).await?;
        let mark = known.next(trailing, keys::bucket(now));
        let limits = Limits { stop, sendable: &sendable };
        let Scan { mut totals, endpoints, replays, next_mark } =
            self.scan(mark.bucket, trailing, now, limits).await;
        let next = Mark { bucket: next_mark, ..mark };
        if next != known {
            self.progress.save(DUE_JOB, &next).await?;
        }
        let drains = endpoints.into_iter().map(|leased| self.drainer.drain(leased, full, now, stop));
        let mut drains = stream::iter(drains).buffer_unordered(CONCURRENT_DRAINS);
        while let Some(of_endpoint) = drains.next().await {
            totals.add(&of_endpoint);
        }
        let lag_seconds = totals.lag.as_secs();
        telemetry::measure(&[Metric::one("DueLag", Unit::Seconds, lag_seconds)], &[], now);
        let replay_count = replays.len();
        let replayed = self.replay(replays, busy, now, stop).await;
        tracing::info!(
            sent = totals.sent,
            discarded = totals.discarded,
            endpoints = totals.endpoints,
            connections = totals.connections,
            syncs = totals.syncs,
            replays = replay_count,
            replayed,
            lag_seconds,
            "due"
        );
        Ok(())
    }

    /// Reads the due index from the mark on: sends due deliveries and connections, leases endpoints and replays.
    async fn scan(&self, mark: i64, trailing: i64, now: Timestamp, limits: Limits<'_>) -> Scan {
        let mut scan = Scan { next_mark: mark, ..Scan::default() };
        let mut emptied = true;
        let mut first_pages = VecDeque::new();
        for bucket in mark..=keys::bucket(now) {
            if limits.stop.has_passed() {
                tracing::warn!(bucket, "scheduler ran out of time with work left");
                break;
            }
            if first_pages.is_empty() {
                first_pages = self.first_pages(bucket, now).await;
            }
            let pages = first_pages.pop_front().unwrap_or_default();
            let shards =
                (0..DUE_SHARDS).zip(pages).map(|(shard, page)| self.shard(bucket, shard, page, now, limits));
            for shard in join_all(shards).await {
                // One shard that cannot be read must not block the others.
                let found = shard.unwrap_or_else(|fault| {
                    tracing::error!(%fault, bucket, "skipped unreadable shard of the due index");
                    BucketScan { any: true, ..BucketScan::default() }
                });
                emptied &= !found.any;
                scan.totals.add(&found.totals);
                scan.endpoints.extend(found.endpoints);
                scan.replays.extend(found.replays);
            }
            // The mark passes only buckets that were found empty, and never gets closer than the trail.
            if emptied && bucket < trailing {
                scan.next_mark = bucket + 1;
            }
        }
        scan
    }

    /// The first bucket to read. Before the first run nothing can be older than the trail, and that is
    /// saved at once: the first runs may fail, and what is due in the meantime must not be passed.
    async fn mark(&self, trailing: i64, now: Timestamp) -> Result<Mark, Fault> {
        if let Some(mark) = self.progress.get::<Mark>(DUE_JOB).await? {
            return Ok(mark);
        }
        let mark = Mark { bucket: trailing, looked_back: keys::bucket(now) };
        self.progress.save(DUE_JOB, &mark).await?;
        Ok(mark)
    }

    /// The first page of each shard of some buckets, from this one up to now.
    async fn first_pages(&self, bucket: i64, now: Timestamp) -> VecDeque<Vec<Result<DuePage, Fault>>> {
        let buckets = (bucket..=keys::bucket(now)).take(BUCKETS_AHEAD);
        let partitions = buckets.flat_map(|bucket| (0..DUE_SHARDS).map(move |shard| (bucket, shard)));
        let pages = partitions.map(|(bucket, shard)| self.page(bucket, shard, now, None));
        let pages = stream::iter(pages).buffered(CONCURRENT_READS);
        pages.chunks(usize::from(DUE_SHARDS)).collect().await
    }

    /// A page of one shard of a bucket.
    async fn page(
        &self,
        bucket: i64,
        shard: u8,
        now: Timestamp,
        after: Option<PageEnd>,
    ) -> Result<DuePage, Fault> {
        let end = now.min(keys::bucket_end(bucket));
        self.due.page_after(keys::due_partition(bucket, shard), end, DUE_PAGE, after).await
    }

    /// One shard of a bucket, from its first page on: due deliveries and connections are sent, endpoints and
    /// replays are leased.
    async fn shard(
        &self,
        bucket: i64,
        shard: u8,
        first: Result<DuePage, Fault>,
        now: Timestamp,
        limits: Limits<'_>,
    ) -> Result<BucketScan, Fault> {
        let mut found = BucketScan::default();
        let mut page = first?;
        // It was read before the buckets ahead of it were worked on.
        let mut is_old = true;
        loop {
            if page.is_empty() {
                return Ok(found);
            }
            found.any = true;
            let next = page.end.clone();
            let after = match self.take_page(page, now, limits.sendable, &mut found).await {
                // What was taken is no longer there, so the next page is again the first.
                TakeResult::All => None,
                // What is left stays. Behind it there may be endpoints, whose probes must not wait.
                TakeResult::NotAllDeliveries if next.is_some() => next,
                TakeResult::Nothing if is_old => None,
                TakeResult::NotAllDeliveries | TakeResult::Nothing => return Ok(found),
            };
            is_old = false;
            if limits.stop.has_passed() {
                return Ok(found);
            }
            page = self.page(bucket, shard, now, after).await?;
        }
    }

    /// Takes a page of what is due, as far as deliveries may be sent.
    async fn take_page(
        &self,
        mut page: DuePage,
        now: Timestamp,
        sendable: &Sendable,
        found: &mut BucketScan,
    ) -> TakeResult {
        let oldest = page.deliveries.first().map(|due| due.place.at).into_iter();
        let oldest = oldest.chain(page.endpoints.first().map(|due| due.place.at));
        let oldest = oldest.chain(page.connections.first().map(|due| due.place.at));
        let oldest = oldest.chain(page.syncs.first().map(|due| due.place.at)).min();
        found.totals.lag = found.totals.lag.max(oldest.map_or(Duration::ZERO, |at| now.since(at)));
        let deliveries = page.deliveries.len();
        page.deliveries.truncate(sendable.take(deliveries));
        let sent = self.send_due(&page.deliveries, now).await;
        found.totals.sent += sent;
        // They go to a queue of their own, so that a full lane does not keep them.
        let connections = self.connections.send(&page.connections, now).await;
        found.totals.connections += connections;
        let syncs = self.syncs.send(&page.syncs, now).await;
        found.totals.syncs += syncs;
        let leases = page.endpoints.into_iter().map(|entry| self.drainer.lease(entry, now));
        let endpoints: Vec<_> = stream::iter(leases).buffer_unordered(CONCURRENT_DRAINS).collect().await;
        let leases = page.replays.into_iter().map(|entry| self.replayer.lease(entry, now));
        let replays: Vec<_> = stream::iter(leases).buffer_unordered(CONCURRENT_DRAINS).collect().await;
        let before = found.leased();
        found.endpoints.extend(endpoints.into_iter().flatten());
        found.replays.extend(replays.into_iter().flatten());
        if page.deliveries.len() < deliveries {
            TakeResult::NotAllDeliveries
        } else if sent + connections + syncs > 0 || found.leased() > before {
            TakeResult::All
        } else {
            // The index is behind the table, or another run has the entries.
            TakeResult::Nothing
        }
    }

    /// Takes due deliveries and sends them; how many.
    async fn send_due(&self, due: &[DueDelivery], now: Timestamp) -> usize {
        let taken = self.due.change(due, DueChange::Take(now)).await;
        self.drainer.send(due, taken, |_| Duration::ZERO).await
    }

    /// Continues replays, after all else, each with a slice of the time and an equal part of what one
    /// run starts; how many deliveries were started.
    async fn replay(&self, replays: Vec<LeasedReplay>, busy: bool, now: Timestamp, stop: StopTime) -> usize {
        let most = saturating::<u32>(REPLAYED_AT_ONCE / replays.len().max(1)).max(1);
        let steps = replays.into_iter().map(async |leased| {
            let until = stop.slice().0;
            self.replayer.step(leased, Bounds { busy, most, now, until }).await
        });
        let steps = stream::iter(steps).buffer_unordered(CONCURRENT_DRAINS);
        steps.fold(0, async |sum, started| sum + started).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_a_day_a_run_looks_behind_the_mark() {
        let day = Mark::LOOK_BACK;
        let mark = |bucket, looked_back| Mark { bucket, looked_back };
        for (known, trailing, now, next) in [
            (mark(1000, 900), 1000, 1003, mark(1000, 900)),
            (mark(1000, 900), 1000 + day, 900 + day, mark(900, 900 + day)),
            // A mark that is further behind stays there.
            (mark(500, 900), 1000 + day, 900 + day, mark(500, 900 + day)),
            // It is ahead of the trail, as after a restore or with a clock that was set back.
            (mark(2000, 900), 1000, 1003, mark(1000, 900)),
            (mark(2000, 0), 1000, 1003, mark(1003 - day, 1003)),
        ] {
            assert_eq!(known.next(trailing, now), next, "{known:?}");
        }
        let old: Mark = serde_json::from_str(r#"{"bucket":7}"#).unwrap();
        assert_eq!(old, mark(7, 0));
    }
}
