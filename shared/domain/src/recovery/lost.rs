//! Deliveries that may have lost their driver: which are sent again, and how what was in the
//! dead-letter queue continues.

use std::time::Duration;

use crate::{
    Timestamp,
    delivery::{
        Delivery, Standing, Status,
        engine::change::{Change, LOST_AFTER, Place, attempt_count},
    },
};

/// How old an event is when its deliveries are checked: by then its first attempts are on record.
pub const SETTLED_AFTER: Duration = Duration::from_mins(15);

/// When a delivery from the dead-letter queue is attempted again. It has waited for hours, and what
/// stopped it may still be there.
pub const QUARANTINE_PAUSE: Duration = Duration::from_mins(5);

/// Whether a delivery has no driver any more, as far as can be seen; `None` where nothing is stored.
#[must_use]
pub fn is_lost(standing: Option<Standing>, now: Timestamp) -> bool {
    standing.is_none_or(|standing| {
        let overdue = standing.next_attempt_at.is_none_or(|due| now.since(due) >= LOST_AFTER);
        !standing.status.is_final() && !standing.in_due_index && overdue
    })
}

/// The change that parks the delivery of a message from the dead-letter queue; `None` where it is
/// finished, or brought back by the due index.
#[must_use]
pub fn quarantine(stored: Option<&Delivery>, now: Timestamp) -> Option<Change> {
    if stored.is_some_and(|stored| stored.status.is_final() || stored.in_due_index) {
        return None;
    }
    let at = now + QUARANTINE_PAUSE;
    Some(Change::retried(stored.map(attempt_count), at, Some(Place::Due(at))))
}

/// Receipts of a first message that may fail in its lane, where it waits for 20, 40 and 80 s.
const FAULTS_IN_LANE: u32 = 4;

/// How long a delivery is postponed at least.
const SHORTEST_DELAY: Duration = Duration::from_secs(160);

/// How long it is postponed at most.
const LONGEST_DELAY: Duration = Duration::from_hours(6);

/// From which receipt on a message leaves its lane that could not be worked on because of a failure of ours. A
/// hidden message counts against the messages that a queue can have in flight, which all tenants share: a
/// fault that lasts for one of them must not fill it. One that comes from the due index goes back at once.
#[must_use]
pub const fn leaves_lane(again: bool, received: u32) -> bool {
    again || received >= FAULTS_IN_LANE
}

/// The change that postpones a delivery after failures of ours, for longer the longer its attempt is overdue:
/// that is how long the failure has lasted for it. `since` is when its event was accepted, where that is
/// known. `None` where it is finished or held for its endpoint. A place that it has is replaced: its message is
/// at hand. When the attempt was due stays, so that the next postponement is longer.
#[must_use]
pub fn postpone(stored: Option<&Delivery>, since: Option<Timestamp>, now: Timestamp) -> Option<Change> {
    if stored.is_some_and(|stored| stored.status.is_final() || stored.status == Status::Parked) {
        return None;
    }
    let due = stored.and_then(|stored| stored.next_attempt_at).or(since).unwrap_or(now);
    let at = now + (now.since(due) / 2).clamp(SHORTEST_DELAY, LONGEST_DELAY);
    Some(Change::retried(stored.map(attempt_count), due, Some(Place::Due(at.max(due)))))
}

/// The change by which the due index brings a lost delivery back `now`.
#[must_use]
pub fn repair(recorded_attempts: Option<u32>, now: Timestamp) -> Change {
    Change::retried(recorded_attempts, now, Some(Place::Due(now)))
}

/// The change of a delivery that is unfinished when its event's retention ends.
#[must_use]
pub fn expire(recorded_attempts: Option<u32>) -> Change {
    Change::finished(recorded_attempts, Status::Expired)
}

#[cfg(test)]
mod tests;
