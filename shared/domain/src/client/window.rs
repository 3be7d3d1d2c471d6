//! Limits in several windows at once, by GCRA (see [`crate::endpoint::limit`]): calls per second and per day, and bytes
//! per hour. One number per window is kept: the holder of the lease on a token keeps them, and writes them with its work.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::api::CallGroup;
use crate::{Timestamp, saturating};

/// What a window counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Calls.
    Calls,
    /// Kibibytes of bodies that were received.
    Kibibytes,
}

/// A limit: `permits` in each `per`, of which `burst` may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Which calls it counts; nothing means all of them.
    pub group: Option<CallGroup>,
    /// What it counts.
    pub unit: Unit,
    /// How many.
    pub permits: u32,
    /// In how much time.
    pub per: Duration,
    /// How many of them may come at once.
    pub burst: u32,
}

impl Window {
    /// `permits` calls in each `per`.
    #[must_use]
    pub const fn calls(permits: u32, per: Duration, burst: u32) -> Self {
        Self { group: None, unit: Unit::Calls, permits, per, burst }
    }

    /// `permits` kibibytes in each `per`.
    #[must_use]
    pub const fn kibibytes(permits: u32, per: Duration, burst: u32) -> Self {
        Self { group: None, unit: Unit::Kibibytes, permits, per, burst }
    }

    /// The same for one group of calls.
    #[must_use]
    pub const fn of(self, group: CallGroup) -> Self {
        Self { group: Some(group), ..self }
    }

    fn counts(&self, group: CallGroup) -> bool {
        self.group.is_none_or(|own| own == group)
    }

    /// Between two permits, in microseconds. Rounded up, so that the limit is never passed in the long run.
    fn interval(&self) -> i64 {
        let micros = saturating::<i64>(self.per.as_micros());
        let permits = i64::from(self.permits.max(1));
        micros / permits + i64::from(micros % permits != 0)
    }

    fn tolerance(&self) -> i64 {
        self.interval().saturating_mul(i64::from(self.burst.max(1)))
    }
}

/// What was used of the windows of an API: for each the time until which its permits are spent, in microseconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Meter {
    spent_until: Vec<i64>,
}

impl Meter {
    /// Charges a call of `group`, or says how long to wait, in which case nothing is charged.
    ///
    /// # Errors
    /// The time until the call may go, which is never zero.
    pub fn charge_call(
        &mut self,
        windows: &[Window],
        group: CallGroup,
        now: Timestamp,
    ) -> Result<(), Duration> {
        self.spent_until.resize(windows.len(), 0);
        let now = now.millis().saturating_mul(1000);
        let mut wait = 0;
        for (window, spent) in windows.iter().zip(&self.spent_until) {
            if window.counts(group) {
                // Bytes are known only afterwards: a call may go while any permit is left.
                let next = spent.max(&now) + window.interval();
                wait = wait.max(next - window.tolerance() - now);
            }
        }
        if wait > 0 {
            return Err(Duration::from_micros(saturating(wait)));
        }
        for (window, spent) in windows.iter().zip(&mut self.spent_until) {
            if window.counts(group) && window.unit == Unit::Calls {
                *spent = (*spent).max(now) + window.interval();
            }
        }
        Ok(())
    }

    /// Lets no call of one group go before `until`, and the others go on. For that the group needs a window of its own.
    pub fn close_group(&mut self, windows: &[Window], group: CallGroup, until: Timestamp) {
        self.spent_until.resize(windows.len(), 0);
        for (window, spent) in windows.iter().zip(&mut self.spent_until) {
            if window.group == Some(group) {
                let until = until.millis().saturating_mul(1000);
                *spent = (*spent).max(until.saturating_add(window.tolerance() - window.interval()));
            }
        }
    }

    /// Charges what a call received, in bytes, after the fact.
    pub fn charge_bytes(&mut self, windows: &[Window], group: CallGroup, bytes: usize, now: Timestamp) {
        self.spent_until.resize(windows.len(), 0);
        let now = now.millis().saturating_mul(1000);
        let kibibytes = saturating::<i64>(bytes.div_ceil(1024));
        for (window, spent) in windows.iter().zip(&mut self.spent_until) {
            if window.counts(group) && window.unit == Unit::Kibibytes {
                *spent = (*spent).max(now).saturating_add(window.interval().saturating_mul(kibibytes));
            }
        }
    }

    /// Lets no call of `group` go before `until`: the API said itself that nothing is left. The shortest window that counts
    /// them keeps that, one of all calls first, since a long one would need its whole length to recover.
    pub fn spend(&mut self, windows: &[Window], group: CallGroup, until: Timestamp) {
        self.spent_until.resize(windows.len(), 0);
        let counting = windows.iter().zip(&mut self.spent_until).filter(|(window, _)| window.counts(group));
        let shortest = counting.min_by_key(|(window, _)| (window.group.is_some(), window.per));
        let Some((window, spent)) = shortest else { return };
        let full = until.millis().saturating_mul(1000).saturating_add(window.tolerance() - window.interval());
        *spent = (*spent).max(full);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_hours(1);
    /// MLS Grid's limits.
    const GRID: &[Window] = &[
        Window::calls(2, SECOND, 2),
        Window::calls(7200, HOUR, 7200),
        Window::calls(40_000, Duration::from_hours(24), 40_000),
        Window::kibibytes(4 * 1024 * 1024, HOUR, 4 * 1024 * 1024),
    ];

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_790_000_000_000 + millis)
    }

    #[test]
    fn rates_below_one_a_second_hold() {
        // B2: 100 an hour, 20 at once; afterwards one every 36 s.
        let brevo = [Window::calls(100, HOUR, 20)];
        let mut meter = Meter::default();
        for _ in 0..20 {
            assert_eq!(meter.charge_call(&brevo, CallGroup::General, at(0)), Ok(()));
        }
        assert_eq!(meter.charge_call(&brevo, CallGroup::General, at(0)), Err(Duration::from_secs(36)));
        assert_eq!(meter.charge_call(&brevo, CallGroup::General, at(36_000)), Ok(()));
        assert_eq!(meter.charge_call(&brevo, CallGroup::General, at(36_000)), Err(Duration::from_secs(36)));
    }

    #[test]
    fn all_windows_hold_at_once() {
        let mut meter = Meter::default();
        assert_eq!(meter.charge_call(GRID, CallGroup::General, at(0)), Ok(()));
        assert_eq!(meter.charge_call(GRID, CallGroup::General, at(0)), Ok(()));
        assert_eq!(meter.charge_call(GRID, CallGroup::General, at(0)), Err(SECOND / 2));
        // 4 GiB within the first seconds: nothing goes until the first kibibyte has trickled away.
        meter.charge_bytes(GRID, CallGroup::General, 4 << 30, at(1000));
        let wait = meter.charge_call(GRID, CallGroup::General, at(1000)).unwrap_err();
        assert!(wait < SECOND, "{wait:?}");
        meter.charge_bytes(GRID, CallGroup::General, 4 << 30, at(2000));
        let wait = meter.charge_call(GRID, CallGroup::General, at(2000)).unwrap_err();
        assert!(wait + SECOND * 5 > HOUR, "{wait:?}");
    }

    #[test]
    fn a_group_has_its_own_window() {
        let windows = [Window::calls(1, HOUR, 1).of(CallGroup::Write), Window::calls(100, SECOND, 100)];
        let mut meter = Meter::default();
        assert_eq!(meter.charge_call(&windows, CallGroup::Write, at(0)), Ok(()));
        assert!(meter.charge_call(&windows, CallGroup::Write, at(0)).is_err());
        assert_eq!(meter.charge_call(&windows, CallGroup::General, at(0)), Ok(()));
    }

    #[test]
    fn a_group_that_is_closed_leaves_the_others_alone() {
        let windows = [Window::calls(100, SECOND, 100), Window::calls(9, SECOND, 9).of(CallGroup::Write)];
        let mut meter = Meter::default();
        meter.close_group(&windows, CallGroup::Write, at(5000));
        assert_eq!(meter.charge_call(&windows, CallGroup::Write, at(0)), Err(Duration::from_secs(5)));
        assert_eq!(meter.charge_call(&windows, CallGroup::General, at(0)), Ok(()));
        assert_eq!(meter.charge_call(&windows, CallGroup::Write, at(5000)), Ok(()));
        // What was stored before the group had a window.
        let mut meter: Meter = serde_json::from_str("[0]").unwrap();
        assert_eq!(meter.charge_call(&windows, CallGroup::Write, at(0)), Ok(()));
    }

    #[test]
    fn what_the_api_says_is_spent_is() {
        let mut meter = Meter::default();
        meter.spend(GRID, CallGroup::General, at(5000));
        assert_eq!(meter.charge_call(GRID, CallGroup::General, at(0)), Err(Duration::from_secs(5)));
        assert_eq!(meter.charge_call(GRID, CallGroup::General, at(5000)), Ok(()));
        assert_eq!(meter.charge_call(GRID, CallGroup::General, at(5500)), Ok(()), "and it goes on as before");
        // Where each group has a limit of its own, the others go on.
        let groups = [
            Window::calls(9, SECOND, 9).of(CallGroup::Named("a")),
            Window::calls(9, SECOND, 9).of(CallGroup::Named("b")),
        ];
        let mut meter = Meter::default();
        meter.spend(&groups, CallGroup::Named("a"), at(5000));
        assert_eq!(meter.charge_call(&groups, CallGroup::Named("a"), at(0)), Err(Duration::from_secs(5)));
        assert_eq!(meter.charge_call(&groups, CallGroup::Named("b"), at(0)), Ok(()));
    }

    #[test]
    fn a_meter_is_kept_as_numbers() {
        let mut meter = Meter::default();
        meter.charge_call(GRID, CallGroup::General, at(0)).unwrap();
        let text = serde_json::to_string(&meter).unwrap();
        assert!(text.starts_with('['), "{text}");
        assert_eq!(serde_json::from_str::<Meter>(&text).unwrap(), meter);
        // A row that gains a window meets meters that were kept before.
        let mut before: Meter = serde_json::from_str("[1]").unwrap();
        assert_eq!(before.charge_call(GRID, CallGroup::General, at(0)), Ok(()));
    }

    proptest! {
        /// However calls come, no span of a window's length holds more than its permits and one burst.
        #[test]
        fn no_span_passes_a_limit(steps in proptest::collection::vec(0_i64..400, 1..300)) {
            let windows = [Window::calls(5, SECOND, 3), Window::calls(20, SECOND * 10, 10)];
            let (mut meter, mut now, mut went) = (Meter::default(), 0, Vec::new());
            for step in steps {
                now += step;
                if meter.charge_call(&windows, CallGroup::General, at(now)).is_ok() {
                    went.push(now);
                }
            }
            for window in windows {
                let span = i64::try_from(window.per.as_millis()).unwrap();
                for (index, began) in went.iter().enumerate() {
                    let within = went[index..].iter().take_while(|at| **at < began + span).count();
                    prop_assert!(within <= usize::try_from(window.permits + window.burst).unwrap());
                }
            }
        }
    }
}
