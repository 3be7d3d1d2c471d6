//! Outgoing signatures: Standard Webhooks 1.0.0, scheme `v1`.
//!
//! Source: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{EventId, Secret, Timestamp};

/// Header with the event's id, the same on every attempt.
pub const HEADER_ID: &str = "webhook-id";
/// Header with the attempt's time, in seconds since 1970.
pub const HEADER_TIMESTAMP: &str = "webhook-timestamp";
/// Header with one signature per active key, separated by spaces.
pub const HEADER_SIGNATURE: &str = "webhook-signature";

const PREFIX: &str = "whsec_";

/// A symmetric signing key of 24 to 64 bytes, the span that the specification allows.
pub struct SigningKey(Zeroizing<Vec<u8>>);

/// The text is not a signing key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidKey;

impl std::fmt::Display for InvalidKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("must be whsec_ and 24 to 64 bytes in base64")
    }
}

impl std::error::Error for InvalidKey {}

impl SigningKey {
    /// A fresh key. 24 bytes make 32 characters of base64 without padding, which every
    /// library decodes.
    #[must_use]
    pub fn from_random(random: [u8; 24]) -> Self {
        Self(Zeroizing::new(random.to_vec()))
    }

    /// Reads `whsec_…`.
    ///
    /// # Errors
    /// [`InvalidKey`] where the prefix, the base64 or the length is not right.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        let encoded = text.strip_prefix(PREFIX).ok_or(InvalidKey)?;
        let bytes = Zeroizing::new(BASE64_STANDARD.decode(encoded).map_err(|_| InvalidKey)?);
        if (24..=64).contains(&bytes.len()) { Ok(Self(bytes)) } else { Err(InvalidKey) }
    }

    /// The key as `whsec_…`, to store it and to show it to its owner.
    #[must_use]
    pub fn to_secret(&self) -> Secret {
        Secret::new(format!("{PREFIX}{}", BASE64_STANDARD.encode(&*self.0)))
    }

    /// Signs one attempt: `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`.
    #[must_use]
    pub fn sign(&self, id: EventId, at: Timestamp, body: &[u8]) -> String {
        self.sign_text(&id.to_string(), at.secs(), body)
    }

    fn sign_text(&self, id: &str, secs: i64, body: &[u8]) -> String {
        // HMAC takes keys of any length, so this cannot fail.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { unreachable!("HMAC refused a key") };
        mac.update(id.as_bytes());
        mac.update(format!(".{secs}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector that the reference libraries of Standard Webhooks share in their tests.
    #[test]
    fn signs_like_the_reference_libraries() {
        let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature =
            key.sign_text("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn reads_back_what_it_shows() {
        let key = SigningKey::from_random([7; 24]);
        let text = key.to_secret();
        assert_eq!(*SigningKey::parse(text.expose()).unwrap().0, *key.0);
        assert_eq!(format!("{key:?}"), "[redacted]");
    }

    #[test]
    fn refuses_what_is_no_key() {
        let of = |bytes: usize| format!("whsec_{}", BASE64_STANDARD.encode(vec![1; bytes]));
        for text in ["", "whsec_", "whsec_!!", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &of(23), &of(65)] {
            assert!(SigningKey::parse(text).is_err(), "{text}");
        }
        assert!(SigningKey::parse(&of(64)).is_ok());
    }
}
