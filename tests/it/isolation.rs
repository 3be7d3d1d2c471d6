//! Tenants do not see each other, and keys are limited to their scopes.

use reqwest::Method;
use serde_json::json;
use testkit::{
    Receiver, Stack,
    client::{CallerView, EndpointView, EventView, KeyView},
};

use crate::SOON;

#[tokio::test]
async fn a_tenant_does_not_see_anothers_things() {
    let stack = Stack::shared();
    let (owner, stranger) = (stack.tenant().await, stack.tenant().await);
    let receiver = Receiver::start().await;
    let endpoint_id = owner.endpoint(&receiver.url()).create().await.id;
    let event_id = owner.publish("contact.created", &json!({}), "mine").await;
    let delivery_id = owner.only_delivery(&event_id, "succeeded", SOON).await.id;
    for path in [
        format!("/v1/endpoints/{endpoint_id}/secret"),
        format!("/v1/endpoints/{endpoint_id}/stats"),
        format!("/v1/events/{event_id}"),
        format!("/v1/events/{event_id}/deliveries"),
        format!("/v1/deliveries/{delivery_id}"),
    ] {
        owner.get(&path).await.expect(200);
        let theirs = stranger.get(&path).await;
        // An id that does not exist gets the same response.
        let unknown = stranger.get(&path.replace(['7', '8'], "9")).await;
        theirs.expect_problem(404, "not-found");
        assert_eq!(theirs.json["detail"], unknown.json["detail"]);
        let named = [("tenant", owner.tenant_id())];
        let response = stranger.send(Method::GET, &path, &named, None).await;
        response.expect_problem(403, "forbidden");
    }
    assert_eq!(stranger.list::<EventView>("/v1/events", 250).await, []);
    assert_eq!(stranger.list::<EndpointView>("/v1/endpoints", 250).await, []);
    // What the stranger publishes reaches the stranger's endpoint and not the owner's.
    let own = Receiver::start().await;
    stranger.endpoint(&own.url()).create().await;
    let theirs = stranger.publish("contact.created", &json!({}), "theirs").await;
    stranger.only_delivery(&theirs, "succeeded", SOON).await;
    let response =
        stranger.post(&format!("/v1/tenants/{}/keys", owner.tenant_id()), &json!({ "name": "x" })).await;
    response.expect_problem(404, "not-found");
    assert_eq!(receiver.requests().len(), 1);
}

#[tokio::test]
async fn the_tenant_header_is_the_operators() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let operator = stack.operator();
    let event_id = tenant.publish("contact.created", &json!({}), "seen").await;
    let path = format!("/v1/events/{event_id}");
    let named = [("tenant", tenant.tenant_id())];
    operator.send(Method::GET, &path, &named, None).await.expect(200);
    tenant.send(Method::GET, &path, &named, None).await.expect(200);
    // In its own name the operator has its own things only.
    operator.get(&path).await.expect(404);
    for (header, status, problem) in [
        ("no-such-tenant", 404, "not-found"),
        ("not a tenant", 400, "invalid-request"),
        ("", 400, "invalid-request"),
    ] {
        let response = operator.send(Method::GET, "/v1/events", &[("tenant", header)], None).await;
        assert_eq!((response.status, response.problem()), (status, problem), "{header:?}");
        assert_eq!(response.json["errors"][0]["header"], "Tenant");
    }
}

#[tokio::test]
async fn without_a_valid_key_every_request_is_refused() {
    let stack = Stack::shared();
    let anonymous = stack.anonymous();
    let known = stack.tenant().await.key.unwrap();
    let last = if known.ends_with('0') { '1' } else { '0' };
    let nearly = format!("{}{last}", &known[..known.len() - 1]);
    for authorization in [
        None,
        Some(""),
        Some("Bearer"),
        Some("Bearer "),
        Some("Basic abc"),
        Some("Bearer cwk_0"),
        Some("Bearer operator"),
        Some(&*format!("Bearer {nearly}")),
        Some(&*known),
    ] {
        let headers: Vec<_> = authorization.iter().map(|value| ("authorization", *value)).collect();
        let response = anonymous.send(Method::GET, "/v1/events", &headers, None).await;
        response.expect_problem(401, "unauthorized");
        assert_eq!(response.headers["www-authenticate"], "Bearer");
    }
}

#[tokio::test]
async fn a_key_is_limited_to_its_scopes() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let keys = format!("/v1/tenants/{}/keys", tenant.tenant_id());
    let narrow = tenant.with_scopes(&["keys:write", "events:read"]).await;
    narrow.get("/v1/events").await.expect(200);
    let event = json!({ "type": "contact.created", "data": {} });
    let response = narrow.post("/v1/events", &event).await;
    response.expect_problem(403, "forbidden");
    assert!(response.json["detail"].as_str().unwrap().contains("events:write"));
    narrow.get("/v1/endpoints").await.expect(403);
    // It cannot give away more than it has, by name or by leaving the scopes out.
    let response = narrow.post(&keys, &json!({ "name": "wide", "scopes": ["events:write"] })).await;
    assert_eq!((response.status, response.pointer()), (403, "/scopes"));
    let copy: KeyView = narrow.post(&keys, &json!({ "name": "copy" })).await.read(201);
    assert_eq!(copy.scopes, ["events:read", "keys:write"]);
    // Only the operator makes tenants.
    let response = tenant.post("/v1/tenants", &json!({ "name": "x" })).await;
    response.expect_problem(403, "forbidden");
}

#[tokio::test]
async fn every_key_can_read_whose_it_is_and_what_it_may_do() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let keys = format!("/v1/tenants/{}/keys", tenant.tenant_id());
    // A key with a single scope, which is none of the caller's route.
    let body = json!({ "name": "Zapier", "scopes": ["audit:read"] });
    let made: KeyView = tenant.post(&keys, &body).await.read(201);
    let narrow = tenant.with_key(Some(made.key.clone()));
    let response = narrow.get("/v1/me").await;
    let caller: CallerView = response.clone().read(200);
    let expected = CallerView {
        tenant_id: tenant.tenant_id().to_owned(),
        tenant_name: "A tenant".to_owned(),
        key_id: Some(made.id),
        key_name: Some("Zapier".to_owned()),
        scopes: vec!["audit:read".to_owned()],
    };
    assert_eq!(caller, expected);
    // Neither the key nor what is stored of it.
    let hash = domain::access::token::hash(&made.key);
    for secret in [made.key.as_str(), "cwk_", &hash] {
        assert!(!response.json.to_string().contains(secret), "{}", response.json);
    }
    // Naming another tenant is refused.
    let named = [("tenant", "another")];
    let response = narrow.send(Method::GET, "/v1/me", &named, None).await;
    response.expect_problem(403, "forbidden");

    // The operator's key has no id; it acts for itself, or for the tenant that it names.
    let operator = stack.operator();
    let itself: CallerView = operator.read("/v1/me").await;
    assert_eq!((itself.tenant_id.as_str(), itself.tenant_name.as_str()), ("operator", "operator"));
    assert_eq!((&itself.key_id, &itself.key_name), (&None, &None));
    assert!(itself.scopes.len() > 5 && itself.scopes.contains(&"keys:write".to_owned()));
    let named = [("tenant", tenant.tenant_id())];
    let acting: CallerView = operator.send(Method::GET, "/v1/me", &named, None).await.read(200);
    assert_eq!((acting.tenant_name.as_str(), acting.key_id), ("A tenant", None));

    // A key that does not exist, and none.
    for key in [Some(format!("cwk_{}", "0".repeat(64))), None] {
        let response = narrow.with_key(key).get("/v1/me").await;
        response.expect_problem(401, "unauthorized");
        assert_eq!(response.headers["www-authenticate"], "Bearer");
    }
}
