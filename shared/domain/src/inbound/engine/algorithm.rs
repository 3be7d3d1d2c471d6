//! The algorithms: whether a key makes a signature over these pieces.

use hmac::{Hmac, KeyInit, Mac};
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::scheme::Algorithm;

/// A piece of the signed bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Bytes of the request.
    Borrowed(&'a [u8]),
    /// A text made of the request.
    Made(String),
    /// The place of the secret.
    Secret,
}

impl Piece<'_> {
    pub(super) fn bytes<'b>(&'b self, key: &'b [u8]) -> &'b [u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Made(text) => text.as_bytes(),
            Self::Secret => key,
        }
    }
}

/// The signature that `key` makes over `pieces`; `None` for an algorithm whose signatures we cannot make.
pub(super) fn sign(algorithm: Algorithm, key: &[u8], pieces: &[Piece<'_>]) -> Option<Vec<u8>> {
    match algorithm {
        Algorithm::HmacSha256 => {
            // HMAC takes keys of any length.
            let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
            for piece in pieces {
                mac.update(piece.bytes(key));
            }
            Some(mac.finalize().into_bytes().to_vec())
        }
        Algorithm::HmacSha1 => {
            let key_of_hmac = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
            let mut mac = ring::hmac::Context::with_key(&key_of_hmac);
            for piece in pieces {
                mac.update(piece.bytes(key));
            }
            Some(mac.sign().as_ref().to_vec())
        }
        Algorithm::Sha256 => {
            let mut hash = Sha256::new();
            for piece in pieces {
                hash.update(piece.bytes(key));
            }
            Some(hash.finalize().to_vec())
        }
        _ => None,
    }
}

/// Whether `key` makes one of `signatures` over `pieces`. Every signature is compared, in constant time.
pub(super) fn matches(algorithm: Algorithm, key: &[u8], pieces: &[Piece<'_>], signatures: &[&[u8]]) -> bool {
    let any_equal = |expected: &[u8]| {
        signatures.iter().fold(false, |matched, signature| matched | bool::from(expected.ct_eq(signature)))
    };
    match algorithm {
        Algorithm::HmacSha256 | Algorithm::HmacSha1 | Algorithm::Sha256 => {
            sign(algorithm, key, pieces).is_some_and(|expected| any_equal(&expected))
        }
        Algorithm::Token | Algorithm::Basic => any_equal(key),
        Algorithm::EcdsaP256Sha256 => is_signed(&signature::ECDSA_P256_SHA256_ASN1, key, pieces, signatures),
        Algorithm::Ed25519 => is_signed(&signature::ED25519, key, pieces, signatures),
        Algorithm::RsaSha256 => is_signed(&signature::RSA_PKCS1_2048_8192_SHA256, key, pieces, signatures),
        // It has no key of its own; see `jws`.
        Algorithm::JwsRs256 => false,
    }
}

fn is_signed(
    algorithm: &'static dyn VerificationAlgorithm,
    key: &[u8],
    pieces: &[Piece<'_>],
    signatures: &[&[u8]],
) -> bool {
    let message = pieces.iter().map(|piece| piece.bytes(key)).collect::<Vec<_>>().concat();
    let key = UnparsedPublicKey::new(algorithm, key);
    signatures.iter().fold(false, |matched, signature| matched | key.verify(&message, signature).is_ok())
}
