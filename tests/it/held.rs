//! Work that waits for its endpoint: disabled, failing, or deleted meanwhile.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use testkit::{Client, Receiver, Reply, Stack, eventually, stack::text};

use crate::{AFTER_A_CRASH, CACHE_AGE, SOON};

/// A receiver that answers 500 until it is told to be well.
async fn failing() -> (Receiver, Arc<AtomicBool>) {
    let well = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&well);
    let status = move || if told.load(Ordering::Relaxed) { 200 } else { 500 };
    (Receiver::responding(move |_| Reply::status(status())).await, well)
}

async fn status(tenant: &Client, event_id: &str) -> Value {
    let page = tenant.get(&format!("/v1/events/{event_id}/deliveries")).await.expect(200);
    page["data"][0].clone()
}

#[tokio::test]
async fn what_a_disabled_endpoint_misses_is_held_and_drained() {
    let (stack, _clock) = Stack::deploy_with_clock("cw-hold").await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    let endpoint_id = tenant.endpoint(&receiver.url()).disabled().create().await.id;
    let path = format!("/v1/endpoints/{endpoint_id}");
    let ids = tenant.publish_many("contact.created", 30).await;
    for id in &ids {
        assert_eq!(tenant.only_delivery(id, "parked", SOON).await.parked_reason.as_deref(), Some("disabled"));
    }
    // Nothing moves while it is disabled.
    stack.run_due().await;
    assert!(receiver.requests().is_empty());
    let enabled = tenant.post(&format!("{path}/enable"), &json!({ "delivery_rate": 10 })).await.expect(200);
    assert_eq!((&enabled["status"], &enabled["disabled"]), (&json!("enabled"), &json!(null)));
    tokio::time::sleep(CACHE_AGE).await;
    stack.run_due().await;
    let received = receiver.wait_for(ids.len(), AFTER_A_CRASH).await;
    assert_eq!(received.len(), ids.len(), "each once");
    for id in &ids {
        tenant.only_delivery(id, "succeeded", SOON).await;
    }
}

#[tokio::test]
async fn held_work_is_dropped_where_that_is_wanted_and_skipped_events_are_never_held() {
    let (stack, _clock) = Stack::deploy_with_clock("cw-drop").await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    let endpoint_id = tenant.endpoint(&receiver.url()).create().await.id;
    let path = format!("/v1/endpoints/{endpoint_id}");
    let disabled = tenant.post(&format!("{path}/disable"), &json!({})).await.expect(200);
    assert_eq!((&disabled["status"], &disabled["disabled"]["mode"]), (&json!("disabled"), &json!("hold")));
    tokio::time::sleep(CACHE_AGE).await;
    let ids = tenant.publish_many("contact.created", 12).await;
    for id in &ids {
        tenant.only_delivery(id, "parked", SOON).await;
    }
    tenant.post(&format!("{path}/enable"), &json!({ "held_deliveries": "discard" })).await.expect(200);
    stack.run_due().await;
    for id in &ids {
        tenant.only_delivery(id, "cancelled", SOON).await;
    }
    let disabled = tenant.post(&format!("{path}/disable"), &json!({ "mode": "skip" })).await.expect(200);
    assert_eq!(disabled["disabled"]["mode"], "skip");
    tokio::time::sleep(CACHE_AGE).await;
    let skipped = tenant.publish_many("contact.created", 1).await.remove(0);
    assert_eq!(status(&tenant, &skipped).await, json!(null), "it does not go there");
    tenant.post(&format!("{path}/enable"), &json!({})).await.expect(200);
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
    let endpoint_id = tenant.endpoint(&receiver.url()).retry_schedule(&[60, 60]).create().await.id;
    let held_id = tenant.endpoint(&receiver.url()).disabled().event_types(&["held.work"]).create().await.id;
    let failing = tenant.publish_many("contact.created", 1).await.remove(0);
    tenant.only_delivery(&failing, "retrying", SOON).await;
    let held = tenant.publish("held.work", &json!({}), "held").await;
    let parked = eventually("the held one", SOON, || async {
        let page = tenant.get(&format!("/v1/events/{held}/deliveries")).await.expect(200);
        let all = page["data"].as_array().unwrap().clone();
        all.into_iter().find(|one| one["endpoint_id"] == held_id.as_str() && one["status"] == "parked")
    })
    .await;
    tenant.delete(&format!("/v1/endpoints/{endpoint_id}")).await.expect(204);
    tenant.delete(&format!("/v1/endpoints/{held_id}")).await.expect(204);
    tokio::time::sleep(CACHE_AGE).await;
    let tried = receiver.requests().len();
    clock.ahead(Duration::from_mins(2));
    stack.run_due().await;
    tenant.only_delivery(&failing, "cancelled", SOON).await;
    eventually("what was held to be cancelled", SOON, || async {
        let delivery = tenant.get(&format!("/v1/deliveries/{}", text(&parked, "id"))).await.expect(200);
        (delivery["status"] == "cancelled").then_some(())
    })
    .await;
    let later = tenant.publish("contact.created", &json!({}), "later").await;
    assert_eq!(status(&tenant, &later).await, json!(null));
    assert_eq!(receiver.requests().len(), tried);
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_left_alone_and_comes_back_by_a_probe() {
    let (stack, clock) = Stack::deploy_with_clock("cw-circuit").await;
    let tenant = stack.tenant().await;
    let (receiver, well) = failing().await;
    let endpoint_id = tenant.endpoint(&receiver.url()).retry_schedule(&[40, 600, 600, 600]).create().await.id;
    let path = format!("/v1/endpoints/{endpoint_id}");
    // Ten failures, and one half a minute after the first.
    let mut ids = tenant.publish_many("contact.created", 12).await;
    receiver.wait_for(12, SOON).await;
    for id in &ids {
        tenant.only_delivery(id, "retrying", SOON).await;
    }
    assert_eq!(tenant.get(&path).await.expect(200)["status"], "enabled", "a restart is no outage");
    let mut ahead = Duration::from_mins(1);
    clock.ahead(ahead);
    stack.run_due().await;
    let open = eventually("the circuit to open", SOON, || async {
        let endpoint = tenant.get(&path).await.expect(200);
        (endpoint["status"] == "circuit_open").then_some(endpoint)
    })
    .await;
    assert!(open["health"]["failures"].as_u64().unwrap() >= 10);
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

    // The next probe succeeds, the circuit closes, and all that was held is drained.
    well.store(true, Ordering::Relaxed);
    let mut done = false;
    for _ in 0..20 {
        ahead += Duration::from_secs(61);
        clock.ahead(ahead);
        stack.run_due().await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        done = true;
        for id in &ids {
            done &= status(&tenant, id).await["status"] == "succeeded";
        }
        if done {
            break;
        }
    }
    assert!(done, "everything arrives in the end");
    let endpoint = tenant.get(&path).await.expect(200);
    assert_eq!((&endpoint["status"], &endpoint["health"]["failures"]), (&json!("enabled"), &json!(0)));
}

#[tokio::test]
async fn days_of_nothing_but_failure_disable_an_endpoint_after_a_warning() {
    let (stack, clock) = Stack::deploy_with_clock("cw-auto-disable").await;
    let tenant = stack.tenant().await;
    let (receiver, well) = failing().await;
    let watcher = Receiver::start().await;
    let schedule = json!({ "retry_schedule_seconds": [2, 2], "event_types": ["contact.*"] });
    let endpoint_id = tenant.endpoint(&receiver.url()).settings(&schedule).create().await.id;
    tenant.endpoint(&watcher.url()).event_types(&["endpoint.*"]).create().await;
    let path = format!("/v1/endpoints/{endpoint_id}");
    // That it fails often is told too, and shown elsewhere.
    let kinds = || -> Vec<String> {
        let told = watcher.requests();
        let told = told.iter().map(testkit::Received::json).filter(|one| one["data"]["reason"] != "rate");
        told.map(|one| text(&one, "type")).collect()
    };
    let mut seen_at = Vec::new();
    let mut disabled = None;
    for step in 0..24 {
        clock.ahead(Duration::from_hours(6 * step));
        let before = receiver.requests().len();
        tenant.publish_many("contact.created", 4).await;
        stack.run_due().await;
        // At least a probe is made, or the endpoint is disabled.
        let endpoint = eventually("an attempt", AFTER_A_CRASH, || async {
            stack.run_due().await;
            let endpoint = tenant.get(&path).await.expect(200);
            let tried = receiver.requests().len() > before || step == 0;
            (tried || endpoint["status"] == "disabled").then_some(endpoint)
        })
        .await;
        seen_at.push((step, kinds()));
        if endpoint["status"] == "disabled" {
            disabled = Some((step, endpoint));
            break;
        }
    }
    let (step, endpoint) = disabled.unwrap_or_else(|| panic!("it was never disabled: {seen_at:?}"));
    assert_eq!(endpoint["disabled"]["by"], "failing");
    assert_eq!(endpoint["disabled"]["mode"], "hold");
    // Five days are twenty steps of six hours.
    assert!((20..=22).contains(&step), "disabled at step {step}");
    eventually("its owner to be told", SOON, || async {
        kinds().iter().any(|kind| kind == "endpoint.disabled").then_some(())
    })
    .await;
    let all = kinds();
    let warnings = all.iter().filter(|kind| *kind == "endpoint.failing").count();
    assert!((1..=3).contains(&warnings), "warned, and not each time: {all:?}");
    assert_eq!(all.iter().position(|kind| kind == "endpoint.failing"), Some(0), "warned first");
    assert_eq!(all.iter().filter(|kind| *kind == "endpoint.disabled").count(), 1);
    well.store(true, Ordering::Relaxed);
    let enabled = tenant.post(&format!("{path}/enable"), &json!({})).await.expect(200);
    assert_eq!((&enabled["status"], &enabled["health"]["failures"]), (&json!("enabled"), &json!(0)));
}
