//! The fake Google Calendar under Home Assistant's client, which reads by sync tokens, and under Google's own SDK, which
//! writes. Both, and all that the fake responds, keep to Google's discovery document.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{
    Receiver, Reply,
    foreign::{
        Driver,
        google::{Failure, FakeGoogle},
    },
};

use crate::SOON;

const TOKEN: &str = "ya29.counterpart";
const PERSON: &str = "ada@example.com";

async fn google() -> FakeGoogle {
    let google = FakeGoogle::start().await;
    google.account(PERSON, &[TOKEN]);
    google
}

/// A weekly series on Tuesdays at 15:00 UTC, from 1 December 2026.
fn weekly(id: &str) -> Value {
    json!({
        "id": id, "summary": "Weekly", "recurrence": ["RRULE:FREQ=WEEKLY"],
        "start": { "dateTime": "2026-12-01T15:00:00Z", "timeZone": "UTC" },
        "end": { "dateTime": "2026-12-01T16:00:00Z", "timeZone": "UTC" },
    })
}

#[tokio::test]
async fn the_client_of_home_assistant_reads_pages_deltas_and_starts_again() {
    let google = google().await;
    let calendar = "team@group.calendar.google.com";
    google.add_calendar(PERSON, calendar, &json!({ "summary": "Team" }));
    google.enter_many(calendar, "day", 7);
    google.enter(calendar, &weekly("weekly0"));
    google.enter(
        calendar,
        &json!({ "id": "allday", "summary": "Fair", "start": { "date": "2026-12-03" }, "end": { "date": "2026-12-04" } }),
    );
    google.set_page_size(3);
    let Some(mut client) = Driver::gcal_sync(&google.base_url(), TOKEN, calendar).await else {
        println!(
            "gcal-sync is not installed: it requires Python 3.13, with which `python3 dev/setup.py gcal` installs it"
        );
        return;
    };
    let sync = || json!({ "do": "sync" });

    let held = client.order(sync()).await;
    assert_eq!(held["items"].as_object().unwrap().len(), 9, "{held}");
    let lists = google.calls_of("events.list");
    assert_eq!(lists.len(), 3, "a full sync of three pages");
    assert!(lists[1].parameter("pageToken").is_some() && lists[0].parameter("pageToken").is_none());

    // A deletion, a new name, and one cancelled occurrence; a short and an empty page on the way.
    google.remove(calendar, "day00000");
    google.edit(calendar, "day00001", &json!({ "summary": "Renamed" }));
    google.remove(calendar, "weekly0_20261208T150000Z");
    google.set_next_page_sizes(&[1, 0, 3]);
    google.forget_calls();
    let held = client.order(sync()).await;
    assert_eq!(held["items"]["day00000"], json!(["cancelled", ""]));
    assert_eq!(held["items"]["day00001"], json!(["confirmed", "Renamed"]));
    assert_eq!(held["items"]["weekly0_20261208T150000Z"][0], "cancelled");
    let lists = google.calls_of("events.list");
    assert_eq!(lists.len(), 3, "{lists:?}");
    let tokens: Vec<_> = lists.iter().map(|call| call.parameter("syncToken")).collect();
    assert!(
        tokens[0].is_some() && tokens.windows(2).all(|pair| pair[0] == pair[1]),
        "the same beside each page"
    );
    let timeline = client
        .order(json!({ "do": "timeline", "from": "2026-12-01T00:00:00+00:00", "to": "2026-12-23T00:00:00+00:00" }))
        .await;
    let weekly: Vec<_> = timeline["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one[1] == "Weekly")
        .map(|one| &one[0])
        .collect();
    assert_eq!(
        weekly,
        ["2026-12-01T15:00:00+00:00", "2026-12-15T15:00:00+00:00", "2026-12-22T15:00:00+00:00"],
        "{timeline}"
    );

    google.expire_sync_tokens(calendar);
    google.enter(calendar, &json!({
        "id": "late0", "summary": "Late", "start": { "date": "2026-12-05" }, "end": { "date": "2026-12-06" },
    }));
    google.forget_calls();
    let held = client.order(sync()).await;
    let items = held["items"].as_object().unwrap();
    assert!(items.contains_key("late0") && !items.contains_key("day00000"), "{held}");
    assert!(items.contains_key("weekly0_20261208T150000Z"), "a cancelled occurrence is in a full list too");
    let statuses: Vec<_> = google.calls().iter().map(|call| call.status).collect();
    assert_eq!(statuses, [410, 200, 200, 200, 200], "one refusal, then all pages");

    let calendars = client.order(json!({ "do": "calendars" })).await;
    assert_eq!(calendars["items"], json!([PERSON, calendar]));
    google.assert_no_violations();
}

/// Calls the SDK; returns status and reason, and the data.
async fn call(sdk: &mut Driver, method: &str, params: Value, headers: Value) -> (u64, String, Value) {
    let response = sdk.order(json!({ "call": method, "params": params, "headers": headers })).await;
    let reason = response["reason"].as_str().unwrap_or_default().to_owned();
    (response["status"].as_u64().unwrap(), reason, response["data"].clone())
}

#[tokio::test]
#[allow(clippy::too_many_lines, reason = "a row for each rule of Google")]
async fn googles_sdk_writes_and_is_refused_as_at_google() {
    let google = google().await;
    let mut sdk = Driver::google_sdk(&google.root_url(), TOKEN).await;
    let event = |id: &str| {
        json!({
            "id": id, "summary": "Viewing",
            "start": { "dateTime": "2026-12-08T15:00:00+01:00" }, "end": { "dateTime": "2026-12-08T16:00:00+01:00" },
        })
    };
    let at = |id: &str| json!({ "calendarId": PERSON, "eventId": id });
    let with = |id: &str, body: Value| json!({ "calendarId": PERSON, "eventId": id, "requestBody": body });
    let insert = |body: Value| json!({ "calendarId": PERSON, "sendUpdates": "none", "requestBody": body });

    let (status, _, made) = call(&mut sdk, "events.insert", insert(event("crm0123")), json!({})).await;
    assert_eq!((status, &made["id"]), (200, &json!("crm0123")));
    let mut rows: Vec<(&str, Value, Value, u64, &str)> = vec![
        ("events.insert", insert(event("crm0123")), json!({}), 409, "duplicate"),
        ("events.insert", insert(event("crmwxyz")), json!({}), 400, "invalid"),
        ("events.insert", insert(json!({ "summary": "No time" })), json!({}), 400, "required"),
        (
            "events.patch",
            with("crm0123", json!({ "summary": "x" })),
            json!({ "If-Match": "\"old\"" }),
            412,
            "conditionNotMet",
        ),
        (
            "events.patch",
            with("crm0123", json!({ "summary": "x" })),
            json!({ "If-Match": made["etag"] }),
            200,
            "",
        ),
        // Null removes a field: a time becomes a day.
        (
            "events.patch",
            with(
                "crm0123",
                json!({
                    "start": { "date": "2026-12-08", "dateTime": null }, "end": { "date": "2026-12-09", "dateTime": null },
                }),
            ),
            json!({}),
            200,
            "",
        ),
        (
            "events.update",
            with("crm0123", event("crm0123")),
            json!({ "If-Match": made["etag"] }),
            412,
            "conditionNotMet",
        ),
        ("events.update", with("crm0123", event("crm0123")), json!({}), 200, ""),
        ("events.get", at("crm0123"), json!({}), 200, ""),
        ("events.get", at("crm9999"), json!({}), 404, "notFound"),
        ("events.delete", at("crm9999"), json!({}), 404, "notFound"),
        ("events.delete", at("crm0123"), json!({}), 204, ""),
        ("events.delete", at("crm0123"), json!({}), 410, "deleted"),
        ("events.insert", insert(event("crm0123")), json!({}), 409, "duplicate"),
        ("events.get", at("crm0123"), json!({}), 200, ""),
        ("events.patch", with("crm0123", json!({ "status": "confirmed" })), json!({}), 200, ""),
        ("calendars.get", json!({ "calendarId": PERSON }), json!({}), 200, ""),
        ("calendarList.list", json!({}), json!({}), 200, ""),
    ];
    let (_, _, listed) = call(&mut sdk, "events.list", json!({ "calendarId": PERSON }), json!({})).await;
    let token = &listed["nextSyncToken"];
    let list = |more: Value| {
        let mut params = json!({ "calendarId": PERSON, "syncToken": token });
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        params
    };
    let refused = "syncTokenWithRequestRestrictions";
    rows.extend([
        ("events.list", list(json!({})), json!({}), 200, ""),
        ("events.list", list(json!({ "timeMin": "2026-12-01T00:00:00Z" })), json!({}), 400, refused),
        ("events.list", list(json!({ "orderBy": "updated" })), json!({}), 400, refused),
        ("events.list", list(json!({ "showDeleted": false })), json!({}), 400, refused),
        ("events.list", list(json!({ "showDeleted": true })), json!({}), 200, ""),
        (
            "events.list",
            json!({ "calendarId": PERSON, "syncToken": "unknown" }),
            json!({}),
            410,
            "fullSyncRequired",
        ),
        (
            "events.list",
            json!({ "calendarId": PERSON, "updatedMin": "2026-01-01T00:00:00Z" }),
            json!({}),
            410,
            "updatedMinTooLongAgo",
        ),
    ]);
    for (method, params, headers, status, reason) in rows {
        let (got, why, data) = call(&mut sdk, method, params.clone(), headers).await;
        assert_eq!((got, why.as_str()), (status, reason), "{method} {params}: {data}");
    }
    let (_, _, ordered) =
        call(&mut sdk, "events.list", json!({ "calendarId": PERSON, "orderBy": "updated" }), json!({})).await;
    assert_eq!(ordered["nextSyncToken"], Value::Null, "an ordered list gives no sync token");
    google.set_spent_ids_final(true);
    google.remove(PERSON, "crm0123");
    let revived =
        call(&mut sdk, "events.patch", with("crm0123", json!({ "status": "confirmed" })), json!({})).await;
    assert_eq!((revived.0, revived.1.as_str()), (403, "forbiddenForNonOrganizer"));
    google.assert_no_violations();
}

#[tokio::test]
async fn the_list_of_calendars_has_tokens_of_its_own() {
    let google = google().await;
    google.add_calendar(PERSON, "b@example.com", &json!({ "accessRole": "reader" }));
    google.add_calendar(PERSON, "c@example.com", &json!({ "hidden": true }));
    google.set_page_size(1);
    let mut sdk = Driver::google_sdk(&google.root_url(), TOKEN).await;
    let (_, _, first) = call(&mut sdk, "calendarList.list", json!({}), json!({})).await;
    let page = json!({ "pageToken": first["nextPageToken"] });
    let (_, _, last) = call(&mut sdk, "calendarList.list", page, json!({})).await;
    let ids = |list: &Value| -> Vec<Value> {
        list["items"].as_array().unwrap().iter().map(|one| one["id"].clone()).collect()
    };
    assert_eq!(
        (ids(&first), ids(&last)),
        (vec![json!(PERSON)], vec![json!("b@example.com")]),
        "none that is hidden"
    );
    assert!(first["nextSyncToken"].is_null() && last["nextPageToken"].is_null());

    google.remove_calendar(PERSON, "b@example.com");
    let token = &last["nextSyncToken"];
    let (_, _, delta) = call(&mut sdk, "calendarList.list", json!({ "syncToken": token }), json!({})).await;
    assert_eq!((ids(&delta), &delta["items"][0]["deleted"]), (vec![json!("b@example.com")], &json!(true)));
    let gone = call(&mut sdk, "events.list", json!({ "calendarId": "b@example.com" }), json!({})).await;
    assert_eq!((gone.0, gone.1.as_str()), (404, "notFound"));
    for (name, value) in
        [("minAccessRole", json!("owner")), ("showDeleted", json!(false)), ("showHidden", json!(false))]
    {
        let refused =
            call(&mut sdk, "calendarList.list", json!({ "syncToken": token, name: value }), json!({})).await;
        assert_eq!((refused.0, refused.1.as_str()), (400, "syncTokenWithRequestRestrictions"), "{name}");
    }
    google.expire_list_tokens(PERSON);
    let expired = call(&mut sdk, "calendarList.list", json!({ "syncToken": token }), json!({})).await;
    assert_eq!((expired.0, expired.1.as_str()), (410, "fullSyncRequired"));
    google.assert_no_violations();
}

#[tokio::test]
async fn other_parameters_beside_a_token_are_a_violation() {
    let google = google().await;
    let mut sdk = Driver::google_sdk(&google.root_url(), TOKEN).await;
    let list = json!({ "calendarId": PERSON, "eventTypes": ["default"] });
    let (_, _, full) = call(&mut sdk, "events.list", list, json!({})).await;
    let changed = json!({ "calendarId": PERSON, "syncToken": full["nextSyncToken"] });
    assert_eq!(call(&mut sdk, "events.list", changed, json!({})).await.0, 400);
    assert_eq!(google.violations().len(), 1, "{:?}", google.violations());
}

#[tokio::test]
async fn channels_send_what_googles_do() {
    let google = google().await;
    let mut sdk = Driver::google_sdk(&google.root_url(), TOKEN).await;
    let receiver = Receiver::responding(|_| Reply::status(200)).await;
    let watch = |id: &str, calendar: &str| {
        json!({ "calendarId": calendar, "requestBody": {
        "id": id, "type": "web_hook", "address": receiver.url(), "token": "of-the-channel", "params": { "ttl": "3600" },
    } })
    };
    google.set_sync_before_response(true);
    let (status, _, channel) = call(&mut sdk, "events.watch", watch("channel-1", PERSON), json!({})).await;
    assert_eq!(status, 200);
    let sync = &receiver.requests()[0];
    for (name, value) in [
        ("x-goog-channel-id", "channel-1"),
        ("x-goog-channel-token", "of-the-channel"),
        ("x-goog-resource-state", "sync"),
        ("x-goog-message-number", "1"),
        ("x-goog-resource-id", channel["resourceId"].as_str().unwrap()),
    ] {
        assert_eq!(sync.header(name), value, "{name}");
    }
    assert!(sync.body.is_empty());
    let left = channel["expiration"].as_str().unwrap().parse::<u64>().unwrap() - google.now();
    assert!((3_590_000..=3_600_000).contains(&left), "{left}");

    let holidays = "en.usa#holiday@group.v.calendar.google.com";
    google.add_calendar(PERSON, holidays, &json!({ "accessRole": "reader" }));
    for (id, calendar, reason) in [
        ("channel-1", PERSON, "channelIdNotUnique"),
        ("channel-2", holidays, "pushNotSupportedForRequestedResource"),
    ] {
        let (status, why, _) = call(&mut sdk, "events.watch", watch(id, calendar), json!({})).await;
        assert_eq!((status, why.as_str()), (400, reason));
    }
    assert_eq!(google.calls_of("events.watch").last().unwrap().calendar, holidays, "encoded in the path");

    google.enter_many(PERSON, "day", 1);
    google.hold_pushes();
    google.edit(PERSON, "day00000", &json!({ "summary": "Lost" }));
    assert_eq!(google.drop_pushes(), 1);
    google.edit(PERSON, "day00000", &json!({ "summary": "Late" }));
    google.release_pushes();
    let requests = receiver.wait_for(2, SOON).await;
    assert_eq!(requests[1].header("x-goog-resource-state"), "exists");
    assert!(requests[1].header("x-goog-message-number").parse::<u64>().unwrap() > 2, "numbers have gaps");

    let stop = json!({ "requestBody": { "id": "channel-1", "resourceId": channel["resourceId"] } });
    let (status, _, _) = call(&mut sdk, "channels.stop", stop.clone(), json!({})).await;
    assert_eq!((status, google.live_channels(PERSON).len()), (204, 0));
    assert_eq!(call(&mut sdk, "channels.stop", stop, json!({})).await.0, 404);

    call(&mut sdk, "events.watch", watch("channel-3", PERSON), json!({})).await;
    assert_eq!(google.live_channels(PERSON).len(), 1);
    google.advance(Duration::from_secs(3601));
    assert_eq!(google.live_channels(PERSON).len(), 0, "it has expired");
    google.assert_no_violations();
}

#[tokio::test]
async fn faults_are_met_once_and_tokens_are_rejected() {
    let google = google().await;
    let mut sdk = Driver::google_sdk(&google.root_url(), TOKEN).await;
    let list = json!({ "calendarId": PERSON });
    google.fail(Failure::error("events.list", 403, "rateLimitExceeded").times(2).skipping(1));
    google.fail(Failure::error("events.insert", 403, "quotaExceeded"));
    let mut met = Vec::new();
    for _ in 0..4 {
        let (status, reason, data) = call(&mut sdk, "events.list", list.clone(), json!({})).await;
        met.push((status, reason, data["error"]["status"].clone()));
    }
    let throttled = (403, "rateLimitExceeded".to_owned(), json!("PERMISSION_DENIED"));
    assert_eq!(met[1..3], [throttled.clone(), throttled]);
    assert_eq!((met[0].0, met[3].0, google.forget_failures()), (200, 200, 1));

    let mut event =
        json!({ "id": "lost0", "start": { "date": "2026-12-08" }, "end": { "date": "2026-12-09" } });
    google.fail(Failure::lost_response("events.insert"));
    google.fail(Failure::cut("events.insert"));
    let client = testkit::http_client();
    for exists in [true, false] {
        let sent = client
            .post(format!("{}/calendars/{PERSON}/events", google.base_url()))
            .bearer_auth(TOKEN)
            .body(event.to_string());
        assert!(sent.send().await.is_err(), "no response");
        assert_eq!(google.event(PERSON, event["id"].as_str().unwrap()).is_some(), exists);
        event["id"] = json!("lost1");
    }

    google.reject_tokens(PERSON);
    let (status, reason, _) = call(&mut sdk, "events.list", list.clone(), json!({})).await;
    assert_eq!((status, reason.as_str()), (401, "authError"));
    google.accept_any_token(PERSON);
    assert_eq!(call(&mut sdk, "events.list", list, json!({})).await.0, 200);
    let calls = format!("{:?}{google:?}", google.calls());
    assert!(!calls.contains(TOKEN), "no token is kept");
    google.assert_no_violations();
}

#[tokio::test]
async fn what_google_does_not_describe_is_a_violation() {
    let google = google().await;
    let client = testkit::http_client();
    let base = format!("{}/calendars/{PERSON}/events", google.base_url());
    let event =
        json!({ "start": { "date": "2026-12-08" }, "end": { "date": "2026-12-09" }, "title": "no field" });
    let requests = [
        client.get(format!("{base}?sync_token=x")),
        client.get(format!("{base}?singleEvents=true")),
        client.post(&base).body(event.to_string()),
        client.get(format!("{}/unknown", google.base_url())),
    ];
    for (before, request) in requests.into_iter().enumerate() {
        request.bearer_auth(TOKEN).send().await.unwrap();
        assert_eq!(google.violations().len(), before + 1, "{:?}", google.violations());
    }
}

#[tokio::test]
async fn this_and_following_makes_a_second_series() {
    let google = google().await;
    google.enter(PERSON, &weekly("weekly0"));
    let id = google.split(PERSON, "weekly0", "20261215T150000Z", &json!({ "summary": "Later" }));
    assert_eq!(id, "weekly0_R20261215T150000Z");
    let (old, new) = (google.event(PERSON, "weekly0").unwrap(), google.event(PERSON, &id).unwrap());
    assert_eq!(old["recurrence"], json!(["RRULE:FREQ=WEEKLY;UNTIL=20261215T145959Z"]));
    assert_eq!(new["recurrence"], json!(["RRULE:FREQ=WEEKLY"]));
    assert_eq!(
        (&new["start"]["dateTime"], &new["summary"]),
        (&json!("2026-12-15T15:00:00Z"), &json!("Later"))
    );
    google.assert_no_violations();
}
