//! What follows an attempt: the one pure function of the delivery's state machine.

use std::time::Duration;

use time::{OffsetDateTime, format_description::well_known::Rfc2822};

use crate::{Timestamp, delivery::Outcome};

/// The longest wait that an endpoint can ask for with `Retry-After`.
const RETRY_AFTER_LIMIT: Duration = Duration::from_hours(24);

/// How many waits a schedule can have. With the first try that makes 20 attempts, which is what
/// one delivery can hold.
pub const SCHEDULE_LIMIT: usize = 19;

/// The shortest and the longest wait of a schedule, in seconds. 19 times the longest, with its
/// jitter, ends before an event's retention of 30 days does.
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
        u32::try_from(self.schedule.len()).unwrap_or(u32::MAX).saturating_add(1)
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
    /// The endpoint wants no more: it is disabled, and the delivery waits for it to come back.
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
    let step = usize::try_from(n.saturating_sub(1)).unwrap_or(usize::MAX);
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
        Outcome::Answered { retry_after: Some(text), .. } => retry_after(text, now),
        _ => None,
    }
}

/// Reads `Retry-After`: seconds, or a date of HTTP (RFC 9110, section 10.2.3). What cannot be
/// read is no wish.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let wait = if let Ok(secs) = text.parse::<u64>() {
        Duration::from_secs(secs)
    } else {
        let at = OffsetDateTime::parse(text, &Rfc2822).ok()?;
        Timestamp::from_secs(at.unix_timestamp()).since(now)
    };
    Some(wait.min(RETRY_AFTER_LIMIT))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::delivery::Failure;

    fn answered(status: u16, retry_after: Option<&str>) -> Outcome {
        Outcome::Answered { status, retry_after: retry_after.map(str::to_owned), excerpt: String::new() }
    }

    #[test]
    fn decisions() {
        let now: Timestamp = "2026-11-23T20:00:00Z".parse().unwrap();
        let wait = |secs| Next::RetryAt(now + Duration::from_secs(secs));
        let timeout = Outcome::Failed(Failure::Timeout);
        for (n, outcome, expected) in [
            (1, answered(200, None), Next::Done),
            (1, answered(299, None), Next::Done),
            (10, answered(200, None), Next::Done),
            (1, answered(301, None), wait(5)),
            (1, answered(500, None), wait(5)),
            (1, timeout.clone(), wait(5)),
            (2, timeout.clone(), wait(300)),
            (9, timeout.clone(), wait(24 * 3600)),
            (10, timeout.clone(), Next::GiveUp),
            (1, answered(410, None), Next::Park),
            (9, answered(410, Some("60")), Next::Park),
            (10, answered(410, None), Next::GiveUp),
            (1, answered(429, Some("120")), wait(120)),
            (2, answered(429, Some("120")), wait(300)),
            (1, answered(503, Some("Mon, 23 Nov 2026 20:02:00 GMT")), wait(120)),
            (1, answered(503, Some("Mon, 23 Nov 2020 20:02:00 GMT")), wait(5)),
            (1, answered(503, Some("soon")), wait(5)),
            (1, answered(503, Some("-1")), wait(5)),
            (1, answered(503, Some("99999999999")), wait(24 * 3600)),
        ] {
            assert_eq!(next(n, &outcome, &Policy::default(), now, 0.5), expected, "{n} {outcome:?}");
        }
    }

    #[test]
    fn schedules_are_bounded() {
        assert!(Policy::from_secs(&[]).unwrap().schedule.is_empty());
        assert!(Policy::from_secs(&[86_400; 19]).is_ok());
        for secs in [&[86_400; 20][..], &[0], &[86_401], &[1, 0]] {
            assert_eq!(Policy::from_secs(secs), Err(InvalidSchedule));
        }
        let once = Policy::from_secs(&[]).unwrap();
        assert_eq!(next(1, &answered(500, None), &once, Timestamp::EPOCH, 0.5), Next::GiveUp);
    }

    proptest! {
        #[test]
        fn attempts_are_bounded_by_the_schedule(secs in proptest::collection::vec(1u32..=86_400, 0..=19), status in 300u16..600) {
            let policy = Policy::from_secs(&secs).unwrap();
            let last = |n| next(n, &answered(status, None), &policy, Timestamp::EPOCH, 0.0) == Next::GiveUp;
            let attempts = (1u32..100).position(last).unwrap();
            prop_assert_eq!(attempts, secs.len());
        }

        #[test]
        fn always_ends_and_time_never_runs_backwards(statuses in proptest::collection::vec(100u16..600, 30), jitter in 0.0..1.0f64, header: Option<String>) {
            let policy = Policy::default();
            let mut now = Timestamp::from_secs(1_700_000_000);
            let mut ended = false;
            for (n, status) in (1u32..).zip(statuses) {
                match next(n, &answered(status, header.as_deref()), &policy, now, jitter) {
                    Next::RetryAt(at) => {
                        prop_assert!(at > now);
                        prop_assert!(at.since(now) <= Duration::from_mins(1728));
                        now = at;
                    }
                    // Disabled, and enabled again a day later.
                    Next::Park => now = now + Duration::from_hours(24),
                    Next::Done | Next::GiveUp => { ended = true; break }
                }
            }
            prop_assert!(ended);
        }
    }
}
