//! What a batch asks of each of its endpoints, once: which of its messages are attempted now.

use std::time::Duration;

use crate::{
    Timestamp,
    delivery::{ParkedReason, driver::LaneKind},
    endpoint::{
        Endpoint,
        gate::{Gate, gate},
        health::Health,
        limit::{Grant, Rate},
    },
    recovery::drain,
    saturating,
};

/// A wait for a rate limit up to this long is spent hidden in the lane …
const SHORT_WAIT: Duration = Duration::from_secs(2);
/// … by messages that were not received more often than this.
const SHORT_WAIT_RECEIVES: u32 = 5;
/// How late an attempt at a slow endpoint must be for its delivery to be held. What waits for one endpoint
/// then does not fill the slow lane, which is everybody's.
pub const SLOW_BACKLOG: Duration = Duration::from_mins(5);
/// How long deliveries wait for a rate limit that could not be charged: a limit that cannot be
/// counted is no reason to exceed it.
const UNCHARGED_WAIT: Duration = Duration::from_secs(10);

/// What a delivery may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Be attempted.
    Attempt,
    /// Go to the slow lane first.
    Move,
    /// Wait hidden in its lane.
    Wait(Duration),
    /// Be held for its endpoint.
    Park(ParkedReason),
    /// End: its endpoint was deleted.
    Cancel,
}

/// What is done next to admit the messages of an endpoint.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Save this health, if the endpoint's is unchanged: the lease on the probe of a half-open
    /// circuit; continue with [`Round::with_probe`].
    TakeProbe(Health),
    /// Charge the rate limit for so many; continue with [`Round::with_permits`].
    TakePermits(Rate, u32),
    /// Make sure that the endpoint has a drain entry, due at this time unless it has one, before
    /// anything is held; then the admissions are in force. A process that stops in between leaves an entry
    /// too many, which ends on its own.
    Touch(Timestamp, Vec<Admission>),
    /// The admissions, in the order of the messages.
    Admit(Vec<Admission>),
}

/// A message that asks for its attempt.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// How often it was received.
    pub received: u32,
    /// How late its attempt is.
    pub late: Duration,
}

/// The messages of one endpoint in a batch.
#[derive(Debug, Clone, Copy)]
pub struct Round<'a> {
    /// The endpoint, as far as the dispatcher knows.
    pub endpoint: &'a Endpoint,
    /// The messages.
    pub candidates: &'a [Candidate],
    /// Whether another endpoint of the same owner at the same host was slow lately.
    pub slow_host: bool,
    /// When the round began.
    pub now: Timestamp,
}

impl Round<'_> {
    /// Begins, with messages from `lane`.
    #[must_use]
    pub fn start(self, lane: LaneKind) -> Effect {
        match gate(self.endpoint, self.now) {
            Gate::Cancel => self.all(Admission::Cancel),
            Gate::Hold(reason) => self.all(Admission::Park(reason)),
            Gate::Probe => match self.endpoint.health.probing(self.now) {
                Some(probing) => Effect::TakeProbe(probing),
                None => self.with_probe(false),
            },
            Gate::Go(_)
                if lane == LaneKind::Fast && (self.slow_host || self.endpoint.health.is_slow(self.now)) =>
            {
                self.all(Admission::Move)
            }
            Gate::Go(None) if self.endpoint.health.is_slow(self.now) => self.admit(self.without_backlog()),
            Gate::Go(None) => self.all(Admission::Attempt),
            Gate::Go(Some(rate)) => Effect::TakePermits(rate, saturating::<u32>(self.candidates.len())),
        }
    }

    /// After [`Effect::TakeProbe`]: the first message is the probe if the lease was `taken`.
    #[must_use]
    pub fn with_probe(self, taken: bool) -> Effect {
        let mut admissions = vec![Admission::Park(ParkedReason::CircuitOpen); self.candidates.len()];
        if let Some(first) = admissions.first_mut().filter(|_| taken) {
            *first = Admission::Attempt;
        }
        self.admit(admissions)
    }

    /// After [`Effect::TakePermits`]; `None` where the limit could not be charged.
    #[must_use]
    pub fn with_permits(self, grant: Option<Grant>) -> Effect {
        let (permits, wait) = grant.map_or((0, UNCHARGED_WAIT), |grant| {
            (grant.permits, Duration::from_micros(grant.wait.unsigned_abs()))
        });
        let ration = |(index, candidate): (u32, &Candidate)| {
            if index < permits {
                Admission::Attempt
            } else if wait <= SHORT_WAIT && candidate.received <= SHORT_WAIT_RECEIVES {
                Admission::Wait(wait)
            } else {
                Admission::Park(ParkedReason::RateLimit)
            }
        };
        self.admit((0..).zip(self.candidates).map(ration).collect())
    }

    fn without_backlog(self) -> Vec<Admission> {
        let admission = |candidate: &Candidate| {
            if candidate.late > SLOW_BACKLOG {
                Admission::Park(ParkedReason::SlowEndpoint)
            } else {
                Admission::Attempt
            }
        };
        self.candidates.iter().map(admission).collect()
    }

    fn all(self, admission: Admission) -> Effect {
        self.admit(vec![admission; self.candidates.len()])
    }

    fn admit(self, admissions: Vec<Admission>) -> Effect {
        let parked = admissions.iter().find_map(|admission| match admission {
            Admission::Park(reason) => Some(*reason),
            _ => None,
        });
        match parked {
            Some(reason) => Effect::Touch(drain::first_due(self.endpoint, reason, self.now), admissions),
            None => Effect::Admit(admissions),
        }
    }
}
