//! Conditional requests: 304 for what has not changed, 412 for a change to what another request has changed.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{ApiResponse, Client, FlakyReceiver, Stack, client::SourceView, eventually, unique};
use tokio::task::JoinSet;

use crate::SOON;

/// A request with one header and this body.
async fn send(
    client: &Client,
    method: Method,
    path: &str,
    header: (&str, &str),
    body: &Value,
) -> ApiResponse {
    let body = (!body.is_null()).then(|| body.to_string().into_bytes());
    client.send(method, path, &[header, ("content-type", "application/json")], body).await
}

#[tokio::test]
async fn what_has_not_changed_is_not_sent_again() {
    let tenant = Stack::shared().tenant().await;
    let endpoint = tenant.endpoint("https://example.com/webhooks").create().await;
    for path in [
        endpoint.path(""),
        "/v1/endpoints".to_owned(),
        "/v1/sources".to_owned(),
        "/v1/replays".to_owned(),
        "/v1/connections".to_owned(),
        "/v1/me".to_owned(),
        "/v1/openapi.json".to_owned(),
    ] {
        let first = tenant.get(&path).await;
        let tag = first.header("etag").to_owned();
        assert!(tag.starts_with('"') && tag.ends_with('"'), "{path}: {tag}");
        assert!(first.header("cache-control").ends_with("no-cache"), "{path}");
        for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
            let again = send(&tenant, Method::GET, &path, ("if-none-match", &known), &Value::Null).await;
            assert_eq!((again.status, again.text.as_str()), (304, ""), "{path} {known}");
            assert_eq!(again.header("etag"), tag, "{path}");
        }
        for other in ["\"other\"", "malformed"] {
            let again = send(&tenant, Method::GET, &path, ("if-none-match", other), &Value::Null).await;
            assert_eq!((again.status, &again.text), (200, &first.text), "{path} {other}");
        }
    }
    let list = tenant.get("/v1/endpoints").await;
    endpoint.patch(&json!({ "description": "another" })).await.expect(200);
    let known = ("if-none-match", list.header("etag"));
    assert_eq!(send(&tenant, Method::GET, "/v1/endpoints", known, &Value::Null).await.status, 200);
    // A secret is in no cache, and a problem is no state.
    let secret = tenant.get(&endpoint.path("/secret")).await;
    assert_eq!((secret.header("etag"), secret.header("cache-control")), ("", "no-store"));
    let missing = send(&tenant, Method::GET, "/v1/nothing", ("if-none-match", "*"), &Value::Null).await;
    assert_eq!((missing.status, missing.header("etag")), (404, ""));
}

#[tokio::test]
async fn a_change_is_made_to_what_was_read_or_not_at_all() {
    let stack = Stack::shared();
    let (tenant, operator) = (stack.tenant().await, stack.operator());
    let endpoint = tenant.endpoint("https://example.com/webhooks").create().await;
    let source: SourceView = tenant.post("/v1/sources", &json!({ "provider": "stripe" })).await.read(201);
    let idp = tenant.post("/v1/idps", &json!({ "name": "google" })).await;
    idp.expect(201);
    let event_type = format!("/v1/event-types/{}.tagged", unique("type"));
    operator.put(&event_type, &json!({})).await.expect(200);
    for (client, path, change) in [
        (&tenant, endpoint.path(""), json!({ "description": "one" })),
        (&tenant, format!("/v1/sources/{}", source.id), json!({ "description": "one" })),
        (
            &tenant,
            "/v1/idps/google".to_owned(),
            json!({ "scopes": ["https://www.googleapis.com/auth/calendar"] }),
        ),
        (&tenant, "/v1/connect-settings".to_owned(), json!({ "return_urls": ["https://crm.example/done"] })),
        (&operator, event_type, json!({ "description": "one" })),
    ] {
        let read = client.get(&path).await.header("etag").to_owned();
        let changed = send(client, Method::PATCH, &path, ("if-match", &read), &change).await;
        assert_eq!(changed.status, 200, "{path}: {}", changed.json);
        let now = client.get(&path).await;
        assert_eq!(changed.header("etag"), now.header("etag"), "{path}");
        assert_ne!(now.header("etag"), read, "{path}");
        let stale = send(client, Method::PATCH, &path, ("if-match", &read), &change).await;
        stale.expect_problem(412, "precondition-failed");
        assert_eq!(client.get(&path).await.text, now.text, "{path}");
        // An empty list of tags names no state.
        let none = send(client, Method::PATCH, &path, ("if-match", ""), &change).await;
        none.expect_problem(412, "precondition-failed");
        for malformed in ["one", "\"one"] {
            let refused = send(client, Method::PATCH, &path, ("if-match", malformed), &change).await;
            refused.expect_problem(400, "invalid-request");
        }
        // The same change again is none, whatever the condition.
        for allowed in ["*".to_owned(), format!("\"other\", {}", now.header("etag"))] {
            send(client, Method::PATCH, &path, ("if-match", &allowed), &change).await.expect(200);
        }
        if path != "/v1/connect-settings" {
            let stale = send(client, Method::DELETE, &path, ("if-match", &read), &Value::Null).await;
            stale.expect_problem(412, "precondition-failed");
            let tag = now.header("etag").to_owned();
            send(client, Method::DELETE, &path, ("if-match", &tag), &Value::Null).await.expect(204);
            let missing = send(client, Method::PATCH, &path, ("if-match", "*"), &change).await;
            missing.expect_problem(404, "not-found");
        }
    }
    // Deleting again is no change, so its condition does not count.
    send(&tenant, Method::DELETE, &endpoint.path(""), ("if-match", "\"other\""), &Value::Null)
        .await
        .expect(204);
}

#[tokio::test]
async fn a_type_is_created_only_if_it_is_new() {
    let operator = Stack::shared().operator();
    let path = format!("/v1/event-types/{}.new", unique("type"));
    for (header, status) in [
        (("if-match", "*"), 412),
        (("if-match", "\"other\""), 412),
        (("if-none-match", "*"), 200),
        (("if-none-match", "*"), 412),
        (("if-match", "*"), 200),
    ] {
        let response = send(&operator, Method::PUT, &path, header, &json!({ "description": "new" })).await;
        assert_eq!(response.status, status, "{header:?}: {}", response.json);
    }
    operator.delete(&path).await.expect(204);
}

#[tokio::test]
async fn a_condition_that_cannot_be_checked_is_refused() {
    let tenant = Stack::shared().tenant().await;
    let endpoint = tenant.endpoint("https://example.com/webhooks").create().await;
    for path in [endpoint.path("/disable"), "/v1/endpoints".to_owned()] {
        let body = json!({ "url": "https://example.com/webhooks" });
        let response = send(&tenant, Method::POST, &path, ("if-match", "*"), &body).await;
        response.expect_problem(400, "invalid-request");
        assert_eq!(response.json["errors"][0]["header"], "If-Match", "{path}");
    }
}

#[tokio::test]
async fn of_many_changes_from_one_state_one_is_made() {
    let tenant = Stack::shared().tenant().await;
    let source: SourceView = tenant.post("/v1/sources", &json!({ "provider": "stripe" })).await.read(201);
    let endpoint = tenant.endpoint("https://example.com/webhooks").create().await;
    for path in [format!("/v1/sources/{}", source.id), endpoint.path("")] {
        let read = tenant.get(&path).await.header("etag").to_owned();
        let mut changes = JoinSet::new();
        for number in 0..8 {
            let (tenant, path, read) = (tenant.clone(), path.clone(), read.clone());
            changes.spawn(async move {
                let change = json!({ "description": format!("change {number}") });
                send(&tenant, Method::PATCH, &path, ("if-match", &read), &change).await
            });
        }
        let made = changes.join_all().await;
        let (won, lost): (Vec<_>, Vec<_>) = made.into_iter().partition(|response| response.status == 200);
        assert_eq!(won.len(), 1, "{path}");
        for response in lost {
            // 409 where the audit trail was too busy.
            assert!([412, 409].contains(&response.status), "{}", response.json);
        }
        assert_eq!(tenant.get(&path).await.json, won[0].json, "{path}");
    }
}

#[tokio::test]
async fn failures_of_an_endpoint_do_not_reject_a_persons_change() {
    let tenant = Stack::shared().tenant().await;
    let receiver = FlakyReceiver::failing().await;
    let endpoint = tenant.endpoint(&receiver.url()).retry_schedule(&[600]).create().await;
    let read = tenant.get(&endpoint.path("")).await.header("etag").to_owned();
    tenant.publish("contact.created", &json!({}), "fails").await;
    eventually("the failure to be known", SOON, || async {
        (endpoint.get().await.health.failures > 0).then_some(())
    })
    .await;
    // The body has changed, and what people set has not.
    let known = ("if-none-match", read.as_str());
    assert_eq!(send(&tenant, Method::GET, &endpoint.path(""), known, &Value::Null).await.status, 200);
    let change = json!({ "description": "mine" });
    send(&tenant, Method::PATCH, &endpoint.path(""), ("if-match", &read), &change).await.expect(200);
}
