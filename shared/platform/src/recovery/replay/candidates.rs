//! What a replay starts: the deliveries or events of its span, and the choice about each.

use std::time::Duration;

use domain::{
    DeliveryId, EndpointId, EventId, TenantId, Timestamp,
    delivery::{Group, Retention},
    endpoint::{Endpoint, State, Subscriber, Target, health::Health},
    event::{EventData, EventType, listen::Facts},
    recovery::replay::{self, Choice, KnownGeneration, Selection},
    saturating,
};
use futures_util::future::try_join_all;
use serde::Deserialize;

use super::Replayer;
use crate::{
    Fault,
    alert::payload::EVENT_TYPES,
    store::{
        due::replays::Replay,
        events::{
            lists::{ListPlace, Span},
            pages::Snapshot,
            stored::{self, StoredEvent},
        },
        table::keys::{self, TIMELINE_SHARDS},
    },
};

/// A delivery or event that a replay may start again.
pub(super) struct Candidate {
    /// Its place in what the replay goes through.
    pub(super) place: String,
    /// Whose event it is.
    pub(super) tenant: TenantId,
    pub(super) event: EventId,
    /// The generation that is listed, where the replay goes through deliveries.
    listed: Option<u32>,
}

/// The choice about a candidate, and what of its event a new generation needs.
pub(super) struct ChosenEvent {
    pub(super) choice: Choice,
    pub(super) event_type: EventType,
    pub(super) accepted_at: Timestamp,
    pub(super) retention: Retention,
}

/// What comes next in a span.
pub(super) struct Batch {
    pub(super) candidates: Vec<Candidate>,
    /// Whether the span may hold more behind them.
    pub(super) more: bool,
}

impl Replayer {
    /// Decides about one candidate; `None` where there is no event for the endpoint.
    pub(super) async fn choose(
        &self,
        replay: &Replay,
        subscriber: &Subscriber,
        candidate: &Candidate,
    ) -> Result<Option<ChosenEvent>, Fault> {
        let tenant = &candidate.tenant;
        let id = DeliveryId { event: candidate.event, endpoint: replay.endpoint_id };
        // A delivery's row can outlive its event.
        let Some(event) = self.events.get(tenant, id.event).await? else { return Ok(None) };
        let chosen = |choice, event: StoredEvent| {
            let StoredEvent { event_type, at: accepted_at, retention, .. } = event;
            Some(ChosenEvent { choice, event_type, accepted_at, retention })
        };
        if let Some(listed) = candidate.listed {
            let kept = self.kept(replay, tenant, id).await?;
            return Ok(chosen(replay::choose(replay.selection, Some(listed), true, &kept), event));
        }
        if !self.matches(subscriber, &event).await? {
            return Ok(None);
        }
        let kept = self.kept(replay, tenant, id).await?;
        let contains = |targets: &[Target]| targets.iter().any(|target| target.endpoint == id.endpoint);
        let in_snapshot = match &event.snapshot {
            Snapshot::Inline(targets) => contains(targets),
            // Many; read only where it matters.
            Snapshot::Pages { .. } if kept.is_empty() => {
                contains(&self.snapshots.targets(tenant, event.id, &event.snapshot).await?)
            }
            Snapshot::Pages { .. } => false,
        };
        Ok(chosen(replay::choose(replay.selection, None, in_snapshot, &kept), event))
    }

    /// Whether a stored event would go to the endpoint if it were published now, by the same rules as a
    /// publish.
    async fn matches(&self, subscriber: &Subscriber, event: &StoredEvent) -> Result<bool, Fault> {
        let operational = EVENT_TYPES.contains(&event.event_type.as_str());
        // A payload can be large and stored elsewhere, and most endpoints have no filter.
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

    async fn kept(
        &self,
        replay: &Replay,
        tenant: &TenantId,
        id: DeliveryId,
    ) -> Result<Vec<KnownGeneration>, Fault> {
        let all = self.generations.all(tenant, id).await?.into_iter();
        let kept = all.map(|one| KnownGeneration {
            generation: one.generation,
            status: one.status,
            mine: one.replay == Some(replay.id),
        });
        Ok(kept.collect())
    }

    /// What comes next in the span, up to `horizon`.
    pub(super) async fn next_batch(
        &self,
        owner: &TenantId,
        replay: &Replay,
        horizon: Timestamp,
        limit: usize,
    ) -> Result<Batch, Fault> {
        if horizon <= replay.since {
            return Ok(Batch { candidates: Vec::new(), more: false });
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
    ) -> Result<Batch, Fault> {
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
            listed: Some(listed.key.generation),
        });
        Ok(Batch { candidates: candidates.collect(), more })
    }

    /// Goes through a timeline day by day, all shards of a day merged, so that how far it has come
    /// is one point in time.
    async fn timeline(&self, replay: &Replay, horizon: Timestamp, limit: usize) -> Result<Batch, Fault> {
        // Its bounds are exclusive and inclusive, ours the reverse.
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
            return Ok(Batch { candidates: places.into_iter().filter_map(candidate).collect(), more });
        }
        Ok(Batch { candidates: Vec::new(), more: false })
    }
}

/// The time that a place in a list or a timeline begins with.
pub(super) fn position(place: &str) -> Option<Timestamp> {
    place.split('#').next()?.parse().ok().map(Timestamp::from_millis)
}

/// The endpoint as a publish would see it, if it were enabled.
pub(super) fn as_subscriber(endpoint: &Endpoint) -> Subscriber {
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
