//! What the API shows of an attempt, and test events.

use std::time::Duration;

use serde_json::json;
use testkit::{
    Receiver, Reply, Stack,
    client::{AuditEntryView, EventView},
    eventually, foreign,
};

use platform::store::table::keys;

use crate::{
    SOON,
    tables::{self, Table},
};

fn reply(status: u16, body: impl Into<Vec<u8>>, headers: &[(&'static str, &str)]) -> Reply {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Reply { headers, body: body.into().into(), ..Reply::status(status) }
}

#[tokio::test]
async fn an_attempt_shows_its_timing_and_its_response() {
    let tenant = Stack::shared().tenant().await;
    let receiver = Receiver::responding(|_| {
        let headers = [("content-type", "text/plain"), ("x-request-id", "r-1"), ("set-cookie", "sid=secret")];
        Reply { delay: Duration::from_millis(150), ..reply(200, "thanks", &headers) }
    })
    .await;
    tenant.endpoint(&receiver.url()).create().await;
    let event_id = tenant.publish("contact.created", &json!({}), "first").await;
    let delivery = tenant.only_delivery(&event_id, "succeeded", SOON).await;
    let attempt = &delivery.attempts[0];
    let timing = attempt.timing.as_ref().unwrap();
    assert!(!timing.reused);
    // An address has no look-up, and plain http no TLS.
    assert_eq!((timing.dns_ms, timing.tls_ms), (None, None));
    let (connect, first_byte) = (timing.connect_ms.unwrap(), timing.first_byte_ms.unwrap());
    assert!(first_byte >= 150 && connect + first_byte <= attempt.duration_ms, "{attempt:?}");
    assert_eq!(attempt.response_headers["content-type"], "text/plain");
    assert_eq!(attempt.response_headers["x-request-id"], "r-1");
    assert!(!attempt.response_headers.contains_key("set-cookie"), "{attempt:?}");
    assert_eq!(attempt.response_excerpt.as_deref(), Some("thanks"));
    let raw = tenant.get(&format!("/v1/deliveries/{}", delivery.id)).await.expect(200).to_string();
    assert!(!raw.contains("secret"), "{raw}");

    // A later attempt reuses the connection, if the same process makes it.
    let mut n = 0;
    let timing = eventually("an attempt on a connection that is reused", SOON, || {
        n += 1;
        let key = format!("again-{n}");
        let tenant = tenant.clone();
        async move {
            let event_id = tenant.publish("contact.created", &json!({}), &key).await;
            let delivery = tenant.only_delivery(&event_id, "succeeded", SOON).await;
            delivery.attempts[0].timing.clone().filter(|timing| timing.reused)
        }
    })
    .await;
    assert_eq!((timing.dns_ms, timing.connect_ms, timing.tls_ms), (None, None, None));
    assert!(timing.first_byte_ms.unwrap() >= 150, "{timing:?}");
}

#[tokio::test]
async fn the_last_failure_keeps_more_of_its_response() {
    let tenant = Stack::shared().tenant().await;
    let long = "no \u{1f41b} ".repeat(2000);
    let body = long.clone();
    let receiver = Receiver::responding(move |n| {
        let mut body = body.clone().into_bytes();
        // Not UTF-8.
        body[0] = 0xff;
        reply(if n < 2 { 500 } else { 503 }, body, &[("server", "a-server")])
    })
    .await;
    tenant.endpoint(&receiver.url()).retry_schedule(&[1, 1]).create().await;
    let event_id = tenant.publish("contact.created", &json!({}), "long").await;
    let delivery = tenant.only_delivery(&event_id, "exhausted", Duration::from_mins(1)).await;
    assert_eq!(delivery.attempts.len(), 3);
    for (index, attempt) in delivery.attempts.iter().enumerate() {
        let excerpt = attempt.response_excerpt.as_deref().unwrap();
        assert!(excerpt.starts_with("\u{fffd}o \u{1f41b}"), "{excerpt}");
        let room = if index == 2 { 4080..=4096 } else { 500..=512 };
        assert!(room.contains(&excerpt.len()), "attempt {index}: {}", excerpt.len());
        assert_eq!(attempt.response_headers["server"], "a-server");
        let status = if index == 2 { " 503" } else { " 500" };
        assert!(attempt.error.as_ref().is_some_and(|error| error.ends_with(status)), "{attempt:?}");
    }
}

#[tokio::test]
async fn a_test_event_shows_its_request_and_its_response() {
    let tenant = Stack::shared().tenant().await;
    let receiver = Receiver::responding(|n| match n {
        0 => reply(200, "fine", &[("set-cookie", "sid=1"), ("cf-ray", "abc")]),
        _ => reply(500, "x".repeat(5000), &[("content-type", "text/html")]),
    })
    .await;
    let settings = json!({
        "event_types": ["deal.won"], "status": "disabled", "svix_headers": true,
        "headers": { "X-Region": "west", "Authorization": "Bearer of-the-receiver" },
    });
    let endpoint = tenant.endpoint(&receiver.url()).settings(&settings).create().await;

    // Though the endpoint is disabled, and subscribes to another type.
    let result = endpoint.test(json!({})).await;
    let received = receiver.requests().remove(0);
    foreign::verify(&received, &endpoint.secret).await.expect("the library accepts it");
    assert_eq!(received.json()["type"], "webhook.test");
    assert_eq!(received.header("authorization"), "Bearer of-the-receiver");
    let request = &result.request;
    assert_eq!((&request.url, request.method.as_str()), (&receiver.url(), "POST"));
    assert_eq!(request.body.as_bytes(), &received.body[..]);
    for (name, value) in &request.headers {
        if name == "authorization" {
            assert_eq!(value, "[redacted]");
        } else {
            assert_eq!(value, received.header(name), "{name}");
        }
    }
    for name in ["webhook-signature", "svix-id", "content-type", "user-agent", "x-region"] {
        assert!(request.headers.contains_key(name), "{name}: {request:?}");
    }
    assert!(result.succeeded);
    let response = result.response.as_ref().unwrap();
    assert_eq!((response.status, response.body.as_str()), (200, "fine"));
    assert_eq!(response.headers, result.attempt.response_headers);
    assert_eq!(response.headers["cf-ray"], "abc");
    let shown = format!("{result:?}");
    assert!(!shown.contains("sid=1") && !shown.contains("of-the-receiver"), "{shown}");
    assert!(result.suggested_action.starts_with("Nothing"));
    assert!(result.attempt.timing.unwrap().first_byte_ms.is_some());

    // One that fails, with a type and data of its own.
    let own = json!({ "type": "deal.won", "data": { "id": 7 } });
    let result = endpoint.test(own).await;
    let received = receiver.requests().remove(1);
    foreign::verify(&received, &endpoint.secret).await.expect("the library accepts it");
    assert_eq!(
        (&received.json()["type"], &received.json()["data"]),
        (&json!("deal.won"), &json!({ "id": 7 }))
    );
    let response = result.response.unwrap();
    assert_eq!((result.succeeded, response.status, response.body.len()), (false, 500, 4096));
    assert!(result.attempt.error.is_some_and(|error| error.ends_with(" 500")));
    assert!(result.suggested_action.contains("log"));

    // Nothing is kept of it, and nothing follows from it.
    assert_eq!(tenant.list::<EventView>("/v1/events", 250).await, []);
    let view = endpoint.get().await;
    assert_eq!((view.health.failures, view.status.as_str()), (0, "disabled"));
    assert_eq!(receiver.requests().len(), 2);
}

#[tokio::test]
async fn a_test_event_without_a_response_shows_the_failure() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let hanging = Receiver::responding(|_| Reply::after(Duration::from_mins(1))).await;
    // Bound and not listened on, so that no other receiver gets the port.
    let held = tokio::net::TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = held.local_addr().unwrap();
    for (url, failure, word) in [
        (hanging.url(), "timeout", "timeout"),
        (format!("http://{closed}/"), "connect", "listens"),
        (format!("http://no-such-host.invalid:{}/", closed.port()), "dns", "DNS"),
        ("https://10.0.0.1/".to_owned(), "blocked_address", "public"),
    ] {
        let endpoint = tenant.endpoint("https://example.com/webhooks").timeout_seconds(2).create().await;
        // The API would not take all of these; a name can come to lead to such places.
        let row = keys::endpoint(&tables::tenant(&tenant), tables::id(&endpoint.id));
        Table::registry(&stack).set(row, "url", json!({ "S": url })).await;
        let result = endpoint.test(json!({})).await;
        assert!(!result.succeeded && result.response.is_none(), "{url}: {result:?}");
        assert_eq!(result.attempt.failure.as_deref(), Some(failure), "{result:?}");
        let never = result.attempt.error.as_deref().unwrap().ends_with("; the request was never sent");
        assert_eq!((result.attempt.sent, never), (failure == "timeout", failure != "timeout"), "{result:?}");
        assert!(result.suggested_action.contains(word), "{result:?}");
        let took = result.attempt.duration_ms;
        assert!(took < 4000 && (failure != "timeout" || took >= 2000), "{url}: {took}");
    }
}

#[tokio::test]
async fn test_events_are_limited_and_need_the_scopes_to_publish() {
    let stack = Stack::shared();
    let (tenant, stranger) = (stack.tenant().await, stack.tenant().await);
    let receiver = Receiver::start().await;
    let endpoint = tenant.endpoint(&receiver.url()).create().await;
    let path = endpoint.path("/test");
    let theirs = stranger.post(&path, &json!({})).await;
    theirs.expect_problem(404, "not-found");
    for (body, pointer) in [
        (json!({ "type": "not a type" }), "/type"),
        (json!({ "data": [] }), "/data"),
        (json!({ "type": "endpoint.disabled" }), "/type"),
        (json!({ "more": 1 }), "/more"),
    ] {
        let response = tenant.post(&path, &body).await;
        assert_eq!(
            (response.status, response.problem(), response.pointer()),
            (422, "invalid-field", pointer)
        );
    }
    // A receiver trusts what is signed, so its content is for those who may publish.
    let lesser = tenant.with_scopes(&["endpoints:write"]).await;
    let response = lesser.post(&path, &json!({ "data": {} })).await;
    response.expect_problem(403, "forbidden");
    assert!(receiver.requests().is_empty());
    let many: Vec<_> = (0..12)
        .map(|_| {
            let (tenant, path) = (tenant.clone(), path.clone());
            tokio::spawn(async move { tenant.post(&path, &json!({})).await })
        })
        .collect();
    let mut refused = 0;
    for one in many {
        let response = one.await.unwrap();
        if response.status != 200 {
            response.expect_problem(429, "too-many-requests");
            let wait: u64 = response.headers["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=3).contains(&wait), "{wait}");
            refused += 1;
        }
    }
    assert!(refused >= 1);
    assert_eq!(receiver.requests().len(), 12 - refused);
    let trail: Vec<AuditEntryView> = tenant.list("/v1/audit", 250).await;
    assert_eq!(trail.iter().filter(|entry| entry.action == "endpoint.tested").count(), 12 - refused);

    // The operator's endpoints can be tried too.
    let operator = stack.operator();
    let endpoint = operator.endpoint(&receiver.url()).event_types(&["nothing.listens"]).create().await;
    assert!(endpoint.test(json!({})).await.succeeded);
    let received = receiver.requests().pop().unwrap();
    foreign::verify(&received, &endpoint.secret).await.expect("the library accepts it");
    endpoint.delete().await;
    let response = operator.post(&endpoint.path("/test"), &json!({})).await;
    assert_eq!(response.status, 404, "it was deleted");
}
