use proptest::prelude::*;

use super::*;
use crate::delivery::{Failure, Outcome};

fn attempt(status: u16, duration_ms: u32, secs: i64) -> Attempt {
    let outcome = Outcome::Response { status, retry_after: None, excerpt: String::new() };
    Attempt::new(1, Timestamp::from_secs(secs), duration_ms, &outcome)
}

fn of(attempts: u64, failed: u64) -> Stats {
    Stats { attempts, attempts_succeeded: attempts - failed, ..Stats::default() }
}

#[test]
fn attempts_and_deliveries_are_counted_apart() {
    let mut stats = Stats::default();
    stats.add(&attempt(200, 5, 10), Status::Succeeded);
    stats.add(&attempt(500, 20, 30), Status::Retrying);
    stats.add(&attempt(500, 20, 20), Status::Exhausted);
    let timeout = Attempt::new(1, Timestamp::from_secs(40), 15_003, &Outcome::Failed(Failure::Timeout));
    stats.add(&timeout, Status::Parked);
    assert_eq!((stats.attempts, stats.attempts_succeeded, stats.attempts_failed()), (4, 1, 3));
    assert_eq!((stats.succeeded, stats.exhausted), (1, 1));
    assert_eq!(stats.last_success_at, Some(Timestamp::from_secs(10)));
    assert_eq!(stats.last_failure_at, Some(Timestamp::from_secs(40)));
    assert_eq!((stats.bins[0], stats.bins[2], stats.bins[BINS - 1]), (1, 2, 1));
    assert_eq!(stats.success_rate(), Some(0.25));
    let mut twice = stats.clone();
    twice.merge(&stats);
    assert_eq!((twice.attempts, twice.bins[2], twice.exhausted), (8, 4, 2));
    assert_eq!(twice.last_failure_at, stats.last_failure_at);
    assert_eq!((Stats::default().success_rate(), Stats::default().quantile(50)), (None, None));
}

#[test]
fn an_hour_ends_where_the_next_begins() {
    let at = Timestamp::from_secs;
    assert_eq!((hour(at(3599)), hour(at(3600))), (0, 1));
    assert_eq!(beginning(1), at(3600));
}

#[test]
fn bins_are_evenly_wide() {
    let ends = BEGINNINGS[1..].iter().chain([&LONGEST]);
    for (beginning, end) in BEGINNINGS.iter().zip(ends) {
        let width = f64::from(*end) / f64::from(*beginning);
        assert!((1.59..=1.65).contains(&width), "{beginning} to {end}");
    }
}

#[test]
fn an_endpoint_fails_from_half_of_twenty_attempts_on() {
    let now = Timestamp::from_secs(3600 * 10 + 60);
    let rows = [
        (0, 0, Err(20)),
        (10, 10, Err(10)),
        (19, 19, Err(1)),
        (20, 10, Ok(0.5)),
        (20, 9, Err(2)),
        (40, 20, Ok(0.5)),
        (1000, 0, Err(1000)),
        (1000, 1000, Ok(1.0)),
        (3, 1, Err(17)),
    ];
    for (attempts, failed, expected) in rows {
        let judged = match judge(&of(attempts, failed), now) {
            FailureVerdict::Failing(found) => {
                assert_eq!((found.attempts, found.to), (attempts, now));
                assert_eq!(found.from, Timestamp::from_secs(3600 * 9));
                Ok(found.rate)
            }
            FailureVerdict::NotBefore(failures) => Err(failures),
        };
        assert_eq!(judged, expected, "{failed} of {attempts}");
    }
}

#[test]
fn judging_again_waits_for_failures_or_a_minute() {
    let rows = [(10, 2, 1, false), (10, 3, 1, true), (10, 0, 60, true), (1, 0, 59, false), (1, 1, 0, true)];
    for (not_before, failures, secs, expected) in rows {
        assert_eq!(judged_again(not_before, failures, Duration::from_secs(secs)), expected);
    }
}

proptest! {
    #[test]
    fn what_it_takes_to_fail_is_exact(attempts in 0u64..500, failed in 0u64..500) {
        let failed = failed.min(attempts);
        let now = Timestamp::EPOCH;
        if let FailureVerdict::NotBefore(more) = judge(&of(attempts, failed), now) {
            let fails = |more| matches!(judge(&of(attempts + more, failed + more), now), FailureVerdict::Failing(_));
            prop_assert!(fails(more));
            prop_assert!(!fails(more - 1));
        }
    }

    #[test]
    fn quantiles_are_as_near_as_they_say(
        mut durations in prop::collection::vec(0..=LONGEST, 1..200),
        percent in 1u64..=100,
    ) {
        let mut stats = Stats::default();
        for duration in &durations {
            stats.add(&attempt(200, *duration, 0), Status::Succeeded);
        }
        durations.sort_unstable();
        let rank = (durations.len() * usize::try_from(percent).unwrap()).div_ceil(100);
        let exact = f64::from(durations[rank - 1]);
        let off = (f64::from(stats.quantile(percent).unwrap()) - exact).abs();
        prop_assert!(off <= if exact < 10.0 { 5.0 } else { 0.29 * exact }, "{off} off {exact}");
    }
}
