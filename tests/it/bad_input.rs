//! Bad input gets a clear error that names the field.

use reqwest::Method;
use serde_json::json;
use testkit::Stack;

#[tokio::test]
#[allow(clippy::too_many_lines, reason = "one table")]
async fn bodies_that_are_not_acceptable() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let keys = format!("/v1/tenants/{}/keys", tenant.tenant_id());
    let long = "x".repeat(201);
    let too_long_url = format!("https://example.com/{}", "x".repeat(2048));
    let many: Vec<_> = (0..101).map(|_| json!({ "type": "a.b", "data": {} })).collect();
    let filters = vec!["a.b"; 101];
    for (path, body, status, problem, pointer) in [
        ("/v1/events", json!({}), 422, "invalid-field", ""),
        ("/v1/events", json!([]), 422, "invalid-field", ""),
        ("/v1/events", json!({ "type": "con tact", "data": {} }), 422, "invalid-field", "/type"),
        ("/v1/events", json!({ "type": "", "data": {} }), 422, "invalid-field", "/type"),
        ("/v1/events", json!({ "type": "a..b", "data": {} }), 422, "invalid-field", "/type"),
        ("/v1/events", json!({ "type": "endpoint.disabled", "data": {} }), 422, "invalid-field", "/type"),
        (
            "/v1/events/batch",
            json!({ "events": [{ "type": "delivery.exhausted", "data": {} }] }),
            422,
            "invalid-field",
            "/events/0/type",
        ),
        ("/v1/events", json!({ "type": 5, "data": {} }), 422, "invalid-field", "/type"),
        ("/v1/events", json!({ "type": "a.b", "data": "text" }), 422, "invalid-field", "/data"),
        ("/v1/events", json!({ "type": "a.b", "data": null }), 422, "invalid-field", "/data"),
        (
            "/v1/events",
            json!({ "type": "a.b", "data": {}, "tenant": "other" }),
            422,
            "invalid-field",
            "/tenant",
        ),
        (
            "/v1/events",
            json!({ "type": "a.b", "data": {}, "timestamp": "yesterday" }),
            422,
            "invalid-field",
            "/timestamp",
        ),
        ("/v1/events/batch", json!({ "events": [] }), 422, "invalid-field", "/events"),
        ("/v1/events/batch", json!({ "events": many }), 422, "invalid-field", "/events"),
        (
            "/v1/events/batch",
            json!({ "events": [{ "type": "a.b", "data": {} }, { "type": "a.b", "data": 1 }] }),
            422,
            "invalid-field",
            "/events/1/data",
        ),
        (
            "/v1/events/batch",
            json!({ "events": [{ "type": "a.b", "data": {}, "idempotency_key": "k" }, { "type": "a.b", "data": {}, "idempotency_key": "k" }] }),
            422,
            "invalid-field",
            "/events/1/idempotency_key",
        ),
        (
            "/v1/events/batch",
            json!({ "events": [{ "type": "a.b", "data": {}, "idempotency_key": "" }] }),
            422,
            "invalid-field",
            "/events/0/idempotency_key",
        ),
        ("/v1/endpoints", json!({ "url": "nonsense" }), 422, "invalid-field", "/url"),
        ("/v1/endpoints", json!({ "url": "ftp://example.com/" }), 422, "invalid-field", "/url"),
        ("/v1/endpoints", json!({ "url": "https://user:pass@example.com/" }), 422, "invalid-field", "/url"),
        ("/v1/endpoints", json!({ "url": "https://10.0.0.1/" }), 422, "invalid-field", "/url"),
        ("/v1/endpoints", json!({ "url": "https://169.254.169.254/latest" }), 422, "invalid-field", "/url"),
        ("/v1/endpoints", json!({ "url": "https://[::ffff:10.0.0.1]/" }), 422, "invalid-field", "/url"),
        ("/v1/endpoints", json!({ "url": too_long_url }), 422, "invalid-field", "/url"),
        (
            "/v1/endpoints",
            json!({ "url": "https://example.com/", "event_types": [] }),
            422,
            "invalid-field",
            "/event_types",
        ),
        (
            "/v1/endpoints",
            json!({ "url": "https://example.com/", "event_types": filters }),
            422,
            "invalid-field",
            "/event_types",
        ),
        (
            "/v1/endpoints",
            json!({ "url": "https://example.com/", "event_types": ["a.b", "*.b"] }),
            422,
            "invalid-field",
            "/event_types/1",
        ),
        (
            "/v1/endpoints",
            json!({ "url": "https://example.com/", "secret": "mine" }),
            422,
            "invalid-field",
            "/secret",
        ),
        (
            "/v1/sources",
            json!({ "provider": "nobody", "secrets": ["whsec_0123456789abcdef"] }),
            422,
            "invalid-field",
            "/provider",
        ),
        (
            "/v1/sources",
            json!({ "provider": "stripe", "secrets": vec!["whsec_0123456789abcdef"; 11] }),
            422,
            "invalid-field",
            "/secrets",
        ),
        (
            "/v1/sources",
            json!({ "provider": "stripe", "secrets": ["whsec_0123456789abcdef", "short"] }),
            422,
            "invalid-field",
            "/secrets/1",
        ),
        (
            "/v1/sources",
            json!({ "provider": "stripe", "secrets": "whsec_private" }),
            422,
            "invalid-field",
            "/secrets",
        ),
        ("/v1/events", json!(["a.b", {}, null]), 422, "invalid-field", ""),
        (&keys, json!({ "name": "" }), 422, "invalid-field", "/name"),
        (&keys, json!({ "name": long }), 422, "invalid-field", "/name"),
        (&keys, json!({ "name": "x", "scopes": [] }), 422, "invalid-field", "/scopes"),
        (&keys, json!({ "name": "x", "scopes": ["everything"] }), 422, "invalid-field", "/scopes/0"),
    ] {
        let response = tenant.post(path, &body).await;
        let found = (response.status, response.problem(), response.pointer());
        assert_eq!(found, (status, problem, pointer), "{path} {body} {}", response.json);
        assert!(!response.json.to_string().contains("whsec_private"), "secrets are not repeated");
        assert!(response.json["request_id"].as_str().is_some_and(|id| !id.is_empty()));
    }
    let operator = stack.operator();
    for (body, status, pointer) in [
        (json!({ "id": "operator", "name": "x" }), 422, "/id"),
        (json!({ "id": "a#b", "name": "x" }), 422, "/id"),
        (json!({ "id": "", "name": "x" }), 422, "/id"),
        (json!({ "id": tenant.tenant_id(), "name": "x" }), 409, "/id"),
        (json!({ "name": "  " }), 422, "/name"),
    ] {
        let response = operator.post("/v1/tenants", &body).await;
        assert_eq!((response.status, response.pointer()), (status, pointer), "{body} {}", response.json);
    }
}

#[tokio::test]
async fn requests_that_are_not_understood() {
    const JSON: (&str, &str) = ("content-type", "application/json");
    const GOOD: &[u8] = br#"{"type":"a.b","data":{}}"#;
    let tenant = Stack::shared().tenant().await;
    let post = |headers: &'static [(&'static str, &'static str)], body: &'static [u8]| {
        let tenant = tenant.clone();
        async move { tenant.send(Method::POST, "/v1/events", headers, Some(body.to_vec())).await }
    };
    for (headers, body, status, problem) in [
        (&[JSON][..], &b""[..], 400, "invalid-request"),
        (&[JSON], b"{", 400, "invalid-request"),
        (&[JSON], b"{\"type\":\"a.b\",\"data\":{}} and more", 400, "invalid-request"),
        // What curl sends by itself.
        (&[("content-type", "application/x-www-form-urlencoded")], GOOD, 415, "unsupported-media-type"),
        (&[JSON, ("idempotency-key", "")], GOOD, 400, "invalid-request"),
        (&[JSON, ("idempotency-key", "caf\u{e9}")], GOOD, 400, "invalid-request"),
    ] {
        let response = post(headers, body).await;
        assert_eq!(
            (response.status, response.problem()),
            (status, problem),
            "{headers:?} {body:?} {}",
            response.json
        );
    }
    for (query, name) in [
        ("limit=0", "limit"),
        ("limit=251", "limit"),
        ("limit=x", "limit"),
        ("limit=1&limit=2", "limit"),
        ("page=2", "page"),
        ("cursor=!", "cursor"),
        ("cursor=AAAA", "cursor"),
    ] {
        let response = tenant.get(&format!("/v1/events?{query}")).await;
        response.expect_problem(400, "invalid-request");
        assert_eq!(response.json["errors"][0]["parameter"], name);
    }
    for path in [
        "/v1/events/nonsense",
        "/v1/events/ept_0123456789abcdefghjkmnpqrs",
        "/v1/deliveries/dlv_",
        "/v1/events/%00",
        "/v1/endpoints/x/secret",
    ] {
        assert_eq!(tenant.get(path).await.status, 404, "{path}");
    }
}
