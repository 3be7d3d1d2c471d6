//! The signing keys of one endpoint over time: which of them sign, and what a rotation leaves.
//!
//! Newest first. The first one has no end; those that it replaced go on signing until theirs, so
//! that a receiver verifies with either while it changes over. How a key signs is `sign.rs`.

use std::{fmt, time::Duration};

use data_encoding::HEXLOWER;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use sha2::{Digest, Sha256};

use super::SigningKey;
use crate::{Secret, Timestamp};

/// Old keys that may sign beside the newest: each is one more signature in every webhook's header,
/// and libraries try them one by one.
pub const OLD_KEY_LIMIT: usize = 3;

/// The longest time that a rotation leaves to the key it replaces.
pub const OVERLAP_LIMIT: Duration = Duration::from_hours(7 * 24);

/// The time that it leaves by default.
pub const DEFAULT_OVERLAP: Duration = Duration::from_hours(24);

/// A secret as a document of Secrets Manager holds it: its text alone if it has no times of its own, as
/// every key that was created with its endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSecret {
    /// The secret.
    pub secret: Secret,
    /// When a rotation brought it; the endpoint's own time where it is missing.
    pub created_at: Option<Timestamp>,
    /// When it ends; never where it is missing.
    pub expires_at: Option<Timestamp>,
}

/// A secret with its times, in milliseconds.
#[derive(Serialize, Deserialize)]
struct DatedSecret<S> {
    key: S,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
}

impl Serialize for StoredSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { secret, created_at, expires_at } = self;
        if created_at.is_none() && expires_at.is_none() {
            return secret.serialize(serializer);
        }
        let millis = |at: &Option<Timestamp>| at.map(Timestamp::millis);
        DatedSecret { key: secret, created_at: millis(created_at), expires_at: millis(expires_at) }
            .serialize(serializer)
    }
}

/// Written by hand: serde's untagged enums keep a copy of the secret that is never wiped.
struct StoredSecretVisitor;

impl<'de> Visitor<'de> for StoredSecretVisitor {
    type Value = StoredSecret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret, or one with its times")
    }

    fn visit_str<E>(self, text: &str) -> Result<StoredSecret, E> {
        Ok(StoredSecret::from(Secret::new(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<StoredSecret, E> {
        Ok(StoredSecret::from(Secret::new(text)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<StoredSecret, A::Error> {
        let dated: DatedSecret<Secret> = DatedSecret::deserialize(MapAccessDeserializer::new(map))?;
        Ok(StoredSecret {
            secret: dated.key,
            created_at: dated.created_at.map(Timestamp::from_millis),
            expires_at: dated.expires_at.map(Timestamp::from_millis),
        })
    }
}

impl<'de> Deserialize<'de> for StoredSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StoredSecretVisitor)
    }
}

impl From<Secret> for StoredSecret {
    fn from(secret: Secret) -> Self {
        Self { secret, created_at: None, expires_at: None }
    }
}

impl StoredSecret {
    /// Whether it is valid at this time. `expires_at` is the first moment at which it is not.
    #[must_use]
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

/// Why a rotation is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationError {
    /// More than [`OLD_KEY_LIMIT`] would still sign.
    TooMany {
        /// When enough of them have ended; nothing where they have no end, as secrets that were set
        /// together.
        until: Option<Timestamp>,
    },
    /// The new key is the one that is newest already.
    Same,
}

/// The keys after a rotation: the new one, then those before as far as they still sign. None of
/// these goes on longer than `overlap`, nor longer than it would have; 0 ends them all. A key that
/// comes back is the newest again, and no longer an old one.
///
/// # Errors
/// [`RotationError`] where nothing may change.
pub fn rotate(
    before: &[StoredSecret],
    new: &Secret,
    overlap: Duration,
    now: Timestamp,
) -> Result<Vec<StoredSecret>, RotationError> {
    let end = now + overlap.min(OVERLAP_LIMIT);
    if before.first().is_some_and(|newest| newest.secret == *new) {
        return Err(RotationError::Same);
    }
    let old: Vec<StoredSecret> = before
        .iter()
        .filter(|kept| kept.secret != *new)
        .map(|kept| StoredSecret {
            expires_at: Some(kept.expires_at.map_or(end, |at| at.min(end))),
            ..kept.clone()
        })
        .filter(|kept| kept.is_active(now))
        .collect();
    if old.len() > OLD_KEY_LIMIT {
        // Their own ends, and not those that this rotation would have given them.
        let active = before.iter().filter(|kept| kept.secret != *new && kept.is_active(now));
        let mut ends: Vec<_> = active.filter_map(|kept| kept.expires_at).collect();
        ends.sort_unstable();
        let until = ends.get(old.len() - OLD_KEY_LIMIT - 1).copied();
        return Err(RotationError::TooMany { until });
    }
    let newest = StoredSecret { secret: new.clone(), created_at: Some(now), expires_at: None };
    Ok(std::iter::once(newest).chain(old).collect())
}

/// What a key is called where it must not be shown: the head of a hash of its public half or, where
/// it has none, of itself. 64 bits distinguish keys and reveal nothing of one with 192 random bits.
#[must_use]
pub fn fingerprint(key: &SigningKey) -> String {
    let hash = Sha256::new().chain_update("core-webhooks signing key\n");
    let hash = match key.public_key() {
        Some(public) => hash.chain_update(public),
        None => hash.chain_update(key.to_secret().expose()),
    };
    HEXLOWER.encode(&hash.finalize()[..8])
}

#[cfg(test)]
mod tests;
