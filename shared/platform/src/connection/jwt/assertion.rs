//! Assertions by which we authenticate ourselves to a provider instead of with a shared secret. Each is made for one call
//! and ends soon, so that there is none that can run out unnoticed.

use std::fmt;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use domain::{Secret, Timestamp};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use zeroize::Zeroizing;

use super::provider;
use crate::{Fault, runtime::clock};

/// How long an assertion is valid, in seconds: Apple allows six months, but a call takes seconds.
const LIFETIME_SECONDS: i64 = 5 * 60;
const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// Why a text is not a private key. What the text holds is never quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyError {
    /// The lines `-----BEGIN PRIVATE KEY-----` and `-----END PRIVATE KEY-----` are missing.
    NoArmour,
    /// It is another kind of key: a public, encrypted, RSA or SEC 1 key by its first line.
    OtherKind,
    /// What is between the lines is not base64.
    NotBase64,
    /// It is not a private key of P-256 with its public key.
    NotP256,
}

impl KeyError {
    /// What the text must be.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoArmour => {
                "the key must be the whole file, from `-----BEGIN PRIVATE KEY-----` to `-----END PRIVATE KEY-----`"
            }
            Self::OtherKind => "the key must be an unencrypted private key in PKCS #8 (`BEGIN PRIVATE KEY`)",
            Self::NotBase64 => "the lines between BEGIN and END are not base64",
            Self::NotP256 => "the key is not a private key of the curve P-256 (ES256)",
        }
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for KeyError {}

/// A private key of P-256 and its name. It is wiped when dropped, and `Debug` shows nothing of it.
#[derive(Debug, Clone)]
pub struct Es256Key {
    id: Option<String>,
    key: EncodingKey,
}

impl Es256Key {
    /// Reads a key in PEM (RFC 7468) with PKCS #8 (RFC 5958), as Apple's `.p8` files are. `id` is the `kid` of assertions.
    /// Line breaks may be missing or written as `\n`, as they are after a form or an environment variable.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_pem(pem: &str, id: Option<String>) -> Result<Self, KeyError> {
        let (_, rest) = pem.split_once(BEGIN).ok_or_else(|| {
            if pem.contains("-----BEGIN ") { KeyError::OtherKind } else { KeyError::NoArmour }
        })?;
        let (text, _) = rest.split_once(END).ok_or(KeyError::NoArmour)?;
        let mut base64 = Zeroizing::new(Vec::with_capacity(text.len()));
        for part in text.split("\\n").flat_map(str::split_ascii_whitespace) {
            base64.extend_from_slice(part.as_bytes());
        }
        let der = Zeroizing::new(BASE64.decode(&base64).map_err(|_| KeyError::NotBase64)?);
        provider::es256_pair(&der).ok_or(KeyError::NotP256)?;
        Ok(Self { id, key: EncodingKey::from_ec_der(&der) })
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
}

/// Apple's client secret: <https://developer.apple.com/documentation/accountorganizationaldatasharing/creating-a-client-secret>.
/// `audience` is the issuer, which is `https://appleid.apple.com` at Apple.
///
/// # Errors
/// Where the system has no randomness.
pub fn apple_client_secret(
    key: &Es256Key,
    team_id: &str,
    client_id: &str,
    audience: &str,
    now: Timestamp,
) -> Result<Secret, Fault> {
    let (iat, exp) = (now.secs(), now.secs() + LIFETIME_SECONDS);
    sign(key, &Claims { iss: team_id, sub: client_id, aud: audience, iat, exp, jti: None })
}

/// The assertion of `private_key_jwt` (`OpenID` Connect Core, section 9; RFC 7523, section 3). `audience` is the token
/// endpoint, or the issuer where the provider says so. The `jti` is new each time, because an assertion can be used once.
///
/// # Errors
/// Where the system has no randomness.
pub fn client_assertion(
    key: &Es256Key,
    client_id: &str,
    audience: &str,
    now: Timestamp,
) -> Result<Secret, Fault> {
    let (iat, exp) = (now.secs(), now.secs() + LIFETIME_SECONDS);
    let jti = Some(BASE64URL_NOPAD.encode(&clock::random::<16>()?));
    sign(key, &Claims { iss: client_id, sub: client_id, aud: audience, iat, exp, jti })
}

fn sign(key: &Es256Key, claims: &Claims<'_>) -> Result<Secret, Fault> {
    provider::install();
    let header = Header { kid: key.id.clone(), ..Header::new(Algorithm::ES256) };
    let signed = jsonwebtoken::encode(&header, claims, &key.key);
    signed.map(Secret::new).map_err(Fault::on("signing an assertion"))
}
