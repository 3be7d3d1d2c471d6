//! Which endpoints an event went to, and why it did not go to the others.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use domain::{
    DeliveryId, EndpointId, EventId, TenantId,
    access::Scope,
    endpoint::{Endpoint, Target},
    event::{
        explain::{self, Audience, Question, Reason},
        listen::Facts,
    },
};
use platform::{
    alert::payload::EVENT_TYPES,
    lambda::problem::{Kind, Problem},
    store::events::{
        stored::{self, StoredEvent},
        tracking::DeliveryRow,
    },
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    deliveries::{
        find::EventDelivery,
        tracked::{TrackedDelivery, with_stories},
    },
    http::{
        call::Call,
        page::Page,
        parameter::{PAGE, Parameter},
    },
    state::Api,
};

/// The operational event that only those endpoints get that name exactly its type.
const ONLY_BY_EXACT_NAME: &str = "connection.refreshed";

/// The parameters of the list.
pub(crate) const PARAMETERS: [Parameter; 3] = [
    PAGE[0],
    PAGE[1],
    Parameter {
        name: "endpoint_id",
        place: "query",
        description: "Only this endpoint, also if it was deleted; the tenant's endpoints by default.",
        schema: r#"{"type":"string","pattern":"^ept_[0-7][0-9a-hjkmnp-tv-z]{25}$","examples":["ept_01kavg7r8e6mt4xw2z5v9b3csq"]}"#,
    },
];

/// Whether an event went to an endpoint, and why not. The reasons are those of the endpoint as it is now.
#[derive(Serialize, JsonSchema)]
pub(crate) struct EventReach {
    endpoint_id: EndpointId,
    /// Whether the endpoint was chosen when the event was published.
    included: bool,
    /// The event's delivery to the endpoint, also one that a replay started; null if there is none.
    delivery: Option<TrackedDelivery>,
    /// Why there is no delivery: all reasons by the endpoint's present settings, because those of then are not kept. Empty
    /// if there is one.
    reasons: Vec<Reason>,
    /// Whether the event would go to the endpoint if it was published now.
    matches_now: bool,
}

/// An endpoint of a page, with its delivery.
struct Candidate {
    target: Target,
    endpoint: Arc<Endpoint>,
    row: Option<DeliveryRow>,
}

pub(crate) async fn list(api: Arc<Api>, call: Call) -> Result<Page<EventReach>, Problem> {
    let (limit, before) = (call.limit()?, call.before::<EndpointId>()?);
    if !call.caller()?.may(Scope::EndpointsRead) {
        let detail = format!("requires the scope {} too", Scope::EndpointsRead.as_str());
        return Err(Problem::new(Kind::Forbidden, detail));
    }
    let one = call.query("endpoint_id").map(str::parse::<EndpointId>).transpose();
    let one = one.map_err(|_| Problem::parameter("endpoint_id", "must be the id of an endpoint"))?;
    let id: EventId = call.id("event_id", "event")?;
    let event = api.events.get(call.tenant()?, id).await?.ok_or_else(|| Problem::not_found("event"))?;
    let mut found = match one {
        Some(id) => vec![one_endpoint(&api, &call, &event, id).await?],
        None => endpoints(&api, &call, &event, before, limit + 1).await?,
    };
    let more = found.len() > limit;
    found.truncate(limit);
    let next_cursor = found.last().filter(|_| more).map(|last| last.target.endpoint.to_string());
    let named = api.snapshots.targets(call.tenant()?, event.id, &event.snapshot).await?;
    let named: HashSet<Target> = named.into_iter().collect();
    let deliveries: Vec<_> = found
        .iter_mut()
        .filter(|found| found.row.is_some() || named.contains(&found.target))
        .map(|found| EventDelivery { target: found.target, row: found.row.take() })
        .collect();
    let targets: Vec<_> = deliveries.iter().map(|delivery| delivery.target.endpoint).collect();
    let stories = with_stories(&api, &call, &event, deliveries).await?;
    let mut stories: HashMap<_, _> = targets.into_iter().zip(stories).collect();
    let (event_type, channels, accepted_at) = (event.event_type.clone(), event.channels.clone(), event.at);
    let data = stored::data(&api.events.payload(event).await?)?;
    let facts = Facts::new(&event_type, &channels, &data);
    let reach = |found: Candidate| {
        let Candidate { target, endpoint, .. } = found;
        let audience = audience(&facts, target.endpoint);
        let question = Question { event: &facts, accepted_at, audience, endpoint: &endpoint };
        let reasons = explain::reasons(&question);
        let delivery = stories.remove(&target.endpoint);
        let matches_now = explain::matches_now(&reasons);
        let reasons = match &delivery {
            Some(_) => Vec::new(),
            None if reasons.is_empty() => vec![explain::changed_since()],
            None => reasons,
        };
        let included = named.contains(&target);
        EventReach { endpoint_id: target.endpoint, included, delivery, reasons, matches_now }
    };
    Ok(Page { data: found.into_iter().map(reach).collect(), next_cursor })
}

/// The endpoint of this id: the tenant's, or the operator's where the operator asks.
async fn one_endpoint(
    api: &Api,
    call: &Call,
    event: &StoredEvent,
    id: EndpointId,
) -> Result<Candidate, Problem> {
    let tenant = call.tenant()?;
    let mut operator = false;
    let mut endpoint = api.endpoints.get_now(tenant, id).await?;
    if endpoint.is_none() && call.is_operator() {
        operator = true;
        endpoint = api.endpoints.get_now(&TenantId::operator(), id).await?;
    }
    let endpoint = endpoint.ok_or_else(|| Problem::not_found("endpoint"))?;
    let row = api.tracked.latest(tenant, DeliveryId { event: event.id, endpoint: id }).await?;
    Ok(Candidate { target: Target { endpoint: id, operator }, endpoint, row })
}

/// A page of the tenant's endpoints, in one query of them and one of their deliveries.
async fn endpoints(
    api: &Api,
    call: &Call,
    event: &StoredEvent,
    before: Option<EndpointId>,
    limit: usize,
) -> Result<Vec<Candidate>, Problem> {
    let tenant = call.tenant()?;
    let endpoints = api.endpoints.list(tenant, before, limit).await?;
    let Some(last) = endpoints.last().map(|last| last.id) else { return Ok(Vec::new()) };
    let own = |row: &DeliveryRow| !row.operator;
    let rows = api.tracked.of_event(tenant, event.id, (before, Some(last)), own, usize::MAX).await?;
    let mut rows: HashMap<_, _> = rows.into_iter().map(|row| (row.endpoint, row)).collect();
    let found = |endpoint: Endpoint| Candidate {
        target: Target { endpoint: endpoint.id, operator: false },
        row: rows.remove(&endpoint.id),
        endpoint: Arc::new(endpoint),
    };
    Ok(endpoints.into_iter().map(found).collect())
}

fn audience(event: &Facts<'_>, endpoint: EndpointId) -> Audience {
    let event_type = event.event_type().as_str();
    if event_type == ONLY_BY_EXACT_NAME {
        return Audience::ByExactName;
    }
    if !EVENT_TYPES.contains(&event_type) {
        return Audience::All;
    }
    let about = event.value().and_then(|data| data["endpoint_id"].as_str()?.parse::<EndpointId>().ok());
    if about == Some(endpoint) { Audience::ByNameButNotThis } else { Audience::ByName }
}
