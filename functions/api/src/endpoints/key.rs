//! Signing keys as requests bring them and responses show them.

use domain::{Secret, ids::holder::Holder, signing::SigningKey};
use platform::{
    lambda::problem::{Kind, Problem},
    runtime::clock,
    secrets::{Place, SecretRef, SecretsError},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::state::Api;

/// How webhooks are signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Signing {
    /// HMAC-SHA256, with a secret that both sides have.
    #[default]
    V1,
    /// ed25519: the service has the private key, the receiver the public key.
    V1a,
}

impl Signing {
    pub(super) fn of(key: &SigningKey) -> Self {
        if key.public_key().is_some() { Self::V1a } else { Self::V1 }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V1a => "v1a",
        }
    }
}

/// The key that verifies an endpoint's webhooks, with any library of Standard Webhooks.
#[derive(Serialize, JsonSchema)]
pub(crate) struct EndpointSecret {
    /// The signing secret (`v1`); null with `v1a`.
    secret: Option<Secret>,
    /// The public key (`v1a`); null with `v1`.
    public_key: Option<String>,
}

impl From<&SigningKey> for EndpointSecret {
    fn from(key: &SigningKey) -> Self {
        let public_key = key.public_key();
        Self { secret: public_key.is_none().then(|| key.to_secret()), public_key }
    }
}

/// The key that a body requests: its own, or a new one. A problem with its own does not repeat it.
pub(crate) fn requested_key(
    signing: Option<Signing>,
    secret: Option<&Secret>,
    default: Signing,
) -> Result<SigningKey, Problem> {
    let Some(secret) = secret else {
        return Ok(match signing.unwrap_or(default) {
            Signing::V1 => SigningKey::from_random(clock::random()?),
            Signing::V1a => SigningKey::ed25519_from_seed(clock::random()?),
        });
    };
    let invalid = |why: String| Problem::field(Kind::InvalidField, "/secret", why);
    let key = SigningKey::parse(secret.expose()).map_err(|error| invalid(error.to_string()))?;
    match signing {
        Some(signing) if signing != Signing::of(&key) => {
            let is = Signing::of(&key).as_str();
            Err(invalid(format!("is a {is} key, but `signing` is {}", signing.as_str())))
        }
        _ => Ok(key),
    }
}

/// Has the secrets removed that an owner left in another shard, once its row names the new one. If that fails they
/// remain, and nothing refers to them.
pub(crate) async fn forget_old_shard(api: &Api, holder: Holder, place: Place) {
    if let Err(fault) = api.secrets.moved(holder, place).await {
        tracing::warn!(%fault, "could not have moved secrets removed; nothing refers to them");
    }
}

/// Removes secrets that no row refers to. If that fails they remain, and sign or verify nothing.
pub(crate) async fn remove_unused(api: &Api, secret: SecretRef<'_>) {
    if let Err(error) = api.secrets.remove(secret).await {
        tracing::warn!(?error, tenant = %secret.tenant, owner = secret.id, "could not remove unused secrets");
    }
}

/// The problem of secrets that could not be set.
pub(crate) fn secrets_problem(error: SecretsError) -> Problem {
    match error {
        SecretsError::Conflict => {
            Problem::new(Kind::Conflict, "other requests changed the secrets at the same time")
        }
        SecretsError::Gone => Problem::not_found("endpoint"),
        SecretsError::Refused(_) => Problem::new(Kind::InvalidRequest, "invalid rotation of keys"),
        SecretsError::Fault(fault) => fault.into(),
    }
}

#[cfg(test)]
mod tests;
