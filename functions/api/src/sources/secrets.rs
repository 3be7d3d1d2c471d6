//! Setting and rotating the secrets of sources.

use std::{sync::Arc, time::Duration};

use domain::{
    Secret, SourceId, Timestamp,
    ids::holder::Holder,
    inbound::{Provider, Source, engine::scheme::KeyEncoding, source::check_secret, table::Table},
    saturating,
    signing::keys::{DEFAULT_OVERLAP, OLD_KEY_LIMIT, OVERLAP_LIMIT, RotationError},
};
use platform::{
    lambda::problem::{Kind, Problem},
    secrets::{Place, Rotation, SecretRef, SecretsError},
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::{
    UPDATE_TRIES, find,
    requests::{RotateSourceSecret, SetSecrets},
};
use crate::{
    endpoints::key::{forget_old_shard, remove_unused, secrets_problem as problem_of_endpoint},
    http::{body::within, call::Call},
    state::Api,
};

/// The most active secrets of one source: the current one, those being rolled, and a reserve.
const SECRET_COUNT_LIMIT: usize = 10;
/// The longest secret, in bytes.
const SECRET_LENGTH_LIMIT: usize = 512;
/// The longest public key as PEM, in bytes: that of RSA with 8192 bits has 1,400.
const PUBLIC_KEY_LENGTH_LIMIT: usize = 4096;

/// A source whose secrets were set.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SourceSecrets {
    id: SourceId,
    /// The number of active secrets.
    secret_count: usize,
}

/// A source whose secret was rotated.
#[derive(Serialize, JsonSchema)]
pub(crate) struct RotatedSourceSecret {
    id: SourceId,
    /// The number of active secrets.
    secret_count: usize,
    /// When the last of the previous secrets expires.
    previous_expires_at: Timestamp,
}

pub(crate) async fn set(api: Arc<Api>, call: Call, body: SetSecrets) -> Result<SourceSecrets, Problem> {
    let source = find(&api, &call).await?;
    if body.secrets.is_empty() {
        return Err(Problem::field(Kind::InvalidField, "/secrets", "must have at least one secret"));
    }
    check(source.provider, source.table(), &body.secrets)?;
    let secret_count = body.secrets.len();
    let after = Source { secret_count: saturating(secret_count), ..source.clone() };
    // Also where their number stays: the secrets are others.
    let states = [&source, &after].map(|source| Some(json!({ "secret_count": source.secret_count })));
    let [before, after] = states;
    call.record(&api, source.id, before, after).await?;
    let source = closed(&api, &call, source).await?;
    let id = source.id.to_string();
    let secret = SecretRef::of_source(&source.tenant, source.secret_shard, &id);
    let place = api.secrets.set(secret, &body.secrets).await.map_err(secrets_problem)?;
    record_place(&api, &call, &source, place, secret_count).await?;
    Ok(SourceSecrets { id: source.id, secret_count })
}

/// The source, which waits for no secret of a request any more: one that came after the tenant's would replace it.
async fn closed(api: &Api, call: &Call, source: Source) -> Result<Source, Problem> {
    if source.awaits_secret_until.is_none() {
        return Ok(source);
    }
    if !api.sources.close_handshake(&source, call.now).await? {
        let detail = "a request of the provider is bringing the secret at this moment";
        return Err(Problem::new(Kind::Conflict, detail));
    }
    find(api, call).await
}

pub(crate) async fn rotate(
    api: Arc<Api>,
    call: Call,
    body: RotateSourceSecret,
) -> Result<RotatedSourceSecret, Problem> {
    if let Some(overlap) = body.overlap_seconds {
        within("/overlap_seconds", overlap, 0..=saturating::<u32>(OVERLAP_LIMIT.as_secs()))?;
    }
    let overlap = body.overlap_seconds.map_or(DEFAULT_OVERLAP, |secs| Duration::from_secs(secs.into()));
    let source = find(&api, &call).await?;
    check_one(source.provider, source.table(), &body.secret, "/secret")?;
    let source = closed(&api, &call, source).await?;
    let id = source.id.to_string();
    let secret = SecretRef::of_source(&source.tenant, source.secret_shard, &id);
    let kept = api.secrets.keys_now(secret, call.now).await?;
    // The write checks this again; what is rejected now leaves no entry in the trail.
    let planned = domain::signing::keys::rotate(&kept, &body.secret, overlap, call.now)
        .map_err(|refusal| secrets_problem(SecretsError::Refused(refusal)))?;
    let previous_expires_at = call.now + overlap;
    let after = json!({ "secret_count": planned.len(), "previous_expires_at": previous_expires_at });
    call.record(&api, source.id, Some(json!({ "secret_count": kept.len() })), Some(after)).await?;
    let rotation = Rotation { new: &body.secret, overlap, now: call.now };
    let (place, kept) = api.secrets.rotate(secret, rotation).await.map_err(secrets_problem)?;
    record_place(&api, &call, &source, place, kept.len()).await?;
    Ok(RotatedSourceSecret { id: source.id, secret_count: kept.len(), previous_expires_at })
}

/// Records in the source's rows where its secrets are now, and how many: of concurrent requests the one that records
/// last counts again, since its own secrets may have been replaced.
async fn record_place(
    api: &Api,
    call: &Call,
    source: &Source,
    place: Place,
    count: usize,
) -> Result<(), Problem> {
    let id = source.id.to_string();
    let secret = SecretRef::of_source(&source.tenant, place.shard, &id);
    let (mut read, mut count) = (source.clone(), count);
    let mut now = None;
    for _ in 0..UPDATE_TRIES {
        if api.sources.record_counted_secrets(&read, place.shard, count).await? {
            forget_old_shard(api, Holder::Sources, place).await;
            return Ok(());
        }
        now = api.sources.of_tenant(&source.tenant, source.id).await?;
        match &now {
            Some(now) if now.secret_shard == source.secret_shard => {
                // After the row: a request that changes the secrets now finds another revision, and counts again.
                count = api.secrets.keys_now(secret, call.now).await?.len();
                read = now.clone();
            }
            _ => break,
        }
    }
    // Another request moved the secrets, or deleted the source: what was written now counts nowhere.
    let exists = now.is_some();
    if now.is_none_or(|now| now.secret_shard != place.shard) {
        remove_unused(api, secret).await;
    }
    Err(if exists { secrets_problem(SecretsError::Conflict) } else { Problem::not_found("source") })
}

/// Whether these can be the secrets of a source.
pub(super) fn check(provider: Provider, table: Option<&Table>, secrets: &[Secret]) -> Result<(), Problem> {
    if secrets.len() > SECRET_COUNT_LIMIT {
        let detail = format!("must have at most {SECRET_COUNT_LIMIT} secrets");
        return Err(Problem::field(Kind::InvalidField, "/secrets", detail));
    }
    for (index, secret) in secrets.iter().enumerate() {
        check_one(provider, table, secret, &format!("/secrets/{index}"))?;
    }
    Ok(())
}

fn check_one(
    provider: Provider,
    table: Option<&Table>,
    secret: &Secret,
    pointer: &str,
) -> Result<(), Problem> {
    let invalid = |why: String| Problem::field(Kind::InvalidField, pointer, why);
    let has_public_key = table.is_some_and(|table| {
        table.scheme.methods.iter().any(|method| method.key.encoding == KeyEncoding::Spki)
    });
    let limit = if has_public_key { PUBLIC_KEY_LENGTH_LIMIT } else { SECRET_LENGTH_LIMIT };
    if secret.expose().len() > limit {
        return Err(invalid(format!("must be at most {limit} bytes long")));
    }
    check_secret(provider, table, secret.expose()).map_err(invalid)
}

/// The problem of a source's secrets that could not be set.
pub(super) fn secrets_problem(error: SecretsError) -> Problem {
    match error {
        SecretsError::Gone => Problem::not_found("source"),
        SecretsError::Refused(RotationError::Same) => {
            Problem::field(Kind::InvalidField, "/secret", "is already the source's newest secret")
        }
        SecretsError::Refused(RotationError::TooMany { until }) => {
            let rule = format!("at most {OLD_KEY_LIMIT} previous secrets stay valid after a rotation");
            let now = "rotate with `overlap_seconds` 0, which ends them all, or set all secrets";
            let detail = match until {
                Some(until) => {
                    format!("{rule}, and enough of them have expired at {until}; rotate then, or {now}")
                }
                None => format!("{rule}, and more of them never expire; {now}"),
            };
            Problem::new(Kind::LimitReached, detail)
        }
        error => problem_of_endpoint(error),
    }
}
