//! How long what is stored about events is kept: by default, or as their tenant has set it when they were accepted.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// How long before their event is deleted unfinished deliveries expire, in days: so that they can be resent, and so that
/// a job that is late still finds them.
const EXPIRES_BEFORE_END_DAYS: u16 = 2;

const DAY_SECS: i64 = 24 * 3600;

/// How long events are kept, with everything that is stored about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u16", into = "u16")]
#[schemars(!try_from, !into)]
pub struct Retention(#[schemars(range(min = 25, max = 90))] u16);

impl Retention {
    /// What is not set.
    pub const DEFAULT: Self = Self(30);

    /// The shortest: the longest retry schedule, of 23 days with its jitter, ends before its deliveries expire.
    pub const SHORTEST: Self = Self(25);

    /// The longest.
    pub const LONGEST: Self = Self(90);

    /// So many days; nothing where that is too short or too long.
    #[must_use]
    pub fn of_days(days: u16) -> Option<Self> {
        (Self::SHORTEST..=Self::LONGEST).contains(&Self(days)).then_some(Self(days))
    }

    /// In days.
    #[must_use]
    pub const fn days(self) -> u16 {
        self.0
    }

    /// As a span of time.
    #[must_use]
    pub const fn span(self) -> Duration {
        days(self.0)
    }

    /// How old an event is when its unfinished deliveries expire for the last time. With a longer retention than the
    /// default they expire at the default's age as well: a receiver must not remember ids for longer to recognise what
    /// is sent again automatically. Later are those that a person began after that.
    #[must_use]
    pub const fn last_expiry(self) -> Duration {
        days(self.0 - EXPIRES_BEFORE_END_DAYS)
    }

    /// That of an event that was accepted then, and whose row expires at so many seconds since 1970.
    #[must_use]
    pub fn of_row(accepted_at: Timestamp, expires_at_secs: i64) -> Self {
        let kept = (expires_at_secs - accepted_at.secs()) / DAY_SECS;
        u16::try_from(kept).ok().and_then(Self::of_days).unwrap_or_default()
    }

    /// Whether it is the default. By reference, for serde.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::DEFAULT
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl TryFrom<u16> for Retention {
    type Error = String;

    fn try_from(days: u16) -> Result<Self, String> {
        let (least, most) = (Self::SHORTEST.0, Self::LONGEST.0);
        Self::of_days(days).ok_or_else(|| format!("must be a whole number of days from {least} to {most}"))
    }
}

impl From<Retention> for u16 {
    fn from(retention: Retention) -> Self {
        retention.0
    }
}

const fn days(days: u16) -> Duration {
    // A cast that loses nothing; `From` is not const.
    Duration::from_hours(24 * days as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::retry::{SCHEDULE_LIMIT, WAIT_SECS};

    #[test]
    fn the_longest_schedule_ends_before_its_deliveries_expire() {
        let waits = u32::try_from(SCHEDULE_LIMIT).unwrap();
        // Each wait is up to a fifth longer.
        let longest = Duration::from_secs(u64::from(*WAIT_SECS.end())) * waits * 6 / 5;
        let end = Retention::SHORTEST.last_expiry();
        let left = end.checked_sub(longest);
        assert!(left.is_some_and(|left| left < Duration::from_hours(24)), "{left:?}");
    }

    #[test]
    fn unfinished_deliveries_expire_before_their_event_is_deleted() {
        for (kept, unfinished) in [(25, 23), (29, 27), (30, 28), (31, 29), (90, 88)] {
            let retention = Retention::of_days(kept).unwrap();
            assert_eq!(retention.last_expiry(), Duration::from_hours(24 * unfinished), "{kept}");
        }
    }

    #[test]
    fn a_retention_is_a_number_within_its_bounds() {
        for (json, expected) in [
            ("25", Some(25)),
            ("90", Some(90)),
            ("24", None),
            ("91", None),
            ("0", None),
            ("-1", None),
            ("30.5", None),
            ("\"30\"", None),
            ("null", None),
            ("70000", None),
        ] {
            let read = serde_json::from_str::<Retention>(json).ok();
            assert_eq!(read.map(Retention::days), expected, "{json}");
        }
        assert_eq!(serde_json::to_string(&Retention::LONGEST).unwrap(), "90");
    }

    #[test]
    fn a_row_shows_its_retention() {
        let accepted = Timestamp::from_millis(1_700_000_000_999);
        for kept in [Retention::SHORTEST, Retention::DEFAULT, Retention::LONGEST] {
            assert_eq!(Retention::of_row(accepted, (accepted + kept.span()).secs()), kept);
        }
        for malformed in [0, i64::MAX] {
            assert_eq!(Retention::of_row(accepted, malformed), Retention::DEFAULT);
        }
    }
}
