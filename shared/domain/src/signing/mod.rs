//! Outgoing signatures: Standard Webhooks 1.0.0, schemes `v1` (HMAC-SHA256) and `v1a` (ed25519).
//!
//! Verifying what providers sign belongs to `inbound`, and storing keys to `platform`.
//!
//! Source: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.
//! It leaves open how an ed25519 secret is laid out within its base64; svix-server, the one
//! server that had `v1a` before us, says "private key and public key", 64 bytes
//! (<https://github.com/svix/svix-webhooks#asymmetric-signatures>). So does this file.

pub mod keys;

use std::borrow::Borrow;

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use ring::signature::{Ed25519KeyPair, KeyPair};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{EventId, Secret, Timestamp};

/// Header with the event's id, the same on every attempt.
pub const HEADER_ID: &str = "webhook-id";
/// Header with the attempt's time, in seconds since 1970.
pub const HEADER_TIMESTAMP: &str = "webhook-timestamp";
/// Header with one signature per active key, separated by spaces.
pub const HEADER_SIGNATURE: &str = "webhook-signature";
/// Svix's name for [`HEADER_ID`], for receivers that come from there
/// (<https://docs.svix.com/receiving/verifying-payloads/how-manual>); so are the next two.
pub const SVIX_HEADER_ID: &str = "svix-id";
/// Svix's name for [`HEADER_TIMESTAMP`].
pub const SVIX_HEADER_TIMESTAMP: &str = "svix-timestamp";
/// Svix's name for [`HEADER_SIGNATURE`]; the same value.
pub const SVIX_HEADER_SIGNATURE: &str = "svix-signature";

const SYMMETRIC: &str = "whsec_";
const PRIVATE: &str = "whsk_";
const PUBLIC: &str = "whpk_";

/// Bytes of an ed25519 seed, and as many of a public key (RFC 8032, section 5.1.5).
const SEED: usize = 32;

/// A signing key of either scheme.
pub struct SigningKey(Kind);

enum Kind {
    /// 24 to 64 bytes, the span that the specification allows.
    Symmetric(Zeroizing<Vec<u8>>),
    /// Seed and pair. The pair is made once, since making it costs as much as a signature; ring
    /// does not wipe what it derives from the seed.
    Ed25519(Zeroizing<[u8; SEED]>, Box<Ed25519KeyPair>),
}

/// The text is not a signing key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidKey;

impl std::fmt::Display for InvalidKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("must be whsec_ and 24 to 64 bytes in base64, or whsk_ and an ed25519 key pair in base64")
    }
}

impl std::error::Error for InvalidKey {}

impl SigningKey {
    /// A fresh key for `v1`. 24 bytes make 32 characters of base64 without padding, which every
    /// library decodes.
    #[must_use]
    pub fn from_random(random: [u8; 24]) -> Self {
        Self(Kind::Symmetric(Zeroizing::new(random.to_vec())))
    }

    /// The key pair of `v1a` that this seed makes; fresh where the seed is random.
    #[must_use]
    pub fn ed25519_from_seed(seed: [u8; SEED]) -> Self {
        let seed = Zeroizing::new(seed);
        // Any 32 bytes are a seed.
        let Ok(pair) = Ed25519KeyPair::from_seed_unchecked(&*seed) else {
            unreachable!("ring refused a seed")
        };
        Self(Kind::Ed25519(seed, Box::new(pair)))
    }

    /// Reads `whsec_…` or `whsk_…`. The latter holds the seed and its public key; the seed alone
    /// is read too, as other tools write it.
    ///
    /// # Errors
    /// [`InvalidKey`] where the prefix, the base64 or the length is not right, or the public key
    /// is another seed's.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        if let Some(encoded) = text.strip_prefix(SYMMETRIC) {
            let bytes = decoded(encoded)?;
            return if (24..=64).contains(&bytes.len()) {
                Ok(Self(Kind::Symmetric(bytes)))
            } else {
                Err(InvalidKey)
            };
        }
        let bytes = decoded(text.strip_prefix(PRIVATE).ok_or(InvalidKey)?)?;
        let (seed, public) = bytes.split_first_chunk::<SEED>().ok_or(InvalidKey)?;
        let key = Self::ed25519_from_seed(*seed);
        match &key.0 {
            Kind::Ed25519(_, pair) if public.is_empty() || public == pair.public_key().as_ref() => Ok(key),
            _ => Err(InvalidKey),
        }
    }

    /// The key as `whsec_…` or `whsk_…`, to store it and to show it to its owner.
    #[must_use]
    pub fn to_secret(&self) -> Secret {
        Secret::new(match &self.0 {
            Kind::Symmetric(bytes) => encoded(SYMMETRIC, bytes),
            Kind::Ed25519(seed, pair) => {
                encoded(PRIVATE, &Zeroizing::new([&seed[..], pair.public_key().as_ref()].concat()))
            }
        })
    }

    /// What a receiver of `v1a` verifies with, `whpk_…`; `v1` has no such key.
    #[must_use]
    pub fn public_key(&self) -> Option<String> {
        match &self.0 {
            Kind::Symmetric(_) => None,
            Kind::Ed25519(_, pair) => Some(encoded(PUBLIC, pair.public_key().as_ref())),
        }
    }

    /// Signs one attempt: `v1,` or `v1a,` and the base64 of the signature over
    /// `id.timestamp.body`.
    #[must_use]
    pub fn sign(&self, id: EventId, at: Timestamp, body: &[u8]) -> String {
        self.sign_text(&id.to_string(), at.secs(), body)
    }

    fn sign_text(&self, id: &str, secs: i64, body: &[u8]) -> String {
        let head = format!("{id}.{secs}.");
        match &self.0 {
            Kind::Symmetric(bytes) => {
                // HMAC takes keys of any length, so this cannot fail.
                let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(bytes) else {
                    unreachable!("HMAC refused a key")
                };
                mac.update(head.as_bytes());
                mac.update(body);
                encoded("v1,", &mac.finalize().into_bytes())
            }
            // ed25519 reads its message twice, so it needs the whole of it.
            Kind::Ed25519(_, pair) => encoded("v1a,", pair.sign(&[head.as_bytes(), body].concat()).as_ref()),
        }
    }
}

/// The value of [`HEADER_SIGNATURE`]: one signature per active key, in their order.
#[must_use]
pub fn signature_header<K: Borrow<SigningKey>>(
    keys: &[K],
    id: EventId,
    at: Timestamp,
    body: &[u8],
) -> String {
    let signatures: Vec<_> = keys.iter().map(|key| key.borrow().sign(id, at, body)).collect();
    signatures.join(" ")
}

fn decoded(encoded: &str) -> Result<Zeroizing<Vec<u8>>, InvalidKey> {
    BASE64_STANDARD.decode(encoded).map(Zeroizing::new).map_err(|_| InvalidKey)
}

fn encoded(prefix: &str, bytes: &[u8]) -> String {
    format!("{prefix}{}", *Zeroizing::new(BASE64_STANDARD.encode(bytes)))
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests;
