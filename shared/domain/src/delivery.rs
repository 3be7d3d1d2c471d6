//! Deliveries: their states, their attempts, and who may act on them when.
//!
//! The rules keep one promise: every delivery that is not finished has a live driver, a message
//! in a lane. What to do after an attempt is decided in [`crate::retry`].

use std::{fmt, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Longest excerpt of an endpoint's answer that an attempt keeps, in bytes. An update bills the
/// whole item, so every byte kept is paid for on each later attempt.
pub const EXCERPT_LIMIT: usize = 512;

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// In a lane, not attempted yet.
    Pending,
    /// Attempted without success; tried again at `next_attempt_at`.
    Retrying,
    /// The endpoint answered 2xx. Final.
    Succeeded,
    /// Every attempt of the schedule failed. Final.
    Exhausted,
}

impl Status {
    /// Whether nothing further happens by itself.
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::Pending | Self::Retrying => false,
            Self::Succeeded | Self::Exhausted => true,
        }
    }

    /// The word for it, in the store and the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Retrying => "retrying",
            Self::Succeeded => "succeeded",
            Self::Exhausted => "exhausted",
        }
    }
}

/// Why an attempt got no answer that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The endpoint answered, but not with 2xx.
    Status,
    /// The host's name was not found.
    Dns,
    /// No connection to the host.
    Connect,
    /// The host's certificate or TLS was not acceptable.
    Tls,
    /// No whole answer within the time-out.
    Timeout,
    /// The connection broke, or what came was not HTTP.
    Protocol,
    /// The address may not be called.
    RefusedAddress,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Status => "the endpoint did not answer with 2xx",
            Self::Dns => "the host name could not be resolved",
            Self::Connect => "no connection could be made to the host",
            Self::Tls => "the TLS handshake failed; check the certificate and its chain",
            Self::Timeout => "the endpoint did not answer in time",
            Self::Protocol => "the connection broke before a whole HTTP answer came",
            Self::RefusedAddress => "the host resolves to an address that may not be called",
        })
    }
}

/// What came of one HTTP try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The endpoint answered.
    Answered {
        /// HTTP status code.
        status: u16,
        /// The `Retry-After` header, if there was one.
        retry_after: Option<String>,
        /// The beginning of the body, at most [`EXCERPT_LIMIT`] bytes.
        excerpt: String,
    },
    /// It did not.
    Failed(Failure),
}

impl Outcome {
    /// Whether the webhook counts as received.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Answered { status: 200..=299, .. })
    }
}

/// One HTTP try, as it is kept and shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// Counted from 1.
    pub n: u32,
    /// When it began.
    pub at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u32,
    /// The HTTP status code, if the endpoint answered.
    #[serde(default)]
    pub status_code: Option<u16>,
    /// What went wrong; absent on success.
    #[serde(default)]
    pub failure: Option<Failure>,
    /// The same in words.
    #[serde(default)]
    pub error: Option<String>,
    /// The beginning of the answer's body, at most 512 bytes.
    #[serde(default)]
    pub response_excerpt: Option<String>,
}

impl Attempt {
    /// The record of `outcome`.
    #[must_use]
    pub fn new(n: u32, at: Timestamp, duration_ms: u32, outcome: &Outcome) -> Self {
        let (status_code, failure, excerpt) = match outcome {
            Outcome::Answered { status, excerpt, .. } => {
                let failure = (!outcome.is_success()).then_some(Failure::Status);
                (Some(*status), failure, (!excerpt.is_empty()).then(|| excerpt.clone()))
            }
            Outcome::Failed(failure) => (None, Some(*failure), None),
        };
        let error = failure.map(|failure| match status_code {
            Some(status @ 300..=399) => format!("the endpoint answered {status}; redirects are not followed"),
            Some(status) => format!("the endpoint answered {status}"),
            None => failure.to_string(),
        });
        Self { n, at, duration_ms, status_code, failure, error, response_excerpt: excerpt }
    }
}

/// One event's way to one endpoint, as the store knows it. One that was never attempted is not
/// stored: it is `pending` because its event's snapshot names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Where it stands.
    pub status: Status,
    /// 0 until it is replayed.
    pub generation: u32,
    /// All tries so far, in order.
    pub attempts: Vec<Attempt>,
    /// When the next try is due; only while `retrying`.
    pub next_attempt_at: Option<Timestamp>,
}

/// What a dispatcher may do with a message it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Make attempt number n.
    Attempt(u32),
    /// Nothing is left to do: delete the message.
    Drop,
    /// Not yet: keep the message hidden until then.
    Keep(Timestamp),
}

/// How long after its event was accepted a message is taken for the first of its delivery. A
/// repeated publish sends another, which arrives 30 s after the acceptance at the earliest: this,
/// an attempt (15 s) and its recording (3 s) end before that.
pub const FRESH: Duration = Duration::from_secs(10);

/// By how much a message that is not the driver of the next attempt stays behind it. Where two
/// messages drive one delivery, the first then makes the attempt and the second finds it made.
const BEHIND: Duration = Duration::from_secs(20);

/// How far a due attempt must have been missed before its driver is taken for lost.
const LOST_AFTER: Duration = Duration::from_hours(1);

/// Whether the message can be acted on without reading the delivery: the first time it comes,
/// unless another message may have come before it.
#[must_use]
pub fn may_skip_reading(
    generation: u32,
    received: u32,
    check: bool,
    accepted: Timestamp,
    now: Timestamp,
) -> bool {
    generation == 0 && received <= 1 && !check && now.since(accepted) < FRESH
}

/// Decides what to do with a message, given the stored delivery.
///
/// A message that a repeated publish sent (`check`) and that comes for the first time is dropped
/// as soon as the delivery is stored: whoever stored it holds the driver. Where the next attempt
/// is long overdue that driver is lost, and the message takes its place; so does one that comes
/// again, since it may be the driver itself.
#[must_use]
pub fn claim(stored: Option<&Delivery>, check: bool, received: u32, now: Timestamp) -> Claim {
    let Some(delivery) = stored else { return Claim::Attempt(1) };
    if delivery.status.is_final() {
        return Claim::Drop;
    }
    let due = delivery.next_attempt_at.unwrap_or(now);
    if check && received <= 1 && now.since(due) < LOST_AFTER {
        Claim::Drop
    } else if due > now {
        Claim::Keep(due + BEHIND)
    } else {
        Claim::Attempt(next_number(delivery))
    }
}

/// The number of the attempt after those recorded.
#[must_use]
pub fn next_number(delivery: &Delivery) -> u32 {
    delivery.attempts.iter().map(|attempt| attempt.n).max().unwrap_or(0) + 1
}

/// What one does whose attempt was not recorded because another was recorded in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The delivery is finished: delete the message.
    Drop,
    /// The endpoint has taken it, which the record does not know yet: record the success as
    /// the next attempt.
    RecordSuccess,
    /// Keep the message: it may be the only driver.
    Keep(Timestamp),
}

/// Decides for the loser of a recording, given what is stored.
#[must_use]
pub fn lose(stored: &Delivery, succeeded: bool, now: Timestamp) -> Lost {
    if stored.status.is_final() {
        Lost::Drop
    } else if succeeded {
        Lost::RecordSuccess
    } else {
        Lost::Keep(stored.next_attempt_at.unwrap_or(now) + BEHIND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn stored(status: Status, attempts: u32, next: Option<i64>) -> Delivery {
        let failed = Outcome::Failed(Failure::Timeout);
        Delivery {
            status,
            generation: 0,
            attempts: (1..=attempts).map(|n| Attempt::new(n, at(0), 1, &failed)).collect(),
            next_attempt_at: next.map(at),
        }
    }

    #[test]
    fn only_a_first_try_skips_the_read() {
        for (generation, received, check, age, skips) in [
            (0, 1, false, 0, true),
            (0, 1, false, 9, true),
            (0, 1, false, 10, false),
            (0, 2, false, 0, false),
            (0, 1, true, 0, false),
            (1, 1, false, 0, false),
        ] {
            assert_eq!(may_skip_reading(generation, received, check, at(100), at(100 + age)), skips);
        }
    }

    #[test]
    fn claims() {
        let retrying = stored(Status::Retrying, 2, Some(100));
        for (stored, check, received, now, expected) in [
            (None, false, 2, 0, Claim::Attempt(1)),
            (None, true, 1, 0, Claim::Attempt(1)),
            (Some(&retrying), false, 2, 99, Claim::Keep(at(120))),
            (Some(&retrying), false, 2, 100, Claim::Attempt(3)),
            (Some(&retrying), true, 1, 100, Claim::Drop),
            (Some(&retrying), true, 1, 100 + 3599, Claim::Drop),
            (Some(&retrying), true, 1, 100 + 3600, Claim::Attempt(3)),
            (Some(&retrying), true, 2, 99, Claim::Keep(at(120))),
            (Some(&stored(Status::Succeeded, 1, None)), false, 2, 0, Claim::Drop),
            (Some(&stored(Status::Exhausted, 9, None)), true, 5, 0, Claim::Drop),
        ] {
            assert_eq!(claim(stored, check, received, at(now)), expected);
        }
    }

    #[test]
    fn a_loser_never_drops_the_only_driver() {
        let retrying = stored(Status::Retrying, 1, Some(50));
        assert_eq!(lose(&retrying, false, at(10)), Lost::Keep(at(70)));
        assert_eq!(lose(&retrying, true, at(10)), Lost::RecordSuccess);
        assert_eq!(lose(&stored(Status::Succeeded, 1, None), true, at(10)), Lost::Drop);
        assert_eq!(lose(&stored(Status::Exhausted, 9, None), false, at(10)), Lost::Drop);
    }

    #[test]
    fn attempts_tell_what_happened() {
        let answered = |status| Outcome::Answered { status, retry_after: None, excerpt: "x".into() };
        let attempt = Attempt::new(1, at(0), 5, &answered(204));
        assert_eq!((attempt.failure, attempt.error), (None, None));
        let attempt = Attempt::new(1, at(0), 5, &answered(301));
        assert_eq!(attempt.failure, Some(Failure::Status));
        assert_eq!(attempt.error.unwrap(), "the endpoint answered 301; redirects are not followed");
        let attempt = Attempt::new(1, at(0), 5, &Outcome::Failed(Failure::Dns));
        assert_eq!(attempt.status_code, None);
        assert!(attempt.error.unwrap().contains("resolved"));
    }
}
