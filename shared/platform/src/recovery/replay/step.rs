//! One step of a replay, from its lease to its saved progress.

use std::time::Duration;

use domain::{
    DeliveryId, TenantId, Timestamp,
    delivery::engine::change::Change,
    endpoint::Endpoint,
    recovery::replay::{self, Choice, Pace, PausedFor, STEP, Status},
    saturating,
    usage::{Counts, UsageTotals},
};
use futures_util::{StreamExt, stream};

use super::{
    Replayer,
    candidates::{Batch, as_subscriber, position},
};
use crate::{
    Fault,
    publish::lanes::{Body, Outgoing},
    runtime::clock,
    store::{
        due::{
            index::DueReplay,
            replays::{Replay, replay_place},
        },
        events::{deliveries::DeliveryKey, generations::NewGeneration},
    },
};

/// How long a step has a replay for itself.
const REPLAY_LEASE: Duration = Duration::from_mins(5);

/// Steps that may fail one after the other, a lease apart: an hour. Then something in the span cannot
/// be read, and the replay fails so that its owner notices.
const MAX_FAULTS: u32 = 12;

/// How old the newest end of a span must be before it is read: the indexes show a
/// write late, and a replay passes each place once.
const INDEX_DELAY: Duration = Duration::from_secs(30);

/// A step is made each minute, but not always at the same second.
const STEP_JITTER: Duration = Duration::from_secs(5);

/// Deliveries or events between two checks of the time, after which the progress is saved.
const REPLAY_CHUNK: usize = 100;

/// A replay that this run has leased.
#[derive(Debug)]
pub(crate) struct LeasedReplay {
    entry: DueReplay,
    replay: Replay,
}

/// The limits of a step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Whether live deliveries wait, so that replays do not add to them.
    pub(crate) busy: bool,
    /// The most deliveries of one step.
    pub(crate) most: u32,
    /// When the run began.
    pub(crate) now: Timestamp,
    /// When the step must end, by the machine's clock.
    pub(crate) until: Timestamp,
}

/// Candidates examined concurrently: an event may be a megabyte.
const CONCURRENT_CANDIDATES: usize = 4;

impl Replayer {
    /// Leases a replay, unless another run has it, or it has ended.
    pub(crate) async fn lease(&self, mut entry: DueReplay, now: Timestamp) -> Option<LeasedReplay> {
        let lease = now + REPLAY_LEASE;
        match self.replays.take(&entry, lease).await {
            Ok(replay) => replay.map(|replay| {
                entry.place = replay_place(entry.id, lease);
                LeasedReplay { entry, replay }
            }),
            Err(fault) => {
                tracing::error!(%fault, tenant = %entry.owner, replay_id = %entry.id, "could not lease replay");
                None
            }
        }
    }

    /// One step; how many deliveries it started. Where it fails, it is repeated when its lease expires.
    pub(crate) async fn step(&self, mut leased: LeasedReplay, bounds: Bounds) -> usize {
        let mut started = 0;
        if let Err(fault) = self.try_step(&mut leased, bounds, &mut started).await {
            let (owner, id) = (&leased.entry.owner, leased.entry.id);
            tracing::error!(%fault, tenant = %owner, replay_id = %id, "replay step failed");
            if let Err(fault) = self.count_fault(&leased.entry, &mut leased.replay, bounds.now).await {
                tracing::error!(%fault, replay_id = %leased.entry.id, "could not save failure of replay");
            }
        }
        let LeasedReplay { entry, replay } = &leased;
        tracing::info!(
            tenant = %entry.owner,
            replay_id = %entry.id,
            endpoint_id = %replay.endpoint_id,
            started,
            scanned = replay.scanned_count,
            started_count = replay.started_count,
            "replay"
        );
        started
    }

    async fn try_step(
        &self,
        leased: &mut LeasedReplay,
        bounds: Bounds,
        started: &mut usize,
    ) -> Result<(), Fault> {
        let LeasedReplay { entry, replay } = leased;
        let Bounds { busy, most, now, until } = bounds;
        let endpoint = self.endpoints.get_now(&entry.owner, replay.endpoint_id).await?;
        let pace = endpoint.as_ref().map_or(Pace::End, |endpoint| replay::pace(endpoint, replay.rate, now));
        let (Some(endpoint), budget) = (match pace {
            Pace::Go(_) if busy => {
                return self.pause(entry, replay, now + STEP, PausedFor::Traffic, now).await;
            }
            Pace::Go(budget) => (endpoint, budget.min(most)),
            Pace::Wait(at, why) => return self.pause(entry, replay, at, why, now).await,
            Pace::End => (None, 0),
        }) else {
            let why = "the endpoint was deleted";
            return self.end(entry, replay, Status::Failed, Some(why), now).await;
        };
        replay.paused_for = None;
        let budget = saturating::<usize>(budget);
        let horizon = replay.until.min(now - INDEX_DELAY);
        let end_of_step = now + STEP - STEP_JITTER;
        loop {
            let left = budget.saturating_sub(*started);
            if left == 0 || clock::machine_now() >= until {
                break;
            }
            let batch = self.next_batch(&entry.owner, replay, horizon, left.min(REPLAY_CHUNK)).await?;
            if !batch.candidates.is_empty() {
                let spread = |index: usize| {
                    let place = saturating::<u32>(*started + index);
                    STEP * place / saturating::<u32>(budget).max(1)
                };
                let (new, known) = self.start(&entry.owner, replay, &endpoint, &batch, spread, now).await?;
                *started += new;
                self.count(&entry.owner, new, now).await;
                (replay.faults, replay.error) = (0, None);
                replay.started_count += saturating::<u64>(new + known);
                replay.scanned_count += saturating::<u64>(batch.candidates.len());
                if let Some(last) = batch.candidates.last() {
                    replay.cursor = Some(last.place.clone());
                    replay.position = position(&last.place).unwrap_or(replay.position);
                }
            }
            if !batch.more {
                replay.position = horizon.max(replay.position);
                if horizon == replay.until {
                    return self.end(entry, replay, Status::Completed, None, now).await;
                }
                break;
            }
            if !self.replays.save(entry, replay, entry.place.at, now).await? {
                return Ok(());
            }
        }
        self.replays.save(entry, replay, end_of_step, now).await?;
        Ok(())
    }

    /// Counts a failed step. It is retried when its lease expires, unless too many failed.
    async fn count_fault(&self, entry: &DueReplay, replay: &mut Replay, now: Timestamp) -> Result<(), Fault> {
        replay.faults += 1;
        if replay.faults >= MAX_FAULTS {
            let why =
                "events after `position` could not be read for an hour; start another replay after them";
            return self.end(entry, replay, Status::Failed, Some(why), now).await;
        }
        // The failed write may have been its end.
        (replay.status, replay.finished_at) = (Status::Running, None);
        replay.error = Some("the last step failed and will be retried".to_owned());
        self.replays.save(entry, replay, entry.place.at, now).await?;
        Ok(())
    }

    /// Pauses a replay. One that has paused until the retention of its span has ended has failed.
    async fn pause(
        &self,
        entry: &DueReplay,
        replay: &mut Replay,
        at: Timestamp,
        why: PausedFor,
        now: Timestamp,
    ) -> Result<(), Fault> {
        if now.since(replay.until) >= replay.retention_days.span() {
            let why = "the endpoint could not be called until the retention of the events ended";
            return self.end(entry, replay, Status::Failed, Some(why), now).await;
        }
        replay.paused_for = Some(why);
        self.replays.save(entry, replay, at, now).await?;
        Ok(())
    }

    async fn end(
        &self,
        entry: &DueReplay,
        replay: &mut Replay,
        status: Status,
        why: Option<&str>,
        now: Timestamp,
    ) -> Result<(), Fault> {
        (replay.status, replay.paused_for, replay.finished_at) = (status, None, Some(now));
        replay.error = why.map(ToOwned::to_owned);
        self.replays.end(entry, replay, now).await?;
        Ok(())
    }

    /// Counts deliveries that were started towards the quota of their endpoint's owner. A replay does not fail over it.
    async fn count(&self, owner: &TenantId, started: usize, now: Timestamp) {
        if started == 0 {
            return;
        }
        let counts = Counts { planned_deliveries: saturating(started), ..Counts::default() };
        let used = UsageTotals { counts, ..UsageTotals::default() };
        if let Err(fault) = self.usage.add(owner, now.day(), &used, None).await {
            tracing::warn!(%fault, tenant = %owner, "could not count the deliveries of a replay");
        }
    }

    /// Starts the chosen deliveries of a batch, and sends them: how many, and how many an earlier step had
    /// started whose progress was not saved.
    async fn start(
        &self,
        owner: &TenantId,
        replay: &Replay,
        endpoint: &Endpoint,
        batch: &Batch,
        spread: impl Fn(usize) -> Duration,
        now: Timestamp,
    ) -> Result<(usize, usize), Fault> {
        let subscriber = as_subscriber(endpoint);
        let choices = batch.candidates.iter().map(|candidate| self.choose(replay, &subscriber, candidate));
        let choices: Vec<_> = stream::iter(choices).buffered(CONCURRENT_CANDIDATES).collect().await;
        let mut known = 0;
        let mut generations = Vec::new();
        for (candidate, choice) in batch.candidates.iter().zip(choices) {
            let Some(chosen) = choice? else { continue };
            match chosen.choice {
                Choice::Begin(generation) => generations.push(NewGeneration {
                    key: DeliveryKey {
                        tenant: candidate.tenant.clone(),
                        id: DeliveryId { event: candidate.event, endpoint: replay.endpoint_id },
                        generation,
                    },
                    operator: owner.is_operator() && !candidate.tenant.is_operator(),
                    accepted_at: chosen.accepted_at,
                    retention: chosen.retention,
                    event_type: chosen.event_type,
                    change: Change::due_now(None, now),
                    replay: Some(replay.id),
                }),
                Choice::Begun => known += 1,
                Choice::Leave => {}
            }
        }
        let mut failed = None;
        let mut messages = Vec::new();
        for (new, result) in generations.iter().zip(self.generations.start(&generations, now).await) {
            match result {
                Ok(true) => messages.push(Outgoing {
                    tenant: new.key.tenant.clone(),
                    body: Body::Again { delivery: new.key.clone(), operator: new.operator },
                    delay: spread(messages.len()),
                }),
                // A concurrent call has started it.
                Ok(false) => {}
                Err(fault) => failed = Some(fault),
            }
        }
        let sent = self.slow_lane.send_each(&messages).await;
        if let Some(fault) = sent.iter().find_map(|sent| sent.as_ref().err()) {
            tracing::error!(%fault, replay_id = %replay.id, "could not send replayed deliveries; they are due when their lease expires");
        }
        failed.map_or(Ok((messages.len(), known)), Err)
    }
}
