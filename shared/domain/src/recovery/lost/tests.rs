use super::*;
use crate::delivery::{Attempt, Failure, Outcome, ParkedReason};

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn stored(status: Status, next_attempt_at: Option<Timestamp>, in_due_index: bool) -> Delivery {
    let attempt = Attempt::new(1, at(0), 1, &Outcome::Failed(Failure::Timeout));
    let parked_reason = (status == Status::Parked).then_some(ParkedReason::RateLimit);
    let attempts = vec![attempt];
    Delivery { status, generation: 0, attempts, next_attempt_at, parked_reason, in_due_index }
}

#[test]
fn a_first_message_may_fail_three_times_in_its_lane() {
    for (again, received, leaves) in
        [(false, 1, false), (false, 3, false), (false, 4, true), (false, 50, true), (true, 1, true)]
    {
        assert_eq!(leaves_lane(again, received), leaves, "{again} {received}");
    }
}

#[test]
fn what_fails_on_our_side_is_postpone_for_longer_each_time() {
    let now = at(100_000);
    let hours = |hours| Duration::from_hours(hours);
    for (age, wait) in [
        (Duration::ZERO, SHORTEST_DELAY),
        (Duration::from_secs(140), SHORTEST_DELAY),
        (hours(1), hours(1) / 2),
        (hours(20), LONGEST_DELAY),
    ] {
        let change = postpone(None, Some(now - age), now).unwrap();
        assert_eq!(change, Change::retried(None, now + wait, Some(Place::Due(now + wait))), "{age:?}");
    }
    // Within the 28 days of a delivery it comes back some hundred times.
    let mut count = 0;
    let mut time = Duration::ZERO;
    while time < hours(24 * 28) {
        time += (time / 2).clamp(SHORTEST_DELAY, LONGEST_DELAY);
        count += 1;
    }
    assert!((100..150).contains(&count), "{count}");
}

#[test]
fn postponing_keeps_what_is_stored() {
    let now = at(1000);
    let due = now + SHORTEST_DELAY;
    let postpone = |stored: &Delivery| postpone(Some(stored), Some(now), now);
    for status in [Status::Succeeded, Status::Exhausted, Status::Cancelled, Status::Expired, Status::Parked] {
        assert_eq!(postpone(&stored(status, None, false)), None, "{status:?}");
    }
    for in_due_index in [false, true] {
        let retrying = stored(Status::Retrying, Some(at(990)), in_due_index);
        assert_eq!(postpone(&retrying), Some(Change::retried(Some(1), due, Some(Place::Due(due)))));
    }
    // A retry is not made earlier.
    let later = now + Duration::from_hours(1);
    let retrying = stored(Status::Retrying, Some(later), false);
    assert_eq!(postpone(&retrying), Some(Change::retried(Some(1), later, Some(Place::Due(later)))));
}
