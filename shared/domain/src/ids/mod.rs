//! Identifiers and other small values: ids, times, secrets, API keys. Nothing here knows of events or endpoints.

pub mod holder;
pub mod id;
pub mod key;
pub mod secret;
pub mod timestamp;
