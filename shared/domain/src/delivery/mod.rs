//! Deliveries: their states, their attempts, and who may act on them when.
//!
//! The rules keep one promise: every delivery that is not finished has a live driver, a message
//! in a lane or an entry in the due index. The state machine that keeps it is [`engine`]; what follows
//! an attempt is decided in [`retry`], and where a delivery waits for that in [`driver`]. Which
//! deliveries are held, replayed or lost is in [`crate::recovery`].

pub mod attempt;
pub mod driver;
pub mod engine;
pub mod lane;
pub mod retry;
pub mod stats;

use std::{collections::BTreeMap, fmt, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Timestamp,
    delivery::attempt::{AttemptDetails, Timing},
    text::text_enum,
};

/// How long events and deliveries are kept, in days. Longer than the longest retry schedule.
pub const RETENTION_DAYS: u64 = 30;

/// The same as a span of time.
pub const RETENTION: Duration = Duration::from_hours(24 * RETENTION_DAYS);

text_enum! {
    /// The status of a delivery.
    #[schemars(rename = "DeliveryStatus")]
    pub enum Status {
        /// On its way, not attempted yet.
        Pending = "pending",
        /// Attempted without success; tried again at `next_attempt_at`.
        Retrying = "retrying",
        /// Waiting for its endpoint, not for a time; see `parked_reason`.
        Parked = "parked",
        /// The endpoint responded 2xx. Final.
        Succeeded = "succeeded",
        /// Every attempt of the schedule failed. Final.
        Exhausted = "exhausted",
        /// Cancelled, by a person or because its endpoint was deleted. Final.
        Cancelled = "cancelled",
        /// Not finished when its event's retention ended. Final.
        Expired = "expired",
    }
}

impl Status {
    /// Whether nothing further happens automatically.
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::Pending | Self::Retrying | Self::Parked => false,
            Self::Succeeded | Self::Exhausted | Self::Cancelled | Self::Expired => true,
        }
    }

    /// The status of a delivery for which this one is stored: what was parked before its first
    /// attempt is pending again once it is let go.
    #[must_use]
    pub fn shown(stored: Self, attempts: u32) -> Self {
        if stored == Self::Retrying && attempts == 0 { Self::Pending } else { stored }
    }

    /// Which group of its endpoint's deliveries it is listed in.
    #[must_use]
    pub fn group(self) -> Group {
        match self {
            Self::Pending | Self::Retrying | Self::Parked => Group::Open,
            Self::Exhausted | Self::Cancelled | Self::Expired => Group::Failed,
            Self::Succeeded => Group::Delivered,
        }
    }
}

text_enum! {
    /// What lists of an endpoint's deliveries are kept apart by.
    ///
    /// In the order in which a delivery can go through them: a reader that takes them in this order
    /// misses none that moves meanwhile.
    pub enum Group {
        /// Not finished.
        Open = "open",
        /// Finished without success.
        Failed = "failed",
        /// Succeeded.
        Delivered = "delivered",
    }
}

text_enum! {
    /// What a parked delivery waits for.
    pub enum ParkedReason {
        /// The endpoint failed so often that it is left alone for a while.
        CircuitOpen = "circuit_open",
        /// The endpoint takes no more for now, by its own rate limit or because it said so.
        RateLimit = "rate_limit",
        /// The endpoint is disabled, and what it misses is held for it.
        Disabled = "disabled",
    }
}

/// Why an attempt did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The endpoint responded, but not with 2xx.
    HttpStatus,
    /// The host's name was not found.
    Dns,
    /// No connection to the host.
    Connect,
    /// The host's certificate or TLS was invalid.
    Tls,
    /// No complete response within the timeout.
    Timeout,
    /// The connection broke, or what came was not HTTP.
    Protocol,
    /// The endpoint responded with 2xx, but the response's body broke off or had not ended when the
    /// timeout ended: a receiver that died while it responded may not have kept the webhook.
    Body,
    /// The address may not be called.
    BlockedAddress,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HttpStatus => "the endpoint did not respond with 2xx",
            Self::Dns => "the host name could not be resolved",
            Self::Connect => "no connection could be made to the host",
            Self::Tls => "the TLS handshake failed; check the certificate and its chain",
            Self::Timeout => "the endpoint did not respond in time",
            Self::Protocol => "the connection broke before a complete HTTP response arrived",
            Self::Body => {
                "the endpoint's response began with 2xx, but its body broke off or did not end in time"
            }
            Self::BlockedAddress => "the host resolves to an address that may not be called",
        })
    }
}

/// The outcome of one HTTP request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The endpoint responded.
    Response {
        /// HTTP status code.
        status: u16,
        /// The `Retry-After` header, if there was one.
        retry_after: Option<String>,
        /// The beginning of the body, at most [`attempt::EXCERPT_LIMIT`] bytes.
        excerpt: String,
    },
    /// It did not.
    Failed(Failure),
}

impl Outcome {
    /// Whether the webhook counts as received.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Response { status: 200..=299, .. })
    }

    /// Whether the endpoint is gone for good: 410.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Response { status: 410, .. })
    }

    /// Whether the endpoint, or a proxy before it, has too much to do: 429, 502, 504
    /// (Standard Webhooks 1.0.0 names these for throttling), or any response that says when to come
    /// again.
    #[must_use]
    pub fn is_throttle(&self) -> bool {
        match self {
            Self::Response { status: 429 | 502 | 504, .. } => true,
            Self::Response { status: 503, retry_after, .. } => retry_after.is_some(),
            _ => false,
        }
    }
}

/// One HTTP try, as it is kept and shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// Counted from 1.
    pub number: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u32,
    /// Whether the request was sent, in whole or in part. `false`: it never was, so the receiver
    /// cannot have it: there was no address, no connection, or no TLS, or the address may not be
    /// called.
    #[serde(default = "was_sent")]
    pub sent: bool,
    /// How long its parts took; null where that was not measured.
    #[serde(default)]
    pub timing: Option<Timing>,
    /// The HTTP status code, if the endpoint responded.
    #[serde(default)]
    pub status_code: Option<u16>,
    /// What went wrong; absent on success.
    #[serde(default)]
    pub failure: Option<Failure>,
    /// The same in words.
    #[serde(default)]
    pub error: Option<String>,
    /// Those of the response's headers that are kept.
    #[serde(default)]
    pub response_headers: BTreeMap<String, String>,
    /// The beginning of the response's body: at most 512 bytes, or 4 KiB of the last attempt where
    /// that failed.
    #[serde(default)]
    pub response_excerpt: Option<String>,
}

impl Attempt {
    /// The record of `outcome`, without its details.
    #[must_use]
    pub fn new(number: u32, started_at: Timestamp, duration_ms: u32, outcome: &Outcome) -> Self {
        let (status_code, failure, excerpt) = match outcome {
            Outcome::Response { status, excerpt, .. } => {
                let failure = (!outcome.is_success()).then_some(Failure::HttpStatus);
                (Some(*status), failure, (!excerpt.is_empty()).then(|| excerpt.clone()))
            }
            Outcome::Failed(failure) => (None, Some(*failure), None),
        };
        Self {
            number,
            started_at,
            duration_ms,
            sent: true,
            timing: None,
            status_code,
            failure,
            error: in_words(status_code, failure, true),
            response_headers: BTreeMap::new(),
            response_excerpt: excerpt,
        }
    }

    /// The same with its details. A success keeps less of its response.
    #[must_use]
    pub fn with_details(mut self, details: AttemptDetails) -> Self {
        self.sent = details.sent;
        self.error = in_words(self.status_code, self.failure, self.sent);
        self.timing = Some(details.timing);
        self.response_headers = details.headers;
        if self.failure.is_none()
            && let Some(excerpt) = &mut self.response_excerpt
        {
            excerpt.truncate(attempt::success_excerpt(excerpt, &self.response_headers).len());
        }
        self
    }
}

/// What a stored attempt is that does not say otherwise.
fn was_sent() -> bool {
    true
}

/// What went wrong, in words, and whether the receiver can have the webhook.
#[must_use]
pub fn in_words(status_code: Option<u16>, failure: Option<Failure>, sent: bool) -> Option<String> {
    failure.map(|failure| match status_code {
        Some(status @ 300..=399) => {
            format!("the endpoint responded with {status}; redirects are not followed")
        }
        Some(status) => format!("the endpoint responded with {status}"),
        None if !sent => format!("{failure}; the request was never sent"),
        None => failure.to_string(),
    })
}

/// One event's way to one endpoint, as the store knows it. One that was never attempted is not
/// stored: it is `pending` because its event's snapshot names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its status.
    pub status: Status,
    /// 0 until it is replayed.
    pub generation: u32,
    /// All tries so far, in order.
    pub attempts: Vec<Attempt>,
    /// When the next try is due; unless it is parked or finished.
    pub next_attempt_at: Option<Timestamp>,
    /// What it waits for; only while `parked`.
    pub parked_reason: Option<ParkedReason>,
    /// Whether it has a place in the due index, which is a driver in itself.
    pub in_due_index: bool,
}

impl Delivery {
    /// What of it shows whether it still has a driver.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing {
            status: self.status,
            next_attempt_at: self.next_attempt_at,
            in_due_index: self.in_due_index,
        }
    }
}

/// What of a delivery shows whether it still has a driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Its status.
    pub status: Status,
    /// When the next attempt is due; unless it is parked or finished.
    pub next_attempt_at: Option<Timestamp>,
    /// Whether it has a place in the due index, which is a driver in itself.
    pub in_due_index: bool,
}

#[cfg(test)]
mod tests;
