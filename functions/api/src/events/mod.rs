//! Publishing events and reading them.

pub(crate) mod explain;
pub(crate) mod list;
pub(crate) mod types;

use std::sync::Arc;

use domain::{
    EventId, InboundRequestId, SourceId, Timestamp,
    access::Scope,
    event::{
        EventData, EventType,
        channel::{Channels, PER_EVENT},
    },
    idempotency::{self, KEY_RULE},
};
use platform::{
    Fault, alert,
    lambda::problem::{Kind, Problem},
    publish::{Identity, NewEvent, PAYLOAD_LIMIT, PublishError, PublishedEvent},
    quota::QuotaUse,
    store::events::{
        stored::{self, StoredEvent},
        timeline::EventSummary,
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    deliveries::tracked::{self, ExpandedDeliveries},
    endpoints::listens,
    http::call::Call,
    inbound::view::InboundRequestView,
    limits,
    state::Api,
};

/// The most events of a batch.
const BATCH_EVENTS_LIMIT: usize = 100;

/// An event to publish.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PublishEvent {
    /// The event type.
    r#type: EventType,
    /// The event's data.
    data: EventData,
    /// When it happened; the time of acceptance by default.
    #[serde(default)]
    timestamp: Option<Timestamp>,
    /// Its channels; endpoints with channels receive it only if they share one. Not sent.
    #[serde(default)]
    #[schemars(length(max = 5))]
    channels: Option<Channels>,
}

/// An event of a batch.
// Its fields repeat those of `PublishEvent`: serde cannot flatten into a body that rejects unknown fields.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchEvent {
    /// The event type.
    r#type: EventType,
    /// The event's data.
    data: EventData,
    /// When it happened; the time of acceptance by default.
    #[serde(default)]
    timestamp: Option<Timestamp>,
    /// Its channels.
    #[serde(default)]
    #[schemars(length(max = 5))]
    channels: Option<Channels>,
    /// As the header `Idempotency-Key` of a single publish.
    #[serde(default)]
    #[schemars(length(min = 1, max = 255))]
    idempotency_key: Option<String>,
}

/// Events to publish.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PublishBatch {
    /// The events, each with its own result.
    #[schemars(length(min = 1, max = 100))]
    events: Vec<BatchEvent>,
}

/// An event, without its data.
#[derive(Serialize, JsonSchema)]
pub(crate) struct EventView {
    id: EventId,
    r#type: EventType,
    /// When it happened.
    timestamp: Timestamp,
    /// When it was accepted.
    created_at: Timestamp,
    /// The source that received it; null if it was published through this API.
    source_id: Option<SourceId>,
}

impl From<PublishedEvent> for EventView {
    fn from(event: PublishedEvent) -> Self {
        let PublishedEvent { id, event_type, timestamp, at, .. } = event;
        Self { id, r#type: event_type, timestamp, created_at: at, source_id: None }
    }
}

impl From<EventSummary> for EventView {
    fn from(event: EventSummary) -> Self {
        let EventSummary { id, event_type, timestamp, at, source_id } = event;
        Self { id, r#type: event_type, timestamp, created_at: at, source_id }
    }
}

/// An event with its data.
#[derive(Serialize, JsonSchema)]
pub(crate) struct FullEvent {
    #[serde(flatten)]
    event: EventView,
    /// Its channels.
    channels: Channels,
    /// The inbound request that it came with; null if it was published through this API.
    inbound_request_id: Option<InboundRequestId>,
    /// The event's data.
    data: EventData,
    #[serde(flatten)]
    expanded: Option<ExpandedDeliveries>,
    #[serde(flatten)]
    lineage: Option<ExpandedInbound>,
}

/// The inbound request of an event, in the response of the event.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ExpandedInbound {
    /// Without its body; null if the event came with none, or if its record has expired.
    inbound_request: Option<InboundRequestView>,
}

/// The result of one event of a batch: the event, or a problem.
#[derive(Serialize, JsonSchema)]
pub(crate) struct BatchResult {
    /// The status that a single publish would have returned.
    status: u16,
    /// The event, if it was accepted.
    event: Option<EventView>,
    /// The problem's type, if it was not accepted.
    problem: Option<String>,
    /// The problem in words.
    detail: Option<String>,
}

/// The results of a batch, in its order.
#[derive(Serialize, JsonSchema)]
pub(crate) struct BatchResults {
    /// One for each event, in their order.
    data: Vec<BatchResult>,
}

pub(crate) async fn publish(api: Arc<Api>, call: Call, body: PublishEvent) -> Result<EventView, Problem> {
    let key = call.idempotency_key.clone();
    if key.as_deref().is_some_and(|key| !idempotency::is_key(key)) {
        return Err(Problem::header(Kind::InvalidRequest, "Idempotency-Key", KEY_RULE));
    }
    check_type(&body.r#type, "/type")?;
    types::check(&*api.catalog.rules().await?, &body.r#type, &body.data, "")?;
    let bytes = body.data.as_str().len();
    let event = NewEvent {
        event_type: body.r#type,
        timestamp: body.timestamp,
        data: body.data,
        channels: listens::channels(body.channels, PER_EVENT, "/channels")?,
        identity: key.clone().map_or(Identity::None, Identity::IdempotencyKey),
    };
    check_quota(&api, &call, &[key], std::slice::from_ref(&event)).await?;
    match api.publisher.publish(call.tenant()?, event, call.now).await {
        Ok(published) => {
            if published.new {
                let accepted = QuotaUse { events: 1, deliveries: published.planned_deliveries };
                limits::count_events(&api, call.tenant()?, accepted, bytes, call.now);
            }
            Ok(published.into())
        }
        Err(refused) => Err(problem(refused)),
    }
}

pub(crate) async fn publish_batch(
    api: Arc<Api>,
    call: Call,
    mut body: PublishBatch,
) -> Result<BatchResults, Problem> {
    if call.idempotency_key.is_some() {
        let detail = "not accepted with a batch; set `idempotency_key` of each event";
        return Err(Problem::header(Kind::InvalidRequest, "Idempotency-Key", detail));
    }
    if !(1..=BATCH_EVENTS_LIMIT).contains(&body.events.len()) {
        let detail = format!("must have 1 to {BATCH_EVENTS_LIMIT} events");
        return Err(Problem::field(Kind::InvalidField, "/events", detail));
    }
    let mut seen = std::collections::HashSet::new();
    for (index, event) in body.events.iter_mut().enumerate() {
        check_type(&event.r#type, &format!("/events/{index}/type"))?;
        let channels =
            listens::channels(event.channels.take(), PER_EVENT, &format!("/events/{index}/channels"))?;
        event.channels = Some(channels);
        let Some(key) = &event.idempotency_key else { continue };
        let pointer = format!("/events/{index}/idempotency_key");
        if !idempotency::is_key(key) {
            return Err(Problem::field(Kind::InvalidField, pointer, KEY_RULE));
        }
        if !seen.insert(key) {
            return Err(Problem::field(
                Kind::InvalidField,
                pointer,
                "duplicates an earlier event in this batch",
            ));
        }
    }
    let keys: Vec<_> = body.events.iter().map(|event| event.idempotency_key.clone()).collect();
    let rules = api.catalog.rules().await?;
    let fits =
        body.events.iter().enumerate().map(|(index, event)| {
            types::check(&rules, &event.r#type, &event.data, &format!("/events/{index}"))
        });
    let fits: Vec<_> = fits.collect();
    let event = |event: BatchEvent| NewEvent {
        event_type: event.r#type,
        timestamp: event.timestamp,
        data: event.data,
        channels: event.channels.unwrap_or_default(),
        identity: event.idempotency_key.map_or(Identity::None, Identity::IdempotencyKey),
    };
    let events = body.events.into_iter().zip(&fits).filter(|(_, fits)| fits.is_ok());
    let events: Vec<_> = events.map(|(one, _)| event(one)).collect();
    check_quota(&api, &call, &keys, &events).await?;
    // If the catalog rejects all of them, there is nothing to publish.
    let published = if events.is_empty() {
        Vec::new()
    } else {
        let bytes: Vec<_> = events.iter().map(|event| event.data.as_str().len()).collect();
        let published = api.publisher.publish_all(call.tenant()?, events, call.now).await;
        let (mut accepted, mut new_bytes) = (QuotaUse::default(), 0);
        for (result, bytes) in published.iter().zip(bytes) {
            let Some(event) = result.as_ref().ok().filter(|event| event.new) else { continue };
            accepted.events += 1;
            accepted.deliveries += event.planned_deliveries;
            new_bytes += bytes;
        }
        limits::count_events(&api, call.tenant()?, accepted, new_bytes, call.now);
        published
    };
    let mut published = published.into_iter();
    let missing = || PublishError::Fault(Fault::new("publishing", "an event has no result"));
    let results = fits
        .into_iter()
        .map(|fits| fits.and_then(|()| published.next().unwrap_or_else(|| Err(missing())).map_err(problem)));
    let result = |result: Result<PublishedEvent, Problem>| match result {
        Ok(published) => {
            BatchResult { status: 202, event: Some(published.into()), problem: None, detail: None }
        }
        Err(problem) => {
            if let Some(fault) = &problem.fault {
                tracing::error!(%fault, "could not publish event of a batch");
            }
            let uri = problem.kind.uri();
            BatchResult {
                status: problem.kind.status().as_u16(),
                event: None,
                problem: Some(uri),
                detail: Some(problem.detail),
            }
        }
    };
    Ok(BatchResults { data: results.map(result).collect() })
}

/// Refuses events beyond the tenant's quota, unless all of them were accepted before: a repeat gets its events whatever was
/// used since.
async fn check_quota(
    api: &Api,
    call: &Call,
    keys: &[Option<String>],
    events: &[NewEvent],
) -> Result<(), Problem> {
    let Err(refused) = limits::check_events(api, call, keys.len(), events).await else { return Ok(()) };
    if refused.fault.is_some() {
        return Err(refused);
    }
    let tenant = call.tenant()?;
    for key in keys {
        let Some(key) = key else { return Err(refused) };
        if api.events.get(tenant, EventId::from_idempotency_key(tenant, key)).await?.is_none() {
            return Err(refused);
        }
    }
    Ok(())
}

/// Operational events are published by the service only, so that receivers can trust them.
pub(crate) fn check_type(event_type: &EventType, pointer: &str) -> Result<(), Problem> {
    if alert::payload::EVENT_TYPES.contains(&event_type.as_str()) {
        let detail = "is reserved for operational events of this service";
        return Err(Problem::field(Kind::InvalidField, pointer, detail));
    }
    Ok(())
}

fn problem(refused: PublishError) -> Problem {
    match refused {
        PublishError::Conflict => Problem::header(
            Kind::IdempotencyConflict,
            "Idempotency-Key",
            "was used for an event with another body",
        ),
        PublishError::TooLarge => {
            let detail = format!("the event exceeds the {PAYLOAD_LIMIT}-byte limit of a webhook");
            Problem::field(Kind::TooLarge, "/data", detail)
        }
        PublishError::Fault(fault) => fault.into(),
    }
}

pub(crate) async fn get(api: Arc<Api>, call: Call) -> Result<FullEvent, Problem> {
    let id: EventId = call.id("event_id", "event")?;
    let event = api.events.get(call.tenant()?, id).await?.ok_or_else(|| Problem::not_found("event"))?;
    let expand = Expand::of(&call)?;
    let expanded =
        if expand.deliveries { Some(Box::pin(tracked::expanded(&api, &call, &event)).await?) } else { None };
    let lineage = if expand.inbound { Some(lineage(&api, &call, &event).await?) } else { None };
    let StoredEvent { id, timestamp, at, source_id, inbound_request_id, .. } = event;
    let channels = event.channels.clone();
    let event_type = event.event_type.clone();
    let data = stored::data(&api.events.payload(event).await?)?;
    let event = EventView { id, r#type: event_type, timestamp, created_at: at, source_id };
    Ok(FullEvent { event, channels, inbound_request_id, data, expanded, lineage })
}

/// What a call adds to an event.
#[derive(Debug, Default, PartialEq, Eq)]
struct Expand {
    deliveries: bool,
    inbound: bool,
}

impl Expand {
    fn of(call: &Call) -> Result<Self, Problem> {
        let mut expand = Self::default();
        for word in call.query("expand").into_iter().flat_map(|words| words.split(',')) {
            match word {
                "deliveries" => expand.deliveries = true,
                "inbound" => expand.inbound = true,
                _ => {
                    return Err(Problem::parameter(
                        "expand",
                        "must be deliveries, inbound, or both with a comma",
                    ));
                }
            }
        }
        if expand.inbound && !call.caller()?.may(Scope::SourcesRead) {
            let detail = format!("expand=inbound requires the scope {}", Scope::SourcesRead.as_str());
            return Err(Problem::new(Kind::Forbidden, detail));
        }
        Ok(expand)
    }
}

async fn lineage(api: &Api, call: &Call, event: &StoredEvent) -> Result<ExpandedInbound, Problem> {
    let found = match event.inbound_request_id {
        Some(id) => api.inbound_requests.get(call.tenant()?, id).await?,
        None => None,
    };
    Ok(ExpandedInbound { inbound_request: found.map(|(record, _)| InboundRequestView::from(record)) })
}
