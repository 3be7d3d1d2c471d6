//! The secret that a provider's first request has brought. The tenant has no other way to learn it, and some providers, such
//! as Notion, ask for it again before they send events.

use std::{sync::Arc, time::Duration};

use domain::{Secret, SourceId, inbound::presets::SecretOrigin};
use platform::{
    lambda::problem::{Kind, Problem},
    secrets::SecretRef,
};
use schemars::JsonSchema;
use serde::Serialize;

use super::find;
use crate::{http::call::Call, state::Api};

/// The secrets of a source whose provider makes them in its first request.
#[derive(Serialize, JsonSchema)]
pub(crate) struct HandshakeSecrets {
    id: SourceId,
    /// The active secrets; none before the first request.
    secrets: Vec<String>,
}

pub(crate) async fn reveal(api: Arc<Api>, call: Call) -> Result<HandshakeSecrets, Problem> {
    let source = find(&api, &call).await?;
    let brings = |preset: &domain::inbound::presets::Preset| preset.secret.made_by == SecretOrigin::Handshake;
    if !source.provider.preset().is_some_and(brings) {
        let detail = "only a secret that the provider's first request has brought is shown";
        return Err(Problem::new(Kind::InvalidRequest, detail));
    }
    call.record(&api, source.id, None, None).await?;
    let id = source.id.to_string();
    let secret = SecretRef::of_source(&source.tenant, source.secret_shard, &id);
    let secrets = api.secrets.get(secret, Duration::ZERO).await?;
    let text = |secret: &Secret| secret.expose().to_owned();
    Ok(HandshakeSecrets { id: source.id, secrets: secrets.iter().map(text).collect() })
}
