//! A delivery's story in words: what happened, what comes next and when, and what a person can do.
//!
//! The words are for whoever asks "where is my webhook?" and knows nothing of this code. They are
//! made of what is stored, so that they always say the same as the fields beside them.

pub mod advice;
mod words;

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    DeliveryId, Timestamp,
    delivery::{Attempt, Delivery, ParkedReason, Status},
    endpoint::{
        DisabledBy, Endpoint, State,
        gate::{Gate, gate},
    },
};
use words::{advice, seconds, span};

/// How long a first attempt may take to come before the words say why that is no loss …
const LATE: Duration = Duration::from_mins(2);
/// … and before they say that it should have come: what was never sent is found before that.
const OVERDUE: Duration = Duration::from_mins(90);

/// What can be done where the endpoint is no more.
const ELSEWHERE: &str = "The endpoint was deleted, so nothing more goes there. If somebody else is to have the event, replay it to another endpoint.";

/// Whether an endpoint is served, as far as a delivery's story depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Served {
    /// Its webhooks are delivered.
    Enabled,
    /// It failed so often that it is only tried now and then; what is due is held.
    CircuitOpen,
    /// Nothing is delivered.
    Disabled,
    /// It is gone for good.
    Deleted,
}

/// What a story takes from the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlook {
    /// Whether it is served.
    pub served: Served,
    /// Why it is disabled, if it is.
    pub disabled_by: Option<DisabledBy>,
    /// When its circuit's time is over, if it is open.
    pub circuit_until: Option<Timestamp>,
    /// How many attempts its schedule allows; unknown of one that was deleted.
    pub attempts: Option<u32>,
}

impl Outlook {
    /// That of an endpoint of which nothing is served any more.
    pub const DELETED: Self =
        Self { served: Served::Deleted, disabled_by: None, circuit_until: None, attempts: None };

    /// How `endpoint` is served `now`; one of which nothing is left was deleted.
    #[must_use]
    pub fn of(endpoint: Option<&Endpoint>, now: Timestamp) -> Self {
        let Some(endpoint) = endpoint else { return Self::DELETED };
        let (served, disabled_by) = match (endpoint.state, gate(endpoint, now)) {
            (State::Deleted, _) => return Self::DELETED,
            (State::Disabled(disabled), _) => (Served::Disabled, Some(disabled.by)),
            (State::Enabled, Gate::Probe | Gate::Hold(ParkedReason::CircuitOpen)) => {
                (Served::CircuitOpen, None)
            }
            (State::Enabled, _) => (Served::Enabled, None),
        };
        let circuit_until = endpoint.health.circuit.map(|circuit| circuit.until);
        Self { served, disabled_by, circuit_until, attempts: Some(endpoint.policy().attempts()) }
    }
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NextStep {
    /// When; null where that depends on something else than time.
    pub at: Option<Timestamp>,
    /// What, in words.
    pub description: String,
}

/// A delivery in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Story {
    /// Where it stands and why.
    pub summary: String,
    /// What comes next; null where nothing does.
    pub next_step: Option<NextStep>,
    /// What a person can do about it.
    pub suggested_action: String,
}

/// What a story is told of.
#[derive(Debug, Clone, Copy)]
pub struct Plot<'a> {
    /// Which delivery.
    pub id: DeliveryId,
    /// What is kept about it; nothing before its first attempt.
    pub delivery: Option<&'a Delivery>,
    /// How its endpoint is served.
    pub outlook: Outlook,
    /// When its event was accepted.
    pub accepted: Timestamp,
    /// When the story is told.
    pub now: Timestamp,
}

/// Tells it.
#[must_use]
pub fn tell(plot: Plot<'_>) -> Story {
    match plot.status() {
        Status::Pending => plot.pending(),
        Status::Retrying => plot.retrying(),
        Status::Parked => plot.parked(),
        Status::Succeeded => plot.succeeded(),
        Status::Exhausted => plot.exhausted(),
        Status::Cancelled => plot.cancelled(),
        Status::Expired => plot.expired(),
    }
}

impl Plot<'_> {
    fn status(&self) -> Status {
        self.delivery.map_or(Status::Pending, |delivery| delivery.status)
    }

    fn served(&self) -> Served {
        self.outlook.served
    }

    fn last(&self) -> Option<&Attempt> {
        self.delivery?.attempts.last()
    }

    fn generation(&self) -> u32 {
        self.delivery.map_or(0, |delivery| delivery.generation)
    }

    fn next_number(&self) -> u32 {
        self.last().map_or(1, |attempt| attempt.number + 1)
    }

    /// "Attempt 2 of 10", as far as the endpoint's schedule still tells.
    fn attempt(&self, n: u32) -> String {
        match self.outlook.attempts {
            Some(planned) if planned >= n => format!("Attempt {n} of {planned}"),
            _ => format!("Attempt {n}"),
        }
    }

    /// What the last attempt came to; nothing where there was none.
    fn last_in_words(&self) -> Option<String> {
        let attempt = self.last()?;
        let (words, at) = (self.attempt(attempt.number), seconds(attempt.started_at));
        Some(match (&attempt.error, attempt.status_code) {
            (Some(error), _) => format!("{words} failed on {at}: {error}."),
            (None, Some(status)) => format!("{words} succeeded on {at}: the endpoint answered {status}."),
            (None, None) => format!("{words} was made on {at}."),
        })
    }

    /// The last attempt, or what is said where there was none.
    fn so_far(&self, before_any: &str) -> String {
        self.replayed(self.last_in_words().as_deref().unwrap_or(before_any))
    }

    fn replayed(&self, words: &str) -> String {
        match self.generation() {
            0 => words.to_owned(),
            generation => format!("Replayed (generation {generation}). {words}"),
        }
    }

    /// What a person can do about the last failure.
    fn mend(&self) -> String {
        let failed = self.last().and_then(|attempt| Some((attempt.failure?, attempt.status_code)));
        failed.map_or_else(String::new, |(failure, status)| advice(failure, status) + " ")
    }

    fn enable(&self) -> String {
        format!("enable the endpoint: POST /v1/endpoints/{}/enable", self.id.endpoint)
    }

    fn resend(&self) -> String {
        format!("POST /v1/deliveries/{}/resend", self.id)
    }

    fn pending(&self) -> Story {
        let accepted = seconds(self.accepted);
        let summary =
            self.so_far(&format!("The event was accepted on {accepted}; no attempt has been made yet."));
        let due = self.delivery.and_then(|delivery| delivery.next_attempt_at);
        let (next, suggested_action) = match self.served() {
            Served::Enabled => {
                let waits = self.now.since(self.accepted);
                let wait = match self.delivery {
                    Some(_) => "Wait until its turn comes.",
                    None if waits < LATE => "Wait a moment.",
                    None if waits < OVERDUE => {
                        "Wait: it is in a queue behind others. Nothing is lost; what was never sent is found and sent within an hour and a quarter."
                    }
                    None => {
                        "It should have been attempted by now. Ask whoever runs this service; publishing the event again under its idempotency key sends it again."
                    }
                };
                (self.attempt_at(due), wait.to_owned())
            }
            _ => self.held_when_due(due),
        };
        Story { summary, next_step: Some(next), suggested_action }
    }

    fn retrying(&self) -> Story {
        let summary = self.so_far("No attempt is on record yet.");
        let due = self.delivery.and_then(|delivery| delivery.next_attempt_at);
        let (next, suggested_action) = match self.served() {
            Served::Enabled => {
                let mend = self.mend();
                (self.attempt_at(due), format!("{mend}It is tried again by itself."))
            }
            _ => self.held_when_due(due),
        };
        Story { summary, next_step: Some(next), suggested_action }
    }

    /// The next attempt at an endpoint that is served.
    fn attempt_at(&self, due: Option<Timestamp>) -> NextStep {
        let n = self.next_number();
        match due {
            Some(at) if at > self.now => {
                let wait = span(at.since(self.now));
                NextStep {
                    at: Some(at),
                    description: format!("attempt {n} is made on {}, in {wait}", seconds(at)),
                }
            }
            _ => NextStep {
                at: due,
                description: format!("attempt {n} is due now, and is made as soon as its turn comes"),
            },
        }
    }

    /// What becomes of an attempt that falls due while the endpoint is not served.
    fn held_when_due(&self, due: Option<Timestamp>) -> (NextStep, String) {
        let n = self.next_number();
        let when = match due {
            Some(at) if at > self.now => {
                format!("attempt {n} is due on {}, in {}", seconds(at), span(at.since(self.now)))
            }
            _ => format!("attempt {n} is due now"),
        };
        let (then, suggested_action) = match self.served() {
            Served::Deleted => (
                "the delivery is cancelled then, because its endpoint was deleted".to_owned(),
                ELSEWHERE.to_owned(),
            ),
            Served::Disabled => {
                ("it is held then until the endpoint is enabled".to_owned(), self.about_disabled())
            }
            Served::CircuitOpen | Served::Enabled => (self.circuit().1, self.about_circuit()),
        };
        (NextStep { at: due, description: format!("{when}; {then}") }, suggested_action)
    }

    fn parked(&self) -> Story {
        let reason =
            self.delivery.and_then(|delivery| delivery.parked_reason).unwrap_or(ParkedReason::Disabled);
        let held = match reason {
            ParkedReason::Disabled => "It is held, because the endpoint is disabled.",
            ParkedReason::CircuitOpen => {
                "It is held, because the endpoint failed so often that it is left alone for a while."
            }
            ParkedReason::RateLimit => {
                "It is held, because the endpoint has had as many webhooks as its rate limit allows."
            }
        };
        let summary = format!("{} {held}", self.so_far("No attempt has been made yet."));
        let (next, suggested_action) = match (self.served(), reason) {
            (Served::Deleted, _) => {
                let what = "the delivery is cancelled within some minutes, because its endpoint was deleted";
                (NextStep { at: None, description: what.to_owned() }, ELSEWHERE.to_owned())
            }
            (Served::Disabled, _) => {
                let what = "held until the endpoint is enabled".to_owned();
                (NextStep { at: None, description: what }, self.about_disabled())
            }
            (Served::CircuitOpen, _) => {
                let (at, what) = self.circuit();
                (NextStep { at, description: what }, self.about_circuit())
            }
            (Served::Enabled, ParkedReason::RateLimit) => {
                let what = "let go in its turn, the oldest first, as the rate limit allows".to_owned();
                let todo = format!(
                    "Wait, or raise the endpoint's rate_limit: PATCH /v1/endpoints/{}.",
                    self.id.endpoint
                );
                (NextStep { at: None, description: what }, todo)
            }
            (Served::Enabled, ParkedReason::Disabled | ParkedReason::CircuitOpen) => {
                let what = "the endpoint is served again: let go in its turn, the oldest first, beginning within a minute";
                let todo = "Wait: what was held is delivered by itself.".to_owned();
                (NextStep { at: None, description: what.to_owned() }, todo)
            }
        };
        Story { summary, next_step: Some(next), suggested_action }
    }

    /// When a circuit's time is over, and what comes then.
    fn circuit(&self) -> (Option<Timestamp>, String) {
        let until = self.outlook.circuit_until;
        let what = match until {
            Some(until) if until > self.now => format!(
                "held until the circuit's time is over on {}, in {}; one delivery is tried then, and all others follow once it succeeds",
                seconds(until),
                span(until.since(self.now))
            ),
            _ => "held; one delivery is tried now, and all others follow once it succeeds".to_owned(),
        };
        (until, what)
    }

    fn about_circuit(&self) -> String {
        let mend = match self.mend() {
            mend if mend.is_empty() => format!(
                "See what the endpoint answers: GET /v1/endpoints/{}/deliveries?status=retrying. ",
                self.id.endpoint
            ),
            mend => mend,
        };
        format!("{mend}As soon as the endpoint answers with 2xx again, what was held is delivered by itself.")
    }

    fn about_disabled(&self) -> String {
        let enable = self.enable();
        match self.outlook.disabled_by.unwrap_or(DisabledBy::Request) {
            DisabledBy::Request => format!("When it is to be delivered, {enable}."),
            DisabledBy::Gone => {
                format!(
                    "The endpoint was disabled, because it answered 410 Gone. If it is to get webhooks after all, mend that and {enable}."
                )
            }
            DisabledBy::Failing => {
                format!(
                    "The endpoint was disabled, because it failed for days. {}Then {enable}.",
                    self.mend()
                )
            }
        }
    }

    fn succeeded(&self) -> Story {
        let suggested_action = "Nothing. If the receiver has no trace of it, look there for the webhook-id, which is the event's id.";
        Story {
            summary: self.so_far("It succeeded."),
            next_step: None,
            suggested_action: suggested_action.to_owned(),
        }
    }

    fn exhausted(&self) -> Story {
        let made = self.delivery.map_or(0, |delivery| delivery.attempts.len());
        let last = self.last_in_words().unwrap_or_default();
        let words = match made {
            0 => "No attempt is on record.".to_owned(),
            1 => format!("The only attempt failed. {last}"),
            _ => format!("All {made} attempts failed. {last}"),
        };
        let summary = self.replayed(&words);
        Story { summary, next_step: None, suggested_action: self.again(&self.mend()) }
    }

    fn cancelled(&self) -> Story {
        let why = match self.served() {
            Served::Deleted => "It was called off, because its endpoint was deleted.",
            _ => "It was called off by a person: itself, or with all that was held for its endpoint.",
        };
        let summary = format!("{} {why}", self.so_far("No attempt was made."));
        Story { summary, next_step: None, suggested_action: self.again("") }
    }

    fn expired(&self) -> Story {
        let why = "It was not finished when the time was over for which events are kept.";
        let summary = format!("{} {why}", self.so_far("No attempt was made."));
        Story { summary, next_step: None, suggested_action: self.again(&self.mend()) }
    }

    /// How a finished delivery is made once more, after `first`.
    fn again(&self, first: &str) -> String {
        let resend = self.resend();
        match self.served() {
            Served::Deleted => ELSEWHERE.to_owned(),
            Served::Disabled => {
                format!(
                    "{first}Nothing more comes by itself. To have it delivered after all, {} and then {resend}.",
                    self.enable()
                )
            }
            Served::Enabled | Served::CircuitOpen => {
                format!("{first}Nothing more comes by itself. To have it delivered after all: {resend}.")
            }
        }
    }
}

#[cfg(test)]
mod tests;
