//! An endpoint's deliveries by time: a page of them, narrowed down by status, event type and time.
//!
//! A page costs as many reads however long the list is. Filters that drop nearly all they see are
//! read on for, up to a bound; the page is short then, and its cursor leads on.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
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
    Api,
    deliveries::DeliveryView,
    http::route::{Call, PAGE, Page, Parameter},
};

/// Looks at the list for one page. Each is a query of every shard of every group.
const LOOKS: usize = 10;

/// Deliveries of each group that a look takes in where a filter may drop many.
const FILTERED: usize = 250;

/// What the list takes.
pub(crate) const PARAMETERS: [Parameter; 6] = [
    PAGE[0],
    PAGE[1],
    Parameter {
        name: "status",
        place: "query",
        description: "Only those that stand so.",
        schema: r#"{"type":"string","enum":["pending","retrying","parked","succeeded","exhausted","cancelled","expired"]}"#,
    },
    Parameter {
        name: "event_type",
        place: "query",
        description: "Only those of events of exactly this type.",
        schema: r#"{"type":"string","maxLength":128,"examples":["contact.created"]}"#,
    },
    Parameter {
        name: "since",
        place: "query",
        description: "Only those first written then or later.",
        schema: r#"{"type":"string","format":"date-time","examples":["2026-11-24T09:30:00.000Z"]}"#,
    },
    Parameter {
        name: "until",
        place: "query",
        description: "Only those first written before then.",
        schema: r#"{"type":"string","format":"date-time","examples":["2026-11-24T09:30:00.000Z"]}"#,
    },
];

/// A delivery in its endpoint's list.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ListedDelivery {
    #[serde(flatten)]
    delivery: DeliveryView,
    /// Whose event it is: the tenant itself, or any where the endpoint is the operator's.
    tenant_id: TenantId,
}

/// What is asked for.
struct Filter {
    status: Option<Status>,
    event_type: Option<EventType>,
    since: Timestamp,
    until: Option<Timestamp>,
}

impl Filter {
    fn of(call: &Call) -> Result<Self, Problem> {
        let status = call.query("status").map(str::parse).transpose();
        let status = status.map_err(|_| Problem::parameter("status", "is not a status of a delivery"))?;
        let event_type = call.query("event_type").map(str::parse::<EventType>).transpose();
        let event_type =
            event_type.map_err(|invalid| Problem::parameter("event_type", invalid.to_string()))?;
        let time = |name| {
            let time = call.query(name).map(str::parse::<Timestamp>).transpose();
            time.map_err(|invalid| Problem::parameter(name, invalid.to_string()))
        };
        let (since, until) = (time("since")?, time("until")?);
        if since.zip(until).is_some_and(|(since, until)| since >= until) {
            return Err(Problem::parameter("since", "must lie before until"));
        }
        Ok(Self { status, event_type, since: since.unwrap_or(Timestamp::EPOCH), until })
    }

    fn groups(&self) -> Vec<Group> {
        self.status.map_or_else(|| Group::ALL.to_vec(), |status| vec![status.group()])
    }

    /// Whether it may drop some of what the groups hold.
    fn drops(&self) -> bool {
        self.event_type.is_some() || !matches!(self.status, None | Some(Status::Succeeded))
    }

    fn takes(&self, listed: &ListEntry, event_type: &EventType) -> bool {
        self.status.is_none_or(|status| status == listed.status)
            && self.event_type.as_ref().is_none_or(|wanted| wanted == event_type)
    }
}

pub(crate) async fn list(api: Arc<Api>, call: Call) -> Result<Page<ListedDelivery>, Problem> {
    let (limit, filter) = (call.limit()?, Filter::of(&call)?);
    let cursor = call.cursor().map(read_cursor).transpose()?;
    let id: EndpointId = call.id("endpoint_id", "endpoint")?;
    let owner = call.tenant()?;
    // A deleted one too: what it got is still asked for.
    api.endpoints.get_now(owner, id).await?.ok_or_else(|| Problem::not_found("endpoint"))?;
    let until = filter.until.map(first_at);
    let mut before = cursor.into_iter().chain(until).min();
    // One more than the page takes tells whether more follow.
    let depth = if filter.drops() { FILTERED.max(limit + 1) } else { limit + 1 };
    let groups = filter.groups();
    let mut data: Vec<ListedDelivery> = Vec::new();
    let mut last = None;
    for _ in 0..LOOKS {
        let look = api.endpoint_deliveries.newest(owner, id, &groups, (before, filter.since), depth).await?;
        for listed in look.rows {
            let event_type = event_type(&api, &listed).await?;
            if !filter.takes(&listed, &event_type) {
                continue;
            }
            if data.len() == limit {
                return Ok(Page { data, next_cursor: last.map(cursor_text) });
            }
            last = Some(listed.place);
            let delivery = DeliveryView::listed(&listed, event_type);
            data.push(ListedDelivery { delivery, tenant_id: listed.key.tenant });
        }
        before = look.floor;
        if before.is_none() {
            break;
        }
    }
    Ok(Page { data, next_cursor: before.map(cursor_text) })
}

/// The type of a delivery's event. Whoever wrote the delivery first nearly always knew it.
async fn event_type(api: &Api, listed: &ListEntry) -> Result<EventType, Problem> {
    if let Some(event_type) = &listed.event_type {
        return Ok(event_type.clone());
    }
    let event = Box::pin(api.events.get(&listed.key.tenant, listed.place.event)).await?;
    let gone = || Fault::new("listing an endpoint's deliveries", "the event of one is gone");
    Ok(event.ok_or_else(gone)?.event_type)
}

/// Before everything that was first written then.
fn first_at(at: Timestamp) -> ListPlace {
    ListPlace { at, event: EventId::new(Timestamp::EPOCH, [0; 10]), generation: 0 }
}

fn cursor_text(place: ListPlace) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(keys::list_place(place.at, place.event, place.generation))
}

fn read_cursor(text: &str) -> Result<ListPlace, Problem> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok();
    let place = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let place = place.and_then(|place| keys::parse_list_place(&place));
    let (at, event, generation) =
        place.ok_or_else(|| Problem::parameter("cursor", "is not a cursor of this list"))?;
    Ok(ListPlace { at, event, generation })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_and_nothing_else_is_one() {
        let at = Timestamp::from_millis(1_795_466_220_250);
        let place = ListPlace { at, event: EventId::new(at, [7; 10]), generation: 3 };
        assert_eq!(read_cursor(&cursor_text(place)).unwrap(), place);
        for odd in ["", "x", "MQ", &place.event.to_string()] {
            assert!(read_cursor(odd).is_err(), "{odd}");
        }
    }
}
