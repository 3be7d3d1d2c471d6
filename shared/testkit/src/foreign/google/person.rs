//! What a person does in the calendar, past the API: nothing of it is recorded as a call.

use serde_json::{Map, Value, json};

use super::{
    FakeGoogle,
    events::{cancel, merge, original_start},
    world::{Calendar, World, rfc3339},
};

impl FakeGoogle {
    /// Adds a calendar to an account's list, with `owner` as access role unless the fields have another `accessRole`. A
    /// calendar that exists is shared. Fields: `summary`, `timeZone` (Europe/Berlin), `primary`, `hidden`, and others
    /// of Google's `CalendarListEntry`.
    pub fn add_calendar(&self, account: &str, calendar: &str, fields: &Value) {
        let mut world = self.world();
        let mut entry = json!({
            "kind": "calendar#calendarListEntry", "id": calendar, "summary": calendar, "timeZone": "Europe/Berlin",
            "accessRole": "owner", "defaultReminders": [],
        });
        merge(&mut entry, fields);
        let sequence = world.next_sequence();
        entry["etag"] = json!(format!("\"{sequence}\""));
        let kept = json!({
            "kind": "calendar#calendar", "id": calendar, "etag": entry["etag"], "summary": entry["summary"],
            "timeZone": entry["timeZone"],
        });
        let watchable = !calendar.ends_with("@group.v.calendar.google.com");
        let made = Calendar { fields: kept, events: std::collections::BTreeMap::new(), watchable };
        world.calendars.entry(calendar.to_owned()).or_insert(made);
        let account = world.accounts.entry(account.to_owned()).or_default();
        account.entries.insert(calendar.to_owned(), (entry, sequence));
    }

    /// Changes an account's entry of a calendar, such as its `accessRole` or `summary`.
    pub fn change_calendar(&self, account: &str, calendar: &str, patch: &Value) {
        let mut world = self.world();
        let sequence = world.next_sequence();
        let entries = world.accounts.get_mut(account).map(|account| &mut account.entries);
        let entry = entries.and_then(|entries| entries.get_mut(calendar)).expect("a calendar of the account");
        merge(&mut entry.0, patch);
        entry.0["etag"] = json!(format!("\"{sequence}\""));
        entry.1 = sequence;
        let (summary, zone) = (entry.0["summary"].clone(), entry.0["timeZone"].clone());
        if let Some(calendar) = world.calendars.get_mut(calendar) {
            calendar.fields["summary"] = summary;
            calendar.fields["timeZone"] = zone;
        }
    }

    /// Takes a calendar from an account's list: it is deleted, or not shared any more. Its events respond with 404.
    pub fn remove_calendar(&self, account: &str, calendar: &str) {
        self.change_calendar(account, calendar, &json!({ "deleted": true }));
    }

    /// Whether a calendar can be watched. Those of holidays cannot.
    pub fn set_watchable(&self, calendar: &str, watchable: bool) {
        self.world().calendars.get_mut(calendar).expect("a calendar").watchable = watchable;
    }

    /// A person enters an event, with `id` if it has one; returns its id.
    pub fn enter(&self, calendar: &str, fields: &Value) -> String {
        let mut world = self.world();
        let id = enter(&mut world, calendar, fields);
        self.after(world);
        id
    }

    /// Enters many events, without a message for each: `count` events of half an hour, one after the other, with the
    /// ids `PREFIX00000` and so on.
    pub fn enter_many(&self, calendar: &str, prefix: &str, count: usize) {
        let mut world = self.world();
        let first = 1_796_000_400_000_u64;
        for number in 0..count {
            let start = first + u64::try_from(number).expect("a number") * 1_800_000;
            let fields = json!({
                "id": format!("{prefix}{number:05}"), "summary": format!("Event {number}"),
                "start": { "dateTime": rfc3339(start), "timeZone": "UTC" },
                "end": { "dateTime": rfc3339(start + 1_800_000), "timeZone": "UTC" },
            });
            enter(&mut world, calendar, &fields);
        }
        world.outbox.clear();
    }

    /// A person edits an event: null removes a field. An occurrence of a series is named `SERIES_20261208T150000Z`.
    pub fn edit(&self, calendar: &str, id: &str, patch: &Value) {
        let mut world = self.world();
        let mut changed = Value::Object(version(&world, calendar, id));
        merge(&mut changed, patch);
        let Value::Object(fields) = changed else { return };
        world.keep(calendar, id, fields);
        self.after(world);
    }

    /// A person deletes an event, a series, or an occurrence named as for `edit`.
    pub fn remove(&self, calendar: &str, id: &str) {
        let mut world = self.world();
        let fields = version(&world, calendar, id);
        cancel(&mut world, calendar, id, fields);
        self.after(world);
    }

    /// A person changes this and the following occurrences from a start such as `20261215T150000Z`: the series ends
    /// before it, and a new one begins there with the patch. Returns the id of the new series.
    pub fn split(&self, calendar: &str, series: &str, from: &str, patch: &Value) -> String {
        let mut world = self.world();
        let mut old = version(&world, calendar, series);
        let start = original_start(from).expect("a start such as 20261215T150000Z");
        let rule = |fields: &Map<String, Value>| {
            let rules = fields["recurrence"].as_array().expect("a series").iter();
            rules.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
        };
        let rules = rule(&old);
        let ended: Vec<_> = rules
            .iter()
            .map(|rule| {
                let kept =
                    rule.split(';').filter(|part| !part.starts_with("UNTIL=") && !part.starts_with("COUNT="));
                let kept = kept.collect::<Vec<_>>().join(";");
                if rule.starts_with("RRULE") {
                    format!("{kept};UNTIL={}", just_before(from))
                } else {
                    rule.clone()
                }
            })
            .collect();
        let mut new = Value::Object(old.clone());
        let length = length(&old);
        for name in ["start", "end"] {
            let zone = new[name]["timeZone"].clone();
            new[name] = if name == "start" { start.clone() } else { plus(&start, length) };
            if new[name]["dateTime"].is_string() && zone.is_string() {
                new[name]["timeZone"] = zone;
            }
        }
        merge(&mut new, patch);
        old.insert("recurrence".to_owned(), json!(ended));
        let id = format!("{series}_R{from}");
        world.keep(calendar, series, old);
        let Value::Object(mut new) = new else { return id };
        new.insert("iCalUID".to_owned(), json!(format!("{id}@google.com")));
        world.keep(calendar, &id, new);
        self.after(world);
        id
    }

    /// An event as it is now, cancelled ones too.
    pub fn event(&self, calendar: &str, id: &str) -> Option<Value> {
        let world = self.world();
        let event = world.calendars.get(calendar)?.events.get(id)?;
        Some(Value::Object(event.fields.clone()))
    }

    /// All events of a calendar that are not cancelled, in the order of their ids.
    pub fn events(&self, calendar: &str) -> Vec<Value> {
        let world = self.world();
        let events = world.calendars.get(calendar).into_iter().flat_map(|calendar| calendar.events.values());
        events
            .filter(|event| !event.is_cancelled())
            .map(|event| Value::Object(event.fields.clone()))
            .collect()
    }
}

fn enter(world: &mut World, calendar: &str, fields: &Value) -> String {
    let sequence = world.next_sequence();
    let id = fields["id"].as_str().map_or_else(|| format!("p{sequence:020}"), str::to_owned);
    let person = json!({ "email": "person@example.com", "self": true });
    let mut made = json!({
        "kind": "calendar#event", "status": "confirmed", "created": rfc3339(world.now()), "creator": person,
        "organizer": person, "iCalUID": format!("{id}@google.com"), "sequence": 0, "eventType": "default",
        "reminders": { "useDefault": true },
    });
    merge(&mut made, fields);
    let Value::Object(made) = made else { return id };
    world.keep(calendar, &id, made);
    id
}

fn version(world: &World, calendar: &str, id: &str) -> Map<String, Value> {
    let events = &world.calendars.get(calendar).expect("a calendar").events;
    if let Some(event) = events.get(id) {
        return event.fields.clone();
    }
    let (series, start) = id.rsplit_once('_').unwrap_or_else(|| panic!("no event {id} in {calendar}"));
    let mut fields = events.get(series).unwrap_or_else(|| panic!("no series {series}")).fields.clone();
    let start = original_start(start).expect("a start such as 20261208T150000Z");
    let length = length(&fields);
    fields.remove("recurrence");
    fields.insert("end".to_owned(), plus(&start, length));
    fields.insert("start".to_owned(), start.clone());
    fields.insert("recurringEventId".to_owned(), json!(series));
    fields.insert("originalStartTime".to_owned(), start);
    fields
}

/// How long an event takes, in seconds.
fn length(fields: &Map<String, Value>) -> i64 {
    let at = |name: &str| seconds(&fields[name]);
    at("end") - at("start")
}

fn seconds(time: &Value) -> i64 {
    let text = time["dateTime"].as_str().map(str::to_owned);
    let text = text.unwrap_or_else(|| format!("{}T00:00:00Z", time["date"].as_str().expect("a time")));
    let format = &time::format_description::well_known::Rfc3339;
    time::OffsetDateTime::parse(&text, format).expect("a time with its offset").unix_timestamp()
}

fn plus(start: &Value, length: i64) -> Value {
    let end = u64::try_from((seconds(start) + length) * 1000).expect("a time of today");
    let text = rfc3339(end);
    match start["date"].as_str() {
        Some(_) => json!({ "date": text[..10] }),
        None => json!({ "dateTime": format!("{}Z", &text[..19]), "timeZone": start["timeZone"] }),
    }
}

/// The last moment before a start, as `UNTIL` has it.
fn just_before(from: &str) -> String {
    let before = original_start(from).map(|start| seconds(&start) - 1).expect("a start");
    let text = rfc3339(u64::try_from(before * 1000).expect("a time of today"));
    let compact: String =
        text[..19].chars().filter(|letter| letter.is_ascii_digit() || *letter == 'T').collect();
    if from.len() == 8 { compact[..8].to_owned() } else { format!("{compact}Z") }
}
