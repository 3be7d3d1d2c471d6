//! Sources as responses show them.

use domain::{
    SourceId, Timestamp,
    access::Network,
    inbound::{Provider, Source, table::Table},
};
use schemars::JsonSchema;
use serde::Serialize;

use super::requests::TableText;

/// A source. Its secrets are not shown.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SourceView {
    pub(super) id: SourceId,
    provider: Provider,
    /// The URL to enter at the provider. Anyone who knows it can send to it, so keep it secret.
    url: String,
    /// A description of your own.
    description: String,
    /// The table of a custom source; null for all others, which have the table of their provider.
    #[schemars(with = "Option<TableText>")]
    table: Option<Table>,
    /// The addresses that were entered at the provider; empty if that is `url`.
    public_urls: Vec<String>,
    /// The networks that may send; empty for any.
    allowed_networks: Vec<Network>,
    /// The maximum number of requests per second; null without a limit.
    rate_limit: Option<u32>,
    /// Whether it has a verify token.
    has_verify_token: bool,
    /// The number of its secrets when they were last changed, with those that a rotation lets expire.
    secret_count: u32,
    /// Until when it accepts the secret that the provider's first request brings; null for all others, and when it has
    /// one.
    awaits_secret_until: Option<Timestamp>,
    created_at: Timestamp,
}

/// The URL of a source in this deployment.
pub(super) fn url(base: &str, source: &Source) -> String {
    format!("{base}/in/{}/{}", source.provider, source.id)
}

impl SourceView {
    pub(super) fn new(base: &str, source: &Source) -> Self {
        let settings = &source.settings;
        Self {
            id: source.id,
            provider: source.provider,
            url: url(base, source),
            description: source.description.clone(),
            table: settings.table.as_deref().cloned(),
            public_urls: settings.public_urls.clone(),
            allowed_networks: settings.allowed_networks.clone(),
            rate_limit: settings.rate_limit,
            has_verify_token: settings.verify_token.is_some(),
            secret_count: source.secret_count,
            awaits_secret_until: source.awaits_secret_until,
            created_at: source.created_at,
        }
    }
}
