//! The signing keys of endpoints: made, imported, rotated, revealed.

use std::{sync::Arc, time::Duration};

use domain::{
    EndpointId, Secret, Timestamp,
    endpoint::Endpoint,
    saturating,
    signing::{
        SigningKey,
        keys::{self, Kept, LONGEST_OVERLAP, OVERLAP, Refusal, fingerprint},
    },
};
use platform::{
    Fault,
    alert::Alert,
    lambda::problem::{Kind, Problem},
    runtime::clock,
    secrets::{Rotation, SecretRef, SecretsError},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::find;
use crate::{Api, http::route::Call};

/// How webhooks are signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Signing {
    /// HMAC-SHA256, with a key that both sides hold.
    #[default]
    V1,
    /// ed25519, with a private key of ours and a public one for the receiver.
    V1a,
}

impl Signing {
    fn of(key: &SigningKey) -> Self {
        if key.public_key().is_some() { Self::V1a } else { Self::V1 }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V1a => "v1a",
        }
    }
}

/// What the webhooks of an endpoint are verified by, with any library of Standard Webhooks.
#[derive(Serialize, JsonSchema)]
pub(crate) struct EndpointSecret {
    /// The signing key, where both sides hold it (`v1`).
    secret: Option<Secret>,
    /// The public key, where the private one stays here (`v1a`).
    public_key: Option<String>,
}

impl From<&SigningKey> for EndpointSecret {
    fn from(key: &SigningKey) -> Self {
        let public_key = key.public_key();
        Self { secret: public_key.is_none().then(|| key.to_secret()), public_key }
    }
}

/// The key that a body asks for: the one it brings, or a new one. What is wrong with one that it
/// brings is said without repeating it.
pub(crate) fn wanted_key(
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
    let refuse = |why: String| Problem::field(Kind::InvalidField, "/secret", why);
    let key = SigningKey::parse(secret.expose()).map_err(|invalid| refuse(invalid.to_string()))?;
    match signing {
        Some(signing) if signing != Signing::of(&key) => {
            let is = Signing::of(&key).as_str();
            Err(refuse(format!("is a key of {is}, and signing says {}", signing.as_str())))
        }
        _ => Ok(key),
    }
}

/// A key to take the place of the one before.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateSecret {
    /// A key of your own, `whsec_…` or `whsk_…`; a new one is made where it is missing.
    #[serde(default)]
    secret: Option<Secret>,
    /// How webhooks are signed from now on; as before where it is missing.
    #[serde(default)]
    signing: Option<Signing>,
    /// How long the keys before go on signing too, in seconds; a day where it is missing. 0 ends
    /// them all.
    #[serde(default)]
    #[schemars(range(min = 0, max = 604_800))]
    overlap_seconds: Option<u32>,
}

/// An endpoint's new key.
#[derive(Serialize, JsonSchema)]
pub(crate) struct RotatedSecret {
    #[serde(flatten)]
    key: EndpointSecret,
    /// When the keys before have ended, all of them.
    previous_expires_at: Timestamp,
}

/// A key that a rotation replaced and that still signs.
#[derive(Serialize, JsonSchema)]
pub(crate) struct PreviousSecret {
    #[serde(flatten)]
    key: EndpointSecret,
    /// What operational events and the audit trail call it.
    fingerprint: String,
    created_at: Timestamp,
    /// When it ends.
    expires_at: Timestamp,
}

/// The keys that an endpoint's webhooks are signed with.
#[derive(Serialize, JsonSchema)]
pub(crate) struct RevealedSecret {
    #[serde(flatten)]
    key: EndpointSecret,
    /// What operational events and the audit trail call it.
    fingerprint: String,
    created_at: Timestamp,
    /// Those before it that still sign, the newest first.
    previous: Vec<PreviousSecret>,
}

/// An endpoint's keys that are valid now, newest first and decoded.
struct Valid(Vec<(SigningKey, Kept)>);

impl Valid {
    /// Those of this endpoint; there is at least one.
    async fn now(api: &Api, call: &Call, endpoint: &Endpoint) -> Result<Self, Problem> {
        let id = endpoint.id.to_string();
        let secret = SecretRef::of_endpoint(call.tenant()?, endpoint.secret_shard, &id);
        let kept = api.secrets.keys_now(secret, call.now).await?;
        if kept.is_empty() {
            // Deleting an endpoint takes its row first and then its keys.
            return Err(Problem::not_found("endpoint"));
        }
        Ok(Self::decoded(kept)?)
    }

    fn decoded(kept: Vec<Kept>) -> Result<Self, Fault> {
        let decode = |kept: Kept| {
            let key = SigningKey::parse(kept.secret.expose());
            key.map(|key| (key, kept)).map_err(Fault::on("reading a signing key"))
        };
        kept.into_iter().map(decode).collect::<Result<_, _>>().map(Self)
    }

    fn newest(&self) -> Result<&(SigningKey, Kept), Fault> {
        self.0.first().ok_or_else(|| Fault::new("reading a signing key", "there is none"))
    }

    fn previous(&self) -> impl Iterator<Item = &(SigningKey, Kept)> {
        self.0.iter().skip(1)
    }

    fn fingerprints(&self) -> Vec<String> {
        self.0.iter().map(|(key, _)| fingerprint(key)).collect()
    }
}

pub(crate) async fn reveal(api: Arc<Api>, call: Call) -> Result<RevealedSecret, Problem> {
    let endpoint = find(&api, &call).await?;
    let keys = Valid::now(&api, &call, &endpoint).await?;
    let (newest, kept) = keys.newest()?;
    let shown = json!({ "fingerprints": keys.fingerprints() });
    call.record(&api, endpoint.id, None, Some(shown)).await?;
    let created_at = |kept: &Kept| kept.created_at.unwrap_or(endpoint.created_at);
    let previous = keys.previous().map(|(key, kept)| PreviousSecret {
        key: EndpointSecret::from(key),
        fingerprint: fingerprint(key),
        created_at: created_at(kept),
        expires_at: kept.expires_at.unwrap_or(call.now),
    });
    Ok(RevealedSecret {
        key: EndpointSecret::from(newest),
        fingerprint: fingerprint(newest),
        created_at: created_at(kept),
        previous: previous.collect(),
    })
}

pub(crate) async fn rotate(api: Arc<Api>, call: Call, body: RotateSecret) -> Result<RotatedSecret, Problem> {
    let longest = saturating::<u32>(LONGEST_OVERLAP.as_secs());
    crate::endpoints::within("/overlap_seconds", body.overlap_seconds, 0..=longest)?;
    let overlap = body.overlap_seconds.map_or(OVERLAP, |secs| Duration::from_secs(secs.into()));
    let endpoint = find(&api, &call).await?;
    let before = Valid::now(&api, &call, &endpoint).await?;
    let key = wanted_key(body.signing, body.secret.as_ref(), Signing::of(&before.newest()?.0))?;
    let new = key.to_secret();
    // Asked again by the write itself; what is refused now leaves no entry.
    let kept: Vec<_> = before.0.iter().map(|(_, kept)| kept.clone()).collect();
    let planned = keys::rotate(&kept, &new, overlap, call.now)
        .map_err(|refusal| rotate_problem(SecretsError::Refused(refusal)))?;
    let previous_expires_at = call.now + overlap;
    let after = json!({
        "fingerprints": Valid::decoded(planned)?.fingerprints(),
        "previous_expires_at": previous_expires_at,
    });
    let states = (json!({ "fingerprints": before.fingerprints() }), after);
    call.record(&api, endpoint.id, Some(states.0), Some(states.1)).await?;
    let rotation = Rotation { new: &new, overlap, now: call.now };
    let (tenant, id, shard) = (call.tenant()?, endpoint.id.to_string(), endpoint.secret_shard);
    let rotated = api.secrets.rotate(SecretRef::of_endpoint(tenant, shard, &id), rotation).await;
    let (to, kept) = rotated.map_err(rotate_problem)?;
    if to != shard {
        follow(&api, &call, &endpoint, to).await?;
    }
    let previous = Valid::decoded(kept)?.fingerprints().split_off(1);
    tell(&api, &call, endpoint.id, &key, previous, previous_expires_at).await?;
    Ok(RotatedSecret { key: EndpointSecret::from(&key), previous_expires_at })
}

/// The keys had to go to another document: says so in the endpoint's row. What the old document
/// holds of it stays there and signs nothing once the row is no longer believed as it was.
async fn follow(api: &Api, call: &Call, endpoint: &Endpoint, to: u32) -> Result<(), Problem> {
    let from = endpoint.secret_shard;
    if api.endpoints.move_keys(call.tenant()?, endpoint.id, from, to).await? {
        return Ok(());
    }
    // Another rotation may have moved them there, and then this one's key is among them.
    let now = find(api, call).await?;
    if now.secret_shard == to { Ok(()) } else { Err(secrets_problem(SecretsError::Conflict)) }
}

async fn tell(
    api: &Api,
    call: &Call,
    endpoint: EndpointId,
    key: &SigningKey,
    previous: Vec<String>,
    previous_expires_at: Timestamp,
) -> Result<(), Problem> {
    let alert = Alert::Rotated { fingerprint: fingerprint(key), previous, previous_expires_at };
    Box::pin(api.alerts.raise(call.tenant()?, endpoint, &alert)).await;
    Ok(())
}

fn rotate_problem(error: SecretsError) -> Problem {
    match error {
        SecretsError::Refused(Refusal::Same) => {
            Problem::field(Kind::InvalidField, "/secret", "is the endpoint's newest key already")
        }
        SecretsError::Refused(Refusal::TooMany { until }) => {
            let most = keys::OLD_KEYS;
            let detail = format!(
                "besides the newest at most {most} keys are valid at once; the next one ends at {until}. Rotate then, or with overlap_seconds 0, which ends them all"
            );
            Problem::new(Kind::LimitReached, detail)
        }
        error => secrets_problem(error),
    }
}

/// What a client hears when secrets could not be set.
pub(crate) fn secrets_problem(error: SecretsError) -> Problem {
    match error {
        SecretsError::Conflict => {
            Problem::new(Kind::Conflict, "many changes are made to this tenant's secrets; try again")
        }
        SecretsError::Full => {
            let detail = "this tenant's secrets were changed so often today that they take no more changes; try again tomorrow";
            Problem::new(Kind::LimitReached, detail)
        }
        SecretsError::Gone => Problem::not_found("endpoint"),
        SecretsError::Refused(_) => {
            Problem::new(Kind::InvalidRequest, "the keys cannot be rotated like this")
        }
        SecretsError::Fault(fault) => fault.into(),
    }
}

#[cfg(test)]
mod tests;
