//! Points in time, in whole milliseconds since 1970 (UTC), as RFC 3339 text outside.
//!
//! A type of our own on the crate `time`: it has one precision, one offset and one spelling, which rows
//! and signatures rely on.

use std::{fmt, str::FromStr, time::Duration};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{saturating, text::serde_as_text};

/// A point in time, in milliseconds since 1970-01-01T00:00:00Z, between the years 1970 and 9999.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

/// The last millisecond that RFC 3339 can spell (9999-12-31T23:59:59.999Z).
const LAST_MILLIS: i64 = 253_402_300_799_999;

/// One day, in milliseconds.
const DAY_MILLIS: i64 = 86_400_000;

/// Why a text is not a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidTimestamp;

impl fmt::Display for InvalidTimestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be an RFC 3339 time since 1970, such as 2026-01-31T12:00:00Z")
    }
}

impl std::error::Error for InvalidTimestamp {}

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// From milliseconds since 1970, clamped to the years that RFC 3339 can spell.
    #[must_use]
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.clamp(0, LAST_MILLIS))
    }

    /// From whole seconds since 1970, clamped likewise.
    #[must_use]
    pub fn from_secs(secs: i64) -> Self {
        Self::from_millis(secs.saturating_mul(1000))
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970, rounded down.
    #[must_use]
    pub fn secs(self) -> i64 {
        self.0 / 1000
    }

    /// Whole days since 1970, rounded down.
    #[must_use]
    pub fn day(self) -> i64 {
        self.0 / DAY_MILLIS
    }

    /// The days of its month (UTC): the first, and the first of the next month, in days since 1970.
    #[must_use]
    pub fn month(self) -> std::ops::Range<i64> {
        // Every time in range has a date.
        let date =
            OffsetDateTime::from_unix_timestamp(self.secs()).unwrap_or(OffsetDateTime::UNIX_EPOCH).date();
        let first = self.day() - i64::from(date.day()) + 1;
        first..first + i64::from(date.month().length(date.year()))
    }

    /// How far this lies after `earlier`; zero when it does not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(saturating(self.0 - earlier.0))
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(saturating(span.as_millis())))
    }
}

impl std::ops::Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self::from_millis(self.0.saturating_sub(saturating(span.as_millis())))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = OffsetDateTime::from_unix_timestamp(self.secs()).map_err(|_| fmt::Error)?;
        let (hour, minute, second) = at.to_hms();
        write!(
            f,
            "{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
            at.year(),
            u8::from(at.month()),
            at.day(),
            self.0 % 1000
        )
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        let at = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| InvalidTimestamp)?;
        let millis =
            i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000_000)).map_err(|_| InvalidTimestamp)?;
        if (0..=LAST_MILLIS).contains(&millis) { Ok(Self(millis)) } else { Err(InvalidTimestamp) }
    }
}

serde_as_text!(Timestamp, {
    "format": "date-time",
    "description": "RFC 3339; in responses in UTC with milliseconds.",
    "examples": ["2026-11-24T09:30:00.000Z"],
});

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_month_has_its_days() {
        for (text, first, length) in [
            ("2026-11-28T07:00:00Z", "2026-11-01T00:00:00Z", 30),
            ("2028-02-29T23:59:59Z", "2028-02-01T00:00:00Z", 29),
            ("2026-12-01T00:00:00Z", "2026-12-01T00:00:00Z", 31),
            ("1970-01-31T23:59:59Z", "1970-01-01T00:00:00Z", 31),
        ] {
            let month = text.parse::<Timestamp>().unwrap().month();
            assert_eq!(month.start, first.parse::<Timestamp>().unwrap().day(), "{text}");
            assert_eq!(month.end - month.start, length, "{text}");
        }
    }

    #[test]
    fn reads_and_writes_rfc_3339() {
        for (text, millis) in [
            ("1970-01-01T00:00:00.000Z", 0),
            ("2026-11-23T20:37:00.250Z", 1_795_466_220_250),
            ("9999-12-31T23:59:59.999Z", LAST_MILLIS),
        ] {
            assert_eq!(text.parse(), Ok(Timestamp(millis)), "{text}");
            assert_eq!(Timestamp(millis).to_string(), text);
        }
        assert_eq!("2026-11-23T21:37:00+01:00".parse(), Ok(Timestamp(1_795_466_220_000)));
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in ["", "now", "2026-11-23", "2026-13-01T00:00:00Z", "1969-12-31T23:59:59Z", "1795466220"] {
            assert_eq!(text.parse::<Timestamp>(), Err(InvalidTimestamp), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(millis in 0..=LAST_MILLIS) {
            prop_assert_eq!(Timestamp(millis).to_string().parse(), Ok(Timestamp(millis)));
        }
    }
}
