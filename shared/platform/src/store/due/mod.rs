//! What waits outside the lanes, by time or for an endpoint: entries of the due index, held work, replays, and
//! connections to refresh. What is done about them is in `recovery`, `dispatch` and `connection`.
//!
//! An entry is a lease and a driver: a scheduler that takes it moves it ahead, and only the outcome of
//! the delivery clears it. So a scheduler that dies after taking an entry, or a message that is lost
//! after being sent, costs ten minutes and nothing else.

pub mod connections;
pub mod drains;
mod entry;
pub mod held;
pub mod index;
pub mod replays;
pub mod syncs;
