//! Changes to a stored delivery, and the fate of a message: the effects that the machines share.

use std::time::Duration;

use crate::{
    Timestamp,
    delivery::{Attempt, Delivery, ParkedReason, Status},
    saturating,
};

/// How long a due entry that was taken is left alone: time for its message to be delivered from
/// the slow lane, and far more than for it to be sent.
pub const DUE_LEASE: Duration = Duration::from_mins(10);

/// How long an attempt has been overdue when its driver is taken for lost.
pub const LOST_AFTER: Duration = Duration::from_hours(1);

/// A delivery's place in the due index, which is a driver in itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// By time: the delivery continues then.
    Due(Timestamp),
    /// Under its endpoint, held since then; the endpoint's drain entry brings it back.
    Held(Timestamp),
}

impl Place {
    /// The place of a delivery for which a message is sent `now`: it comes back if that is lost.
    #[must_use]
    pub fn leased(now: Timestamp) -> Self {
        Self::Due(now + DUE_LEASE)
    }

    /// When it is due, or since when it is held.
    #[must_use]
    pub fn at(self) -> Timestamp {
        match self {
            Self::Due(at) | Self::Held(at) => at,
        }
    }
}

/// A change to one generation of a delivery, on the condition that it is unfinished and has as many
/// attempts as were known.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// How many attempts are on record; `None` where nothing is, so that the change is an insert.
    pub recorded_attempts: Option<u32>,
    /// The attempt after those, if one was made.
    pub attempt: Option<Attempt>,
    /// The status after the change.
    pub status: Status,
    /// When the next attempt is due.
    pub next_attempt_at: Option<Timestamp>,
    /// What the delivery waits for; only while it is parked.
    pub parked_reason: Option<ParkedReason>,
    /// Its place in the due index after the change.
    pub place: Option<Place>,
}

impl Change {
    /// Finishes the delivery.
    #[must_use]
    pub fn finished(recorded_attempts: Option<u32>, status: Status) -> Self {
        Self {
            recorded_attempts,
            attempt: None,
            status,
            next_attempt_at: None,
            parked_reason: None,
            place: None,
        }
    }

    /// Holds it for its endpoint from `now` on.
    #[must_use]
    pub fn held(recorded_attempts: Option<u32>, reason: ParkedReason, now: Timestamp) -> Self {
        Self {
            parked_reason: Some(reason),
            place: Some(Place::Held(now)),
            ..Self::finished(recorded_attempts, Status::Parked)
        }
    }

    /// Has it attempted again at `at`; what drives it until then is `place`, or a message.
    #[must_use]
    pub fn retried(recorded_attempts: Option<u32>, at: Timestamp, place: Option<Place>) -> Self {
        Self { next_attempt_at: Some(at), place, ..Self::finished(recorded_attempts, Status::Retrying) }
    }

    /// Makes it due `now`, for a message that is sent after this.
    #[must_use]
    pub fn due_now(recorded_attempts: Option<u32>, now: Timestamp) -> Self {
        Self::retried(recorded_attempts, now, Some(Place::leased(now)))
    }

    /// The same with an attempt.
    #[must_use]
    pub fn with_attempt(self, attempt: Attempt) -> Self {
        Self { attempt: Some(attempt), ..self }
    }

    /// Whether what is stored has the attempt of this change already: the change was made, but its response was
    /// lost, and a repeat of it found its own work. No other function made an attempt of this number in the same
    /// millisecond and took as long for it.
    #[must_use]
    pub fn is_made_in(&self, stored: &Delivery) -> bool {
        let facts = |attempt: &Attempt| (attempt.number, attempt.started_at, attempt.duration_ms);
        let made = self.attempt.as_ref().map(facts);
        made.is_some() && stored.attempts.iter().any(|attempt| Some(facts(attempt)) == made)
    }

    /// Whether a message is to be the delivery's only driver. The change then also requires that the
    /// due index has no place for it: one that was made meanwhile may be the only driver.
    #[must_use]
    pub fn leaves_it_to_a_message(&self) -> bool {
        self.place.is_none() && !self.status.is_final()
    }
}

/// The result of a [`Change`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordOutcome {
    /// It is made.
    New,
    /// Its condition failed: this is stored.
    Conflict(Delivery),
}

/// The fate of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is deleted.
    Delete,
    /// It stays, hidden until then.
    KeepUntil(Timestamp),
    /// It stays, and returns when the lane's own visibility timeout ends.
    Keep,
    /// A failure of ours: it is deleted once its delivery is postponed, where
    /// [`lost::leaves_lane`](crate::recovery::lost::leaves_lane) says so; otherwise it stays hidden for
    /// [`fault_backoff`].
    AfterFault {
        /// How often it was received.
        received: u32,
    },
    /// It is deleted once a copy is in the slow lane, visible at `at`.
    Move {
        /// Whether the delivery was changed: the copy is then never mistaken for a first message.
        touched: bool,
        /// When the copy is received.
        at: Timestamp,
    },
}

impl Fate {
    /// After a failure of ours, where the delivery is not postponed.
    #[must_use]
    pub fn hidden_after_fault(received: u32, now: Timestamp) -> Self {
        Self::KeepUntil(now + fault_backoff(received))
    }

    /// The fate of a message whose copy was `sent`, or not.
    #[must_use]
    pub fn after_move(sent: bool, at: Timestamp) -> Self {
        if sent { Self::Delete } else { Self::KeepUntil(at) }
    }
}

/// How long a message is hidden after a failure of ours: 20 s, doubling up to 6 hours. At a constant
/// wait, the 50 receives that a message has would be used up in hours.
#[must_use]
pub fn fault_backoff(received: u32) -> Duration {
    Duration::from_secs(10).saturating_mul(1 << received.min(12)).min(Duration::from_hours(6))
}

/// How many attempts a stored delivery has.
#[must_use]
pub fn attempt_count(delivery: &Delivery) -> u32 {
    saturating::<u32>(delivery.attempts.len())
}

#[cfg(test)]
mod tests;
