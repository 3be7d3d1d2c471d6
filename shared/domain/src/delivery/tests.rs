use super::*;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn stored(status: Status, attempts: u32, next: Option<i64>, in_due_index: bool) -> Delivery {
    let failed = Outcome::Failed(Failure::Timeout);
    Delivery {
        status,
        generation: 0,
        attempts: (1..=attempts).map(|n| Attempt::new(n, at(0), 1, &failed)).collect(),
        next_attempt_at: next.map(at),
        parked_reason: (status == Status::Parked).then_some(ParkedReason::Disabled),
        in_due_index,
    }
}

const FIRST: Origin =
    Origin { generation: 0, received: 1, check: false, again: false, accepted: Some(Timestamp::EPOCH) };

#[test]
fn only_a_first_try_skips_the_read() {
    for (origin, age, skips) in [
        (FIRST, 0, true),
        (FIRST, 9, true),
        (FIRST, 10, false),
        (Origin { received: 2, ..FIRST }, 0, false),
        (Origin { check: true, ..FIRST }, 0, false),
        (Origin { again: true, ..FIRST }, 0, false),
        (Origin { generation: 1, ..FIRST }, 0, false),
        (Origin { accepted: None, ..FIRST }, 0, false),
    ] {
        assert_eq!(may_skip_reading(origin, at(age)), skips, "{origin:?}");
    }
}

#[test]
fn claims() {
    let retrying = stored(Status::Retrying, 2, Some(100), false);
    let waiting = stored(Status::Retrying, 2, Some(100), true);
    let second = Origin { received: 2, ..FIRST };
    let check = Origin { check: true, ..FIRST };
    let again = Origin { again: true, ..FIRST };
    for (stored, origin, now, expected) in [
        (None, second, 0, Claim::Attempt(1)),
        (None, check, 0, Claim::Attempt(1)),
        (Some(&retrying), second, 99, Claim::Keep(at(120))),
        (Some(&retrying), second, 100, Claim::Attempt(3)),
        (Some(&retrying), check, 100, Claim::Drop),
        (Some(&retrying), check, 100 + 3599, Claim::Drop),
        (Some(&retrying), check, 100 + 3600, Claim::Attempt(3)),
        (Some(&retrying), Origin { received: 2, ..check }, 99, Claim::Keep(at(120))),
        (Some(&waiting), second, 79, Claim::Drop),
        (Some(&waiting), again, 79, Claim::Drop),
        (Some(&waiting), again, 80, Claim::Keep(at(120))),
        (Some(&waiting), again, 100, Claim::Attempt(3)),
        (Some(&stored(Status::Pending, 0, Some(5), true)), again, 5, Claim::Attempt(1)),
        (Some(&stored(Status::Parked, 0, None, true)), second, 0, Claim::Drop),
        (Some(&stored(Status::Succeeded, 1, None, false)), second, 0, Claim::Drop),
        (Some(&stored(Status::Exhausted, 9, None, false)), check, 0, Claim::Drop),
        (Some(&stored(Status::Cancelled, 1, None, false)), again, 0, Claim::Drop),
        (Some(&stored(Status::Expired, 1, None, false)), again, 0, Claim::Drop),
    ] {
        assert_eq!(claim(stored, origin, at(now)), expected, "{stored:?} {origin:?}");
    }
}

#[test]
fn a_loser_never_drops_the_only_driver() {
    let retrying = stored(Status::Retrying, 1, Some(50), false);
    assert_eq!(lose(&retrying, false, at(10)), Lost::Keep(at(70)));
    assert_eq!(lose(&retrying, true, at(10)), Lost::RecordSuccess);
    let waiting = stored(Status::Retrying, 1, Some(50), true);
    assert_eq!(lose(&waiting, false, at(10)), Lost::Drop);
    assert_eq!(lose(&waiting, true, at(10)), Lost::RecordSuccess);
    assert_eq!(lose(&stored(Status::Succeeded, 1, None, false), true, at(10)), Lost::Drop);
    assert_eq!(lose(&stored(Status::Exhausted, 9, None, false), false, at(10)), Lost::Drop);
}

#[test]
fn attempts_tell_what_happened() {
    let answered = |status| Outcome::Answered { status, retry_after: None, excerpt: "x".into() };
    let attempt = Attempt::new(1, at(0), 5, &answered(204));
    assert_eq!((attempt.failure, attempt.error), (None, None));
    let attempt = Attempt::new(1, at(0), 5, &answered(301));
    assert_eq!(attempt.failure, Some(Failure::HttpStatus));
    assert_eq!(attempt.error.unwrap(), "the endpoint answered 301; redirects are not followed");
    let attempt = Attempt::new(1, at(0), 5, &Outcome::Failed(Failure::Dns));
    assert_eq!(attempt.status_code, None);
    assert!(attempt.error.unwrap().contains("resolved"));
    let attempt = Attempt::new(1, at(0), 5, &Outcome::Failed(Failure::Body));
    assert_eq!(serde_json::to_value(attempt.failure).unwrap(), "body");
    assert!(attempt.error.unwrap().contains("2xx"));
}
