//! Sources: inbound URLs, each with its provider and secrets.

use std::{sync::Arc, time::Duration};

use domain::{Secret, SourceId, Timestamp, ids::holder::Holder, inbound::Provider};
use platform::{
    lambda::problem::{Kind, Problem},
    runtime::clock,
    secrets::{SecretOwner, SecretRef, SecretsError},
    store::registry::sources::Source,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    endpoints::key::{forget_old_shard, remove_unused, secrets_problem},
    http::{body::Description, call::Call},
    state::Api,
};

/// The most active secrets of one source: the current one, those being rolled, and a reserve.
const SECRET_COUNT_LIMIT: usize = 10;
/// The longest secret, in bytes.
const SECRET_LENGTH_LIMIT: usize = 512;

/// A source to create.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateSource {
    /// The provider that sends the webhooks.
    provider: Provider,
    /// The secrets that the provider signs with; a signature by any of them is valid. Leave them out
    /// if the provider shows its secret only after it has the URL: until they are set, every webhook
    /// is rejected.
    #[serde(default)]
    #[schemars(length(max = 10))]
    secrets: Vec<Secret>,
    /// A description of your own.
    #[serde(default)]
    description: Description,
}

/// A source. Its secrets are not shown.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SourceView {
    id: SourceId,
    provider: Provider,
    /// The URL to enter at the provider. Anyone who knows it can send to it, so keep it secret.
    url: String,
    /// A description of your own.
    description: String,
    created_at: Timestamp,
}

pub(crate) async fn create(api: Arc<Api>, call: Call, body: CreateSource) -> Result<SourceView, Problem> {
    check_secrets(body.provider, &body.secrets)?;
    let tenant = call.tenant()?;
    let id = SourceId::new(call.now, clock::random()?);
    let description = body.description.into_inner();
    let after = json!({
        "provider": body.provider, "description": description, "secret_count": body.secrets.len(),
    });
    call.record(&api, id, None, Some(after)).await?;
    let name = id.to_string();
    let owner = SecretOwner { tenant, holder: Holder::Sources, id: &name };
    let added = api.secrets.add(owner, &body.secrets).await;
    let source = Source {
        id,
        tenant: tenant.clone(),
        provider: body.provider,
        secret_shard: added.map_err(secrets_problem)?,
    };
    api.sources.create(&source, &description, call.now).await?;
    let url = format!("{}/in/{}/{id}", call.base_url, body.provider.as_str());
    Ok(SourceView { id, provider: body.provider, url, description, created_at: call.now })
}

/// The secrets of a source, all of them.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetSecrets {
    /// The secrets that the provider signs with; a signature by any of them is valid. They replace all
    /// before: while the provider rolls its secret, give both.
    #[schemars(length(min = 1, max = 10))]
    secrets: Vec<Secret>,
}

/// A source whose secrets were set.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SourceSecrets {
    id: SourceId,
    /// The number of active secrets.
    secret_count: usize,
}

pub(crate) async fn set_secrets(
    api: Arc<Api>,
    call: Call,
    body: SetSecrets,
) -> Result<SourceSecrets, Problem> {
    let id: SourceId = call.id("source_id", "source")?;
    let tenant = call.tenant()?;
    // Read now: a cached row may name the shard that the secrets have moved from.
    let source = api.sources.get_within(id, Duration::ZERO).await?;
    let source = source.filter(|source| source.tenant == *tenant);
    let source = source.ok_or_else(|| Problem::not_found("source"))?;
    if body.secrets.is_empty() {
        return Err(Problem::field(Kind::InvalidField, "/secrets", "must have at least one secret"));
    }
    check_secrets(source.provider, &body.secrets)?;
    call.record(&api, id, None, Some(json!({ "secret_count": body.secrets.len() }))).await?;
    let name = id.to_string();
    let secret = SecretRef::of_source(tenant, source.secret_shard, &name);
    let place = api.secrets.set(secret, &body.secrets).await.map_err(secrets_problem)?;
    if place.shard != source.secret_shard {
        if !api.sources.move_secrets(&source, place.shard).await? {
            let now = api.sources.get_within(id, Duration::ZERO).await?;
            if now.is_none_or(|now| now.secret_shard != place.shard) {
                remove_unused(&api, SecretRef::of_source(tenant, place.shard, &name)).await;
            }
            return Err(secrets_problem(SecretsError::Conflict));
        }
        forget_old_shard(&api, Holder::Sources, place).await;
    }
    Ok(SourceSecrets { id, secret_count: body.secrets.len() })
}

fn check_secrets(provider: Provider, secrets: &[Secret]) -> Result<(), Problem> {
    let invalid = |pointer: String, why: String| Problem::field(Kind::InvalidField, pointer, why);
    if secrets.len() > SECRET_COUNT_LIMIT {
        return Err(invalid(
            "/secrets".to_owned(),
            format!("must have at most {SECRET_COUNT_LIMIT} secrets"),
        ));
    }
    for (index, secret) in secrets.iter().enumerate() {
        let pointer = format!("/secrets/{index}");
        if secret.expose().len() > SECRET_LENGTH_LIMIT {
            return Err(invalid(pointer, format!("must be at most {SECRET_LENGTH_LIMIT} bytes long")));
        }
        provider.preset().check_secret(secret.expose()).map_err(|why| invalid(pointer, why))?;
    }
    Ok(())
}
