//! What a person does with one delivery: resends it, or cancels it.
//!
//! A finished delivery gets a new generation, an unfinished one is made due now. Either way its
//! place in the due index is written before its message is sent, so that it has a driver whenever
//! this stops.

use super::change::{Change, attempt_count};
use crate::{
    Timestamp,
    delivery::{Delivery, Status},
    recovery::replay,
};

/// How a delivery is resent.
#[derive(Debug, Clone, PartialEq)]
pub enum Resend {
    /// Nothing is to be done: its next attempt is about to be made anyway.
    OnItsWay,
    /// It was delivered again too often.
    TooOften,
    /// Start this generation with this change, then send its message. If that generation is there
    /// already, another resend has started it.
    Start(u32, Change),
    /// Make this change to its present generation, then send its message. On a conflict, decide anew.
    Hasten(Change),
}

/// Decides how to resend a delivery, given its latest generation; `None` where nothing is stored.
#[must_use]
pub fn resend(latest: Option<&Delivery>, now: Timestamp) -> Resend {
    // Without an item it is in a lane, and is attempted soon.
    let Some(delivery) = latest else { return Resend::OnItsWay };
    if delivery.status.is_final() {
        return match replay::next_generation(delivery.generation) {
            Some(next) => Resend::Start(next, Change::due_now(None, now)),
            None => Resend::TooOften,
        };
    }
    if replay::is_on_its_way(delivery, now) {
        return Resend::OnItsWay;
    }
    Resend::Hasten(Change::due_now(Some(attempt_count(delivery)), now))
}

/// How a delivery is cancelled.
#[derive(Debug, Clone, PartialEq)]
pub enum Cancel {
    /// It is cancelled already.
    Already,
    /// It had finished before.
    Finished(Status),
    /// Record this. On a conflict, decide anew: each round is lost only to one more recorded
    /// attempt, and those are bounded.
    Record(Change),
}

/// Decides how to cancel a generation of a delivery; `stored` is `None` where nothing is stored.
#[must_use]
pub fn cancel(stored: Option<&Delivery>) -> Cancel {
    match stored.map(|stored| stored.status) {
        Some(Status::Cancelled) => Cancel::Already,
        Some(status) if status.is_final() => Cancel::Finished(status),
        _ => Cancel::Record(Change::finished(stored.map(attempt_count), Status::Cancelled)),
    }
}
