//! Repeats of writes whose responses were lost, and what else must not be noted twice or left behind.

use domain::SyncId;
use platform::store::table::keys;

use super::*;
use crate::tables::{self, Table};

/// The work is done, and all that the client learns is that Google fails.
fn done_without_a_word(google: &FakeGoogle, method: &str) {
    google.fail(Failure::lost_response(method));
    google.fail(Failure::error(method, 503, "backendError").times(2));
}

#[tokio::test]
async fn a_key_stays_with_a_request_whose_effect_is_unknown() {
    let mut world = World::new("cw-repeat-key").await;
    let keyed =
        json!({ "title": "Keyed", "start": { "date": "2026-12-08" }, "end": { "date": "2026-12-09" } });
    let key = [("idempotency-key", "unknown")];
    // The insert is carried out, its response is lost, and its own repeat is refused.
    world.google.fail(Failure::lost_response("events.insert"));
    world.google.fail(Failure::error("events.insert", 403, "quotaExceeded"));
    let refused = world.crm.tenant.post_with(&world.path(), &key, &keyed).await;
    refused.expect_problem(429, "too-many-requests");
    assert_eq!(world.google.events(CALENDAR).len(), 1);
    world.by += Duration::from_hours(2);
    world.clock.ahead(world.by);
    let made = world.crm.tenant.post_with(&world.path(), &key, &keyed).await.expect(201);
    let events = world.google.events(CALENDAR);
    assert_eq!((events.len(), &events[0]["id"]), (1, &made["id"]));
    // Of one that Google does not accept, the key is free for a corrected request.
    let key = [("idempotency-key", "refused")];
    world.google.fail(Failure::error("events.insert", 400, "invalid"));
    let refused = world.crm.tenant.post_with(&world.path(), &key, &keyed).await;
    refused.expect_problem(422, "third-party-refused");
    let mut corrected = keyed.clone();
    corrected["title"] = json!("Corrected");
    world.crm.tenant.post_with(&world.path(), &key, &corrected).await.expect(201);
    assert_eq!(world.poll().await["record_count"], 2);
    assert_eq!(world.published().await, [0, 0, 0]);
    world.google.assert_no_violations();
}

#[tokio::test]
async fn a_repeated_creation_leaves_a_persons_change_to_the_sync() {
    let mut world = World::new("cw-repeat-create").await;
    let mut other = viewing();
    other["core_id"] = json!("apt_18");
    for body in [&viewing(), &other] {
        done_without_a_word(&world.google, "events.insert");
        world.create(body).await.expect_problem(503, "third-party-unavailable");
    }
    let events = world.google.events(CALENDAR);
    let edited = events.iter().find(|event| event["extendedProperties"]["private"]["core_id"] == "apt_18");
    let edited = text(edited.expect("the second one"), "id");
    world.google.edit(CALENDAR, &edited, &json!({ "description": "By a person" }));
    world.create(&viewing()).await.expect(201);
    let repeated = world.create(&other).await.expect(201);
    assert_eq!((&repeated["id"], &repeated["description"]), (&json!(edited), &json!("By a person")));
    assert_eq!(world.poll().await["record_count"], 2);
    let created = world.crm.events("calendar.event.created").await;
    let [created] = &created[..] else { panic!("{created:?}") };
    assert_eq!(created["calendar_event"]["description"], "By a person");
    assert_eq!(world.published().await, [1, 0, 0]);
    world.google.assert_no_violations();
}

#[tokio::test]
async fn a_repeated_change_recognises_what_it_made() {
    let mut world = World::new("cw-repeat-change").await;
    let id = text(&world.create(&viewing()).await.expect(201), "id");
    let tag = world.crm.tenant.get(&world.at(&id)).await.header("etag").to_owned();
    let change = json!({ "title": "By the CRM" });
    done_without_a_word(&world.google, "events.patch");
    world.patch_if(&id, &tag, &change).await.expect_problem(503, "third-party-unavailable");
    // Its condition names what it has changed itself.
    let repeated = world.patch_if(&id, &tag, &change).await;
    let tag = repeated.header("etag").to_owned();
    assert_eq!(repeated.expect(200)["title"], "By the CRM");
    // The repeat within the request meets the new version, and cannot read it.
    let change = json!({ "title": "By the CRM again" });
    world.google.fail(Failure::lost_response("events.patch"));
    world.google.fail(Failure::error("events.get", 503, "backendError").skipping(1).times(3));
    world.patch_if(&id, &tag, &change).await.expect_problem(503, "third-party-unavailable");
    world.google.forget_failures();
    let repeated = world.patch_if(&id, &tag, &change).await;
    let tag = repeated.header("etag").to_owned();
    repeated.expect(200);
    assert_eq!(world.poll().await["record_count"], 1);
    assert_eq!(world.published().await, [0, 0, 0]);
    // What a person adds before the repeat is for the sync, and the condition holds.
    let change = json!({ "title": "By the CRM at last" });
    done_without_a_word(&world.google, "events.patch");
    world.patch_if(&id, &tag, &change).await.expect_problem(503, "third-party-unavailable");
    world.google.edit(CALENDAR, &id, &json!({ "location": "Seestr. 2" }));
    world.patch_if(&id, &tag, &change).await.expect_problem(412, "precondition-failed");
    world.crm.tenant.patch(&world.at(&id), &change).await.expect(200);
    world.poll().await;
    assert_eq!(world.published().await, [0, 1, 0]);
    world.google.assert_no_violations();
}

#[tokio::test]
async fn a_series_that_is_removed_takes_its_occurrences_along() {
    let mut world = World::new("cw-write-series").await;
    world.google.enter(
        CALENDAR,
        &json!({
            "id": "weekly0", "summary": "Open house", "recurrence": ["RRULE:FREQ=WEEKLY"],
            "start": { "dateTime": "2026-12-01T15:00:00Z", "timeZone": "UTC" },
            "end": { "dateTime": "2026-12-01T16:00:00Z", "timeZone": "UTC" },
        }),
    );
    world.google.edit(CALENDAR, "weekly0_20261222T150000Z", &json!({ "summary": "Another" }));
    assert_eq!(world.poll().await["record_count"], 2);
    assert_eq!(world.published().await, [2, 0, 0]);
    world.crm.tenant.delete(&world.at("weekly0")).await.expect(204);
    let view: Value = world.crm.tenant.read(&format!("/v1/syncs/{}", world.sync)).await;
    assert_eq!(view["record_count"], 0);
    // Everything is read again, without them.
    world.google.expire_sync_tokens(CALENDAR);
    assert_eq!(world.poll().await["record_count"], 0);
    assert_eq!(world.published().await, [2, 0, 0]);
    world.google.assert_no_violations();
}

#[tokio::test]
async fn a_write_during_the_deletion_of_its_sync_leaves_nothing() {
    let world = World::new("cw-write-deleted").await;
    let id = text(&world.create(&viewing()).await.expect(201), "id");
    let sync = tables::id::<SyncId>(&world.sync);
    let records = keys::sync::records(&tables::tenant(&world.crm.tenant), sync);
    let events = Table::events(&world.crm.stack);
    assert_eq!(events.rows_under(records.clone(), keys::sync::RECORDS).await.len(), 1);
    world.google.forget_calls();
    world.google.fail(Failure::slow("events.patch", Duration::from_secs(5)));
    let (path, change) = (world.at(&id), json!({ "title": "Late" }));
    let (changed, ()) = tokio::join!(world.crm.tenant.patch(&path, &change), async {
        eventually("the appointment is read", SOON, async || {
            (!world.google.calls_of("events.get").is_empty()).then_some(())
        })
        .await;
        world.crm.tenant.delete(&format!("/v1/syncs/{}", world.sync)).await.expect(204);
        world.crm.stack.run_due().await;
    });
    changed.expect(200);
    eventually("nothing is known any more", SOON, async || {
        world.crm.stack.run_due().await;
        events.rows_under(records.clone(), keys::sync::RECORDS).await.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_sync_whose_creation_failed_does_not_bar_the_next_one() {
    let (crm, google, clock) = polled_world("cw-sync-claim").await;
    let body = json!({
        "kind": "google_calendar", "connection_id": crm.connection,
        "settings": { "calendar_id": CALENDAR, "base_url": google.base_url() },
    });
    let name = crm.tenant.tenant_id();
    // Nothing can be recorded: what the sync was to read is free again.
    let cut = crm.stack.rule(&Rule::new("*", &[name, "sync.created"], Fault::Cut, 4)).await;
    let made = eventually("the sync is created", SOON, async || {
        let response = crm.tenant.post("/v1/syncs", &body).await;
        assert!(response.status >= 500 || response.status == 201, "{}", response.json);
        (response.status == 201).then_some(response)
    })
    .await;
    assert_eq!(cut.count().await, 4);
    let made = text(&made.expect(201), "id");
    crm.tenant.delete(&format!("/v1/syncs/{made}")).await.expect(204);
    // A function that is killed leaves it claimed for a minute, by a sync that is not named.
    let killed = crm.stack.rule(&Rule::new("*", &[name, "sync.created"], Fault::KillBefore, 1)).await;
    assert!(crm.tenant.post("/v1/syncs", &body).await.status >= 500);
    assert_eq!(killed.count().await, 1);
    let early = crm.tenant.post("/v1/syncs", &body).await;
    early.expect_problem(409, "conflict");
    assert!(!early.header("retry-after").is_empty());
    clock.ahead(Duration::from_mins(2));
    crm.tenant.post("/v1/syncs", &body).await.expect(201);
}

#[tokio::test]
async fn nothing_is_called_for_a_suspended_tenant() {
    let world = World::new("cw-write-suspended").await;
    let id = text(&world.create(&viewing()).await.expect(201), "id");
    let suspend = format!("/v1/tenants/{}/suspend", world.crm.tenant.tenant_id());
    world.crm.stack.operator().post(&suspend, &json!({ "reason": "unpaid" })).await.expect(200);
    let calendars =
        format!("/v1/connections/{}/calendars?base_url={}", world.crm.connection, world.google.base_url());
    for path in [world.at(&id), calendars] {
        eventually("it is refused", SOON, async || {
            world.google.forget_calls();
            let refused = world.crm.tenant.get(&path).await;
            (refused.status == 403).then(|| refused.expect_problem(403, "tenant-suspended"))
        })
        .await;
        assert!(world.google.calls().is_empty());
    }
    world.crm.tenant.get(&format!("/v1/syncs/{}", world.sync)).await.expect(200);
}
