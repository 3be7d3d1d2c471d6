//! The signed time.

use std::time::Duration;

use super::scheme::{TimeField, TimeUnit};
use crate::Timestamp;

/// Reads a time; `None` where it is not written in this unit. The text itself is signed, so it is never rewritten.
pub(in crate::inbound) fn read(unit: TimeUnit, text: &str) -> Option<Timestamp> {
    let number = || {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<i64>().ok()).flatten()
    };
    match unit {
        TimeUnit::S => number().map(Timestamp::from_secs),
        TimeUnit::Ms => number().map(Timestamp::from_millis),
        TimeUnit::Rfc3339 => text.parse().ok(),
    }
}

/// Whether a time is near enough to now.
pub(super) fn is_near(field: &TimeField, time: Timestamp, now: Timestamp) -> bool {
    let within = |span: Duration, limit: Option<u32>| {
        limit.is_none_or(|limit| span <= Duration::from_secs(limit.into()))
    };
    within(now.since(time), field.max_past) && within(time.since(now), field.max_future)
}
