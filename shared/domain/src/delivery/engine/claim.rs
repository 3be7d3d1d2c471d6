//! Who may act on a delivery: the holder of a message, given what is stored.

use std::time::Duration;

use super::change::LOST_AFTER;
use crate::{
    Timestamp,
    delivery::{Delivery, Status},
};

/// How long after its event was accepted a message is taken for the first of its delivery. A
/// repeated publish sends another, which arrives 30 s after the acceptance at the earliest: this,
/// an attempt (15 s) and its recording (3 s) end before that. It is judged when the attempt begins.
pub const FRESH: Duration = Duration::from_secs(10);

/// By how much a message that is not the driver of the next attempt stays behind it. Where two
/// messages drive one delivery, the first then makes the attempt and the second finds it made.
const BEHIND: Duration = Duration::from_secs(20);

/// How a message came about, as far as it shows whether its delivery may have been changed before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// 0 until the delivery is replayed.
    pub generation: u32,
    /// How often the message was received, this time included.
    pub received: u32,
    /// Sent by a repeated publish: another message may already have driven the delivery.
    pub check: bool,
    /// Moved from another lane or sent from the due index: the delivery was changed before.
    pub again: bool,
    /// When the event was accepted, where the message says so.
    pub accepted: Option<Timestamp>,
}

/// Whether the message can be acted on without reading the delivery: the first time it is received,
/// unless another message may have been received before it.
#[must_use]
pub fn may_skip_reading(origin: Origin, now: Timestamp) -> bool {
    let fresh = origin.accepted.is_some_and(|accepted| now.since(accepted) < FRESH);
    origin.generation == 0 && origin.received <= 1 && !origin.check && !origin.again && fresh
}

/// What a dispatcher may do with a message that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Make the attempt of this number.
    Attempt(u32),
    /// Nothing is left to do: delete the message.
    Drop,
    /// Not yet: keep the message hidden until then.
    Keep(Timestamp),
}

/// Decides what to do with a message, given the stored delivery.
///
/// A parked delivery, and one that has a place in the due index and is not due yet, has its driver
/// there: another message is one too many. A message that a repeated publish sent (`check`) and
/// that is received for the first time is dropped as soon as the delivery is stored: the writer of
/// that item holds the driver; where nothing is stored yet, it waits once, because the message before it
/// may be worked on. Where the next attempt is long overdue that driver is lost, and the
/// message takes its place; so does one that is received again, since it may be the driver itself.
#[must_use]
pub fn claim(stored: Option<&Delivery>, origin: Origin, now: Timestamp) -> Claim {
    let Some(delivery) = stored else {
        let behind_first = origin.check && origin.received <= 1;
        return if behind_first { Claim::Keep(now + BEHIND) } else { Claim::Attempt(1) };
    };
    if delivery.status.is_final() || delivery.status == Status::Parked {
        return Claim::Drop;
    }
    let due = delivery.next_attempt_at.unwrap_or(now);
    let repeated = origin.check && origin.received <= 1 && now.since(due) < LOST_AFTER;
    // One that is a little early is the driver, by another clock.
    let indexed = delivery.in_due_index && due > now + BEHIND;
    if repeated || indexed {
        Claim::Drop
    } else if due > now {
        Claim::Keep(due + BEHIND)
    } else {
        Claim::Attempt(next_number(delivery))
    }
}

/// When the message of a delivery is received again whose other copy is worked on `now`, in the same
/// batch.
#[must_use]
pub fn behind_copy(now: Timestamp) -> Timestamp {
    now + BEHIND
}

/// The number of the attempt after those recorded.
#[must_use]
pub fn next_number(delivery: &Delivery) -> u32 {
    delivery.attempts.iter().map(|attempt| attempt.number).max().unwrap_or(0) + 1
}

/// What follows where a change was not recorded, because another was recorded in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// The delivery is finished, or has another driver: delete the message.
    Drop,
    /// Record it once more, after what is stored.
    RecordAgain,
    /// Keep the message: it may be the only driver.
    Keep(Timestamp),
}

/// Decides for an attempt that was not recorded, given what is stored. A success that is not on
/// record yet is recorded as the attempt after those: the endpoint has the webhook.
#[must_use]
pub fn resolve(stored: &Delivery, succeeded: bool, now: Timestamp) -> Conflict {
    if stored.status.is_final() || (stored.in_due_index && !succeeded) {
        Conflict::Drop
    } else if succeeded {
        Conflict::RecordAgain
    } else {
        Conflict::Keep(stored.next_attempt_at.unwrap_or(now) + BEHIND)
    }
}

#[cfg(test)]
mod tests;
