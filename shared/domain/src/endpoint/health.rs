//! How an endpoint fares: the circuit breaker, throttling, slowness, and when failing for too
//! long disables it.
//!
//! Health is written only when it changes, so a healthy endpoint costs nothing: its first failure
//! is a change, and so is the first success after it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    Timestamp,
    delivery::{Failure, Outcome, retry},
};

/// Failures in a row, without one success, from which the circuit opens …
pub const OPEN_FAILURES: u32 = 10;
/// … once they have gone on for this long: a restart of the receiver has ended by then.
pub const OPEN_AFTER: Duration = Duration::from_secs(30);
/// The first cooldown of an open circuit; each failed probe doubles it …
pub const COOLDOWN: Duration = Duration::from_secs(30);
/// … up to this.
pub const COOLDOWN_LIMIT: Duration = Duration::from_mins(15);
/// How long the one who makes the probe has the endpoint for itself: longer than an attempt and
/// its recording.
pub const PROBE_LEASE: Duration = Duration::from_secs(30);
/// Counting on would be a write for each batch and show nothing more.
const COUNTED: u32 = 100;
/// How often the time of the last failure is brought up to date.
const LAST_FAILURE_STEP: Duration = Duration::from_mins(10);
/// Failures further apart than the longest wait of a schedule (24 h and its jitter) do not belong
/// together.
const FAILING_GAP: Duration = Duration::from_hours(36);
/// An attempt that takes this long is slow.
const SLOW: Duration = Duration::from_secs(5);
/// How long an endpoint counts as slow after a slow attempt.
pub const SLOW_FOR: Duration = Duration::from_mins(10);
/// The shortest and the longest time that an endpoint is throttled for.
const THROTTLE: (Duration, Duration) = (Duration::from_mins(1), Duration::from_mins(15));

/// An open circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Circuit {
    /// Until then nothing is attempted; afterwards one probe is.
    pub until: Timestamp,
    /// The present cooldown, in seconds.
    pub cooldown: u64,
    /// Whether a probe is under way, which `until` leaves time for.
    pub probing: bool,
}

/// How an endpoint fares.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// Failed attempts since the last success.
    pub failures: u32,
    /// When the first of them was.
    pub failing_since: Option<Timestamp>,
    /// When the last of them was, to some minutes.
    pub last_failure: Option<Timestamp>,
    /// Where the circuit is open.
    pub circuit: Option<Circuit>,
    /// Until when fewer deliveries are made than its limit allows.
    pub throttled_until: Option<Timestamp>,
    /// Until when its first attempts ride the slow lane.
    pub slow_until: Option<Timestamp>,
}

/// What attempts at one endpoint came to, those of one batch together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many were successful.
    pub succeeded: u32,
    /// How many failed. One that was refused with 429 is neither: its endpoint works, and has enough to do.
    pub failed: u32,
    /// Whether one took long or ran into its timeout.
    pub slow: bool,
    /// For how long the endpoint is to be throttled, if it is.
    pub throttle: Option<Duration>,
    /// Whether the endpoint responded with that it is gone (410).
    pub gone: bool,
}

/// Whether an attempt took long enough to make others wait.
#[must_use]
pub fn is_slow(outcome: &Outcome, took: Duration) -> bool {
    took >= SLOW || *outcome == Outcome::Failed(Failure::Timeout)
}

impl Tally {
    /// Adds an attempt that ended `now` after `took`.
    pub fn add(&mut self, outcome: &Outcome, took: Duration, now: Timestamp) {
        if outcome.is_success() {
            self.succeeded += 1;
        } else if !outcome.is_too_many() {
            self.failed += 1;
        }
        self.slow |= is_slow(outcome, took);
        self.gone |= outcome.is_gone();
        if outcome.is_throttle() {
            let asked = retry::asked_wait(outcome, now).unwrap_or_default();
            let wait = asked.clamp(THROTTLE.0, THROTTLE.1);
            self.throttle = Some(self.throttle.map_or(wait, |before| before.max(wait)));
        }
    }

    /// Adds what others counted.
    pub fn merge(&mut self, other: &Self) {
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.slow |= other.slow;
        self.gone |= other.gone;
        self.throttle = self.throttle.max(other.throttle);
    }
}

impl Health {
    /// The health after these attempts.
    #[must_use]
    pub fn after(&self, tally: &Tally, now: Timestamp) -> Self {
        let mut after = self.clone();
        if tally.succeeded > 0 {
            after.failures = 0;
            (after.failing_since, after.last_failure, after.circuit) = (None, None, None);
        } else if tally.failed > 0 {
            after.fail(tally.failed, now);
        }
        if let Some(wait) = tally.throttle {
            let until = now + wait;
            // A little longer each time would be a write each time.
            if after.throttled_until.is_none_or(|known| known + THROTTLE.0 / 2 < until) {
                after.throttled_until = Some(until);
            }
        }
        if tally.slow && after.slow_until.is_none_or(|known| known < now + SLOW_FOR / 2) {
            after.slow_until = Some(now + SLOW_FOR);
        }
        after
    }

    fn fail(&mut self, failed: u32, now: Timestamp) {
        if self.last_failure.is_some_and(|last| now.since(last) > FAILING_GAP) {
            (self.failures, self.failing_since, self.last_failure) = (0, None, None);
        }
        self.failures = (self.failures + failed).min(COUNTED);
        let since = *self.failing_since.get_or_insert(now);
        if self.last_failure.is_none_or(|last| now.since(last) >= LAST_FAILURE_STEP) {
            self.last_failure = Some(now);
        }
        match self.circuit {
            Some(Circuit { cooldown, probing: true, .. }) => {
                self.open(now, Duration::from_secs(cooldown).saturating_mul(2).min(COOLDOWN_LIMIT));
            }
            None if self.failures >= OPEN_FAILURES && now.since(since) >= OPEN_AFTER => {
                self.open(now, COOLDOWN);
            }
            // Too early, or a straggler that began before the circuit opened.
            None | Some(_) => {}
        }
    }

    fn open(&mut self, now: Timestamp, cooldown: Duration) {
        self.circuit = Some(Circuit { until: now + cooldown, cooldown: cooldown.as_secs(), probing: false });
    }

    /// The health while somebody makes the probe, if it is time for one.
    #[must_use]
    pub fn probing(&self, now: Timestamp) -> Option<Self> {
        let circuit = self.circuit.filter(|circuit| circuit.until <= now)?;
        let circuit = Circuit { until: now + PROBE_LEASE, probing: true, ..circuit };
        Some(Self { circuit: Some(circuit), ..self.clone() })
    }

    /// Whether first attempts ride the slow lane.
    #[must_use]
    pub fn is_slow(&self, now: Timestamp) -> bool {
        self.circuit.is_some() || self.slow_until.is_some_and(|until| until > now)
    }

    /// What failing for so long leads to, where `days` of nothing but failure disable an endpoint.
    #[must_use]
    pub fn verdict(&self, now: Timestamp, days: u32) -> Option<Verdict> {
        let limit = Duration::from_hours(24) * days;
        let warning = limit.saturating_sub(Duration::from_hours(24)).max(limit / 2);
        // A handful of failures days apart says little about an endpoint.
        let since = self.failing_since.filter(|_| self.failures >= OPEN_FAILURES)?;
        let failing = now.since(since);
        if failing >= limit {
            Some(Verdict::Disable)
        } else if failing >= warning {
            Some(Verdict::Warn { disabled_at: since + limit })
        } else {
            None
        }
    }
}

/// What failing for long leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The owner is notified when the endpoint will be disabled.
    Warn {
        /// When.
        disabled_at: Timestamp,
    },
    /// The endpoint is disabled.
    Disable,
}

#[cfg(test)]
mod tests;
