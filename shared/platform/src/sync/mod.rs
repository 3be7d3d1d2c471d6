//! Runs of syncs: pages are read, compared with what is known, and published where they changed. The rules are in
//! `domain::sync`.

pub mod message;
mod page;
mod runner;
mod sweeping;
mod watching;

pub use runner::{RunnerParts, SyncRunner};
