use domain::{
    DeliveryId, EventId,
    delivery::{Attempt, Outcome, Retention, Status, engine::change::Change},
};

use super::*;
use crate::store::events::deliveries::DeliveryKey;

#[test]
fn attempts_are_counted_by_owner_endpoint_and_hour() {
    let at = Timestamp::from_secs;
    let endpoint = |n| EndpointId::new(at(0), [n; 10]);
    let change = |tenant: &str, operator, n, now, attempted: bool| {
        let outcome = Outcome::Response { status: 200, retry_after: None, excerpt: String::new() };
        DeliveryChange {
            key: DeliveryKey {
                tenant: tenant.parse().unwrap(),
                id: DeliveryId { event: EventId::new(at(0), [1; 10]), endpoint: endpoint(n) },
                generation: 0,
            },
            operator,
            event_type: None,
            change: Change {
                attempt: attempted.then(|| Attempt::new(1, at(now), 1, &outcome)),
                ..Change::finished(None, Status::Succeeded)
            },
            accepted_at: None,
            retention: Retention::DEFAULT,
            now: at(now),
        }
    };
    let counts = count(&[
        change("a", false, 1, 3599, true),
        change("a", false, 1, 3598, true),
        change("a", false, 1, 3600, true),
        change("a", false, 2, 1, true),
        change("a", true, 3, 1, true),
        change("b", true, 3, 1, true),
        change("a", false, 4, 1, false),
    ]);
    let mut found: Vec<_> = counts
        .iter()
        .map(|((owner, endpoint, hour), stats)| (owner.to_string(), *endpoint, *hour, stats.attempts))
        .collect();
    found.sort_unstable();
    let expected = [("a", 1, 0, 2), ("a", 1, 1, 1), ("a", 2, 0, 1), ("operator", 3, 0, 2)];
    let expected: Vec<_> = expected
        .iter()
        .map(|(owner, n, hour, count)| ((*owner).to_owned(), endpoint(*n), *hour, *count))
        .collect();
    assert_eq!(found, expected);
}
