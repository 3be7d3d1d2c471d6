use super::*;
use crate::delivery::{Attempt, Failure, Outcome, ParkedReason};

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
fn only_a_first_message_skips_the_read() {
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
        (None, check, 0, Claim::Keep(at(20))),
        (None, Origin { received: 2, ..check }, 20, Claim::Attempt(1)),
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
fn a_conflict_never_drops_the_only_driver() {
    let retrying = stored(Status::Retrying, 1, Some(50), false);
    assert_eq!(resolve(&retrying, false, at(10)), Conflict::Keep(at(70)));
    assert_eq!(resolve(&retrying, true, at(10)), Conflict::RecordAgain);
    let waiting = stored(Status::Retrying, 1, Some(50), true);
    assert_eq!(resolve(&waiting, false, at(10)), Conflict::Drop);
    assert_eq!(resolve(&waiting, true, at(10)), Conflict::RecordAgain);
    assert_eq!(resolve(&stored(Status::Succeeded, 1, None, false), true, at(10)), Conflict::Drop);
    assert_eq!(resolve(&stored(Status::Exhausted, 9, None, false), false, at(10)), Conflict::Drop);
}
