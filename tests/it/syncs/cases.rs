//! Cases that others met with Google's calendars, by their numbers in the research.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{eventually, foreign::google::Failure};

use super::google::{CALENDAR, World};
use crate::SOON;

/// A minute more than the longest pause between two polls.
const POLL: Duration = Duration::from_mins(20);

impl World {
    /// The next poll; the sync after it.
    async fn poll(&mut self, id: &str) -> Value {
        let before: Value = self.crm.tenant.read(&format!("/v1/syncs/{id}")).await;
        self.go(POLL).await;
        self.crm.pass_after(id, &before).await
    }

    async fn ids(&self, event_type: &str) -> Vec<String> {
        let events = self.crm.events(event_type).await;
        events.iter().map(|event| testkit::stack::text(&event["calendar_event"], "id")).collect()
    }
}

/// A series on Tuesdays from 1 December 2026 on.
fn weekly(id: &str) -> Value {
    json!({
        "id": id, "summary": "Open house",
        "start": { "dateTime": "2026-12-01T15:00:00Z", "timeZone": "UTC" },
        "end": { "dateTime": "2026-12-01T16:00:00Z", "timeZone": "UTC" },
        "recurrence": ["RRULE:FREQ=WEEKLY"],
    })
}

#[tokio::test]
async fn a_series_is_one_event_and_takes_its_occurrences_with_it() {
    let mut world = World::polled("cw-case-series").await;
    world.google.enter(CALENDAR, &weekly("weekly0"));
    world.google.remove(CALENDAR, "weekly0_20261208T150000Z");
    let id = world.sync(CALENDAR).await;
    // G10: the occurrence is gone, the series lives.
    let full = world.crm.until(&id, "active").await;
    assert_eq!(full["record_count"], 1, "{full}");
    assert_eq!(world.ids("calendar.event.created").await, ["weekly0"]);
    let deleted = world.crm.events("calendar.event.deleted").await;
    let [occurrence] = &deleted[..] else { panic!("{deleted:?}") };
    let shown = &occurrence["calendar_event"];
    assert_eq!(
        (&shown["id"], &shown["series_id"], &shown["status"]),
        (&json!("weekly0_20261208T150000Z"), &json!("weekly0"), &json!("cancelled"))
    );
    assert_eq!(shown["original_start"]["date_time"], "2026-12-08T15:00:00Z");
    // One that is moved is an event of its own.
    let moved = json!({
        "start": { "dateTime": "2026-12-22T17:00:00Z", "timeZone": "UTC" },
        "end": { "dateTime": "2026-12-22T18:00:00Z", "timeZone": "UTC" },
    });
    world.google.edit(CALENDAR, "weekly0_20261222T150000Z", &moved);
    assert_eq!(world.poll(&id).await["record_count"], 2);
    // G11: "this and following" is a new series beside the old one, which ends before it.
    let next = world.google.split(CALENDAR, "weekly0", "20270105T150000Z", &json!({ "summary": "Later" }));
    assert_eq!(world.poll(&id).await["record_count"], 3);
    assert_eq!(
        world.ids("calendar.event.created").await,
        ["weekly0", "weekly0_20261222T150000Z", next.as_str()]
    );
    let updated = world.crm.events("calendar.event.updated").await;
    let [ended] = &updated[..] else { panic!("{updated:?}") };
    assert!(ended["calendar_event"]["recurrence"][0].as_str().unwrap().contains("UNTIL="), "{ended}");
    assert_eq!(world.crm.events("calendar.event.deleted").await.len(), 1);
    // The old series goes with its occurrences, in one event; the new one stays.
    world.google.remove(CALENDAR, "weekly0");
    let left = world.poll(&id).await;
    assert_eq!((&left["record_count"], &left["status"]), (&json!(1), &json!("active")));
    assert_eq!(world.ids("calendar.event.deleted").await, ["weekly0_20261208T150000Z", "weekly0"]);
    world.google.assert_no_violations();
}

#[tokio::test]
async fn a_series_that_is_gone_when_everything_is_read_again_is_one_event() {
    let mut world = World::polled("cw-case-sweep").await;
    world.google.enter(CALENDAR, &weekly("weekly0"));
    world.google.enter(CALENDAR, &weekly("weekly1"));
    world.google.edit(CALENDAR, "weekly0_20261222T150000Z", &json!({ "summary": "Another" }));
    world.google.remove(CALENDAR, "weekly0_20261208T150000Z");
    let id = world.sync(CALENDAR).await;
    assert_eq!(world.crm.until(&id, "active").await["record_count"], 3);
    world.google.remove(CALENDAR, "weekly0");
    world.google.expire_sync_tokens(CALENDAR);
    let after = world.poll(&id).await;
    assert_eq!((&after["record_count"], &after["status"]), (&json!(1), &json!("active")));
    assert_eq!(world.ids("calendar.event.deleted").await, ["weekly0_20261208T150000Z", "weekly0"]);
    world.google.assert_no_violations();
}

#[tokio::test]
async fn a_limit_that_looks_like_a_missing_right_is_a_limit() {
    // G12.
    let mut world = World::polled("cw-case-throttled").await;
    let id = world.sync(CALENDAR).await;
    world.crm.until(&id, "active").await;
    let body = json!({ "error": {
        "code": 403, "status": "PERMISSION_DENIED", "message": "Rate Limit Exceeded",
        "errors": [{ "domain": "usageLimits", "reason": "rateLimitExceeded", "message": "Rate Limit Exceeded" }],
    } });
    world.google.fail(Failure::raw("events.list", 403, &body.to_string()).times(9));
    world.google.enter(
        CALENDAR,
        &json!({
            "id": "viewing0", "start": { "date": "2026-03-29" }, "end": { "date": "2026-03-30" },
        }),
    );
    world.go(POLL).await;
    let throttled = eventually("it is throttled", SOON, async || {
        let view: Value = world.crm.tenant.read(&format!("/v1/syncs/{id}")).await;
        (view["last_error"]["code"] == "throttled").then_some(view)
    })
    .await;
    assert_eq!(throttled["status"], "active", "{throttled}");
    let connection: Value = world.crm.tenant.read(&format!("/v1/connections/{}", world.crm.connection)).await;
    assert_eq!(connection["status"], "active");
    assert!(world.crm.events("calendar.sync.failing").await.is_empty());
    world.google.forget_failures();
    world.go(POLL).await;
    let after = world.crm.pass_after(&id, &throttled).await;
    assert_eq!((&after["last_error"], &after["record_count"]), (&Value::Null, &json!(1)));
    // G15: a day of the change to summer time is one day.
    let created = world.crm.events("calendar.event.created").await;
    assert_eq!(created[0]["calendar_event"]["end"], json!({ "date": "2026-03-30" }));
    world.google.assert_no_violations();
}

#[tokio::test]
async fn a_calendar_that_is_read_only_for_hours_is_read() {
    // G13: a write is refused for hours, which a channel is too; reads go on.
    let mut world = World::polled("cw-case-read-only").await;
    world.google.set_watchable(CALENDAR, true);
    world.google.fail(Failure::error("events.watch", 403, "quotaExceeded").times(50));
    let id = world.sync(CALENDAR).await;
    world.crm.until(&id, "active").await;
    world.google.enter_many(CALENDAR, "viewing", 1);
    let after = world.poll(&id).await;
    assert_eq!((&after["status"], &after["record_count"]), (&json!("active"), &json!(1)));
    assert!(world.crm.events("calendar.sync.failing").await.is_empty());
    assert!(world.google.calls_of("events.watch").len() <= 2, "it waits");
    world.google.assert_no_violations();
}

#[tokio::test]
async fn a_lost_position_is_shown_while_everything_is_read_again() {
    // G21.
    let mut world = World::polled("cw-case-resyncing").await;
    world.google.enter_many(CALENDAR, "viewing", 4);
    world.google.set_page_size(2);
    let id = world.sync(CALENDAR).await;
    let full = world.crm.until(&id, "active").await;
    world.google.expire_sync_tokens(CALENDAR);
    world.google.fail(Failure::slow("events.list", Duration::from_secs(4)).skipping(1).times(2));
    world.go(POLL).await;
    world.crm.until(&id, "resyncing").await;
    let after = world.crm.pass_after(&id, &full).await;
    assert_eq!((&after["status"], &after["record_count"]), (&json!("active"), &json!(4)));
    assert_eq!(world.crm.events("calendar.event.created").await.len(), 4);
    world.google.assert_no_violations();
}
