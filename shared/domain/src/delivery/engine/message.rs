//! One message's way through a dispatcher: claim, admission, attempt, record.
//!
//! One rule governs the order: the new driver is durable before the old one is deleted. So a
//! message is deleted only after the record says that its delivery is finished or has another
//! driver, and a delivery is held only after its endpoint has a drain entry.

use std::time::Duration;

use super::{
    admission::{Admission, Candidate},
    change::{Change, Fate, Place, RecordOutcome, attempt_count},
    claim::{Claim, Conflict, Origin, claim, may_skip_reading, next_number, resolve},
};
use crate::{
    Timestamp,
    delivery::{
        Attempt, Delivery, Outcome, ParkedReason, Status,
        driver::{self, LaneKind, Situation, Wait},
        retry::{self, Next},
    },
    endpoint::{Endpoint, health},
    recovery::drain,
};

/// What a dispatcher does next for a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Read the stored delivery, consistently; continue with [`Run::claimed`].
    Read,
    /// Look up endpoint and payload, and have the endpoint admit it; continue with [`Run::admitted`].
    Admit,
    /// Wait until fewer attempts are under way at the endpoint; continue with [`Run::with_turn`], or with
    /// [`Run::out_of_time`] where too little time is left for an attempt.
    AwaitTurn,
    /// Call the endpoint: attempt of this number; continue with [`Run::attempted`].
    Attempt(u32),
    /// Make sure that the endpoint has a drain entry, due at this time unless it has one; continue
    /// with [`Run::touched`].
    Touch(Timestamp),
    /// Ask whether the lanes are under pressure; continue with [`Run::with_pressure`].
    AskPressure,
    /// Record this; continue with [`Run::recorded`].
    Record(Change),
    /// Nothing more for the delivery. The message meets its fate after the batch.
    Finish(Fate),
}

/// What is to be recorded, until it is.
#[derive(Debug, Clone)]
enum Plan {
    /// An attempt and what follows it.
    Attempt { attempt: Attempt, next: Next, succeeded: bool, slow: bool, ended_at: Timestamp },
    /// The delivery waits for its endpoint.
    Hold(ParkedReason),
    /// It ends without an attempt.
    End(Status),
}

/// A message that is being worked on.
#[derive(Debug, Clone)]
pub struct Run {
    origin: Origin,
    lane: LaneKind,
    /// The longest wait that this deployment leaves in lanes.
    longest_wait: Duration,
    /// Whether the stored delivery was read.
    read: bool,
    /// Whether the endpoint has admitted it.
    admitted: bool,
    attempt_number: u32,
    /// When the attempt is due, as far as is known.
    due: Option<Timestamp>,
    /// Attempts on record; `None` where nothing is stored, or was read.
    recorded_attempts: Option<u32>,
    in_due_index: bool,
    plan: Option<Plan>,
    /// The message's fate once the plan is recorded.
    fate: Fate,
}

impl Run {
    /// Begins with a message from `lane`.
    #[must_use]
    pub fn start(origin: Origin, lane: LaneKind, longest_wait: Duration, now: Timestamp) -> (Self, Effect) {
        let run = Self {
            origin,
            lane,
            longest_wait,
            read: false,
            admitted: false,
            attempt_number: 1,
            due: origin.accepted,
            recorded_attempts: None,
            in_due_index: false,
            plan: None,
            fate: Fate::Delete,
        };
        (run, if may_skip_reading(origin, now) { Effect::Admit } else { Effect::Read })
    }

    /// After [`Effect::Read`].
    pub fn claimed(&mut self, stored: Option<&Delivery>, now: Timestamp) -> Effect {
        self.read = true;
        match claim(stored, self.origin, now) {
            Claim::Attempt(number) => {
                self.attempt_number = number;
                self.due = stored.map_or(self.due, |stored| stored.next_attempt_at);
                self.recorded_attempts = stored.map(attempt_count);
                self.in_due_index = stored.is_some_and(|stored| stored.in_due_index);
                if self.admitted { Effect::Attempt(number) } else { Effect::Admit }
            }
            Claim::Drop => Effect::Finish(Fate::Delete),
            Claim::Keep(until) => Effect::Finish(Fate::KeepUntil(until)),
        }
    }

    /// What the endpoint's admission depends on.
    #[must_use]
    pub fn candidate(&self, now: Timestamp) -> Candidate {
        let late = self.due.map_or(Duration::ZERO, |due| now.since(due));
        Candidate { received: self.origin.received, late }
    }

    /// After [`Effect::Admit`]. `has_payload` is false where the event is no longer stored.
    pub fn admitted(&mut self, admission: Admission, has_payload: bool, now: Timestamp) -> Effect {
        self.admitted = true;
        let plan = match admission {
            Admission::Attempt if has_payload => return Effect::AwaitTurn,
            Admission::Attempt => Plan::End(Status::Expired),
            Admission::Move => return Effect::Finish(Fate::Move { touched: false, at: now }),
            Admission::Wait(wait) => return Effect::Finish(Fate::KeepUntil(now + wait)),
            Admission::Park(reason) => Plan::Hold(reason),
            Admission::Cancel => Plan::End(Status::Cancelled),
        };
        self.plan = Some(plan);
        self.record(false, now)
    }

    /// After [`Effect::AwaitTurn`]. Who waited so long that a repeat may have come by now reads what is
    /// stored, and may find the attempt made.
    #[must_use]
    pub fn with_turn(&self, now: Timestamp) -> Effect {
        if self.read || may_skip_reading(self.origin, now) {
            Effect::Attempt(self.attempt_number)
        } else {
            Effect::Read
        }
    }

    /// Instead of [`Self::with_turn`]: others were slow, not the delivery, which continues behind
    /// them.
    #[must_use]
    pub fn out_of_time(&self, now: Timestamp) -> Effect {
        Effect::Finish(Fate::Move { touched: false, at: now })
    }

    /// After [`Effect::Attempt`]: `attempt` of `outcome` ended `now`. `jitter` is in 0..1.
    pub fn attempted(
        &mut self,
        attempt: Attempt,
        outcome: &Outcome,
        took: Duration,
        endpoint: &Endpoint,
        now: Timestamp,
        jitter: f64,
    ) -> Effect {
        let next = retry::next(attempt.number, outcome, &endpoint.policy(), now, jitter);
        self.plan = Some(Plan::Attempt {
            attempt,
            next,
            succeeded: outcome.is_success(),
            slow: health::is_slow(outcome, took),
            ended_at: now,
        });
        match next {
            Next::Park => Effect::Touch(drain::first_due(endpoint, ParkedReason::Disabled, now)),
            // Only a longer wait depends on how full the lanes are.
            Next::RetryAt(at) if at.since(now) > driver::FAST_WAIT => Effect::AskPressure,
            _ => self.record(false, now),
        }
    }

    /// After [`Effect::Touch`].
    pub fn touched(&mut self, now: Timestamp) -> Effect {
        self.record(false, now)
    }

    /// After [`Effect::AskPressure`].
    pub fn with_pressure(&mut self, pressure: bool, now: Timestamp) -> Effect {
        self.record(pressure, now)
    }

    /// After [`Effect::Record`].
    pub fn recorded(&mut self, recorded: &RecordOutcome, now: Timestamp) -> Effect {
        let stored = match recorded {
            RecordOutcome::New => return Effect::Finish(self.fate),
            RecordOutcome::Conflict(stored) => stored,
        };
        let resolution = match &self.plan {
            Some(Plan::Attempt { succeeded, .. }) => resolve(stored, *succeeded, now),
            // Finished, or brought back by the due index.
            Some(_) if stored.status.is_final() || stored.in_due_index => Conflict::Drop,
            Some(_) => Conflict::RecordAgain,
            None => Conflict::Drop,
        };
        match resolution {
            Conflict::Drop => Effect::Finish(Fate::Delete),
            Conflict::Keep(until) => Effect::Finish(Fate::KeepUntil(until)),
            // Each round is lost only to one more recorded attempt, and those are bounded.
            Conflict::RecordAgain => {
                self.recorded_attempts = Some(attempt_count(stored));
                if let Some(Plan::Attempt { attempt, .. }) = &mut self.plan {
                    attempt.number = next_number(stored);
                }
                self.record(false, now)
            }
        }
    }

    /// The attempt that was made, as it is recorded.
    #[must_use]
    pub fn attempt(&self) -> Option<&Attempt> {
        match &self.plan {
            Some(Plan::Attempt { attempt, .. }) => Some(attempt),
            _ => None,
        }
    }

    /// The change that the plan makes, and with it the message's fate.
    fn record(&mut self, pressure: bool, now: Timestamp) -> Effect {
        let known = self.recorded_attempts;
        let (change, fate) = match &self.plan {
            Some(Plan::Attempt { attempt, next, slow, ended_at, .. }) => {
                let (change, fate) = self.follow(attempt, *next, *slow, pressure, *ended_at);
                (change.with_attempt(attempt.clone()), fate)
            }
            Some(Plan::Hold(reason)) => (Change::held(known, *reason, now), Fate::Delete),
            Some(Plan::End(status)) => (Change::finished(known, *status), Fate::Delete),
            // Unreachable by the order of effects; a message that stays loses nothing.
            None => return Effect::Finish(Fate::Keep),
        };
        self.fate = fate;
        Effect::Record(change)
    }

    /// What follows an attempt.
    fn follow(
        &self,
        attempt: &Attempt,
        next: Next,
        slow: bool,
        pressure: bool,
        now: Timestamp,
    ) -> (Change, Fate) {
        let known = self.recorded_attempts;
        match next {
            Next::Done => (Change::finished(known, Status::Succeeded), Fate::Delete),
            Next::GiveUp => (Change::finished(known, Status::Exhausted), Fate::Delete),
            Next::Park => (Change::held(known, ParkedReason::Disabled, now), Fate::Delete),
            Next::RetryAt(at) => {
                // Another copy of this message may rely on the place that the delivery had, so it
                // keeps one, behind the message.
                let behind = self.in_due_index.then(|| Place::leased(at));
                let situation = Situation {
                    lane: self.lane,
                    received: self.origin.received,
                    attempts: attempt.number,
                    slow,
                    pressure,
                    longest: self.longest_wait,
                };
                let (place, fate) = match driver::wait_where(situation, at.since(now)) {
                    Wait::Hidden => (behind, Fate::KeepUntil(at)),
                    Wait::SlowLane => (behind, Fate::Move { touched: true, at }),
                    Wait::DueIndex => (Some(Place::Due(at)), Fate::Delete),
                };
                (Change::retried(known, at, place), fate)
            }
        }
    }
}

#[cfg(test)]
mod tests;
