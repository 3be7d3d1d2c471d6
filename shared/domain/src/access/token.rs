//! The text of an API key: how one is recognised, by us and by scanners, without a look at any table.
//!
//! `cwk_live_` or `cwk_test_`, 64 hexadecimal digits of randomness, and 8 more that are the beginning of the SHA-256 of
//! everything before them. So a typing error, a cut text and a key of another kind of deployment are found at once, and
//! a scanner for secrets reports hardly anything that is no key.

use data_encoding::HEXLOWER;

pub use crate::digest::hash;
use crate::{Secret, digest::is_hex, text::text_enum};

/// What every tenant's key begins with.
pub const PREFIX: &str = "cwk_";

/// A regular expression that matches every key and hardly anything else, for scanners.
pub const PATTERN: &str = "cwk_(live|test)_[0-9a-f]{72}";

/// Digits of randomness: 256 bits.
const RANDOM_DIGITS: usize = 64;
/// Digits of the checksum: 32 bits.
const CHECK_DIGITS: usize = 8;

text_enum! {
    /// The kind of deployment that a key is for. The other kind refuses it, so that a key of a test does not reach what
    /// is live.
    pub enum KeyMode {
        /// Production.
        Live = "live",
        /// Everything else.
        Test = "test",
    }
}

/// Why a text is no key of this deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFlaw {
    /// It is not written as a key is.
    Malformed,
    /// Its checksum does not fit.
    Checksum,
    /// It is for the other kind of deployment, which this is.
    OtherMode(KeyMode),
}

impl std::fmt::Display for KeyFlaw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed => {
                f.write_str("malformed API key; expected cwk_live_ or cwk_test_ and 72 digits")
            }
            Self::Checksum => f.write_str("malformed API key: a character is wrong or missing"),
            Self::OtherMode(mode) => write!(f, "this API key is for a {mode} deployment"),
        }
    }
}

/// A new key from 32 random bytes.
#[must_use]
pub fn from_random(mode: KeyMode, random: &[u8; 32]) -> Secret {
    let mut text = format!("{PREFIX}{mode}_");
    HEXLOWER.encode_append(random, &mut text);
    let check = checksum(&text);
    text.push_str(&check);
    Secret::new(text)
}

/// Whether a text can be a key of a deployment of this kind.
///
/// # Errors
/// Why it cannot.
pub fn check(token: &str, mode: KeyMode) -> Result<(), KeyFlaw> {
    let rest = token.strip_prefix(PREFIX).ok_or(KeyFlaw::Malformed)?;
    let (word, digits) = rest.split_once('_').ok_or(KeyFlaw::Malformed)?;
    let of_key: KeyMode = word.parse().map_err(|_| KeyFlaw::Malformed)?;
    if !is_hex(digits, RANDOM_DIGITS + CHECK_DIGITS) {
        return Err(KeyFlaw::Malformed);
    }
    let (text, check) = token.split_at(token.len() - CHECK_DIGITS);
    if checksum(text) != check {
        return Err(KeyFlaw::Checksum);
    }
    if of_key == mode { Ok(()) } else { Err(KeyFlaw::OtherMode(of_key)) }
}

fn checksum(text: &str) -> String {
    let mut digits = hash(text);
    digits.truncate(CHECK_DIGITS);
    digits
}

/// The last characters of a key, by which people recognise it.
#[must_use]
pub fn hint(key: &Secret) -> String {
    let text = key.expose();
    text.get(text.len().saturating_sub(4)..).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_recognised_by_their_hash() {
        // sha256("cwk_live_" and "ab" 32 times) begins with these digits.
        let key = from_random(KeyMode::Live, &[0xab; 32]);
        assert_eq!(key.expose(), format!("cwk_live_{}0f2d5f0d", "ab".repeat(32)));
        assert_eq!(hint(&key), "5f0d");
        assert_eq!(hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn a_text_that_is_no_key_is_refused_with_its_reason() {
        let key = from_random(KeyMode::Live, &[0xab; 32]);
        let key = key.expose();
        let other = key.replace("abab", "abac");
        let cut = &key[..key.len() - 1];
        for (token, mode, expected) in [
            (key, KeyMode::Live, Ok(())),
            (key, KeyMode::Test, Err(KeyFlaw::OtherMode(KeyMode::Live))),
            (&format!("cwk_{}", "ab".repeat(32)), KeyMode::Live, Err(KeyFlaw::Malformed)),
            (&other, KeyMode::Live, Err(KeyFlaw::Checksum)),
            (&other, KeyMode::Test, Err(KeyFlaw::Checksum)),
            (cut, KeyMode::Live, Err(KeyFlaw::Malformed)),
            (&format!("{key}0"), KeyMode::Live, Err(KeyFlaw::Malformed)),
            (&key.to_uppercase(), KeyMode::Live, Err(KeyFlaw::Malformed)),
            (&key.replace("live", "prod"), KeyMode::Live, Err(KeyFlaw::Malformed)),
            (&format!("cwk_live_{}", "ä".repeat(36)), KeyMode::Live, Err(KeyFlaw::Malformed)),
            ("cwk_", KeyMode::Live, Err(KeyFlaw::Malformed)),
            ("cwk_live_", KeyMode::Live, Err(KeyFlaw::Malformed)),
            ("", KeyMode::Live, Err(KeyFlaw::Malformed)),
        ] {
            assert_eq!(check(token, mode), expected, "{token}");
        }
    }

    proptest! {
        #[test]
        fn every_new_key_is_one(random in any::<[u8; 32]>(), is_live in any::<bool>()) {
            let mode = if is_live { KeyMode::Live } else { KeyMode::Test };
            let key = from_random(mode, &random);
            prop_assert_eq!(check(key.expose(), mode), Ok(()));
        }

        #[test]
        fn any_text_can_be_checked(token in "(cwk_)?(live_|test_)?\\PC{0,90}") {
            prop_assert!(check(&token, KeyMode::Live).is_err());
        }
    }
}
