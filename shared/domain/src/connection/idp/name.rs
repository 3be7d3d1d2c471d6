//! Names of identity providers.

use std::{fmt, str::FromStr};

use crate::text::serde_as_text;

/// The name of an identity provider within a tenant, part of its redirect URI.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdpName(String);

/// The text is no name of an identity provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidIdpName;

impl fmt::Display for InvalidIdpName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be 1 to 40 of a-z 0-9 - that start with a letter")
    }
}

impl std::error::Error for InvalidIdpName {}

impl IdpName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdpName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for IdpName {
    type Err = InvalidIdpName;

    fn from_str(text: &str) -> Result<Self, InvalidIdpName> {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let starts = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        // The first part of the path of a link for browsers; see the routes of the function `oauth`.
        let is_reserved = text == "connect" || text == "notifications";
        if starts && text.len() <= 40 && text.bytes().all(known) && !is_reserved {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidIdpName)
        }
    }
}

serde_as_text!(
    IdpName,
    {
        "pattern": "^[a-z][a-z0-9-]{0,39}$",
        "description": "The name of an identity provider.",
        "examples": ["google"],
    }
);
