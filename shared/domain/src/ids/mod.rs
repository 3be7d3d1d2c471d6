//! Identifiers and other small values: ids, times, secrets.
//!
//! What they identify does not belong here: nothing in this folder uses another one.

pub mod holder;
pub mod id;
pub mod secret;
pub mod timestamp;
