//! The signed time.

use std::time::Duration;

use super::{
    findings::Findings,
    report::{Reject, Step, Verdict},
    scheme::{TimeField, TimeUnit},
};
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
fn is_near(field: &TimeField, time: Timestamp, now: Timestamp) -> bool {
    let within = |span: Duration, limit: Option<u32>| {
        limit.is_none_or(|limit| span <= Duration::from_secs(limit.into()))
    };
    within(now.since(time), field.max_past) && within(time.since(now), field.max_future)
}

/// Checks a time that is signed; there is nothing to check where the method has none.
pub(super) fn check(
    field: Option<&TimeField>,
    text: Option<&str>,
    now: Timestamp,
    found: &mut Findings<'_>,
) -> Result<(), Reject> {
    let Some(field) = field else { return Ok(()) };
    let Some(time) = text.and_then(|text| read(field.unit, text)) else {
        let detail = format!("{} is missing or no time", field.from);
        return Err(found.failed(Step::Time, Reject::MalformedSignature, detail));
    };
    found.at(time, now);
    let limit = |limit: Option<u32>| limit.map_or("no limit".to_owned(), |seconds| format!("{seconds} s"));
    let (past, future) = (limit(field.max_past), limit(field.max_future));
    let detail = format!("signed at {time}, now {now}; limits: {past} past, {future} future");
    if is_near(field, time, now) {
        found.add(Step::Time, Verdict::Pass, detail);
        Ok(())
    } else {
        Err(found.failed(Step::Time, Reject::StaleTimestamp, detail))
    }
}
