//! The verification of a request with the keys of its source, and the challenges before it.

use std::{sync::Arc, time::Duration};

use domain::{
    Secret, Timestamp,
    ids::holder::Holder,
    inbound::{
        Source,
        challenge::{self, ChallengeReply, Outcome},
        engine::{self, KeySet, Keys, Reject, Report},
        reading,
    },
};
use platform::{
    Fault,
    secrets::{SecretRef, SecretsError},
};

use crate::{Inbound, accept::Refusal, published_keys, target::Target};

/// After a failed verification, secrets that were cached for longer than this are read again. So a new
/// secret works at once, and a flood of invalid requests costs one read a second.
const SECRETS_REREAD_AGE: Duration = Duration::from_secs(1);

/// How far a verification came.
pub(crate) enum Verifying<'a> {
    Challenge(ChallengeReply),
    Report(Box<Report<'a>>),
}

impl Inbound {
    /// Responds to a challenge, or checks the signature; where the cached secrets do not match, once more with secrets
    /// read again, and where the provider's published keys lack the one that it names, with these read again.
    pub(crate) async fn verify<'a>(
        &self,
        target: &Target,
        received: reading::Request<'a>,
        now: Timestamp,
    ) -> Result<Verifying<'a>, Refusal> {
        let Some(source) = target.visible() else {
            let published = self.published_keys(target, Duration::MAX).await?;
            return self.check(target, None, received, (target.decoy(), published.as_deref()), now).await;
        };
        let published = self.published_keys(target, Duration::MAX).await?;
        let secrets = source.secrets(self.secrets_of(source, Duration::MAX).await?);
        let first = self.check(target, Some(source), received, (&secrets, published.as_deref()), now).await;
        let (published_age, settled) = match &first {
            // It may have been decided with an old verify token or secret.
            Err(Refusal::Challenge(..)) => (Duration::MAX, false),
            Ok(Verifying::Report(report)) => {
                let settled = match &report.outcome {
                    // Items with a new token among those with the old one.
                    Ok(verified) => !verified.has_unverified_items(),
                    Err(reject) => *reject != Reject::WrongSignature,
                };
                (report.unknown_key.as_ref().map_or(Duration::MAX, |_| published_keys::REREAD_AGE), settled)
            }
            _ => (Duration::MAX, true),
        };
        if settled {
            return first;
        }
        let published = self.published_keys(target, published_age).await?;
        // Its secrets may have moved to another shard.
        let Some(source) = self.sources.get_within(source.id, SECRETS_REREAD_AGE).await? else {
            return first;
        };
        let secrets = source.secrets(self.secrets_of(&source, SECRETS_REREAD_AGE).await?);
        self.check(target, Some(&source), received, (&secrets, published.as_deref()), now).await
    }

    async fn check<'a>(
        &self,
        target: &Target,
        source: Option<&Source>,
        received: reading::Request<'a>,
        (secrets, published): (&[Secret], Option<&KeySet>),
        now: Timestamp,
    ) -> Result<Verifying<'a>, Refusal> {
        let table = target.table();
        let keys = Keys { secrets, published };
        if !table.challenges.is_empty() {
            let state = challenge::State {
                keys,
                verify_token: source.and_then(|source| source.settings.verify_token.as_ref()),
                awaits_secret: source.is_some_and(|source| source.awaits_secret(now)),
            };
            match challenge::respond(table, received, state, now) {
                Outcome::NoChallenge => {}
                Outcome::Respond(reply) => return Ok(Verifying::Challenge(reply)),
                Outcome::KeepSecret(secret, reply) => {
                    let kept = match source {
                        Some(source) => self.keep_secret(source, secret, now).await?,
                        None => false,
                    };
                    // One that comes too late is a request without a signature.
                    let late = Refusal::Rejected(Reject::MissingSignature);
                    return if kept { Ok(Verifying::Challenge(reply)) } else { Err(late) };
                }
                Outcome::Refuse(status, why) => return Err(Refusal::Challenge(status, why)),
            }
        }
        Ok(Verifying::Report(Box::new(engine::verify(&table.scheme, received, keys, now))))
    }

    /// Stores the secret that the first request brings. False for all but the first.
    async fn keep_secret(&self, source: &Source, secret: Secret, now: Timestamp) -> Result<bool, Refusal> {
        if !self.sources.claim_handshake(source, now).await? {
            return Ok(false);
        }
        let id = source.id.to_string();
        let owner = SecretRef::of_source(&source.tenant, source.secret_shard, &id);
        let place = self.secrets.set(owner, &[secret]).await.map_err(|error| match error {
            SecretsError::Fault(fault) => fault,
            _ => Fault::new("storing the secret of a handshake", "others changed the same shard"),
        })?;
        let shard = place.shard;
        if !self.sources.record_secrets(source, shard, 1).await? {
            return Ok(false);
        }
        self.secrets.moved(Holder::Sources, place).await?;
        Ok(true)
    }

    async fn published_keys(&self, target: &Target, age: Duration) -> Result<Option<Arc<KeySet>>, Fault> {
        match target.published_keys_url() {
            Some(url) => self.published_keys.get(url, age).await.map(Some),
            None => Ok(None),
        }
    }

    async fn secrets_of(&self, source: &Source, age: Duration) -> Result<Vec<Secret>, Fault> {
        let id = source.id.to_string();
        self.secrets.get(SecretRef::of_source(&source.tenant, source.secret_shard, &id), age).await
    }
}
