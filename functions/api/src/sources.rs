//! Sources: inbound URLs, each with its provider and secrets.

use std::sync::Arc;

use domain::{Secret, SourceId, Timestamp, ids::holder::Holder, inbound::Provider};
use platform::{
    lambda::problem::{Kind, Problem},
    runtime::clock,
    secrets::{SecretOwner, SecretRef},
    store::registry::sources::Source,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Api,
    endpoints::secret::secrets_problem,
    http::{body::Description, route::Call},
};

/// Active secrets of one source: the present one, those being rolled, and some to spare.
const SECRET_LIMIT: usize = 10;
/// Longest secret, in bytes.
const SECRET_LENGTH: usize = 512;

/// A source to create.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateSource {
    /// Who sends.
    provider: Provider,
    /// The secrets it signs with; any of them will do. Leave them out where the provider shows its
    /// secret only once it has the URL: until they are set, everything sent here is refused.
    #[serde(default)]
    #[schemars(length(max = 10))]
    secrets: Vec<Secret>,
    /// Your own words about it.
    #[serde(default)]
    description: Description,
}

/// A source. Its secrets are not shown.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SourceView {
    id: SourceId,
    provider: Provider,
    /// What to enter at the provider. Whoever knows it can send to it, so keep it to yourself.
    url: String,
    /// Your own words about it.
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
    /// The secrets it signs with; any of them will do. They replace those before: while the
    /// provider rolls its secret, give both.
    #[schemars(length(min = 1, max = 10))]
    secrets: Vec<Secret>,
}

/// A source whose secrets were set.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SourceSecrets {
    id: SourceId,
    /// How many secrets are active.
    secret_count: usize,
}

pub(crate) async fn set_secrets(
    api: Arc<Api>,
    call: Call,
    body: SetSecrets,
) -> Result<SourceSecrets, Problem> {
    let id: SourceId = call.id("source_id", "source")?;
    let tenant = call.tenant()?;
    let source = api.sources.get(id).await?.filter(|source| source.tenant == *tenant);
    let source = source.ok_or_else(|| Problem::not_found("source"))?;
    if body.secrets.is_empty() {
        return Err(Problem::field(Kind::InvalidField, "/secrets", "must hold at least one secret"));
    }
    check_secrets(source.provider, &body.secrets)?;
    call.record(&api, id, None, Some(json!({ "secret_count": body.secrets.len() }))).await?;
    let name = id.to_string();
    let secret = SecretRef::of_source(tenant, source.secret_shard, &name);
    let set = api.secrets.set(secret, &body.secrets).await;
    set.map_err(secrets_problem)?;
    Ok(SourceSecrets { id, secret_count: body.secrets.len() })
}

fn check_secrets(provider: Provider, secrets: &[Secret]) -> Result<(), Problem> {
    let refuse = |pointer: String, why: String| Problem::field(Kind::InvalidField, pointer, why);
    if secrets.len() > SECRET_LIMIT {
        return Err(refuse("/secrets".to_owned(), format!("must hold at most {SECRET_LIMIT} secrets")));
    }
    for (at, secret) in secrets.iter().enumerate() {
        let pointer = format!("/secrets/{at}");
        if secret.expose().len() > SECRET_LENGTH {
            return Err(refuse(pointer, format!("must be at most {SECRET_LENGTH} bytes long")));
        }
        (provider.adapter().check_secret)(secret.expose()).map_err(|why| refuse(pointer, why.to_owned()))?;
    }
    Ok(())
}
