//! Inbound webhooks: which providers there are, how their signatures are checked and their requests become events.
//!
//! Each provider is a file with one [`Adapter`] and a line in [`Provider`].
//! Sources, secrets and the HTTP request belong to `platform` and the function, not here.

pub mod adapter;
mod stripe;
pub mod verify;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use adapter::Adapter;

/// Who sends to a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// Stripe.
    Stripe,
}

impl Provider {
    /// Every provider there is.
    pub const ALL: [Self; 1] = [Self::Stripe];

    /// Its name in URLs, event types and the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.adapter().name
    }

    /// The provider of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|provider| provider.as_str() == name)
    }

    /// Everything that sets it apart.
    #[must_use]
    pub fn adapter(self) -> &'static Adapter {
        match self {
            Self::Stripe => &stripe::ADAPTER,
        }
    }
}
