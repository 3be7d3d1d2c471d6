//! Publishing events and reading them.

pub(crate) mod types;

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use domain::{
    EventId, SourceId, Timestamp,
    delivery::RETENTION,
    event::{
        EventData, EventType,
        channel::{Channels, PER_EVENT},
    },
};
use platform::{
    Fault, alert,
    lambda::problem::{Kind, Problem},
    publish::{Identity, NewEvent, PAYLOAD_LIMIT, PublishError, PublishedEvent},
    store::{
        events::{
            stored::{self, StoredEvent},
            timeline::EventSummary,
        },
        table::keys,
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Api,
    deliveries::tracked::{self, Expanded},
    endpoints::listens,
    http::route::{Call, Page},
};

/// Events in one batch.
const BATCH_LIMIT: usize = 100;

/// An event to publish.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PublishEvent {
    /// What kind of thing happened.
    r#type: EventType,
    /// What happened.
    data: EventData,
    /// When it happened; now where it is missing.
    #[serde(default)]
    timestamp: Option<Timestamp>,
    /// The channels it is on; endpoints with channels get it only if they share one. Not sent.
    #[serde(default)]
    #[schemars(length(max = 5))]
    channels: Option<Channels>,
}

/// An event of a batch.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchEvent {
    /// What kind of thing happened.
    r#type: EventType,
    /// What happened.
    data: EventData,
    /// When it happened; now where it is missing.
    #[serde(default)]
    timestamp: Option<Timestamp>,
    /// The channels it is on.
    #[serde(default)]
    #[schemars(length(max = 5))]
    channels: Option<Channels>,
    /// As the header of a single publish.
    #[serde(default)]
    #[schemars(length(min = 1, max = 255))]
    idempotency_key: Option<String>,
}

/// Events to publish.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PublishBatch {
    /// Each has its own result.
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
    /// The source it came in by; null where it was published by this API.
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
    /// The channels that it is on.
    channels: Channels,
    /// What happened.
    data: EventData,
    #[serde(flatten)]
    expanded: Option<Expanded>,
}

/// What came of one event of a batch: the event, or what is wrong with it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct BatchResult {
    /// The status that a single publish would have answered.
    status: u16,
    /// The event, where it was accepted.
    event: Option<EventView>,
    /// The problem's type, where it was not.
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
    if key.as_deref().is_some_and(|key| !is_idempotency_key(key)) {
        return Err(Problem::header(Kind::InvalidRequest, "Idempotency-Key", KEY_RULE));
    }
    check_type(&body.r#type, "/type")?;
    types::check(&*api.catalog.rules().await?, &body.r#type, &body.data, "")?;
    let event = NewEvent {
        event_type: body.r#type,
        timestamp: body.timestamp,
        data: body.data,
        channels: listens::channels(body.channels, PER_EVENT, "/channels")?,
        identity: key.map_or(Identity::None, Identity::IdempotencyKey),
    };
    match api.publisher.publish(call.tenant()?, event, call.now).await {
        Ok(published) => Ok(published.into()),
        Err(refused) => Err(problem(refused)),
    }
}

pub(crate) async fn publish_batch(
    api: Arc<Api>,
    call: Call,
    mut body: PublishBatch,
) -> Result<BatchResults, Problem> {
    if call.idempotency_key.is_some() {
        let detail = "is not taken for a batch; give each event its own idempotency_key";
        return Err(Problem::header(Kind::InvalidRequest, "Idempotency-Key", detail));
    }
    if !(1..=BATCH_LIMIT).contains(&body.events.len()) {
        let detail = format!("must hold 1 to {BATCH_LIMIT} events");
        return Err(Problem::field(Kind::InvalidField, "/events", detail));
    }
    let mut seen = std::collections::HashSet::new();
    for (at, event) in body.events.iter_mut().enumerate() {
        check_type(&event.r#type, &format!("/events/{at}/type"))?;
        let channels =
            listens::channels(event.channels.take(), PER_EVENT, &format!("/events/{at}/channels"))?;
        event.channels = Some(channels);
        let Some(key) = &event.idempotency_key else { continue };
        let pointer = format!("/events/{at}/idempotency_key");
        if !is_idempotency_key(key) {
            return Err(Problem::field(Kind::InvalidField, pointer, KEY_RULE));
        }
        if !seen.insert(key) {
            return Err(Problem::field(Kind::InvalidField, pointer, "stands in this batch twice"));
        }
    }
    let rules = api.catalog.rules().await?;
    let fits = body
        .events
        .iter()
        .enumerate()
        .map(|(at, event)| types::check(&rules, &event.r#type, &event.data, &format!("/events/{at}")));
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
    // Where the catalog lets none pass there is nothing to ask for.
    let published = if events.is_empty() {
        Vec::new()
    } else {
        api.publisher.publish_all(call.tenant()?, events, call.now).await
    };
    let mut published = published.into_iter();
    let unanswered = || PublishError::Fault(Fault::new("publishing", "no result came of an event"));
    let results = fits.into_iter().map(|fits| {
        fits.and_then(|()| published.next().unwrap_or_else(|| Err(unanswered())).map_err(problem))
    });
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

/// Operational events are ours alone, so that whoever gets one can believe it.
pub(crate) fn check_type(event_type: &EventType, pointer: &str) -> Result<(), Problem> {
    if alert::payload::EVENT_TYPES.contains(&event_type.as_str()) {
        let detail = "is an operational event of this service, which nobody else publishes";
        return Err(Problem::field(Kind::InvalidField, pointer, detail));
    }
    Ok(())
}

const KEY_RULE: &str = "must be 1 to 255 printable ASCII characters";

fn is_idempotency_key(text: &str) -> bool {
    (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

fn problem(refused: PublishError) -> Problem {
    match refused {
        PublishError::Conflict => Problem::header(
            Kind::IdempotencyConflict,
            "Idempotency-Key",
            "was used for an event with another body",
        ),
        PublishError::TooLarge => {
            let detail =
                format!("the event is larger than the {PAYLOAD_LIMIT} bytes that a webhook can hold");
            Problem::field(Kind::TooLarge, "/data", detail)
        }
        PublishError::Fault(fault) => fault.into(),
    }
}

pub(crate) async fn get(api: Arc<Api>, call: Call) -> Result<FullEvent, Problem> {
    let id: EventId = call.id("event_id", "event")?;
    let event = api.events.get(call.tenant()?, id).await?.ok_or_else(|| Problem::not_found("event"))?;
    let expanded = Box::pin(tracked::expanded(&api, &call, &event)).await?;
    let StoredEvent { id, timestamp, at, source_id, .. } = event;
    let channels = event.channels.clone();
    let event_type = event.event_type.clone();
    let data = stored::data(&api.events.payload(event).await?)?;
    let event = EventView { id, r#type: event_type, timestamp, created_at: at, source_id };
    Ok(FullEvent { event, channels, data, expanded })
}

pub(crate) async fn list(api: Arc<Api>, call: Call) -> Result<Page<EventView>, Problem> {
    let limit = call.limit()?;
    let before = match call.cursor() {
        None => None,
        Some(text) => {
            let place =
                BASE64_URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let place = place.and_then(|place| keys::parse_timeline_place(&place));
            Some(place.ok_or_else(|| Problem::parameter("cursor", "is not a cursor of this list"))?)
        }
    };
    let tenant = call.tenant()?;
    // No event is older than its tenant, nor than the time that events are kept. The operator's
    // row may be younger than its events: it is made with its first endpoint.
    let kept_since = call.now - RETENTION;
    let row = if tenant.is_operator() { None } else { api.tenants.get(tenant).await? };
    let made = row.map_or(kept_since, |row| Timestamp::from_millis(row.created_at));
    let found = api.timeline.list(tenant, call.now, before, made.max(kept_since), limit + 1).await?;
    let data = found.into_iter().map(EventView::from).collect();
    let cursor =
        |last: &EventView| BASE64_URL_SAFE_NO_PAD.encode(keys::timeline_place(last.created_at, last.id));
    Ok(Page::cut(data, limit, cursor)?)
}
