//! Endpoints as responses show them.

use std::collections::BTreeMap;

use domain::{
    EndpointId, Secret, Timestamp,
    endpoint::{
        DisabledBy, Disablement, Endpoint, OnDisable, State,
        headers::{REDACTED, is_sensitive},
        health::Health,
    },
    event::{EventTypeFilter, channel::Channels, filter::ContentFilter},
    recovery::drain,
};
use platform::store::due::held::HeldCount;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::key::EndpointSecret;

/// Whether webhooks are delivered to an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EndpointStatus {
    /// Its webhooks are delivered.
    #[default]
    Enabled,
    /// Nothing is delivered.
    Disabled,
}

/// How and why an endpoint is disabled.
#[derive(Serialize, JsonSchema)]
struct DisabledView {
    /// What happens to events meanwhile.
    mode: OnDisable,
    /// Why.
    by: DisabledBy,
    /// The reason in words.
    reason: String,
    /// When it was disabled.
    at: Timestamp,
}

/// The health of an endpoint.
#[derive(Serialize, JsonSchema)]
struct HealthView {
    /// Failed attempts since the last success; counted up to 100.
    failures: u32,
    /// The first failed attempt after the last success; null after a success.
    failing_since: Option<Timestamp>,
    /// When the next probe is sent, while its circuit is open; null otherwise.
    circuit_open_until: Option<Timestamp>,
    /// Until when it receives fewer webhooks, because it requested that; null otherwise.
    throttled_until: Option<Timestamp>,
}

impl From<&Health> for HealthView {
    fn from(health: &Health) -> Self {
        Self {
            failures: health.failures,
            failing_since: health.failing_since,
            circuit_open_until: health.circuit.map(|circuit| circuit.until),
            throttled_until: health.throttled_until,
        }
    }
}

/// The deliveries that are held for an endpoint.
#[derive(Serialize, JsonSchema)]
pub(crate) struct HeldView {
    /// How many there are.
    pub(crate) count: u64,
    /// Whether there are more than were counted: more than 2,500 in one of eight parts.
    pub(crate) more: bool,
    /// Since when the first of them has been held.
    pub(crate) oldest_at: Option<Timestamp>,
    /// How many a second are released at the moment; null while they are held.
    pub(crate) delivery_rate: Option<u32>,
    /// In about how many seconds none is held any more, if no more are added; null while they are held.
    pub(crate) empty_in_seconds: Option<u64>,
}

impl HeldView {
    pub(crate) fn new(count: HeldCount, endpoint: &Endpoint, now: Timestamp) -> Self {
        let delivery_rate = drain::release_rate(endpoint, now);
        Self {
            count: count.count,
            more: count.more,
            oldest_at: count.oldest_at,
            delivery_rate,
            empty_in_seconds: delivery_rate.map(|rate| drain::seconds_to_empty(count.count, rate)),
        }
    }
}

/// An endpoint.
#[derive(Serialize, JsonSchema)]
pub(crate) struct EndpointView {
    pub(super) id: EndpointId,
    /// Where its webhooks go.
    url: String,
    /// The events that it receives; null for all.
    event_types: Option<Vec<EventTypeFilter>>,
    /// Only events that carry one of these channels; empty for all.
    channels: Channels,
    /// Only events whose data matches; null for all.
    filter: Option<ContentFilter>,
    /// A description of your own.
    description: String,
    /// Your own annotations; the service ignores them.
    metadata: BTreeMap<String, String>,
    status: EndpointStatus,
    /// How and why it is disabled; null if it is enabled.
    disabled: Option<DisabledView>,
    health: HealthView,
    /// The deliveries that are held for it; null where there are none, and in lists.
    pub(super) held: Option<HeldView>,
    /// The waits after failed attempts, in seconds; null for the default schedule.
    retry_schedule_seconds: Option<Vec<u32>>,
    /// The time limit of one attempt, in seconds.
    timeout_seconds: u64,
    /// The maximum number of deliveries per second; null for no limit.
    rate_limit: Option<u32>,
    /// Custom headers. Values that may be secret are shown as `[redacted]`.
    headers: BTreeMap<String, String>,
    /// Whether the signature is also sent under the header names of Svix.
    svix_headers: bool,
    created_at: Timestamp,
}

impl EndpointView {
    pub(crate) fn new(endpoint: &Endpoint) -> Self {
        let (status, disabled) = match endpoint.state {
            State::Disabled(Disablement { mode, by, at }) => {
                let disabled = DisabledView { mode, by, reason: by.to_string(), at };
                (EndpointStatus::Disabled, Some(disabled))
            }
            State::Enabled | State::Deleted => (EndpointStatus::Enabled, None),
        };
        let settings = &endpoint.settings;
        let shown = |name: &str, value: &Secret| {
            if is_sensitive(name) { REDACTED.to_owned() } else { value.expose().to_owned() }
        };
        Self {
            id: endpoint.id,
            url: endpoint.url.clone(),
            event_types: Some(endpoint.event_types.clone()).filter(|filters| !filters.is_empty()),
            channels: endpoint.channels.clone(),
            filter: endpoint.filter.clone(),
            description: endpoint.description.clone(),
            metadata: endpoint.metadata.clone(),
            status,
            disabled,
            health: HealthView::from(&endpoint.health),
            held: None,
            retry_schedule_seconds: settings.retry_schedule_seconds.clone(),
            timeout_seconds: endpoint.timeout().as_secs(),
            rate_limit: settings.rate_limit,
            headers: settings
                .headers
                .iter()
                .map(|(name, value)| (name.to_owned(), shown(name, value)))
                .collect(),
            svix_headers: settings.svix_headers,
            created_at: endpoint.created_at,
        }
    }
}

/// A new endpoint, with the key that verifies its webhooks.
#[derive(Serialize, JsonSchema)]
pub(crate) struct CreatedEndpoint {
    #[serde(flatten)]
    pub(super) endpoint: EndpointView,
    #[serde(flatten)]
    pub(super) key: EndpointSecret,
}
