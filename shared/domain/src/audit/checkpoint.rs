//! Checkpoints: signatures of where a trail was, so that a trail that was rewritten from its beginning, or cut off, does
//! not fit what was signed before.
//!
//! The key is made of a generated secret, which only the job that signs can read. What verifies is public.

use std::{fmt, str::FromStr};

use base64::{Engine, prelude::BASE64_STANDARD};
use data_encoding::HEXLOWER;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{Flaw, Link};
use crate::{TenantId, Timestamp};

/// Bytes of a public key (RFC 8032, section 5.1.5).
const PUBLIC_KEY_BYTES: usize = 32;

/// The signature of where a trail was at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Its newest entry then.
    pub link: Link,
    /// The time.
    pub at: Timestamp,
    /// The id of the key that signed.
    pub key_id: String,
    /// The signature, in base64.
    pub signature: String,
}

/// What is signed: lines, none of which can hold the end of a line.
fn message(tenant: &TenantId, link: &Link, at: Timestamp) -> String {
    let Link { seq, hash } = link;
    format!("core-webhooks audit checkpoint 1\n{tenant}\n{seq}\n{hash}\n{at}\n")
}

impl Checkpoint {
    /// Whether it fits the entry that the trail has under its number, which has this hash.
    ///
    /// # Errors
    /// The [`Flaw`] where it does not.
    pub fn check(&self, tenant: &TenantId, hash: &str, keys: &[PublicKey]) -> Result<(), Flaw> {
        if !keys.iter().any(|key| key.id() == self.key_id && key.verifies(tenant, self)) {
            return Err(Flaw::Forged);
        }
        if self.link.hash == hash { Ok(()) } else { Err(Flaw::Rewritten) }
    }
}

/// The key that signs.
pub struct CheckpointKey(Box<Ed25519KeyPair>);

impl CheckpointKey {
    /// The key that a secret makes.
    #[must_use]
    pub fn from_secret(text: &str) -> Self {
        let seed = Sha256::new().chain_update("core-webhooks audit checkpoint key 1\n").chain_update(text);
        let seed = Zeroizing::new(<[u8; 32]>::from(seed.finalize()));
        // Any 32 bytes are a seed.
        let Ok(pair) = Ed25519KeyPair::from_seed_unchecked(&*seed) else {
            unreachable!("ring refused a seed")
        };
        Self(Box::new(pair))
    }

    /// What verifies.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; PUBLIC_KEY_BYTES];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(bytes)
    }

    /// Signs where a trail is.
    #[must_use]
    pub fn sign(&self, tenant: &TenantId, link: Link, at: Timestamp) -> Checkpoint {
        let signature = BASE64_STANDARD.encode(self.0.sign(message(tenant, &link, at).as_bytes()));
        Checkpoint { link, at, key_id: self.public().id(), signature }
    }
}

impl fmt::Debug for CheckpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The public half of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; PUBLIC_KEY_BYTES]);

impl PublicKey {
    /// What all ids begin with.
    pub const ID_PREFIX: &str = "apk_";

    /// What it is called: the head of its hash, so that an id can name no other key.
    #[must_use]
    pub fn id(&self) -> String {
        let hash = Sha256::digest(self.0);
        format!("{}{}", Self::ID_PREFIX, HEXLOWER.encode(hash.get(..16).unwrap_or(&hash)))
    }

    /// Whether it verifies the signature of a checkpoint of this tenant.
    fn verifies(&self, tenant: &TenantId, checkpoint: &Checkpoint) -> bool {
        let Ok(signature) = BASE64_STANDARD.decode(&checkpoint.signature) else { return false };
        let message = message(tenant, &checkpoint.link, checkpoint.at);
        UnparsedPublicKey::new(&ED25519, self.0).verify(message.as_bytes(), &signature).is_ok()
    }
}

/// In base64.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_STANDARD.encode(self.0))
    }
}

impl FromStr for PublicKey {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let bytes = BASE64_STANDARD.decode(text).map_err(|_| ())?;
        bytes.try_into().map(Self).map_err(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(id: &str) -> TenantId {
        id.parse().unwrap()
    }

    #[test]
    fn only_what_was_signed_fits() {
        let (key, other) = (CheckpointKey::from_secret("one"), CheckpointKey::from_secret("two"));
        let (hash, rewritten) = ("ab".repeat(32), "cd".repeat(32));
        let link = Link { seq: 12, hash: hash.clone() };
        let signed = key.sign(&tenant("acme"), link, Timestamp::from_secs(1000));
        let both = [other.public(), key.public()];
        let later = Checkpoint { at: Timestamp::from_secs(1001), ..signed.clone() };
        let moved = Checkpoint { link: Link { seq: 13, hash: hash.clone() }, ..signed.clone() };
        let replaced = Checkpoint { link: Link { seq: 12, hash: rewritten.clone() }, ..signed.clone() };
        let renamed = Checkpoint { key_id: other.public().id(), ..signed.clone() };
        let malformed = Checkpoint { signature: "no base64".into(), ..signed.clone() };
        for (name, owner, checkpoint, hash, keys, expected) in [
            ("as signed", "acme", &signed, &hash, &both[..], Ok(())),
            ("after a rotation", "acme", &signed, &hash, &both[1..], Ok(())),
            ("another entry", "acme", &signed, &rewritten, &both, Err(Flaw::Rewritten)),
            ("another trail", "other", &signed, &hash, &both, Err(Flaw::Forged)),
            ("another time", "acme", &later, &hash, &both, Err(Flaw::Forged)),
            ("another number", "acme", &moved, &hash, &both, Err(Flaw::Forged)),
            ("made to fit", "acme", &replaced, &rewritten, &both, Err(Flaw::Forged)),
            ("another key's name", "acme", &renamed, &hash, &both, Err(Flaw::Forged)),
            ("no signature", "acme", &malformed, &hash, &both, Err(Flaw::Forged)),
            ("an unknown key", "acme", &signed, &hash, &both[..1], Err(Flaw::Forged)),
        ] {
            assert_eq!(checkpoint.check(&tenant(owner), hash, keys), expected, "{name}");
        }
    }

    #[test]
    fn public_keys_are_read_back() {
        let key = CheckpointKey::from_secret("one").public();
        assert_eq!(key.to_string().parse(), Ok(key));
        assert!(key.id().len() == 36 && key.id() != CheckpointKey::from_secret("two").public().id());
        for text in ["", "x", "AAAA"] {
            assert_eq!(text.parse::<PublicKey>(), Err(()), "{text}");
        }
    }
}
