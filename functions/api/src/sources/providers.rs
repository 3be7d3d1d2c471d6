//! The providers, each with what a tenant must know to connect it.

use std::sync::Arc;

use domain::inbound::{
    Provider,
    engine::template::{Template, Word},
    normal::NormalType,
    presets::{Preset, SecretOrigin},
    reading::{Origin, Place},
    table::{Reply, Table},
};
use platform::lambda::problem::Problem;
use schemars::JsonSchema;
use serde::Serialize;

use super::settings::checks_token;
use crate::{http::call::Call, state::Api};

/// What a secret of a provider is.
#[derive(Serialize, JsonSchema)]
struct SecretRulesView {
    made_by: SecretOriginView,
    /// Its form, as the end of a sentence that begins with "must be".
    hint: String,
}

/// Who makes a secret.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum SecretOriginView {
    /// The provider shows it.
    Provider,
    /// You choose it, and enter it at the provider and as a secret of the source.
    Tenant,
    /// The provider's first request brings it: create the source without secrets.
    Handshake,
}

/// What a provider requires besides a secret.
#[derive(Serialize, JsonSchema)]
struct NeedsView {
    /// Whether it signs the URL: if another URL than the source's own was entered there, set it in `public_urls`.
    public_urls: bool,
    /// Whether it shows a token when it checks the URL: set it as `verify_token`.
    verify_token: bool,
    /// Whether the secret can be, or must be, at the end of the URL, after a slash.
    path_secret: bool,
}

/// A response to the provider.
#[derive(Serialize, JsonSchema)]
struct ReplyView {
    /// The status code.
    status: u16,
    /// The content type of `body`; null with `body`.
    content_type: Option<String>,
    /// The body; null for one of this service, a JSON object.
    body: Option<String>,
    /// The seconds after which the provider should retry; null if it is not said.
    retry_after: Option<u32>,
}

impl From<&Reply> for ReplyView {
    fn from(reply: &Reply) -> Self {
        let Reply { status, content_type, body, retry_after } = reply.clone();
        Self { status, content_type, body, retry_after }
    }
}

/// The responses to a provider.
#[derive(Serialize, JsonSchema)]
struct ResponsesView {
    /// To an accepted request.
    accepted: ReplyView,
    /// To a request whose signature is refused.
    refused: ReplyView,
    /// While requests cannot be accepted.
    unavailable: ReplyView,
    /// Statuses that it never gets, since they end its retries.
    never: Vec<u16>,
}

/// A provider.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ProviderView {
    name: Provider,
    /// Its name for people.
    title: String,
    /// What it is for.
    purpose: String,
    /// Its own documentation of its webhooks.
    docs: String,
    /// Whether what is known of it was confirmed by its documentation, its library or several programs that agree.
    confirmed: bool,
    /// How to connect it, step by step.
    setup: Vec<String>,
    secret: SecretRulesView,
    needs: NeedsView,
    /// The kinds of its requests that are no events but get a certain response.
    challenge_count: usize,
    /// The places that events are read from although the signature does not cover them.
    unsigned: Vec<String>,
    /// What to know besides.
    notes: Vec<String>,
    /// The types of the normalised events that are published beside its own, whose types begin with its name.
    normal_event_types: Vec<String>,
    responses: ResponsesView,
    /// The function that serves it.
    function: String,
}

/// All providers.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ProviderList {
    /// Ordered by name.
    data: Vec<ProviderView>,
}

impl ProviderView {
    fn new(name: Provider, preset: &Preset) -> Self {
        let table = &preset.table;
        let replies = &table.responses;
        Self {
            name,
            title: preset.title.clone(),
            purpose: preset.purpose.clone(),
            docs: preset.docs.clone(),
            confirmed: preset.confirmed,
            setup: preset.setup.clone(),
            secret: SecretRulesView {
                made_by: match preset.secret.made_by {
                    SecretOrigin::Provider => SecretOriginView::Provider,
                    SecretOrigin::Tenant => SecretOriginView::Tenant,
                    SecretOrigin::Handshake => SecretOriginView::Handshake,
                },
                hint: preset.secret.hint.clone(),
            },
            needs: NeedsView {
                public_urls: signs_url(table),
                verify_token: checks_token(table),
                path_secret: reads_path(table),
            },
            challenge_count: table.challenges.len(),
            unsigned: preset.unsigned.iter().map(Place::to_string).collect(),
            notes: preset.notes.clone(),
            normal_event_types: normal_types(table),
            responses: ResponsesView {
                accepted: (&replies.accepted).into(),
                refused: (&replies.refused).into(),
                unavailable: (&replies.unavailable).into(),
                never: replies.never.clone(),
            },
            function: name.function().to_owned(),
        }
    }
}

fn signs_url(table: &Table) -> bool {
    let names_url = |signed: &Template| signed.has(&Word::Url);
    table.scheme.methods.iter().any(|method| method.signed.as_ref().is_some_and(names_url))
}

fn reads_path(table: &Table) -> bool {
    let is_path = |origin: &Origin| matches!(origin, Origin::Path);
    table.scheme.methods.iter().any(|method| method.signature.from.origins().any(is_path))
}

fn normal_types(table: &Table) -> Vec<String> {
    let mut types: Vec<NormalType> =
        table.events.normal.iter().flat_map(|rule| rule.types.values().copied()).collect();
    types.sort_unstable();
    types.dedup();
    types.into_iter().map(|normal| normal.as_str().to_owned()).collect()
}

pub(crate) async fn list(_: Arc<Api>, _: Call) -> Result<ProviderList, Problem> {
    let view = |provider: Provider| Some(ProviderView::new(provider, provider.preset()?));
    Ok(ProviderList { data: Provider::all().filter_map(view).collect() })
}

pub(crate) async fn get(_: Arc<Api>, call: Call) -> Result<ProviderView, Problem> {
    let unknown = || Problem::not_found("provider");
    let provider: Provider = call.id("provider", "provider")?;
    Ok(ProviderView::new(provider, provider.preset().ok_or_else(unknown)?))
}
