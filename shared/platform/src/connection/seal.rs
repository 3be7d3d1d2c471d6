//! Tokens in rows are sealed with AES-256-GCM, by a key of their tenant.
//!
//! A tenant's key is derived from a master key (HKDF-SHA256, RFC 5869), so that no secret has to be read per tenant. What
//! a value belongs to is authenticated with it (NIST SP 800-38D, additional data): a row copied to another tenant,
//! connection, generation or field cannot be opened there. Nonces are 96 random bits, as that standard's section 8.2.2
//! allows for up to 2^32 values of one key.

use std::{collections::BTreeMap, fmt};

use data_encoding::BASE64URL_NOPAD;
use domain::{Secret, TenantId};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Salt},
};
use zeroize::Zeroizing;

use crate::{Fault, runtime::clock};

const VERSION: &str = "v1";
/// Distinguishes these keys from others that may be derived from the same secret. A change makes every value unreadable.
const SALT: &[u8] = b"core-webhooks/seal/v1";
/// The field of the document that names the key for new values.
const CURRENT: &str = "current";
/// Fewer characters than 32 random ones have less than 128 bits even in hexadecimal.
const SHORTEST_KEY: usize = 32;
const LONGEST_KEY_ID: usize = 32;
const SEALING: &str = "sealing a value";

/// What a value belongs to. It can be opened only for the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealContext<'a> {
    /// The connection's id.
    pub connection: &'a str,
    /// The connection's generation.
    pub generation: u64,
    /// The field of the row.
    pub field: &'a str,
}

/// Why a value cannot be opened. All have one text, because the difference is of use only to an attacker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenError {
    /// It is not a sealed value.
    Malformed,
    /// There is no key of this id. It may have been added since the keys were read.
    UnknownKey(String),
    /// It was sealed with another key or for another context, or was changed.
    WrongBinding,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the sealed value cannot be opened")
    }
}

impl std::error::Error for OpenError {}

/// The master keys: the current one seals, all of them open.
#[derive(Debug)]
pub struct Seals {
    current: String,
    keys: BTreeMap<String, Secret>,
}

impl Seals {
    /// Reads the secret's document, `{"current": "k1", "k1": "…"}`.
    ///
    /// The form is flat, because `GenerateSecretString` of `CloudFormation` can add one field to a template and no object. A
    /// key is text of at least 32 characters: what a generator makes, or base64 of random bytes. Its bytes are the input
    /// of HKDF, so its alphabet does not matter. An operator rotates by adding `k2` and, a little later, setting
    /// `current` to it.
    ///
    /// # Errors
    /// Where the document has another form. The fault quotes nothing of it.
    pub fn parse(document: &str) -> Result<Self, Fault> {
        let malformed = |why| Fault::new("reading the sealing keys", why);
        let keys: Result<BTreeMap<String, Secret>, _> = serde_json::from_str(document);
        let mut keys = keys.map_err(|_| malformed("the secret is not a JSON object of strings"))?;
        let current =
            keys.remove(CURRENT).ok_or_else(|| malformed("the secret does not name its current key"))?;
        let current = current.expose().to_owned();
        if !keys.contains_key(&current) {
            return Err(malformed("the secret lacks its current key"));
        }
        if !keys.keys().all(|id| is_key_id(id)) {
            return Err(malformed("a key's id is not 1 to 32 of a-z A-Z 0-9 - _"));
        }
        if keys.values().any(|key| key.expose().len() < SHORTEST_KEY) {
            return Err(malformed("a key has fewer than 32 characters"));
        }
        Ok(Self { current, keys })
    }

    /// Seals `plain` with the current key, as `v1.KEY_ID.BASE64URL(nonce, ciphertext, tag)`.
    ///
    /// # Errors
    /// Where the system has no randomness.
    pub fn seal(&self, tenant: &TenantId, context: SealContext<'_>, plain: &[u8]) -> Result<String, Fault> {
        let nonce: [u8; NONCE_LEN] = clock::random()?;
        let key = self.key(&self.current, tenant).ok_or_else(|| Fault::new(SEALING, "there is no key"))?;
        // Encrypted in place and grown no more, so that no copy of the plain text is left behind.
        let mut text = Vec::with_capacity(plain.len() + AES_256_GCM.tag_len());
        text.extend_from_slice(plain);
        let aad = Aad::from(bound(&self.current, tenant, context));
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut text)
            .map_err(|_| Fault::new(SEALING, "the value is too long"))?;
        let body = BASE64URL_NOPAD.encode(&[&nonce[..], &text].concat());
        Ok(format!("{VERSION}.{}.{body}", self.current))
    }

    /// Opens what [`Seals::seal`] made for the same tenant and context.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        &self,
        tenant: &TenantId,
        context: SealContext<'_>,
        sealed: &str,
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let mut parts = sealed.split('.');
        let (Some(VERSION), Some(id), Some(body), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(OpenError::Malformed);
        };
        if !is_key_id(id) {
            return Err(OpenError::Malformed);
        }
        let body = BASE64URL_NOPAD.decode(body.as_bytes()).map_err(|_| OpenError::Malformed)?;
        let Some((nonce, text)) = body.split_first_chunk::<NONCE_LEN>() else {
            return Err(OpenError::Malformed);
        };
        if text.len() < AES_256_GCM.tag_len() {
            return Err(OpenError::Malformed);
        }
        let key = self.key(id, tenant).ok_or_else(|| OpenError::UnknownKey(id.to_owned()))?;
        let mut text = Zeroizing::new(text.to_vec());
        let aad = Aad::from(bound(id, tenant, context));
        let opened = key.open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut text);
        let length = opened.map_err(|_| OpenError::WrongBinding)?.len();
        text.truncate(length);
        Ok(text)
    }

    /// A tenant's key, or none where there is no master key of this id.
    fn key(&self, id: &str, tenant: &TenantId) -> Option<LessSafeKey> {
        let master = self.keys.get(id)?;
        let extracted = Salt::new(HKDF_SHA256, SALT).extract(master.expose().as_bytes());
        let info = [tenant.as_str().as_bytes()];
        let key = UnboundKey::from(extracted.expand(&info, &AES_256_GCM).ok()?);
        Some(LessSafeKey::new(key))
    }
}

fn is_key_id(id: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=LONGEST_KEY_ID).contains(&id.len()) && id.bytes().all(is_allowed)
}

/// What is authenticated with a value. Each part begins with its length, so that no two contexts have the same bytes.
fn bound(key_id: &str, tenant: &TenantId, context: SealContext<'_>) -> Vec<u8> {
    let generation = context.generation.to_be_bytes();
    let SealContext { connection, field, .. } = context;
    let texts = [VERSION, key_id, tenant.as_str(), connection, field].map(str::as_bytes);
    let mut bytes = Vec::new();
    for part in texts.into_iter().chain([&generation[..]]) {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

#[cfg(test)]
pub(super) mod tests;
