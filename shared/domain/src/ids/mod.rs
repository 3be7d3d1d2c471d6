//! Identifiers and other small values: ids, times, secrets, API keys.
//!
//! What they identify does not belong here: nothing in this folder uses another one.

pub mod holder;
pub mod id;
pub mod key;
pub mod secret;
pub mod timestamp;
