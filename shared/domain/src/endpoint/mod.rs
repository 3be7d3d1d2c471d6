//! Endpoints: a tenant's subscribed URLs, their subscriptions and delivery settings.
//!
//! What one delivery does next is in `delivery`; signing keys are in `signing`.

pub mod egress;
pub mod gate;
pub mod headers;
pub mod health;
pub mod limit;

use std::{collections::BTreeMap, fmt, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    EndpointId, Timestamp,
    delivery::retry::Policy,
    endpoint::{headers::CustomHeaders, health::Health},
    event::{EventTypeFilter, channel::Channels, filter::ContentFilter, listen::Facts},
};

/// How many endpoints a tenant may have.
pub const LIMIT_PER_TENANT: u32 = 10_000;

/// Endpoints that an event names itself; more of them stand on pages beside it.
pub const SNAPSHOT_INLINE: usize = 100;

/// Endpoints on one page of a wide fan-out: 50 calls of `SendMessageBatch`.
pub const SNAPSHOT_PAGE: usize = 500;

/// Longest URL of an endpoint, in bytes.
pub const URL_LIMIT: usize = 2048;

/// The timeout that an endpoint can have, in seconds.
pub const TIMEOUT_SECONDS: std::ops::RangeInclusive<u32> = 1..=15;

/// Deliveries a second at which held work is drained where nothing else was chosen.
pub const DRAIN_RATE: u32 = 50;

/// What happens to events while an endpoint is disabled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDisable {
    /// Their deliveries are parked, and made or dropped when the endpoint is enabled.
    #[default]
    Hold,
    /// They do not go to this endpoint.
    Skip,
}

/// Why an endpoint is disabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DisabledBy {
    /// A request disabled it.
    Request,
    /// The endpoint responded 410.
    Gone,
    /// It failed for days.
    Failing,
}

impl fmt::Display for DisabledBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "it was disabled by a request",
            Self::Gone => "it responded 410 Gone",
            Self::Failing => "it failed for days without one success",
        })
    }
}

/// That an endpoint is disabled, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disablement {
    /// What happens to events meanwhile.
    pub mode: OnDisable,
    /// Why.
    pub by: DisabledBy,
    /// Since when.
    pub at: Timestamp,
}

/// Whether an endpoint is served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum State {
    /// Yes.
    #[default]
    Enabled,
    /// Not now.
    Disabled(Disablement),
    /// Never again; the row stays as a tombstone, so that what is on its way finds it.
    Deleted,
}

/// An endpoint's delivery settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Its own waits between attempts, in seconds; the default schedule where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_schedule_seconds: Option<Vec<u32>>,
    /// Its own timeout, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    /// The most deliveries a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<u32>,
    /// Deliveries a second at which held work is drained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_rate: Option<u32>,
    /// Headers of its own.
    #[serde(skip_serializing_if = "CustomHeaders::is_empty")]
    pub headers: CustomHeaders,
    /// Whether the signature is sent under `svix-*` too, for receivers that moved here.
    pub svix_headers: bool,
}

/// An endpoint that an event goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Target {
    /// Which one.
    pub endpoint: EndpointId,
    /// Whether it is the operator's, which gets the events of all tenants.
    pub operator: bool,
}

/// A subscribed URL. Its signing keys lie in Secrets Manager, never here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Which one.
    pub id: EndpointId,
    /// Where its webhooks go, as it was given and checked.
    pub url: String,
    /// What it listens to; empty for everything.
    pub event_types: Vec<EventTypeFilter>,
    /// The channels that it listens to; empty for every event, on a channel or not.
    pub channels: Channels,
    /// What it asks of an event's data, if anything.
    pub filter: Option<ContentFilter>,
    /// The tenant's own words about it.
    pub description: String,
    /// The tenant's own notes on it, which mean nothing here.
    pub metadata: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Which of the tenant's secrets holds its signing keys.
    pub secret_shard: u32,
    /// Its delivery settings.
    pub settings: Settings,
    /// Whether it is served.
    pub state: State,
    /// How it fares.
    pub health: Health,
    /// Counts the changes to `health`, so that two writers do not overwrite each other.
    pub health_version: u64,
    /// Counts how often it was enabled, so that failures from before do not disable it again.
    pub enable_count: u64,
    /// Counts the changes to what people set, and to whether it is enabled.
    pub revision: u64,
    /// What was held until then is discarded, and never delivered: an enabling said so. A later one
    /// replaces it, and none removes it.
    pub discard_held_until: Option<Timestamp>,
}

impl Endpoint {
    /// An enabled endpoint without a URL, with default settings and for every event.
    #[must_use]
    pub fn blank(id: EndpointId, created_at: Timestamp) -> Self {
        Self {
            id,
            url: String::new(),
            event_types: Vec::new(),
            channels: Channels::new(),
            filter: None,
            description: String::new(),
            metadata: BTreeMap::new(),
            created_at,
            secret_shard: 0,
            settings: Settings::default(),
            state: State::Enabled,
            health: Health::default(),
            health_version: 0,
            enable_count: 0,
            revision: 0,
            discard_held_until: None,
        }
    }
}

/// As much of an endpoint as a publish asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscriber {
    /// Which endpoint.
    pub id: EndpointId,
    /// What it listens to; empty for everything.
    pub event_types: Vec<EventTypeFilter>,
    /// The channels that it listens to; empty for every event, on a channel or not.
    pub channels: Channels,
    /// What it asks of an event's data, if anything.
    pub filter: Option<ContentFilter>,
    /// Whether it is served.
    pub state: State,
    /// How it fares.
    pub health: Health,
}

impl Subscriber {
    /// Whether an event, published now, goes here.
    #[must_use]
    pub fn matches(&self, event: &Facts) -> bool {
        self.takes_events() && event.is_of(&self.event_types) && self.lets_pass(event)
    }

    /// Whether an operational event goes here: one about the tenant's own webhooks, which only
    /// those get who ask for it by name. An endpoint without filters subscribes to the CRM's events.
    #[must_use]
    pub fn matches_operational(&self, event: &Facts) -> bool {
        let named = |filter: &EventTypeFilter| !filter.is_everything() && filter.matches(event.event_type());
        self.takes_events() && self.event_types.iter().any(named) && self.lets_pass(event)
    }

    /// Whether an operational event goes here that only those get who name exactly its type, since there are many of it.
    #[must_use]
    pub fn matches_exactly(&self, event: &Facts) -> bool {
        let named = |filter: &EventTypeFilter| filter.is_exact() && filter.matches(event.event_type());
        self.takes_events() && self.event_types.iter().any(named) && self.lets_pass(event)
    }

    fn lets_pass(&self, event: &Facts) -> bool {
        event.is_on(&self.channels) && event.passes(self.filter.as_ref())
    }

    fn takes_events(&self) -> bool {
        match self.state {
            State::Enabled => true,
            State::Disabled(disabled) => disabled.mode == OnDisable::Hold,
            State::Deleted => false,
        }
    }
}

impl Endpoint {
    /// When its failed attempts are followed by another.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let own = self.settings.retry_schedule_seconds.as_deref();
        own.and_then(|secs| Policy::from_secs(secs).ok()).unwrap_or_default()
    }

    /// All the time that one attempt has.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        let longest = *TIMEOUT_SECONDS.end();
        Duration::from_secs(u64::from(self.settings.timeout_seconds.unwrap_or(longest).clamp(1, longest)))
    }
}

#[cfg(test)]
mod tests;
