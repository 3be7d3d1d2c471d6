//! Subscriptions of an endpoint: types with wildcards, channels, and filters on the data.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use testkit::{Client, Receiver, Stack, eventually};

use crate::SOON;

/// Publishes all of `events` (type, data, channels) in one call, numbered by `n` in their data.
async fn publish(tenant: &Client, events: &[(&str, Value, &[&str])]) {
    let events: Vec<_> = (0..)
        .zip(events)
        .map(|(n, (event_type, data, channels)): (u32, _)| {
            let mut data = data.clone();
            data["n"] = json!(n);
            json!({ "type": event_type, "data": data, "channels": channels })
        })
        .collect();
    let results = tenant.post("/v1/events/batch", &json!({ "events": events })).await.expect(202);
    assert!(results["data"].as_array().unwrap().iter().all(|result| result["status"] == 202), "{results}");
}

/// The numbers of the events that came, each once.
fn numbers(receiver: &Receiver) -> BTreeSet<u64> {
    receiver.requests().iter().map(|received| received.json()["data"]["n"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn endpoints_get_what_they_subscribe_to_and_nothing_else() {
    let tenant = Stack::shared().tenant().await;
    let last: (&str, Value, &[&str]) =
        ("deal.won", json!({ "amount": 500, "region": "west", "tags": ["vip"] }), &["team:1"]);
    let events: [(&str, Value, &[&str]); 6] = [
        ("deal.won", json!({ "amount": 50, "region": "west" }), &[]),
        ("deal.won", json!({ "amount": 500, "region": "east" }), &["team:2"]),
        ("deal.stage.changed", json!({ "amount": 100.0, "region": "south" }), &["team:1", "team:2"]),
        ("contact.created", json!({ "region": "west", "tags": ["vip"] }), &["team:1"]),
        ("deal.won", json!({}), &["team:3"]),
        last,
    ];
    let cases: [(Value, &[u64]); 10] = [
        (json!({}), &[0, 1, 2, 3, 4, 5]),
        (json!({ "event_types": ["deal.*"] }), &[0, 1, 2, 4, 5]),
        (json!({ "event_types": ["deal.won", "contact.*"] }), &[0, 1, 3, 4, 5]),
        (json!({ "channels": [] }), &[0, 1, 2, 3, 4, 5]),
        (json!({ "channels": ["team:1"] }), &[2, 3, 5]),
        (json!({ "channels": ["team:1", "team:2"], "event_types": ["deal.*"] }), &[1, 2, 5]),
        (json!({ "filter": { "/amount": { "gte": 100 } } }), &[1, 2, 5]),
        (
            json!({ "filter": { "any": [{ "/region": "east" }, { "/tags": { "contains": "vip" } }] } }),
            &[1, 3, 5],
        ),
        (json!({ "filter": { "/region": { "ne": "west" }, "/amount": { "exists": false } } }), &[4]),
        (
            json!({ "event_types": ["deal.*"], "channels": ["team:1"], "filter": { "/amount": { "gt": 100 } } }),
            &[5],
        ),
    ];
    let mut receivers = Vec::new();
    for (settings, _) in &cases {
        let receiver = Receiver::start().await;
        tenant.endpoint(&receiver.url()).settings(settings).create().await;
        receivers.push(receiver);
    }
    publish(&tenant, &events).await;
    for ((_, gets), receiver) in cases.iter().zip(&receivers) {
        receiver.wait_for(gets.len(), SOON).await;
    }
    // What an endpoint must not get was in the same call: a second in which it would come.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for ((settings, gets), receiver) in cases.iter().zip(&receivers) {
        assert_eq!(numbers(receiver), gets.iter().copied().collect(), "{settings}");
    }
    let sent = receivers[0].requests();
    assert!(sent.iter().all(|received| !String::from_utf8_lossy(&received.body).contains("team:")));
}

#[tokio::test]
async fn data_that_cannot_be_parsed_passes_no_filter() {
    let tenant = Stack::shared().tenant().await;
    let (all, some) = (Receiver::start().await, Receiver::start().await);
    tenant.endpoint(&all.url()).create().await;
    tenant.endpoint(&some.url()).settings(&json!({ "filter": { "/b": { "exists": false } } })).create().await;
    let body = r#"{"type":"deal.won","data":{"a":1e999}}"#;
    let response = tenant
        .send(reqwest::Method::POST, "/v1/events", &[("content-type", "application/json")], Some(body.into()))
        .await;
    response.expect(202);
    let received = all.wait_for(1, SOON).await;
    assert!(String::from_utf8_lossy(&received[0].body).ends_with(r#""data":{"a":1e999}}"#));
    assert!(some.requests().is_empty());
}

#[tokio::test]
async fn null_resets_the_filters_of_an_endpoint() {
    let tenant = Stack::shared().tenant().await;
    let receiver = Receiver::start().await;
    let settings = json!({
        "channels": ["b", "a", "b"], "filter": { "/amount": { "eq": 5, "lt": 7 }, "/x": null },
        "metadata": { "team": "west", "": "x" },
    });
    let mut body = settings.clone();
    body["url"] = json!(receiver.url());
    let response = tenant.post("/v1/endpoints", &body).await;
    assert_eq!((response.status, response.pointer()), (422, "/metadata/"));
    body["metadata"] = json!({ "team": "west", "crm/id": "42" });
    let made = tenant.post("/v1/endpoints", &body).await.expect(201);
    let path = format!("/v1/endpoints/{}", made["id"].as_str().unwrap());
    let shown = tenant.get(&path).await.expect(200);
    assert_eq!(shown["channels"], json!(["a", "b"]));
    assert_eq!(shown["filter"], settings["filter"]);
    assert_eq!(shown["metadata"], body["metadata"]);
    // Writing back what was read changes nothing.
    let same =
        json!({ "channels": shown["channels"], "filter": shown["filter"], "metadata": shown["metadata"] });
    assert_eq!(tenant.patch(&path, &same).await.expect(200), shown);
    let changed = tenant.patch(&path, &json!({ "metadata": { "team": "east" } })).await.expect(200);
    assert_eq!(changed["metadata"], json!({ "team": "east" }));
    assert_eq!((&changed["channels"], &changed["filter"]), (&shown["channels"], &shown["filter"]));
    for (field, default) in [("filter", json!(null)), ("channels", json!([])), ("metadata", json!({}))] {
        let changed = tenant.patch(&path, &json!({ field: null })).await.expect(200);
        assert_eq!(changed[field], default, "{field}");
    }
    let changed = tenant.get(&path).await.expect(200);
    assert_eq!((&changed["filter"], &changed["channels"]), (&json!(null), &json!([])));
    // And both at once, with something else set.
    tenant.patch(&path, &same).await.expect(200);
    let nulls = json!({ "filter": null, "channels": null, "description": "open" });
    tenant.patch(&path, &nulls).await.expect(200);
    eventually("an event at an endpoint that takes all", SOON, || async {
        tenant.post("/v1/events", &json!({ "type": "deal.won", "data": {} })).await.expect(202);
        (!receiver.requests().is_empty()).then_some(())
    })
    .await;
    let many: serde_json::Map<_, _> = (0..21).map(|n| (n.to_string(), json!("x"))).collect();
    let names: Vec<_> = (0..11).map(|n| format!("c{n}")).collect();
    for (body, pointer) in [
        (json!({ "filter": { "amount": 5 } }), "/filter/amount"),
        (json!({ "filter": { "/a": { "near": 5 } } }), "/filter/~1a/near"),
        (json!({ "filter": { "any": [{ "/a": { "in": "x" } }] } }), "/filter/any/0/~1a/in"),
        (json!({ "filter": {} }), "/filter"),
        (json!({ "filter": "x" }), "/filter"),
        (json!({ "filter": { "/a": "x".repeat(5000) } }), "/filter"),
        (json!({ "channels": ["a b"] }), "/channels/0"),
        (json!({ "channels": names }), "/channels"),
        (json!({ "metadata": many }), "/metadata"),
        (json!({ "metadata": { "a~b": "x".repeat(257) } }), "/metadata/a~0b"),
        (json!({ "metadata": { "a": 1 } }), "/metadata/a"),
    ] {
        let response = tenant.patch(&path, &body).await;
        assert_eq!((response.status, response.pointer()), (422, pointer), "{body} {}", response.json);
    }
}

#[tokio::test]
async fn channels_are_a_part_of_what_was_published() {
    let tenant = Stack::shared().tenant().await;
    let key = [("idempotency-key", "on-channels")];
    let with = |channels: Value| json!({ "type": "deal.won", "data": {}, "channels": channels });
    let first = tenant.post_with("/v1/events", &key, &with(json!(["b", "a"]))).await.expect(202);
    // The order says nothing.
    let again = tenant.post_with("/v1/events", &key, &with(json!(["a", "b", "a"]))).await.expect(202);
    assert_eq!(first, again);
    for other in [with(json!(["a"])), with(json!([])), json!({ "type": "deal.won", "data": {} })] {
        let response = tenant.post_with("/v1/events", &key, &other).await;
        response.expect_problem(409, "idempotency-conflict");
    }
    let shown = tenant.get(&format!("/v1/events/{}", first["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(shown["channels"], json!(["a", "b"]));
    // No channels: null, an empty list, or no field.
    let key = [("idempotency-key", "on-none")];
    let first = tenant.post_with("/v1/events", &key, &with(json!(null))).await.expect(202);
    assert_eq!(tenant.post_with("/v1/events", &key, &with(json!([]))).await.expect(202), first);
    let shown = tenant.get(&format!("/v1/events/{}", first["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(shown["channels"], json!([]));
    for (path, body, pointer) in [
        ("/v1/events", with(json!(["a/b"])), "/channels/0"),
        ("/v1/events", with(json!(["a", "b", "c", "d", "e", "f"])), "/channels"),
        (
            "/v1/events/batch",
            json!({ "events": [with(json!([])), with(json!(["1", "2", "3", "4", "5", "6"]))] }),
            "/events/1/channels",
        ),
    ] {
        let response = tenant.post(path, &body).await;
        assert_eq!((response.status, response.pointer()), (422, pointer), "{body} {}", response.json);
    }
}
