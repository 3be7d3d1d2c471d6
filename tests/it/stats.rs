//! How an endpoint fared: statistics that need no scan of the deliveries.

use std::time::Duration;

use serde_json::json;
use testkit::{Endpoint, Receiver, Reply, Stack, client::StatsView, eventually, stack::millis_of};

use crate::{CACHE_AGE, SOON};

/// The statistics once so many attempts are counted.
async fn counted(endpoint: &Endpoint, attempts: u64) -> StatsView {
    eventually(&format!("{attempts} attempts to be counted"), SOON, || async {
        Some(endpoint.stats().await).filter(|stats| stats.attempts == attempts)
    })
    .await
}

#[tokio::test]
async fn attempts_are_counted_with_their_outcomes_and_durations() {
    let tenant = Stack::shared().tenant().await;
    // Every third fails; each eighth takes its time.
    let receiver = Receiver::responding(|n| Reply {
        delay: Duration::from_millis(if n % 8 == 7 { 600 } else { 0 }),
        ..Reply::status(if n % 3 == 2 { 500 } else { 200 })
    })
    .await;
    let endpoint = tenant.endpoint(&receiver.url()).retry_schedule(&[]).create().await;
    let fresh = endpoint.stats().await;
    assert_eq!((fresh.attempts, fresh.by_hour), (0, vec![]));
    assert_eq!((fresh.success_rate, fresh.p50_ms, fresh.p95_ms), (None, None, None));
    assert_eq!((fresh.last_success_at, fresh.last_failure_at), (None, None));
    tenant.publish_many("contact.created", 60).await;
    let stats = counted(&endpoint, 60).await;
    assert_eq!(receiver.requests().len(), 60);
    assert_eq!((stats.attempts_failed, stats.deliveries_exhausted), (20, 20));
    assert_eq!((stats.deliveries_succeeded, stats.success_rate), (40, Some(0.6667)));
    // A receiver on the same machine responds soon, and the slow responses are more than one in twenty.
    let (p50, p95) = (stats.p50_ms.unwrap(), stats.p95_ms.unwrap());
    assert!(p50 < 600, "{p50}");
    assert!((426..2000).contains(&p95), "{p95}");
    for time in [&stats.last_success_at, &stats.last_failure_at] {
        let time = millis_of(time.as_ref().unwrap());
        assert!(millis_of(&stats.from) < time && time <= millis_of(&stats.to));
    }
    assert!((1..=2).contains(&stats.by_hour.len()), "in an hour or two: {stats:?}");
    assert_eq!(stats.by_hour.iter().map(|hour| hour.attempts).sum::<u64>(), 60);
    for (hours, status) in [("1", 200), ("168", 200), ("0", 400), ("169", 400), ("-1", 400), ("day", 400)] {
        let response = tenant.get(&endpoint.path(&format!("/stats?hours={hours}"))).await;
        assert_eq!(response.status, status, "{hours}: {}", response.json);
    }
}

#[tokio::test]
async fn retries_are_attempts_of_one_delivery_and_the_operator_has_its_own() {
    let stack = Stack::shared();
    let (tenant, operator) = (stack.tenant().await, stack.operator());
    let receiver = Receiver::responding(|n| Reply::status(if n == 0 { 500 } else { 200 })).await;
    let endpoint = tenant.endpoint(&receiver.url()).retry_schedule(&[1, 1]).create().await;
    let theirs = Receiver::start().await;
    let event_type = format!("{}.happened", tenant.tenant_id());
    let operators = operator.endpoint(&theirs.url()).event_types(&[&event_type]).create().await;
    tokio::time::sleep(CACHE_AGE).await;
    tenant.publish(&event_type, &json!({}), "counted").await;
    let stats = counted(&endpoint, 2).await;
    assert_eq!((stats.attempts_failed, stats.deliveries_succeeded, stats.deliveries_exhausted), (1, 1, 0));
    let stats = counted(&operators, 1).await;
    assert_eq!((stats.success_rate, stats.attempts_failed), (Some(1.0), 0));
    tenant.get(&operators.path("/stats")).await.expect(404);
    // A deleted endpoint has none, as it has nothing else.
    endpoint.delete().await;
    tenant.get(&endpoint.path("/stats")).await.expect(404);
}
