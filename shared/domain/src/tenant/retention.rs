//! The retentions of a tenant: the one that is set, and those before it. What was accepted keeps the retention that was set
//! then, so several can be in force.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Settings;
use crate::{Timestamp, delivery::Retention};

/// How long a retention stays in the list after what was accepted last under it has ended: functions use a cached row for
/// a while, DynamoDB deletes late, and a delivery that is sent again on its event's last days is kept for five more.
const MARGIN: Duration = Duration::from_hours(24 * 10);

/// A retention that was set before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlierRetention {
    /// Which one.
    pub days: Retention,
    /// Until when something can be kept under it.
    pub until: Timestamp,
}

/// A retention under which something is kept, and which is not the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnusualRetention {
    /// Which one.
    pub days: Retention,
    /// Until when something can be kept under it; nothing while it is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl UnusualRetention {
    /// Whether something can still be kept under it.
    #[must_use]
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| until > now)
    }
}

impl Settings {
    /// Sets how long is kept what is accepted from `now` on.
    pub fn set_retention(&mut self, retention: Retention, now: Timestamp) {
        let before = std::mem::replace(&mut self.retention_days, retention);
        if before == retention {
            return;
        }
        let until = now + before.span() + MARGIN;
        self.earlier_retentions.retain(|earlier| earlier.until > now && earlier.days != before);
        self.earlier_retentions.push(EarlierRetention { days: before, until });
    }

    /// The longest retention under which something can be kept.
    #[must_use]
    pub fn longest_retention(&self, now: Timestamp) -> Retention {
        let earlier = self.earlier_retentions.iter().filter(|earlier| earlier.until > now);
        earlier.map(|earlier| earlier.days).fold(self.retention_days, Retention::max)
    }

    /// The retentions besides the default under which something is kept, or was until lately, each once.
    #[must_use]
    pub fn unusual_retentions(&self) -> Vec<UnusualRetention> {
        let earlier = self.earlier_retentions.iter().filter(|earlier| earlier.days != self.retention_days);
        let earlier =
            earlier.map(|earlier| UnusualRetention { days: earlier.days, until: Some(earlier.until) });
        let present = UnusualRetention { days: self.retention_days, until: None };
        let mut unusual: Vec<_> =
            earlier.chain([present]).filter(|retention| !retention.days.is_default()).collect();
        unusual.sort_unstable_by_key(|retention| retention.days);
        unusual
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Days since 1970 at which a retention is set, and what is in force then.
    #[test]
    fn what_was_accepted_keeps_the_retention_of_then() {
        let day = |day: i64| Timestamp::from_secs(day * 24 * 3600);
        let mut settings = Settings::default();
        for (at, set, longest, unusual) in [
            (0, 30, 30, &[][..]),
            (0, 90, 90, &[(90, None)]),
            // From day 1 on, what was accepted before is kept for 90 days.
            (1, 25, 90, &[(25, None), (90, Some(101))]),
            (2, 26, 90, &[(25, Some(37)), (26, None), (90, Some(101))]),
            (3, 26, 90, &[(25, Some(37)), (26, None), (90, Some(101))]),
            (4, 25, 90, &[(25, None), (26, Some(40)), (90, Some(101))]),
            (5, 26, 90, &[(25, Some(40)), (26, None), (90, Some(101))]),
            // The 25 days of what was accepted on day 5 have ended, with the margin.
            (40, 30, 90, &[(26, Some(76)), (90, Some(101))]),
            // And so have the 90 days of what was accepted on day 1.
            (101, 40, 40, &[(40, None)]),
            (102, 40, 40, &[(40, None)]),
        ] {
            settings.set_retention(Retention::of_days(set).unwrap(), day(at));
            let found: Vec<_> = settings
                .unusual_retentions()
                .into_iter()
                .map(|UnusualRetention { days, until }| (days.days(), until.map(Timestamp::day)))
                .collect();
            assert_eq!((settings.longest_retention(day(at)).days(), &*found), (longest, unusual), "day {at}");
        }
        assert!(settings.earlier_retentions.len() <= 3, "{settings:?}");
    }

    #[test]
    fn a_retention_is_in_force_until_nothing_can_be_kept_under_it() {
        let (days, at) = (Retention::SHORTEST, Timestamp::from_secs);
        for (until, now, expected) in [(None, 9, true), (Some(10), 9, true), (Some(10), 10, false)] {
            let retention = UnusualRetention { days, until: until.map(at) };
            assert_eq!(retention.is_in_force(at(now)), expected, "{until:?} {now}");
        }
    }
}
