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
fn what_fails_on_our_side_is_postponed_for_longer_the_longer_it_is_overdue() {
    let now = at(10_000_000);
    let hours = |hours| Duration::from_hours(hours);
    for (overdue, wait) in [
        (Duration::ZERO, SHORTEST_DELAY),
        (Duration::from_secs(140), SHORTEST_DELAY),
        (hours(1), hours(1) / 2),
        (hours(20), LONGEST_DELAY),
    ] {
        let due = now - overdue;
        let change = Change::retried(None, due, Some(Place::Due(now + wait)));
        assert_eq!(postpone(None, Some(due), now), Some(change), "{overdue:?}");
        // However old the delivery is, and however it was driven before.
        for in_due_index in [false, true] {
            let retrying = stored(Status::Retrying, Some(due), in_due_index);
            let change = Change::retried(Some(1), due, Some(Place::Due(now + wait)));
            assert_eq!(postpone(Some(&retrying), Some(at(0)), now), Some(change), "{overdue:?}");
        }
    }
}

#[test]
fn a_delivery_that_fails_for_weeks_comes_back_some_hundred_times() {
    let due = at(0);
    let end = due + Duration::from_hours(24 * 28);
    let mut delivery = stored(Status::Retrying, Some(due), true);
    let (mut now, mut count) = (due, 0);
    while now < end {
        let change = postpone(Some(&delivery), None, now).unwrap();
        delivery.next_attempt_at = change.next_attempt_at;
        now = change.place.unwrap().at();
        count += 1;
    }
    assert!((100..150).contains(&count), "{count}");
}

#[test]
fn what_is_finished_held_or_not_due_is_not_postponed() {
    let now = at(1000);
    for status in [Status::Succeeded, Status::Exhausted, Status::Cancelled, Status::Expired, Status::Parked] {
        assert_eq!(postpone(Some(&stored(status, None, false)), Some(now), now), None, "{status:?}");
    }
    // A retry is not made earlier.
    let later = now + Duration::from_hours(1);
    let retrying = stored(Status::Retrying, Some(later), false);
    let change = Change::retried(Some(1), later, Some(Place::Due(later)));
    assert_eq!(postpone(Some(&retrying), Some(now), now), Some(change));
}
