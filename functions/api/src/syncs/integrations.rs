//! What can be read from third parties: the rows of the kinds.

use std::sync::Arc;

use domain::sync::kind::KindName;
use platform::lambda::problem::Problem;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    http::{call::Call, page::Page},
    state::Api,
};

/// A kind of sync.
#[derive(Serialize, JsonSchema)]
pub(crate) struct IntegrationView {
    kind: KindName,
    /// Its name, as people write it.
    title: &'static str,
    /// The settings that a sync of it requires.
    required_settings: Vec<&'static str>,
    /// The types of the events that it publishes.
    event_types: Vec<&'static str>,
    /// How long after a pass the next one begins, in seconds; spread by a quarter.
    interval_secs: u64,
    /// How often everything is read once more, in seconds; null where changes show all removals.
    full_pass_every_secs: Option<u64>,
    /// The vendor's documentation.
    docs: &'static str,
}

pub(crate) async fn list(_: Arc<Api>, _: Call) -> Result<Page<IntegrationView>, Problem> {
    let data = KindName::ALL.into_iter().map(|name| {
        let kind = name.row();
        let types = &kind.event_types;
        IntegrationView {
            kind: name,
            title: kind.title,
            required_settings: kind.settings.iter().map(|setting| setting.name()).collect(),
            event_types: vec![types.created, types.updated, types.removed, types.failing],
            interval_secs: kind.interval.as_secs(),
            full_pass_every_secs: kind.full_every.map(|every| every.as_secs()),
            docs: kind.api.docs,
        }
    });
    Ok(Page { data: data.collect(), next_cursor: None })
}
