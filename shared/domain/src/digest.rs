//! Hashes under which secrets with enough randomness are kept, and texts of hexadecimal digits.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What is kept of a secret. A plain SHA-256 serves where it holds 256 random bits: there is no dictionary to try.
#[must_use]
pub fn hash(secret: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(secret))
}

/// Whether a text is the one of a hash, compared in constant time.
#[must_use]
pub fn is_of(text: &str, hashed: &str) -> bool {
    hash(text).as_bytes().ct_eq(hashed.as_bytes()).into()
}

/// Whether a text is so many hexadecimal digits, in lower case.
#[must_use]
pub(crate) fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
