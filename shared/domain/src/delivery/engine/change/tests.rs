use super::*;
use crate::delivery::Outcome;

#[test]
fn a_change_is_made_where_its_own_attempt_is_stored() {
    let outcome = Outcome::Response { status: 200, excerpt: String::new(), retry_after: None };
    let attempt = |number, at, took| Attempt::new(number, Timestamp::from_secs(at), took, &outcome);
    let change = Change::finished(Some(1), Status::Succeeded);
    let made = change.clone().with_attempt(attempt(2, 10, 30));
    for (stored, is_made) in [
        (vec![], false),
        (vec![attempt(1, 5, 30)], false),
        (vec![attempt(1, 5, 30), attempt(2, 10, 30)], true),
        (vec![attempt(1, 5, 30), attempt(2, 10, 30), attempt(3, 20, 30)], true),
        // Those of another function.
        (vec![attempt(1, 5, 30), attempt(2, 11, 30)], false),
        (vec![attempt(1, 5, 30), attempt(2, 10, 31)], false),
    ] {
        let stored = Delivery {
            status: Status::Succeeded,
            generation: 0,
            attempts: stored,
            next_attempt_at: None,
            parked_reason: None,
            in_due_index: false,
        };
        assert_eq!(made.is_made_in(&stored), is_made, "{stored:?}");
        assert!(!change.is_made_in(&stored), "a change without an attempt");
    }
}

#[test]
fn failures_of_ours_wait_longer_each_time() {
    let secs = [1, 2, 3, 11, 12, 50].map(|received| fault_backoff(received).as_secs());
    assert_eq!(secs, [20, 40, 80, 20_480, 21_600, 21_600]);
    // Ordinary attempts and long waits take some 25 of the 50 receives; the others last for
    // most of a week.
    let total: Duration = (25..50).map(fault_backoff).sum();
    assert!(total > Duration::from_hours(6 * 24));
}
