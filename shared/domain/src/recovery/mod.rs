//! The rules of what brings deliveries back: replays. What one delivery does next is in `delivery`.

pub mod replay;
