//! `Idempotency-Key` of requests that create something: a repeat gets the first response and creates nothing.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{
    ApiResponse, Client, Receiver, Stack,
    proxy::{Fault, Rule},
    stack::text,
    unique,
};
use tokio::task::JoinSet;

use crate::{routes::ConnectFixture, tables::Table};

async fn create(client: &Client, path: &str, key: &str, body: &Value) -> ApiResponse {
    client.post_with(path, &[("idempotency-key", key)], body).await
}

/// The body of an endpoint that is never called.
fn endpoint(description: &str) -> Value {
    json!({ "url": "https://example.com/webhooks", "description": description })
}

async fn endpoint_count(client: &Client) -> usize {
    client.get("/v1/endpoints").await.expect(200)["data"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_repeat_gets_the_first_response_and_creates_nothing() {
    let stack = Stack::shared();
    let (tenant, operator) = (stack.tenant().await, stack.operator());
    let receiver = Receiver::start().await;
    let made = tenant.endpoint(&receiver.url()).create().await;
    let connected = ConnectFixture::new(&tenant).await;
    let credential = json!({ "client_id": "client", "client_secret": "only-an-example" });
    let connection = json!({
        "user_id": "u_9", "idp": "linkedin", "access_token": "only-an-example", "expires_in": 3600,
        "account": { "sub": "repeated" },
    });
    let replay = json!({ "selection": "failed", "since": "2026-11-01T00:00:00Z" });
    for (client, path, body, status, other) in [
        (&tenant, "/v1/endpoints".to_owned(), endpoint("one"), 201, endpoint("two")),
        (
            &tenant,
            "/v1/sources".to_owned(),
            json!({ "provider": "stripe" }),
            201,
            json!({ "provider": "github" }),
        ),
        (
            &tenant,
            format!("/v1/tenants/{}/keys", tenant.tenant_id()),
            json!({ "name": "one" }),
            201,
            json!({ "name": "two" }),
        ),
        (&operator, "/v1/tenants".to_owned(), json!({ "name": "One" }), 201, json!({ "name": "Two" })),
        (
            &tenant,
            "/v1/connect-sessions".to_owned(),
            json!({ "user_id": "u_1", "idp": "google" }),
            201,
            json!({ "user_id": "u_2", "idp": "google" }),
        ),
        (&tenant, "/v1/connections".to_owned(), connection, 201, json!({})),
        (
            &tenant,
            format!("/v1/connections/{}/reconnect", connected.connection_id),
            json!({}),
            201,
            json!({ "scopes": ["a"] }),
        ),
        (&tenant, "/v1/idps".to_owned(), json!({ "name": "github" }), 201, json!({ "name": "slack" })),
        (&tenant, "/v1/idps/dropbox/credentials".to_owned(), credential, 201, json!({})),
        (
            &tenant,
            made.path("/replays"),
            replay,
            202,
            json!({ "selection": "all", "since": "2026-11-01T00:00:00Z" }),
        ),
    ] {
        let key = unique("key");
        let first = create(client, &path, &key, &body).await;
        assert_eq!(
            (first.status, first.header("idempotent-replayed")),
            (status, ""),
            "{path}: {}",
            first.json
        );
        let again = create(client, &path, &key, &body).await;
        assert_eq!((again.status, &again.text), (status, &first.text), "{path}");
        assert_eq!(again.header("idempotent-replayed"), "true", "{path}");
        assert_eq!(again.header("cache-control"), first.header("cache-control"), "{path}");
        create(client, &path, &key, &other).await.expect_problem(409, "idempotency-conflict");
    }
    let sources = tenant.get("/v1/sources").await.expect(200);
    assert_eq!(sources["data"].as_array().unwrap().len(), 1);
    assert_eq!(endpoint_count(&tenant).await, 2);
}

#[tokio::test]
async fn a_key_is_of_one_caller_and_kept_for_a_success_alone() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let other = stack.tenant().await;
    // A failure is not stored, so a corrected body is the first one.
    create(&tenant, "/v1/endpoints", "k", &json!({ "url": "http://" })).await.expect_invalid_field("/url");
    create(&tenant, "/v1/endpoints", "k", &json!({ "typo": 1 })).await.expect_invalid_field("/typo");
    let first = create(&tenant, "/v1/endpoints", "k", &endpoint("one")).await.expect(201);
    // Others have their own keys, and so have other routes.
    for client in [&other, &tenant.with_scopes(&["endpoints:write"]).await] {
        let made = create(client, "/v1/endpoints", "k", &endpoint("one")).await.expect(201);
        assert_ne!(made["id"], first["id"]);
    }
    create(&tenant, "/v1/sources", "k", &json!({ "provider": "stripe" })).await.expect(201);
    // The same key for another path of the same route is a mistake.
    let made = [&first["id"], &create(&tenant, "/v1/endpoints", "l", &endpoint("l")).await.expect(201)["id"]]
        .map(|id| format!("/v1/endpoints/{}/replays", id.as_str().unwrap()));
    let body = json!({ "selection": "failed", "since": "2026-11-01T00:00:00Z" });
    create(&tenant, &made[0], "r", &body).await.expect(202);
    create(&tenant, &made[1], "r", &body).await.expect_problem(409, "idempotency-conflict");
    for malformed in ["", &"k".repeat(256), "ké"] {
        let refused = create(&tenant, "/v1/endpoints", malformed, &endpoint("one")).await;
        refused.expect_problem(400, "invalid-request");
    }
}

#[tokio::test]
async fn of_many_repeats_at_once_one_is_carried_out() {
    let tenant = Stack::shared().tenant().await;
    let mut requests = JoinSet::new();
    for _ in 0..6 {
        let tenant = tenant.clone();
        requests.spawn(async move { create(&tenant, "/v1/endpoints", "burst", &endpoint("one")).await });
    }
    for response in requests.join_all().await {
        match response.status {
            201 => {}
            409 => {
                response.expect_problem(409, "conflict");
                let wait: u64 = response.header("retry-after").parse().unwrap();
                assert!((1..=3).contains(&wait), "{wait}");
            }
            _ => panic!("{} {}", response.status, response.json),
        }
    }
    assert_eq!(endpoint_count(&tenant).await, 1);
}

#[tokio::test]
async fn a_key_without_a_response_is_free_after_a_minute() {
    let (stack, clock) = Stack::deploy_with_clock("cw-idempotency").await;
    let tenant = stack.tenant().await;
    let contains = [tenant.tenant_id(), "#idempotency#", "SET sealed_response"];
    let killed = stack.rule(&Rule::new("UpdateItem", &contains, Fault::KillBefore, 1)).await;
    let crashed = create(&tenant, "/v1/endpoints", "k", &endpoint("one")).await;
    assert!(crashed.status >= 500, "{}", crashed.status);
    assert_eq!(killed.count().await, 1);
    create(&tenant, "/v1/endpoints", "k", &endpoint("one")).await.expect_problem(409, "conflict");
    create(&tenant, "/v1/endpoints", "k", &endpoint("two")).await.expect_problem(409, "idempotency-conflict");
    clock.ahead(Duration::from_secs(61));
    let made = create(&tenant, "/v1/endpoints", "k", &endpoint("one")).await.expect(201);
    let again = create(&tenant, "/v1/endpoints", "k", &endpoint("one")).await.expect(201);
    assert_eq!(made, again);
    // The one that was killed had created it.
    assert_eq!(endpoint_count(&tenant).await, 1);
    // A day later the key is free.
    clock.ahead(Duration::from_secs(61 + 24 * 3600));
    let next = create(&tenant, "/v1/endpoints", "k", &endpoint("two")).await.expect(201);
    assert_ne!(made["id"], next["id"]);
}

#[tokio::test]
async fn a_repeat_after_a_failure_of_ours_finds_what_was_created() {
    let stack = Stack::shared();
    let (tenant, operator) = (stack.tenant().await, stack.operator());
    let receiver = Receiver::start().await;
    let made = tenant.endpoint(&receiver.url()).create().await;
    let name = unique("tenant");
    let id = tenant.tenant_id();
    // The write arrives, and none of its tries has a response.
    for (client, path, list, body, operation, contains) in [
        (
            &tenant,
            "/v1/endpoints".to_owned(),
            "/v1/endpoints".to_owned(),
            endpoint("twice"),
            "TransactWriteItems",
            [id, "endpoint_count"],
        ),
        (
            &tenant,
            "/v1/sources".to_owned(),
            "/v1/sources".to_owned(),
            json!({ "provider": "stripe", "description": "twice" }),
            "TransactWriteItems",
            [id, "stripe"],
        ),
        (
            &tenant,
            format!("/v1/tenants/{id}/keys"),
            format!("/v1/tenants/{id}/keys"),
            json!({ "name": "twice" }),
            "TransactWriteItems",
            [id, "key_count"],
        ),
        (
            &tenant,
            made.path("/replays"),
            format!("/v1/replays?endpoint_id={}", made.id),
            json!({ "selection": "failed", "since": "2026-11-01T00:00:00Z" }),
            "TransactWriteItems",
            [id, "running"],
        ),
        (
            &operator,
            "/v1/tenants".to_owned(),
            format!("/v1/tenants?q={name}"),
            json!({ "name": name }),
            "PutItem",
            [name.as_str(), "attribute_not_exists(pk)"],
        ),
    ] {
        let before = client.get(&list).await.expect(200)["data"].as_array().unwrap().len();
        let lost = stack.rule(&Rule::new(operation, &contains, Fault::LoseResponse, 3)).await;
        let key = unique("uncertain");
        let failed = create(client, &path, &key, &body).await;
        assert!(failed.status >= 500, "{path}: {} {}", failed.status, failed.json);
        assert_eq!(lost.count().await, 3, "{path}");
        // Another body is another request still.
        create(client, &path, &key, &json!({})).await.expect_problem(409, "idempotency-conflict");
        let repeated = create(client, &path, &key, &body).await;
        assert!([201, 202].contains(&repeated.status), "{path}: {}", repeated.json);
        let again = create(client, &path, &key, &body).await;
        assert_eq!(again.text, repeated.text, "{path}");
        let after = client.get(&list).await.expect(200)["data"].as_array().unwrap().clone();
        assert_eq!(after.len(), before + 1, "{path}");
        assert!(after.iter().any(|row| row["id"] == repeated.json["id"]), "{path}: {}", repeated.json);
        if path.ends_with("/keys") {
            // Its text is another one, and works.
            let key = repeated.json["key"].as_str().unwrap().to_owned();
            tenant.with_key(Some(key)).get("/v1/me").await.expect(200);
        }
        if path == "/v1/endpoints" {
            let secret = format!("/v1/endpoints/{}/secret", repeated.json["id"].as_str().unwrap());
            assert_eq!(tenant.get(&secret).await.expect(200)["secret"], repeated.json["secret"]);
        }
    }
}

#[tokio::test]
async fn a_key_costs_two_calls_and_its_absence_none() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let calls = stack.rule(&Rule::counting("*", &[tenant.tenant_id(), "#idempotency#"])).await;
    tenant.post("/v1/endpoints", &endpoint("one")).await.expect(201);
    assert_eq!(calls.count().await, 0);
    create(&tenant, "/v1/endpoints", "k", &endpoint("one")).await.expect(201);
    assert_eq!(calls.count().await, 2);
    create(&tenant, "/v1/endpoints", "k", &endpoint("one")).await.expect(201);
    assert_eq!(calls.count().await, 3);
}

#[tokio::test]
async fn a_stored_response_is_sealed() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let made = create(&tenant, "/v1/endpoints", "k", &endpoint("one")).await.expect(201);
    let me = tenant.get("/v1/me").await.expect(200);
    let name = domain::idempotency::record_name(&text(&me, "key_id"), "create_endpoint", "k", Some(1));
    let id = tenant.tenant_id().parse().unwrap();
    let key = |name: &str| platform::store::table::keys::idempotency(&id, name);
    let (partition, sort_key) = key(&name);
    let others = Table::leases(&stack).rows_under(partition, &sort_key).await;
    assert!(others.is_empty(), "the record is of this creation of the tenant");
    let row = tenant.get(&format!("/v1/tenants/{id}")).await.expect(200);
    let created_at: domain::Timestamp = text(&row, "created_at").parse().unwrap();
    let created_at = Some(created_at.millis());
    let name = domain::idempotency::record_name(&text(&me, "key_id"), "create_endpoint", "k", created_at);
    let row = Table::leases(&stack).get(key(&name)).await.to_string();
    assert!(row.contains("sealed_response"), "{row}");
    for secret in [text(&made, "secret"), text(&made, "id"), "example.com".to_owned()] {
        assert!(!row.contains(&secret), "{secret}");
    }
}
