//! Access tokens, and the entries of the audit trail about them.

use std::{sync::Arc, time::Duration};

use domain::{ConnectionId, Secret, Timestamp};
use platform::{
    connection::keeper::{AccessToken, TokenRequest},
    lambda::problem::Problem,
    runtime::cache::Cache,
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{checks, problems::no_token, requests::ReadToken};
use crate::{
    http::{body::within, call::Call},
    state::Api,
};

/// How long a token must be valid at least where a call does not say, in seconds: time for a request with it.
const DEFAULT_MIN_VALID_SECS: u32 = 60;
/// The longest that a call can ask for, in seconds. Most tokens live an hour.
const LONGEST_MIN_VALID_SECS: u32 = 3600;

/// An access token of a connection.
#[derive(Serialize, JsonSchema)]
pub(crate) struct AccessTokenView {
    /// The token.
    access_token: Secret,
    /// How to show it, such as `Bearer`.
    token_type: String,
    /// When it expires; null where the provider does not say. Until then it can be cached.
    expires_at: Option<Timestamp>,
    /// The granted scopes.
    scopes: Vec<String>,
    /// The number of the token: send it as `refused_generation` if the provider's API refuses the token with 401.
    generation: u64,
    /// Values of the provider that calls of its API require, such as Salesforce's `instance_url`.
    extra: Map<String, Value>,
}

impl From<AccessToken> for AccessTokenView {
    fn from(token: AccessToken) -> Self {
        let AccessToken { token, token_type, expires_at, scopes, generation, extra } = token;
        Self { access_token: token, token_type, expires_at, scopes, generation, extra }
    }
}

/// The tokens whose reading is in the audit trail, by caller: one entry of each is all that can be learned from more,
/// and an entry of each call would make the calls of a tenant wait for each other.
#[derive(Debug)]
pub(crate) struct TokenAudits(Cache<(String, ConnectionId, u64), ()>);

impl Default for TokenAudits {
    fn default() -> Self {
        Self(Cache::new(Duration::from_hours(1), 5_000))
    }
}

pub(crate) async fn read(api: Arc<Api>, call: Call, body: ReadToken) -> Result<AccessTokenView, Problem> {
    let id: ConnectionId = call.id("connection_id", "connection")?;
    let min_valid = body.min_valid_seconds.unwrap_or(DEFAULT_MIN_VALID_SECS);
    within("/min_valid_seconds", min_valid, 0..=LONGEST_MIN_VALID_SECS)?;
    checks::scopes("/scopes", &body.scopes)?;
    let request = TokenRequest {
        min_valid: Duration::from_secs(min_valid.into()),
        scopes: body.scopes,
        refused_generation: body.refused_generation,
    };
    let token = Box::pin(api.keeper.token(call.tenant()?, id, &request, call.now)).await;
    let token = token.map_err(|reason| no_token(id, reason))?;
    // Before the token is shown, as every secret.
    record(&api, &call, id, &token).await?;
    Ok(token.into())
}

async fn record(api: &Api, call: &Call, id: ConnectionId, token: &AccessToken) -> Result<(), Problem> {
    let caller = call.caller()?.actor();
    let (tenant, generation) = (call.tenant()?, token.generation);
    let key = (caller, id, generation);
    if api.token_audits.0.get(&key).is_some()
        || !api.leases.first_token_audit(tenant, &key.0, id, generation, call.now).await?
    {
        call.unchanged();
        return Ok(());
    }
    let after = json!({ "generation": generation, "scopes": token.scopes });
    call.record(api, id, None, Some(after)).await?;
    // If this fails, a later call writes the entry again.
    if let Err(fault) = api.leases.token_audit_written(tenant, &key.0, id, generation).await {
        tracing::warn!(%fault, connection_id = %id, "could not confirm audit entry of a token");
    }
    api.token_audits.0.put(key, ());
    Ok(())
}
