//! A tenant's events by time, filtered by type, time and idempotency key.
//!
//! The reads for one page are bounded: a filter that rejects nearly all events makes a short page, and its cursor
//! continues the list.

use std::sync::Arc;

use domain::{
    EventId, Timestamp,
    event::EventType,
    idempotency::{self, KEY_RULE},
};
use platform::{
    lambda::problem::Problem,
    store::{events::stored::StoredEvent, events::timeline::EventSummary, table::keys},
};

use super::EventView;
use crate::{
    http::{
        call::Call,
        cursor,
        page::Page,
        parameter::{PAGE, Parameter},
    },
    state::Api,
};

/// Reads of the timeline for one page. Each is a query of every shard of a day, or of several days until it is full.
const READS_PER_PAGE: usize = 10;

/// Events in one read, where a filter may reject many.
const FILTERED_DEPTH: usize = 250;

/// The parameters of the list.
pub(crate) const PARAMETERS: [Parameter; 6] = [
    PAGE[0],
    PAGE[1],
    Parameter {
        name: "type",
        place: "query",
        description: "Only events of exactly this type.",
        schema: r#"{"type":"string","maxLength":128,"examples":["contact.created"]}"#,
    },
    Parameter {
        name: "since",
        place: "query",
        description: "Only events accepted at or after this time.",
        schema: r#"{"type":"string","format":"date-time","examples":["2026-11-24T09:30:00.000Z"]}"#,
    },
    Parameter {
        name: "until",
        place: "query",
        description: "Only events accepted before this time.",
        schema: r#"{"type":"string","format":"date-time","examples":["2026-11-24T09:30:00.000Z"]}"#,
    },
    Parameter {
        name: "idempotency_key",
        place: "query",
        description: "Only the event that was published under this key. It is found immediately after its 202.",
        schema: r#"{"type":"string","minLength":1,"maxLength":255,"examples":["c_1-created"]}"#,
    },
];

/// What a list has.
struct EventFilter {
    event_type: Option<EventType>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl EventFilter {
    fn of(call: &Call) -> Result<Self, Problem> {
        let event_type = call.parsed("type")?;
        let (since, until) = call.time_range()?;
        Ok(Self { event_type, since, until })
    }

    fn takes(&self, event_type: &EventType) -> bool {
        self.event_type.as_ref().is_none_or(|wanted| wanted == event_type)
    }

    fn takes_time(&self, at: Timestamp) -> bool {
        self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at < until)
    }
}

pub(crate) async fn list(api: Arc<Api>, call: Call) -> Result<Page<EventView>, Problem> {
    let limit = call.limit()?;
    let cursor = call.position(keys::parse_timeline_place)?;
    let filter = EventFilter::of(&call)?;
    if let Some(key) = call.query("idempotency_key") {
        return of_key(&api, &call, &filter, key).await;
    }
    let tenant = call.tenant()?;
    // No event is older than its tenant or the retention. The operator's row may be newer than its
    // events: it is created with its first endpoint.
    let row = if tenant.is_operator() { None } else { api.tenants.get(tenant).await? };
    let kept_since = call.now - api.tenants.longest_retention(tenant, call.now).await?.span();
    let made = row.map_or(kept_since, |row| Timestamp::from_millis(row.created_at));
    let oldest = made.max(kept_since);
    let until = filter.until.map(|until| (until, EventId::new(Timestamp::EPOCH, [0; 10])));
    let mut before = cursor.into_iter().chain(until).min();
    // One more than the page shows whether more follow.
    let depth = if filter.event_type.is_some() { FILTERED_DEPTH.max(limit + 1) } else { limit + 1 };
    let mut data: Vec<EventView> = Vec::new();
    for _ in 0..READS_PER_PAGE {
        let range = (filter.since.map_or(oldest, |since| since.max(oldest)), filter.since);
        let found = api.timeline.list(tenant, call.now, before, range, depth).await?;
        let full = found.len() >= depth;
        let last = found.last().map(|last| (last.at, last.id));
        for event in found.into_iter().filter(|event| filter.takes(&event.event_type)) {
            if data.len() == limit {
                let next_cursor = data.last().map(place_of);
                return Ok(Page { data, next_cursor });
            }
            data.push(event.into());
        }
        if !full {
            return Ok(Page { data, next_cursor: None });
        }
        before = last;
    }
    let next_cursor = before.map(|(at, id)| cursor::write(&keys::timeline_place(at, id)));
    Ok(Page { data, next_cursor })
}

fn place_of(event: &EventView) -> String {
    cursor::write(&keys::timeline_place(event.created_at, event.id))
}

/// The event that was published under a key: its id is made of it.
async fn of_key(api: &Api, call: &Call, filter: &EventFilter, key: &str) -> Result<Page<EventView>, Problem> {
    if !idempotency::is_key(key) {
        return Err(Problem::parameter("idempotency_key", KEY_RULE));
    }
    let tenant = call.tenant()?;
    let found = api.events.get(tenant, EventId::from_idempotency_key(tenant, key)).await?;
    let found = found.filter(|event| filter.takes(&event.event_type) && filter.takes_time(event.at));
    let data = found.map(|event| EventView::from(summary(event))).into_iter().collect();
    Ok(Page { data, next_cursor: None })
}

fn summary(event: StoredEvent) -> EventSummary {
    let StoredEvent { id, event_type, timestamp, at, source_id, .. } = event;
    EventSummary { id, event_type, timestamp, at, source_id }
}
