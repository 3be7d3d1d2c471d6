use proptest::prelude::*;

use super::*;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(1_700_000_000 + secs)
}

fn failed(count: u32) -> Tally {
    Tally { failed: count, ..Tally::default() }
}

const SUCCESS: Tally = Tally { succeeded: 1, failed: 0, slow: false, throttle: None, gone: false };

#[test]
fn a_healthy_endpoint_is_never_written() {
    assert_eq!(Health::default().after(&SUCCESS, at(0)), Health::default());
    let mixed = Tally { failed: 3, ..SUCCESS };
    assert_eq!(Health::default().after(&mixed, at(0)), Health::default());
}

#[test]
fn the_circuit_opens_on_failures_over_a_time() {
    let first = Health::default().after(&failed(20), at(0));
    assert_eq!((first.failures, first.circuit), (20, None), "too early");
    let few = Health::default().after(&failed(4), at(0)).after(&failed(5), at(60));
    assert_eq!(few.circuit, None, "too few");
    let open = first.after(&failed(1), at(30));
    assert_eq!(open.circuit, Some(Circuit { until: at(60), cooldown: 30, probing: false }));
    let straggler = open.after(&failed(5), at(40));
    assert_eq!(straggler.circuit, open.circuit);
    assert_eq!(open.probing(at(59)), None);
    let probing = open.probing(at(60)).unwrap();
    assert_eq!(probing.circuit, Some(Circuit { until: at(90), cooldown: 30, probing: true }));
    assert_eq!(probing.probing(at(70)), None, "one probe at a time");
    assert!(probing.probing(at(90)).is_some(), "its maker may have died");
    let again = probing.after(&failed(1), at(62));
    assert_eq!(again.circuit, Some(Circuit { until: at(122), cooldown: 60, probing: false }));
    assert_eq!(probing.after(&SUCCESS, at(62)), Health::default());
}

#[test]
fn the_cooldown_doubles_to_a_quarter_of_an_hour() {
    let mut health = Health::default().after(&failed(10), at(0)).after(&failed(1), at(30));
    let mut cooldowns = Vec::new();
    for _ in 0..7 {
        let circuit = health.circuit.unwrap();
        cooldowns.push(circuit.cooldown);
        health = health.probing(circuit.until).unwrap().after(&failed(1), circuit.until);
    }
    assert_eq!(cooldowns, [30, 60, 120, 240, 480, 900, 900]);
}

#[test]
fn days_of_failure_warn_and_then_disable() {
    const DAY: i64 = 86_400;
    let mut health = Health::default();
    for (day, failures, expected) in [
        (0, 9, None),
        (1, 1, None),
        (3, 1, None),
        (4, 1, Some(Verdict::Warn { disabled_at: at(5 * DAY) })),
        (5, 1, Some(Verdict::Disable)),
    ] {
        // Never more than 36 hours without one.
        if day > 1 {
            health = health.after(&failed(1), at(day * DAY - DAY / 2));
            health = health.after(&failed(1), at(day * DAY - DAY));
        }
        health = health.after(&failed(failures), at(day * DAY));
        assert_eq!(health.verdict(at(day * DAY), 5), expected, "day {day}");
    }
    // Two failures a week apart are not a week of failures.
    let apart = Health::default().after(&failed(50), at(0)).after(&failed(50), at(7 * DAY));
    assert_eq!(apart.verdict(at(7 * DAY), 5), None);
    // One day: warned at its half.
    let short = Health::default().after(&failed(50), at(0));
    assert_eq!(short.verdict(at(DAY / 2), 1), Some(Verdict::Warn { disabled_at: at(DAY) }));
}

#[test]
fn throttling_and_slowness_are_remembered_for_a_while() {
    let response = |status, retry_after: Option<&str>| Outcome::Response {
        status,
        retry_after: retry_after.map(str::to_owned),
        excerpt: String::new(),
    };
    for (outcome, wait) in [
        (response(429, None), Some(60)),
        (response(502, None), Some(60)),
        (response(504, Some("300")), Some(300)),
        (response(429, Some("86400")), Some(900)),
        (response(503, Some("90")), Some(90)),
        (response(503, None), None),
        (response(500, None), None),
        (Outcome::Failed(Failure::Connect), None),
    ] {
        let mut tally = Tally::default();
        tally.add(&outcome, Duration::ZERO, at(0));
        assert_eq!(tally.throttle, wait.map(Duration::from_secs), "{outcome:?}");
    }
    // Zapier responds with nothing but 429 beyond its limit, and must not be disabled for it.
    let mut refused = Tally::default();
    refused.add(&response(429, None), Duration::ZERO, at(0));
    assert_eq!((refused.succeeded, refused.failed), (0, 0));
    let health = (0..100).fold(Health::default(), |health, day| health.after(&refused, at(day * 21_600)));
    assert_eq!((health.failures, health.circuit, health.verdict(at(25 * 86_400), 5)), (0, None, None));
    let mut tally = Tally::default();
    tally.add(&Outcome::Failed(Failure::Timeout), Duration::from_secs(1), at(0));
    let health = Health::default().after(&tally, at(0));
    assert!(health.is_slow(at(599)) && !health.is_slow(at(600)));
    assert_eq!(health.after(&tally, at(100)).slow_until, health.slow_until, "not a write each time");
    let throttled = Tally { throttle: Some(Duration::from_mins(1)), ..SUCCESS };
    let health = Health::default().after(&throttled, at(0));
    assert_eq!(health.after(&throttled, at(20)).throttled_until, health.throttled_until);
    assert_ne!(health.after(&throttled, at(40)).throttled_until, health.throttled_until);
}

proptest! {
    #[test]
    fn writes_are_few_and_the_circuit_is_sane(steps in proptest::collection::vec((0i64..4000, 0u32..4, 0u32..4), 1..200)) {
        let (mut health, mut now) = (Health::default(), 0);
        for (later, succeeded, failed) in steps {
            now += later;
            let probe = health.probing(at(now));
            let before = probe.unwrap_or_else(|| health.clone());
            let after = before.after(&Tally { succeeded, failed, ..Tally::default() }, at(now));
            if succeeded > 0 {
                prop_assert_eq!(&after, &Health::default());
            }
            if let Some(circuit) = after.circuit {
                prop_assert!(after.failures >= OPEN_FAILURES);
                prop_assert!((30..=900).contains(&circuit.cooldown));
                prop_assert!(circuit.until <= at(now) + COOLDOWN_LIMIT);
            }
            health = after;
        }
    }
}
