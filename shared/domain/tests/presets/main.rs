//! Walks the presets and their samples in `events/inbound/`: each sample verifies, becomes its events, and is refused
//! with any bit of its signed bytes changed; each row is complete.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod flips;
mod rows;
mod samples;
mod verified;
