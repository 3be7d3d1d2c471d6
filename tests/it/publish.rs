//! Publishing: idempotency, batches, sizes, and the list of events.

use std::collections::HashSet;

use serde_json::{Value, json};
use testkit::{Receiver, Stack, foreign, proxy::Rule, stack::text};

use crate::{AFTER_A_CRASH, SOON};

#[tokio::test]
async fn the_same_key_returns_the_first_response_again() {
    let tenant = Stack::shared().tenant().await;
    let receiver = Receiver::start().await;
    tenant.endpoint(&receiver.url()).create().await;
    let body = json!({ "type": "contact.created", "data": { "id": 1 } });
    let headers = [("idempotency-key", "once")];
    let first = tenant.post_with("/v1/events", &headers, &body).await.expect(202);
    let second = tenant.post_with("/v1/events", &headers, &body).await.expect(202);
    assert_eq!(first, second);
    for other in [
        json!({ "type": "contact.created", "data": { "id": 2 } }),
        json!({ "type": "contact.changed", "data": { "id": 1 } }),
        json!({ "type": "contact.created", "data": { "id": 1 }, "timestamp": "2026-01-01T00:00:00Z" }),
    ] {
        let response = tenant.post_with("/v1/events", &headers, &other).await;
        response.expect_problem(409, "idempotency-conflict");
    }
    // Another tenant's key is another key.
    let stranger = Stack::shared().tenant().await;
    let theirs = stranger.post_with("/v1/events", &headers, &body).await.expect(202);
    assert_ne!(theirs["id"], first["id"]);
    // Without a key each publish is its own event.
    let (a, b) = (tenant.post("/v1/events", &body).await, tenant.post("/v1/events", &body).await);
    assert_ne!(a.expect(202)["id"], b.expect(202)["id"]);
}

#[tokio::test]
async fn a_batch_has_a_result_for_each_event() {
    let tenant = Stack::shared().tenant().await;
    let receiver = Receiver::start().await;
    tenant.endpoint(&receiver.url()).create().await;
    tenant.publish("contact.created", &json!({ "old": true }), "taken").await;
    let big = "x".repeat(1024 * 1024);
    let body = json!({ "events": [
        { "type": "contact.created", "data": { "n": 1 }, "idempotency_key": "one" },
        { "type": "contact.created", "data": { "n": 2 }, "idempotency_key": "taken" },
        { "type": "contact.created", "data": { "big": big } },
        { "type": "contact.created", "data": { "n": 3 } },
    ] });
    let results = tenant.post("/v1/events/batch", &body).await.expect(202);
    let results = results["data"].as_array().unwrap();
    let statuses: Vec<_> = results.iter().map(|result| result["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [202, 409, 413, 202]);
    assert_eq!(results[1]["problem"], "urn:core-webhooks:problem:idempotency-conflict");
    assert_eq!(results[2]["problem"], "urn:core-webhooks:problem:too-large");
    let received = receiver.wait_for(3, SOON).await;
    let numbers: HashSet<_> = received.iter().map(|received| received.json()["data"]["n"].clone()).collect();
    assert_eq!(numbers, HashSet::from([json!(null), json!(1), json!(3)]));
}

#[tokio::test]
async fn a_hundred_events_of_one_call_all_arrive() {
    let tenant = Stack::shared().tenant().await;
    let receiver = Receiver::start().await;
    tenant.endpoint(&receiver.url()).create().await;
    let events: Vec<_> = (0..100).map(|n| json!({ "type": "contact.created", "data": { "n": n } })).collect();
    let results = tenant.post("/v1/events/batch", &json!({ "events": events })).await.expect(202);
    let ids: Vec<_> =
        results["data"].as_array().unwrap().iter().map(|result| text(&result["event"], "id")).collect();
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 100);
    let received = receiver.wait_for(100, SOON).await;
    assert_eq!(
        received.iter().map(|received| received.id().to_owned()).collect::<HashSet<_>>(),
        ids.iter().cloned().collect()
    );
    // The results stand in the order of the events.
    for received in received {
        let n = usize::try_from(received.json()["data"]["n"].as_u64().unwrap()).unwrap();
        assert_eq!(received.id(), ids[n]);
    }
}

#[tokio::test]
async fn a_wide_batch_is_sent_in_waves() {
    let tenant = Stack::shared().tenant().await;
    let receiver = Receiver::start().await;
    for _ in 0..20 {
        tenant.endpoint(&receiver.url()).create().await;
    }
    let filler = "x".repeat(2000);
    let events: Vec<_> =
        (0..50).map(|_| json!({ "type": "contact.created", "data": { "x": filler } })).collect();
    let results = tenant.post("/v1/events/batch", &json!({ "events": events })).await.expect(202);
    assert!(results["data"].as_array().unwrap().iter().all(|result| result["status"] == 202));
    let received = receiver.wait_for(1000, AFTER_A_CRASH).await;
    assert_eq!(received.len(), 1000);
}

#[tokio::test]
async fn a_batch_with_more_messages_than_a_request_can_send_is_fanned_out() {
    let stack = Stack::deploy("cw-large-batch").await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    for _ in 0..20 {
        tenant.endpoint(&receiver.url()).create().await;
    }
    // 20 x 20 x 50 KB are 20 MB.
    let filler = "x".repeat(50_000);
    let events: Vec<_> = (0..20)
        .map(|n| json!({ "type": "contact.created", "idempotency_key": n.to_string(), "data": { "x": filler } }))
        .collect();
    let pages = stack.rule(&Rule::counting("SendMessageBatch", &["page", tenant.tenant_id()])).await;
    let results = tenant.post("/v1/events/batch", &json!({ "events": events })).await.expect(202);
    assert!(results["data"].as_array().unwrap().iter().all(|result| result["status"] == 202));
    let received = receiver.wait_for(400, AFTER_A_CRASH).await;
    let ids: HashSet<_> = received.iter().map(|one| one.id().to_owned()).collect();
    assert_eq!((received.len(), ids.len()), (400, 20));
    assert!(pages.count().await >= 1, "what did not fit was sent as pages");
}

#[tokio::test]
async fn large_payloads_arrive_whole_and_too_large_ones_are_refused() {
    let tenant = Stack::shared().tenant().await;
    let receiver = Receiver::start().await;
    let secret = tenant.endpoint(&receiver.url()).create().await.secret;
    // Over what rides in a message; with the characters that SQS would refuse; and both small.
    let cases = [
        json!({ "big": "ü".repeat(120 * 1024) }),
        json!({ "noncharacters": "\u{fffe}\u{ffff}\u{1f600}" }),
        json!({ "control": "\u{0}\u{1f}\u{7f}\\\"" }),
    ];
    for (index, data) in cases.iter().enumerate() {
        tenant.publish("contact.created", data, &format!("large-{index}")).await;
        let received = receiver.wait_for(index + 1, SOON).await.remove(index);
        assert_eq!(&foreign::verify(&received, &secret).await.expect("the library accepts it")["data"], data);
    }
    // The limit is on the payload, of which the envelope is some 80 bytes.
    let publish = |size: usize| {
        let body = json!({ "type": "contact.created", "data": { "x": "x".repeat(size) } });
        let tenant = tenant.clone();
        async move { tenant.post("/v1/events", &body).await }
    };
    publish(1024 * 1024 - 200).await.expect(202);
    let response = publish(1024 * 1024).await;
    assert_eq!((response.status, response.problem(), response.pointer()), (413, "too-large", "/data"));
    let response = publish(1100 * 1024).await;
    response.expect_problem(413, "too-large");
}

#[tokio::test]
async fn events_are_listed_newest_first_without_gap_or_repeat() {
    let tenant = Stack::shared().tenant().await;
    let mut published = Vec::new();
    for batch in 0..13 {
        let events: Vec<_> = (0..10)
            .map(|n| json!({ "type": "contact.created", "data": { "n": n }, "idempotency_key": format!("{batch}-{n}") }))
            .collect();
        let results = tenant.post("/v1/events/batch", &json!({ "events": events })).await.expect(202);
        published
            .extend(results["data"].as_array().unwrap().iter().map(|result| text(&result["event"], "id")));
    }
    let mut listed: Vec<Value> = Vec::new();
    let mut path = "/v1/events?limit=50".to_owned();
    let mut pages = 0;
    loop {
        let page = tenant.get(&path).await.expect(200);
        listed.extend(page["data"].as_array().unwrap().iter().cloned());
        pages += 1;
        // What is published meanwhile does not shift the pages.
        tenant.publish("contact.created", &json!({}), &format!("meanwhile-{pages}")).await;
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/v1/events?limit=50&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(pages, 3);
    let ids: Vec<_> = listed.iter().map(|event| text(event, "id")).collect();
    assert_eq!(ids.len(), 130);
    assert_eq!(ids.iter().collect::<HashSet<_>>(), published.iter().collect::<HashSet<_>>());
    let times: Vec<_> = listed.iter().map(|event| text(event, "created_at")).collect();
    assert!(times.is_sorted_by(|newer, older| newer >= older));
}

#[tokio::test]
async fn the_timestamp_of_a_client_is_kept() {
    let tenant = Stack::shared().tenant().await;
    let body = json!({ "type": "contact.created", "data": {}, "timestamp": "2020-02-29T23:59:59.5+01:00" });
    let event = tenant.post("/v1/events", &body).await.expect(202);
    assert_eq!(event["timestamp"], "2020-02-29T22:59:59.500Z");
    assert!(text(&event, "created_at") > text(&event, "timestamp"));
}

#[tokio::test]
async fn a_cursor_from_the_future_costs_no_walk_through_empty_days() {
    let tenant = Stack::shared().tenant().await;
    let event_id = tenant.publish("contact.created", &json!({}), "present").await;
    // The place of an event in the year 9999, as a list would write it.
    let cursor = "MjUzNDAyMzAwNzk5OTk5I2V2dF8wMTIzNDU2Nzg5YWJjZGVmZ2hqa21ucHFycw";
    let began = std::time::Instant::now();
    let page = tenant.get(&format!("/v1/events?cursor={cursor}")).await.expect(200);
    assert!(began.elapsed() < std::time::Duration::from_secs(5));
    assert_eq!(text(&page["data"][0], "id"), event_id);
}

#[tokio::test]
async fn the_operator_publishes_as_itself_too() {
    let operator = Stack::shared().operator();
    let event_id = operator.publish("crm.released", &json!({}), &testkit::unique("release")).await;
    let page = operator.get("/v1/events?limit=250").await.expect(200);
    assert!(page["data"].as_array().unwrap().iter().any(|event| event["id"] == event_id.as_str()));
    let response = operator.post("/v1/tenants/operator/keys", &json!({ "name": "x" })).await;
    response.expect_problem(404, "not-found");
}
