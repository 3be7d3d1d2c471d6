//! How an endpoint fared: what its attempts came to, by the hour.
//!
//! An hour's numbers add up, so many writers can keep them without reading, and a day is the sum of
//! its hours. Durations are kept as a histogram: a quantile is estimated from it.
//!
//! The numbers are for people, not for bills: an attempt whose record was lost to another's is
//! counted, one whose process died is not.

use std::time::Duration;

use super::{Attempt, Status};
use crate::Timestamp;

/// How many bins the histogram of durations has.
pub const BINS: usize = 16;

/// Where each bin but the first begins, in milliseconds. Each is 1.6 times as wide as the one
/// before (1.65 at most), so the whole reaches from what a neighbour responses in to the longest
/// attempt.
const BEGINNINGS: [u32; BINS - 1] =
    [10, 16, 26, 42, 69, 112, 182, 300, 490, 800, 1300, 2100, 3450, 5600, 9200];

/// The longest attempt, in milliseconds: where the last bin ends.
const LONGEST: u32 = 15_000;

/// Milliseconds in an hour.
const HOUR_MILLIS: i64 = 3_600_000;

/// Attempts within an hour or two from which a rate says something: with fewer, a restart of the
/// receiver looks like an outage.
pub const FAILING_ATTEMPTS: u64 = 20;

/// From one failure in so many attempts on, an endpoint is failing. Half of the attempts is far
/// beyond what retries make up for, and far from what a healthy endpoint shows.
pub const FAILING_ONE_IN: u64 = 2;

/// What that is judged by: the present hour and the one before, so that it does not begin anew at
/// each full hour.
pub const FAILING_HOURS: i64 = 2;

/// The hour that holds this time, counted from 1970.
#[must_use]
pub fn hour(at: Timestamp) -> i64 {
    at.millis() / HOUR_MILLIS
}

/// When an hour begins.
#[must_use]
pub fn beginning(hour: i64) -> Timestamp {
    Timestamp::from_millis(hour.saturating_mul(HOUR_MILLIS))
}

/// What the attempts at one endpoint came to within some time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// How many were made.
    pub attempts: u64,
    /// How many of them succeeded.
    pub attempts_succeeded: u64,
    /// Deliveries that succeeded.
    pub succeeded: u64,
    /// Deliveries that failed for the last time.
    pub exhausted: u64,
    /// When the last attempt began that succeeded.
    pub last_success_at: Option<Timestamp>,
    /// When the last attempt began that failed.
    pub last_failure_at: Option<Timestamp>,
    /// Attempts by how long they took.
    pub bins: [u64; BINS],
}

impl Stats {
    /// Adds an attempt and the status of its delivery after it.
    pub fn add(&mut self, attempt: &Attempt, status: Status) {
        let success = attempt.failure.is_none();
        self.attempts += 1;
        self.attempts_succeeded += u64::from(success);
        self.succeeded += u64::from(status == Status::Succeeded);
        self.exhausted += u64::from(status == Status::Exhausted);
        let last = if success { &mut self.last_success_at } else { &mut self.last_failure_at };
        *last = (*last).max(Some(attempt.started_at));
        if let Some(bin) = self.bins.get_mut(bin(attempt.duration_ms)) {
            *bin += 1;
        }
    }

    /// Adds what others counted.
    pub fn merge(&mut self, other: &Self) {
        self.attempts += other.attempts;
        self.attempts_succeeded += other.attempts_succeeded;
        self.succeeded += other.succeeded;
        self.exhausted += other.exhausted;
        self.last_success_at = self.last_success_at.max(other.last_success_at);
        self.last_failure_at = self.last_failure_at.max(other.last_failure_at);
        for (bin, more) in self.bins.iter_mut().zip(other.bins) {
            *bin += more;
        }
    }

    /// Attempts that failed.
    #[must_use]
    pub fn attempts_failed(&self) -> u64 {
        self.attempts.saturating_sub(self.attempts_succeeded)
    }

    /// Which part of the attempts succeeded; `None` where there were none.
    #[must_use]
    pub fn success_rate(&self) -> Option<f64> {
        ratio(self.attempts_succeeded, self.attempts)
    }

    /// How long, in milliseconds, the attempt took that `percent` of all do not exceed; `None`
    /// where there were none.
    ///
    /// It is the geometric middle of that attempt's bin, so it is at most 29 % off, or 5 ms where
    /// attempts take less than 10 ms.
    #[must_use]
    pub fn quantile(&self, percent: u64) -> Option<u32> {
        let count: u64 = self.bins.iter().sum();
        let rank = count.saturating_mul(percent).div_ceil(100).max(1);
        let mut seen = 0;
        let found = self.bins.iter().position(|bin| {
            seen += bin;
            seen >= rank
        });
        found.map(middle)
    }
}

/// A part of a whole, to four digits, as people read it.
fn ratio(part: u64, whole: u64) -> Option<f64> {
    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let exact = (whole > 0).then(|| part as f64 / whole as f64)?;
    Some((exact * 10_000.0).round() / 10_000.0)
}

/// The bin of a duration in milliseconds.
fn bin(duration_ms: u32) -> usize {
    BEGINNINGS.partition_point(|beginning| *beginning <= duration_ms)
}

/// The geometric middle of a bin, in milliseconds.
fn middle(bin: usize) -> u32 {
    let Some(beginning) = bin.checked_sub(1).and_then(|before| BEGINNINGS.get(before)) else {
        return BEGINNINGS[0] / 2;
    };
    let end = BEGINNINGS.get(bin).unwrap_or(&LONGEST);
    beginning.saturating_mul(*end).isqrt()
}

/// What [`FAILING_HOURS`] of an endpoint say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FailureVerdict {
    /// It fails so often that its owner is notified.
    Failing(FailureRate),
    /// It does not, and will not before so many more of its attempts have failed.
    NotBefore(u64),
}

/// How often an endpoint fails.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FailureRate {
    /// The part of its attempts that failed.
    pub rate: f64,
    /// How many attempts were made.
    pub attempts: u64,
    /// Since when.
    pub from: Timestamp,
    /// Until when.
    pub to: Timestamp,
}

/// The first of the hours that an endpoint is judged by.
#[must_use]
pub fn first_judged_hour(now: Timestamp) -> i64 {
    hour(now).saturating_sub(FAILING_HOURS - 1)
}

/// Judges an endpoint by the sum of its latest hours.
#[must_use]
pub fn judge(latest: &Stats, now: Timestamp) -> FailureVerdict {
    let (attempts, failed) = (latest.attempts, latest.attempts_failed());
    let few = FAILING_ATTEMPTS.saturating_sub(attempts);
    // Each further failure is one attempt more, too.
    let seldom = attempts.saturating_sub(failed * FAILING_ONE_IN).div_ceil(FAILING_ONE_IN - 1);
    match ratio(failed, attempts) {
        Some(rate) if few.max(seldom) == 0 => {
            let from = beginning(first_judged_hour(now));
            FailureVerdict::Failing(FailureRate { rate, attempts, from, to: now })
        }
        _ => FailureVerdict::NotBefore(few.max(seldom).max(1)),
    }
}

/// How long somebody who saw `failures` since an endpoint was judged waits with judging it again.
#[must_use]
pub fn judged_again(not_before: u64, failures: u64, since: Duration) -> bool {
    /// Others see failures too: who sees a part of those that it takes looks at the sum.
    const PART: u64 = 4;
    /// A rate rises slowly where traffic is slow.
    const AT_LEAST_EVERY: Duration = Duration::from_mins(1);
    failures >= not_before.div_ceil(PART) || since >= AT_LEAST_EVERY
}

#[cfg(test)]
mod tests;
