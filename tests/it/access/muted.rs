//! Operational events that a tenant does not want.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Receiver, Reply, Stack, Subscription, client::EventView, process};

use crate::{AFTER_A_CRASH, CACHE_AGE, SOON};

/// Time in which an alert would have come.
const QUIET: Duration = Duration::from_secs(4);

#[tokio::test]
async fn a_muted_alert_is_not_published_and_the_operator_still_gets_it() {
    let stack = Stack::deploy("cw-muted").await;
    let operator = stack.operator();
    let (muted, other) = (stack.tenant().await, stack.tenant().await);
    let path = format!("/v1/tenants/{}", muted.tenant_id());
    muted.patch(&path, &json!({ "alerts": { "delivery.exhausted": false } })).await.expect(200);
    tokio::time::sleep(CACHE_AGE).await;
    let topic = Subscription::to(&stack, "AlertsTopicArn", muted.tenant_id()).await;
    let failing = Receiver::responding(|_| Reply::status(500)).await;
    let single = json!({ "retry_schedule_seconds": [], "event_types": ["contact.*"] });
    let mut watchers = Vec::new();
    for tenant in [&muted, &other] {
        tenant.endpoint(&failing.url()).settings(&single).create().await;
        let watcher = Receiver::start().await;
        tenant.endpoint(&watcher.url()).event_types(&["delivery.*"]).create().await;
        watchers.push(watcher);
    }
    for tenant in [&muted, &other] {
        let event = tenant.publish("contact.created", &json!({}), "first").await;
        tenant.only_delivery(&event, "exhausted", SOON).await;
    }
    watchers[1].wait_for(1, SOON).await;
    tokio::time::sleep(QUIET).await;
    assert!(watchers[0].requests().is_empty());
    let listed: Vec<EventView> = muted.list("/v1/events?type=delivery.exhausted", 50).await;
    assert!(listed.is_empty(), "{listed:?}");
    assert!(topic.messages().await.is_empty());

    // An endpoint of the operator that names it gets it, and so does the topic.
    let of_operator = Receiver::start().await;
    operator.endpoint(&of_operator.url()).event_types(&["delivery.*"]).create().await;
    forget(&stack).await;
    let event = muted.publish("contact.created", &json!({}), "second").await;
    muted.only_delivery(&event, "exhausted", AFTER_A_CRASH).await;
    let received = of_operator.wait_for(1, SOON).await;
    assert_eq!(received[0].json()["type"], "delivery.exhausted");
    tokio::time::sleep(QUIET).await;
    assert!(watchers[0].requests().is_empty());
    let messages: Vec<Value> = topic.messages().await;
    assert_eq!(messages.len(), 1, "{messages:?}");
}

#[tokio::test]
async fn an_alert_that_is_wanted_again_is_published() {
    let stack = Stack::deploy("cw-unmuted").await;
    let tenant = stack.tenant().await;
    let path = format!("/v1/tenants/{}", tenant.tenant_id());
    let alerts = async |wanted: bool| {
        tenant.patch(&path, &json!({ "alerts": { "delivery.exhausted": wanted } })).await.expect(200);
        tokio::time::sleep(CACHE_AGE).await;
    };
    alerts(false).await;
    let failing = Receiver::responding(|_| Reply::status(500)).await;
    let single = json!({ "retry_schedule_seconds": [], "event_types": ["contact.*"] });
    tenant.endpoint(&failing.url()).settings(&single).create().await;
    let watcher = Receiver::start().await;
    tenant.endpoint(&watcher.url()).event_types(&["delivery.*", "secret.*"]).create().await;
    let fail = async |key: &str| {
        let event = tenant.publish("contact.created", &json!({}), key).await;
        tenant.only_delivery(&event, "exhausted", AFTER_A_CRASH).await;
    };
    fail("first").await;
    alerts(true).await;
    // A function remembers for a minute that it is muted.
    forget(&stack).await;
    fail("second").await;
    let received = watcher.wait_for(1, SOON).await;
    assert_eq!(received[0].json()["type"], "delivery.exhausted");
    let listed: Vec<EventView> = tenant.list("/v1/events?type=delivery.exhausted", 50).await;
    assert_eq!(listed.len(), 1);
}

/// Ends the dispatchers: those that start then remember nothing.
async fn forget(stack: &Stack) {
    for (pid, name) in stack.processes() {
        if name == stack.functions["dispatcher"] {
            process::kill(pid);
        }
    }
    tokio::time::sleep(CACHE_AGE).await;
}
