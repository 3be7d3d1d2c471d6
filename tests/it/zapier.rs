//! The Zapier app against the deployed API, run by Zapier's own platform: what happens when a Zap is made, turned on,
//! triggered and turned off. Zapier's publishing rules are tested in the app's folder, and run here.

use std::process::Stdio;

use serde_json::{Value, json};
use testkit::{
    Client, ReceivedRequest, Receiver, Reply, Stack,
    client::EndpointView,
    eventually,
    foreign::{self, ZAPIER_APP, ZapierApp},
    stack::{root, text},
};
use tokio::process::Command;

use crate::{AFTER_A_CRASH, CACHE_AGE, SOON};

/// The scopes that the app asks its users for.
const SCOPES: &[&str] = &["endpoints:write", "event_types:read", "events:read", "events:write"];

const TRIGGER: &str = "triggers.new_event.operation";
const PUBLISH: &str = "creates.publish_event.operation.perform";

/// The app, connected with a key of these scopes alone.
async fn connected(stack: &Stack, tenant: &Client) -> ZapierApp {
    let key = tenant.with_scopes(SCOPES).await.key.unwrap();
    ZapierApp::start(&stack.api_url, &key)
}

/// Turns a Zap on that receives events of this type; returns what Zapier keeps of the subscription.
async fn subscribe(app: &mut ZapierApp, receiver: &Receiver, event_type: &str) -> Value {
    // A function that published before uses the endpoints that it read for a second.
    tokio::time::sleep(CACHE_AGE).await;
    let bundle = json!({
        "targetUrl": receiver.url(), "inputData": { "event_type": event_type }, "meta": { "zap": { "id": "7" } },
    });
    app.call(&format!("{TRIGGER}.performSubscribe"), bundle).await.expect("it subscribes")
}

/// The webhook as Zapier passes it to the app.
fn hook(received: &ReceivedRequest) -> Value {
    // `webhook-id` becomes `Http-Webhook-Id`.
    let capital = |word: &str| format!("{}{}", word[..1].to_uppercase(), &word[1..]);
    let zapiers = |name: &str| format!("Http-{}", name.split('-').map(capital).collect::<Vec<_>>().join("-"));
    let headers: serde_json::Map<String, Value> =
        received.headers.iter().map(|(name, value)| (zapiers(name), json!(value))).collect();
    let content = std::str::from_utf8(&received.body).unwrap();
    json!({
        "cleanedRequest": received.json(),
        "rawRequest": { "method": "POST", "querystring": "", "headers": headers, "content": content },
    })
}

async fn endpoint(tenant: &Client, subscription: &Value) -> EndpointView {
    tenant.read(&format!("/v1/endpoints/{}", text(subscription, "id"))).await
}

#[tokio::test]
async fn the_app_is_valid_and_keeps_the_rules_of_public_integrations() {
    let mut command = Command::new("node");
    command.arg("--test").args(["--test-reporter", "tap"]).current_dir(root().join(ZAPIER_APP));
    command.args(["test/definition.test.js", "test/behavior.test.js"]).stdin(Stdio::null());
    let output = command.output().await.expect("node runs");
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}");
    let count = |name: &str| -> usize {
        let line = report.lines().find_map(|line| line.strip_prefix("# ")?.strip_prefix(name));
        line.and_then(|count| count.trim().parse().ok()).unwrap_or_else(|| panic!("no {name}in {report}"))
    };
    // Each of the 26 rules is a test of the app, and one of an app that breaks it.
    assert!(count("pass ") >= 2 * 26 + 15, "{report}");
    assert_eq!((count("pass "), count("skipped "), count("todo ")), (count("tests "), 0, 0), "{report}");
}

#[tokio::test]
async fn a_connection_is_tested_and_named_by_its_tenant() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let mut app = connected(&stack, &tenant).await;
    let caller = app.call("authentication.test", json!({})).await.expect("the key is valid");
    assert_eq!(text(&caller, "tenant_id"), tenant.tenant_id());
    let label = app.call("authentication.connectionLabel", json!({ "inputData": caller })).await;
    assert_eq!(label.unwrap(), format!("A tenant ({})", tenant.tenant_id()));

    // A key that is unknown or was revoked: Zapier turns such a connection off and notifies its user.
    app.connect(&format!("cwk_{}", "0".repeat(64)));
    for method in ["authentication.test", "triggers.event_type_list.operation.perform"] {
        let error = app.call(method, json!({})).await.unwrap_err();
        assert_eq!(error.name, "ExpiredAuthError", "{error:?}");
        assert!(error.message.contains("Reconnect"), "{error:?}");
    }
    // The operator's key acts for every tenant, and does not belong into a Zap.
    app.connect(&stack.operator_key);
    let error = app.call("authentication.test", json!({})).await.unwrap_err();
    assert!(error.message.contains("begins with cwk_"), "{error:?}");
    assert!(!error.message.contains(&stack.operator_key), "{error:?}");
    // A scope that is missing is no reason to turn it off; the user reads which one.
    app.connect(tenant.with_scopes(&["events:write"]).await.key.as_deref().unwrap());
    app.call("authentication.test", json!({})).await.expect("it is valid for actions");
    let bundle = json!({ "inputData": { "event_type": "contact.created" } });
    let error = app.call(&format!("{TRIGGER}.performList"), bundle).await.unwrap_err();
    assert_eq!(error.name, "AppError", "{error:?}");
    assert!(error.message.contains("requires the scope events:read"), "{error:?}");
}

#[tokio::test]
async fn a_zap_receives_what_its_sample_showed_until_it_is_turned_off() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let mut app = connected(&stack, &tenant).await;
    let receiver = Receiver::start().await;
    let unsubscribe = format!("{TRIGGER}.performUnsubscribe");

    let subscription = subscribe(&mut app, &receiver, "contact.*").await;
    // The id is at the top level, where Zapier looks for it, and no key is among what Zapier keeps.
    assert_eq!(subscription, json!({ "id": subscription["id"] }));
    let made = endpoint(&tenant, &subscription).await;
    assert_eq!(made.description, "Zapier: New Event");
    assert_eq!(made.metadata["zap_id"], "7");
    assert_eq!(made.event_types.as_deref(), Some(&["contact.*".to_owned()][..]));

    let data =
        json!({ "id": "con_42", "tags": ["vip", "ü"], "address": { "zip": "10115" }, "amount": 120.5 });
    tenant.publish("deal.won", &json!({}), "another").await;
    let event_id = tenant.publish("contact.created", &data, "triggers").await;
    let received = receiver.wait_for(1, SOON).await.remove(0);
    assert_eq!(received.id(), event_id, "the event of another type is not for this Zap");
    let keys = tenant.get(&format!("/v1/endpoints/{}/secret", made.id)).await.expect(200);
    foreign::verify_v1a(&received, &text(&keys, "public_key")).await.expect("it is signed");

    // Webhook and list are one shape, down to each value.
    let items = app.call(&format!("{TRIGGER}.perform"), hook(&received)).await.unwrap();
    let timestamp = text(&received.json(), "timestamp");
    let expected =
        json!([{ "id": event_id, "type": "contact.created", "timestamp": timestamp, "data": data }]);
    assert_eq!(items, expected);
    let list = format!("{TRIGGER}.performList");
    let shown = json!({ "inputData": { "event_type": "contact.*" } });
    eventually("the list to have the event", SOON, || async {
        (tenant.get("/v1/events").await.expect(200)["data"].as_array().unwrap().len() == 2).then_some(())
    })
    .await;
    assert_eq!(app.call(&list, shown.clone()).await.unwrap(), expected);
    // At most three, the newest first, each with an id of its own.
    let mut ids = vec![event_id];
    for name in ["second", "third", "fourth"] {
        ids.insert(0, tenant.publish("contact.created", &json!({}), name).await);
    }
    eventually("the list to have all events", SOON, || async {
        (tenant.get("/v1/events").await.expect(200)["data"].as_array().unwrap().len() == 5).then_some(())
    })
    .await;
    let items = app.call(&list, shown).await.unwrap();
    let listed: Vec<_> = items.as_array().unwrap().iter().map(|item| text(item, "id")).collect();
    assert_eq!(listed, ids[..3]);
    receiver.wait_for(4, SOON).await;

    // An edited Zap subscribes again before its first subscription ends: two endpoints, not one.
    let edited = subscribe(&mut app, &receiver, "contact.*").await;
    assert_ne!(edited["id"], subscription["id"]);
    for _ in 0..2 {
        let ended = app.call(&unsubscribe, json!({ "subscribeData": subscription })).await;
        assert_eq!(ended.expect("also the second time")["id"], subscription["id"]);
    }
    // An endpoint that a person deleted, and one that never was.
    tenant.delete(&format!("/v1/endpoints/{}", text(&edited, "id"))).await.expect(204);
    for id in [&edited["id"], &json!("ept_01kavg7r8e6mt4xw2z5v9b3csq")] {
        app.call(&unsubscribe, json!({ "subscribeData": { "id": id } }))
            .await
            .expect("there is nothing left to do");
    }
    assert_eq!(tenant.get("/v1/endpoints").await.expect(200)["data"], json!([]));
    tokio::time::sleep(CACHE_AGE).await;
    let late = tenant.publish("contact.created", &json!({}), "late").await;
    assert_eq!(tenant.deliveries(&late).await.data, [], "no Zap is subscribed any more");
    assert_eq!(receiver.count(), 4);
}

#[tokio::test]
async fn before_the_first_event_the_sample_is_the_catalogs_example() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let mut app = connected(&stack, &tenant).await;
    let (known, archived) = ("zapier_samples.known", "zapier_samples.archived");
    let put = json!({ "description": "A known type.", "example": { "id": "con_1", "score": 7 } });
    stack.operator().put(&format!("/v1/event-types/{known}"), &put).await.expect(200);
    let put = json!({ "archived": true });
    stack.operator().put(&format!("/v1/event-types/{archived}"), &put).await.expect(200);
    // Functions cache the catalog.
    let listed = eventually("the dropdown to have the type", SOON, || async {
        let page = tenant.get("/v1/event-types?archived=false&limit=250").await.expect(200);
        page["data"].as_array().unwrap().iter().any(|entry| entry["type"] == known).then_some(())
    });
    listed.await;
    let list = app.call("triggers.event_type_list.operation.perform", json!({})).await.unwrap();
    let list = list.as_array().unwrap();
    assert!(
        list.contains(&json!({ "id": known, "name": known, "description": "A known type." })),
        "{list:?}"
    );
    assert!(!list.iter().any(|entry| entry["id"] == archived), "it cannot be published");

    let sample = async |app: &mut ZapierApp, event_type: &str| {
        let bundle = json!({ "inputData": { "event_type": event_type } });
        app.call(&format!("{TRIGGER}.performList"), bundle).await.unwrap()
    };
    let items = sample(&mut app, known).await;
    assert_eq!(items[0]["data"], json!({ "id": "con_1", "score": 7 }));
    assert_eq!(items[0]["type"], known);
    let names: Vec<_> = items[0].as_object().unwrap().keys().collect();
    assert_eq!(names, ["data", "id", "timestamp", "type"]);
    // Without an example Zapier shows the static sample.
    for event_type in ["zapier_samples.unknown", "zapier_samples.*", archived] {
        assert_eq!(sample(&mut app, event_type).await, json!([]), "{event_type}");
    }
}

#[tokio::test]
async fn the_action_publishes_an_event_once_for_each_entry() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    tenant.endpoint(&receiver.url()).create().await;
    let mut app = connected(&stack, &tenant).await;
    let bundle = |zap: &str, data: Value| {
        let input = json!({
            "event_type": "contact.created", "data_json": data.to_string(), "idempotency_key": "row 42 ü",
            "occurred_at": "2026-11-23T21:00:00+01:00", "channels": ["west"],
        });
        json!({ "inputData": input, "meta": { "zap": { "id": zap } } })
    };
    let data = json!({ "id": "con_42", "amount": 120.5 });
    let published = app.call(PUBLISH, bundle("7", data.clone())).await.expect("it is accepted");
    let id = text(&published, "id");
    let event = tenant.get(&format!("/v1/events/{id}")).await.expect(200);
    assert_eq!((&event["data"], &event["channels"]), (&data, &json!(["west"])));
    assert_eq!(event["timestamp"], "2026-11-23T20:00:00.000Z");
    for name in ["id", "type", "timestamp", "created_at"] {
        assert_eq!(published[name], event[name], "{name}");
    }
    let received = receiver.wait_for(1, SOON).await.remove(0);
    assert_eq!((received.id(), &received.json()["data"]), (id.as_str(), &data));

    // The step runs again: the same event. In another Zap the same entry is another one.
    assert_eq!(text(&app.call(PUBLISH, bundle("7", data.clone())).await.unwrap(), "id"), id);
    assert_ne!(text(&app.call(PUBLISH, bundle("8", data)).await.unwrap(), "id"), id);
    let error = app.call(PUBLISH, bundle("7", json!({ "id": "con_43" }))).await.unwrap_err();
    assert!(error.message.contains("was used for an event with another body"), "{error:?}");

    // Pairs of names and texts, without a key.
    let pairs = json!({ "inputData": { "event_type": "contact.updated", "data": { "name": "Ada" } } });
    let published = app.call(PUBLISH, pairs).await.unwrap();
    let event = tenant.get(&format!("/v1/events/{}", text(&published, "id"))).await.expect(200);
    assert_eq!(event["data"], json!({ "name": "Ada" }));
    // What the API rejects is shown with the field.
    let reserved = json!({ "inputData": { "event_type": "secret.rotated", "data": {} } });
    let error = app.call(PUBLISH, reserved).await.unwrap_err();
    assert!(error.message.contains("/type: is reserved for operational events"), "{error:?}");
}

/// What any endpoint can cause, for a Zap: `retries.rs` has the details.
#[tokio::test]
async fn a_zap_that_is_gone_receives_nothing_more_and_one_that_throttles_receives_it_later() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let mut app = connected(&stack, &tenant).await;
    let gone = Receiver::responding(|_| Reply::status(410)).await;
    let busy = Receiver::responding(|n| {
        let mut reply = Reply::status(if n == 0 { 429 } else { 200 });
        reply.headers.push(("retry-after", "2".to_owned()));
        reply
    })
    .await;
    let ended = subscribe(&mut app, &gone, "zap.gone").await;
    let throttled = subscribe(&mut app, &busy, "zap.busy").await;

    let event_id = tenant.publish("zap.gone", &json!({}), "gone").await;
    tenant.only_delivery(&event_id, "parked", SOON).await;
    let view = endpoint(&tenant, &ended).await;
    assert_eq!((view.status.as_str(), view.disabled.unwrap().by.as_str()), ("disabled", "gone"));
    tokio::time::sleep(CACHE_AGE).await;
    let late = tenant.publish("zap.gone", &json!({}), "late").await;
    tenant.only_delivery(&late, "parked", SOON).await;
    assert_eq!(gone.count(), 1, "a single request");
    // Zapier may still unsubscribe.
    let bundle = json!({ "subscribeData": ended });
    app.call(&format!("{TRIGGER}.performUnsubscribe"), bundle).await.expect("it ends");

    let event_id = tenant.publish("zap.busy", &json!({}), "busy").await;
    let delivery = tenant.only_delivery(&event_id, "succeeded", AFTER_A_CRASH).await;
    assert_eq!(delivery.attempts[0].status_code, Some(429));
    let view = endpoint(&tenant, &throttled).await;
    assert_eq!((view.status.as_str(), view.health.failures), ("enabled", 0));
    assert!(view.health.throttled_until.is_some() && view.health.circuit_open_until.is_none());
}
