//! Inbound webhooks: which providers there are, how their requests are verified and become events.
//!
//! ```text
//! request ─challenge─▶ response
//!    └──────verify────▶ Verified ─extract─▶ events
//! ```
//!
//! One engine serves all of them. What differs is in a [`table::Table`]: of a preset, or of a tenant's custom source.
//! Stored rows, stored secrets and HTTP belong to `platform` and the function, not here.

mod account;
pub mod challenge;
pub mod diagnosis;
pub mod engine;
pub mod extraction;
pub mod grant;
pub mod normal;
pub mod presets;
mod provider;
pub mod reading;
pub mod record;
pub mod source;
pub mod table;

pub use account::ProviderAccount;
pub use provider::Provider;
pub use source::Source;

#[cfg(test)]
mod tests;
