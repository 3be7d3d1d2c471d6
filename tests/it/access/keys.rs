//! The life of an API key.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Stack, eventually};
use tokio::task::JoinSet;

use super::{actions, event, keys_of, new_key, with};
use crate::{CACHE_AGE, SOON};

#[tokio::test]
async fn a_key_is_created_listed_renamed_and_revoked() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let end = "2099-01-01T00:00:00.000Z";
    let body = json!({ "name": "back end", "role": "developer", "expires_at": end, "allowed_networks": ["127.0.0.1", "::1"] });
    let key = new_key(&tenant, body).await;
    let text = key["key"].as_str().unwrap();
    assert!(text.starts_with("cwk_test_") && text.len() == 81, "{text}");
    assert_eq!(key["hint"], text[77..]);
    let path = format!("{}/{}", keys_of(&tenant), key["id"].as_str().unwrap());
    let mut shown = key.clone();
    shown.as_object_mut().unwrap().remove("key");
    assert_eq!(tenant.get(&path).await.expect(200), shown);
    assert_eq!(
        (&shown["role"], &shown["status"], &shown["expires_at"], &shown["last_used_at"]),
        (&json!("developer"), &json!("active"), &json!(end), &Value::Null)
    );
    assert_eq!(shown["allowed_networks"], json!(["127.0.0.1/32", "::1/128"]));

    // It works, and its use is noted, to the hour.
    let holder = with(&tenant, &key);
    let caller = holder.get("/v1/me").await.expect(200);
    assert_eq!((&caller["role"], &caller["expires_at"]), (&json!("developer"), &json!(end)));
    eventually("the last use", SOON, || async {
        let shown = tenant.get(&path).await.expect(200);
        shown["last_used_at"].is_string().then_some(())
    })
    .await;

    let renamed =
        tenant.patch(&path, &json!({ "name": "back end, west", "expires_at": null })).await.expect(200);
    assert_eq!((&renamed["name"], &renamed["expires_at"]), (&json!("back end, west"), &Value::Null));
    let listed = tenant.get(&keys_of(&tenant)).await.expect(200);
    let names: Vec<_> = listed["data"].as_array().unwrap().iter().map(|key| key["name"].clone()).collect();
    assert_eq!(names, ["back end, west", "test"], "the newest first");
    let first = tenant.get(&format!("{}?limit=1", keys_of(&tenant))).await.expect(200);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = tenant.get(&format!("{}?limit=1&cursor={cursor}", keys_of(&tenant))).await.expect(200);
    assert_eq!((&second["data"][0]["name"], &second["next_cursor"]), (&json!("test"), &Value::Null));

    tenant.delete(&path).await.expect(204);
    eventually("the key to be refused", SOON, || async {
        let response = holder.get("/v1/events").await;
        (response.status == 401).then(|| response.expect_problem(401, "unauthorized"))
    })
    .await;
    tenant.get(&path).await.expect_problem(404, "not-found");
    tenant.delete(&path).await.expect(204);
    let unknown = format!("{}/key_01kavg7r8e6mt4xw2z5v9b3csq", keys_of(&tenant));
    tenant.delete(&unknown).await.expect_problem(404, "not-found");
    assert_eq!(
        actions(&tenant).await,
        ["key.revoked", "key.updated", "key.created", "key.created", "tenant.created"]
    );
    let row = tenant.get(&format!("/v1/tenants/{}", tenant.tenant_id())).await.expect(200);
    assert_eq!(row["key_count"], 1);
}

/// Changes that lose a race try again, and the trail says what was made: each entry is of a change that was, or is
/// followed by one that says that it was not.
#[tokio::test]
async fn changes_at_once_are_recorded_once_each() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let key = new_key(&tenant, json!({ "name": "raced", "role": "viewer" })).await;
    let path = format!("{}/{}", keys_of(&tenant), key["id"].as_str().unwrap());
    let mut changes = JoinSet::new();
    for number in 0..8 {
        let (tenant, path) = (tenant.clone(), path.clone());
        changes.spawn(async move {
            let change = json!({ "name": format!("name {number}") });
            tenant.patch(&path, &change).await.status
        });
    }
    let statuses = changes.join_all().await;
    let made = statuses.iter().filter(|status| **status == 200).count();
    let trail = actions(&tenant).await;
    let count = |action: &str| trail.iter().filter(|found| *found == action).count();
    assert_eq!(count("key.updated") - count("key.updated.failed"), made, "{trail:?} {statuses:?}");
}

#[tokio::test]
async fn both_texts_of_a_rotated_key_are_valid_for_the_overlap() {
    let (stack, clock) = Stack::deploy_with_clock("cw-key-rotation").await;
    let tenant = stack.tenant().await;
    let key = new_key(&tenant, json!({ "name": "rotated", "scopes": ["events:write", "events:read"] })).await;
    let path = format!("{}/{}/rotate", keys_of(&tenant), key["id"].as_str().unwrap());
    let old = with(&tenant, &key);
    old.post("/v1/events", &event()).await.expect(202);
    let rotated = tenant.post(&path, &json!({ "overlap_seconds": 3600 })).await.expect(200);
    assert_eq!(rotated["id"], key["id"]);
    assert_ne!(rotated["key"], key["key"]);
    assert!(rotated["previous_valid_until"].is_string(), "{rotated}");
    let new = with(&tenant, &rotated);
    for client in [&old, &new] {
        client.post("/v1/events", &event()).await.expect(202);
    }
    clock.ahead(Duration::from_secs(3601));
    let response = old.get("/v1/events").await;
    response.expect_problem(401, "unauthorized");
    assert!(response.json["detail"].as_str().unwrap().contains("expired"), "{}", response.json);
    new.get("/v1/events").await.expect(200);

    // A second rotation ends the text before the first, and one without overlap both.
    let third = tenant.post(&path, &json!({ "overlap_seconds": 0 })).await.expect(200);
    for client in [&old, &new] {
        eventually("the texts before to be refused", SOON, || async {
            (client.get("/v1/events").await.status == 401).then_some(())
        })
        .await;
    }
    with(&tenant, &third).get("/v1/events").await.expect(200);
    tenant.post(&path, &json!({ "overlap_seconds": 604_801 })).await.expect_invalid_field("/overlap_seconds");
}

#[tokio::test]
async fn a_key_ends_at_its_time() {
    let (stack, clock) = Stack::deploy_with_clock("cw-key-end").await;
    let tenant = stack.tenant().await;
    let me = tenant.get("/v1/tenants/x").await;
    me.expect_problem(404, "not-found");
    let now: domain::Timestamp = event_time(&tenant).await;
    let end = now + Duration::from_mins(10);
    let key = new_key(&tenant, json!({ "name": "short", "expires_at": end })).await;
    let holder = with(&tenant, &key);
    holder.get("/v1/events").await.expect(200);
    clock.ahead(Duration::from_mins(11));
    holder.get("/v1/events").await.expect_problem(401, "unauthorized");
    let path = format!("{}/{}", keys_of(&tenant), key["id"].as_str().unwrap());
    assert_eq!(tenant.get(&path).await.expect(200)["status"], "expired");
    // Another end is in the future, and makes it valid again.
    tenant.patch(&path, &json!({ "expires_at": now })).await.expect_invalid_field("/expires_at");
    tenant.patch(&path, &json!({ "expires_at": null })).await.expect(200);
    tokio::time::sleep(CACHE_AGE).await;
    holder.get("/v1/events").await.expect(200);
}

async fn event_time(tenant: &testkit::Client) -> domain::Timestamp {
    let published = tenant.post("/v1/events", &event()).await.expect(202);
    published["created_at"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_key_is_used_from_its_networks_only() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let far = new_key(&tenant, json!({ "name": "far", "allowed_networks": ["192.0.2.0/24"] })).await;
    let response = with(&tenant, &far).get("/v1/events").await;
    response.expect_problem(403, "forbidden");
    // A wrong text is unknown, wherever it is sent from.
    let near = new_key(&tenant, json!({ "name": "near", "allowed_networks": ["127.0.0.0/8"] })).await;
    with(&tenant, &near).get("/v1/events").await.expect(200);
    // It does not lock itself out.
    let path = format!("{}/{}", keys_of(&tenant), near["id"].as_str().unwrap());
    let free = new_key(&tenant, json!({ "name": "free" })).await;
    let own = format!("{}/{}", keys_of(&tenant), free["id"].as_str().unwrap());
    let response = with(&tenant, &free).patch(&own, &json!({ "allowed_networks": ["192.0.2.0/24"] })).await;
    response.expect_invalid_field("/allowed_networks");
    assert!(response.json["detail"].as_str().unwrap().contains("127.0.0.1"), "{}", response.json);
    tenant.patch(&path, &json!({ "allowed_networks": ["192.0.2.0/24"] })).await.expect(200);
    eventually("the key to be refused", SOON, || async {
        (with(&tenant, &near).get("/v1/events").await.status == 403).then_some(())
    })
    .await;
}

#[tokio::test]
async fn no_key_gives_or_learns_more_than_it_has() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let narrow = tenant.with_scopes(&["keys:write", "keys:read", "events:read"]).await;
    let wide = new_key(&tenant, json!({ "name": "wide", "role": "owner" })).await;
    let path = format!("{}/{}", keys_of(&tenant), wide["id"].as_str().unwrap());
    for (method, path, body, pointer) in [
        (Method::POST, keys_of(&tenant), json!({ "name": "x", "role": "viewer" }), "/role"),
        (Method::POST, keys_of(&tenant), json!({ "name": "x", "scopes": ["events:write"] }), "/scopes"),
        (Method::POST, format!("{path}/rotate"), json!({}), "/role"),
        (Method::PATCH, path.clone(), json!({ "name": "mine" }), "/role"),
        (Method::PATCH, path.clone(), json!({ "scopes": ["events:read"] }), "/role"),
    ] {
        let response = narrow.send(method.clone(), &path, &[], Some(body.to_string().into())).await;
        assert_eq!((response.status, response.pointer()), (403, pointer), "{method} {path} {body}");
    }
    // Neither a later end nor other networks.
    let bounds = json!({
        "name": "bounded", "expires_at": "2098-01-01T00:00:00Z", "allowed_networks": ["127.0.0.0/8", "192.0.2.0/24"],
    });
    let bounded = new_key(&tenant, bounds).await;
    let own = format!("{}/{}", keys_of(&tenant), bounded["id"].as_str().unwrap());
    let bounded = with(&tenant, &bounded);
    let (end, near) = ("2097-01-01T00:00:00Z", json!(["192.0.2.7", "127.0.0.1"]));
    for (body, pointer) in [
        (json!({ "name": "x" }), "/expires_at"),
        (
            json!({ "name": "x", "expires_at": "2099-01-01T00:00:00Z", "allowed_networks": near }),
            "/expires_at",
        ),
        (json!({ "name": "x", "expires_at": end }), "/allowed_networks"),
        (
            json!({ "name": "x", "expires_at": end, "allowed_networks": ["192.0.2.0/23"] }),
            "/allowed_networks",
        ),
    ] {
        let response = bounded.post(&keys_of(&tenant), &body).await;
        assert_eq!((response.status, response.pointer()), (403, pointer), "{body}");
    }
    bounded
        .post(&keys_of(&tenant), &json!({ "name": "x", "expires_at": end, "allowed_networks": near }))
        .await
        .expect(201);
    for (body, pointer) in [
        (json!({ "expires_at": null }), "/expires_at"),
        (json!({ "allowed_networks": null }), "/allowed_networks"),
    ] {
        let response = bounded.patch(&own, &body).await;
        assert_eq!((response.status, response.pointer()), (403, pointer), "{body}");
    }
    // It can take away: a key that manages keys can end one that leaked.
    narrow.delete(&path).await.expect(204);
    let roles = narrow.get("/v1/roles").await.expect(200);
    let names: Vec<_> = roles["data"].as_array().unwrap().iter().map(|role| role["role"].clone()).collect();
    assert_eq!(names, ["viewer", "developer", "admin", "owner"]);
}

#[tokio::test]
async fn malformed_keys_are_refused_without_a_read() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let known = tenant.key.clone().unwrap();
    let live = known.replace("cwk_test_", "cwk_live_");
    let mut typo = known.clone().into_bytes();
    typo[20] = if typo[20] == b'0' { b'1' } else { b'0' };
    let typo = String::from_utf8(typo).unwrap();
    for (key, words) in [
        (typo, "a character is wrong or missing"),
        (known[..80].to_owned(), "malformed API key"),
        (live, "a character is wrong or missing"),
        ("cwk_".to_owned(), "malformed API key"),
    ] {
        let response = tenant.with_key(Some(key.clone())).get("/v1/events").await;
        response.expect_problem(401, "unauthorized");
        assert!(response.json["detail"].as_str().unwrap().contains(words), "{key}: {}", response.json);
    }
}

#[tokio::test]
async fn bad_input_names_the_field() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let key = new_key(&tenant, json!({ "name": "x", "scopes": ["events:read"] })).await;
    let one = format!("{}/{}", keys_of(&tenant), key["id"].as_str().unwrap());
    let many: Vec<_> = (0..101).map(|n| format!("192.0.2.{n}")).collect();
    for (method, path, body, pointer) in [
        (Method::POST, keys_of(&tenant), json!({}), ""),
        (Method::POST, keys_of(&tenant), json!({ "name": "" }), "/name"),
        (Method::POST, keys_of(&tenant), json!({ "name": "x", "role": "root" }), "/role"),
        (Method::POST, keys_of(&tenant), json!({ "name": "x", "scopes": [] }), "/scopes"),
        (Method::POST, keys_of(&tenant), json!({ "name": "x", "scopes": ["events:fly"] }), "/scopes/0"),
        (
            Method::POST,
            keys_of(&tenant),
            json!({ "name": "x", "role": "viewer", "scopes": ["events:read"] }),
            "/scopes",
        ),
        (
            Method::POST,
            keys_of(&tenant),
            json!({ "name": "x", "expires_at": "2020-01-01T00:00:00Z" }),
            "/expires_at",
        ),
        (Method::POST, keys_of(&tenant), json!({ "name": "x", "expires_at": "tomorrow" }), "/expires_at"),
        (
            Method::POST,
            keys_of(&tenant),
            json!({ "name": "x", "allowed_networks": ["example.com"] }),
            "/allowed_networks/0",
        ),
        (
            Method::POST,
            keys_of(&tenant),
            json!({ "name": "x", "allowed_networks": many }),
            "/allowed_networks",
        ),
        (Method::POST, keys_of(&tenant), json!({ "name": "x", "secret": "y" }), "/secret"),
        (Method::PATCH, one.clone(), json!({ "name": null }), "/name"),
        (Method::PATCH, one.clone(), json!({ "allowed_networks": "any" }), "/allowed_networks"),
        (Method::POST, format!("{one}/rotate"), json!({ "overlap_seconds": -1 }), "/overlap_seconds"),
    ] {
        let response = tenant.send(method.clone(), &path, &[], Some(body.to_string().into())).await;
        assert_eq!(
            (response.status, response.pointer()),
            (422, pointer),
            "{method} {path} {body}: {}",
            response.json
        );
    }
}

#[tokio::test]
async fn a_tenant_has_as_many_keys_as_it_may() {
    let stack = Stack::shared();
    let operator = stack.operator();
    let tenant = stack.tenant().await;
    let path = format!("/v1/tenants/{}", tenant.tenant_id());
    operator.patch(&path, &json!({ "limits": { "keys": 3 } })).await.expect(200);
    tokio::time::sleep(CACHE_AGE).await;
    // All at once: the count is a condition of the write.
    let body = json!({ "name": "one more" });
    let keys = keys_of(&tenant);
    let mut tries = JoinSet::new();
    for _ in 0..8 {
        let (tenant, keys, body) = (tenant.clone(), keys.clone(), body.clone());
        tries.spawn(async move { tenant.post(&keys, &body).await });
    }
    let responses = tries.join_all().await;
    let mut statuses: Vec<_> = responses.iter().map(|response| response.status).collect();
    statuses.sort_unstable();
    let created = statuses.iter().filter(|status| **status == 201).count();
    assert_eq!(created, 2, "{statuses:?}");
    let refused = responses.iter().find(|response| response.status == 422).expect("a refusal");
    refused.expect_problem(422, "limit-reached");
    // Endpoints have a limit of their own.
    operator.patch(&path, &json!({ "limits": { "endpoints": 1 } })).await.expect(200);
    tokio::time::sleep(CACHE_AGE).await;
    let body = json!({ "url": "https://example.com/webhooks", "event_types": ["*"] });
    tenant.post("/v1/endpoints", &body).await.expect(201);
    let refused = tenant.post("/v1/endpoints", &body).await;
    refused.expect_problem(422, "limit-reached");
    assert!(refused.json["detail"].as_str().unwrap().contains("at most 1 endpoints"), "{}", refused.json);
}
