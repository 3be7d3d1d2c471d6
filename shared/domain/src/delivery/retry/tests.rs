use proptest::prelude::*;

use super::*;
use crate::delivery::Failure;

fn responded(status: u16, retry_after: Option<&str>) -> Outcome {
    Outcome::Response { status, retry_after: retry_after.map(str::to_owned), excerpt: String::new() }
}

#[test]
fn decisions() {
    let now: Timestamp = "2026-11-23T20:00:00Z".parse().unwrap();
    let wait = |secs| Next::RetryAt(now + Duration::from_secs(secs));
    let timeout = Outcome::Failed(Failure::Timeout);
    for (n, outcome, expected) in [
        (1, responded(200, None), Next::Done),
        (1, responded(299, None), Next::Done),
        (10, responded(200, None), Next::Done),
        (1, responded(301, None), wait(5)),
        (1, responded(500, None), wait(5)),
        (1, timeout.clone(), wait(5)),
        (2, timeout.clone(), wait(300)),
        (9, timeout.clone(), wait(24 * 3600)),
        (10, timeout.clone(), Next::GiveUp),
        (1, responded(410, None), Next::Park),
        (9, responded(410, Some("60")), Next::Park),
        (10, responded(410, None), Next::GiveUp),
        (1, responded(429, Some("120")), wait(120)),
        (2, responded(429, Some("120")), wait(300)),
        (1, responded(503, Some("Mon, 23 Nov 2026 20:02:00 GMT")), wait(120)),
        (1, responded(503, Some("Monday, 23-Nov-26 20:02:00 GMT")), wait(120)),
        (1, responded(503, Some("Mon Nov 23 20:02:00 2026")), wait(120)),
        (1, responded(503, Some("Tue Dec  1 20:02:00 2026")), wait(24 * 3600)),
        (1, responded(503, Some("Mon, 23 Nov 2020 20:02:00 GMT")), wait(5)),
        (1, responded(503, Some("Monday, 23-Nov-20 20:02:00 GMT")), wait(5)),
        (1, responded(503, Some("Mon, 23 Nov 2026 25:02:00 GMT")), wait(5)),
        (1, responded(503, Some("+120")), wait(5)),
        (1, responded(503, Some("")), wait(5)),
        (1, responded(503, Some("99999999999999999999999999")), wait(24 * 3600)),
        (1, responded(503, Some("soon")), wait(5)),
        (1, responded(503, Some("-1")), wait(5)),
        (1, responded(503, Some("99999999999")), wait(24 * 3600)),
    ] {
        assert_eq!(next(n, &outcome, &Policy::default(), now, 0.5), expected, "{n} {outcome:?}");
    }
}

#[test]
fn schedules_are_bounded() {
    assert!(Policy::from_secs(&[]).unwrap().schedule.is_empty());
    assert!(Policy::from_secs(&[86_400; 19]).is_ok());
    for secs in [&[86_400; 20][..], &[0], &[86_401], &[1, 0]] {
        assert_eq!(Policy::from_secs(secs), Err(InvalidSchedule));
    }
    let once = Policy::from_secs(&[]).unwrap();
    assert_eq!(next(1, &responded(500, None), &once, Timestamp::EPOCH, 0.5), Next::GiveUp);
}

proptest! {
    #[test]
    fn attempts_are_bounded_by_the_schedule(secs in proptest::collection::vec(1u32..=86_400, 0..=19), status in 300u16..600) {
        let policy = Policy::from_secs(&secs).unwrap();
        let last = |n| next(n, &responded(status, None), &policy, Timestamp::EPOCH, 0.0) == Next::GiveUp;
        let attempts = (1u32..100).position(last).unwrap();
        prop_assert_eq!(attempts, secs.len());
    }

    #[test]
    fn always_ends_and_time_never_runs_backwards(statuses in proptest::collection::vec(100u16..600, 30), jitter in 0.0..1.0f64, header: Option<String>) {
        let policy = Policy::default();
        let mut now = Timestamp::from_secs(1_700_000_000);
        let mut ended = false;
        for (n, status) in (1u32..).zip(statuses) {
            match next(n, &responded(status, header.as_deref()), &policy, now, jitter) {
                Next::RetryAt(at) => {
                    prop_assert!(at > now);
                    prop_assert!(at.since(now) <= Duration::from_mins(1728));
                    now = at;
                }
                // Disabled, and enabled again a day later.
                Next::Park => now = now + Duration::from_hours(24),
                Next::Done | Next::GiveUp => { ended = true; break }
            }
        }
        prop_assert!(ended);
    }
}
