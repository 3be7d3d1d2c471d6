//! What can be done at third parties: the rows of the kinds of sync, and those of calls.

use std::sync::Arc;

use domain::{client::integration::IntegrationName, sync::kind::KindName};
use platform::lambda::problem::Problem;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    http::{call::Call, page::Page},
    integrations::{CallDescription, descriptions},
    state::Api,
};

/// A kind of sync, or an API whose calls can be made.
#[derive(Serialize, JsonSchema)]
pub(crate) struct IntegrationView {
    /// The name of the API, which paths of calls have.
    api: &'static str,
    /// The kind of sync that reads it; null where there are only calls.
    kind: Option<KindName>,
    /// Its name, as people write it.
    title: &'static str,
    /// The settings that a sync of it requires.
    required_settings: Vec<&'static str>,
    /// The types of the events that it publishes.
    event_types: Vec<&'static str>,
    /// How long after a pass the next one begins, in seconds; spread by a quarter. Null where there is no sync.
    interval_secs: Option<u64>,
    /// How often everything is read once more, in seconds; null where changes show all removals.
    full_pass_every_secs: Option<u64>,
    /// The vendor's documentation.
    docs: &'static str,
    /// The calls that can be made; none for most kinds of sync.
    calls: Vec<CallDescription>,
}

pub(crate) async fn list(_: Arc<Api>, _: Call) -> Result<Page<IntegrationView>, Problem> {
    let data = KindName::ALL.into_iter().map(|name| {
        let kind = name.row();
        let types = &kind.event_types;
        IntegrationView {
            api: kind.api.name,
            kind: Some(name),
            title: kind.title,
            required_settings: kind.settings.iter().map(|setting| setting.name()).collect(),
            event_types: vec![types.created, types.updated, types.removed, types.failing],
            interval_secs: Some(kind.interval.as_secs()),
            full_pass_every_secs: kind.full_every.map(|every| every.as_secs()),
            docs: kind.api.docs,
            calls: Vec::new(),
        }
    });
    let calls = IntegrationName::ALL.iter().map(|name| {
        let integration = name.row();
        IntegrationView {
            api: integration.api.name,
            kind: None,
            title: integration.api.title,
            required_settings: Vec::new(),
            event_types: Vec::new(),
            interval_secs: None,
            full_pass_every_secs: None,
            docs: integration.api.docs,
            calls: descriptions(integration),
        }
    });
    Ok(Page { data: data.chain(calls).collect(), next_cursor: None })
}
