//! Google Calendar: which pages a sync reads, and how it reads them.
//!
//! Series are read as series with their exceptions (`singleEvents=false`), since an endless one would be hundreds of rows.
//! With a sync token Google refuses `timeMin`, `q`, `orderBy`, `updatedMin` and others (400); none of them is sent at all.
//! Source: <https://developers.google.com/workspace/calendar/api/guides/sync> and the discovery document.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    channel::{self, Channel},
    google_writes::WRITES,
    shown::{Attendee, CalendarEvent, CalendarTime},
};
use crate::{
    Timestamp,
    client::{
        api::{fill, query},
        apis::google_calendar,
    },
    sync::{
        kind::{Engine, EventTypes, KindName, NewChannel, Push, SyncKind, Watermark, WriteRequest},
        page::{Incoming, MalformedPage, Page, PageRequest, Presence, RequestTarget},
        settings::{Setting, SyncSettings},
        state::Pass,
        sweep::Brake,
    },
};

/// Events in a page at most; Google's limit is 2,500. A page is worked on in memory.
const PAGE_SIZE: &str = "250";

/// Attendees of an event at most.
pub(super) const ATTENDEES: &str = "100";

/// The row.
pub const KIND: SyncKind = SyncKind {
    name: KindName::GoogleCalendar,
    title: "Google Calendar",
    engine: Engine::Calendar,
    api: &google_calendar::API,
    idp: Some("google"),
    settings: &[Setting::CalendarId],
    event_types: EventTypes {
        created: "calendar.event.created",
        updated: "calendar.event.updated",
        removed: "calendar.event.deleted",
        failing: "calendar.sync.failing",
        source_removed: Some("calendar.removed"),
    },
    record: "calendar_event",
    key_field: "id",
    kept: &["start", "end"],
    // Notifications are lost now and then, so there is a poll whether a calendar is watched or not.
    interval: Duration::from_mins(15),
    full_every: None,
    link_life: Some(Duration::from_hours(1)),
    repeats_links: false,
    halvings: 0,
    brake: Brake { least: 10, percent: 30 },
    watermark: Watermark::Token,
    push: Some(Push {
        path: "/in/google_calendar/syncs",
        interval: Duration::from_hours(1),
        missing: "calendar.channel.missing",
        open: open_channel,
        opened: channel_opened,
        close: close_channel,
    }),
    owner: Some(series_of),
    writes: Some(WRITES),
    request,
    keys: None,
    read,
};

fn request(settings: &SyncSettings, pass: &Pass, position: Option<&str>) -> Option<PageRequest> {
    let path = fill(google_calendar::LIST_EVENTS.path, &[settings.calendar_id.as_deref()?])?;
    let mut pairs = vec![("maxResults", PAGE_SIZE), ("maxAttendees", ATTENDEES), ("singleEvents", "false")];
    // The same token goes with each page of a delta.
    pairs.extend(position.map(|token| ("syncToken", token)));
    pairs.extend(pass.next.as_deref().map(|token| ("pageToken", token)));
    let target = RequestTarget::Path { path, query: query(&pairs) };
    Some(PageRequest { call: google_calendar::LIST_EVENTS, target })
}

fn open_channel(settings: &SyncSettings, new: &NewChannel<'_>) -> Option<WriteRequest> {
    let call = google_calendar::WATCH_EVENTS;
    let path = fill(call.path, &[settings.calendar_id.as_deref()?])?;
    let body = json!({
        "id": new.id, "type": "web_hook", "address": new.address, "token": new.token,
        // A text: Google's description has no number here.
        "params": { "ttl": channel::TTL.as_secs().to_string() },
    });
    Some(WriteRequest { call, path, body })
}

fn channel_opened(body: &Value) -> Option<(String, Timestamp)> {
    let resource_id = body.get("resourceId")?.as_str()?.to_owned();
    let ends_at = body.get("expiration")?.as_str()?.parse().ok()?;
    Some((resource_id, Timestamp::from_millis(ends_at)))
}

fn close_channel(channel: &Channel) -> Option<WriteRequest> {
    let body = json!({ "id": channel.id, "resourceId": channel.resource_id.as_deref()? });
    let call = google_calendar::STOP_CHANNEL;
    Some(WriteRequest { call, path: call.path.to_owned(), body })
}

/// The series of an occurrence, whose id is the series' own and when it would have been, `20261208` or
/// `20261208T150000Z`. A series that follows another one after a change of "this and following" is `SERIES_R20261215T…`,
/// and lives on without it.
fn series_of(key: &str) -> Option<&str> {
    let (series, start) = key.rsplit_once('_')?;
    let is_digits =
        |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_start = match start.split_once('T') {
        None => is_digits(start, 8),
        Some((day, time)) => is_digits(day, 8) && is_digits(time.strip_suffix('Z').unwrap_or(time), 6),
    };
    (is_start && !series.is_empty()).then_some(series)
}

fn read(_: &SyncSettings, body: &Value) -> Result<Page, MalformedPage> {
    let list = List::deserialize(body).map_err(|_| MalformedPage { field: "items" })?;
    let mut page = Page { next: list.next_page_token, position: list.next_sync_token, ..Page::default() };
    if page.next.is_none() && page.position.is_none() {
        // A response that is no list, such as `{}`: taken for the last page, it would remove everything.
        return Err(MalformedPage { field: "nextSyncToken" });
    }
    for item in list.items {
        match incoming(item) {
            Ok(record) => page.records.push(record),
            Err(malformed) => page.unreadable.push(malformed),
        }
    }
    Ok(page)
}

/// An item of a list, or the response about one event.
pub(super) fn incoming(item: Value) -> Result<Incoming, MalformedPage> {
    let event: Appointment = serde_json::from_value(item).map_err(|_| MalformedPage { field: "event" })?;
    let key = event.id.clone().filter(|id| !id.is_empty()).ok_or(MalformedPage { field: "id" })?;
    let version = event.etag.clone();
    let modified_at = event.updated.as_deref().and_then(|at| at.parse::<Timestamp>().ok());
    let is_cancelled = event.status.as_deref() == Some("cancelled");
    let presence = match (is_cancelled, event.recurring_event_id.is_some()) {
        // Only its id, its series and its original start are guaranteed.
        (true, true) => Presence::Excluded(value(&shown(event))?),
        (true, false) => Presence::Gone,
        (false, _) => Presence::Live(value(&shown(event))?),
    };
    Ok(Incoming { key, version, presence, modified_at })
}

/// The same as a value of its type.
pub(super) fn appointment(item: Value) -> Result<CalendarEvent, MalformedPage> {
    serde_json::from_value(item).map(shown).map_err(|_| MalformedPage { field: "event" })
}

fn value(shown: &CalendarEvent) -> Result<Value, MalformedPage> {
    serde_json::to_value(shown).map_err(|_| MalformedPage { field: "event" })
}

fn shown(event: Appointment) -> CalendarEvent {
    let attendees = event.attendees.into_iter().filter_map(|attendee| {
        Some(Attendee {
            email: attendee.email?,
            name: attendee.display_name,
            response: match attendee.response_status.as_deref() {
                Some("declined") => "declined",
                Some("tentative") => "tentative",
                Some("accepted") => "accepted",
                _ => "needs_action",
            },
            optional: attendee.optional,
        })
    });
    let meeting_url = event.conference_data.and_then(|conference| {
        conference
            .entry_points
            .into_iter()
            .find(|entry| entry.entry_point_type == "video")
            .and_then(|entry| entry.uri)
    });
    CalendarEvent {
        id: event.id.unwrap_or_default(),
        ical_uid: event.ical_uid,
        series_id: event.recurring_event_id,
        original_start: event.original_start_time.and_then(When::shown),
        status: match event.status.as_deref() {
            Some("cancelled") => "cancelled",
            Some("tentative") => "tentative",
            _ => "confirmed",
        },
        title: event.summary,
        description: event.description,
        location: event.location,
        start: event.start.and_then(When::shown),
        end: event.end.and_then(When::shown),
        recurrence: event.recurrence,
        organizer: event.organizer.and_then(|person| person.email),
        attendees: attendees.collect(),
        attendees_omitted: event.attendees_omitted,
        free: event.transparency.as_deref() == Some("transparent"),
        visibility: event.visibility.unwrap_or_else(|| "default".to_owned()),
        kind: event.event_type.unwrap_or_else(|| "default".to_owned()),
        meeting_url: meeting_url.or(event.hangout_link),
        core_id: event.extended_properties.and_then(|properties| properties.private?.core_id),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    #[serde(default)]
    items: Vec<Value>,
    next_page_token: Option<String>,
    next_sync_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Appointment {
    id: Option<String>,
    etag: Option<String>,
    status: Option<String>,
    updated: Option<String>,
    #[serde(rename = "iCalUID")]
    ical_uid: Option<String>,
    recurring_event_id: Option<String>,
    original_start_time: Option<When>,
    summary: Option<String>,
    description: Option<String>,
    location: Option<String>,
    start: Option<When>,
    end: Option<When>,
    #[serde(default)]
    recurrence: Vec<String>,
    organizer: Option<Person>,
    #[serde(default)]
    attendees: Vec<Guest>,
    #[serde(default)]
    attendees_omitted: bool,
    transparency: Option<String>,
    visibility: Option<String>,
    event_type: Option<String>,
    conference_data: Option<Conference>,
    hangout_link: Option<String>,
    extended_properties: Option<Properties>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct When {
    date: Option<String>,
    date_time: Option<String>,
    time_zone: Option<String>,
}

impl When {
    fn shown(self) -> Option<CalendarTime> {
        match self {
            Self { date: Some(date), .. } => Some(CalendarTime::Day { date }),
            Self { date_time: Some(date_time), time_zone, .. } => {
                Some(CalendarTime::Time { date_time, time_zone })
            }
            Self { .. } => None,
        }
    }
}

#[derive(Deserialize)]
struct Person {
    email: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Guest {
    email: Option<String>,
    display_name: Option<String>,
    response_status: Option<String>,
    #[serde(default)]
    optional: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Conference {
    #[serde(default)]
    entry_points: Vec<EntryPoint>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EntryPoint {
    #[serde(default)]
    entry_point_type: String,
    uri: Option<String>,
}

#[derive(Deserialize)]
struct Properties {
    private: Option<PrivateProperties>,
}

#[derive(Deserialize)]
struct PrivateProperties {
    core_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sync::state::SyncState;

    fn settings(calendar: &str) -> SyncSettings {
        SyncSettings { calendar_id: Some(calendar.to_owned()), ..SyncSettings::default() }
    }

    fn requested(calendar: &str, position: Option<&str>, next: Option<&str>) -> String {
        let mut state = SyncState::default();
        state.begin(&KIND, "p", Timestamp::EPOCH);
        let mut pass = state.pass.unwrap();
        pass.next = next.map(str::to_owned);
        match request(&settings(calendar), &pass, position).unwrap().target {
            RequestTarget::Path { path, query } => format!("{path}?{query}"),
            RequestTarget::Link(link) => link,
        }
    }

    #[test]
    fn a_request_never_has_what_a_token_forbids() {
        let fixed = "maxResults=250&maxAttendees=100&singleEvents=false";
        for (position, next, expected) in [
            (None, None, format!("/calendars/primary/events?{fixed}")),
            (None, Some("p2"), format!("/calendars/primary/events?{fixed}&pageToken=p2")),
            (Some("s=1"), None, format!("/calendars/primary/events?{fixed}&syncToken=s%3D1")),
            // G14, and the same token beside each page of a delta.
            (Some("s"), Some("p2"), format!("/calendars/primary/events?{fixed}&syncToken=s&pageToken=p2")),
        ] {
            assert_eq!(requested("primary", position, next), expected);
        }
        let holidays = requested("en.usa#holiday@group.v.calendar.google.com", None, None);
        assert!(
            holidays.starts_with("/calendars/en.usa%23holiday%40group.v.calendar.google.com/events?"),
            "{holidays}"
        );
    }

    #[test]
    fn g11_a_series_that_follows_another_does_not_belong_to_it() {
        for (key, series) in [
            ("w_20261208T150000Z", Some("w")),
            ("w_20261208", Some("w")),
            ("w_R20261215T150000Z", None),
            ("w_R20261215T150000_20261222T150000Z", Some("w_R20261215T150000")),
            ("w", None),
            ("_20261208", None),
            ("w_2026120", None),
            ("w_20261208T15", None),
            ("w_20261208T15000éZ", None),
        ] {
            assert_eq!(series_of(key), series, "{key}");
        }
    }

    #[test]
    fn g7_a_channel_is_requested_with_a_ttl_for_an_encoded_calendar() {
        let new = NewChannel { id: "c", token: "t", address: "https://api.test/in/google_calendar/syncs" };
        let open = open_channel(&settings("en.usa#holiday@group.v.calendar.google.com"), &new).unwrap();
        assert_eq!(open.path, "/calendars/en.usa%23holiday%40group.v.calendar.google.com/events/watch");
        assert_eq!(open.body["params"], json!({ "ttl": "604800" }));
        let response = json!({ "id": "c", "resourceId": "r", "expiration": "1796604800000" });
        let (resource_id, ends_at) = channel_opened(&response).unwrap();
        assert_eq!((resource_id.as_str(), ends_at.millis()), ("r", 1_796_604_800_000));
        assert_eq!(channel_opened(&json!({ "resourceId": "r" })), None);
        let mut watch = channel::Watch::default();
        watch.begin("c".to_owned(), Timestamp::EPOCH);
        assert_eq!(close_channel(&watch.channels[0]), None, "it cannot be closed yet");
        watch.opened("c", resource_id, ends_at);
        let close = close_channel(&watch.channels[0]).unwrap();
        assert_eq!(
            (close.path.as_str(), close.body),
            ("/channels/stop", json!({ "id": "c", "resourceId": "r" }))
        );
    }

    #[test]
    fn a_page_is_read_item_by_item() {
        let body = json!({
            "kind": "calendar#events", "nextSyncToken": "s2", "items": [
                {"id": "a", "etag": "\"1\"", "status": "confirmed", "summary": "Viewing",
                 "start": {"dateTime": "2026-12-08T15:00:00+01:00", "timeZone": "Europe/Berlin"},
                 "end": {"dateTime": "2026-12-08T16:00:00+01:00"},
                 "attendees": [{"email": "a@b.test", "responseStatus": "accepted"}, {"displayName": "no address"}],
                 "conferenceData": {"entryPoints": [{"entryPointType": "video", "uri": "https://meet.test/x"}]},
                 "extendedProperties": {"private": {"core_id": "apt_1", "other": "x"}}},
                // G15: a day, whatever zones are around it.
                {"id": "d", "start": {"date": "2026-03-29"}, "end": {"date": "2026-03-30"}},
                // G10: three fields are guaranteed.
                {"id": "w_1", "status": "cancelled", "recurringEventId": "w",
                 "originalStartTime": {"dateTime": "2026-12-08T15:00:00Z"}},
                {"id": "x", "status": "cancelled"},
                {"summary": "no id"},
                "no object",
            ]
        });
        let page = read(&settings("primary"), &body).unwrap();
        assert_eq!((page.next, page.position.as_deref()), (None, Some("s2")));
        assert_eq!(page.unreadable, [MalformedPage { field: "id" }, MalformedPage { field: "event" }]);
        let [viewing, day, excluded, gone] = &page.records[..] else { panic!("{:?}", page.records) };
        let Presence::Live(shown) = &viewing.presence else { panic!() };
        assert_eq!(
            *shown,
            json!({"id": "a", "status": "confirmed", "title": "Viewing", "free": false, "visibility": "default",
                   "kind": "default", "meeting_url": "https://meet.test/x", "core_id": "apt_1",
                   "start": {"date_time": "2026-12-08T15:00:00+01:00", "time_zone": "Europe/Berlin"},
                   "end": {"date_time": "2026-12-08T16:00:00+01:00"},
                   "attendees": [{"email": "a@b.test", "response": "accepted"}]})
        );
        let Presence::Live(shown) = &day.presence else { panic!() };
        assert_eq!(
            (&shown["start"], &shown["end"]),
            (&json!({"date": "2026-03-29"}), &json!({"date": "2026-03-30"}))
        );
        let Presence::Excluded(shown) = &excluded.presence else { panic!() };
        assert_eq!((&shown["series_id"], shown.get("title")), (&json!("w"), None));
        assert_eq!(gone.presence, Presence::Gone);
        assert!(read(&settings("primary"), &json!({"items": 3})).is_err());
        assert_eq!(read(&settings("primary"), &json!({})), Err(MalformedPage { field: "nextSyncToken" }));
    }
}
