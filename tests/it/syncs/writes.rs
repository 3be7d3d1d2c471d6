//! Writes to a calendar of Google: round trips without an echo, repeats, changes by two at once, and crashes.

mod repeats;

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{
    ApiResponse, eventually,
    foreign::google::{Failure, FakeGoogle},
    proxy::{Fault, Rule},
    stack::{Clock, text},
};

use super::{
    SyncFixture,
    google::{CALENDAR, polled_world},
    import,
};
use crate::SOON;

/// A minute more than the longest pause between two polls.
const POLL: Duration = Duration::from_mins(20);

/// A lease of a function that was killed ends at the latest then.
const LEASE_END: Duration = Duration::from_mins(1);

/// The calendar of another account.
const OTHER: &str = "other@example.test";

struct World {
    crm: SyncFixture,
    google: FakeGoogle,
    clock: Clock,
    by: Duration,
    sync: String,
}

impl World {
    /// A sync of a calendar that was read once.
    async fn new(name: &str) -> Self {
        let (crm, google, clock) = polled_world(name).await;
        let settings = json!({ "calendar_id": CALENDAR, "base_url": google.base_url() });
        let sync = crm.sync("google_calendar", settings).await;
        crm.until(&sync, "active").await;
        Self { crm, google, clock, by: Duration::ZERO, sync }
    }

    fn path(&self) -> String {
        format!("/v1/syncs/{}/events", self.sync)
    }

    fn at(&self, id: &str) -> String {
        format!("{}/{id}", self.path())
    }

    async fn create(&self, body: &Value) -> ApiResponse {
        self.crm.tenant.post(&self.path(), body).await
    }

    async fn patch_if(&self, id: &str, tag: &str, body: &Value) -> ApiResponse {
        let headers = [("content-type", "application/json"), ("if-match", tag)];
        let body = Some(body.to_string().into_bytes());
        self.crm.tenant.send(Method::PATCH, &self.at(id), &headers, body).await
    }

    async fn ahead(&mut self, by: Duration) {
        self.by += by;
        self.clock.ahead(self.by);
        self.crm.stack.run_due().await;
    }

    /// The next poll; the sync after it.
    async fn poll(&mut self) -> Value {
        let before: Value = self.crm.tenant.read(&format!("/v1/syncs/{}", self.sync)).await;
        self.ahead(POLL).await;
        self.crm.pass_after(&self.sync, &before).await
    }

    /// How many events of each type were published.
    async fn published(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for (count, kind) in counts.iter_mut().zip(["created", "updated", "deleted"]) {
            *count = self.crm.events(&format!("calendar.event.{kind}")).await.len();
        }
        counts
    }
}

fn at(hour: u32) -> Value {
    json!({ "date_time": format!("2026-12-08T{hour:02}:00:00+01:00"), "time_zone": "Europe/Berlin" })
}

fn viewing() -> Value {
    json!({
        "title": "Viewing", "location": "Hauptstr. 1", "start": at(15), "end": at(16), "core_id": "apt_17",
        "attendees": [{ "email": "ben@example.com", "name": "Ben" }],
    })
}

#[tokio::test]
async fn what_the_crm_writes_comes_back_as_no_event() {
    let mut world = World::new("cw-write-round").await;
    let created = world.create(&viewing()).await.expect(201);
    let id = text(&created, "id");
    assert_eq!((&created["title"], &created["core_id"]), (&json!("Viewing"), &json!("apt_17")));
    let stored = world.google.event(CALENDAR, &id).unwrap();
    assert_eq!(stored["extendedProperties"]["private"]["core_id"], "apt_17");
    let read = world.crm.tenant.get(&world.at(&id)).await;
    let tag = read.header("etag").to_owned();
    assert_eq!(read.expect(200), created);
    // The guest responds, and the CRM's change of the list keeps that.
    world.google.edit(
        CALENDAR,
        &id,
        &json!({ "attendees": [{ "email": "ben@example.com", "displayName": "Ben", "responseStatus": "accepted" }] }),
    );
    assert_eq!(world.poll().await["record_count"], 1);
    assert_eq!(world.published().await, [0, 1, 0], "the guest's response, and not what the CRM wrote");
    let guests = json!({ "attendees": [{ "email": "ben@example.com" }, { "email": "cy@example.com" }] });
    world.patch_if(&id, &tag, &guests).await.expect_problem(412, "precondition-failed");
    let tag = world.crm.tenant.get(&world.at(&id)).await.header("etag").to_owned();
    let patched = world.patch_if(&id, &tag, &guests).await;
    let next = patched.header("etag").to_owned();
    let patched = patched.expect(200);
    assert_eq!(patched["attendees"][0]["response"], "accepted");
    // Whole days take the place of times, and a text is removed.
    let days =
        json!({ "start": { "date": "2026-12-08" }, "end": { "date": "2026-12-09" }, "location": null });
    // The response of the first copy is lost, and its repeat meets what that made.
    world.google.fail(Failure::lost_response("events.patch"));
    let patched = world.patch_if(&id, &next, &days).await.expect(200);
    assert_eq!((&patched["start"], &patched["location"]), (&json!({ "date": "2026-12-08" }), &Value::Null));
    let same = world.crm.tenant.patch(&world.at(&id), &patched).await.expect(200);
    assert_eq!(same, patched);
    assert_eq!(world.google.calls_of("events.patch").len(), 3, "what is there already is not written");
    assert_eq!(world.poll().await["record_count"], 1);
    assert_eq!(world.published().await, [0, 1, 0]);
    // No guest was notified.
    for call in world.google.calls().iter().filter(|call| call.method != "events.list") {
        let notified = call.query.iter().find(|(name, _)| name == "sendUpdates");
        assert!(notified.is_none_or(|(_, value)| value == "none"), "{call:?}");
    }
    let listed =
        format!("/v1/connections/{}/calendars?base_url={}", world.crm.connection, world.google.base_url());
    let listed = world.crm.tenant.get(&listed).await.expect(200);
    let calendar = listed["data"].as_array().unwrap().iter().find(|calendar| calendar["id"] == CALENDAR);
    let calendar = calendar.expect("the calendar of the sync");
    assert_eq!((&calendar["sync_id"], &calendar["writable"]), (&json!(world.sync), &json!(true)));
    world.crm.tenant.delete(&format!("{}?send_updates=all", world.at(&id))).await.expect(204);
    world.crm.tenant.delete(&world.at(&id)).await.expect(204);
    world.crm.tenant.get(&world.at(&id)).await.expect_problem(404, "not-found");
    world.crm.tenant.delete(&world.at("crm0000")).await.expect_problem(404, "not-found");
    assert_eq!(world.poll().await["record_count"], 0);
    assert_eq!(world.published().await, [0, 1, 0]);
    world.google.assert_no_violations();
}

#[tokio::test]
async fn an_appointment_is_created_once() {
    let mut world = World::new("cw-write-once").await;
    // The response of the first insert is lost; its repeat meets what it made.
    world.google.fail(Failure::lost_response("events.insert"));
    let id = text(&world.create(&viewing()).await.expect(201), "id");
    assert_eq!(world.google.calls_of("events.insert").len(), 2);
    assert_eq!(text(&world.create(&viewing()).await.expect(201), "id"), id);
    let mut other = viewing();
    other["title"] = json!("Another");
    world.create(&other).await.expect_problem(409, "already-exists");
    // By the key of a request too, where there is no id of the CRM.
    let keyed = json!({ "start": { "date": "2026-12-08" }, "end": { "date": "2026-12-09" } });
    let key = [("idempotency-key", "once")];
    let first = world.crm.tenant.post_with(&world.path(), &key, &keyed).await.expect(201);
    assert_eq!(world.crm.tenant.post_with(&world.path(), &key, &keyed).await.expect(201), first);
    assert_eq!(world.google.events(CALENDAR).len(), 2);
    assert_eq!(world.poll().await["record_count"], 2);
    assert_eq!(world.published().await, [0, 0, 0]);
    // G18: a person moves it, and the repeat of its creation changes nothing.
    let moved = json!({ "dateTime": "2026-12-08T17:00:00+01:00", "timeZone": "Europe/Berlin" });
    world.google.edit(CALENDAR, &id, &json!({ "end": moved }));
    let repeated = world.create(&viewing()).await.expect(201);
    assert_eq!(repeated["end"]["date_time"], "2026-12-08T17:00:00+01:00");
    world.poll().await;
    assert_eq!(world.published().await, [0, 1, 0]);
    // G8: a person removes it. Its id is spent, which is said at once.
    world.google.remove(CALENDAR, &id);
    world.create(&viewing()).await.expect_problem(409, "already-exists");
    world.crm.tenant.patch(&world.at(&id), &json!({ "title": "x" })).await.expect_problem(404, "not-found");
    world.poll().await;
    assert_eq!(world.published().await, [0, 1, 1]);
    world.google.assert_no_violations();
}

#[tokio::test]
async fn of_two_changes_at_once_none_is_lost() {
    let mut world = World::new("cw-write-two").await;
    let id = text(&world.create(&viewing()).await.expect(201), "id");
    let tag = world.crm.tenant.get(&world.at(&id)).await.header("etag").to_owned();
    world.google.forget_calls();
    // A person edits it after the CRM has read it, and before its change arrives.
    let slow = || Failure::slow("events.patch", Duration::from_secs(2));
    let person = async |fields: Value| {
        eventually("the CRM has read it", SOON, async || {
            (!world.google.calls_of("events.get").is_empty()).then_some(())
        })
        .await;
        world.google.edit(CALENDAR, &id, &fields);
    };
    world.google.fail(slow());
    let change = json!({ "title": "By the CRM" });
    let (refused, ()) =
        tokio::join!(world.patch_if(&id, &tag, &change), person(json!({ "summary": "By a person" })),);
    refused.expect_problem(412, "precondition-failed");
    let present = world.crm.tenant.get(&world.at(&id)).await;
    assert!(refused.json["detail"].as_str().unwrap().contains(present.header("etag")), "{}", refused.json);
    assert_eq!(present.json["title"], "By a person");
    // Without a condition both are made: the CRM's fields onto the person's version.
    world.google.forget_calls();
    world.google.fail(slow());
    let path = world.at(&id);
    let (made, ()) = tokio::join!(world.crm.tenant.patch(&path, &change), async {
        eventually("the CRM has read it", SOON, async || {
            (!world.google.calls_of("events.get").is_empty()).then_some(())
        })
        .await;
        world.google.edit(CALENDAR, &id, &json!({ "location": "Seestr. 2" }));
    },);
    let made = made.expect(200);
    assert_eq!((&made["title"], &made["location"]), (&json!("By the CRM"), &json!("Seestr. 2")));
    // What the person did is published, with the CRM's change in it.
    world.poll().await;
    let updated = world.crm.events("calendar.event.updated").await;
    let [updated] = &updated[..] else { panic!("{updated:?}") };
    assert_eq!(updated["calendar_event"]["location"], "Seestr. 2");
    assert_eq!(updated["origin"], "google_calendar");
    world.google.assert_no_violations();
}

#[tokio::test]
async fn a_write_that_was_killed_before_it_was_noted_comes_to_one_end() {
    let mut world = World::new("cw-write-killed").await;
    // Another account, so that each kill has a lease of its own.
    world.google.account("bob", &["access-bob"]);
    world.google.add_calendar("bob", OTHER, &json!({}));
    world.google.set_watchable(OTHER, false);
    let bob = import(&world.crm.tenant, "bob").await;
    let body = json!({
        "kind": "google_calendar", "connection_id": bob,
        "settings": { "calendar_id": OTHER, "base_url": world.google.base_url() },
    });
    let other = text(&world.crm.tenant.post("/v1/syncs", &body).await.expect(201), "id");
    world.crm.stack.run_due().await;
    let read = world.crm.until(&other, "active").await;
    let mut kills = Vec::new();
    for sync in [&world.sync, &other] {
        let rule = Rule::new("PutItem", &[sync, "record#crm"], Fault::KillBefore, 1);
        kills.push(world.crm.stack.rule(&rule).await);
    }
    let key = [("idempotency-key", "killed")];
    let killed = world.crm.tenant.post_with(&world.path(), &key, &viewing()).await;
    assert!(killed.status >= 500, "{}", killed.json);
    let others = format!("/v1/syncs/{other}/events");
    let killed = world.crm.tenant.post(&others, &viewing()).await;
    assert!(killed.status >= 500, "{}", killed.json);
    for kill in &kills {
        assert_eq!(kill.count().await, 1);
    }
    // The claim of the key ends after a minute, and the lease of the connection with its function's time.
    world.by += Duration::from_mins(2);
    world.clock.ahead(world.by);
    let again = eventually("the repeat succeeds", LEASE_END, async || {
        let again = world.crm.tenant.post_with(&world.path(), &key, &viewing()).await;
        (again.status == 201).then_some(again)
    })
    .await;
    assert_eq!(world.google.events(CALENDAR).len(), 1);
    // A run of the other one comes before its repeat, and publishes it as someone's, once.
    world.ahead(POLL).await;
    eventually("the run", LEASE_END, async || {
        world.crm.stack.run_due().await;
        let view: Value = world.crm.tenant.read(&format!("/v1/syncs/{other}")).await;
        (view["last_pass_at"] != read["last_pass_at"] && view["record_count"] == 1).then_some(())
    })
    .await;
    let repeated = world.crm.tenant.post(&others, &viewing()).await.expect(201);
    assert_ne!(repeated["id"], again.json["id"], "two calendars, two ids");
    assert_eq!(world.google.events(OTHER).len(), 1);
    let created = world.crm.events("calendar.event.created").await;
    let [created] = &created[..] else { panic!("{created:?}") };
    assert_eq!((&created["sync_id"], &created["origin"]), (&json!(other), &json!("google_calendar")));
    assert_eq!(created["calendar_event"]["core_id"], "apt_17");
    world.google.assert_no_violations();
}

#[tokio::test]
async fn what_google_refuses_is_a_problem_that_says_so() {
    let mut world = World::new("cw-write-refused").await;
    let id = text(&world.create(&viewing()).await.expect(201), "id");
    let change = json!({ "title": "Changed" });
    for (failure, status, problem, waits) in [
        // G13: read-only for hours.
        (Failure::error("events.patch", 403, "quotaExceeded"), 429, "too-many-requests", true),
        (Failure::error("events.patch", 403, "rateLimitExceeded").times(9), 429, "too-many-requests", true),
        (Failure::error("events.patch", 403, "forbiddenForNonOrganizer"), 422, "third-party-refused", false),
        (Failure::error("events.patch", 400, "invalid"), 422, "third-party-refused", false),
        (Failure::error("events.patch", 503, "backendError").times(9), 503, "third-party-unavailable", true),
    ] {
        let name = format!("{failure:?}");
        world.google.fail(failure);
        let refused = world.crm.tenant.patch(&world.at(&id), &change).await;
        refused.expect_problem(status, problem);
        assert_eq!(!refused.header("retry-after").is_empty(), waits, "{name}");
        world.google.forget_failures();
        if problem == "too-many-requests" {
            // It holds for the connection, and Google is not asked again; while it is read-only, it can be read.
            let sent = world.google.calls_of("events.patch").len();
            world.crm.tenant.patch(&world.at(&id), &change).await.expect_problem(status, problem);
            assert_eq!(world.google.calls_of("events.patch").len(), sent, "{name}");
            if name.contains("quota") {
                world.crm.tenant.get(&world.at(&id)).await.expect(200);
            }
            world.by += Duration::from_hours(2);
            world.clock.ahead(world.by);
        }
    }
    world.crm.tenant.patch(&world.at(&id), &change).await.expect(200);
    // Of two at once one has the lease. On a busy machine the other one may begin only after it.
    let path = world.at(&id);
    let busy = eventually("the connection is busy", SOON * 2, async || {
        world.google.forget_failures();
        world.google.fail(Failure::slow("events.get", Duration::from_secs(5)));
        let (one, other) = tokio::join!(world.crm.tenant.get(&path), world.crm.tenant.get(&path));
        let [made, busy] = if one.status == 429 { [other, one] } else { [one, other] };
        made.expect(200);
        (busy.status == 429).then_some(busy)
    })
    .await;
    busy.expect_problem(429, "too-many-requests");
    assert!(!busy.header("retry-after").is_empty());
    world.google.forget_failures();
    world.google.reject_tokens("ada");
    let refused = world.crm.tenant.get(&world.at(&id)).await;
    assert!([409, 503].contains(&refused.status), "{}", refused.json);
    world.google.assert_no_violations();
}

#[tokio::test]
async fn a_field_that_is_refused_is_named_and_nothing_is_written() {
    let world = World::new("cw-write-fields").await;
    let id = text(&world.create(&viewing()).await.expect(201), "id");
    world.google.forget_calls();
    for (change, pointer) in [
        (json!({ "title": "x".repeat(1025) }), "/title"),
        (json!({ "title": 1 }), "/title"),
        (json!({ "start": { "date_time": "2026-12-08 15:00" } }), "/start/date_time"),
        (json!({ "start": { "date": "2026-12-08", "date_time": "2026-12-08T15:00:00Z" } }), "/start"),
        (json!({ "end": { "date": "2026-02-30" } }), "/end/date"),
        (json!({ "start": { "zone": "UTC" } }), "/start/zone"),
        (
            json!({ "start": { "date_time": "2026-12-08T15:00:00Z", "time_zone": "the moon" } }),
            "/start/time_zone",
        ),
        (json!({ "attendees": [{ "email": "ada" }] }), "/attendees/0/email"),
        (json!({ "attendees": [{ "email": "a@b.c" }, { "email": "A@b.c" }] }), "/attendees/1/email"),
        (json!({ "recurrence": ["FREQ=DAILY"] }), "/recurrence/0"),
        (json!({ "visibility": "secret" }), "/visibility"),
        (json!({ "status": "cancelled" }), "/status"),
        (json!({ "colour": "red" }), "/colour"),
    ] {
        let mut created = viewing();
        created.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        for response in [world.create(&created).await, world.crm.tenant.patch(&world.at(&id), &change).await]
        {
            response.expect_invalid_field(pointer);
        }
    }
    let mut without = viewing();
    without.as_object_mut().unwrap().remove("end");
    world.create(&without).await.expect_invalid_field("");
    let mut core = viewing();
    core["core_id"] = json!("");
    world.create(&core).await.expect_invalid_field("/core_id");
    let path = format!("{}?send_updates=some", world.path());
    world.crm.tenant.post(&path, &viewing()).await.expect_invalid_parameter("send_updates");
    assert!(world.google.calls().is_empty(), "nothing was sent");
    // What depends on the present times.
    for (change, pointer) in [
        (json!({ "end": { "date": "2026-12-09" } }), "/end"),
        (json!({ "end": at(14) }), "/end"),
        (
            json!({ "recurrence": ["RRULE:FREQ=DAILY"], "start": { "date_time": "2026-12-08T15:00:00+01:00" } }),
            "/start/time_zone",
        ),
    ] {
        world.crm.tenant.patch(&world.at(&id), &change).await.expect_invalid_field(pointer);
    }
    assert!(world.google.calls_of("events.patch").is_empty());
    // Listings cannot be written, and two syncs do not read the same.
    let listings = json!({ "kind": "spark", "connection_id": world.crm.connection });
    let listings = text(&world.crm.tenant.post("/v1/syncs", &listings).await.expect(201), "id");
    let path = format!("/v1/syncs/{listings}/events");
    world.crm.tenant.post(&path, &viewing()).await.expect_problem(409, "not-supported");
    let same = json!({
        "kind": "google_calendar", "connection_id": world.crm.connection,
        "settings": { "calendar_id": CALENDAR, "base_url": world.google.base_url() },
    });
    let refused = world.crm.tenant.post("/v1/syncs", &same).await;
    refused.expect_problem(409, "already-exists");
    assert!(refused.json["detail"].as_str().unwrap().contains(&world.sync), "{}", refused.json);
    world.crm.tenant.delete(&format!("/v1/syncs/{}", world.sync)).await.expect(204);
    world.crm.tenant.post("/v1/syncs", &same).await.expect(201);
    // A calendar of Google is read by a connection at Google.
    world.crm.tenant.post("/v1/idps", &json!({ "name": "linkedin" })).await.expect(201);
    let credentials = json!({ "client_id": "client", "client_secret": "only-an-example" });
    world.crm.tenant.post("/v1/idps/linkedin/credentials", &credentials).await.expect(201);
    let body = json!({
        "user_id": "u_1", "idp": "linkedin", "access_token": "only-an-example", "expires_in": 3600,
        "account": { "sub": "1" },
    });
    let elsewhere = text(&world.crm.tenant.post("/v1/connections", &body).await.expect(201), "id");
    let body = json!({
        "kind": "google_calendar", "connection_id": elsewhere, "settings": { "calendar_id": "primary" },
    });
    world.crm.tenant.post("/v1/syncs", &body).await.expect_invalid_field("/connection_id");
    let path = format!("/v1/connections/{elsewhere}/calendars");
    world.crm.tenant.get(&path).await.expect_problem(409, "not-supported");
    world.google.assert_no_violations();
}
