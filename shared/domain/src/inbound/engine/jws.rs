//! JWS in compact form with RS256, verified with a published set of keys.
//!
//! The algorithm is fixed: what the header of a JWS says can only be refused.
//!
//! Sources: RFC 7515 (JWS), RFC 7517 (JWK), RFC 7518, section 3.3 (RS256).

use data_encoding::BASE64URL_NOPAD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde::Deserialize;
use serde_json::value::RawValue;

/// A published set of keys. What is in it is not secret.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct KeySet {
    keys: Vec<PublicKey>,
}

#[derive(Debug, Clone, Deserialize)]
struct PublicKey {
    kty: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
}

/// The outcome for a JWS.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The signature is valid; these are the claims.
    Valid(Box<RawValue>),
    /// The text is no JWS.
    Malformed,
    /// It uses another algorithm, or an extension that must be understood.
    Unsupported,
    /// The set has no key of this name; the sender may have changed its keys.
    UnknownKey(String),
    /// The signature is not one of that key.
    Invalid,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    #[serde(default)]
    crit: Option<serde::de::IgnoredAny>,
}

/// Verifies a JWS with the key that it names.
pub(super) fn verify(text: &str, keys: &KeySet) -> Outcome {
    let Some((input, signature)) = text.rsplit_once('.') else { return Outcome::Malformed };
    let Some((header, claims)) = input.split_once('.') else { return Outcome::Malformed };
    let decoded = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).ok();
    let (Some(header), Some(claims), Some(signature)) =
        (decoded(header), decoded(claims), decoded(signature))
    else {
        return Outcome::Malformed;
    };
    let Ok(header) = serde_json::from_slice::<Header>(&header) else { return Outcome::Malformed };
    let Ok(claims) = serde_json::from_slice::<Box<RawValue>>(&claims) else { return Outcome::Malformed };
    if header.alg != "RS256" || header.crit.is_some() {
        return Outcome::Unsupported;
    }
    let usable = |key: &&PublicKey| key.kty == "RSA" && key.alg.as_ref().is_none_or(|alg| alg == "RS256");
    let named = keys.keys.iter().filter(usable).find(|key| key.kid.as_ref() == Some(&header.kid));
    let Some(key) = named else { return Outcome::UnknownKey(header.kid) };
    let (Some(n), Some(e)) = (decoded(&key.n), decoded(&key.e)) else { return Outcome::Invalid };
    match (RsaPublicKeyComponents { n, e }).verify(&RSA_PKCS1_2048_8192_SHA256, input.as_bytes(), &signature)
    {
        Ok(()) => Outcome::Valid(claims),
        Err(_) => Outcome::Invalid,
    }
}
