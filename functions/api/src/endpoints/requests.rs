//! The bodies of requests about endpoints. Their values are checked in `settings.rs`.
//!
//! The settings are fields of two bodies, because serde cannot flatten into a body that rejects unknown
//! fields; from there on a creation is a change to an endpoint with default settings.

use std::collections::BTreeMap;

use domain::{
    Patch, Secret,
    endpoint::{OnDisable, headers::CustomHeaders},
    event::{EventTypeFilter, channel::Channels, filter::ContentFilter},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{key::Signing, view::EndpointStatus};
use crate::http::{
    body::{Description, present},
    read_only::ReadOnly,
};

/// An endpoint to create.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateEndpoint {
    /// Where its webhooks are sent. https, on the public internet; the host is a public address or a
    /// DNS name (RFC 1123), without underscores or wildcards.
    #[schemars(length(max = 2048))]
    url: String,
    /// The events that it receives; all by default.
    #[serde(default)]
    #[schemars(length(min = 1, max = 100))]
    event_types: Patch<Vec<EventTypeFilter>>,
    /// Only events that carry one of these channels; all by default.
    #[serde(default)]
    #[schemars(length(max = 10))]
    channels: Patch<Channels>,
    /// Only events whose data matches; all by default.
    #[serde(default)]
    #[schemars(with = "Option<ContentFilter>")]
    filter: Patch<Value>,
    /// A description of your own.
    #[serde(default)]
    description: Description,
    /// Your own annotations, ignored by the service: at most 20 names of up to 64 characters, with
    /// values of up to 256.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 20))]
    metadata: Patch<BTreeMap<String, String>>,
    /// How webhooks are signed; by default as `secret` requires, otherwise `v1`.
    #[serde(default)]
    signing: Option<Signing>,
    /// A signing key of your own, `whsec_…` or `whsk_…`; by default a new one.
    #[serde(default)]
    secret: Option<Secret>,
    /// `disabled` to create it disabled, with mode `hold`.
    #[serde(default)]
    status: EndpointStatus,
    /// The waits after failed attempts, in seconds; by default the default schedule.
    #[serde(default)]
    #[schemars(length(max = 19), inner(range(min = 1, max = 86_400)))]
    retry_schedule_seconds: Patch<Vec<u32>>,
    /// The time limit of one attempt, in seconds; 15 by default.
    #[serde(default)]
    #[schemars(range(min = 1, max = 15))]
    timeout_seconds: Patch<u32>,
    /// The maximum number of deliveries per second; no limit by default.
    #[serde(default)]
    #[schemars(range(min = 1, max = 10_000))]
    rate_limit: Patch<u32>,
    /// Custom headers, sent with each webhook.
    #[serde(default)]
    headers: Patch<CustomHeaders>,
    /// Whether the signature is also sent under the header names of Svix.
    #[serde(default)]
    svix_headers: bool,
}

/// What only the creation of an endpoint decides.
pub(super) struct NewEndpoint {
    pub(super) signing: Option<Signing>,
    pub(super) secret: Option<Secret>,
    pub(super) status: EndpointStatus,
}

impl CreateEndpoint {
    /// The same as a change to an endpoint with default settings.
    pub(super) fn split(self) -> (NewEndpoint, UpdateEndpoint) {
        let Self { signing, secret, status, .. } = self;
        let update = UpdateEndpoint {
            url: Some(self.url),
            event_types: self.event_types,
            channels: self.channels,
            filter: self.filter,
            description: Some(self.description),
            metadata: self.metadata,
            retry_schedule_seconds: self.retry_schedule_seconds,
            timeout_seconds: self.timeout_seconds,
            rate_limit: self.rate_limit,
            headers: self.headers,
            svix_headers: Some(self.svix_headers),
            ..UpdateEndpoint::default()
        };
        (NewEndpoint { signing, secret, status }, update)
    }
}

/// Changes to an endpoint. A field that is left out does not change, null resets it to its default,
/// and read-only fields are ignored.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateEndpoint {
    /// Where its webhooks are sent.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "String", length(max = 2048))]
    pub(super) url: Option<String>,
    /// The events that it receives; null for all.
    #[serde(default)]
    #[schemars(length(min = 1, max = 100))]
    pub(super) event_types: Patch<Vec<EventTypeFilter>>,
    /// Only events that carry one of these channels; null for all.
    #[serde(default)]
    #[schemars(length(max = 10))]
    pub(super) channels: Patch<Channels>,
    /// Only events whose data matches; null for all.
    #[serde(default)]
    #[schemars(with = "Option<ContentFilter>")]
    pub(super) filter: Patch<Value>,
    /// A description of your own.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Description")]
    pub(super) description: Option<Description>,
    /// Your own annotations; they replace all before.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 20))]
    pub(super) metadata: Patch<BTreeMap<String, String>>,
    /// The waits after failed attempts, in seconds.
    #[serde(default)]
    #[schemars(length(max = 19), inner(range(min = 1, max = 86_400)))]
    pub(super) retry_schedule_seconds: Patch<Vec<u32>>,
    /// The time limit of one attempt, in seconds.
    #[serde(default)]
    #[schemars(range(min = 1, max = 15))]
    pub(super) timeout_seconds: Patch<u32>,
    /// The maximum number of deliveries per second.
    #[serde(default)]
    #[schemars(range(min = 1, max = 10_000))]
    pub(super) rate_limit: Patch<u32>,
    /// Custom headers; they replace all before. `[redacted]` keeps the current value of a header.
    #[serde(default)]
    pub(super) headers: Patch<CustomHeaders>,
    /// Whether the signature is also sent under the header names of Svix.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "bool")]
    pub(super) svix_headers: Option<bool>,
    /// `disabled` disables it with mode `hold`, `enabled` enables it and delivers its held deliveries.
    /// The same status changes nothing. The routes `disable` and `enable` offer more.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "EndpointStatus")]
    pub(super) status: Option<EndpointStatus>,
    /// Read-only: ignored.
    #[serde(default, rename = "id")]
    _id: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "disabled")]
    _disabled: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "health")]
    _health: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "held")]
    _held: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "created_at")]
    _created_at: ReadOnly,
}

/// How an endpoint is disabled.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DisableEndpoint {
    /// What happens to events meanwhile.
    #[serde(default)]
    pub(super) mode: OnDisable,
}

/// What happens to the held deliveries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HeldDeliveries {
    /// They are delivered, the oldest first.
    #[default]
    Deliver,
    /// They are cancelled.
    Discard,
}

/// How an endpoint is enabled.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnableEndpoint {
    /// What happens to the held deliveries.
    #[serde(default)]
    pub(super) held_deliveries: HeldDeliveries,
    /// How many of them are delivered per second; 50 by default.
    #[serde(default)]
    #[schemars(range(min = 1, max = 10_000))]
    pub(super) delivery_rate: Option<u32>,
}
