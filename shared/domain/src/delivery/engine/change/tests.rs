use super::*;

#[test]
fn failures_of_ours_wait_longer_each_time() {
    let secs = [1, 2, 3, 11, 12, 50].map(|received| fault_backoff(received).as_secs());
    assert_eq!(secs, [20, 40, 80, 20_480, 21_600, 21_600]);
    // Ordinary attempts and long waits take some 25 of the 50 receives; the others last for
    // most of a week.
    let total: Duration = (25..50).map(fault_backoff).sum();
    assert!(total > Duration::from_hours(6 * 24));
}
