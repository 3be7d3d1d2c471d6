//! The rules of what brings deliveries back: held deliveries, lost ones, replays.
//! What one delivery does next is in [`crate::delivery`].

pub mod drain;
pub mod lost;
pub mod replay;
