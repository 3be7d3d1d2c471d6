//! An account of a provider: whose events they are, in the provider's terms.

use std::{fmt, str::FromStr};

use crate::text::serde_as_text;

/// The longest id, in bytes.
pub(super) const LENGTH_LIMIT: usize = 100;

/// A provider's id of an account, such as `acct_1032D82eZvKYlo2C` of Stripe Connect: what providers use as ids, and
/// nothing that a path would have to escape.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProviderAccount(String);

/// The text is no account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidAccount;

impl fmt::Display for InvalidAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "must be 1 to {LENGTH_LIMIT} letters, digits and the characters . _ : -")
    }
}

impl std::error::Error for InvalidAccount {}

impl fmt::Display for ProviderAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ProviderAccount {
    type Err = InvalidAccount;

    fn from_str(text: &str) -> Result<Self, InvalidAccount> {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
        if (1..=LENGTH_LIMIT).contains(&text.len()) && text.bytes().all(is_part) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidAccount)
        }
    }
}

serde_as_text!(
    ProviderAccount,
    {
        "pattern": "^[A-Za-z0-9._:-]{1,100}$",
        "description": "The provider's id of an account.",
        "examples": ["acct_1032D82eZvKYlo2C"],
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_needs_no_escapes() {
        let longest = "a".repeat(LENGTH_LIMIT);
        for (text, valid) in [
            ("acct_1032D82eZvKYlo2C", true),
            ("12345", true),
            ("shop.example.com", true),
            (&longest, true),
            (&format!("{longest}a"), false),
            ("", false),
            ("a/b", false),
            ("a#b", false),
            ("ä", false),
        ] {
            assert_eq!(text.parse::<ProviderAccount>().is_ok(), valid, "{text}");
        }
    }
}
