//! Signed tokens (JWT): `id_token`s of providers verified, assertions for providers signed.
//!
//! Signatures alone: what the claims of a token mean is decided in `domain`, with our clock, while the library's checks use
//! the machine's. The algorithm is one that the caller lists, never one that the token chose: `none` and the HMAC
//! algorithms have no name here (RFC 8725, sections 3.1 and 3.2).

mod assertion;
mod provider;
mod public_keys;

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, Validation, errors::ErrorKind};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Map, Value};
use strum::{Display, EnumString};

pub use self::{
    assertion::{Es256Key, KeyError, apple_client_secret, client_assertion},
    public_keys::{Jwks, MalformedKeys},
};

/// The longest token that is verified: a few KB with many claims, and no request holds more.
const LONGEST_TOKEN: usize = 64 * 1024;

/// The algorithms of signatures, by their names in RFC 7518, section 3.1, and RFC 8037.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, Display)]
pub enum SigningAlgorithm {
    /// RSA PKCS #1 v1.5 with SHA-256, which every `OpenID` provider supports.
    #[strum(serialize = "RS256")]
    Rs256,
    /// The same with SHA-384.
    #[strum(serialize = "RS384")]
    Rs384,
    /// The same with SHA-512.
    #[strum(serialize = "RS512")]
    Rs512,
    /// RSA PSS with SHA-256.
    #[strum(serialize = "PS256")]
    Ps256,
    /// The same with SHA-384.
    #[strum(serialize = "PS384")]
    Ps384,
    /// The same with SHA-512.
    #[strum(serialize = "PS512")]
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    #[strum(serialize = "ES256")]
    Es256,
    /// ECDSA on P-384 with SHA-384.
    #[strum(serialize = "ES384")]
    Es384,
    /// Ed25519.
    #[strum(serialize = "EdDSA")]
    EdDsa,
}

impl From<SigningAlgorithm> for Algorithm {
    fn from(algorithm: SigningAlgorithm) -> Self {
        match algorithm {
            SigningAlgorithm::Rs256 => Self::RS256,
            SigningAlgorithm::Rs384 => Self::RS384,
            SigningAlgorithm::Rs512 => Self::RS512,
            SigningAlgorithm::Ps256 => Self::PS256,
            SigningAlgorithm::Ps384 => Self::PS384,
            SigningAlgorithm::Ps512 => Self::PS512,
            SigningAlgorithm::Es256 => Self::ES256,
            SigningAlgorithm::Es384 => Self::ES384,
            SigningAlgorithm::EdDsa => Self::EdDSA,
        }
    }
}

/// Why the claims of a token cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenError {
    /// It is not a JWT in compact form.
    Malformed,
    /// It uses another algorithm than those listed, or an extension that must be understood (`crit`).
    Unsupported,
    /// The set has no key of this name for this algorithm: the provider may have changed its keys.
    UnknownKey,
    /// The signature is not one of that key.
    InvalidSignature,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the token is malformed",
            Self::Unsupported => "the token's algorithm is not allowed",
            Self::UnknownKey => "the provider has not published the token's key",
            Self::InvalidSignature => "the token's signature is invalid",
        })
    }
}

impl std::error::Error for TokenError {}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<IgnoredAny>,
}

/// The claims of a token that one of these keys signed with one of these algorithms. **Nothing of the claims is checked**:
/// neither when it expires, nor whom it is for.
///
/// A token without a `kid` is tried with every key that fits its algorithm: some providers name none.
///
/// # Errors
/// [`TokenError`]. After [`TokenError::UnknownKey`], and once after an invalid signature, newer keys may help.
pub fn verify_id_token(
    token: &str,
    keys: &Jwks,
    algorithms: &[SigningAlgorithm],
) -> Result<Map<String, Value>, TokenError> {
    if token.len() > LONGEST_TOKEN {
        return Err(TokenError::Malformed);
    }
    let header = header(token).ok_or(TokenError::Malformed)?;
    let algorithm = header.alg.parse().ok().filter(|algorithm| algorithms.contains(algorithm));
    let Some(algorithm) = algorithm.filter(|_| header.crit.is_none()) else {
        return Err(TokenError::Unsupported);
    };
    let validation = signature_only(algorithm);
    provider::install();
    let mut outcome = Err(TokenError::UnknownKey);
    for key in keys.candidates(algorithm, header.kid.as_deref()) {
        match jsonwebtoken::decode(token, key, &validation) {
            Ok(token) => return Ok(token.claims),
            Err(error) => {
                outcome = Err(match error.kind() {
                    ErrorKind::InvalidSignature => TokenError::InvalidSignature,
                    _ => TokenError::Malformed,
                });
            }
        }
    }
    outcome
}

fn header(token: &str) -> Option<Header> {
    let mut parts = token.split('.');
    let (header, _, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else {
        return None;
    };
    serde_json::from_slice(&BASE64URL_NOPAD.decode(header.as_bytes()).ok()?).ok()
}

/// The library's checks of claims, off: they use the machine's clock.
fn signature_only(algorithm: SigningAlgorithm) -> Validation {
    let mut validation = Validation::new(algorithm.into());
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    validation
}

#[cfg(test)]
pub(super) mod tests;
