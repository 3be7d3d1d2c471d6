//! Google Calendar: how single events are read and written.
//!
//! Events get ids of ours, so that an insert can be repeated; `patch` names the version that it changes, since `update`
//! would take the responses of guests back. `conferenceDataVersion=1` keeps the links of video calls.
//! Source: <https://developers.google.com/workspace/calendar/api/v3/reference/events>

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{
    CalendarTime,
    change::{AppointmentChange, Invitee},
    google::{ATTENDEES, appointment, incoming},
    writes::{AppointmentEdit, AppointmentWrites, NewAppointment, SendUpdates, StoredAppointment},
};
use crate::{
    Patch, Timestamp,
    client::{
        Call,
        api::{fill, query},
        apis::google_calendar,
    },
    sync::{
        kind::RecordRequest,
        page::{MalformedPage, RequestTarget},
        settings::SyncSettings,
    },
};

/// The longest id of an event.
const ID_LIMIT: usize = 1024;

/// The last change of an event that is no older than this when it happens may be the creation itself.
const CREATION: Duration = Duration::from_secs(2);

/// How they are written.
pub(super) const WRITES: AppointmentWrites =
    AppointmentWrites { fingerprint, read, create, change, remove, parse };

/// A request about an event; about the calendar where there is no id.
fn request(
    settings: &SyncSettings,
    call: Call,
    id: Option<&str>,
    pairs: &[(&str, &str)],
) -> Option<RecordRequest> {
    let calendar = settings.calendar_id.as_deref()?;
    let path = match id {
        Some(id) if id.len() > ID_LIMIT => return None,
        Some(id) => fill(call.path, &[calendar, id])?,
        None => fill(call.path, &[calendar])?,
    };
    let target = RequestTarget::Path { path, query: query(pairs) };
    Some(RecordRequest { call, target, body: None, if_match: None })
}

fn read(settings: &SyncSettings, id: &str) -> Option<RecordRequest> {
    request(settings, google_calendar::GET_EVENT, Some(id), &[("maxAttendees", ATTENDEES)])
}

fn fingerprint(change: &AppointmentChange) -> String {
    crate::digest::hash(&Value::Object(fields(change, None)).to_string())
}

fn create(settings: &SyncSettings, new: &NewAppointment<'_>) -> Option<RecordRequest> {
    let mut body = fields(new.fields, None);
    body.retain(|_, value| !value.is_null());
    for time in ["start", "end"] {
        if let Some(Value::Object(parts)) = body.get_mut(time) {
            parts.retain(|_, value| !value.is_null());
        }
    }
    body.insert("id".to_owned(), new.id.into());
    // Private ones stay on this copy: guests' copies are none of ours.
    let mut private = Map::from_iter([("core_request".to_owned(), fingerprint(new.fields).into())]);
    private.extend(new.fields.core_id.as_ref().map(|id| ("core_id".to_owned(), id.as_str().into())));
    body.insert("extendedProperties".to_owned(), json!({ "private": private }));
    let request = request(settings, google_calendar::INSERT_EVENT, None, &of_writes(new.send_updates))?;
    Some(RecordRequest { body: Some(Value::Object(body)), ..request })
}

fn change(settings: &SyncSettings, edit: &AppointmentEdit<'_>) -> Option<RecordRequest> {
    let pairs = of_writes(edit.send_updates);
    let request = request(settings, google_calendar::PATCH_EVENT, Some(edit.id), &pairs)?;
    let body = fields(edit.fields, edit.current.raw.get("attendees"));
    let if_match = Some(edit.current.incoming.version.clone()?);
    Some(RecordRequest { body: Some(Value::Object(body)), if_match, ..request })
}

fn remove(
    settings: &SyncSettings,
    id: &str,
    if_match: Option<String>,
    send_updates: SendUpdates,
) -> Option<RecordRequest> {
    let pairs = [("sendUpdates", name(send_updates))];
    let request = request(settings, google_calendar::DELETE_EVENT, Some(id), &pairs)?;
    Some(RecordRequest { if_match, ..request })
}

fn parse(raw: Value) -> Result<StoredAppointment, MalformedPage> {
    let request = raw.pointer("/extendedProperties/private/core_request").and_then(Value::as_str);
    let request = request.map(str::to_owned);
    let is_new = is_new(&raw);
    let (incoming, shown) = (incoming(raw.clone())?, appointment(raw.clone())?);
    Ok(StoredAppointment { incoming, shown, request, is_new, raw })
}

/// `created` has whole seconds, and `updated` more.
fn is_new(raw: &Value) -> bool {
    let time = |name: &str| raw.get(name)?.as_str()?.parse::<Timestamp>().ok();
    time("created").zip(time("updated")).is_some_and(|(created, updated)| updated.since(created) < CREATION)
}

fn of_writes(send_updates: SendUpdates) -> [(&'static str, &'static str); 3] {
    [("conferenceDataVersion", "1"), ("sendUpdates", name(send_updates)), ("maxAttendees", ATTENDEES)]
}

fn name(send_updates: SendUpdates) -> &'static str {
    match send_updates {
        SendUpdates::None => "none",
        SendUpdates::All => "all",
        SendUpdates::ExternalOnly => "externalOnly",
    }
}

/// The fields of an event; null removes one. `invited` are the attendees as Google has them.
fn fields(change: &AppointmentChange, invited: Option<&Value>) -> Map<String, Value> {
    let mut body = Map::new();
    let texts =
        [("summary", &change.title), ("description", &change.description), ("location", &change.location)];
    for (name, text) in texts {
        match text {
            Patch::Absent => {}
            Patch::Clear => _ = body.insert(name.to_owned(), Value::Null),
            Patch::Set(text) => _ = body.insert(name.to_owned(), text.as_str().into()),
        }
    }
    for (name, time) in [("start", &change.start), ("end", &change.end)] {
        body.extend(time.as_ref().map(|time| (name.to_owned(), when(time))));
    }
    body.extend(change.recurrence.as_ref().map(|rules| ("recurrence".to_owned(), json!(rules))));
    if let Some(attendees) = &change.attendees {
        let attendees: Vec<_> = attendees.iter().map(|invitee| attendee(invitee, invited)).collect();
        body.insert("attendees".to_owned(), attendees.into());
    }
    body.extend(change.free.map(|free| {
        let word = if free { "transparent" } else { "opaque" };
        ("transparency".to_owned(), word.into())
    }));
    for (name, word) in [("visibility", &change.visibility), ("status", &change.status)] {
        body.extend(word.as_ref().map(|word| (name.to_owned(), word.as_str().into())));
    }
    body
}

/// A patch merges objects, so what a day does not have is removed, and the other way round.
fn when(time: &CalendarTime) -> Value {
    match time {
        CalendarTime::Day { date } => json!({ "date": date, "dateTime": null, "timeZone": null }),
        CalendarTime::Time { date_time, time_zone } => {
            json!({ "date": null, "dateTime": date_time, "timeZone": time_zone })
        }
    }
}

/// A patch replaces the list, so it must have what Google knows of each guest, such as the response.
fn attendee(invitee: &Invitee, invited: Option<&Value>) -> Value {
    let known = invited.and_then(Value::as_array).and_then(|all| {
        all.iter().find(|one| {
            one.get("email")
                .and_then(Value::as_str)
                .is_some_and(|email| email.eq_ignore_ascii_case(&invitee.email))
        })
    });
    let mut one = match known {
        Some(Value::Object(known)) => known.clone(),
        _ => Map::from_iter([("email".to_owned(), invitee.email.as_str().into())]),
    };
    one.extend(invitee.name.as_ref().map(|name| ("displayName".to_owned(), name.as_str().into())));
    if invitee.optional || one.contains_key("optional") {
        one.insert("optional".to_owned(), invitee.optional.into());
    }
    Value::Object(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> SyncSettings {
        SyncSettings { calendar_id: Some("en.usa#holiday@group.test".to_owned()), ..SyncSettings::default() }
    }

    fn stored(raw: Value) -> StoredAppointment {
        parse(raw).unwrap()
    }

    #[test]
    fn an_insert_has_our_id_and_no_null() {
        let fields = AppointmentChange {
            title: Patch::Set("Viewing".to_owned()),
            location: Patch::Clear,
            start: Some(CalendarTime::Day { date: "2026-03-29".to_owned() }),
            end: Some(CalendarTime::Day { date: "2026-03-30".to_owned() }),
            core_id: Some("apt_1".to_owned()),
            ..AppointmentChange::default()
        };
        let new = NewAppointment { id: "crm0", fields: &fields, send_updates: SendUpdates::None };
        let request = create(&settings(), &new).unwrap();
        assert_eq!(
            request.target,
            RequestTarget::Path {
                path: "/calendars/en.usa%23holiday%40group.test/events".to_owned(),
                query: "conferenceDataVersion=1&sendUpdates=none&maxAttendees=100".to_owned(),
            }
        );
        assert_eq!(
            request.body.unwrap(),
            json!({
                "id": "crm0", "summary": "Viewing", "start": { "date": "2026-03-29" }, "end": { "date": "2026-03-30" },
                "extendedProperties": { "private": { "core_id": "apt_1", "core_request": fingerprint(&fields) } },
            })
        );
    }

    #[test]
    fn a_patch_names_the_version_and_keeps_what_guests_responded() {
        let current = stored(json!({
            "id": "e", "etag": "\"7\"", "status": "confirmed", "start": { "date": "2026-03-29" },
            "attendees": [{ "email": "Ben@example.com", "responseStatus": "accepted", "comment": "yes" }],
        }));
        let fields = AppointmentChange {
            title: Patch::Clear,
            start: Some(CalendarTime::Time { date_time: "2026-12-08T15:00:00Z".to_owned(), time_zone: None }),
            attendees: Some(vec![
                Invitee { email: "ben@example.com".to_owned(), name: None, optional: true },
                Invitee { email: "cy@example.com".to_owned(), name: Some("Cy".to_owned()), optional: false },
            ]),
            free: Some(true),
            ..AppointmentChange::default()
        };
        let edit = AppointmentEdit {
            id: "e",
            fields: &fields,
            current: &current,
            send_updates: SendUpdates::ExternalOnly,
        };
        let request = change(&settings(), &edit).unwrap();
        assert_eq!(request.if_match.as_deref(), Some("\"7\""));
        assert_eq!(
            request.body.unwrap(),
            json!({
                "summary": null, "transparency": "transparent",
                "start": { "date": null, "dateTime": "2026-12-08T15:00:00Z", "timeZone": null },
                "attendees": [
                    { "email": "Ben@example.com", "responseStatus": "accepted", "comment": "yes", "optional": true },
                    { "email": "cy@example.com", "displayName": "Cy" },
                ],
            })
        );
        let RequestTarget::Path { query, .. } = request.target else { panic!("a path") };
        assert!(query.contains("sendUpdates=externalOnly"), "{query}");
    }

    #[test]
    fn a_version_is_named_where_it_must_be() {
        let unversioned = stored(json!({ "id": "e", "start": { "date": "2026-03-29" } }));
        let fields = AppointmentChange::default();
        let edit = AppointmentEdit {
            id: "e",
            fields: &fields,
            current: &unversioned,
            send_updates: SendUpdates::None,
        };
        assert_eq!(change(&settings(), &edit), None, "it would overwrite what it has not read");
        let removal = remove(&settings(), "e", None, SendUpdates::All).unwrap();
        assert_eq!((removal.if_match, removal.body), (None, None));
        assert_eq!(read(&settings(), ".."), None);
        assert_eq!(read(&settings(), &"e".repeat(1025)), None);
    }

    #[test]
    fn a_change_explains_what_it_made_alone() {
        let event = |title: &str, location: &str| {
            stored(json!({ "id": "e", "summary": title, "location": location, "start": { "date": "2026-03-29" } })).shown
        };
        let change = AppointmentChange { title: Patch::Set("B".to_owned()), ..AppointmentChange::default() };
        for (before, after, expected) in [
            (event("A", "x"), event("B", "x"), true),
            (event("A", "x"), event("B", "y"), false),
            (event("A", "x"), event("C", "x"), false),
        ] {
            assert_eq!(change.explains(&before, &after), expected, "{after:?}");
            let is_same = change.rest_hash(&before) == change.rest_hash(&after);
            assert_eq!(is_same && change.is_applied(&after), expected, "{after:?}");
        }
    }

    #[test]
    fn a_creation_differs_from_what_someone_changed_since() {
        let fields = AppointmentChange { title: Patch::Set("A".to_owned()), ..AppointmentChange::default() };
        let raw = json!({
            "id": "e", "summary": "A", "start": { "date": "2026-03-29" },
            "created": "2026-03-01T10:00:00.000Z", "updated": "2026-03-01T10:00:00.921Z",
        });
        for (change, creates, is_new) in [
            (json!({}), true, true),
            (json!({ "summary": "B" }), false, true),
            (json!({ "location": "x" }), false, true),
            (json!({ "visibility": "private" }), false, true),
            (json!({ "attendees": [{ "email": "a@b.test" }] }), false, true),
            (json!({ "updated": "2026-03-01T10:00:09.000Z" }), true, false),
            (json!({ "created": null }), true, false),
        ] {
            let mut raw = raw.clone();
            raw.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let found = stored(raw);
            assert_eq!((fields.creates(&found.shown), found.is_new), (creates, is_new), "{change}");
        }
    }

    #[test]
    fn what_was_written_is_recognised() {
        let shown = stored(json!({
            "id": "e", "etag": "\"1\"", "summary": "Viewing", "visibility": "private", "recurrence": ["RRULE:FREQ=DAILY"],
            "start": { "dateTime": "2026-12-08T15:00:00+01:00", "timeZone": "Europe/Berlin" },
            "attendees": [{ "email": "a@b.test", "displayName": "A", "responseStatus": "declined" }],
            "extendedProperties": { "private": { "core_id": "apt_1", "core_request": "r" } },
        }));
        assert_eq!(shown.request.as_deref(), Some("r"));
        let at = |text: &str, zone: Option<&str>| {
            Some(CalendarTime::Time { date_time: text.to_owned(), time_zone: zone.map(str::to_owned) })
        };
        let none = AppointmentChange::default;
        let invited = |email: &str| Some(vec![Invitee { email: email.to_owned(), ..Invitee::default() }]);
        for (change, expected) in [
            (none(), true),
            (AppointmentChange { title: Patch::Set("Viewing".into()), ..none() }, true),
            (AppointmentChange { title: Patch::Set("viewing".into()), ..none() }, false),
            (AppointmentChange { title: Patch::Clear, ..none() }, false),
            (AppointmentChange { location: Patch::Clear, ..none() }, true),
            // Google shows it with the offset of the calendar.
            (AppointmentChange { start: at("2026-12-08T14:00:00Z", None), ..none() }, true),
            (AppointmentChange { start: at("2026-12-08T14:00:00Z", Some("UTC")), ..none() }, false),
            (AppointmentChange { start: at("2026-12-08T15:00:00Z", None), ..none() }, false),
            (AppointmentChange { end: at("2026-12-08T14:00:00Z", None), ..none() }, false),
            (AppointmentChange { attendees: invited("A@B.test"), ..none() }, true),
            (AppointmentChange { attendees: invited("c@b.test"), ..none() }, false),
            (AppointmentChange { attendees: Some(vec![]), ..none() }, false),
            (AppointmentChange { recurrence: Some(vec![]), ..none() }, false),
            (AppointmentChange { free: Some(false), visibility: Some("private".into()), ..none() }, true),
            (AppointmentChange { core_id: Some("apt_2".into()), ..none() }, false),
        ] {
            assert_eq!(change.is_applied(&shown.shown), expected, "{change:?}");
        }
    }
}
