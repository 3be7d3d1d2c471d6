//! A set of public keys as providers publish it (RFC 7517, RFC 7518 section 6, RFC 8037).

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{
    DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;

use super::SigningAlgorithm;

/// The document is not a set of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MalformedKeys;

impl fmt::Display for MalformedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the document is not a set of keys")
    }
}

impl std::error::Error for MalformedKeys {}

/// The keys of a provider that can verify a signature.
#[derive(Debug, Clone, Default)]
pub struct Jwks(Vec<PublicKey>);

#[derive(Debug, Clone)]
struct PublicKey {
    id: Option<String>,
    /// The only algorithm that it may be used for, if it names one.
    algorithm: Option<KeyAlgorithm>,
    kind: KeyKind,
    key: DecodingKey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyKind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Jwks {
    /// Reads a document. A key that is malformed, or not for signatures, is left out: it must not cost the others.
    ///
    /// # Errors
    /// Where the document is not a set of keys.
    pub fn parse(document: &[u8]) -> Result<Self, MalformedKeys> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<Value>,
        }
        let document: Document = serde_json::from_slice(document).map_err(|_| MalformedKeys)?;
        let keys = document.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok());
        Ok(Self(keys.filter_map(|key: Jwk| PublicKey::of(&key)).collect()))
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys for this algorithm: those of this name, or all where the token names none.
    pub(super) fn candidates(
        &self,
        algorithm: SigningAlgorithm,
        id: Option<&str>,
    ) -> impl Iterator<Item = &DecodingKey> {
        let is_named = move |key: &&PublicKey| id.is_none_or(|id| key.id.as_deref() == Some(id));
        let keys = self.0.iter().filter(move |key| key.fits(algorithm));
        keys.filter(is_named).map(|key| &key.key)
    }
}

impl PublicKey {
    fn of(key: &Jwk) -> Option<Self> {
        let common = &key.common;
        let verifies =
            common.public_key_use.as_ref().is_none_or(|purpose| *purpose == PublicKeyUse::Signature)
                && common
                    .key_operations
                    .as_ref()
                    .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
        if !verifies {
            return None;
        }
        let (kind, public) = match &key.algorithm {
            AlgorithmParameters::RSA(rsa) => {
                (KeyKind::Rsa, DecodingKey::from_rsa_raw_components(&integer(&rsa.n)?, &integer(&rsa.e)?))
            }
            AlgorithmParameters::EllipticCurve(point) => {
                let (kind, size) = match point.curve {
                    EllipticCurve::P256 => (KeyKind::P256, 32),
                    EllipticCurve::P384 => (KeyKind::P384, 48),
                    _ => return None,
                };
                // SEC 1, section 2.3.3: uncompressed.
                let bytes = [vec![4], coordinate(&point.x, size)?, coordinate(&point.y, size)?].concat();
                (kind, DecodingKey::from_ec_der(&bytes))
            }
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
                (KeyKind::Ed25519, DecodingKey::from_ed_der(&coordinate(&pair.x, 32)?))
            }
            // Secret keys above all: with one, anyone who reads the document could sign.
            _ => return None,
        };
        Some(Self { id: common.key_id.clone(), algorithm: common.key_algorithm, kind, key: public })
    }

    fn fits(&self, algorithm: SigningAlgorithm) -> bool {
        let kind = match algorithm {
            SigningAlgorithm::Es256 => KeyKind::P256,
            SigningAlgorithm::Es384 => KeyKind::P384,
            SigningAlgorithm::EdDsa => KeyKind::Ed25519,
            _ => KeyKind::Rsa,
        };
        let algorithm = KeyAlgorithm::from(jsonwebtoken::Algorithm::from(algorithm));
        self.kind == kind && self.algorithm.is_none_or(|own| own == algorithm)
    }
}

/// The bytes of a positive number without leading zeros, which some providers publish and ring refuses.
fn integer(text: &str) -> Option<Vec<u8>> {
    let bytes = BASE64URL_NOPAD.decode(text.trim_end_matches('=').as_bytes()).ok()?;
    let first = bytes.iter().position(|byte| *byte != 0)?;
    Some(bytes[first..].to_vec())
}

/// The bytes of a coordinate of this size.
fn coordinate(text: &str, size: usize) -> Option<Vec<u8>> {
    let bytes = BASE64URL_NOPAD.decode(text.trim_end_matches('=').as_bytes()).ok()?;
    (bytes.len() == size).then_some(bytes)
}
