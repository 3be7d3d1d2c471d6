//! Calendars of Google, against the fake that Google's own SDK and another client have proven.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{
    Stack,
    foreign::google::{Failure, FakeGoogle},
};

use super::{SyncFixture, connect};

pub(super) const CALENDAR: &str = "team@example.test";

/// A person with one calendar at a Google of its own, on a stack with a clock.
pub(super) async fn world(name: &str) -> (SyncFixture, FakeGoogle, testkit::stack::Clock) {
    let (stack, clock) = Stack::deploy_with_clock(name).await;
    let google = FakeGoogle::start().await;
    google.account("ada", &["access-ada"]);
    google.add_calendar("ada", CALENDAR, &json!({}));
    (connect(stack, "ada").await, google, clock)
}

/// The same where what changed is found by polls alone.
pub(super) async fn polled_world(name: &str) -> (SyncFixture, FakeGoogle, testkit::stack::Clock) {
    let (crm, google, clock) = world(name).await;
    google.set_watchable(CALENDAR, false);
    (crm, google, clock)
}

/// Both with their clocks, which only go ahead.
pub(super) struct World {
    pub(super) crm: SyncFixture,
    pub(super) google: FakeGoogle,
    clock: testkit::stack::Clock,
    by: Duration,
}

impl World {
    /// Where push channels can be opened.
    pub(super) async fn new(name: &str) -> Self {
        Self::of(world(name).await)
    }

    /// Where what changed is found by polls alone.
    pub(super) async fn polled(name: &str) -> Self {
        Self::of(polled_world(name).await)
    }

    fn of((crm, google, clock): (SyncFixture, FakeGoogle, testkit::stack::Clock)) -> Self {
        Self { crm, google, clock, by: Duration::ZERO }
    }

    /// Creates a sync of a calendar, and lets it run.
    pub(super) async fn sync(&self, calendar: &str) -> String {
        let settings = json!({ "calendar_id": calendar, "base_url": self.google.base_url() });
        self.crm.sync("google_calendar", settings).await
    }

    /// Lets time pass, and the scheduler do what is due then.
    pub(super) async fn go(&mut self, by: Duration) {
        self.by += by;
        self.clock.ahead(self.by);
        self.google.advance(by);
        self.crm.stack.run_due().await;
    }
}

fn settings(google: &FakeGoogle) -> Value {
    json!({ "calendar_id": CALENDAR, "base_url": google.base_url() })
}

fn at(hour: u32) -> Value {
    json!({ "dateTime": format!("2026-12-08T{hour:02}:00:00+01:00"), "timeZone": "Europe/Berlin" })
}

fn ids(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["calendar_event"]["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_calendar_is_read_whole_and_then_its_changes() {
    let (world, google, clock) = polled_world("cw-sync-calendar").await;
    google.set_page_size(3);
    google.enter_many(CALENDAR, "viewing", 7);
    let id = world.sync("google_calendar", settings(&google)).await;
    let full = world.until(&id, "active").await;
    assert_eq!((&full["record_count"], &full["totals"]["created"]), (&json!(7), &json!(7)));
    let created = world.events("calendar.event.created").await;
    assert_eq!(created.len(), 7);
    assert_eq!((&created[0]["sync_id"], &created[0]["origin"]), (&json!(id), &json!("google_calendar")));

    // One moved, one removed, one new: three events, and nothing about the rest.
    let (moved, removed) = ("viewing0", "viewing1");
    let known = google.events(CALENDAR);
    let name = |index: usize| known[index]["id"].as_str().unwrap().to_owned();
    let (moved, removed) = if google.event(CALENDAR, moved).is_some() {
        (moved.to_owned(), removed.to_owned())
    } else {
        (name(0), name(1))
    };
    google.edit(CALENDAR, &moved, &json!({ "start": at(9), "end": at(10) }));
    google.remove(CALENDAR, &removed);
    let new = google.enter(CALENDAR, &json!({ "summary": "New", "start": at(11), "end": at(12) }));
    clock.ahead(Duration::from_mins(20));
    world.stack.run_due().await;
    let delta = world.pass_after(&id, &full).await;
    assert_eq!(delta["record_count"], 7);
    // G18: the old time and the new one.
    let updated = world.events("calendar.event.updated").await;
    assert_eq!(ids(&updated), [moved.as_str()]);
    assert_eq!(updated[0]["calendar_event"]["start"]["date_time"], "2026-12-08T09:00:00+01:00");
    assert!(updated[0]["previous"]["start"].is_object(), "{}", updated[0]);
    assert_eq!(ids(&world.events("calendar.event.deleted").await), [removed.as_str()]);
    let created = world.events("calendar.event.created").await;
    assert_eq!(created.len(), 8);
    assert!(ids(&created).contains(&new.as_str()));
    google.assert_no_violations();
}

#[tokio::test]
async fn a_lost_position_reads_everything_and_finds_what_is_gone() {
    // G1: a full list has no tombstones.
    let (world, google, clock) = polled_world("cw-sync-lost").await;
    google.enter_many(CALENDAR, "viewing", 5);
    let id = world.sync("google_calendar", settings(&google)).await;
    let full = world.until(&id, "active").await;
    let gone = google.events(CALENDAR)[0]["id"].as_str().unwrap().to_owned();
    google.remove(CALENDAR, &gone);
    google.expire_sync_tokens(CALENDAR);
    clock.ahead(Duration::from_mins(20));
    world.stack.run_due().await;
    let after = world.pass_after(&id, &full).await;
    assert_eq!((&after["status"], &after["record_count"]), (&json!("active"), &json!(4)));
    assert_eq!(ids(&world.events("calendar.event.deleted").await), [gone.as_str()]);
    assert_eq!(world.events("calendar.event.created").await.len(), 5);
    google.assert_no_violations();
}

#[tokio::test]
async fn a_list_that_breaks_off_removes_nothing() {
    // G2: page 1 of 3, and then failures.
    let (world, google, clock) = polled_world("cw-sync-broken").await;
    google.set_page_size(2);
    google.enter_many(CALENDAR, "viewing", 6);
    let id = world.sync("google_calendar", settings(&google)).await;
    let full = world.until(&id, "active").await;
    google.expire_sync_tokens(CALENDAR);
    google.fail(Failure::error("events.list", 500, "backendError").skipping(2).times(9));
    clock.ahead(Duration::from_mins(20));
    world.stack.run_due().await;
    let failing = world.until(&id, "failing").await;
    assert_eq!(
        (&failing["last_error"]["code"], &failing["record_count"]),
        (&json!("unavailable"), &json!(6))
    );
    assert!(world.events("calendar.event.deleted").await.is_empty());
    google.forget_failures();
    clock.ahead(Duration::from_mins(40));
    world.stack.run_due().await;
    let after = world.pass_after(&id, &full).await;
    assert_eq!((&after["status"], &after["record_count"]), (&json!("active"), &json!(6)));
    assert!(world.events("calendar.event.deleted").await.is_empty());
    assert_eq!(world.events("calendar.event.created").await.len(), 6);
}
