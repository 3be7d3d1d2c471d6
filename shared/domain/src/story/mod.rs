//! A delivery's story in words: what happened, what comes next and when, and what a person can do.
//!
//! The words explain "where is my webhook?" for people who know nothing of this code.
//! They are made from the stored fields, so that both always agree.
//! Only words belong here: which state follows which is decided in `delivery`.

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
use words::{seconds, span};

/// How long a first attempt can take before the words explain the delay …
const LATE: Duration = Duration::from_mins(2);
/// … and before they say that it is overdue: a delivery that was never sent is found before that.
const OVERDUE: Duration = Duration::from_mins(90);

/// What can be done after the endpoint was deleted.
const ELSEWHERE: &str =
    "The endpoint was deleted. To deliver this event elsewhere, replay it to another endpoint.";

/// Whether webhooks are sent to an endpoint, as far as a delivery's story depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Availability {
    /// Its webhooks are delivered.
    Enabled,
    /// It failed so often that it is only probed; due deliveries are held.
    CircuitOpen,
    /// Nothing is delivered.
    Disabled,
    /// It was deleted.
    Deleted,
}

/// The state of the endpoint, as far as a story depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlook {
    /// Whether it is served.
    pub served: Availability,
    /// Why it is disabled, if it is.
    pub disabled_by: Option<DisabledBy>,
    /// When its open circuit lets a probe through.
    pub circuit_until: Option<Timestamp>,
    /// How many attempts its schedule allows; unknown after it was deleted.
    pub attempts: Option<u32>,
}

impl Outlook {
    /// Of an endpoint that was deleted.
    pub const DELETED: Self =
        Self { served: Availability::Deleted, disabled_by: None, circuit_until: None, attempts: None };

    /// Of `endpoint` at `now`; one that is not stored was deleted.
    #[must_use]
    pub fn of(endpoint: Option<&Endpoint>, now: Timestamp) -> Self {
        let Some(endpoint) = endpoint else { return Self::DELETED };
        let (served, disabled_by) = match (endpoint.state, gate(endpoint, now)) {
            (State::Deleted, _) => return Self::DELETED,
            (State::Disabled(disabled), _) => (Availability::Disabled, Some(disabled.by)),
            (State::Enabled, Gate::Probe | Gate::Hold(ParkedReason::CircuitOpen)) => {
                (Availability::CircuitOpen, None)
            }
            (State::Enabled, _) => (Availability::Enabled, None),
        };
        let circuit_until = endpoint.health.circuit.map(|circuit| circuit.until);
        Self { served, disabled_by, circuit_until, attempts: Some(endpoint.policy().attempts()) }
    }
}

/// What happens next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NextStep {
    /// When; null if that depends on something else than time.
    pub at: Option<Timestamp>,
    /// What, in words.
    pub description: String,
}

/// A delivery in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Story {
    /// Its state and the reason for it.
    pub summary: String,
    /// What happens next; null if nothing does.
    pub next_step: Option<NextStep>,
    /// What a person can do about it.
    pub suggested_action: String,
}

/// What a story is made from.
#[derive(Debug, Clone, Copy)]
pub struct Plot<'a> {
    /// Which delivery.
    pub id: DeliveryId,
    /// What is stored of it; nothing before its first attempt.
    pub delivery: Option<&'a Delivery>,
    /// The state of its endpoint.
    pub outlook: Outlook,
    /// When its event was accepted.
    pub accepted: Timestamp,
    /// The present time.
    pub now: Timestamp,
}

/// Describes a delivery in words.
#[must_use]
pub fn describe(plot: Plot<'_>) -> Story {
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

    fn served(&self) -> Availability {
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

    /// "Attempt 2 of 10", as far as the endpoint's present schedule says.
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
            (Some(error), _) => format!("{words} failed at {at}: {error}."),
            (None, Some(status)) => {
                format!("{words} succeeded at {at}: the endpoint responded with {status}.")
            }
            (None, None) => format!("{words} was made at {at}."),
        })
    }

    /// The last attempt, or `before_any` if there was none.
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
    fn remedy(&self) -> String {
        let failed = self.last().filter(|attempt| attempt.failure.is_some());
        failed.map_or_else(String::new, |attempt| format!("{} ", advice::after(attempt)))
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
            self.so_far(&format!("The event was accepted at {accepted}; no attempt has been made yet."));
        let due = self.delivery.and_then(|delivery| delivery.next_attempt_at);
        let (next, suggested_action) = match self.served() {
            Availability::Enabled => {
                let waits = self.now.since(self.accepted);
                let wait = match self.delivery {
                    Some(_) => "Wait.",
                    None if waits < LATE => "Wait.",
                    None if waits < OVERDUE => {
                        "Wait: it is queued behind others. A delivery that was never sent is found and sent within 75 minutes."
                    }
                    None => {
                        "Overdue. Contact the service operator, or publish the event again under its idempotency key."
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
            Availability::Enabled => {
                let remedy = self.remedy();
                (self.attempt_at(due), format!("{remedy}The delivery is retried automatically."))
            }
            _ => self.held_when_due(due),
        };
        Story { summary, next_step: Some(next), suggested_action }
    }

    /// The next attempt at an enabled endpoint.
    fn attempt_at(&self, due: Option<Timestamp>) -> NextStep {
        let n = self.next_number();
        match due {
            Some(at) if at > self.now => {
                let wait = span(at.since(self.now));
                NextStep { at: Some(at), description: format!("attempt {n} at {} (in {wait})", seconds(at)) }
            }
            _ => NextStep { at: due, description: format!("attempt {n} is due now and is made in its turn") },
        }
    }

    /// What happens to an attempt that falls due while webhooks are not sent to the endpoint.
    fn held_when_due(&self, due: Option<Timestamp>) -> (NextStep, String) {
        let n = self.next_number();
        let when = match due {
            Some(at) if at > self.now => {
                format!("attempt {n} is due at {} (in {})", seconds(at), span(at.since(self.now)))
            }
            _ => format!("attempt {n} is due now"),
        };
        let (then, suggested_action) = match self.served() {
            Availability::Deleted => (
                "the delivery is then cancelled, because its endpoint was deleted".to_owned(),
                ELSEWHERE.to_owned(),
            ),
            Availability::Disabled => {
                ("it is then held until the endpoint is enabled".to_owned(), self.about_disabled())
            }
            Availability::CircuitOpen | Availability::Enabled => (self.circuit().1, self.about_circuit()),
        };
        (NextStep { at: due, description: format!("{when}; {then}") }, suggested_action)
    }

    fn parked(&self) -> Story {
        let reason =
            self.delivery.and_then(|delivery| delivery.parked_reason).unwrap_or(ParkedReason::Disabled);
        let held = match reason {
            ParkedReason::Disabled => "It is held, because the endpoint is disabled.",
            ParkedReason::CircuitOpen => {
                "It is held, because the endpoint's circuit is open after many failures."
            }
            ParkedReason::RateLimit => "It is held, because the endpoint's rate limit is reached.",
            ParkedReason::SlowEndpoint => {
                "It is held, because the endpoint responds slowly and gets more than it keeps up with."
            }
        };
        let summary = format!("{} {held}", self.so_far("No attempt has been made yet."));
        let (next, suggested_action) = match (self.served(), reason) {
            (Availability::Deleted, _) => {
                let what = "the delivery is cancelled within some minutes, because its endpoint was deleted";
                (NextStep { at: None, description: what.to_owned() }, ELSEWHERE.to_owned())
            }
            (Availability::Disabled, _) => {
                let what = "held until the endpoint is enabled".to_owned();
                (NextStep { at: None, description: what }, self.about_disabled())
            }
            (Availability::CircuitOpen, _) => {
                let (at, what) = self.circuit();
                (NextStep { at, description: what }, self.about_circuit())
            }
            (Availability::Enabled, ParkedReason::RateLimit) => {
                let what = "released oldest first, as the rate limit allows".to_owned();
                let todo = format!(
                    "Wait, or raise the endpoint's rate_limit: PATCH /v1/endpoints/{}.",
                    self.id.endpoint
                );
                (NextStep { at: None, description: what }, todo)
            }
            (Availability::Enabled, ParkedReason::SlowEndpoint) => {
                let what = "released oldest first, at a pace for slow endpoints".to_owned();
                let todo = "Have the receiver respond before it processes the webhook: an endpoint that responds within 5 s is served at once.".to_owned();
                (NextStep { at: None, description: what }, todo)
            }
            (Availability::Enabled, ParkedReason::Disabled | ParkedReason::CircuitOpen) => {
                let what = "the endpoint is enabled again: held deliveries are released oldest first, starting within a minute";
                let todo = "Wait: held deliveries are sent automatically.".to_owned();
                (NextStep { at: None, description: what.to_owned() }, todo)
            }
        };
        Story { summary, next_step: Some(next), suggested_action }
    }

    /// When an open circuit lets a probe through, and what follows.
    fn circuit(&self) -> (Option<Timestamp>, String) {
        let until = self.outlook.circuit_until;
        let what = match until {
            Some(until) if until > self.now => format!(
                "held until {} (in {}), when one delivery is tried; the others follow when it succeeds",
                seconds(until),
                span(until.since(self.now))
            ),
            _ => "held; one delivery is tried now, and the others follow when it succeeds".to_owned(),
        };
        (until, what)
    }

    fn about_circuit(&self) -> String {
        let remedy = match self.remedy() {
            remedy if remedy.is_empty() => format!(
                "Check how the endpoint responds: GET /v1/endpoints/{}/deliveries?status=retrying. ",
                self.id.endpoint
            ),
            remedy => remedy,
        };
        format!("{remedy}Held deliveries are sent automatically when the endpoint responds with 2xx again.")
    }

    fn about_disabled(&self) -> String {
        let enable = self.enable();
        match self.outlook.disabled_by.unwrap_or(DisabledBy::Request) {
            DisabledBy::Request => format!("To deliver it, {enable}."),
            DisabledBy::Gone => {
                format!(
                    "The endpoint was disabled, because it responded 410 Gone. To deliver webhooks to it again, change that and {enable}."
                )
            }
            DisabledBy::Failing => {
                format!(
                    "The endpoint was disabled, because every attempt failed for days. {}Then {enable}.",
                    self.remedy()
                )
            }
        }
    }

    fn succeeded(&self) -> Story {
        let suggested_action =
            "Nothing. To find it in the receiver's log, search for the event's id, which is the webhook-id.";
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
        Story { summary, next_step: None, suggested_action: self.again(&self.remedy()) }
    }

    fn cancelled(&self) -> Story {
        let why = match self.served() {
            Availability::Deleted => "Cancelled because the endpoint was deleted.",
            _ => "Cancelled by request: this delivery alone, or all held deliveries of its endpoint.",
        };
        let summary = format!("{} {why}", self.so_far("No attempt was made."));
        Story { summary, next_step: None, suggested_action: self.again("") }
    }

    fn expired(&self) -> Story {
        let why = "Expired: it was not finished when the retention of its event ended.";
        let summary = format!("{} {why}", self.so_far("No attempt was made."));
        Story { summary, next_step: None, suggested_action: self.again(&self.remedy()) }
    }

    /// How a finished delivery is sent once more, after `first`.
    fn again(&self, first: &str) -> String {
        let resend = self.resend();
        match self.served() {
            Availability::Deleted => ELSEWHERE.to_owned(),
            Availability::Disabled => {
                format!(
                    "{first}It is not retried automatically. To deliver it, {} and then {resend}.",
                    self.enable()
                )
            }
            Availability::Enabled | Availability::CircuitOpen => {
                format!("{first}It is not retried automatically. To deliver it: {resend}.")
            }
        }
    }
}

#[cfg(test)]
mod tests;
