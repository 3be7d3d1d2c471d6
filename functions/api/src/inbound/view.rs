//! Inbound requests as responses show them.

use std::collections::BTreeMap;

use domain::{
    EventId, InboundRequestId, SourceId, TenantId, Timestamp,
    event::EventType,
    inbound::{
        Provider,
        extraction::MalformedEvent,
        record::{RecordedEvent, RecordedFault, RequestRecord, RequestStatus},
    },
};
use schemars::JsonSchema;
use serde::Serialize;

/// An event of an inbound request.
#[derive(Serialize, JsonSchema)]
pub(crate) struct InboundEvent {
    pub(super) id: EventId,
    pub(super) r#type: EventType,
    /// Whether it was new, and not a repeat.
    pub(super) new: bool,
    /// The tenant that it was published for, at a source of the operator where an account of the provider is mapped; null
    /// for the source's own.
    pub(super) tenant_id: Option<TenantId>,
}

impl From<RecordedEvent> for InboundEvent {
    fn from(RecordedEvent { id, event_type, new, tenant }: RecordedEvent) -> Self {
        Self { id, r#type: event_type, new, tenant_id: tenant }
    }
}

/// An item of a request that holds no event.
#[derive(Serialize, JsonSchema)]
pub(crate) struct MalformedItem {
    /// Its place in the batch, from 0; null for the request as a whole.
    pub(super) index: Option<usize>,
    /// What is wrong with it.
    pub(crate) detail: String,
}

impl From<(usize, MalformedEvent)> for MalformedItem {
    fn from((index, malformed): (usize, MalformedEvent)) -> Self {
        Self { index: Some(index), detail: malformed.to_string() }
    }
}

impl From<RecordedFault> for MalformedItem {
    fn from(RecordedFault { index, detail }: RecordedFault) -> Self {
        Self { index: Some(index), detail }
    }
}

/// An inbound request, without its body.
#[derive(Serialize, JsonSchema)]
pub(crate) struct InboundRequestView {
    pub(super) id: InboundRequestId,
    source_id: SourceId,
    provider: Provider,
    status: RequestStatus,
    /// Why it was refused, or holds no event; null otherwise.
    reason: Option<String>,
    /// The method.
    method: String,
    /// The query, with secrets redacted.
    query: String,
    /// The headers, with secrets redacted.
    headers: BTreeMap<String, String>,
    /// The sender's address.
    source_ip: Option<String>,
    /// Bytes of the body.
    body_size: usize,
    /// Which of the source's secrets matched, from 0.
    secret_index: Option<usize>,
    /// Milliseconds from the signed time to the request's arrival; negative for a time ahead of it.
    age_ms: Option<i64>,
    /// The number of its events, the repeated ones too.
    event_count: usize,
    /// The first 200 of its events, with repeats and those of replays.
    events: Vec<InboundEvent>,
    /// The items that hold no event, the first 20.
    malformed_items: Vec<MalformedItem>,
    /// The number of items that hold no event, those that are too large for a webhook among them.
    malformed_item_count: usize,
    /// The number of items that are too large for a webhook.
    too_large_count: usize,
    /// The number of items without a valid signature of their own, if each has one.
    unverified_item_count: usize,
    /// When it came in.
    created_at: Timestamp,
}

impl From<RequestRecord> for InboundRequestView {
    fn from(record: RequestRecord) -> Self {
        Self {
            created_at: record.created_at(),
            id: record.id,
            source_id: record.source_id,
            provider: record.provider,
            status: record.status,
            reason: record.reason,
            method: record.method,
            query: record.query,
            headers: record.headers,
            source_ip: record.source_ip,
            body_size: record.body_size,
            secret_index: record.secret_index,
            age_ms: record.age_ms,
            events: record.events.into_iter().map(InboundEvent::from).collect(),
            malformed_items: record.malformed_items.into_iter().map(MalformedItem::from).collect(),
            malformed_item_count: record.malformed_item_count,
            too_large_count: record.too_large_count,
            event_count: record.event_count,
            unverified_item_count: record.unverified_item_count,
        }
    }
}

/// An inbound request with its body.
#[derive(Serialize, JsonSchema)]
pub(crate) struct FullInboundRequest {
    #[serde(flatten)]
    pub(super) request: InboundRequestView,
    /// The body as text. Null if it is not a text, and if it is not kept: that of a refused request.
    pub(super) body: Option<String>,
    /// The body in base64, if it is not a text.
    pub(super) body_base64: Option<String>,
}
