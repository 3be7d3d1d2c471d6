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
