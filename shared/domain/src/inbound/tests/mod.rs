//! The cases of the research, each by its number: requests that broke other gateways, and the right outcome.
//!
//! The samples of the presets are walked by `shared/domain/tests/presets.rs`.

mod bytes;
mod challenges;
mod custom;
mod delivery;
mod kit;
mod vectors;
