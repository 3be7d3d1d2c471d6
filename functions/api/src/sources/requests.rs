//! The bodies of requests about sources. Their values are checked in `settings.rs` and `secrets.rs`.

use std::borrow::Cow;

use domain::{Patch, Secret, access::Network, inbound::Provider};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::http::{
    body::{Description, present},
    read_only::ReadOnly,
};

/// The table of a custom source as its text, so that the engine's own reader names the faults.
#[derive(Debug, Clone)]
pub(crate) struct TableText(Box<RawValue>);

impl TableText {
    pub(super) fn as_str(&self) -> &str {
        self.0.get()
    }
}

impl<'de> Deserialize<'de> for TableText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        // A struct could be read from an array of its fields, too.
        if raw.get().starts_with('{') {
            Ok(Self(raw))
        } else {
            Err(serde::de::Error::custom("must be an object"))
        }
    }
}

impl JsonSchema for TableText {
    fn schema_name() -> Cow<'static, str> {
        "SourceTable".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "How a custom source verifies its requests (`scheme`), reads their events (`events`) and responds (`challenges`, `responses`). At most 16 KiB.",
            "required": ["scheme", "events"],
            "properties": {
                "scheme": { "type": "object", "description": "How its requests are verified: the `methods` to sign, of which one must hold." },
                "events": { "type": "object", "description": "How its requests are read: `event_type`, `dedupe` and others." },
                "challenges": { "type": "array", "description": "The requests that are no events but get a certain response." },
                "responses": { "type": "object", "description": "The responses to accepted and refused requests." },
            },
            "additionalProperties": false,
        })
    }
}

/// A source to create.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateSource {
    pub(super) provider: Provider,
    /// The secrets that the provider signs with; a signature by any of them is valid. Leave them out
    /// if the provider shows its secret only after it has the URL, or brings it with its first request: until then,
    /// every webhook is rejected.
    #[serde(default)]
    #[schemars(length(max = 10))]
    pub(super) secrets: Vec<Secret>,
    /// A description of your own.
    #[serde(default)]
    pub(super) description: Description,
    /// The table of a custom source, which requires one; other sources have the table of their provider.
    #[serde(default)]
    pub(super) table: Patch<TableText>,
    /// The addresses that were entered at the provider, if they differ from the source's own URL: a provider
    /// that signs the URL signs one of them. https, without a query.
    #[serde(default)]
    #[schemars(length(max = 5), inner(length(max = 2048)))]
    pub(super) public_urls: Patch<Vec<String>>,
    /// The networks that may send, as addresses or CIDR; any by default.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub(super) allowed_networks: Patch<Vec<Network>>,
    /// The maximum number of requests per second; no limit by default.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000))]
    pub(super) rate_limit: Patch<u32>,
    /// The token that the provider shows when it checks the URL; only for providers that do. Only its hash is kept.
    #[serde(default)]
    #[schemars(with = "Option<Secret>")]
    pub(super) verify_token: Patch<Secret>,
}

/// Changes to a source. A field that is left out does not change, null resets it to its default, and read-only fields
/// are ignored.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateSource {
    /// A description of your own.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Description")]
    pub(super) description: Option<Description>,
    /// The table of a custom source, whole.
    #[serde(default)]
    pub(super) table: Patch<TableText>,
    /// The addresses that were entered at the provider, if they differ from the source's own URL; they replace all
    /// before.
    #[serde(default)]
    #[schemars(length(max = 5), inner(length(max = 2048)))]
    pub(super) public_urls: Patch<Vec<String>>,
    /// The networks that may send; they replace all before, and null allows any.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub(super) allowed_networks: Patch<Vec<Network>>,
    /// The maximum number of requests per second.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000))]
    pub(super) rate_limit: Patch<u32>,
    /// The token that the provider shows when it checks the URL.
    #[serde(default)]
    #[schemars(with = "Option<Secret>")]
    pub(super) verify_token: Patch<Secret>,
    /// Read-only: ignored.
    #[serde(default, rename = "id")]
    _id: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "provider")]
    _provider: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "url")]
    _url: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "has_verify_token")]
    _has_verify_token: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "secret_count")]
    _secret_count: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "awaits_secret_until")]
    _awaits_secret_until: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "created_at")]
    _created_at: ReadOnly,
}

impl CreateSource {
    /// Its settings, as a change to a source with default settings.
    pub(super) fn split(self) -> (Provider, Vec<Secret>, UpdateSource) {
        let update = UpdateSource {
            description: Some(self.description),
            table: self.table,
            public_urls: self.public_urls,
            allowed_networks: self.allowed_networks,
            rate_limit: self.rate_limit,
            verify_token: self.verify_token,
            ..UpdateSource::default()
        };
        (self.provider, self.secrets, update)
    }
}

/// The secrets of a source, all of them.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetSecrets {
    /// The secrets that the provider signs with; a signature by any of them is valid. They replace all
    /// before: while the provider rolls its secret, give both.
    #[schemars(length(min = 1, max = 10))]
    pub(super) secrets: Vec<Secret>,
}

/// A rotation of a source's secret.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateSourceSecret {
    /// The new secret.
    pub(super) secret: Secret,
    /// How long the previous secrets stay valid, in seconds; a day by default. 0 ends them all.
    #[serde(default)]
    #[schemars(range(min = 0, max = 604_800))]
    pub(super) overlap_seconds: Option<u32>,
}
