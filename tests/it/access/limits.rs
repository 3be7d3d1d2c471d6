//! Rate limits and quotas.

use std::time::Duration;

use serde_json::json;
use testkit::{Client, Stack, eventually};
use tokio::{task::JoinSet, time::Instant};

use super::event;
use crate::{CACHE_AGE, SOON};

async fn limit(stack: &Stack, tenant: &Client, limits: serde_json::Value) {
    let path = format!("/v1/tenants/{}", tenant.tenant_id());
    stack.operator().patch(&path, &json!({ "limits": limits })).await.expect(200);
    tokio::time::sleep(CACHE_AGE).await;
}

/// Calls until then, and returns how many calls were accepted.
async fn flood(tenant: Client, until: Instant) -> u32 {
    let mut accepted = 0;
    while Instant::now() < until {
        let response = tenant.get("/v1/roles").await;
        match response.status {
            200 => accepted += 1,
            429 => {
                response.expect_problem(429, "too-many-requests");
                assert!(response.json["detail"].as_str().unwrap().contains("tenant-requests"));
                assert!(response.header("retry-after").parse::<u32>().unwrap() >= 1);
                assert_eq!(response.header("ratelimit-policy"), "\"tenant-requests\";q=10;w=2");
                assert!(response.header("ratelimit").starts_with("\"tenant-requests\";r=0;t="));
            }
            status => panic!("{status}: {}", response.json),
        }
    }
    accepted
}

/// Ten clients call as fast as they can. Those of another tenant are not affected.
#[tokio::test]
async fn parallel_clients_do_not_exceed_the_rate() {
    let stack = Stack::shared();
    let (tenant, other) = (stack.tenant().await, stack.tenant().await);
    limit(&stack, &tenant, json!({ "requests_per_second": 5, "request_burst": 10 })).await;
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..10 {
        clients.spawn(flood(tenant.clone(), began + Duration::from_secs(6)));
    }
    let accepted: u32 = clients.join_all().await.into_iter().sum();
    let secs = began.elapsed().as_secs_f64().ceil();
    // The rate, the burst, and for each of the ten environments there can be two batches of one.
    let most = 5.0 * secs + 10.0 + 2.0 * 10.0;
    assert!(f64::from(accepted) <= most, "{accepted} of {most} in {secs} s");
    assert!(accepted >= 25, "{accepted}");
    other.get("/v1/events").await.expect(200);
}

#[tokio::test]
async fn responses_show_the_limit() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    limit(&stack, &tenant, json!({ "requests_per_second": 100 })).await;
    let response = tenant.get("/v1/roles").await;
    assert_eq!(response.header("ratelimit-policy"), "\"tenant-requests\";q=200;w=2");
    let state = response.header("ratelimit").to_owned();
    let remaining = state.split(';').find_map(|part| part.strip_prefix("r=")).expect("what remains");
    assert!((150..200).contains(&remaining.parse::<u32>().unwrap()), "{state}");
    // The operator is not limited, and sees no limit.
    let named = [("tenant", tenant.tenant_id())];
    let response = stack.operator().send(reqwest::Method::GET, "/v1/events", &named, None).await;
    assert_eq!(response.header("ratelimit"), "");
}

#[tokio::test]
async fn a_quota_of_events_holds() {
    let stack = Stack::shared();
    for name in ["events_per_day", "events_per_month"] {
        let tenant = stack.tenant().await;
        limit(&stack, &tenant, json!({ name: 5 })).await;
        let repeated = [("idempotency-key", "the-first"), ("content-type", "application/json")];
        let body = event().to_string().into_bytes();
        let first = tenant.send(reqwest::Method::POST, "/v1/events", &repeated, Some(body)).await.expect(202);
        for _ in 0..2 {
            tenant.post("/v1/events", &event()).await.expect(202);
        }
        // All or nothing: a batch that does not fit is refused whole.
        let batch = json!({ "events": [event(), event(), event()] });
        tenant.post("/v1/events/batch", &batch).await.expect_problem(429, "too-many-requests");
        let batch = json!({ "events": [event(), event()] });
        tenant.post("/v1/events/batch", &batch).await.expect(202);
        let refused = eventually("the quota to be used up", SOON, || async {
            let response = tenant.post("/v1/events", &event()).await;
            (response.status == 429).then_some(response)
        })
        .await;
        refused.expect_problem(429, "too-many-requests");
        assert!(refused.json["detail"].as_str().unwrap().contains(name), "{}", refused.json);
        assert!(refused.header("retry-after").parse::<u32>().unwrap() >= 1);
        // A repeat gets its event, whatever was used since.
        let repeated = [("idempotency-key", "the-first"), ("content-type", "application/json")];
        let body = event().to_string().into_bytes();
        let response = tenant.send(reqwest::Method::POST, "/v1/events", &repeated, Some(body)).await;
        assert_eq!(response.expect(202)["id"], first["id"]);
        // Reading is free of it.
        tenant.get("/v1/events").await.expect(200);
    }
}
