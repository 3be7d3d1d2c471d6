//! The headers by which APIs say how long to wait.

use std::time::Duration;

use crate::{Timestamp, delivery::retry};

/// The longest wait that is accepted: a day. What is longer is as if it were not there.
pub const LONGEST: Duration = Duration::from_hours(24);

/// What the number in a header means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitUnit {
    /// Seconds from now, or a date, as `Retry-After` has it (RFC 9110, section 10.2.3).
    RetryAfter,
    /// Seconds from now, a decimal fraction allowed.
    Seconds,
    /// Seconds since 1970.
    EpochSeconds,
    /// Milliseconds since 1970.
    EpochMillis,
    /// Minutes from now.
    Minutes,
}

/// A header and what its number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitHeader {
    /// The name, in lower case.
    pub name: &'static str,
    /// What its number means.
    pub unit: WaitUnit,
}

impl WaitHeader {
    /// A row.
    #[must_use]
    pub const fn new(name: &'static str, unit: WaitUnit) -> Self {
        Self { name, unit }
    }

    /// The wait that a value asks for. Nothing where it is unreadable, in the past, or absurd.
    #[must_use]
    pub fn read(&self, value: &str, now: Timestamp) -> Option<Duration> {
        let value = value.trim();
        let wait = match self.unit {
            WaitUnit::RetryAfter => retry::retry_after(value, now)?,
            WaitUnit::Seconds => seconds(value)?,
            WaitUnit::Minutes => seconds(value)?.checked_mul(60)?,
            WaitUnit::EpochSeconds => until(value.parse::<i64>().ok()?.checked_mul(1000)?, now)?,
            WaitUnit::EpochMillis => until(value.parse().ok()?, now)?,
        };
        (wait <= LONGEST).then_some(wait)
    }
}

fn seconds(value: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(value.parse().ok()?).ok()
}

fn until(millis: i64, now: Timestamp) -> Option<Duration> {
    u64::try_from(millis.checked_sub(now.millis())?).ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_header_is_read_in_its_unit() {
        let now = Timestamp::from_millis(1_790_000_000_000);
        for (unit, value, expected_ms) in [
            (WaitUnit::RetryAfter, "120", Some(120_000)),
            (WaitUnit::RetryAfter, "soon", None),
            // B1: Brevo's reset is seconds left.
            (WaitUnit::Seconds, "3", Some(3000)),
            (WaitUnit::Seconds, "0.5", Some(500)),
            (WaitUnit::Seconds, "-3", None),
            (WaitUnit::Seconds, "NaN", None),
            (WaitUnit::Seconds, "1e99", None),
            (WaitUnit::Seconds, "86401", None),
            (WaitUnit::Minutes, "2", Some(120_000)),
            (WaitUnit::EpochSeconds, "1790000060", Some(60_000)),
            (WaitUnit::EpochSeconds, "1789999999", None),
            (WaitUnit::EpochSeconds, "9223372036854775807", None),
            (WaitUnit::EpochMillis, "1790000000250", Some(250)),
            (WaitUnit::EpochMillis, "", None),
        ] {
            let read = WaitHeader::new("x-wait", unit).read(value, now);
            assert_eq!(read, expected_ms.map(Duration::from_millis), "{unit:?} {value}");
        }
    }
}
