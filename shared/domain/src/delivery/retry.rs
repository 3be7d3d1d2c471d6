//! What follows an attempt: the one pure function of the delivery's state machine.

use std::time::{Duration, UNIX_EPOCH};

use super::Outcome;
use crate::{Timestamp, saturating};

/// The longest wait that an endpoint can ask for with `Retry-After`.
const RETRY_AFTER_LIMIT: Duration = Duration::from_hours(24);

/// How many waits a schedule can have. With the first try that makes 20 attempts, which is what
/// one delivery can hold.
pub const SCHEDULE_LIMIT: usize = 19;

/// The shortest and the longest wait of a schedule, in seconds. 19 times the longest, with its
/// jitter, ends before the shortest retention of an event does.
pub const WAIT_SECS: std::ops::RangeInclusive<u32> = 1..=86_400;

/// When failed attempts are followed by another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    schedule: Vec<Duration>,
}

/// The schedule has too many waits, or one that is too short or too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidSchedule;

impl std::fmt::Display for InvalidSchedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("must hold at most 19 waits of 1 to 86400 seconds each")
    }
}

impl std::error::Error for InvalidSchedule {}

impl Policy {
    /// A schedule of one's own: the wait in seconds after the first attempt, the second, and so
    /// on. When it ends, so do the attempts; an empty one means a single attempt.
    pub fn from_secs(secs: &[u32]) -> Result<Self, InvalidSchedule> {
        if secs.len() > SCHEDULE_LIMIT || !secs.iter().all(|wait| WAIT_SECS.contains(wait)) {
            return Err(InvalidSchedule);
        }
        Ok(Self { schedule: secs.iter().map(|wait| Duration::from_secs(u64::from(*wait))).collect() })
    }

    /// How many attempts it allows in all.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        saturating::<u32>(self.schedule.len()).saturating_add(1)
    }
}

impl Default for Policy {
    /// Ten attempts over some 75 hours: the example schedule of Standard Webhooks 1.0.0.
    fn default() -> Self {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        let secs =
            [5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];
        Self { schedule: secs.map(Duration::from_secs).to_vec() }
    }
}

/// What follows an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The endpoint took it.
    Done,
    /// Another attempt at this time.
    RetryAt(Timestamp),
    /// The endpoint is gone: it is disabled, and the delivery waits for it to come back.
    Park,
    /// The schedule is at its end.
    GiveUp,
}

/// Decides what follows attempt `n` (counted from 1) that ended `now` in `outcome`.
///
/// `jitter` is in 0..1 and spreads each wait by ±20 %, so that what failed together does not
/// come back together. `Retry-After` is honoured where it is longer, up to 24 hours. 410 says
/// that the endpoint is gone for good (Standard Webhooks 1.0.0), so there is no time to wait for.
#[must_use]
pub fn next(n: u32, outcome: &Outcome, policy: &Policy, now: Timestamp, jitter: f64) -> Next {
    if outcome.is_success() {
        return Next::Done;
    }
    let step = saturating::<usize>(n.saturating_sub(1));
    let Some(wait) = policy.schedule.get(step) else { return Next::GiveUp };
    if outcome.is_gone() {
        return Next::Park;
    }
    let spread = wait.mul_f64(0.8 + 0.4 * jitter.clamp(0.0, 1.0));
    Next::RetryAt(now + spread.max(asked_wait(outcome, now).unwrap_or_default()))
}

/// How long the endpoint asked to be left alone, by `Retry-After`.
#[must_use]
pub fn asked_wait(outcome: &Outcome, now: Timestamp) -> Option<Duration> {
    match outcome {
        Outcome::Response { retry_after: Some(text), .. } => retry_after(text, now),
        _ => None,
    }
}

/// Reads `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3) in any of HTTP's three formats
/// (section 5.6.7). What cannot be read is no wish.
pub(crate) fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Digits that are no number are a number too large.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let at = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
        Timestamp::from_secs(saturating::<i64>(at.as_secs())).since(now)
    };
    Some(wait.min(RETRY_AFTER_LIMIT))
}

#[cfg(test)]
mod tests;
