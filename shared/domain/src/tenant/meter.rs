//! A rate limit that is charged after the fact, so that it costs one write for many requests.
//!
//! Each function environment accepts requests and counts them. When it has counted a batch, it adds the batch to one
//! number that all environments share: the theoretical arrival time of GCRA (ITU-T I.371, annex A), which may run ahead of
//! what the burst allows. The environment that sees that refuses requests until the number is within the burst again.
//! So the rate holds in the long run, and n environments together exceed the burst by at most 2 n batches.

use super::limits::RequestRate;
use crate::endpoint::limit::{Rate, grant};

const SECOND: i64 = 1_000_000;

/// Batches have a tenth of the burst, and at most so many requests.
const LARGEST_BATCH: u32 = 50;

/// How long an environment waits until it tries to charge again what could not be charged, in microseconds.
const UNREAD: i64 = SECOND;

impl RequestRate {
    /// Requests that are charged together.
    #[must_use]
    pub fn batch(self) -> u32 {
        (self.burst / 10).clamp(1, LARGEST_BATCH)
    }

    /// Between two requests, in microseconds.
    #[must_use]
    pub fn interval(self) -> i64 {
        SECOND / i64::from(self.per_second.max(1))
    }

    /// How far the shared number may be ahead, in microseconds.
    fn tolerance(self) -> i64 {
        self.interval() * i64::from(self.burst)
    }

    /// The window in which the burst comes back, in seconds, rounded up.
    #[must_use]
    pub fn window_secs(self) -> i64 {
        (self.tolerance() + SECOND - 1) / SECOND
    }
}

/// What one environment knows of one tenant's rate. Times are microseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Meter {
    /// Requests that were accepted and are not charged.
    uncharged: u32,
    /// When the first of them came.
    first: i64,
    /// The shared number, as of the last charge.
    tat: i64,
    /// While it cannot be charged: until when, and the number that this environment keeps on its own.
    unread: Option<(i64, i64)>,
}

/// What is done with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is accepted.
    Accept,
    /// It is accepted, and what is not charged must be now.
    AcceptAndCharge,
    /// It is refused for so many microseconds.
    Refuse(i64),
}

impl Meter {
    /// Decides about one request.
    pub fn request(&mut self, rate: RequestRate, now: i64) -> Decision {
        if let Some((until, tat)) = self.unread {
            let local = Rate::per_second(rate.per_second).with_burst(rate.burst);
            let grant = grant(Some(tat), local, 1, now);
            if grant.permits == 0 {
                return Decision::Refuse(grant.wait);
            }
            self.accept(now);
            self.unread = Some((until, grant.tat));
            return if now < until { Decision::Accept } else { Decision::AcceptAndCharge };
        }
        let ahead = self.tat - rate.tolerance() - now;
        if ahead > 0 {
            return Decision::Refuse(ahead);
        }
        self.accept(now);
        if self.uncharged < rate.batch() { Decision::Accept } else { Decision::AcceptAndCharge }
    }

    fn accept(&mut self, now: i64) {
        if self.uncharged == 0 {
            self.first = now;
        }
        self.uncharged = self.uncharged.saturating_add(1);
    }

    /// Takes what is to be charged: how many requests, and since when. They are charged from the first one on, and not from
    /// now: many environments that each saw few requests in a while would else charge that while's at once.
    pub fn take(&mut self) -> (u32, i64) {
        (std::mem::take(&mut self.uncharged), self.first)
    }

    /// Notes the shared number after a charge.
    pub fn charged(&mut self, tat: i64) {
        self.tat = tat;
        self.unread = None;
    }

    /// Notes that `requests` since `first` could not be charged. At most a batch of them is charged later: the rate of this
    /// environment alone was kept meanwhile.
    pub fn failed(&mut self, requests: u32, first: i64, rate: RequestRate, now: i64) {
        self.uncharged = self.uncharged.saturating_add(requests).min(rate.batch());
        self.first = first;
        let own = self.unread.map_or(now + rate.interval() * i64::from(requests), |(_, tat)| tat);
        self.unread = Some((now + UNREAD, own));
    }

    /// Whether the shared number is expected to be before the first request, so that a charge begins there.
    #[must_use]
    pub fn is_idle(&self, first: i64) -> bool {
        self.tat <= first
    }

    /// Requests that could come at once, as far as this environment knows, and in how many seconds all of the burst can.
    #[must_use]
    pub fn remaining(&self, rate: RequestRate, now: i64) -> (u32, i64) {
        let tat = self.tat.max(now) + rate.interval() * i64::from(self.uncharged);
        let room = (now + rate.tolerance() - tat) / rate.interval();
        let reset = (tat - now + SECOND - 1) / SECOND;
        (crate::saturating(room.max(0)), reset)
    }
}

/// The shared number after a charge of `requests` since `first`, given the number before.
#[must_use]
pub fn after_charge(tat: Option<i64>, rate: RequestRate, requests: u32, first: i64) -> i64 {
    tat.unwrap_or(first).max(first) + rate.interval() * i64::from(requests)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: RequestRate = RequestRate { per_second: 100, burst: 200 };

    /// Environments that share a number.
    struct Fleet {
        rate: RequestRate,
        meters: Vec<Meter>,
        tat: Option<i64>,
        charges: u32,
    }

    impl Fleet {
        fn new(rate: RequestRate, environments: usize) -> Self {
            Self { rate, meters: vec![Meter::default(); environments], tat: None, charges: 0 }
        }

        /// Whether a request at this environment is accepted.
        fn request(&mut self, environment: usize, now: i64, is_readable: bool) -> bool {
            let meter = &mut self.meters[environment];
            match meter.request(self.rate, now) {
                Decision::Refuse(wait) => {
                    assert!(wait > 0);
                    false
                }
                Decision::Accept => true,
                Decision::AcceptAndCharge => {
                    let (requests, first) = meter.take();
                    if is_readable {
                        let tat = after_charge(self.tat, self.rate, requests, first);
                        self.tat = Some(tat);
                        meter.charged(tat);
                        self.charges += 1;
                    } else {
                        meter.failed(requests, first, self.rate, now);
                    }
                    true
                }
            }
        }
    }

    /// What a tenant may do in `secs` seconds with so many environments.
    fn bound(rate: RequestRate, secs: i64, environments: usize) -> i64 {
        i64::from(rate.per_second) * secs
            + i64::from(rate.burst)
            + 2 * i64::try_from(environments).unwrap() * i64::from(rate.batch())
    }

    #[test]
    fn a_flood_is_held_to_the_rate_and_costs_a_twentieth_of_a_call() {
        for environments in [1, 10, 50] {
            let mut fleet = Fleet::new(RATE, environments);
            let mut accepted = 0_i64;
            // Ten seconds at 5,000 requests a second.
            for request in 0..50_000_i64 {
                let environment = usize::try_from(request).unwrap() % environments;
                accepted += i64::from(fleet.request(environment, request * 200, true));
            }
            assert!(accepted <= bound(RATE, 10, environments), "{environments}: {accepted}");
            assert!(accepted >= 1_000, "{environments}: {accepted}");
            assert!(i64::from(fleet.charges) <= accepted / 20 + 1, "{}", fleet.charges);
        }
    }

    #[test]
    fn who_stays_below_the_rate_is_never_refused() {
        let mut fleet = Fleet::new(RATE, 3);
        for request in 0..5_000_i64 {
            let environment = usize::try_from(request).unwrap() % 3;
            assert!(fleet.request(environment, request * 10_100, true), "{request}");
        }
    }

    /// Half of the rate, all of a second at once and each at another environment, so that their batches end together.
    #[test]
    fn many_environments_that_charge_at_once_do_not_block_each_other() {
        let mut fleet = Fleet::new(RATE, 50);
        for second in 0..200_i64 {
            for environment in 0..50 {
                assert!(fleet.request(environment, second * SECOND, true), "{second} {environment}");
            }
        }
        assert!(fleet.charges >= 400, "{}", fleet.charges);
    }

    #[test]
    fn where_the_number_cannot_be_read_each_environment_keeps_the_rate() {
        let mut fleet = Fleet::new(RATE, 2);
        let mut accepted = 0_i64;
        for request in 0..50_000_i64 {
            accepted += i64::from(fleet.request(usize::try_from(request % 2).unwrap(), request * 200, false));
        }
        assert!(accepted <= 2 * bound(RATE, 10, 1), "{accepted}");
        assert!(accepted >= 2_000, "{accepted}");
        // Readable again: what is charged late is not more than a burst for each.
        let mut later = 0_i64;
        for request in 50_000..100_000_i64 {
            later += i64::from(fleet.request(usize::try_from(request % 2).unwrap(), request * 200, true));
        }
        assert!(later >= 500, "{later}");
    }

    #[test]
    fn what_remains_is_shown() {
        let mut meter = Meter::default();
        assert_eq!(meter.remaining(RATE, 0), (200, 0));
        for _ in 0..10 {
            assert_eq!(meter.request(RATE, 0), Decision::Accept);
        }
        assert_eq!(meter.remaining(RATE, 0), (190, 1));
        assert_eq!(meter.take(), (10, 0));
        meter.charged(3 * SECOND);
        assert_eq!(meter.remaining(RATE, 0), (0, 3));
        assert_eq!(meter.request(RATE, 0), Decision::Refuse(SECOND));
        assert_eq!(meter.remaining(RATE, 2 * SECOND), (100, 1));
    }

    proptest! {
        #[test]
        fn no_fleet_exceeds_the_bound(
            per_second in 1_u32..500,
            burst in 1_u32..1_000,
            environments in 1_usize..8,
            steps in prop::collection::vec((0_usize..8, 0_i64..20_000), 1..2_000),
        ) {
            let rate = RequestRate { per_second, burst };
            let mut fleet = Fleet::new(rate, environments);
            let (mut now, mut accepted) = (0, 0_i64);
            for (environment, wait) in steps {
                now += wait;
                accepted += i64::from(fleet.request(environment % environments, now, true));
            }
            prop_assert!(accepted <= bound(rate, now / SECOND + 1, environments));
        }
    }
}
