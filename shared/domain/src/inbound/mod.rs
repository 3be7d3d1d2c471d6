//! Providers of inbound webhooks: each is a row, not a control flow.

pub mod stripe;
pub mod verify;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Timestamp,
    event::{EventData, EventType},
    inbound::{
        self,
        verify::{Scheme, Verified},
    },
};

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
        self.row().name
    }

    /// The provider of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|provider| provider.as_str() == name)
    }

    /// Everything that sets it apart.
    #[must_use]
    pub fn row(self) -> &'static Row {
        match self {
            Self::Stripe => &inbound::stripe::ROW,
        }
    }
}

/// What sets one provider apart.
#[derive(Debug)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// How it signs.
    pub scheme: Scheme,
    /// Whether a text can be one of its secrets; the reason if not.
    pub check_secret: fn(&str) -> Result<(), &'static str>,
    /// Reads what it sent.
    pub normalise: fn(Verified<'_>) -> Result<Normalised, Malformed>,
}

/// What a provider's request says, in our words.
#[derive(Debug)]
pub struct Normalised {
    /// The provider's own id of the event; the same id is the same event.
    pub event_id: String,
    /// `PROVIDER.KIND`.
    pub event_type: EventType,
    /// When it happened, by the provider's clock.
    pub timestamp: Option<Timestamp>,
    /// The provider's object, byte for byte.
    pub data: EventData,
}

/// A verified request that still makes no sense; says what is amiss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(pub String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
