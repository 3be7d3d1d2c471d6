//! Inbound webhooks: which providers there are, how their signatures are checked and their requests become events.
//!
//! Each provider is a file with one [`Adapter`] and a line in [`Provider`].
//! Sources, secrets and the HTTP request belong to `platform` and the function, not here.

pub mod adapter;
mod stripe;
pub mod verify;

use crate::text::text_enum;
use adapter::Adapter;

text_enum! {
    /// Who sends to a source; the word is its name in URLs, event types and the store.
    pub enum Provider {
        /// Stripe.
        Stripe = "stripe",
    }
}

impl Provider {
    /// Everything that sets it apart.
    #[must_use]
    pub fn adapter(self) -> &'static Adapter {
        match self {
            Self::Stripe => &stripe::ADAPTER,
        }
    }
}
