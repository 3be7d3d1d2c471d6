//! A delivery as the store knows it, and what of it shows whether it has a driver.

use super::{
    attempt::Attempt,
    status::{ParkedReason, Status},
};
use crate::Timestamp;

/// One event's way to one endpoint, as the store knows it. One that was never attempted is not
/// stored: it is `pending` because its event's snapshot names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its status.
    pub status: Status,
    /// 0 until it is replayed.
    pub generation: u32,
    /// All tries so far, in order.
    pub attempts: Vec<Attempt>,
    /// When the next try is due; unless it is parked or finished.
    pub next_attempt_at: Option<Timestamp>,
    /// What it waits for; only while `parked`.
    pub parked_reason: Option<ParkedReason>,
    /// Whether it has a place in the due index, which is a driver in itself.
    pub in_due_index: bool,
}

impl Delivery {
    /// What of it shows whether it still has a driver.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing {
            status: self.status,
            next_attempt_at: self.next_attempt_at,
            in_due_index: self.in_due_index,
        }
    }
}

/// What of a delivery shows whether it still has a driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Its status.
    pub status: Status,
    /// When the next attempt is due; unless it is parked or finished.
    pub next_attempt_at: Option<Timestamp>,
    /// Whether it has a place in the due index, which is a driver in itself.
    pub in_due_index: bool,
}
