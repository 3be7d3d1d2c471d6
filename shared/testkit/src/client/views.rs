//! What the API returns, as a typed client would have it. A field that is missing is an error, also one
//! that may be null; a field that is not here is ignored.

#![allow(missing_docs, reason = "docs/api.md says what each field means")]

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Reads a field that must be there. Without it serde takes a missing `Option` for null.
fn required<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    T::deserialize(deserializer)
}

macro_rules! views {
    ($($(#[$attribute:meta])* $name:ident { $($field:ident: $type:ty,)* })*) => {
        $(
            $(#[$attribute])*
            #[derive(Debug, Clone, PartialEq, Deserialize)]
            pub struct $name {
                $(#[serde(deserialize_with = "required")] pub $field: $type,)*
            }
        )*
    };
}

views! {
    /// An endpoint.
    EndpointView {
        id: String,
        url: String,
        event_types: Option<Vec<String>>,
        channels: Vec<String>,
        filter: Option<Value>,
        description: String,
        metadata: BTreeMap<String, String>,
        status: String,
        disabled: Option<DisabledView>,
        health: HealthView,
        retry_schedule_seconds: Option<Vec<u32>>,
        timeout_seconds: u32,
        rate_limit: Option<u32>,
        headers: BTreeMap<String, String>,
        svix_headers: bool,
        created_at: String,
    }
    /// How and why an endpoint is disabled.
    DisabledView {
        mode: String,
        by: String,
        reason: String,
        at: String,
    }
    /// How an endpoint fares.
    HealthView {
        failures: u64,
        failing_since: Option<String>,
        circuit_open_until: Option<String>,
        throttled_until: Option<String>,
    }
    /// The signing keys of an endpoint.
    SecretView {
        secret: Option<String>,
        public_key: Option<String>,
        fingerprint: String,
        previous: Vec<PreviousKeyView>,
    }
    /// A signing key that is still valid beside the newest.
    PreviousKeyView {
        secret: Option<String>,
        public_key: Option<String>,
        expires_at: Option<String>,
    }
    /// A new signing key.
    RotationView {
        secret: Option<String>,
        public_key: Option<String>,
        previous_expires_at: Option<String>,
    }
    /// The statistics of an endpoint.
    StatsView {
        attempts: u64,
        attempts_failed: u64,
        deliveries_succeeded: u64,
        deliveries_exhausted: u64,
        success_rate: Option<f64>,
        p50_ms: Option<u64>,
        p95_ms: Option<u64>,
        last_success_at: Option<String>,
        last_failure_at: Option<String>,
        from: String,
        to: String,
        by_hour: Vec<HourView>,
    }
    /// One hour of an endpoint's statistics.
    HourView {
        attempts: u64,
        from: String,
    }
    /// A test event: what was sent, and what came back.
    TestEventView {
        request: SentRequestView,
        response: Option<ReceivedResponseView>,
        attempt: AttemptView,
        succeeded: bool,
        suggested_action: String,
    }
    /// The request of a test event.
    SentRequestView {
        url: String,
        method: String,
        headers: BTreeMap<String, String>,
        body: String,
    }
    /// The response to a test event.
    ReceivedResponseView {
        status: u16,
        headers: BTreeMap<String, String>,
        body: String,
    }
    /// An event without its data.
    EventView {
        id: String,
        r#type: String,
        timestamp: String,
        created_at: String,
        source_id: Option<String>,
    }
    /// An event with its data.
    EventWithDataView {
        id: String,
        r#type: String,
        timestamp: String,
        created_at: String,
        source_id: Option<String>,
        inbound_request_id: Option<String>,
        channels: Vec<String>,
        data: Value,
    }
    /// An event with its deliveries, each with its story.
    EventWithDeliveriesView {
        id: String,
        data: Value,
        deliveries: Vec<TrackedDeliveryView>,
        deliveries_next_cursor: Option<String>,
    }
    /// The result of one event of a batch.
    BatchResultView {
        status: u16,
        event: Option<EventView>,
        problem: Option<String>,
        detail: Option<String>,
    }
    /// The results of a batch, in the order of its events.
    BatchView {
        data: Vec<BatchResultView>,
    }
    /// A delivery as lists have it.
    DeliveryView {
        id: String,
        event_id: String,
        event_type: String,
        endpoint_id: String,
        status: String,
        generation: u32,
        attempt_count: usize,
        created_at: Option<String>,
        next_attempt_at: Option<String>,
        parked_reason: Option<String>,
    }
    /// A delivery as the lists of an endpoint have it, which may be of any tenant's event.
    EndpointDeliveryView {
        id: String,
        event_id: String,
        event_type: String,
        tenant_id: String,
        status: String,
        attempt_count: usize,
        created_at: String,
        next_attempt_at: Option<String>,
    }
    /// A delivery with its attempts and its story.
    TrackedDeliveryView {
        id: String,
        event_id: String,
        event_type: String,
        endpoint_id: String,
        status: String,
        generation: u32,
        attempt_count: usize,
        created_at: Option<String>,
        next_attempt_at: Option<String>,
        parked_reason: Option<String>,
        attempts: Vec<AttemptView>,
        endpoint: DeliveryEndpointView,
        summary: String,
        next_step: Option<NextStepView>,
        suggested_action: String,
    }
    /// What a delivery says of its endpoint.
    DeliveryEndpointView {
        id: String,
        url: Option<String>,
        status: String,
    }
    /// What happens to a delivery next.
    NextStepView {
        at: Option<String>,
        description: String,
    }
    /// A generation of a delivery before the latest.
    EarlierGenerationView {
        generation: u32,
        status: String,
        attempt_count: usize,
        attempts: Vec<AttemptView>,
    }
    /// The earlier generations of a delivery.
    EarlierView {
        earlier: Vec<EarlierGenerationView>,
    }
    /// An attempt.
    AttemptView {
        number: u32,
        started_at: String,
        duration_ms: u64,
        sent: bool,
        status_code: Option<u16>,
        failure: Option<String>,
        error: Option<String>,
        response_excerpt: Option<String>,
        response_headers: BTreeMap<String, String>,
        timing: Option<TimingView>,
    }
    /// How long the parts of an attempt took.
    TimingView {
        reused: bool,
        dns_ms: Option<u64>,
        connect_ms: Option<u64>,
        tls_ms: Option<u64>,
        first_byte_ms: Option<u64>,
    }
    /// A replay.
    ReplayView {
        id: String,
        endpoint_id: String,
        tenant_id: Option<String>,
        selection: String,
        status: String,
        paused_for: Option<String>,
        scanned_count: u64,
        started_count: u64,
        since: String,
        until: String,
        position: String,
        rate: u32,
        error: Option<String>,
    }
    /// A source.
    SourceView {
        id: String,
        provider: String,
        url: String,
        description: String,
        table: Option<Value>,
        public_urls: Vec<String>,
        allowed_networks: Vec<String>,
        rate_limit: Option<u32>,
        has_verify_token: bool,
        secret_count: u32,
        awaits_secret_until: Option<String>,
        created_at: String,
    }
    /// What a dry run found.
    DryRunView {
        outcome: String,
        reason: Option<String>,
        detail: Option<String>,
        checks: Vec<Value>,
        signed: Option<String>,
        signed_base64: Option<String>,
        signed_truncated: bool,
        secret_index: Option<usize>,
        age_ms: Option<i64>,
        remedy: Option<String>,
        events: Vec<Value>,
        event_count: usize,
        malformed_items: Vec<Value>,
        malformed_item_count: usize,
        unverified_item_count: usize,
        response: Value,
    }
    /// An event of an inbound request.
    InboundEventView {
        id: String,
        r#type: String,
        new: bool,
    }
    /// An inbound request as lists have it.
    InboundRequestView {
        id: String,
        source_id: String,
        provider: String,
        status: String,
        reason: Option<String>,
        method: String,
        query: String,
        headers: BTreeMap<String, String>,
        source_ip: Option<String>,
        body_size: usize,
        secret_index: Option<usize>,
        age_ms: Option<i64>,
        events: Vec<InboundEventView>,
        malformed_items: Vec<Value>,
        malformed_item_count: usize,
        unverified_item_count: usize,
        created_at: String,
    }
    /// A replay of an inbound request.
    ReplayedRequestView {
        data: Vec<InboundEventView>,
        malformed_items: Vec<Value>,
    }
    /// Who the caller is.
    CallerView {
        tenant_id: String,
        tenant_name: String,
        key_id: Option<String>,
        key_name: Option<String>,
        scopes: Vec<String>,
    }
    /// An API key, once it was made.
    KeyView {
        id: String,
        tenant_id: String,
        key: String,
        scopes: Vec<String>,
    }
    /// An event type of the catalog.
    EventTypeView {
        r#type: String,
        description: String,
        schema: Option<Value>,
        example: Option<Value>,
        enforce: bool,
        archived: bool,
        version: u64,
        created_at: String,
        updated_at: String,
    }
    /// An entry of the audit trail. `before` and `after` have the fields of their subject.
    AuditEntryView {
        seq: u64,
        at: String,
        actor: String,
        action: String,
        subject: String,
        before: Value,
        after: Value,
        request_id: String,
        source_ip: Option<String>,
        prev_hash: String,
        hash: String,
    }
    /// A signature of where an audit trail was.
    CheckpointView {
        seq: u64,
        hash: String,
        at: String,
        key_id: String,
        signature: String,
    }
    /// Whether an audit trail is whole.
    VerificationView {
        valid: bool,
        entries: u64,
        checkpoints: u64,
        first_broken: Option<BrokenEntryView>,
        head: Option<String>,
        foreign_rows: Vec<ForeignRowView>,
    }
    /// A row in the place of an audit trail that is no entry.
    ForeignRowView {
        key: String,
    }
    /// The first entry of an audit trail that is not as it was written.
    BrokenEntryView {
        seq: u64,
        reason: String,
    }
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Page<T> {
    pub data: Vec<T>,
    #[serde(deserialize_with = "required")]
    pub next_cursor: Option<String>,
}
