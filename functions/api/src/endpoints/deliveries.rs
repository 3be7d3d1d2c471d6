//! An endpoint's deliveries by time, filtered by status, event type and time.
//!
//! The reads for one page do not depend on the length of the list. A filter that rejects nearly all
//! rows is read up to a bound; the page is then short, and its cursor continues the list.

use std::sync::Arc;

use domain::{
    EndpointId, EventId, TenantId, Timestamp,
    delivery::{Group, Status},
    event::EventType,
};
use platform::{
    Fault,
    lambda::problem::Problem,
    store::{
        events::lists::{ListEntry, ListPlace},
        table::keys,
    },
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    deliveries::{RECORDED, view::DeliveryView},
    http::{
        call::Call,
        cursor,
        page::Page,
        parameter::{PAGE, Parameter},
    },
    state::Api,
};

/// Reads of the list for one page. Each is a query of every shard of every group.
const READS_PER_PAGE: usize = 10;

/// Deliveries of each group in one read, where a filter may reject many.
const FILTERED_DEPTH: usize = 250;

/// The parameters of the list.
pub(crate) const PARAMETERS: [Parameter; 6] = [
    PAGE[0],
    PAGE[1],
    Parameter {
        name: "status",
        place: "query",
        description: "Only deliveries with this status.",
        schema: r#"{"type":"string","enum":["pending","retrying","parked","succeeded","exhausted","cancelled","expired"]}"#,
    },
    RECORDED[0],
    RECORDED[1],
    RECORDED[2],
];

/// A delivery in its endpoint's list.
#[derive(Serialize, JsonSchema)]
pub(crate) struct EndpointDelivery {
    #[serde(flatten)]
    delivery: DeliveryView,
    /// The tenant of its event: any tenant, if the endpoint is the operator's.
    tenant_id: TenantId,
}

/// The requested status, event type and time.
struct ListFilter {
    status: Option<Status>,
    event_type: Option<EventType>,
    since: Timestamp,
    until: Option<Timestamp>,
}

impl ListFilter {
    fn of(call: &Call) -> Result<Self, Problem> {
        let status = call.query("status").map(str::parse).transpose();
        let status = status.map_err(|_| Problem::parameter("status", "unknown status"))?;
        let event_type = call.parsed("event_type")?;
        let (since, until) = call.time_range()?;
        Ok(Self { status, event_type, since: since.unwrap_or(Timestamp::EPOCH), until })
    }

    fn groups(&self) -> Vec<Group> {
        self.status.map_or_else(|| Group::ALL.to_vec(), |status| vec![status.group()])
    }

    /// Whether it may reject some of the groups' deliveries.
    fn drops(&self) -> bool {
        self.event_type.is_some() || !matches!(self.status, None | Some(Status::Succeeded))
    }

    fn takes(&self, listed: &ListEntry, event_type: &EventType) -> bool {
        self.status.is_none_or(|status| status == listed.status)
            && self.event_type.as_ref().is_none_or(|wanted| wanted == event_type)
    }
}

pub(crate) async fn list(api: Arc<Api>, call: Call) -> Result<Page<EndpointDelivery>, Problem> {
    let (limit, filter) = (call.limit()?, ListFilter::of(&call)?);
    let cursor = call.position(parse_place)?;
    let id: EndpointId = call.id("endpoint_id", "endpoint")?;
    let owner = call.tenant()?;
    // Deleted endpoints too: their deliveries can still be read.
    api.endpoints.get_now(owner, id).await?.ok_or_else(|| Problem::not_found("endpoint"))?;
    let until = filter.until.map(first_at);
    let mut before = cursor.into_iter().chain(until).min();
    // One more than the page shows whether more follow.
    let depth = if filter.drops() { FILTERED_DEPTH.max(limit + 1) } else { limit + 1 };
    let groups = filter.groups();
    let mut data: Vec<EndpointDelivery> = Vec::new();
    let mut last = None;
    for _ in 0..READS_PER_PAGE {
        let look = api.endpoint_deliveries.newest(owner, id, &groups, (before, filter.since), depth).await?;
        for listed in look.rows {
            let event_type = event_type(&api, &listed).await?;
            if !filter.takes(&listed, &event_type) {
                continue;
            }
            if data.len() == limit {
                return Ok(Page { data, next_cursor: last.map(cursor_of) });
            }
            last = Some(listed.place);
            let delivery = DeliveryView::listed(&listed, event_type);
            data.push(EndpointDelivery { delivery, tenant_id: listed.key.tenant });
        }
        before = look.floor;
        if before.is_none() {
            break;
        }
    }
    Ok(Page { data, next_cursor: before.map(cursor_of) })
}

/// The type of a delivery's event. It is nearly always recorded with the delivery.
pub(crate) async fn event_type(api: &Api, listed: &ListEntry) -> Result<EventType, Problem> {
    if let Some(event_type) = &listed.event_type {
        return Ok(event_type.clone());
    }
    let event = Box::pin(api.events.get(&listed.key.tenant, listed.place.event)).await?;
    let gone = || Fault::new("listing an endpoint's deliveries", "the event of a delivery is missing");
    Ok(event.ok_or_else(gone)?.event_type)
}

/// The place before everything that was first recorded at this time.
fn first_at(at: Timestamp) -> ListPlace {
    ListPlace { at, event: EventId::new(Timestamp::EPOCH, [0; 10]), generation: 0 }
}

fn cursor_of(place: ListPlace) -> String {
    cursor::write(&keys::list_place(place.at, place.event, place.generation))
}

fn parse_place(text: &str) -> Option<ListPlace> {
    let (at, event, generation) = keys::parse_list_place(text)?;
    Some(ListPlace { at, event, generation })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_and_nothing_else_is_a_cursor() {
        let at = Timestamp::from_millis(1_795_466_220_250);
        let place = ListPlace { at, event: EventId::new(at, [7; 10]), generation: 3 };
        assert_eq!(cursor::read(&cursor_of(place), parse_place).unwrap(), place);
        for malformed in ["", "x", "MQ", &place.event.to_string()] {
            assert!(cursor::read(malformed, parse_place).is_none(), "{malformed}");
        }
    }
}
