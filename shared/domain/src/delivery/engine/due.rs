//! What a run of the scheduler makes of a delivery that it found in the due index, on the condition that the delivery
//! is still at the place where it was found.

use super::change::{Place, attempt_count};
use crate::{
    Timestamp,
    delivery::{Delivery, Status},
};

/// A change to a delivery in the due index. Its attempts stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DueChange {
    /// It is due, and taken then: a message continues it. Its place is a lease ahead, in case the message is lost.
    Take(Timestamp),
    /// It was held, and is due from then on. A message continues it, and its place is a lease ahead.
    Release(Timestamp),
    /// It was held, and is not delivered.
    Discard,
}

impl DueChange {
    /// Its status from then on; `None` where that stays.
    #[must_use]
    pub fn status(self) -> Option<Status> {
        match self {
            Self::Take(_) => None,
            Self::Release(_) => Some(Status::Retrying),
            Self::Discard => Some(Status::Cancelled),
        }
    }

    /// When its next attempt is due; meaningless where the status stays.
    #[must_use]
    pub fn next_attempt_at(self) -> Option<Timestamp> {
        match self {
            Self::Release(at) => Some(at),
            Self::Take(_) | Self::Discard => None,
        }
    }

    /// Its place in the due index from then on.
    #[must_use]
    pub fn place(self) -> Option<Place> {
        match self {
            Self::Take(now) | Self::Release(now) => Some(Place::leased(now)),
            Self::Discard => None,
        }
    }

    /// The delivery after this.
    #[must_use]
    pub fn applied(self, delivery: &Delivery) -> Delivery {
        let mut after = Delivery { in_due_index: self.place().is_some(), ..delivery.clone() };
        if let Some(status) = self.status() {
            after.status = Status::shown(status, attempt_count(delivery));
            (after.next_attempt_at, after.parked_reason) = (self.next_attempt_at(), None);
        }
        after
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::{ParkedReason, engine::change::DUE_LEASE};

    #[test]
    fn what_is_taken_stays_as_it_is_and_what_was_held_is_due_or_ends() {
        let now = Timestamp::from_secs(1_000);
        let held = Delivery {
            status: Status::Parked,
            generation: 2,
            attempts: Vec::new(),
            next_attempt_at: None,
            parked_reason: Some(ParkedReason::RateLimit),
            in_due_index: true,
        };
        assert_eq!(DueChange::Take(now).applied(&held), held);
        let due = Delivery { next_attempt_at: Some(now), parked_reason: None, ..held.clone() };
        let released = DueChange::Release(now);
        assert_eq!(released.applied(&held), Delivery { status: Status::Pending, ..due.clone() });
        assert_eq!(released.place(), Some(Place::Due(now + DUE_LEASE)));
        let ended = Delivery { status: Status::Cancelled, next_attempt_at: None, in_due_index: false, ..due };
        assert_eq!(DueChange::Discard.applied(&held), ended);
        assert_eq!(DueChange::Discard.place(), None);
    }
}
