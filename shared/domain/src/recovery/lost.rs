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
