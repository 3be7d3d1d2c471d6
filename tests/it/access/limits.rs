//! Rate limits and quotas.

use std::time::Duration;

use serde_json::json;
use testkit::{ApiResponse, Client, Receiver, Stack, eventually};
use tokio::{task::JoinSet, time::Instant};

use super::{event, keys_of, new_key, with};
use crate::{
    CACHE_AGE, SOON,
    inbound_log::{TOKEN, send_with, token_source},
};

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

/// Both texts of a rotated key have one limit; other keys of the tenant are not affected.
#[tokio::test]
async fn a_key_has_a_limit_of_its_own() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let body = json!({ "name": "slow", "role": "admin", "requests_per_second": 5, "request_burst": 10 });
    let key = new_key(&tenant, body).await;
    let path = format!("{}/{}", keys_of(&tenant), key["id"].as_str().unwrap());
    let rotated =
        tenant.post(&format!("{path}/rotate"), &json!({ "overlap_seconds": 3600 })).await.expect(200);
    let (old, new) = (with(&tenant, &key), with(&tenant, &rotated));
    let response = new.get("/v1/roles").await;
    let policy = response.header("ratelimit-policy");
    assert!(policy.starts_with("\"tenant-requests\";q="), "{policy}");
    assert!(policy.ends_with(", \"key-requests\";q=10;w=2"), "{policy}");
    assert!(
        response.header("ratelimit").contains(", \"key-requests\";r="),
        "{}",
        response.header("ratelimit")
    );
    assert!(!tenant.get("/v1/roles").await.header("ratelimit-policy").contains("key-requests"));

    let began = Instant::now();
    let until = began + Duration::from_secs(6);
    let mut clients = JoinSet::new();
    for client in [&old, &new] {
        for _ in 0..5 {
            let client = client.clone();
            clients.spawn(async move {
                let mut accepted = 0;
                while Instant::now() < until {
                    let response = client.get("/v1/roles").await;
                    if response.status == 200 {
                        accepted += 1;
                        continue;
                    }
                    response.expect_problem(429, "too-many-requests");
                    assert!(response.json["detail"].as_str().unwrap().contains("key-requests"));
                    assert!(response.header("retry-after").parse::<u32>().unwrap() >= 1);
                    assert!(response.header("ratelimit").contains("\"key-requests\";r=0;t="));
                }
                accepted
            });
        }
    }
    let accepted: u32 = clients.join_all().await.into_iter().sum();
    let secs = began.elapsed().as_secs_f64().ceil();
    let most = 5.0 * secs + 10.0 + 2.0 * 10.0;
    assert!(f64::from(accepted) <= most, "{accepted} of {most} in {secs} s");
    assert!(accepted >= 25, "{accepted}");
    tenant.get("/v1/events").await.expect(200);

    // No key gives more than it has, nor itself.
    let keys = keys_of(&tenant);
    for limits in [
        json!({}),
        json!({ "requests_per_second": 6 }),
        json!({ "requests_per_second": 5, "request_burst": 11 }),
    ] {
        let mut body = json!({ "name": "more", "role": "viewer" });
        body.as_object_mut().unwrap().extend(limits.as_object().unwrap().clone());
        let refused = accepted_by(|| new.post(&keys, &body)).await;
        refused.expect_problem(403, "forbidden");
        assert_eq!(refused.json["errors"][0]["pointer"], "/requests_per_second");
    }
    let change = json!({ "requests_per_second": null, "request_burst": null });
    accepted_by(|| new.patch(&path, &change)).await.expect_problem(403, "forbidden");
    for (change, pointer) in [
        (json!({ "requests_per_second": 0 }), "/requests_per_second"),
        (json!({ "requests_per_second": 10_001 }), "/requests_per_second"),
        (json!({ "request_burst": 20_001 }), "/request_burst"),
        (json!({ "requests_per_second": null }), "/request_burst"),
    ] {
        let refused = tenant.patch(&path, &change).await;
        refused.expect_problem(422, "invalid-field");
        assert_eq!(refused.json["errors"][0]["pointer"], pointer);
    }
    let free =
        tenant.patch(&path, &json!({ "requests_per_second": null, "request_burst": null })).await.expect(200);
    assert_eq!((&free["requests_per_second"], &free["request_burst"]), (&json!(null), &json!(null)));
    eventually("the limit to be gone", SOON, || async {
        let policy = new.get("/v1/roles").await.header("ratelimit-policy").to_owned();
        (!policy.contains("key-requests")).then_some(())
    })
    .await;
}

/// The first response that is not of the rate limit.
async fn accepted_by<F: Future<Output = ApiResponse>>(request: impl Fn() -> F) -> ApiResponse {
    eventually("a request within the rate", SOON, || async {
        let response = request().await;
        (response.status != 429).then_some(response)
    })
    .await
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

/// The event is what can be refused: one whose deliveries do not fit is, and nothing that was accepted is lost.
#[tokio::test]
async fn a_quota_of_deliveries_holds() {
    let stack = Stack::shared();
    for name in ["deliveries_per_day", "deliveries_per_month"] {
        let tenant = stack.tenant().await;
        let receiver = Receiver::start().await;
        let endpoint = tenant.endpoint(&receiver.url()).create().await;
        tenant.endpoint(&receiver.url()).create().await;
        limit(&stack, &tenant, json!({ name: 3 })).await;
        let keyed = [("idempotency-key", "the-first"), ("content-type", "application/json")];
        let body = event().to_string().into_bytes();
        let first =
            tenant.send(reqwest::Method::POST, "/v1/events", &keyed, Some(body.clone())).await.expect(202);
        // Two more do not fit.
        let refused = tenant.post("/v1/events", &event()).await;
        refused.expect_problem(429, "too-many-requests");
        assert!(refused.json["detail"].as_str().unwrap().contains(name), "{}", refused.json);
        assert!(refused.header("retry-after").parse::<u32>().unwrap() >= 1);
        let batch = json!({ "events": [event()] });
        tenant.post("/v1/events/batch", &batch).await.expect_problem(429, "too-many-requests");
        // A repeat is no other event.
        let repeat = tenant.send(reqwest::Method::POST, "/v1/events", &keyed, Some(body)).await.expect(202);
        assert_eq!(repeat["id"], first["id"]);
        receiver.wait_for(2, SOON).await;
        let total = eventually("the deliveries to be counted", SOON, || async {
            let total = tenant.get("/v1/usage").await.expect(200)["total"].clone();
            (total["planned_deliveries"].as_u64()? > 0).then_some(total)
        })
        .await;
        assert_eq!((&total["planned_deliveries"], &total["events"]), (&json!(2), &json!(1)));
        // A replay is refused where nothing is left.
        let replay = json!({ "selection": "all", "since": "2026-01-01T00:00:00Z" });
        limit(&stack, &tenant, json!({ name: 2 })).await;
        let refused = tenant.post(&endpoint.path("/replays"), &replay).await;
        refused.expect_problem(429, "too-many-requests");
        limit(&stack, &tenant, json!({ name: 3 })).await;
        tenant.post(&endpoint.path("/replays"), &replay).await.expect(202);
        assert_eq!(receiver.requests().len(), 2);
    }
}

/// A provider that sends a request again gets its response, whatever was used since: nothing new is published.
#[tokio::test]
async fn an_inbound_request_that_was_accepted_is_accepted_again() {
    let stack = Stack::shared();
    for (name, delivered) in [("events_per_day", false), ("deliveries_per_day", true)] {
        let tenant = stack.tenant().await;
        if delivered {
            let receiver = Receiver::start().await;
            tenant.endpoint(&receiver.url()).create().await;
        }
        limit(&stack, &tenant, json!({ name: 1 })).await;
        let source = token_source(&tenant, "/type").await;
        let body = |ids: &[&str]| {
            let items: Vec<_> = ids.iter().map(|id| json!({ "id": id, "type": "made" })).collect();
            json!({ "items": items }).to_string()
        };
        let first = send_with(&tenant, &source, TOKEN, &body(&["1"])).await.expect(200);
        eventually("the quota to be used up", SOON, || async {
            let response = send_with(&tenant, &source, TOKEN, &body(&["2"])).await;
            (response.status == 429).then_some(())
        })
        .await;
        let again = send_with(&tenant, &source, TOKEN, &body(&["1"])).await.expect(200);
        assert_eq!(again["event_ids"], first["event_ids"]);
        // One new event among them is refused with the rest.
        send_with(&tenant, &source, TOKEN, &body(&["1", "3"])).await.expect(429);
    }
}

/// Twelve requests at once make as many syncs as the limit allows.
#[tokio::test]
async fn a_tenant_has_no_more_syncs_than_its_limit() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    limit(&stack, &tenant, json!({ "syncs": 2 })).await;
    tenant.post("/v1/idps", &json!({ "name": "linkedin" })).await.expect(201);
    let credential = json!({ "client_id": "client", "client_secret": "only-an-example" });
    tenant.post("/v1/idps/linkedin/credentials", &credential).await.expect(201);
    let connection = json!({
        "user_id": "u_1", "idp": "linkedin", "access_token": "only-an-example", "expires_in": 3600,
        "account": { "sub": "1" },
    });
    let connection = tenant.post("/v1/connections", &connection).await.expect(201);
    // Vendors that no sync reaches, each another one, since two syncs must not read the same.
    let body = |number: u32| {
        let settings = json!({ "base_url": format!("http://127.0.0.1:1/{number}") });
        json!({ "kind": "spark", "connection_id": connection["id"], "settings": settings })
    };
    let mut requests = JoinSet::new();
    for number in 0..6 {
        let (tenant, body) = (tenant.clone(), body(number));
        requests.spawn(async move { tenant.post("/v1/syncs", &body).await });
    }
    let responses = requests.join_all().await;
    let created: Vec<_> = responses.iter().filter(|response| response.status == 201).collect();
    assert_eq!(created.len(), 2);
    for response in responses.iter().filter(|response| response.status != 201) {
        response.expect_problem(422, "limit-reached");
    }
    let path = format!("/v1/syncs/{}", created[0].json["id"].as_str().unwrap());
    tenant.delete(&path).await.expect(204);
    tenant.post("/v1/syncs", &body(6)).await.expect(201);
    tenant.post("/v1/syncs", &body(7)).await.expect_problem(422, "limit-reached");
    let row = tenant.get(&format!("/v1/tenants/{}", tenant.tenant_id())).await.expect(200);
    assert_eq!(row["sync_count"], 2);
    // One that is refused is not in the trail, unless it was refused for the sake of another one at the same moment.
    let count =
        async || super::actions(&tenant).await.iter().filter(|action| *action == "sync.created").count();
    let before = count().await;
    tenant.post("/v1/syncs", &body(8)).await.expect_problem(422, "limit-reached");
    assert_eq!(count().await, before);
}

/// Twelve requests at once make as many sources as the limit allows, and one that is deleted makes room for another.
#[tokio::test]
async fn a_tenant_has_no_more_sources_than_its_limit() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    limit(&stack, &tenant, json!({ "sources": 3 })).await;
    let mut requests = JoinSet::new();
    for _ in 0..12 {
        let tenant = tenant.clone();
        requests.spawn(async move { tenant.post("/v1/sources", &source()).await });
    }
    let responses = requests.join_all().await;
    let created: Vec<_> = responses.iter().filter(|response| response.status == 201).collect();
    assert_eq!(created.len(), 3);
    for response in responses.iter().filter(|response| response.status != 201) {
        response.expect_problem(422, "limit-reached");
    }
    let path = format!("/v1/sources/{}", created[0].json["id"].as_str().unwrap());
    tenant.delete(&path).await.expect(204);
    tenant.delete(&path).await.expect(204);
    tenant.post("/v1/sources", &source()).await.expect(201);
    tenant.post("/v1/sources", &source()).await.expect_problem(422, "limit-reached");
    let row = tenant.get(&format!("/v1/tenants/{}", tenant.tenant_id())).await.expect(200);
    assert_eq!(row["source_count"], 3);
}

fn source() -> serde_json::Value {
    json!({ "provider": "stripe", "secrets": ["whsec_only_an_example_secret"] })
}
