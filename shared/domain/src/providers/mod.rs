//! One file per provider, each with its row.

pub mod stripe;
