//! Revealing and rotating the signing keys of endpoints.

use std::{sync::Arc, time::Duration};

use domain::{
    EndpointId, Secret, Timestamp,
    endpoint::Endpoint,
    ids::holder::Holder,
    saturating,
    signing::{
        SigningKey,
        keys::{self, DEFAULT_OVERLAP, OVERLAP_LIMIT, RotationError, StoredSecret, fingerprint},
    },
};
use platform::{
    Fault,
    alert::Alert,
    lambda::problem::{Kind, Problem},
    secrets::{Place, Rotation, SecretRef, SecretsError},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    find::find,
    key::{EndpointSecret, Signing, forget_old_shard, remove_unused, requested_key, secrets_problem},
};
use crate::{
    http::{body::within, call::Call},
    state::Api,
};

/// A rotation of an endpoint's signing key.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateSecret {
    /// A key of your own, `whsec_…` or `whsk_…`; by default a new one.
    #[serde(default)]
    secret: Option<Secret>,
    /// How webhooks are signed from now on; by default as before.
    #[serde(default)]
    signing: Option<Signing>,
    /// How long the previous keys continue to sign, in seconds; a day by default. 0 ends them all.
    #[serde(default)]
    #[schemars(range(min = 0, max = 604_800))]
    overlap_seconds: Option<u32>,
}

/// An endpoint's new key.
#[derive(Serialize, JsonSchema)]
pub(crate) struct RotatedSecret {
    #[serde(flatten)]
    key: EndpointSecret,
    /// When the last of the previous keys expires.
    previous_expires_at: Timestamp,
}

/// A previous key that still signs.
#[derive(Serialize, JsonSchema)]
pub(crate) struct PreviousSecret {
    #[serde(flatten)]
    key: EndpointSecret,
    /// Its name in operational events and in the audit trail.
    fingerprint: String,
    created_at: Timestamp,
    /// When it expires.
    expires_at: Timestamp,
}

/// The keys that an endpoint's webhooks are signed with.
#[derive(Serialize, JsonSchema)]
pub(crate) struct RevealedSecret {
    #[serde(flatten)]
    key: EndpointSecret,
    /// Its name in operational events and in the audit trail.
    fingerprint: String,
    created_at: Timestamp,
    /// The previous keys that still sign, the newest first.
    previous: Vec<PreviousSecret>,
}

/// An endpoint's keys that are valid now, newest first and decoded.
struct ValidKeys(Vec<(SigningKey, StoredSecret)>);

impl ValidKeys {
    /// The keys of this endpoint; there is at least one.
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

    fn decoded(kept: Vec<StoredSecret>) -> Result<Self, Fault> {
        let decode = |kept: StoredSecret| {
            let key = SigningKey::parse(kept.secret.expose());
            key.map(|key| (key, kept)).map_err(Fault::on("reading a signing key"))
        };
        kept.into_iter().map(decode).collect::<Result<_, _>>().map(Self)
    }

    fn newest(&self) -> Result<&(SigningKey, StoredSecret), Fault> {
        self.0.first().ok_or_else(|| Fault::new("reading a signing key", "there is none"))
    }

    fn previous(&self) -> impl Iterator<Item = &(SigningKey, StoredSecret)> {
        self.0.iter().skip(1)
    }

    fn fingerprints(&self) -> Vec<String> {
        self.0.iter().map(|(key, _)| fingerprint(key)).collect()
    }
}

/// The newest key of an endpoint.
pub(super) async fn newest(api: &Api, call: &Call, endpoint: &Endpoint) -> Result<EndpointSecret, Problem> {
    let keys = ValidKeys::now(api, call, endpoint).await?;
    Ok(EndpointSecret::from(&keys.newest()?.0))
}

pub(crate) async fn reveal(api: Arc<Api>, call: Call) -> Result<RevealedSecret, Problem> {
    let endpoint = find(&api, &call).await?;
    let keys = ValidKeys::now(&api, &call, &endpoint).await?;
    let (newest, kept) = keys.newest()?;
    let shown = json!({ "fingerprints": keys.fingerprints() });
    call.record(&api, endpoint.id, None, Some(shown)).await?;
    let created_at = |kept: &StoredSecret| kept.created_at.unwrap_or(endpoint.created_at);
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
    let longest = saturating::<u32>(OVERLAP_LIMIT.as_secs());
    if let Some(overlap) = body.overlap_seconds {
        within("/overlap_seconds", overlap, 0..=longest)?;
    }
    let overlap = body.overlap_seconds.map_or(DEFAULT_OVERLAP, |secs| Duration::from_secs(secs.into()));
    let endpoint = find(&api, &call).await?;
    let before = ValidKeys::now(&api, &call, &endpoint).await?;
    let key = requested_key(body.signing, body.secret.as_ref(), Signing::of(&before.newest()?.0))?;
    let new = key.to_secret();
    // The write checks this again; what is rejected now leaves no entry in the trail.
    let kept: Vec<_> = before.0.iter().map(|(_, kept)| kept.clone()).collect();
    let planned = keys::rotate(&kept, &new, overlap, call.now)
        .map_err(|refusal| rotate_problem(SecretsError::Refused(refusal)))?;
    let previous_expires_at = call.now + overlap;
    let after = json!({
        "fingerprints": ValidKeys::decoded(planned)?.fingerprints(),
        "previous_expires_at": previous_expires_at,
    });
    let states = (json!({ "fingerprints": before.fingerprints() }), after);
    call.record(&api, endpoint.id, Some(states.0), Some(states.1)).await?;
    let rotation = Rotation { new: &new, overlap, now: call.now };
    let (tenant, id, shard) = (call.tenant()?, endpoint.id.to_string(), endpoint.secret_shard);
    let rotated = api.secrets.rotate(SecretRef::of_endpoint(tenant, shard, &id), rotation).await;
    let (place, kept) = rotated.map_err(rotate_problem)?;
    if place.shard != shard {
        move_keys(&api, &call, &endpoint, place).await?;
    }
    let previous = ValidKeys::decoded(kept)?.fingerprints().split_off(1);
    raise_rotated(&api, &call, endpoint.id, &key, previous, previous_expires_at).await?;
    Ok(RotatedSecret { key: EndpointSecret::from(&key), previous_expires_at })
}

/// Records in the endpoint's row that its keys are in another shard. The old one keeps its copy for a while,
/// which signs nothing once the cached row has expired.
async fn move_keys(api: &Api, call: &Call, endpoint: &Endpoint, place: Place) -> Result<(), Problem> {
    let (from, to) = (endpoint.secret_shard, place.shard);
    if api.endpoints.move_keys(call.tenant()?, endpoint.id, from, to).await? {
        forget_old_shard(api, Holder::Endpoints, place).await;
        return Ok(());
    }
    // Another rotation may have moved them there, and then this one's key is among them.
    let problem = match find(api, call).await {
        Ok(now) if now.secret_shard == to => return Ok(()),
        Ok(_) => secrets_problem(SecretsError::Conflict),
        Err(problem) if problem.kind == Kind::NotFound => problem,
        // It is not known where they are, so nothing is removed.
        Err(problem) => return Err(problem),
    };
    // It was deleted, or its keys moved elsewhere.
    remove_unused(api, SecretRef::of_endpoint(call.tenant()?, to, &endpoint.id.to_string())).await;
    Err(problem)
}

async fn raise_rotated(
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
        SecretsError::Refused(RotationError::Same) => {
            Problem::field(Kind::InvalidField, "/secret", "is already the endpoint's newest key")
        }
        SecretsError::Refused(RotationError::TooMany { until }) => {
            let most = keys::OLD_KEY_LIMIT;
            let rule = format!("at most {most} previous keys are valid at once");
            let detail = match until {
                Some(until) => format!(
                    "{rule}, and the next one expires at {until}; rotate then, or with `overlap_seconds` 0, which ends them all"
                ),
                None => format!("{rule}; rotate with `overlap_seconds` 0, which ends them all"),
            };
            Problem::new(Kind::LimitReached, detail)
        }
        error => secrets_problem(error),
    }
}
