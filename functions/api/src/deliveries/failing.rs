//! The deliveries of all of a tenant's endpoints whose last attempt failed, by time.
//!
//! The reads for one page are bounded: a filter that rejects nearly all rows makes a short page, and its cursor continues
//! the list.

use std::{str::FromStr, sync::Arc};

use domain::{
    EndpointId, EventId, TenantId, Timestamp,
    delivery::{Failure, Status},
    event::EventType,
};
use platform::{
    lambda::problem::Problem,
    store::{
        events::{
            failing::{FailingEntry, FailingPlace},
            lists::ListPlace,
        },
        table::keys,
    },
};
use schemars::JsonSchema;
use serde::Serialize;

use super::{RECORDED, view::DeliveryView};
use crate::{
    endpoints::deliveries::event_type,
    http::{
        call::Call,
        cursor,
        page::Page,
        parameter::{PAGE, Parameter},
    },
    state::Api,
};

/// Reads of the list for one page. Each is a query of every shard.
const READS_PER_PAGE: usize = 10;

/// Deliveries in one read, where a filter may reject many.
const FILTERED_DEPTH: usize = 250;

/// The statuses of deliveries whose last attempt failed.
const STATUSES: [Status; 5] =
    [Status::Retrying, Status::Parked, Status::Exhausted, Status::Cancelled, Status::Expired];

/// The parameters of the list.
pub(crate) const PARAMETERS: [Parameter; 8] = [
    PAGE[0],
    PAGE[1],
    Parameter {
        name: "status",
        place: "query",
        description: "Only deliveries with one of these statuses, separated by commas: retrying, parked, exhausted, cancelled, expired.",
        schema: r#"{"type":"string","pattern":"^(retrying|parked|exhausted|cancelled|expired)(,(retrying|parked|exhausted|cancelled|expired))*$","examples":["exhausted,retrying"]}"#,
    },
    Parameter {
        name: "failure",
        place: "query",
        description: "Only deliveries whose last attempt failed for one of these reasons, separated by commas: http_status, dns, connect, tls, timeout, protocol, body, blocked_address.",
        schema: r#"{"type":"string","pattern":"^(http_status|dns|connect|tls|timeout|protocol|body|blocked_address)(,(http_status|dns|connect|tls|timeout|protocol|body|blocked_address))*$","examples":["timeout,connect"]}"#,
    },
    RECORDED[0],
    Parameter {
        name: "endpoint_id",
        place: "query",
        description: "Only deliveries to this endpoint.",
        schema: r#"{"type":"string","pattern":"^ept_[0-7][0-9a-hjkmnp-tv-z]{25}$","examples":["ept_01kavg7r8e6mt4xw2z5v9b3csq"]}"#,
    },
    RECORDED[1],
    RECORDED[2],
];

/// A delivery whose last attempt failed.
#[derive(Serialize, JsonSchema)]
pub(crate) struct FailingDelivery {
    #[serde(flatten)]
    delivery: DeliveryView,
    /// The tenant of its event: any tenant, if the endpoint is the operator's.
    tenant_id: TenantId,
    /// Why the last attempt failed.
    failure: Failure,
}

/// What a list has; nothing where all are in it.
struct FailingFilter {
    statuses: Option<Vec<Status>>,
    failures: Option<Vec<Failure>>,
    event_type: Option<EventType>,
    endpoint: Option<EndpointId>,
    since: Timestamp,
    until: Option<Timestamp>,
}

impl FailingFilter {
    fn of(call: &Call) -> Result<Self, Problem> {
        let statuses = words::<Status>(call, "status", STATUSES.map(Status::as_str).as_slice())?;
        let failures = words::<Failure>(call, "failure", Failure::ALL.map(Failure::as_str).as_slice())?;
        let event_type = call.parsed("event_type")?;
        let endpoint = call.query("endpoint_id").map(str::parse::<EndpointId>).transpose();
        let endpoint =
            endpoint.map_err(|_| Problem::parameter("endpoint_id", "must be the id of an endpoint"))?;
        let (since, until) = call.time_range()?;
        let since = since.unwrap_or(Timestamp::EPOCH);
        Ok(Self { statuses, failures, event_type, endpoint, since, until })
    }

    /// Whether it may reject some of the deliveries within its time.
    fn drops(&self) -> bool {
        self.statuses.is_some()
            || self.failures.is_some()
            || self.event_type.is_some()
            || self.endpoint.is_some()
    }

    fn takes(&self, row: &FailingEntry, event_type: &EventType) -> bool {
        self.statuses.as_ref().is_none_or(|wanted| wanted.contains(&row.listed.status))
            && self.failures.as_ref().is_none_or(|wanted| wanted.contains(&row.failure))
            && self.endpoint.is_none_or(|wanted| wanted == row.listed.key.id.endpoint)
            && self.event_type.as_ref().is_none_or(|wanted| wanted == event_type)
    }
}

/// The words of a parameter, separated by commas; each must be one of `known`.
fn words<T: FromStr>(call: &Call, name: &str, known: &[&str]) -> Result<Option<Vec<T>>, Problem> {
    let Some(text) = call.query(name) else { return Ok(None) };
    let word = |word: &str| word.parse().ok().filter(|_| known.contains(&word));
    let words: Option<Vec<T>> = text.split(',').map(word).collect();
    let invalid = || {
        let detail = format!("must be one or more of {}, separated by commas", known.join(", "));
        Problem::parameter(name, detail)
    };
    words.ok_or_else(invalid).map(Some)
}

pub(crate) async fn list(api: Arc<Api>, call: Call) -> Result<Page<FailingDelivery>, Problem> {
    let (limit, filter) = (call.limit()?, FailingFilter::of(&call)?);
    let cursor = call.position(parse_place)?;
    let owner = call.tenant()?;
    let until = filter.until.map(first_at);
    let mut before = cursor.into_iter().chain(until).min();
    // One more than the page shows whether more follow.
    let depth = if filter.drops() { FILTERED_DEPTH.max(limit + 1) } else { limit + 1 };
    let mut data: Vec<FailingDelivery> = Vec::new();
    let mut last = None;
    for _ in 0..READS_PER_PAGE {
        let window = api.failing_deliveries.newest(owner, (before, filter.since), depth).await?;
        for row in window.rows {
            let event_type = event_type(&api, &row.listed).await?;
            if !filter.takes(&row, &event_type) {
                continue;
            }
            if data.len() == limit {
                return Ok(Page { data, next_cursor: last.map(cursor_of) });
            }
            last = Some(row.place());
            let delivery = DeliveryView::listed(&row.listed, event_type);
            let tenant_id = row.listed.key.tenant;
            data.push(FailingDelivery { delivery, tenant_id, failure: row.failure });
        }
        before = window.floor;
        if before.is_none() {
            break;
        }
    }
    Ok(Page { data, next_cursor: before.map(cursor_of) })
}

/// The place before everything that was first recorded at this time.
fn first_at(at: Timestamp) -> FailingPlace {
    let place = ListPlace { at, event: EventId::new(Timestamp::EPOCH, [0; 10]), generation: 0 };
    (place, EndpointId::new(Timestamp::EPOCH, [0; 10]))
}

fn cursor_of((place, endpoint): FailingPlace) -> String {
    cursor::write(&format!("{}#{endpoint}", keys::list_place(place.at, place.event, place.generation)))
}

fn parse_place(text: &str) -> Option<FailingPlace> {
    let (place, endpoint) = text.rsplit_once('#')?;
    let (at, event, generation) = keys::parse_list_place(place)?;
    Some((ListPlace { at, event, generation }, endpoint.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_and_nothing_else_is_a_cursor() {
        let at = Timestamp::from_millis(1_795_466_220_250);
        let place = ListPlace { at, event: EventId::new(at, [7; 10]), generation: 3 };
        let place = (place, EndpointId::new(at, [8; 10]));
        assert_eq!(cursor::read(&cursor_of(place), parse_place).unwrap(), place);
        let without_endpoint = cursor::write(&keys::list_place(at, place.0.event, 3));
        for malformed in ["", "x", "MQ", &without_endpoint] {
            assert!(cursor::read(malformed, parse_place).is_none(), "{malformed}");
        }
    }
}
