//! When a call is repeated, and after which pause: as the SDK's standard mode does it, so that a table or a queue at
//! its limit sees one behaviour from all of our calls.
//!
//! Source: <https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html>; the numbers are those of the
//! SDK for Rust, with which `tests` compare.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use http::StatusCode;

use super::error::CallError;

/// Attempts of one call at most.
const CALL_ATTEMPTS: u32 = 3;

/// The longest pause before the first retry; each later one is twice as long, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// What retries cost, so that a service that is down is not called three times as often.
const RETRY_QUOTA: u32 = 500;
const TRANSIENT_COST: u32 = 10;
const THROTTLING_COST: u32 = 5;
/// What a call that needs no retry pays back.
const SUCCESS_RETURN: u32 = 1;

/// Codes of a service that is called too often. The list of the SDKs.
const THROTTLING: [&str; 14] = [
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottledException",
    "TooManyRequestsException",
    "ProvisionedThroughputExceededException",
    "TransactionInProgressException",
    "RequestLimitExceeded",
    "BandwidthLimitExceeded",
    "LimitExceededException",
    "RequestThrottled",
    "SlowDown",
    "PriorRequestNotComplete",
    "EC2ThrottledException",
];

/// Codes of what may have been an accident.
const TRANSIENT: [&str; 2] = ["RequestTimeout", "RequestTimeoutException"];

/// Why a call may succeed when it is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RetryKind {
    /// The service had no capacity.
    Throttling,
    /// The connection, or the service, failed.
    Transient,
}

impl RetryKind {
    /// The kind of this error; `None` where a retry would fail again.
    pub(super) fn of(error: &CallError) -> Option<Self> {
        let response = match error {
            CallError::NotSent(_) | CallError::NoResponse(_) => return Some(Self::Transient),
            CallError::Malformed(_) => return None,
            CallError::Refused(response) => response,
        };
        if THROTTLING.contains(&response.code.as_str()) {
            return Some(Self::Throttling);
        }
        let transient = matches!(
            response.status,
            StatusCode::INTERNAL_SERVER_ERROR
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        );
        (transient || TRANSIENT.contains(&response.code.as_str())).then_some(Self::Transient)
    }
}

/// The pause after this attempt, counted from 1: at random, unless the service asks for another.
pub(super) fn pause(attempt: u32, retry_after: Option<Duration>, random: f64) -> Duration {
    let random =
        || FIRST_PAUSE.saturating_mul(2u32.saturating_pow(attempt.saturating_sub(1))).mul_f64(random);
    retry_after.unwrap_or_else(random).min(LONGEST_PAUSE)
}

/// The quota that retries are paid from.
#[derive(Debug)]
pub(super) struct Retries {
    left: Mutex<u32>,
}

impl Default for Retries {
    fn default() -> Self {
        Self { left: Mutex::new(RETRY_QUOTA) }
    }
}

impl Retries {
    /// Pays for a retry after this attempt; its cost. `None` where there was the last attempt, or not enough is left.
    pub(super) fn pay(&self, kind: RetryKind, attempt: u32) -> Option<u32> {
        let cost = match kind {
            RetryKind::Throttling => THROTTLING_COST,
            RetryKind::Transient => TRANSIENT_COST,
        };
        if attempt >= CALL_ATTEMPTS {
            return None;
        }
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        *left = left.checked_sub(cost)?;
        Some(cost)
    }

    /// After a success the cost of the last retry is returned.
    pub(super) fn succeeded(&self, paid: Option<u32>) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        *left = left.saturating_add(paid.unwrap_or(SUCCESS_RETURN)).min(RETRY_QUOTA);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_random_and_twice_as_long_each_time() {
        let millis = Duration::from_millis;
        for (attempt, retry_after, random, pause_millis) in [
            (1, None, 0.0, 0),
            (1, None, 0.5, 500),
            (2, None, 0.5, 1_000),
            (2, Some(millis(70)), 0.5, 70),
            (1, Some(millis(70_000)), 0.5, 20_000),
            (60, None, 0.9, 20_000),
        ] {
            assert_eq!(
                pause(attempt, retry_after, random),
                millis(pause_millis),
                "{attempt} {retry_after:?}"
            );
        }
    }

    #[test]
    fn retries_end_where_nothing_succeeds() {
        let retries = Retries::default();
        assert_eq!(retries.pay(RetryKind::Transient, CALL_ATTEMPTS), None, "no attempt is left");
        for _ in 0..RETRY_QUOTA / TRANSIENT_COST {
            assert_eq!(retries.pay(RetryKind::Transient, 1), Some(TRANSIENT_COST));
        }
        assert_eq!(retries.pay(RetryKind::Throttling, 1), None);
        // What was paid for a retry that succeeded is returned.
        retries.succeeded(Some(TRANSIENT_COST));
        assert_eq!(retries.pay(RetryKind::Throttling, 1), Some(THROTTLING_COST));
        assert_eq!(retries.pay(RetryKind::Throttling, 2), Some(THROTTLING_COST));
        assert_eq!(retries.pay(RetryKind::Throttling, 1), None);
        for _ in 0..THROTTLING_COST {
            retries.succeeded(None);
        }
        assert_eq!(retries.pay(RetryKind::Throttling, 1), Some(THROTTLING_COST));
        for _ in 0..2 * RETRY_QUOTA {
            retries.succeeded(None);
        }
        assert_eq!(*retries.left.lock().unwrap(), RETRY_QUOTA, "no more than there was");
    }
}
