//! What a tenant sets about connect sessions.

use std::sync::Arc;

use domain::Patch;
use platform::{lambda::problem::Problem, store::registry::idps::ConnectSettings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::checks;
use crate::{http::call::Call, state::Api};

/// The audit trail's name of what a tenant has once.
const SUBJECT: &str = "connect-settings";

/// What is set about connect sessions.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ConnectSettingsView {
    /// What the `return_url` of a connect session may begin with: the same origin, and the same path or one below it.
    return_urls: Vec<String>,
}

/// Changes to the settings of connect sessions. A field that is left out does not change, and null resets it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateConnectSettings {
    /// What the `return_url` of a connect session may begin with: https, without a query. They replace all before.
    #[serde(default)]
    #[schemars(length(max = 20), inner(length(max = 2048)))]
    return_urls: Patch<Vec<String>>,
}

pub(crate) async fn get(api: Arc<Api>, call: Call) -> Result<ConnectSettingsView, Problem> {
    let ConnectSettings { return_urls } = api.keeper.idps().settings(call.tenant()?).await?;
    Ok(ConnectSettingsView { return_urls })
}

pub(crate) async fn update(
    api: Arc<Api>,
    call: Call,
    body: UpdateConnectSettings,
) -> Result<ConnectSettingsView, Problem> {
    let return_urls = body.return_urls.try_map(|urls| checks::return_prefixes(&urls, &api.egress_allow))?;
    let before = api.keeper.idps().settings(call.tenant()?).await?;
    call.check_match(&ConnectSettingsView { return_urls: before.return_urls.clone() })?;
    let after = match return_urls.or_cleared_to(Vec::new) {
        Some(return_urls) => ConnectSettings { return_urls },
        None => before.clone(),
    };
    if after == before {
        call.unchanged();
    } else {
        let state = |settings: &ConnectSettings| Some(json!({ "return_urls": settings.return_urls }));
        call.record(&api, SUBJECT, state(&before), state(&after)).await?;
        api.keeper.idps().set_settings(call.tenant()?, &after).await?;
    }
    Ok(ConnectSettingsView { return_urls: after.return_urls })
}
