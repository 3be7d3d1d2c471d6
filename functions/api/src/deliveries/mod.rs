//! Where is my webhook: an event's deliveries, and one delivery with its attempts.

pub(crate) mod resend;
pub(crate) mod tracked;

use std::{collections::BTreeMap, sync::Arc};

use domain::{
    DeliveryId, EndpointId, EventId, Timestamp,
    delivery::{Attempt, ParkedReason, Status},
    endpoint::Target,
    event::EventType,
    saturating,
};
use platform::{
    lambda::problem::Problem,
    store::events::{lists::ListEntry, stored::StoredEvent, tracking::DeliveryRow},
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    Api,
    deliveries::tracked::TrackedDelivery,
    http::route::{Call, Page},
};

/// A delivery, in its latest generation.
#[derive(Serialize, JsonSchema)]
pub(crate) struct DeliveryView {
    id: DeliveryId,
    event_id: EventId,
    event_type: EventType,
    endpoint_id: EndpointId,
    /// 0 until it is replayed; each replay is one more.
    generation: u32,
    status: Status,
    /// How many attempts are on record.
    attempt_count: usize,
    /// When it is tried again; null unless that is known.
    next_attempt_at: Option<Timestamp>,
    /// What it waits for; null unless it is parked.
    parked_reason: Option<ParkedReason>,
    /// When something was written about it for the first time; null before that.
    created_at: Option<Timestamp>,
}

impl DeliveryView {
    pub(crate) fn new(id: DeliveryId, event_type: &EventType, kept: Option<&DeliveryRow>) -> Self {
        let delivery = kept.map(|kept| &kept.delivery);
        Self {
            id,
            event_id: id.event,
            event_type: event_type.clone(),
            endpoint_id: id.endpoint,
            generation: delivery.map_or(0, |delivery| delivery.generation),
            status: delivery.map_or(Status::Pending, |delivery| delivery.status),
            attempt_count: delivery.map_or(0, |delivery| delivery.attempts.len()),
            next_attempt_at: delivery.and_then(|delivery| delivery.next_attempt_at),
            parked_reason: delivery.and_then(|delivery| delivery.parked_reason),
            created_at: kept.and_then(|kept| kept.created_at),
        }
    }

    pub(crate) fn listed(listed: &ListEntry, event_type: EventType) -> Self {
        Self {
            id: listed.key.id,
            event_id: listed.key.id.event,
            event_type,
            endpoint_id: listed.key.id.endpoint,
            generation: listed.key.generation,
            status: listed.status,
            attempt_count: saturating::<usize>(listed.attempts),
            next_attempt_at: listed.next_attempt_at,
            parked_reason: listed.parked_reason,
            created_at: Some(listed.place.at),
        }
    }
}

/// One delivery of an event, as it was found.
pub(crate) struct Found {
    pub(crate) target: Target,
    /// Its latest generation; nothing before something is kept about it.
    pub(crate) kept: Option<DeliveryRow>,
}

impl Found {
    pub(crate) fn id(&self, event: &StoredEvent) -> DeliveryId {
        DeliveryId { event: event.id, endpoint: self.target.endpoint }
    }

    pub(crate) fn view(&self, event: &StoredEvent) -> DeliveryView {
        DeliveryView::new(self.id(event), &event.event_type, self.kept.as_ref())
    }
}

impl From<DeliveryRow> for Found {
    fn from(kept: DeliveryRow) -> Self {
        Self { target: Target { endpoint: kept.endpoint, operator: kept.operator }, kept: Some(kept) }
    }
}

/// Up to `limit` of an event's deliveries, the newest endpoint first, of endpoints before `before`;
/// and where the next ones begin, if there are more.
///
/// They are those of the snapshot and those that a replay added. Only what stands on the page is
/// read, however many endpoints there are.
pub(crate) async fn find(
    api: &Api,
    call: &Call,
    event: &StoredEvent,
    before: Option<EndpointId>,
    limit: usize,
) -> Result<(Vec<Found>, Option<EndpointId>), Problem> {
    let tenant = call.tenant()?;
    let mut named = api.snapshots.targets(tenant, event.id, &event.snapshot).await?;
    named.retain(|target| shown(call, *target) && before.is_none_or(|before| target.endpoint < before));
    named.sort_unstable_by_key(|target| std::cmp::Reverse(target.endpoint));
    named.truncate(limit + 1);
    let last = named.get(limit).map(|target| target.endpoint);
    let shown = |kept: &DeliveryRow| shown(call, Target { endpoint: kept.endpoint, operator: kept.operator });
    let kept = api.tracked.of_event(tenant, event.id, (before, last), shown, limit + 1).await?;
    let named = named.into_iter().map(|target| (target.endpoint, Found { target, kept: None }));
    let mut found: BTreeMap<_, _> = named.collect();
    found.extend(kept.into_iter().map(|kept| (kept.endpoint, Found::from(kept))));
    let more = found.len() > limit;
    let page: Vec<_> = found.into_values().rev().take(limit).collect();
    let next = page.last().filter(|_| more).map(|last| last.target.endpoint);
    Ok((page, next))
}

pub(crate) async fn list(api: Arc<Api>, call: Call) -> Result<Page<DeliveryView>, Problem> {
    let event_id: EventId = call.id("event_id", "event")?;
    let (limit, before) = (call.limit()?, call.before()?);
    let event = api.events.get(call.tenant()?, event_id).await?;
    let event = event.ok_or_else(|| Problem::not_found("event"))?;
    let (found, next) = find(&api, &call, &event, before, limit).await?;
    let data = found.iter().map(|found| found.view(&event)).collect();
    Ok(Page { data, next_cursor: next.map(|endpoint| endpoint.to_string()) })
}

/// A tenant does not see what goes to the operator's own endpoints.
fn shown(call: &Call, target: Target) -> bool {
    !target.operator || call.is_operator()
}

/// Generations of a delivery that are shown, the present one included.
const GENERATIONS: i32 = 20;

/// What was before a delivery was made again.
#[derive(Serialize, JsonSchema)]
struct EarlierGeneration {
    /// Counted from 0, one more with each replay.
    generation: u32,
    status: Status,
    /// How many attempts are on record.
    attempt_count: usize,
    /// In order, the first one first.
    attempts: Vec<Attempt>,
}

/// A delivery with its attempts, and its story in words.
#[derive(Serialize, JsonSchema)]
pub(crate) struct FullDelivery {
    #[serde(flatten)]
    delivery: TrackedDelivery,
    /// What was before it was replayed, the latest first; at most 19.
    earlier: Vec<EarlierGeneration>,
}

/// The delivery of the path, with its event and up to `limit` generations, less the one that counts,
/// the latest first. It is one if its event's snapshot names it, or if it has been begun since.
pub(crate) async fn find_one(
    api: &Api,
    call: &Call,
    limit: i32,
) -> Result<(StoredEvent, Found, Vec<DeliveryRow>), Problem> {
    let id: DeliveryId = call.id("delivery_id", "delivery")?;
    let tenant = call.tenant()?;
    let missing = || Problem::not_found("delivery");
    let event = api.events.get(tenant, id.event).await?.ok_or_else(missing)?;
    let mut generations = api.tracked.generations(tenant, id, limit).await?.into_iter();
    let found = if let Some(latest) = generations.next() {
        Found::from(latest)
    } else {
        let targets = api.snapshots.targets(tenant, event.id, &event.snapshot).await?;
        let target = targets.into_iter().find(|target| target.endpoint == id.endpoint);
        Found { target: target.ok_or_else(missing)?, kept: None }
    };
    if shown(call, found.target) { Ok((event, found, generations.collect())) } else { Err(missing()) }
}

pub(crate) async fn get(api: Arc<Api>, call: Call) -> Result<FullDelivery, Problem> {
    let (event, found, earlier) = find_one(&api, &call, GENERATIONS).await?;
    let earlier = earlier.into_iter().map(|DeliveryRow { delivery, .. }| EarlierGeneration {
        generation: delivery.generation,
        status: delivery.status,
        attempt_count: delivery.attempts.len(),
        attempts: delivery.attempts,
    });
    let earlier = earlier.collect();
    let mut told = tracked::tell(&api, &call, &event, vec![found]).await?;
    let delivery = told.pop().ok_or_else(|| Problem::not_found("delivery"))?;
    Ok(FullDelivery { delivery, earlier })
}
