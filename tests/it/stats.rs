//! How an endpoint fared: statistics that nobody scans for.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Client, Receiver, Reply, Stack, eventually, stack::millis_of};

use crate::{CACHE_AGE, SOON};

/// The statistics once so many attempts are counted.
async fn counted(client: &Client, endpoint_id: &str, attempts: u64) -> Value {
    eventually(&format!("{attempts} attempts to be counted"), SOON, || async {
        let stats = client.get(&format!("/v1/endpoints/{endpoint_id}/stats")).await.expect(200);
        (stats["attempts"] == attempts).then_some(stats)
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
    let endpoint_id = tenant.endpoint(&receiver.url()).retry_schedule(&[]).create().await.id;
    let path = format!("/v1/endpoints/{endpoint_id}/stats");
    let fresh = tenant.get(&path).await.expect(200);
    assert_eq!((&fresh["attempts"], &fresh["by_hour"]), (&json!(0), &json!([])));
    for name in ["success_rate", "p50_ms", "p95_ms", "last_success_at", "last_failure_at"] {
        assert_eq!(fresh[name], json!(null), "{name}");
    }
    let events: Vec<_> = (0..60).map(|n| json!({ "type": "contact.created", "data": { "n": n } })).collect();
    tenant.post("/v1/events/batch", &json!({ "events": events })).await.expect(202);
    let stats = counted(&tenant, &endpoint_id, 60).await;
    assert_eq!(receiver.requests().len(), 60);
    assert_eq!((&stats["attempts_failed"], &stats["deliveries_exhausted"]), (&json!(20), &json!(20)));
    assert_eq!((&stats["deliveries_succeeded"], &stats["success_rate"]), (&json!(40), &json!(0.6667)));
    // A neighbour answers soon, and the slow ones are more than one in twenty.
    let (p50, p95) = (stats["p50_ms"].as_u64().unwrap(), stats["p95_ms"].as_u64().unwrap());
    assert!(p50 < 600, "{p50}");
    assert!((426..2000).contains(&p95), "{p95}");
    for name in ["last_success_at", "last_failure_at"] {
        let at = millis_of(stats[name].as_str().unwrap());
        assert!(millis_of(stats["from"].as_str().unwrap()) < at);
        assert!(at <= millis_of(stats["to"].as_str().unwrap()));
    }
    let by_hour = stats["by_hour"].as_array().unwrap();
    assert!((1..=2).contains(&by_hour.len()), "in an hour or two: {stats}");
    let sum: u64 = by_hour.iter().map(|hour| hour["attempts"].as_u64().unwrap()).sum();
    assert_eq!(sum, 60);
    for (hours, status) in [("1", 200), ("168", 200), ("0", 400), ("169", 400), ("-1", 400), ("day", 400)] {
        let response = tenant.get(&format!("{path}?hours={hours}")).await;
        assert_eq!(response.status, status, "{hours}: {}", response.json);
    }
}

#[tokio::test]
async fn retries_are_attempts_of_one_delivery_and_the_operator_has_its_own() {
    let stack = Stack::shared();
    let (tenant, operator) = (stack.tenant().await, stack.operator());
    let receiver = Receiver::responding(|n| Reply::status(if n == 0 { 500 } else { 200 })).await;
    let endpoint_id = tenant.endpoint(&receiver.url()).retry_schedule(&[1, 1]).create().await.id;
    let theirs = Receiver::start().await;
    let event_type = format!("{}.happened", tenant.tenant_id());
    let operators_id = operator.endpoint(&theirs.url()).event_types(&[&event_type]).create().await.id;
    tokio::time::sleep(CACHE_AGE).await;
    tenant.publish(&event_type, &json!({}), "counted").await;
    let stats = counted(&tenant, &endpoint_id, 2).await;
    assert_eq!(
        [&stats["attempts_failed"], &stats["deliveries_succeeded"], &stats["deliveries_exhausted"]],
        [&json!(1), &json!(1), &json!(0)]
    );
    let stats = counted(&operator, &operators_id, 1).await;
    assert_eq!((&stats["success_rate"], &stats["attempts_failed"]), (&json!(1.0), &json!(0)));
    tenant.get(&format!("/v1/endpoints/{operators_id}/stats")).await.expect(404);
    // A deleted endpoint has none, as it has nothing else.
    tenant.delete(&format!("/v1/endpoints/{endpoint_id}")).await.expect(204);
    tenant.get(&format!("/v1/endpoints/{endpoint_id}/stats")).await.expect(404);
}
