//! The tables: `registry` (who and where) and `events` (what happened and how it went).

pub mod events;
pub mod keys;
pub mod registry;
