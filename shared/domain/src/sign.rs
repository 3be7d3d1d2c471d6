//! Outgoing signatures: Standard Webhooks 1.0.0, schemes `v1` (HMAC-SHA256) and `v1a` (ed25519).
//!
//! Source: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.
//! It leaves open how an ed25519 secret is laid out within its base64; svix-server, the one
//! server that had `v1a` before us, says "private key and public key", 64 bytes
//! (<https://github.com/svix/svix-webhooks#asymmetric-signatures>). So does this file.

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
            // ed25519 reads its message twice, so it wants it whole.
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
mod tests {
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    /// The key pair of svix-server's documentation and tests.
    const SVIX_PRIVATE: &str =
        "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
    const SVIX_PUBLIC: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";

    fn hex(text: &str) -> Vec<u8> {
        let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(digits).collect()
    }

    fn of(prefix: &str, bytes: usize) -> String {
        encoded(prefix, &vec![1; bytes])
    }

    /// The vector that the reference libraries of Standard Webhooks share in their tests.
    #[test]
    fn signs_v1_like_the_reference_libraries() {
        let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature =
            key.sign_text("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(key.public_key(), None);
    }

    /// The same message under `v1a`, as svix-server's tests have it; the specification shows this
    /// signature as its example.
    #[test]
    fn signs_v1a_like_svix_server() {
        let key = SigningKey::parse(SVIX_PRIVATE).unwrap();
        let signature =
            key.sign_text("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(
            signature,
            "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
        );
        assert_eq!(key.public_key().unwrap(), SVIX_PUBLIC);
    }

    /// RFC 8032, section 7.1, TEST 1 to 3: seed, public key, message, signature.
    #[test]
    fn ed25519_is_that_of_rfc_8032() {
        let vectors = [
            (
                "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
                "",
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
            ),
            (
                "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
                "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
                "72",
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
            ),
            (
                "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
                "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
                "af82",
                "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
            ),
        ];
        for (seed, public, message, signature) in vectors {
            let key = SigningKey::ed25519_from_seed(hex(seed).try_into().unwrap());
            assert_eq!(key.public_key().unwrap(), encoded(PUBLIC, &hex(public)));
            let Kind::Ed25519(_, pair) = &key.0 else { panic!("another kind") };
            assert_eq!(pair.sign(&hex(message)).as_ref(), hex(signature));
        }
    }

    #[test]
    fn reads_back_what_it_shows() {
        for key in [SigningKey::from_random([7; 24]), SigningKey::ed25519_from_seed([7; SEED])] {
            let text = key.to_secret();
            let read = SigningKey::parse(text.expose()).unwrap();
            assert_eq!(read.to_secret(), text);
            assert_eq!(read.public_key(), key.public_key());
            assert_eq!(read.sign_text("evt", 1, b"{}"), key.sign_text("evt", 1, b"{}"));
            assert_eq!(format!("{key:?}"), "[redacted]");
        }
        // The seed alone is the same key, and is shown with its public key.
        assert_eq!(SigningKey::parse(SVIX_PRIVATE).unwrap().to_secret().expose(), SVIX_PRIVATE);
        let seed = encoded(PRIVATE, &decoded(&SVIX_PRIVATE[PRIVATE.len()..]).unwrap()[..SEED]);
        assert_eq!(SigningKey::parse(&seed).unwrap().to_secret().expose(), SVIX_PRIVATE);
    }

    #[test]
    fn one_signature_per_key_in_their_order() {
        let keys = [
            SigningKey::ed25519_from_seed([1; SEED]),
            SigningKey::from_random([2; 24]),
            SigningKey::from_random([3; 24]),
        ];
        let id = EventId::new(Timestamp::from_millis(1), [0; 10]);
        let at = Timestamp::from_millis(1_700_000_000_999);
        let header = signature_header(&keys, id, at, b"{}");
        let signatures: Vec<_> = header.split(' ').collect();
        assert_eq!(signatures.len(), 3);
        for (key, signature) in keys.iter().zip(&signatures) {
            assert_eq!(key.sign(id, at, b"{}"), **signature);
        }
        assert!(signatures[1].starts_with("v1,"));
        // Any verifier that has the public key agrees.
        let public = decoded(&keys[0].public_key().unwrap()[PUBLIC.len()..]).unwrap();
        let signature = decoded(signatures[0].strip_prefix("v1a,").unwrap()).unwrap();
        let signed = format!("{id}.1700000000.{{}}");
        UnparsedPublicKey::new(&ED25519, &*public).verify(signed.as_bytes(), &signature).unwrap();
        assert_eq!(signature_header::<SigningKey>(&[], id, at, b"{}"), "");
    }

    #[test]
    fn refuses_what_is_no_key() {
        let wrong_half = encoded(PRIVATE, &[[1; SEED], [2; SEED]].concat());
        let svix = SVIX_PRIVATE.replace("whsk_", "");
        let refused = [
            "",
            "whsec_",
            "whsk_",
            "whsec_!!",
            "whsk_!!",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            " whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n",
            "WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_\u{fc}",
            &of(SYMMETRIC, 23),
            &of(SYMMETRIC, 65),
            &of(PRIVATE, 31),
            &of(PRIVATE, 33),
            &of(PRIVATE, 63),
            &of(PRIVATE, 65),
            &of(PRIVATE, 96),
            &wrong_half,
            &svix,
            // Without its padding, as svix-server refuses it too.
            SVIX_PRIVATE.trim_end_matches('='),
            SVIX_PUBLIC,
            &SVIX_PUBLIC.replace("whpk_", "whsk_ "),
        ];
        for text in refused {
            assert!(SigningKey::parse(text).is_err(), "{text}");
        }
        for text in [of(SYMMETRIC, 24), of(SYMMETRIC, 64), of(PRIVATE, 32)] {
            assert!(SigningKey::parse(&text).is_ok(), "{text}");
        }
    }
}
