//! Retention: what is written ends when its tenant has set it to, and lists, replays and the expiry of deliveries follow.

use std::time::Duration;

use domain::{DeliveryId, TenantId, delivery::Retention};
use platform::store::table::keys::{self, Key};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Client, Receiver, Reply, Stack, client::EventView};

use super::actions;
use crate::{
    CACHE_AGE, SOON,
    inbound_log::{send, token_source},
    tables::{self, Table},
};

const DAY: Duration = Duration::from_hours(24);

fn path(tenant: &Client) -> String {
    format!("/v1/tenants/{}", tenant.tenant_id())
}

/// Sets a retention with the tenant's own key, and waits until every function knows it.
async fn keep_for(tenant: &Client, days: u16) {
    let shown = tenant.patch(&path(tenant), &json!({ "retention_days": days })).await.expect(200);
    assert_eq!(shown["retention_days"], days);
    tokio::time::sleep(CACHE_AGE).await;
}

/// For how many days a row is kept that was written when `accepted` was accepted.
async fn kept_days(stack: &Stack, key: Key, accepted: &str) -> i64 {
    let row = Table::events(stack).get(key).await;
    let end: i64 = row["expires_at"]["N"].as_str().expect("an end").parse().unwrap();
    let accepted: domain::Timestamp = tables::id(accepted);
    (end - accepted.secs()) / 86_400
}

/// The time at which an event or a request was accepted.
async fn created_at(tenant: &Client, path: &str) -> String {
    tenant.get(path).await.expect(200)["created_at"].as_str().expect("a time").to_owned()
}

/// Text that no compression makes small: larger than what a row holds.
fn large() -> Value {
    let mut random = 1u64;
    let mut parts = Vec::new();
    for _ in 0..40_000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        parts.push(format!("{random:016x}"));
    }
    json!({ "text": parts.concat() })
}

#[tokio::test]
async fn everything_of_an_event_is_kept_as_long_as_its_tenant_has_set() {
    let (stack, clock) = Stack::deploy_with_clock("cw-retention").await;
    let receiver = Receiver::start().await;
    let (usual, long) = (stack.tenant().await, stack.tenant().await);
    assert_eq!(usual.get(&path(&usual)).await.expect(200)["retention_days"], 30);
    keep_for(&long, 90).await;
    for (tenant, days, prefix) in [(&usual, 30, "payloads/"), (&long, 90, "payloads-90/")] {
        let id: TenantId = tables::tenant(tenant);
        let endpoint = tenant.endpoint(&receiver.url()).create().await;
        // In the message, in the bucket, and by a source.
        let small = tenant.publish("contact.created", &json!({ "n": 1 }), "small").await;
        let object = tenant.publish("contact.created", &large(), "large").await;
        let source = token_source(tenant, "/type").await;
        let request = send(tenant, &source, &json!({ "id": "1", "type": "made" })).await;
        let request_path = format!("/v1/inbound/{request}");
        let shown = tenant.get(&request_path).await.expect(200);
        let inbound = shown["events"][0]["id"].as_str().expect("an event").to_owned();
        for event in [&small, &object, &inbound] {
            tenant.only_delivery(event, "succeeded", SOON).await;
            let accepted = created_at(tenant, &format!("/v1/events/{event}")).await;
            let key = keys::event(&id, tables::id(event));
            assert_eq!(kept_days(&stack, key.clone(), &accepted).await, days, "event");
            let delivery = DeliveryId { event: tables::id(event), endpoint: tables::id(&endpoint.id) };
            let delivery = keys::delivery(&id, delivery, 0);
            assert_eq!(kept_days(&stack, delivery, &accepted).await, days - 1, "delivery");
            if event == &object {
                let row = Table::events(&stack).get(key).await;
                let stored = row["payload_key"]["S"].as_str().expect("an object");
                assert!(stored.starts_with(&format!("{prefix}{id}/")), "{stored}");
            }
        }
        let accepted = created_at(tenant, &request_path).await;
        let key = keys::inbound_request(&id, tables::id(&request));
        assert_eq!(kept_days(&stack, key, &accepted).await, days, "request");
        // A generation that a person begins later.
        let delivery = tenant.only_delivery(&small, "succeeded", SOON).await;
        tenant.post(&format!("/v1/deliveries/{}/resend", delivery.id), &json!({})).await.expect(202);
        let accepted = created_at(tenant, &format!("/v1/events/{small}")).await;
        let resent = DeliveryId { event: tables::id(&small), endpoint: tables::id(&endpoint.id) };
        let resent = keys::delivery(&id, resent, 1);
        assert_eq!(kept_days(&stack, resent, &accepted).await, days - 1, "generation");
    }
    // What was accepted keeps its end.
    let before: Vec<EventView> = long.list("/v1/events", 50).await;
    keep_for(&long, 30).await;
    let after = long.publish("contact.created", &json!({ "n": 2 }), "after").await;
    for (event, days) in [(&before[0].id, 90), (&after, 30)] {
        let accepted = created_at(&long, &format!("/v1/events/{event}")).await;
        let key = keys::event(&tables::tenant(&long), tables::id(event));
        assert_eq!(kept_days(&stack, key, &accepted).await, days);
    }
    // Lists and replays reach as far back as something is kept.
    clock.ahead(DAY * 40);
    let listed: Vec<EventView> = usual.list("/v1/events", 50).await;
    assert!(listed.is_empty(), "{listed:?}");
    let listed: Vec<EventView> = long.list("/v1/events", 50).await;
    assert!(before.iter().all(|event| listed.iter().any(|found| found.id == event.id)), "{listed:?}");
    let requests = async |tenant: &Client| {
        let listed: Vec<Value> = tenant.list("/v1/inbound", 50).await;
        listed.len()
    };
    assert_eq!((requests(&usual).await, requests(&long).await), (0, 1));
    let span = json!({ "selection": "all", "since": "2020-01-01T00:00:00Z", "until": &before[0].created_at });
    for (tenant, is_kept) in [(&usual, false), (&long, true)] {
        let endpoint = tenant.endpoint(&receiver.url()).create().await;
        let response = tenant.post(&endpoint.path("/replays"), &span).await;
        if is_kept {
            response.expect(202);
        } else {
            response.expect_invalid_field("/until");
        }
    }
}

#[tokio::test]
async fn deliveries_expire_before_a_short_retention_ends() {
    let (stack, clock) = Stack::deploy_with_clock("cw-short-retention").await;
    let receiver = Receiver::start().await;
    let (usual, short) = (stack.tenant().await, stack.tenant().await);
    let publish = async |tenant: &Client, key: &str| {
        let event = tenant.publish("contact.created", &json!({}), key).await;
        tenant.only_delivery(&event, "parked", SOON).await;
        event
    };
    for tenant in [&usual, &short] {
        tenant.endpoint(&receiver.url()).disabled().create().await;
    }
    let before = publish(&short, "before").await;
    keep_for(&short, 25).await;
    let (of_usual, of_short) = (publish(&usual, "usual").await, publish(&short, "short").await);
    // A retention that is no longer set counts for what was accepted under it.
    keep_for(&short, 90).await;
    let after = publish(&short, "after").await;
    let parked = async |tenant: &Client, event: &str| tenant.only_delivery(event, "parked", SOON).await;
    clock.ahead(Duration::from_hours(24 * 23 - 1));
    stack.run_reconcile().await;
    parked(&short, &of_short).await;
    clock.ahead(DAY * 23 + Duration::from_hours(1));
    stack.run_reconcile().await;
    short.only_delivery(&of_short, "expired", SOON).await;
    for (tenant, event) in [(&usual, &of_usual), (&short, &before), (&short, &after)] {
        parked(tenant, event).await;
    }
    clock.ahead(DAY * 28 + Duration::from_hours(1));
    stack.run_reconcile().await;
    for (tenant, event) in [(&usual, &of_usual), (&short, &before), (&short, &after)] {
        tenant.only_delivery(event, "expired", SOON).await;
    }
}

#[tokio::test]
async fn deliveries_that_begin_late_in_a_long_retention_expire_before_it_ends() {
    let (stack, clock) = Stack::deploy_with_clock("cw-long-retention").await;
    // What it responds to first succeeds, so that its failures begin with the resend.
    let receiver = Receiver::responding(|before| Reply::status(if before == 0 { 200 } else { 500 })).await;
    let tenant = stack.tenant().await;
    let id: TenantId = tables::tenant(&tenant);
    keep_for(&tenant, 90).await;
    let endpoint = tenant.endpoint(&receiver.url()).retry_schedule(&[60, 60]).create().await;
    let event = tenant.publish("contact.created", &json!({}), "resent").await;
    let resent = endpoint.delivery_id(&event);
    tenant.delivery_once(&resent, "succeeded", SOON).await;
    clock.ahead(DAY * 28 + Duration::from_hours(1));
    stack.run_reconcile().await;
    clock.ahead(DAY * 40);
    tenant.post(&format!("/v1/deliveries/{resent}/resend"), &json!({})).await.expect(202);
    tenant.delivery_once(&resent, "retrying", SOON).await;
    endpoint.disable("hold").await;
    clock.ahead(DAY * 40 + Duration::from_mins(5));
    tokio::time::sleep(CACHE_AGE).await;
    stack.run_due().await;
    tenant.delivery_once(&resent, "parked", SOON).await;
    // What brings it back outlives it.
    let accepted = created_at(&tenant, &format!("/v1/events/{event}")).await;
    let drain = keys::drain(&id, tables::id(&endpoint.id));
    assert_eq!(kept_days(&stack, drain, &accepted).await, 130);
    clock.ahead(Duration::from_hours(24 * 88 - 1));
    stack.run_reconcile().await;
    tenant.delivery_once(&resent, "parked", SOON).await;
    clock.ahead(DAY * 88 + Duration::from_hours(1));
    stack.run_reconcile().await;
    tenant.delivery_once(&resent, "expired", SOON).await;
}

#[tokio::test]
async fn a_tenant_sets_its_retention_and_the_trail_shows_it() {
    let stack = Stack::shared();
    let (operator, tenant) = (stack.operator(), stack.tenant().await);
    let path = path(&tenant);
    let viewer = super::new_key(&tenant, json!({ "name": "reader", "role": "developer" })).await;
    let refused = super::with(&tenant, &viewer).patch(&path, &json!({ "retention_days": 60 })).await;
    refused.expect_problem(403, "forbidden");
    tenant.patch(&path, &json!({ "retention_days": 60 })).await.expect(200);
    assert_eq!(actions(&tenant).await[0], "tenant.updated");
    let entry = tenant.get("/v1/audit?limit=1").await.expect(200)["data"][0].clone();
    assert_eq!(
        (&entry["before"], &entry["after"]),
        (&json!({ "retention_days": 30 }), &json!({ "retention_days": 60 }))
    );
    let named = [("tenant", tenant.tenant_id()), ("content-type", "application/json")];
    let body = json!({ "retention_days": null, "alerts": { "endpoint.failing": false } }).to_string();
    let shown = operator.send(Method::PATCH, &path, &named, Some(body.into())).await.expect(200);
    assert_eq!((&shown["retention_days"], &shown["alerts"]["endpoint.failing"]), (&json!(30), &json!(false)));
    assert_eq!(shown["alerts"]["endpoint.disabled"], true);
    let days = Retention::LONGEST.days();
    let changed = json!({ "retention_days": days, "alerts": {} });
    let shown = tenant.patch(&path, &changed).await.expect(200);
    assert_eq!(
        (&shown["retention_days"], &shown["alerts"]["endpoint.failing"]),
        (&json!(days), &json!(true))
    );
    assert_eq!(tenant.get(&path).await.expect(200), shown);
    assert_eq!(tenant.patch(&path, &shown).await.expect(200), shown);
}
