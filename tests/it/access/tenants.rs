//! Tenants: listed, changed, suspended and resumed.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Receiver, Stack, eventually};

use super::{event, keys_of};
use crate::{CACHE_AGE, SOON};

#[tokio::test]
async fn tenants_are_listed_and_found() {
    let stack = Stack::deploy("cw-tenants").await;
    let operator = stack.operator();
    let mut ids = Vec::new();
    for number in 0..12 {
        let id = format!("crm-{number:02}");
        let name = if number % 3 == 0 { format!("Acme {number}") } else { format!("Other {number}") };
        operator.post("/v1/tenants", &json!({ "id": id, "name": name })).await.expect(201);
        ids.push(id);
    }
    let listed: Vec<Value> = operator.list("/v1/tenants", 5).await;
    let found: Vec<_> = listed.iter().map(|tenant| tenant["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(found, ids, "in the order of ids");
    let names = |tenants: &[Value]| -> Vec<String> {
        tenants.iter().map(|tenant| tenant["name"].as_str().unwrap().to_owned()).collect()
    };
    for limit in [1, 2, 50] {
        let acme: Vec<Value> = operator.list("/v1/tenants?q=ACME", limit).await;
        assert_eq!(names(&acme), ["Acme 0", "Acme 3", "Acme 6", "Acme 9"]);
        let by_id: Vec<Value> = operator.list("/v1/tenants?q=crm-1", limit).await;
        assert_eq!(names(&by_id), ["Other 10", "Other 11"]);
    }
    operator.post("/v1/tenants/crm-03/suspend", &json!({ "reason": "unpaid" })).await.expect(200);
    let suspended: Vec<Value> = operator.list("/v1/tenants?status=suspended", 50).await;
    assert_eq!(names(&suspended), ["Acme 3"]);
    assert_eq!(suspended[0]["status"], "suspended");
    operator.patch("/v1/tenants/crm-03", &json!({ "name": "Renamed" })).await.expect(200);
    let renamed: Vec<Value> = operator.list("/v1/tenants?q=renamed", 50).await;
    assert_eq!(names(&renamed), ["Renamed"]);
    operator.get("/v1/tenants?status=gone").await.expect_problem(400, "invalid-request");
}

#[tokio::test]
async fn a_tenant_reads_itself_and_sets_who_may_call() {
    let stack = Stack::shared();
    let operator = stack.operator();
    let tenant = stack.tenant().await;
    let path = format!("/v1/tenants/{}", tenant.tenant_id());
    let shown = tenant.get(&path).await.expect(200);
    assert_eq!(shown, operator.get(&path).await.expect(200));
    assert_eq!((&shown["status"], &shown["limits"]), (&json!("active"), &json!({})));
    // What is the operator's is refused by name.
    for (body, pointer) in
        [(json!({ "limits": { "events_per_day": 5 } }), "/limits"), (json!({ "name": "Another" }), "/name")]
    {
        let response = tenant.patch(&path, &body).await;
        assert_eq!((response.status, response.pointer()), (403, pointer));
    }
    // The caller must remain able to call.
    let response = tenant.patch(&path, &json!({ "allowed_networks": ["192.0.2.0/24"] })).await;
    response.expect_invalid_field("/allowed_networks");
    tenant.patch(&path, &json!({ "allowed_networks": ["127.0.0.1"] })).await.expect(200);
    tenant.get("/v1/events").await.expect(200);
    operator.patch(&path, &json!({ "allowed_networks": ["192.0.2.0/24"] })).await.expect(200);
    eventually("the tenant's keys to be refused", SOON, || async {
        (tenant.get("/v1/events").await.status == 403).then_some(())
    })
    .await;
    // The operator acts for it, and lets it in again.
    let named = [("tenant", tenant.tenant_id())];
    operator.send(Method::GET, "/v1/events", &named, None).await.expect(200);
    operator.patch(&path, &json!({ "allowed_networks": null })).await.expect(200);
    eventually("the tenant's keys to be accepted", SOON, || async {
        (tenant.get("/v1/events").await.status == 200).then_some(())
    })
    .await;
    for (body, pointer) in [
        (json!({ "limits": { "events_per_day": -1 } }), "/limits/events_per_day"),
        (json!({ "limits": { "requests_per_second": 0 } }), "/limits/requests_per_second"),
        (json!({ "limits": { "request_burst": 30_000 } }), "/limits/request_burst"),
        (json!({ "limits": { "fun": 1 } }), "/limits/fun"),
        (json!({ "limits": [] }), "/limits"),
        (json!({ "allowed_networks": ["x"] }), "/allowed_networks/0"),
        (json!({ "plan": "gold" }), "/plan"),
        (json!({ "retention_days": 7.5 }), "/retention_days"),
        (json!({ "retention_days": 0 }), "/retention_days"),
        (json!({ "retention_days": 24 }), "/retention_days"),
        (json!({ "retention_days": 91 }), "/retention_days"),
        (json!({ "retention_days": 100_000 }), "/retention_days"),
        (json!({ "retention_days": "30" }), "/retention_days"),
        (json!({ "retention_days": [30] }), "/retention_days"),
        (json!({ "alerts": [] }), "/alerts"),
        (json!({ "alerts": { "endpoint.broken": false } }), "/alerts/endpoint.broken"),
        (json!({ "alerts": { "a/b": true } }), "/alerts/a~1b"),
        (json!({ "alerts": { "endpoint.failing": "no" } }), "/alerts/endpoint.failing"),
        (
            json!({ "alerts": { "endpoint.failing": false, "secret.rotated": false } }),
            "/alerts/secret.rotated",
        ),
        (json!({ "alerts": { "connection.revoked": false } }), "/alerts/connection.revoked"),
    ] {
        operator.patch(&path, &body).await.expect_invalid_field(pointer);
    }
    let stranger = stack.tenant().await;
    for path in [path.clone(), keys_of(&tenant)] {
        stranger.get(&path).await.expect_problem(404, "not-found");
        stranger
            .get(&path.replace(tenant.tenant_id(), "no-such-tenant"))
            .await
            .expect_problem(404, "not-found");
    }
    operator.get("/v1/tenants/operator").await.expect_problem(404, "not-found");
}

/// Nothing is accepted from a suspended tenant or for it, and nothing that was accepted is lost.
#[tokio::test]
async fn a_suspended_tenant_is_refused_and_loses_nothing() {
    let stack = Stack::shared();
    let operator = stack.operator();
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    tenant.endpoint(&receiver.url()).create().await;
    let mut accepted = Vec::new();
    for number in 0..30 {
        accepted.push(
            tenant.publish("contact.created", &json!({ "n": number }), &format!("before-{number}")).await,
        );
    }
    let path = format!("/v1/tenants/{}", tenant.tenant_id());
    let shown =
        operator.post(&format!("{path}/suspend"), &json!({ "reason": "unpaid since May" })).await.expect(200);
    assert_eq!(
        (&shown["status"], &shown["suspension_reason"]),
        (&json!("suspended"), &json!("unpaid since May"))
    );
    // By then no function uses what it read before.
    tokio::time::sleep(CACHE_AGE).await;
    let refused = tenant.post("/v1/events", &event()).await;
    refused.expect_problem(403, "tenant-suspended");
    assert!(refused.json["detail"].as_str().unwrap().contains("unpaid since May"), "{}", refused.json);
    // It can read, and not change anything; the operator can change, and not publish for it.
    tenant.get("/v1/events").await.expect(200);
    tenant
        .post("/v1/endpoints", &json!({ "url": receiver.url(), "event_types": ["*"] }))
        .await
        .expect_problem(403, "tenant-suspended");
    let named = [("tenant", tenant.tenant_id())];
    let for_tenant =
        operator.send(Method::POST, "/v1/events", &named, Some(event().to_string().into())).await;
    for_tenant.expect_problem(403, "tenant-suspended");
    operator.send(Method::GET, "/v1/endpoints", &named, None).await.expect(200);
    // What was accepted before arrives.
    for id in &accepted {
        tenant.only_delivery(id, "succeeded", SOON).await;
    }
    operator.post(&format!("{path}/resume"), &json!({})).await.expect(200);
    tokio::time::sleep(CACHE_AGE).await;
    tenant.post("/v1/events", &event()).await.expect(202);
    operator
        .post(&format!("{path}/suspend"), &json!({ "reason": "x".repeat(501) }))
        .await
        .expect_invalid_field("/reason");
    tenant.post(&format!("{path}/resume"), &json!({})).await.expect_problem(403, "forbidden");
}
