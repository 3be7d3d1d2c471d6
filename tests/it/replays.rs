//! Deliveries that are resent, one at a time or many by a replay, and deliveries that are cancelled.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use domain::DeliveryId;
use platform::store::table::keys;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{
    Client, Endpoint, FlakyReceiver, Receiver, Reply, Stack,
    client::{DeliveryView, ReplayView},
    eventually,
    proxy::{Fault, Rule},
    stack::text,
};

use crate::{
    AFTER_A_CRASH, CACHE_AGE, SOON,
    tables::{self, Table},
};

/// Longer than what a replay leaves to the index.
const REPLAY_SETTLED: Duration = Duration::from_secs(40);

/// Before everything that a test does.
const LONG_AGO: &str = "2026-01-01T00:00:00Z";

/// Starts a replay, and returns its id.
#[track_caller]
fn replay(endpoint: &Endpoint, body: &Value) -> impl Future<Output = String> {
    let starting = endpoint.replay(body);
    async move {
        let replay = starting.await;
        assert_eq!((replay.status.as_str(), replay.started_count), ("running", 0));
        replay.id
    }
}

#[track_caller]
fn get(client: &Client, replay_id: &str) -> impl Future<Output = ReplayView> {
    client.replay(replay_id)
}

fn ids(receiver: &Receiver) -> Vec<String> {
    receiver.requests().iter().map(|received| received.id().to_owned()).collect()
}

#[tokio::test]
async fn a_finished_delivery_is_resent_once_as_a_new_generation() {
    let tenant = Stack::shared().tenant().await;
    // The second request takes a while, so that who asks meanwhile finds it under way.
    let reply = |n| match n {
        0 => Reply::status(500),
        1 => Reply::after(Duration::from_secs(8)),
        _ => Reply::status(200),
    };
    let receiver = Receiver::responding(reply).await;
    let endpoint = tenant.endpoint(&receiver.url()).retry_schedule(&[]).create().await;
    let event_id = tenant.publish("contact.created", &json!({}), "again").await;
    let id = endpoint.delivery_id(&event_id);
    tenant.delivery_once(&id, "exhausted", SOON).await;
    let path = format!("/v1/deliveries/{id}/resend");
    let no_body = json!({});
    let again = || tenant.post(&path, &no_body);
    let (first, second, third, fourth) = tokio::join!(again(), again(), again(), again());
    for response in [first, second, third, fourth] {
        response.expect(202);
    }
    let delivery = tenant.delivery_once(&id, "succeeded", SOON).await;
    assert_eq!(delivery.attempt_count, 1, "its attempts are counted anew");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(ids(&receiver), [event_id.clone(), event_id.clone()], "one new generation, under the same id");
    // A delivery that succeeded can be resent too; one that has finished cannot be cancelled.
    tenant.post(&path, &json!({})).await.expect(202);
    receiver.wait_for(3, SOON).await;
    tenant.delivery_once(&id, "succeeded", SOON).await;
    let response = tenant.post(&format!("/v1/deliveries/{id}/cancel"), &json!({})).await;
    response.expect_problem(409, "already-finished");
    // Another tenant's is none.
    let stranger = Stack::shared().tenant().await;
    for end in ["resend", "cancel"] {
        let response = stranger.post(&format!("/v1/deliveries/{id}/{end}"), &json!({})).await;
        response.expect_problem(404, "not-found");
    }
    endpoint.delete().await;
    let response = tenant.post(&path, &json!({})).await;
    response.expect_problem(409, "endpoint-unavailable");
}

#[tokio::test]
async fn a_delivery_that_is_due_in_hours_can_be_resent_at_once() {
    let tenant = Stack::shared().tenant().await;
    let receiver = Receiver::responding(|n| Reply::status(if n == 0 { 500 } else { 200 })).await;
    let endpoint = tenant.endpoint(&receiver.url()).retry_schedule(&[7200]).create().await;
    let event_id = tenant.publish("contact.created", &json!({}), "hours").await;
    let id = endpoint.delivery_id(&event_id);
    tenant.delivery_once(&id, "retrying", SOON).await;
    tenant.post(&format!("/v1/deliveries/{id}/resend"), &json!({})).await.expect(202);
    let delivery = tenant.delivery_once(&id, "succeeded", SOON).await;
    assert_eq!(delivery.attempt_count, 2, "in its own generation");
    assert_eq!(receiver.requests().len(), 2);
}

#[tokio::test]
async fn cancelled_deliveries_never_arrive() {
    let (stack, clock) = Stack::deploy_with_clock("cw-cancel").await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::responding(|_| Reply::status(500)).await;
    let settings = json!({ "retry_schedule_seconds": [60, 60], "event_types": ["contact.*"] });
    let endpoint = tenant.endpoint(&receiver.url()).settings(&settings).create().await;
    let held = tenant.endpoint(&receiver.url()).disabled().event_types(&["held.work"]).create().await;
    let cancel = async |id: &str| {
        let cancelled = tenant.post(&format!("/v1/deliveries/{id}/cancel"), &json!({})).await;
        let cancelled: DeliveryView = cancelled.read(200);
        assert_eq!((cancelled.status.as_str(), cancelled.next_attempt_at), ("cancelled", None));
    };
    // Retrying, in the due index.
    let retrying = tenant.publish("contact.created", &json!({}), "retrying").await;
    let retrying = endpoint.delivery_id(&retrying);
    tenant.delivery_once(&retrying, "retrying", SOON).await;
    cancel(&retrying).await;
    cancel(&retrying).await;
    // Parked: asking for it once more would only park it again.
    let parked = tenant.publish("held.work", &json!({}), "parked").await;
    let parked = held.delivery_id(&parked);
    tenant.delivery_once(&parked, "parked", SOON).await;
    let response = tenant.post(&format!("/v1/deliveries/{parked}/resend"), &json!({})).await;
    response.expect_problem(409, "endpoint-unavailable");
    cancel(&parked).await;
    // Pending, without an item: its publish died before it sent the message.
    let rule = Rule::new("SendMessageBatch", &[tenant.tenant_id()], Fault::KillBefore, 1);
    let hits = stack.rule(&rule).await;
    let body = json!({ "type": "contact.created", "data": {} });
    let publish = || tenant.post_with("/v1/events", &[("idempotency-key", "pending")], &body);
    assert!(publish().await.status >= 500);
    assert_eq!(hits.count().await, 1);
    let pending = eventually("the function to be back", SOON, || async {
        let response = tenant.get("/v1/events").await;
        (response.status == 200).then(|| text(&response.json["data"][0], "id"))
    })
    .await;
    let pending = endpoint.delivery_id(&pending);
    tenant.delivery_once(&pending, "pending", SOON).await;
    cancel(&pending).await;
    // Its first row ends before its event.
    let id: DeliveryId = tables::id(&pending);
    let rows = Table::events(&stack);
    let row = rows.get(keys::delivery(&tables::tenant(&tenant), id, 0)).await;
    let event = rows.get(keys::event(&tables::tenant(&tenant), id.event)).await;
    let end = |row: &Value| row["expires_at"]["N"].as_str().expect("an end").parse::<i64>().unwrap();
    assert_eq!(end(&event) - end(&row), 24 * 3600);
    // Everything that could bring them back.
    clock.ahead(Duration::from_mins(5));
    publish().await.expect(202);
    held.enable().await;
    stack.run_due().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    for id in [&retrying, &parked, &pending] {
        tenant.delivery_once(id, "cancelled", SOON).await;
    }
    assert_eq!(receiver.requests().len(), 1, "the first attempt of the first");
}

#[tokio::test]
async fn a_replay_is_paced_beside_live_traffic_and_cancelled_half_way() {
    let (stack, clock) = Stack::deploy_with_clock("cw-replay-pace").await;
    let tenant = stack.tenant().await;
    let receiver = FlakyReceiver::failing().await;
    let live = Receiver::start().await;
    let settings = json!({ "retry_schedule_seconds": [], "event_types": ["contact.*"] });
    let endpoint = tenant.endpoint(&receiver.url()).settings(&settings).create().await;
    tenant.endpoint(&live.url()).event_types(&["live.*"]).create().await;
    let events = tenant.publish_many("contact.created", 90).await;
    receiver.wait_for(90, AFTER_A_CRASH).await;
    for id in events.iter().rev().take(20) {
        tenant.delivery_once(&endpoint.delivery_id(id), "exhausted", SOON).await;
    }
    receiver.recover();
    let failed = receiver.requests().len();
    let id = replay(&endpoint, &json!({ "selection": "failed", "since": LONG_AGO, "rate": 1 })).await;
    let body = json!({ "selection": "all", "since": LONG_AGO });
    let response = tenant.post(&endpoint.path("/replays"), &body).await;
    response.expect_problem(409, "replay-running");
    clock.ahead(REPLAY_SETTLED);
    let began = Instant::now();
    stack.run_due().await;
    let shown = get(&tenant, &id).await;
    assert_eq!((shown.status.as_str(), shown.scanned_count, shown.started_count), ("running", 60, 60));
    assert!(shown.since < shown.position && shown.position < shown.until);
    // Live events overtake it.
    let mut late = Duration::ZERO;
    for n in 0..8 {
        let sent = Instant::now();
        tenant.publish("live.event", &json!({}), &format!("live-{n}")).await;
        live.wait_for(n + 1, SOON).await;
        late = late.max(sent.elapsed());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(late < Duration::from_secs(5), "a live event took {late:?}");
    let cancelled = tenant.post(&format!("/v1/replays/{id}/cancel"), &json!({})).await;
    let cancelled: ReplayView = cancelled.read(200);
    assert_eq!((cancelled.status.as_str(), cancelled.started_count), ("cancelled", 60));
    let arrived = receiver.requests().len() - failed;
    let most = usize::try_from(began.elapsed().as_secs()).unwrap() + 15;
    assert!((3..=most.min(59)).contains(&arrived), "{arrived} within {:?}", began.elapsed());
    // It does not go on, and the endpoint can have another.
    clock.ahead(REPLAY_SETTLED + Duration::from_mins(6));
    stack.run_due().await;
    assert_eq!(get(&tenant, &id).await.started_count, 60);
    tenant.post(&format!("/v1/replays/{id}/cancel"), &json!({})).await.expect(200);
    let other = replay(&endpoint, &json!({ "selection": "failed", "since": LONG_AGO })).await;
    let path = format!("/v1/replays?endpoint_id={}", endpoint.id);
    let pages: Vec<Vec<ReplayView>> = tenant.pages(&path, 1).await;
    let listed: Vec<_> = pages.iter().map(|page| page[0].id.as_str()).collect();
    assert_eq!(listed, [&other, &id], "newest first");
}

#[tokio::test]
async fn what_was_missed_is_recovered_and_a_new_endpoint_is_filled() {
    let (stack, clock) = Stack::deploy_with_clock("cw-replay-missing").await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    let endpoint = tenant.endpoint(&receiver.url()).event_types(&["contact.*"]).create().await;
    let before = tenant.publish_many("contact.created", 2).await;
    receiver.wait_for(2, SOON).await;
    endpoint.disable("skip").await;
    tokio::time::sleep(CACHE_AGE).await;
    let skipped = tenant.publish_many("contact.created", 5).await;
    tenant.publish_many("deal.won", 1).await;

    // While the endpoint is disabled, the replay waits and says so.
    let missing = json!({ "selection": "missing", "since": LONG_AGO, "rate": 100 });
    let id = replay(&endpoint, &missing).await;
    let mut ahead = REPLAY_SETTLED;
    clock.ahead(ahead);
    stack.run_due().await;
    let shown = get(&tenant, &id).await;
    assert_eq!((shown.status.as_str(), shown.paused_for.as_deref()), ("running", Some("endpoint_disabled")));
    endpoint.enable().await;
    tokio::time::sleep(CACHE_AGE).await;
    ahead += Duration::from_mins(6);
    clock.ahead(ahead);
    stack.run_due().await;
    let shown = get(&tenant, &id).await;
    assert_eq!((shown.status.as_str(), shown.started_count), ("completed", 5), "{shown:?}");
    receiver.wait_for(7, SOON).await;
    let got: HashSet<_> = ids(&receiver).into_iter().collect();
    assert_eq!(got, before.iter().chain(&skipped).cloned().collect());
    assert_eq!(receiver.requests().len(), 7, "each once");
    let delivery = tenant.delivery_once(&endpoint.delivery_id(&skipped[0]), "succeeded", SOON).await;
    assert_eq!(delivery.attempt_count, 1);

    // A new endpoint gets what it listens to.
    let refilled = Receiver::start().await;
    let new = tenant.endpoint(&refilled.url()).event_types(&["contact.*"]).create().await;
    let id = replay(&new, &missing).await;
    ahead += REPLAY_SETTLED;
    clock.ahead(ahead);
    stack.run_due().await;
    assert_eq!(get(&tenant, &id).await.status, "completed");
    refilled.wait_for(7, SOON).await;

    // And all of it once more, by a scheduler that dies after sending and before keeping its progress.
    for event in before.iter().chain(&skipped) {
        tenant.delivery_once(&new.delivery_id(event), "succeeded", SOON).await;
    }
    let all = json!({ "selection": "all", "since": LONG_AGO, "rate": 100 });
    let id = replay(&new, &all).await;
    let rule = Rule::new("TransactWriteItems", &[&id], Fault::KillBefore, 1);
    let hits = stack.rule(&rule).await;
    ahead += REPLAY_SETTLED;
    clock.ahead(ahead);
    let _ = stack.try_invoke("SchedulerFunctionName", json!({ "job": "due" })).await;
    assert_eq!(hits.count().await, 1);
    refilled.wait_for(14, SOON).await;
    assert_eq!(get(&tenant, &id).await.status, "running");
    ahead += Duration::from_mins(6);
    clock.ahead(ahead);
    eventually("the scheduler to be back", SOON, || async {
        stack.try_invoke("SchedulerFunctionName", json!({ "job": "due" })).await.ok()
    })
    .await;
    let shown = get(&tenant, &id).await;
    assert_eq!((shown.status.as_str(), shown.started_count), ("completed", 7), "{shown:?}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(refilled.requests().len(), 14, "no second generation");

    // The operator's endpoint, too; the tenant sees nothing of it.
    let operator = stack.operator();
    let watcher = Receiver::start().await;
    let theirs = operator.endpoint(&watcher.url()).event_types(&["contact.*"]).create().await;
    let mut of_tenant = missing.clone();
    of_tenant["tenant_id"] = json!(tenant.tenant_id());
    let id = replay(&theirs, &of_tenant).await;
    ahead += REPLAY_SETTLED;
    clock.ahead(ahead);
    stack.run_due().await;
    let shown = get(&operator, &id).await;
    assert_eq!((shown.status.as_str(), shown.tenant_id.as_deref()), ("completed", Some(tenant.tenant_id())));
    let received = watcher.wait_for(7, SOON).await;
    assert!(received.iter().all(|one| one.header("core-webhooks-tenant") == tenant.tenant_id()));
    let hidden = format!("/v1/deliveries/{}", theirs.delivery_id(&before[0]));
    tenant.get(&hidden).await.expect(404);
    let named = [("tenant", tenant.tenant_id())];
    operator.send(Method::GET, &hidden, &named, None).await.expect(200);

    // A deleted endpoint ends its replay.
    let id = replay(&new, &all).await;
    new.delete().await;
    stack.run_due().await;
    let shown = get(&tenant, &id).await;
    assert_eq!((shown.status.as_str(), shown.error.as_deref()), ("failed", Some("the endpoint was deleted")));
}

#[tokio::test]
async fn invalid_replays_are_refused() {
    let stack = Stack::shared();
    let (tenant, stranger) = (stack.tenant().await, stack.tenant().await);
    let receiver = Receiver::start().await;
    let endpoint = tenant.endpoint(&receiver.url()).disabled().create().await;
    let path = endpoint.path("/replays");
    for (body, pointer) in [
        (json!({ "selection": "everything", "since": LONG_AGO }), "/selection"),
        (json!({ "selection": "all" }), ""),
        (json!({ "selection": "all", "since": "yesterday" }), "/since"),
        (json!({ "selection": "all", "since": "2999-01-01T00:00:00Z" }), "/since"),
        (json!({ "selection": "all", "since": LONG_AGO, "until": "2999-01-01T00:00:00Z" }), "/until"),
        (
            json!({ "selection": "all", "since": "2020-01-01T00:00:00Z", "until": "2020-02-01T00:00:00Z" }),
            "/until",
        ),
        (json!({ "selection": "all", "since": LONG_AGO, "rate": 0 }), "/rate"),
        (json!({ "selection": "all", "since": LONG_AGO, "rate": 101 }), "/rate"),
        (json!({ "selection": "all", "since": LONG_AGO, "tenant_id": "acme" }), "/tenant_id"),
        (json!({ "selection": "all", "since": LONG_AGO, "speed": 1 }), "/speed"),
    ] {
        let response = tenant.post(&path, &body).await;
        assert_eq!((response.status, response.pointer()), (422, pointer), "{body}: {}", response.json);
    }
    let body = json!({ "selection": "all", "since": LONG_AGO });
    stranger.post(&path, &body).await.expect(404);
    let id = replay(&endpoint, &body).await;
    stranger.get(&format!("/v1/replays/{id}")).await.expect(404);
    stranger.post(&format!("/v1/replays/{id}/cancel"), &json!({})).await.expect(404);
    assert_eq!(stranger.get("/v1/replays").await.expect(200)["data"], json!([]));
    tenant.post(&format!("/v1/replays/{id}/cancel"), &json!({})).await.expect(200);
}
