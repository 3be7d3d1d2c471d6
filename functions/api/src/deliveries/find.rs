//! Finding deliveries: those of an event, and the one that a path names.

use std::collections::BTreeMap;

use domain::{DeliveryId, EndpointId, endpoint::Target};
use platform::{
    lambda::problem::Problem,
    store::events::{stored::StoredEvent, tracking::DeliveryRow},
};

use super::view::DeliveryView;
use crate::{http::call::Call, state::Api};

/// One delivery of an event.
pub(crate) struct EventDelivery {
    pub(crate) target: Target,
    /// Its latest generation; nothing before it is recorded.
    pub(crate) row: Option<DeliveryRow>,
}

impl EventDelivery {
    pub(crate) fn id(&self, event: &StoredEvent) -> DeliveryId {
        DeliveryId { event: event.id, endpoint: self.target.endpoint }
    }

    pub(crate) fn view(&self, event: &StoredEvent) -> DeliveryView {
        DeliveryView::new(self.id(event), &event.event_type, self.row.as_ref())
    }
}

impl From<DeliveryRow> for EventDelivery {
    fn from(row: DeliveryRow) -> Self {
        Self { target: Target { endpoint: row.endpoint, operator: row.operator }, row: Some(row) }
    }
}

/// Up to `limit` of an event's deliveries, the newest endpoint first, of endpoints before `before`;
/// and the last endpoint of the page, if more follow.
///
/// The snapshot's deliveries and those that a replay added. Only the deliveries of the page are read,
/// however many endpoints there are.
pub(crate) async fn of_event(
    api: &Api,
    call: &Call,
    event: &StoredEvent,
    before: Option<EndpointId>,
    limit: usize,
) -> Result<(Vec<EventDelivery>, Option<EndpointId>), Problem> {
    let tenant = call.tenant()?;
    let mut named = api.snapshots.targets(tenant, event.id, &event.snapshot).await?;
    named.retain(|target| shown(call, *target) && before.is_none_or(|before| target.endpoint < before));
    named.sort_unstable_by_key(|target| std::cmp::Reverse(target.endpoint));
    named.truncate(limit + 1);
    let last = named.get(limit).map(|target| target.endpoint);
    let shown = |kept: &DeliveryRow| shown(call, Target { endpoint: kept.endpoint, operator: kept.operator });
    let kept = api.tracked.of_event(tenant, event.id, (before, last), shown, limit + 1).await?;
    let named = named.into_iter().map(|target| (target.endpoint, EventDelivery { target, row: None }));
    let mut found: BTreeMap<_, _> = named.collect();
    found.extend(kept.into_iter().map(|kept| (kept.endpoint, EventDelivery::from(kept))));
    let more = found.len() > limit;
    let page: Vec<_> = found.into_values().rev().take(limit).collect();
    let next = page.last().filter(|_| more).map(|last| last.target.endpoint);
    Ok((page, next))
}

/// Deliveries to the operator's own endpoints are hidden from tenants.
fn shown(call: &Call, target: Target) -> bool {
    !target.operator || call.is_operator()
}

/// The delivery of the path, its event, and its earlier generations, the latest first; `limit` counts
/// all generations. A delivery exists if its event's snapshot names it, or if it was started since.
pub(crate) async fn of_path(
    api: &Api,
    call: &Call,
    limit: i32,
) -> Result<(StoredEvent, EventDelivery, Vec<DeliveryRow>), Problem> {
    let id: DeliveryId = call.id("delivery_id", "delivery")?;
    let tenant = call.tenant()?;
    let missing = || Problem::not_found("delivery");
    let event = api.events.get(tenant, id.event).await?.ok_or_else(missing)?;
    let mut generations = api.tracked.generations(tenant, id, limit).await?.into_iter();
    let found = if let Some(latest) = generations.next() {
        EventDelivery::from(latest)
    } else {
        let targets = api.snapshots.targets(tenant, event.id, &event.snapshot).await?;
        let target = targets.into_iter().find(|target| target.endpoint == id.endpoint);
        EventDelivery { target: target.ok_or_else(missing)?, row: None }
    };
    if shown(call, found.target) { Ok((event, found, generations.collect())) } else { Err(missing()) }
}
