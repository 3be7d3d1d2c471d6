//! Deliveries that wait for their endpoint: it is disabled, failing, or deleted meanwhile.

use std::time::Duration;

use serde_json::json;
use testkit::{
    FlakyReceiver, Receiver, Reply, Stack,
    client::EndpointView,
    eventually,
    proxy::{Fault, Rule},
    stack::text,
    within,
};

use crate::{AFTER_A_CRASH, CACHE_AGE, SOON};

#[tokio::test]
async fn deliveries_to_a_disabled_endpoint_are_held_and_delivered_once_it_is_enabled() {
    let (stack, _clock) = Stack::deploy_with_clock("cw-hold").await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    let endpoint = tenant.endpoint(&receiver.url()).disabled().create().await;
    let ids = tenant.publish_many("contact.created", 30).await;
    for id in &ids {
        assert_eq!(tenant.only_delivery(id, "parked", SOON).await.parked_reason.as_deref(), Some("disabled"));
    }
    // Nothing moves while it is disabled.
    stack.run_due().await;
    assert!(receiver.requests().is_empty());
    let enabled = endpoint.enable_with(json!({ "delivery_rate": 10 })).await;
    assert_eq!((enabled.status.as_str(), enabled.disabled), ("enabled", None));
    tokio::time::sleep(CACHE_AGE).await;
    stack.run_due().await;
    let received = receiver.wait_for(ids.len(), AFTER_A_CRASH).await;
    assert_eq!(received.len(), ids.len(), "each once");
    for id in &ids {
        tenant.only_delivery(id, "succeeded", SOON).await;
    }
}

#[tokio::test]
async fn held_deliveries_can_be_discarded_and_skipped_events_are_never_held() {
    let (stack, _clock) = Stack::deploy_with_clock("cw-drop").await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    let endpoint = tenant.endpoint(&receiver.url()).create().await;
    let disabled: EndpointView = tenant.post(&endpoint.path("/disable"), &json!({})).await.read(200);
    assert_eq!((disabled.status.as_str(), disabled.disabled.unwrap().mode.as_str()), ("disabled", "hold"));
    tokio::time::sleep(CACHE_AGE).await;
    let ids = tenant.publish_many("contact.created", 12).await;
    for id in &ids {
        tenant.only_delivery(id, "parked", SOON).await;
    }
    // A request that fails discards nothing.
    let discard = json!({ "held_deliveries": "discard", "delivery_rate": 5 });
    let refused = Rule::new("TransactWriteItems", &[&endpoint.id, "discard_held_until"], Fault::Cut, 3);
    let refused = stack.rule(&refused).await;
    tenant.post(&endpoint.path("/enable"), &discard).await.expect_problem(500, "internal");
    assert_eq!(refused.count().await, 3);
    stack.run_due().await;
    for id in &ids {
        tenant.only_delivery(id, "parked", SOON).await;
    }
    endpoint.enable_with(discard).await;
    stack.run_due().await;
    for id in &ids {
        tenant.only_delivery(id, "cancelled", SOON).await;
    }
    assert_eq!(endpoint.disable("skip").await.disabled.unwrap().mode, "skip");
    tokio::time::sleep(CACHE_AGE).await;
    let skipped = tenant.publish_many("contact.created", 1).await.remove(0);
    assert_eq!(tenant.deliveries(&skipped).await.data, [], "it does not go there");
    endpoint.enable().await;
    tokio::time::sleep(CACHE_AGE).await;
    let after = tenant.publish_many("contact.created", 1).await.remove(0);
    tenant.only_delivery(&after, "succeeded", SOON).await;
    stack.run_due().await;
    assert_eq!(receiver.requests().len(), 1);
}

#[tokio::test]
async fn a_deleted_endpoint_gets_nothing_more() {
    let (stack, clock) = Stack::deploy_with_clock("cw-delete").await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::responding(|_| Reply::status(500)).await;
    let endpoint = tenant.endpoint(&receiver.url()).retry_schedule(&[60, 60]).create().await;
    let holding = tenant.endpoint(&receiver.url()).disabled().event_types(&["held.work"]).create().await;
    let failing = tenant.publish_many("contact.created", 1).await.remove(0);
    tenant.only_delivery(&failing, "retrying", SOON).await;
    let held = tenant.publish("held.work", &json!({}), "held").await;
    let parked = holding.delivery_id(&held);
    tenant.delivery_once(&parked, "parked", SOON).await;
    endpoint.delete().await;
    holding.delete().await;
    tokio::time::sleep(CACHE_AGE).await;
    let tried = receiver.requests().len();
    clock.ahead(Duration::from_mins(2));
    stack.run_due().await;
    tenant.only_delivery(&failing, "cancelled", SOON).await;
    tenant.delivery_once(&parked, "cancelled", SOON).await;
    let later = tenant.publish("contact.created", &json!({}), "later").await;
    assert_eq!(tenant.deliveries(&later).await.data, []);
    assert_eq!(receiver.requests().len(), tried);
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_left_alone_and_comes_back_by_a_probe() {
    let (stack, clock) = Stack::deploy_with_clock("cw-circuit").await;
    let tenant = stack.tenant().await;
    let receiver = FlakyReceiver::failing().await;
    let endpoint = tenant.endpoint(&receiver.url()).retry_schedule(&[40, 600, 600, 600]).create().await;
    // Ten failures, and one half a minute after the first.
    let mut ids = tenant.publish_many("contact.created", 12).await;
    receiver.wait_for(12, SOON).await;
    for id in &ids {
        tenant.only_delivery(id, "retrying", SOON).await;
    }
    assert_eq!(endpoint.get().await.health.circuit_open_until, None, "a restart is no outage");
    let mut ahead = Duration::from_mins(1);
    clock.ahead(ahead);
    stack.run_due().await;
    let open = eventually("the circuit to open", SOON, || async {
        Some(endpoint.get().await).filter(|view| view.health.circuit_open_until.is_some())
    })
    .await;
    assert_eq!(open.status, "enabled");
    assert!(open.health.failures >= 10);
    tokio::time::sleep(CACHE_AGE).await;

    // While it is open nothing is attempted.
    let tried = receiver.requests().len();
    ids.extend(tenant.publish_many("contact.created", 20).await);
    for id in &ids[12..] {
        assert_eq!(
            tenant.only_delivery(id, "parked", SOON).await.parked_reason.as_deref(),
            Some("circuit_open")
        );
    }
    assert_eq!(receiver.requests().len(), tried);

    // Half open: one probe, which fails, and the cooldown doubles.
    ahead += Duration::from_secs(40);
    clock.ahead(ahead);
    stack.run_due().await;
    let received = receiver.wait_for(tried + 1, SOON).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(receiver.requests().len(), received.len(), "one probe and no more");

    // The next probe succeeds, the circuit closes, and all that was held is delivered.
    receiver.recover();
    let mut done = None;
    for _ in 0..20 {
        ahead += Duration::from_secs(61);
        clock.ahead(ahead);
        stack.run_due().await;
        done = within(Duration::from_secs(2), || async {
            let succeeded = endpoint.deliveries("status=succeeded&limit=250").await.data;
            (succeeded.len() == ids.len()).then_some(())
        })
        .await;
        if done.is_some() {
            break;
        }
    }
    assert!(done.is_some(), "everything arrives in the end");
    let health = endpoint.get().await.health;
    assert_eq!((health.circuit_open_until, health.failures), (None, 0));
}

#[tokio::test]
async fn a_day_of_nothing_but_failure_disables_an_endpoint_after_a_warning() {
    // The days that the clock passes are looked through five minutes at a time, so that one is tried here.
    let one_day = [("DisableAfterDays", "1")];
    let (stack, clock) = Stack::deploy_with_clock_and("cw-auto-disable", &one_day).await;
    let tenant = stack.tenant().await;
    let receiver = FlakyReceiver::failing().await;
    let watcher = Receiver::start().await;
    let schedule = json!({ "retry_schedule_seconds": [2, 2], "event_types": ["contact.*"] });
    let endpoint = tenant.endpoint(&receiver.url()).settings(&schedule).create().await;
    tenant.endpoint(&watcher.url()).event_types(&["endpoint.*"]).create().await;
    // That it fails often is notified too, and tested elsewhere.
    let kinds = || -> Vec<String> {
        let alerts = watcher.requests();
        let alerts =
            alerts.iter().map(testkit::ReceivedRequest::json).filter(|one| one["data"]["reason"] != "rate");
        alerts.map(|one| text(&one, "type")).collect()
    };
    let mut seen_at = Vec::new();
    let mut disabled = None;
    for step in 0..12 {
        clock.ahead(Duration::from_hours(3 * step));
        let before = receiver.requests().len();
        tenant.publish_many("contact.created", 4).await;
        stack.run_due().await;
        // At least a probe is made, or the endpoint is disabled.
        let view = eventually("an attempt", AFTER_A_CRASH, || async {
            stack.run_due().await;
            let view = endpoint.get().await;
            let tried = receiver.requests().len() > before || step == 0;
            (tried || view.status == "disabled").then_some(view)
        })
        .await;
        seen_at.push((step, kinds()));
        if let Some(how) = view.disabled {
            disabled = Some((step, how));
            break;
        }
    }
    let (step, how) = disabled.unwrap_or_else(|| panic!("it was never disabled: {seen_at:?}"));
    assert_eq!((how.by.as_str(), how.mode.as_str()), ("failing", "hold"));
    // A day is eight steps of three hours.
    assert!((8..=10).contains(&step), "disabled at step {step}");
    eventually("its owner to be notified", SOON, || async {
        kinds().iter().any(|kind| kind == "endpoint.disabled").then_some(())
    })
    .await;
    let all = kinds();
    let warnings = all.iter().filter(|kind| *kind == "endpoint.failing").count();
    assert!((1..=3).contains(&warnings), "warned, and not each time: {all:?}");
    assert_eq!(all.iter().position(|kind| kind == "endpoint.failing"), Some(0), "warned first");
    assert_eq!(all.iter().filter(|kind| *kind == "endpoint.disabled").count(), 1);
    receiver.recover();
    let enabled = endpoint.enable().await;
    assert_eq!((enabled.status.as_str(), enabled.health.failures), ("enabled", 0));
}
