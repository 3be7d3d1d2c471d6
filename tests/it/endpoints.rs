//! Endpoints and their secrets, when many are made at once and when there are too many.

use std::collections::HashSet;

use domain::endpoint::LIMIT_PER_TENANT;
use platform::store::table::keys;
use serde_json::json;
use testkit::{
    Stack,
    client::{AuditEntryView, EndpointView},
};

use crate::tables::{self, Table};

#[tokio::test]
async fn endpoints_that_are_made_at_once_all_keep_their_keys() {
    let tenant = Stack::shared().tenant().await;
    let making: Vec<_> = (0..6)
        .map(|_| {
            let tenant = tenant.clone();
            tokio::spawn(async move { tenant.endpoint("https://example.com/webhooks").create().await })
        })
        .collect();
    let mut made = Vec::new();
    for endpoint in making {
        made.push(endpoint.await.unwrap());
    }
    assert_eq!(made.iter().map(|endpoint| &endpoint.secret).collect::<HashSet<_>>().len(), 6);
    for endpoint in &made {
        assert_eq!(endpoint.secret().await.secret.as_ref(), Some(&endpoint.secret));
    }
}

#[tokio::test]
async fn lists_of_endpoints_have_pages() {
    let tenant = Stack::shared().tenant().await;
    let mut made = Vec::new();
    for _ in 0..45 {
        made.push(
            tenant.endpoint("https://example.com/webhooks").event_types(&["contact.*"]).create().await.id,
        );
    }
    let pages: Vec<Vec<EndpointView>> = tenant.pages("/v1/endpoints", 20).await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [20, 20, 5]);
    let listed: Vec<_> = pages.into_iter().flatten().map(|endpoint| endpoint.id).collect();
    made.reverse();
    assert_eq!(listed, made, "newest first");
    let raw = tenant.get("/v1/endpoints?limit=250").await.expect(200).to_string();
    assert!(!raw.contains("whsec_"), "a list shows no secrets");
}

#[tokio::test]
async fn the_number_of_endpoints_of_a_tenant_is_limited() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let row = keys::tenant(&tables::tenant(&tenant));
    let full = json!({ "N": LIMIT_PER_TENANT.to_string() });
    Table::registry(&stack).set(row, "endpoint_count", full).await;
    let response = tenant.post("/v1/endpoints", &json!({ "url": "https://example.com/webhooks" })).await;
    response.expect_problem(422, "limit-reached");
}

#[tokio::test]
async fn an_endpoint_is_changed_field_by_field() {
    let tenant = Stack::shared().tenant().await;
    let settings = json!({
        "description": "first", "retry_schedule_seconds": [1, 60], "timeout_seconds": 5, "rate_limit": 7,
        "headers": { "X-Region": "west", "Authorization": "Bearer private" }, "event_types": ["a.*"],
    });
    let id = tenant.endpoint("https://example.com/webhooks").settings(&settings).create().await.id;
    let path = format!("/v1/endpoints/{id}");
    let made = tenant.get(&path).await.expect(200);
    assert_eq!(made["status"], "enabled");
    assert_eq!(made["retry_schedule_seconds"], json!([1, 60]));
    assert_eq!(made["headers"], json!({ "x-region": "west", "authorization": "[redacted]" }));
    let changed =
        tenant.patch(&path, &json!({ "description": "second", "timeout_seconds": null })).await.expect(200);
    let mut expected = made.clone();
    expected["description"] = json!("second");
    expected["timeout_seconds"] = json!(15);
    assert_eq!(changed, expected, "nothing else");
    // Writing back what was read changes nothing, not even the values that are not shown.
    let same = json!({ "headers": made["headers"], "description": "second" });
    assert_eq!(tenant.patch(&path, &same).await.expect(200), changed);
    let moved = json!({ "headers": { "x-region": "east", "authorization": "[redacted]" } });
    tenant.patch(&path, &moved).await.expect(200);
    let nulls =
        json!({ "retry_schedule_seconds": null, "rate_limit": null, "headers": null, "event_types": null });
    let changed = tenant.patch(&path, &nulls).await.expect(200);
    for (field, value) in [
        ("retry_schedule_seconds", json!(null)),
        ("rate_limit", json!(null)),
        ("headers", json!({})),
        ("event_types", json!(null)),
    ] {
        assert_eq!(changed[field], value, "{field}");
    }
    // Read-only fields are ignored, whatever they hold; unknown ones are refused below.
    let read_only = json!({ "id": "x", "created_at": 1, "health": null, "disabled": { "mode": "skip" } });
    assert_eq!(tenant.patch(&path, &read_only).await.expect(200), changed);
    // A bearer token that holds claims.
    let long = json!({ "headers": { "authorization": "v".repeat(4096), "x-region": "v".repeat(2000) } });
    tenant.patch(&path, &long).await.expect(200);
    for (body, pointer) in [
        (json!({ "timeout_seconds": 16 }), "/timeout_seconds"),
        (json!({ "timeout_seconds": 0 }), "/timeout_seconds"),
        (json!({ "rate_limit": 0 }), "/rate_limit"),
        (json!({ "rate_limit": 10_001 }), "/rate_limit"),
        (json!({ "rate_limit": -1 }), "/rate_limit"),
        (json!({ "retry_schedule_seconds": vec![1; 20] }), "/retry_schedule_seconds"),
        (json!({ "retry_schedule_seconds": [0] }), "/retry_schedule_seconds"),
        (json!({ "headers": { "Host": "inside" } }), "/headers"),
        (json!({ "headers": { "webhook-id": "x" } }), "/headers"),
        (json!({ "headers": { "x": "a\r\nb: c" } }), "/headers"),
        (json!({ "headers": { "x-other-token": "[redacted]" } }), "/headers"),
        (json!({ "url": "https://10.0.0.1/" }), "/url"),
        (json!({ "url": "https://example.com:22/" }), "/url"),
        (json!({ "url": "https://example.com:0/" }), "/url"),
        (json!({ "url": "https://{tenant}.example.com/hook" }), "/url"),
        (json!({ "url": "https://exa\"mple.com/" }), "/url"),
        (json!({ "url": "https://*.example.com/" }), "/url"),
        (json!({ "url": "https://my_app.example.com/" }), "/url"),
        (json!({ "url": format!("https://{}.example.com/", "a".repeat(64)) }), "/url"),
        (json!({ "url": format!("https://{}com/", "a1.".repeat(84)) }), "/url"),
        (json!({ "headers": { "x": "v".repeat(4097) } }), "/headers"),
        (json!({ "event_types": [] }), "/event_types"),
        (json!({ "url": null }), "/url"),
        (json!({ "description": null }), "/description"),
        (json!({ "svix_headers": null }), "/svix_headers"),
        (json!({ "secret": "x" }), "/secret"),
    ] {
        let response = tenant.patch(&path, &body).await;
        assert_eq!((response.status, response.pointer()), (422, pointer), "{body} {}", response.json);
    }
    tenant.delete(&path).await.expect(204);
    for response in [tenant.get(&path).await, tenant.patch(&path, &json!({})).await] {
        response.expect_problem(404, "not-found");
    }
    assert_eq!(tenant.get("/v1/endpoints").await.expect(200)["data"], json!([]));
}

#[tokio::test]
async fn an_endpoint_can_be_deleted_again_and_one_that_never_existed_cannot() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let endpoint = tenant.endpoint("https://example.com/webhooks").create().await;
    let path = endpoint.path("");
    let deleting: Vec<_> = (0..4)
        .map(|_| {
            let (tenant, path) = (tenant.clone(), path.clone());
            tokio::spawn(async move { tenant.delete(&path).await })
        })
        .collect();
    for response in deleting {
        let response = response.await.unwrap();
        // The audit trail appends one entry after the other.
        assert!(matches!(response.status, 204 | 409), "{}", response.json);
    }
    tenant.delete(&path).await.expect(204);
    let entries: Vec<AuditEntryView> = tenant.list("/v1/audit", 50).await;
    let before = entries.len();
    tenant.delete(&path).await.expect(204);
    let entries: Vec<AuditEntryView> = tenant.list("/v1/audit", 50).await;
    assert_eq!(entries.len(), before, "a repeat changes nothing, so nothing is recorded");
    // The count of a tenant's endpoints was lowered once.
    let row = keys::tenant(&tables::tenant(&tenant));
    assert_eq!(Table::registry(&stack).get(row).await["endpoint_count"], json!({ "N": "0" }));
    // An id that this tenant never had, also if it is another tenant's.
    let stranger = stack.tenant().await;
    stranger.delete(&path).await.expect_problem(404, "not-found");
    tenant.delete("/v1/endpoints/ept_01kavg7r8e6mt4xw2z5v9b3csq").await.expect_problem(404, "not-found");
}

#[tokio::test]
async fn an_endpoint_that_was_read_can_be_written_back() {
    let tenant = Stack::shared().tenant().await;
    for settings in [
        json!({}),
        json!({ "status": "disabled", "event_types": ["deal.*"], "channels": ["a"], "signing": "v1a" }),
        json!({
            "description": "whole", "retry_schedule_seconds": [1, 60], "timeout_seconds": 5, "rate_limit": 7,
            "headers": { "x-region": "west", "authorization": "Bearer private" }, "svix_headers": true,
            "event_types": ["deal.won"], "channels": ["a", "b"], "filter": { "/amount": { "gte": 100 } },
            "metadata": { "team": "west" },
        }),
    ] {
        let id = tenant.endpoint("https://example.com/webhooks").settings(&settings).create().await.id;
        let path = format!("/v1/endpoints/{id}");
        let read = tenant.get(&path).await.expect(200);
        assert_eq!(tenant.patch(&path, &read).await.expect(200), read, "{settings}");
        assert_eq!(tenant.get(&path).await.expect(200), read, "{settings}");
    }
    // Also what an operation has set, and PATCH cannot.
    let endpoint = tenant.endpoint("https://example.com/webhooks").create().await;
    let path = endpoint.path("");
    endpoint.disable("skip").await;
    let disabled = tenant.get(&path).await.expect(200);
    assert_eq!(tenant.patch(&path, &disabled).await.expect(200), disabled);
    assert_eq!(tenant.get(&path).await.expect(200), disabled);
    // On POST they are unknown fields.
    for name in ["id", "created_at", "health", "disabled"] {
        let body = json!({ "url": "https://example.com/webhooks", name: disabled[name] });
        let response = tenant.post("/v1/endpoints", &body).await;
        assert_eq!((response.status, response.pointer()), (422, format!("/{name}").as_str()));
    }
}

#[tokio::test]
async fn an_endpoints_status_is_the_same_word_in_requests_and_responses() {
    let tenant = Stack::shared().tenant().await;
    let endpoint = tenant.endpoint("https://example.com/webhooks").disabled().create().await;
    let made = endpoint.get().await;
    assert_eq!((made.status.as_str(), made.disabled.unwrap().mode.as_str()), ("disabled", "hold"));
    let enabled = endpoint.enable().await;
    assert_eq!((enabled.status.as_str(), enabled.disabled), ("enabled", None));
    for status in [json!("paused"), json!(true), json!(null)] {
        let body = json!({ "url": "https://example.com/webhooks", "status": status });
        tenant.post("/v1/endpoints", &body).await.expect_invalid_field("/status");
    }
}
