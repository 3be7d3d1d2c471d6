//! What an attempt tells, and test events.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Client, Receiver, Stack, eventually, foreign, receiver::Reply, stack::text};

use crate::SOON;

fn reply(status: u16, body: impl Into<Vec<u8>>, headers: &[(&'static str, &str)]) -> Reply {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Reply { headers, body: body.into().into(), ..Reply::status(status) }
}

/// Sends a test event, and expects that it was sent.
async fn test(tenant: &Client, endpoint_id: &str, body: Value) -> Value {
    tenant.post(&format!("/v1/endpoints/{endpoint_id}/test"), &body).await.expect(200)
}

#[tokio::test]
async fn an_attempt_tells_how_long_its_parts_took_and_what_was_answered() {
    let tenant = Stack::shared().tenant().await;
    let receiver = Receiver::responding(|_| {
        let headers = [("content-type", "text/plain"), ("x-request-id", "r-1"), ("set-cookie", "sid=secret")];
        Reply { delay: Duration::from_millis(150), ..reply(200, "thanks", &headers) }
    })
    .await;
    tenant.endpoint(&receiver.url(), &[]).await;
    let event_id = tenant.publish("contact.created", &json!({}), "first").await;
    let delivery = tenant.delivery(&event_id, "succeeded", SOON).await;
    let attempt = &delivery["attempts"][0];
    let timing = &attempt["timing"];
    assert_eq!(timing["reused"], false);
    // An address has no look-up, and plain http no TLS.
    assert_eq!((&timing["dns_ms"], &timing["tls_ms"]), (&json!(null), &json!(null)));
    let (connect, first_byte) =
        (timing["connect_ms"].as_u64().unwrap(), timing["first_byte_ms"].as_u64().unwrap());
    let whole = attempt["duration_ms"].as_u64().unwrap();
    assert!(first_byte >= 150 && connect + first_byte <= whole, "{attempt}");
    assert_eq!(attempt["response_headers"]["content-type"], "text/plain");
    assert_eq!(attempt["response_headers"]["x-request-id"], "r-1");
    assert!(!delivery.to_string().contains("secret"), "{delivery}");
    assert_eq!(attempt["response_excerpt"], "thanks");

    // Some later one goes out on the connection that is there, if it meets the same process.
    let mut n = 0;
    let timing = eventually("an attempt on a connection that is reused", SOON, || {
        n += 1;
        let key = format!("again-{n}");
        let tenant = tenant.clone();
        async move {
            let event_id = tenant.publish("contact.created", &json!({}), &key).await;
            let delivery = tenant.delivery(&event_id, "succeeded", SOON).await;
            let timing = delivery["attempts"][0]["timing"].clone();
            (timing["reused"] == true).then_some(timing)
        }
    })
    .await;
    for part in ["dns_ms", "connect_ms", "tls_ms"] {
        assert_eq!(timing[part], json!(null), "{part}");
    }
    assert!(timing["first_byte_ms"].as_u64().unwrap() >= 150, "{timing}");
}

#[tokio::test]
async fn the_last_failure_keeps_more_of_its_answer() {
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
    tenant.endpoint_with(&receiver.url(), json!({ "retry_schedule_seconds": [1, 1] })).await;
    let event_id = tenant.publish("contact.created", &json!({}), "long").await;
    let delivery = tenant.delivery(&event_id, "exhausted", Duration::from_mins(1)).await;
    let attempts = delivery["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 3);
    for (at, attempt) in attempts.iter().enumerate() {
        let excerpt = text(attempt, "response_excerpt");
        assert!(excerpt.starts_with("\u{fffd}o \u{1f41b}"), "{excerpt}");
        let room = if at == 2 { 4080..=4096 } else { 500..=512 };
        assert!(room.contains(&excerpt.len()), "attempt {at}: {}", excerpt.len());
        assert_eq!(attempt["response_headers"]["server"], "a-server");
        let error = if at == 2 { "the endpoint answered 503" } else { "the endpoint answered 500" };
        assert_eq!(attempt["error"], error);
    }
}

#[tokio::test]
async fn a_test_event_tells_what_it_sent_and_what_came() {
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
    let (endpoint_id, secret) = tenant.endpoint_with(&receiver.url(), settings).await;

    // Though the endpoint is disabled, and listens to something else.
    let told = test(&tenant, &endpoint_id, json!({})).await;
    let received = receiver.requests().remove(0);
    foreign::verify(&received, &secret).await.expect("the library accepts it");
    assert_eq!(received.json()["type"], "webhook.test");
    assert_eq!(received.header("authorization"), "Bearer of-the-receiver");
    let request = &told["request"];
    assert_eq!((&request["url"], &request["method"]), (&json!(receiver.url()), &json!("POST")));
    assert_eq!(text(request, "body").as_bytes(), &received.body[..]);
    for (name, value) in request["headers"].as_object().unwrap() {
        if name == "authorization" {
            assert_eq!(value, "[redacted]");
        } else {
            assert_eq!(value, received.header(name), "{name}");
        }
    }
    for name in ["webhook-signature", "svix-id", "content-type", "user-agent", "x-region"] {
        assert!(request["headers"][name].is_string(), "{name}: {request}");
    }
    assert_eq!(told["succeeded"], true);
    assert_eq!(
        told["response"],
        json!({ "status": 200, "headers": told["attempt"]["response_headers"], "body": "fine" })
    );
    assert_eq!(told["response"]["headers"]["cf-ray"], "abc");
    assert!(!told.to_string().contains("sid=1") && !told.to_string().contains("of-the-receiver"), "{told}");
    assert!(text(&told, "suggested_action").starts_with("Nothing"));
    assert!(told["attempt"]["timing"]["first_byte_ms"].is_u64(), "{told}");

    // One that fails, with a type and data of its own.
    let own = json!({ "type": "deal.won", "data": { "id": 7 } });
    let told = test(&tenant, &endpoint_id, own).await;
    let received = receiver.requests().remove(1);
    foreign::verify(&received, &secret).await.expect("the library accepts it");
    assert_eq!(
        (&received.json()["type"], &received.json()["data"]),
        (&json!("deal.won"), &json!({ "id": 7 }))
    );
    assert_eq!((&told["succeeded"], &told["response"]["status"]), (&json!(false), &json!(500)));
    assert_eq!(text(&told["response"], "body").len(), 4096);
    assert_eq!(told["attempt"]["error"], "the endpoint answered 500");
    assert!(text(&told, "suggested_action").contains("log"));

    // Nothing is kept of it, and nothing follows from it.
    assert_eq!(tenant.get("/v1/events").await.expect(200)["data"], json!([]));
    let endpoint = tenant.get(&format!("/v1/endpoints/{endpoint_id}")).await.expect(200);
    assert_eq!((&endpoint["health"]["failures"], &endpoint["status"]), (&json!(0), &json!("disabled")));
    assert_eq!(receiver.requests().len(), 2);
}

#[tokio::test]
async fn a_test_event_that_gets_no_response_says_why() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let hanging = Receiver::responding(|_| Reply::after(Duration::from_mins(1))).await;
    // Held and not listened on: nobody else gets the port.
    let held = tokio::net::TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = held.local_addr().unwrap();
    for (url, failure, word) in [
        (hanging.url(), "timeout", "timeout"),
        (format!("http://{closed}/"), "connect", "listens"),
        (format!("http://no-such-host.invalid:{}/", closed.port()), "dns", "DNS"),
        ("https://10.0.0.1/".to_owned(), "blocked_address", "public"),
    ] {
        let (endpoint_id, _) =
            tenant.endpoint_with("https://example.com/webhooks", json!({ "timeout_seconds": 2 })).await;
        // The API would not take all of these; a name can come to lead to such places.
        let change = json!({
            "TableName": stack.output("RegistryTableName"),
            "Key": {
                "pk": { "S": tenant.tenant_id() },
                "sk": { "S": format!("endpoint#{endpoint_id}") },
            },
            "UpdateExpression": "SET #url = :url",
            "ExpressionAttributeNames": { "#url": "url" },
            "ExpressionAttributeValues": { ":url": { "S": url } },
        });
        stack.aws("dynamodb", "DynamoDB_20120810.UpdateItem", change).await;
        let told = test(&tenant, &endpoint_id, json!({})).await;
        assert_eq!((&told["succeeded"], &told["response"]), (&json!(false), &json!(null)), "{url}");
        assert_eq!(told["attempt"]["failure"], failure, "{told}");
        assert!(told["attempt"]["error"].is_string(), "{told}");
        assert!(text(&told, "suggested_action").contains(word), "{told}");
        let took = told["attempt"]["duration_ms"].as_u64().unwrap();
        assert!(took < 4000 && (failure != "timeout" || took >= 2000), "{url}: {took}");
    }
}

#[tokio::test]
async fn test_events_are_for_people() {
    let stack = Stack::shared();
    let (tenant, stranger) = (stack.tenant().await, stack.tenant().await);
    let receiver = Receiver::start().await;
    let (endpoint_id, _) = tenant.endpoint(&receiver.url(), &[]).await;
    let path = format!("/v1/endpoints/{endpoint_id}/test");
    let theirs = stranger.post(&path, &json!({})).await;
    assert_eq!((theirs.status, theirs.problem()), (404, "not-found"));
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
    // A receiver believes what is signed, so what it says is for those who may publish.
    let keys = format!("/v1/tenants/{}/keys", tenant.tenant_id());
    let lesser = json!({ "name": "endpoints alone", "scopes": ["endpoints:write"] });
    let lesser = text(&tenant.post(&keys, &lesser).await.expect(201), "key");
    let response = tenant.with_key(Some(lesser)).post(&path, &json!({ "data": {} })).await;
    assert_eq!((response.status, response.problem()), (403, "forbidden"));
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
            assert_eq!(
                (response.status, response.problem()),
                (429, "too-many-requests"),
                "{}",
                response.json
            );
            let wait: u64 = response.headers["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=3).contains(&wait), "{wait}");
            refused += 1;
        }
    }
    assert!(refused >= 1);
    assert_eq!(receiver.requests().len(), 12 - refused);
    let trail = tenant.get("/v1/audit").await.expect(200);
    let tested =
        trail["data"].as_array().unwrap().iter().filter(|entry| entry["action"] == "endpoint.tested");
    assert_eq!(tested.count(), 12 - refused);

    // The operator's endpoints can be tried too.
    let operator = stack.operator();
    let (endpoint_id, secret) = operator.endpoint(&receiver.url(), &["nothing.listens"]).await;
    let told = test(&operator, &endpoint_id, json!({})).await;
    assert_eq!(told["succeeded"], true);
    let received = receiver.requests().pop().unwrap();
    foreign::verify(&received, &secret).await.expect("the library accepts it");
    operator.delete(&format!("/v1/endpoints/{endpoint_id}")).await;
    let response = operator.post(&format!("/v1/endpoints/{endpoint_id}/test"), &json!({})).await;
    assert_eq!(response.status, 404, "it was deleted");
}
