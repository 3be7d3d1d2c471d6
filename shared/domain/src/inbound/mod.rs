//! Inbound webhooks: which providers there are, how their requests are verified and become events.
//!
//! ```text
//! request ─challenge─▶ response
//!    └──────verify────▶ Verified ─extract─▶ events
//! ```
//!
//! One engine serves all of them. What differs is in a [`table::Table`]: of a preset, or of a tenant's custom source.
//! Sources, stored secrets and HTTP belong to `platform` and the function, not here.

pub mod challenge;
pub mod diagnosis;
pub mod engine;
pub mod extraction;
pub mod normal;
pub mod presets;
pub mod reading;
pub mod table;

use std::sync::LazyLock;

use crate::text::text_enum;
use presets::Preset;

text_enum! {
    /// Who sends to a source; the word is its name in URLs, event types and the store.
    pub enum Provider {
        /// Stripe.
        Stripe = "stripe",
    }
}

impl Provider {
    /// Its row, parsed once.
    #[must_use]
    pub fn preset(self) -> &'static Preset {
        static STRIPE: LazyLock<Preset> = LazyLock::new(|| row("stripe"));
        match self {
            Self::Stripe => &STRIPE,
        }
    }
}

/// The row of a provider. The tests read all of them, so none is malformed.
fn row(name: &str) -> Preset {
    match presets::find(name) {
        Some(Ok(preset)) => preset,
        Some(Err(violation)) => unreachable!("the preset {name} is malformed: {violation}"),
        None => unreachable!("the preset {name} is missing"),
    }
}

#[cfg(test)]
mod tests;
