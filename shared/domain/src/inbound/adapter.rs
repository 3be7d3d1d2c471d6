//! The contract that each provider fulfils: how it signs, and how its requests become events.

use std::fmt;

use super::verify::{Scheme, Verified};
use crate::{
    Timestamp,
    event::{EventData, EventType},
};

/// How one provider is read: a table row, not a control flow.
#[derive(Debug)]
pub struct Adapter {
    /// How it signs.
    pub scheme: Scheme,
    /// Whether a text can be one of its secrets; the reason if not.
    pub check_secret: fn(&str) -> Result<(), &'static str>,
    /// Reads what it sent.
    pub normalise: fn(Verified<'_>) -> Result<ProviderEvent, MalformedEvent>,
}

/// The event that a provider sent, in our terms.
#[derive(Debug)]
pub struct ProviderEvent {
    /// The provider's own id of the event; the same id is the same event.
    pub event_id: String,
    /// `PROVIDER.KIND`.
    pub event_type: EventType,
    /// When it happened, by the provider's clock.
    pub timestamp: Option<Timestamp>,
    /// The provider's object, byte for byte.
    pub data: EventData,
}

/// Why a request with a valid signature holds no event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MalformedEvent(pub String);

impl fmt::Display for MalformedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
