//! Names of APIs and of their calls, as paths have them.

use std::{fmt, str::FromStr};

use super::{CallRow, Integration};
use crate::{
    client::apis::{brevo, stripe},
    text::{serde_as_text, text_enum},
};

text_enum! {
    /// An API whose calls a CRM can make.
    #[schemars(extend("examples" = ["stripe"]))]
    pub enum IntegrationName {
        /// Brevo.
        Brevo = "brevo",
        /// Stripe.
        Stripe = "stripe",
    }
}

impl IntegrationName {
    /// Its row.
    #[must_use]
    pub fn row(self) -> &'static Integration {
        match self {
            Self::Brevo => &brevo::INTEGRATION,
            Self::Stripe => &stripe::INTEGRATION,
        }
    }
}

/// The name of a call, such as `customers.get`.
#[derive(Clone, PartialEq, Eq)]
pub struct CallName(String);

/// The text is no name of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidCallName;

impl fmt::Display for InvalidCallName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be two words of a-z and _, with a dot between them")
    }
}

impl std::error::Error for InvalidCallName {}

impl CallName {
    /// The call of this name.
    #[must_use]
    pub fn row(&self, integration: &Integration) -> Option<&'static CallRow> {
        integration.find(&self.0)
    }
}

impl fmt::Display for CallName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for CallName {
    type Err = InvalidCallName;

    fn from_str(text: &str) -> Result<Self, InvalidCallName> {
        let is_word = |word: &str| {
            (1..=40).contains(&word.len())
                && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        let is_name = text.split_once('.').is_some_and(|(first, second)| is_word(first) && is_word(second));
        if is_name { Ok(Self(text.to_owned())) } else { Err(InvalidCallName) }
    }
}

serde_as_text!(CallName, {
    "pattern": "^[a-z_]{1,40}\\.[a-z_]{1,40}$",
    "examples": ["customers.get"],
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_is_found_by_its_name() {
        for name in IntegrationName::ALL {
            let integration = name.row();
            assert_eq!(integration.api.name, name.as_str());
            for row in integration.calls {
                let parsed: CallName = row.call.name.parse().unwrap();
                assert_eq!(parsed.row(integration).map(|found| found.call.name), Some(row.call.name));
            }
        }
        for text in [
            "",
            "customers",
            "customers.",
            ".get",
            "customers.get.x",
            "Customers.get",
            "a b.c",
            "customers/get",
        ] {
            assert_eq!(text.parse::<CallName>(), Err(InvalidCallName), "{text}");
        }
        let unknown: CallName = "customers.find".parse().unwrap();
        assert!(unknown.row(IntegrationName::Stripe.row()).is_none());
    }
}
