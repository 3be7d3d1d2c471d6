//! Replays: jobs that deliver many events again, a step each minute.
//!
//! A replay's row is its own entry in the due index, and who takes it has it for some minutes. A
//! step goes through a part of the span in order. For each part: generations are begun, each with
//! its place in the due index; their messages are sent to the slow lane, spread over the minute;
//! then the progress is kept, on the condition that the entry still stands where it was taken. A
//! step that stops in between is repeated from the progress before, and finds the generations that
//! it began by the replay's id, which they carry.

use std::{sync::Arc, time::Duration};

use domain::{
    DeliveryId, EndpointId, EventId, TenantId, Timestamp,
    delivery::{Group, RETENTION},
    endpoint::{Endpoint, State, Subscriber, Target, health::Health},
    event::{EventData, EventType, listen::Facts},
    recovery::replay::{self, Choice, Kept, Pace, PausedFor, STEP, Selection, Status},
    saturating,
};
use futures_util::{StreamExt, future::try_join_all, stream};
use serde::Deserialize;

use crate::{
    Fault, alert,
    publish::lanes::{Body, Lane, Outgoing},
    runtime::clock,
    store::{
        due::{
            index::DueReplay,
            replays::{Replay, Replays, replay_place},
        },
        events::{
            deliveries::DeliveryKey,
            generations::{Generations, NewGeneration},
            lists::{EndpointDeliveries, ListPlace, Span},
            pages::{Snapshot, Snapshots},
            stored::{self, StoredEvent, StoredEvents},
            timeline::Timeline,
        },
        registry::endpoints::Endpoints,
        table::keys::{self, TIMELINE_SHARDS},
    },
};

/// How long a step has a replay for itself.
const LEASE: Duration = Duration::from_mins(5);

/// Steps that may fail one after the other, a lease apart: an hour. Something in its span cannot be
/// read then, and whoever waits for it must hear of that.
const FAULTS: u32 = 12;

/// How far the newest end of a span must lie back before it is gone through: the indexes show a
/// write late, and a replay passes each place once.
const SETTLED: Duration = Duration::from_secs(30);

/// A step comes by each minute, and not always at the same second.
const EARLY: Duration = Duration::from_secs(5);

/// Deliveries or events between two looks at the time, after which the progress is kept.
const CHUNK: usize = 100;

/// Those looked at side by side: an event may be a megabyte.
const CONCURRENCY: usize = 4;

/// A replay that this run is to see to.
#[derive(Debug)]
pub(crate) struct Taken {
    entry: DueReplay,
    replay: Replay,
}

/// What a step goes by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Whether others' deliveries wait, so that replays do not add to them.
    pub(crate) busy: bool,
    /// The most deliveries of one step.
    pub(crate) most: u32,
    /// When the run began.
    pub(crate) now: Timestamp,
    /// When the step must be over, by the machine's clock.
    pub(crate) until: Timestamp,
}

/// What continues replays.
#[derive(Debug)]
pub struct Replayer {
    /// Where endpoints are looked up.
    pub endpoints: Endpoints,
    /// Where replays are.
    pub replays: Replays,
    /// Where events are stored.
    pub events: StoredEvents,
    /// Where it is stored which endpoints events go to.
    pub snapshots: Snapshots,
    /// A tenant's events in order of time.
    pub timeline: Timeline,
    /// An endpoint's deliveries in order of time.
    pub endpoint_deliveries: EndpointDeliveries,
    /// Where deliveries are started again.
    pub generations: Generations,
    /// Where their messages go.
    pub slow_lane: Arc<Lane>,
}

/// A delivery or event that a replay comes by.
struct Candidate {
    /// Where it stands in what the replay goes through.
    place: String,
    /// Whose event it is.
    tenant: TenantId,
    event: EventId,
    /// The generation that is listed, and its event's type, where deliveries are gone through.
    listed: Option<(u32, Option<EventType>)>,
}

/// What comes next in a span.
struct Part {
    candidates: Vec<Candidate>,
    /// Whether the span may hold more behind them.
    more: bool,
}

impl Replayer {
    /// Takes a replay, unless another run has it, or it has ended.
    pub(crate) async fn take(&self, mut entry: DueReplay, now: Timestamp) -> Option<Taken> {
        let lease = now + LEASE;
        match self.replays.take(&entry, lease).await {
            Ok(replay) => replay.map(|replay| {
                entry.place = replay_place(entry.id, lease);
                Taken { entry, replay }
            }),
            Err(fault) => {
                tracing::error!(%fault, tenant = %entry.owner, replay_id = %entry.id, "a replay was left out");
                None
            }
        }
    }

    /// One step; how many deliveries it began. Where it fails, it is repeated when its lease ends.
    pub(crate) async fn step(&self, mut taken: Taken, bounds: Bounds) -> usize {
        let mut let_go = 0;
        if let Err(fault) = self.try_step(&mut taken, bounds, &mut let_go).await {
            let (owner, id) = (&taken.entry.owner, taken.entry.id);
            tracing::error!(%fault, tenant = %owner, replay_id = %id, "a replay was left half-way");
            if let Err(fault) = self.stumble(&taken.entry, &mut taken.replay, bounds.now).await {
                tracing::error!(%fault, replay_id = %taken.entry.id, "that a replay failed is not kept");
            }
        }
        let Taken { entry, replay } = &taken;
        tracing::info!(
            tenant = %entry.owner,
            replay_id = %entry.id,
            endpoint_id = %replay.endpoint_id,
            let_go,
            seen = replay.scanned_count,
            replayed = replay.started_count,
            "replay"
        );
        let_go
    }

    async fn try_step(&self, taken: &mut Taken, bounds: Bounds, let_go: &mut usize) -> Result<(), Fault> {
        let Taken { entry, replay } = taken;
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
        let horizon = replay.until.min(now - SETTLED);
        let end_of_step = now + STEP - EARLY;
        loop {
            let left = budget.saturating_sub(*let_go);
            if left == 0 || clock::machine_now() >= until {
                break;
            }
            let part = self.part(&entry.owner, replay, horizon, left.min(CHUNK)).await?;
            if !part.candidates.is_empty() {
                let spread = |at: usize| {
                    let place = saturating::<u32>(*let_go + at);
                    STEP * place / saturating::<u32>(budget).max(1)
                };
                let (begun, known) = self.make(&entry.owner, replay, &endpoint, &part, spread, now).await?;
                *let_go += begun;
                (replay.faults, replay.error) = (0, None);
                replay.started_count += saturating::<u64>(begun + known);
                replay.scanned_count += saturating::<u64>(part.candidates.len());
                if let Some(last) = part.candidates.last() {
                    replay.cursor = Some(last.place.clone());
                    replay.position = position(&last.place).unwrap_or(replay.position);
                }
            }
            if !part.more {
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

    /// Counts a step that failed. It is tried again when its lease ends, unless too many did.
    async fn stumble(&self, entry: &DueReplay, replay: &mut Replay, now: Timestamp) -> Result<(), Fault> {
        replay.faults += 1;
        if replay.faults >= FAULTS {
            let why = "something behind `position` could not be read for an hour; replay what comes after it";
            return self.end(entry, replay, Status::Failed, Some(why), now).await;
        }
        // What failed may have been its end.
        (replay.status, replay.finished_at) = (Status::Running, None);
        replay.error = Some("the last step failed and is tried again".to_owned());
        self.replays.save(entry, replay, entry.place.at, now).await?;
        Ok(())
    }

    /// Lets a replay wait. One that has waited until nothing of its span is kept has failed.
    async fn pause(
        &self,
        entry: &DueReplay,
        replay: &mut Replay,
        at: Timestamp,
        why: PausedFor,
        now: Timestamp,
    ) -> Result<(), Fault> {
        if now.since(replay.until) >= RETENTION {
            let why = "the endpoint could not be called for so long that the events are no longer kept";
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

    /// Begins what is to be begun of a part, and sends it: how many that was, and how many a step
    /// that was not kept had begun.
    async fn make(
        &self,
        owner: &TenantId,
        replay: &Replay,
        endpoint: &Endpoint,
        part: &Part,
        spread: impl Fn(usize) -> Duration,
        now: Timestamp,
    ) -> Result<(usize, usize), Fault> {
        let subscriber = as_subscriber(endpoint);
        let choices = part.candidates.iter().map(|candidate| self.choose(replay, &subscriber, candidate));
        let choices: Vec<_> = stream::iter(choices).buffered(CONCURRENCY).collect().await;
        let mut known = 0;
        let mut begin = Vec::new();
        for (candidate, choice) in part.candidates.iter().zip(choices) {
            match choice? {
                (Choice::Begin(generation), event_type) => begin.push(NewGeneration {
                    key: DeliveryKey {
                        tenant: candidate.tenant.clone(),
                        id: DeliveryId { event: candidate.event, endpoint: replay.endpoint_id },
                        generation,
                    },
                    operator: owner.is_operator() && !candidate.tenant.is_operator(),
                    event_type,
                    replay: Some(replay.id),
                }),
                (Choice::Begun, _) => known += 1,
                (Choice::Leave, _) => {}
            }
        }
        let mut failed = None;
        let mut messages = Vec::new();
        for (begin, begun) in begin.iter().zip(self.generations.start(&begin, now).await) {
            match begun {
                Ok(true) => messages.push(Outgoing {
                    tenant: begin.key.tenant.clone(),
                    body: Body::Again { delivery: begin.key.clone(), operator: begin.operator },
                    delay: spread(messages.len()),
                }),
                // Somebody else has begun it meanwhile.
                Ok(false) => {}
                Err(fault) => failed = Some(fault),
            }
        }
        let sent = self.slow_lane.send_each(&messages).await;
        if let Some(fault) = sent.iter().find_map(|sent| sent.as_ref().err()) {
            tracing::error!(%fault, replay_id = %replay.id, "deliveries were not sent; they are due when their lease ends");
        }
        failed.map_or(Ok((messages.len(), known)), Err)
    }

    /// Decides about one candidate.
    async fn choose(
        &self,
        replay: &Replay,
        subscriber: &Subscriber,
        candidate: &Candidate,
    ) -> Result<(Choice, Option<EventType>), Fault> {
        let tenant = &candidate.tenant;
        let id = DeliveryId { event: candidate.event, endpoint: replay.endpoint_id };
        if let Some((listed, event_type)) = &candidate.listed {
            // A delivery's item outlives its event by its own age.
            if self.events.get(tenant, id.event).await?.is_none() {
                return Ok((Choice::Leave, None));
            }
            let kept = self.kept(replay, tenant, id).await?;
            return Ok((replay::choose(replay.selection, Some(*listed), true, &kept), event_type.clone()));
        }
        let event = self.events.get(tenant, id.event).await?;
        let Some(event) = event else { return Ok((Choice::Leave, None)) };
        if !self.wants(subscriber, &event).await? {
            return Ok((Choice::Leave, None));
        }
        let kept = self.kept(replay, tenant, id).await?;
        let goes_there = |targets: &[Target]| targets.iter().any(|target| target.endpoint == id.endpoint);
        let in_snapshot = match &event.snapshot {
            Snapshot::Inline(targets) => goes_there(targets),
            // Many; asked only where the answer counts.
            Snapshot::Pages { .. } if kept.is_empty() => {
                goes_there(&self.snapshots.targets(tenant, event.id, &event.snapshot).await?)
            }
            Snapshot::Pages { .. } => false,
        };
        Ok((replay::choose(replay.selection, None, in_snapshot, &kept), Some(event.event_type)))
    }

    /// Whether an event that is kept would go to the endpoint if it were published now; by the same
    /// rules as a publish.
    async fn wants(&self, subscriber: &Subscriber, event: &StoredEvent) -> Result<bool, Fault> {
        let operational = alert::EVENT_TYPES.contains(&event.event_type.as_str());
        // A payload can be large and lie elsewhere, and most endpoints do not ask what is in it.
        if !operational && subscriber.filter.is_none() {
            return Ok(subscriber.matches(&Facts::new(
                &event.event_type,
                &event.channels,
                &EventData::empty(),
            )));
        }
        let data = stored::data(&self.events.payload(event.clone()).await?)?;
        let facts = Facts::new(&event.event_type, &event.channels, &data);
        Ok(if operational {
            about(&data) != Some(subscriber.id) && subscriber.matches_operational(&facts)
        } else {
            subscriber.matches(&facts)
        })
    }

    async fn kept(&self, replay: &Replay, tenant: &TenantId, id: DeliveryId) -> Result<Vec<Kept>, Fault> {
        let all = self.generations.all(tenant, id).await?.into_iter();
        let kept = all.map(|one| Kept {
            generation: one.generation,
            status: one.status,
            mine: one.replay == Some(replay.id),
        });
        Ok(kept.collect())
    }

    /// What comes next in the span, up to `horizon`.
    async fn part(
        &self,
        owner: &TenantId,
        replay: &Replay,
        horizon: Timestamp,
        limit: usize,
    ) -> Result<Part, Fault> {
        if horizon <= replay.since {
            return Ok(Part { candidates: Vec::new(), more: false });
        }
        match replay.selection {
            Selection::Failed => self.failed(owner, replay, horizon, limit).await,
            Selection::Missing | Selection::All => self.timeline(replay, horizon, limit).await,
        }
    }

    async fn failed(
        &self,
        owner: &TenantId,
        replay: &Replay,
        horizon: Timestamp,
        limit: usize,
    ) -> Result<Part, Fault> {
        let cursor = replay.cursor.as_deref().and_then(keys::parse_list_place);
        let after = cursor.map(|(at, event, generation)| ListPlace { at, event, generation });
        let span = Span::OldestFirst { after: after.ok_or(replay.since), until: horizon };
        let listed =
            self.endpoint_deliveries.in_group(owner, replay.endpoint_id, Group::Failed, span, limit).await?;
        let more = listed.len() >= limit;
        let candidates = listed.into_iter().map(|listed| Candidate {
            place: keys::list_place(listed.place.at, listed.place.event, listed.place.generation),
            tenant: listed.key.tenant,
            event: listed.key.id.event,
            listed: Some((listed.key.generation, listed.event_type)),
        });
        Ok(Part { candidates: candidates.collect(), more })
    }

    /// Goes through a timeline day by day, all shards of a day merged, so that how far it has come
    /// is one point in time.
    async fn timeline(&self, replay: &Replay, horizon: Timestamp, limit: usize) -> Result<Part, Fault> {
        // Its bounds are exclusive and inclusive, ours the other way round.
        let instant = Duration::from_millis(1);
        let span = (replay.since - instant, horizon - instant);
        let after = replay.cursor.as_deref();
        let chunk = saturating::<i32>(limit);
        let first = after.and_then(position).unwrap_or(replay.since).day();
        for day in first..=span.1.day() {
            let shards = (0..TIMELINE_SHARDS)
                .map(|shard| self.timeline.chunk(&replay.tenant_id, (day, shard), span, after, chunk));
            let chunks = try_join_all(shards).await?;
            let more = day < span.1.day() || chunks.iter().any(|chunk| chunk.more);
            let mut places: Vec<_> = chunks.into_iter().flat_map(|chunk| chunk.places).collect();
            places.sort_unstable();
            let more = more || places.len() > limit;
            places.truncate(limit);
            if places.is_empty() {
                continue;
            }
            let candidate = |place: String| {
                let (_, event) = keys::parse_timeline_place(&place)?;
                Some(Candidate { place, tenant: replay.tenant_id.clone(), event, listed: None })
            };
            return Ok(Part { candidates: places.into_iter().filter_map(candidate).collect(), more });
        }
        Ok(Part { candidates: Vec::new(), more: false })
    }
}

/// The time that a place in a list or a timeline begins with.
fn position(place: &str) -> Option<Timestamp> {
    place.split('#').next()?.parse().ok().map(Timestamp::from_millis)
}

/// The endpoint as a publish would see it, if it were enabled.
fn as_subscriber(endpoint: &Endpoint) -> Subscriber {
    Subscriber {
        id: endpoint.id,
        event_types: endpoint.event_types.clone(),
        channels: endpoint.channels.clone(),
        filter: endpoint.filter.clone(),
        state: State::Enabled,
        health: Health::default(),
    }
}

/// The endpoint that an operational event is about.
fn about(data: &EventData) -> Option<EndpointId> {
    #[derive(Deserialize)]
    struct About {
        endpoint_id: EndpointId,
    }
    serde_json::from_str::<About>(data.as_str()).ok().map(|about| about.endpoint_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_says_how_far_it_is() {
        let (at, event) =
            (Timestamp::from_millis(1_700_000_000_123), EventId::new(Timestamp::EPOCH, [1; 10]));
        assert_eq!(position(&keys::timeline_place(at, event)), Some(at));
        assert_eq!(position(&keys::list_place(at, event, 3)), Some(at));
        assert_eq!(position("x"), None);
    }
}
