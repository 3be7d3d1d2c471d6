//! Push channels of Google's calendars: opened, renewed, lost, refused and closed.

use std::time::Duration;

use domain::{SyncId, TenantId};
use platform::store::table::keys;
use serde_json::{Value, json};
use testkit::{
    eventually,
    foreign::google::{Failure, GoogleChannel},
    proxy::{Fault, Rule},
};

use super::{
    google::{CALENDAR, World},
    import,
};
use crate::{SOON, tables::Table};

/// A minute more than the longest pause between two polls of a watched calendar.
const HOURLY: Duration = Duration::from_mins(61);

impl World {
    async fn live(&self, calendar: &str, count: usize) -> Vec<GoogleChannel> {
        eventually(&format!("{count} live channels"), SOON, async || {
            let live = self.google.live_channels(calendar);
            (live.len() == count).then_some(live)
        })
        .await
    }

    /// The sync once it rests between two passes, with nothing left to do.
    async fn rested(&self, id: &str) -> Value {
        let path = format!("/v1/syncs/{id}");
        eventually("the sync rests", SOON, async || {
            let view: Value = self.crm.tenant.read(&path).await;
            let next = view["next_run_at"].as_str().map(testkit::stack::millis_of)?;
            let rests =
                view["status"] == "active" && view["pass"].is_null() && next > self.google.now() + 60_000;
            rests.then_some(view)
        })
        .await
    }

    /// The events of a type, once there are so many.
    async fn events(&self, event_type: &str, count: usize) -> Vec<Value> {
        eventually(&format!("{count} events {event_type}"), SOON, async || {
            self.crm.stack.run_due().await;
            let events = self.crm.events(event_type).await;
            (events.len() == count).then_some(events)
        })
        .await
    }
}

fn summary(event: &Value) -> &str {
    event["calendar_event"]["title"].as_str().unwrap_or_default()
}

fn appointment(title: &str) -> Value {
    json!({
        "summary": title,
        "start": { "dateTime": "2026-12-08T15:00:00+01:00" }, "end": { "dateTime": "2026-12-08T16:00:00+01:00" },
    })
}

#[tokio::test]
async fn a_change_is_published_when_it_is_pushed() {
    let mut world = World::new("cw-channel-push").await;
    // G4: the first message arrives before the response.
    world.google.set_sync_before_response(true);
    let id = world.sync(CALENDAR).await;
    world.crm.until(&id, "active").await;
    let channels = world.live(CALENDAR, 1).await;
    assert!(channels[0].address.ends_with("/in/google_calendar/syncs"), "{}", channels[0].address);
    let pushes = world.google.wait_for_pushes(1, SOON).await;
    assert_eq!((pushes[0].state.as_str(), pushes[0].status), ("sync", 200));
    world.rested(&id).await;
    // G3, G18: an empty body with `exists`.
    world.google.enter(CALENDAR, &appointment("Viewing"));
    let pushes = world.google.wait_for_pushes(2, SOON).await;
    assert_eq!((pushes[1].state.as_str(), pushes[1].status), ("exists", 200));
    let created = world.events("calendar.event.created", 1).await;
    assert_eq!(summary(&created[0]), "Viewing");

    // G20: one that is lost is found by the hourly poll.
    world.rested(&id).await;
    world.go(Duration::from_mins(20)).await;
    world.rested(&id).await;
    world.google.hold_pushes();
    world.google.enter(CALENDAR, &appointment("Lost"));
    assert_eq!(world.google.drop_pushes(), 1);
    world.google.release_pushes();
    world.go(HOURLY).await;
    let created = world.events("calendar.event.created", 2).await;
    assert_eq!(summary(&created[1]), "Lost");
    assert_eq!(world.google.live_channels(CALENDAR).len(), 1);
    world.google.assert_no_violations();
}

#[tokio::test]
async fn channels_are_renewed_before_they_end_and_one_that_failed_is_tried_again() {
    // G6.
    const OTHER: &str = "other@example.test";
    let mut world = World::new("cw-channel-renewed").await;
    world.google.add_calendar("ada", OTHER, &json!({}));
    world.google.fail(Failure::error("events.watch", 500, "backendError").of_calendar(OTHER));
    let (id, other) = (world.sync(CALENDAR).await, world.sync(OTHER).await);
    let first = world.live(CALENDAR, 1).await;
    world.rested(&id).await;
    // It waited for the other one, which has the same connection.
    world.go(Duration::from_mins(1)).await;
    world.rested(&other).await;
    assert!(world.google.live_channels(OTHER).is_empty());
    world.go(Duration::from_hours(156)).await;
    let renewed = eventually("the channel is renewed", SOON, async || {
        world.crm.stack.run_due().await;
        let live = world.google.live_channels(CALENDAR);
        (live.len() == 1 && live[0].id != first[0].id).then_some(live)
    })
    .await;
    world.live(OTHER, 1).await;
    let calls = world.google.calls();
    let at = |method: &str| calls.iter().rposition(|call| call.method == method);
    let opened = calls.iter().rposition(|call| call.method == "events.watch" && call.calendar == CALENDAR);
    assert!(opened < at("channels.stop"), "the new one is open before the old one is closed");
    assert_eq!(world.google.calls_of("channels.stop").len(), 1);
    let of_calendar = world.google.channels().into_iter().filter(|channel| channel.calendar == CALENDAR);
    assert_eq!(of_calendar.count(), 2);
    // The new one reports changes.
    world.rested(&id).await;
    world.google.enter(CALENDAR, &appointment("Later"));
    let pushes = eventually("a push of the new channel", SOON, async || {
        let pushes = world.google.pushes();
        pushes.into_iter().find(|push| push.channel == renewed[0].id && push.state == "exists")
    })
    .await;
    assert_eq!(pushes.status, 200);
    world.events("calendar.event.created", 1).await;
    world.google.assert_no_violations();
}

#[tokio::test]
async fn a_calendar_that_cannot_be_watched_is_polled() {
    // G7: its id is percent-encoded, and the refusal is no failure.
    const HOLIDAYS: &str = "en.usa#holiday@group.v.calendar.google.com";
    let mut world = World::new("cw-channel-refused").await;
    world.google.add_calendar("ada", HOLIDAYS, &json!({ "accessRole": "reader" }));
    let id = world.sync(HOLIDAYS).await;
    world.crm.until(&id, "active").await;
    world.rested(&id).await;
    assert_eq!(world.google.calls_of("events.watch").len(), 1);
    for _ in 0..9 {
        let before = world.rested(&id).await;
        world.go(Duration::from_mins(20)).await;
        world.crm.pass_after(&id, &before).await;
    }
    assert_eq!(world.google.calls_of("events.watch").len(), 1, "not tried again");
    assert!(world.crm.events("calendar.channel.missing").await.is_empty());
    assert!(world.crm.events("calendar.sync.failing").await.is_empty());
    world.google.enter(
        HOLIDAYS,
        &json!({ "summary": "Holiday", "start": { "date": "2026-12-25" }, "end": { "date": "2026-12-26" } }),
    );
    world.go(Duration::from_mins(20)).await;
    let created = world.events("calendar.event.created", 1).await;
    // G15: days stay days.
    assert_eq!(created[0]["calendar_event"]["start"], json!({ "date": "2026-12-25" }));
    assert_eq!(created[0]["calendar_event"]["end"], json!({ "date": "2026-12-26" }));
    world.google.assert_no_violations();
}

#[tokio::test]
async fn a_tenant_is_notified_once_that_no_channel_can_be_opened() {
    let mut world = World::new("cw-channel-missing").await;
    world.google.fail(Failure::error("events.watch", 403, "forbidden").times(50));
    let id = world.sync(CALENDAR).await;
    world.crm.until(&id, "active").await;
    for _ in 0..9 {
        let before = world.rested(&id).await;
        world.go(Duration::from_mins(20)).await;
        world.crm.pass_after(&id, &before).await;
    }
    let missing = world.events("calendar.channel.missing", 1).await;
    assert_eq!(missing[0]["sync_id"], json!(id));
    assert!(missing[0]["missing_since"].is_string());
    let tries = world.google.calls_of("events.watch").len();
    assert!((3..=5).contains(&tries), "ever later: {tries}");
    world.google.assert_no_violations();
}

#[tokio::test]
async fn a_sync_that_is_paused_or_deleted_closes_its_channel() {
    let world = World::new("cw-channel-closed").await;
    let id = world.sync(CALENDAR).await;
    world.live(CALENDAR, 1).await;
    world.rested(&id).await;
    world.crm.tenant.post(&format!("/v1/syncs/{id}/pause"), &json!({})).await.expect(200);
    world.crm.stack.run_due().await;
    world.live(CALENDAR, 0).await;
    let tenant: TenantId = world.crm.tenant.tenant_id().parse().unwrap();
    let sync: SyncId = id.parse().unwrap();
    let due = keys::sync::sync_due(&tenant, domain::sync::kind::Engine::Calendar, sync);
    eventually("it is due no more", SOON, async || {
        let (pk, sk) = due.clone();
        Table::events(&world.crm.stack).rows_under(pk, &sk).await.is_empty().then_some(())
    })
    .await;
    world.crm.tenant.post(&format!("/v1/syncs/{id}/resume"), &json!({})).await.expect(200);
    world.crm.stack.run_due().await;
    world.live(CALENDAR, 1).await;
    world.rested(&id).await;
    world.crm.tenant.delete(&format!("/v1/syncs/{id}")).await.expect(204);
    world.crm.stack.run_due().await;
    world.live(CALENDAR, 0).await;
    assert_eq!(world.google.calls_of("channels.stop").len(), 2);
    world.google.assert_no_violations();
}

#[tokio::test]
async fn a_calendar_that_is_gone_is_reported_once_and_keeps_its_events() {
    let mut world = World::new("cw-channel-gone").await;
    world.google.enter_many(CALENDAR, "viewing", 3);
    let id = world.sync(CALENDAR).await;
    world.live(CALENDAR, 1).await;
    world.rested(&id).await;
    world.google.remove_calendar("ada", CALENDAR);
    world.go(HOURLY).await;
    let failing = world.crm.until(&id, "failing").await;
    assert_eq!((&failing["last_error"]["code"], &failing["record_count"]), (&json!("not_found"), &json!(3)));
    world.live(CALENDAR, 0).await;
    let removed = world.events("calendar.removed", 1).await;
    assert_eq!(removed[0]["calendar_id"], CALENDAR);
    world.go(Duration::from_mins(90)).await;
    eventually("it was tried again", SOON, async || {
        let view: Value = world.crm.tenant.read(&format!("/v1/syncs/{id}")).await;
        (view["failure_count"] == 2).then_some(())
    })
    .await;
    assert_eq!(world.crm.events("calendar.removed").await.len(), 1);
    assert!(world.crm.events("calendar.event.deleted").await.is_empty());
    world.google.assert_no_violations();
}

#[tokio::test]
async fn messages_of_strangers_are_refused() {
    let world = World::new("cw-channel-strangers").await;
    let id = world.sync(CALENDAR).await;
    let channel = world.live(CALENDAR, 1).await.remove(0);
    world.rested(&id).await;
    let client = reqwest::Client::new();
    for (name, channel_id, resource, token) in [
        ("another channel", "0123", channel.resource_id.as_str(), Some("t")),
        ("another token", channel.id.as_str(), channel.resource_id.as_str(), Some("t")),
        ("no token", channel.id.as_str(), channel.resource_id.as_str(), None),
    ] {
        let request = client.post(&channel.address).header("x-goog-channel-id", channel_id);
        let request =
            request.header("x-goog-resource-id", resource).header("x-goog-resource-state", "exists");
        let request =
            token.into_iter().fold(request, |request, token| request.header("x-goog-channel-token", token));
        let response = request.header("content-length", 0).send().await.unwrap();
        assert_eq!(response.status(), 404, "{name}");
    }
}

/// A step of opening a channel: an operation of AWS, what its body has besides the sync's id, and the fault.
const STEPS: &[(&str, &str, &[&str], Fault)] = &[
    ("before it is noted", "PutItem", &["token_hash"], Fault::KillBefore),
    ("after it is noted", "PutItem", &["token_hash"], Fault::KillAfter),
    ("before the state has it", "UpdateItem", &["\\\"creating\\\""], Fault::KillBefore),
    ("after the state has it", "UpdateItem", &["\\\"creating\\\""], Fault::KillAfter),
    ("before the response is noted", "PutItem", &["token_hash", "resource_id"], Fault::KillBefore),
    ("after the response is noted", "PutItem", &["token_hash", "resource_id"], Fault::KillAfter),
    ("before the state has the response", "UpdateItem", &["\\\"open\\\""], Fault::KillBefore),
    ("after the state has the response", "UpdateItem", &["\\\"open\\\""], Fault::KillAfter),
];

#[tokio::test]
async fn a_function_that_is_killed_while_it_opens_a_channel_opens_one_in_the_end() {
    let mut world = World::new("cw-channel-crash").await;
    let mut syncs = Vec::new();
    for (index, (name, operation, contains, fault)) in STEPS.iter().enumerate() {
        let calendar = format!("calendar{index}@example.test");
        // A connection each: the lease of a killed function ends after a while, and others of its connection wait.
        let person = format!("person{index}");
        world.google.account(&person, &[&format!("access-{person}")]);
        world.google.add_calendar(&person, &calendar, &json!({}));
        let connection = import(&world.crm.tenant, &person).await;
        let body = json!({
            "kind": "google_calendar", "connection_id": connection, "settings": { "calendar_id": calendar, "base_url": world.google.base_url() },
        });
        let id = testkit::stack::text(&world.crm.tenant.post("/v1/syncs", &body).await.expect(201), "id");
        let contains: Vec<&str> = contains.iter().copied().chain([id.as_str()]).collect();
        let hits = world.crm.stack.rule(&Rule::new(operation, &contains, *fault, 1)).await;
        eventually(name, SOON * 4, async || {
            drop(world.crm.stack.try_invoke("SchedulerFunctionName", json!({ "job": "due" })).await);
            (hits.count().await == 1).then_some(())
        })
        .await;
        syncs.push((*name, calendar, id));
    }
    // What was killed held a lease, and its message is hidden for a while.
    for (name, calendar, id) in syncs {
        let mut rounds = 0;
        let live = loop {
            world.go(Duration::from_mins(11)).await;
            let live = testkit::within(Duration::from_secs(3), async || {
                let view: Value = world.crm.tenant.read(&format!("/v1/syncs/{id}")).await;
                let live = world.google.live_channels(&calendar);
                (view["status"] == "active" && !live.is_empty()).then_some(live)
            })
            .await;
            rounds += 1;
            if let Some(live) = live {
                break live;
            }
            assert!(rounds < 40, "{name}");
        };
        // The message of one whose response was lost says that it is open, unless the next run was earlier.
        assert!(live.len() <= 2, "{name}: {live:?}");
        world.google.enter(&calendar, &appointment(name));
        eventually(name, SOON, async || {
            world.crm.stack.run_due().await;
            let events = world.crm.events("calendar.event.created").await;
            events.iter().any(|event| summary(event) == name).then_some(())
        })
        .await;
    }
    let refused = world.google.pushes().into_iter().filter(|push| push.status == 404).count();
    assert_eq!(refused, 0, "each message is of a known channel");
    world.google.assert_no_violations();
}
