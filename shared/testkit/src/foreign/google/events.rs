//! Reading and writing single events.

use serde_json::{Map, Value, json};

use super::{
    contract::Contract,
    refusal::{Refusal, invalid, not_found, refusal},
    world::{World, rfc3339},
};

/// Fields that a request may hold and that change nothing.
const READ_ONLY: [&str; 12] = [
    "kind",
    "etag",
    "id",
    "created",
    "updated",
    "creator",
    "organizer",
    "htmlLink",
    "hangoutLink",
    "recurringEventId",
    "originalStartTime",
    "locked",
];

/// A write of an event.
pub(super) struct Write<'a> {
    pub(super) account: &'a str,
    pub(super) calendar: &'a str,
    pub(super) query: &'a [(String, String)],
    pub(super) if_match: Option<&'a str>,
}

impl Write<'_> {
    fn calendar(&self) -> &str {
        if self.calendar == "primary" { self.account } else { self.calendar }
    }

    fn keeps_conference(&self) -> bool {
        self.query.iter().any(|(name, value)| name == "conferenceDataVersion" && value == "1")
    }

    pub(super) fn insert(&self, world: &mut World, body: Value) -> Result<Value, Refusal> {
        let known = world.calendar_of(self.account, self.calendar, true)?;
        let Value::Object(mut fields) = body else { return Err(invalid("Bad Request", "resource")) };
        let given = fields.remove("id").and_then(|id| id.as_str().map(str::to_owned));
        if let Some(id) = &given {
            let alphabet = |letter: u8| letter.is_ascii_digit() || (b'a'..=b'v').contains(&letter);
            if !(5..=1024).contains(&id.len()) || !id.bytes().all(alphabet) {
                return Err(invalid("Invalid resource id value.", "resource.id"));
            }
            // A deleted event's id is spent: it is a duplicate for ever.
            if known.events.contains_key(id) {
                return Err(refusal(409, "duplicate", "The requested identifier already exists.", None));
            }
        }
        check_times(&fields)?;
        fields.retain(|name, _| writable(name));
        let id = given.unwrap_or_else(|| format!("g{:025}", world.next_sequence()));
        Ok(self.make(world, &id, fields))
    }

    /// A new event with what Google adds.
    fn make(&self, world: &mut World, id: &str, mut fields: Map<String, Value>) -> Value {
        if !self.keeps_conference() {
            fields.remove("conferenceData");
        }
        let person = json!({ "email": self.account, "self": true });
        let added = json!({
            "kind": "calendar#event", "status": "confirmed", "created": rfc3339(world.now()), "creator": person,
            "organizer": person, "iCalUID": format!("{id}@google.com"), "sequence": 0, "eventType": "default",
            "htmlLink": format!("{}/event?eid={id}", world.public_url), "reminders": { "useDefault": true },
        });
        for (name, value) in added.as_object().expect("an object") {
            fields.entry(name.clone()).or_insert_with(|| value.clone());
        }
        world.keep(self.calendar(), id, fields)
    }

    pub(super) fn get(&self, world: &mut World, id: &str) -> Result<Value, Refusal> {
        self.current(world, id, false).map(Value::Object)
    }

    /// The stored event, or the occurrence of a series that has no version of its own.
    fn current(&self, world: &mut World, id: &str, writes: bool) -> Result<Map<String, Value>, Refusal> {
        let events = &world.calendar_of(self.account, self.calendar, writes)?.events;
        if let Some(event) = events.get(id) {
            return Ok(event.fields.clone());
        }
        let (series, start) = id.rsplit_once('_').ok_or_else(not_found)?;
        let known = events.get(series).filter(|series| !series.is_cancelled()).ok_or_else(not_found)?;
        let mut fields = known.fields.clone();
        let rule = fields.remove("recurrence").ok_or_else(not_found)?;
        let start = original_start(start).filter(|_| rule.is_array()).ok_or_else(not_found)?;
        fields.insert("id".to_owned(), json!(id));
        fields.insert("recurringEventId".to_owned(), json!(series));
        fields.insert("originalStartTime".to_owned(), start);
        Ok(fields)
    }

    fn matched(&self, fields: &Map<String, Value>) -> Result<(), Refusal> {
        match self.if_match {
            Some(etag) if etag != "*" && fields.get("etag").and_then(Value::as_str) != Some(etag) => {
                Err(refusal(412, "conditionNotMet", "Precondition Failed", Some("If-Match")))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn patch(&self, world: &mut World, id: &str, body: &Value) -> Result<Value, Refusal> {
        let current = self.current(world, id, true)?;
        let mut changed = Value::Object(current.clone());
        let mut body = body.clone();
        body.as_object_mut()
            .ok_or_else(|| invalid("Bad Request", "resource"))?
            .retain(|name, _| writable(name));
        merge(&mut changed, &body);
        self.change(world, id, &current, changed)
    }

    pub(super) fn update(&self, world: &mut World, id: &str, body: Value) -> Result<Value, Refusal> {
        let current = self.current(world, id, true)?;
        let Value::Object(mut fields) = body else { return Err(invalid("Bad Request", "resource")) };
        fields.retain(|name, _| writable(name));
        for name in READ_ONLY.into_iter().chain(["iCalUID", "eventType", "sequence", "status", "reminders"]) {
            if let Some(value) = current.get(name) {
                fields.entry(name.to_owned()).or_insert_with(|| value.clone());
            }
        }
        self.change(world, id, &current, Value::Object(fields))
    }

    fn change(
        &self,
        world: &mut World,
        id: &str,
        current: &Map<String, Value>,
        changed: Value,
    ) -> Result<Value, Refusal> {
        self.matched(current)?;
        let Value::Object(mut fields) = changed else { return Err(invalid("Bad Request", "resource")) };
        let revives = current["status"] == "cancelled" && fields["status"] != "cancelled";
        let is_ours = current.get("organizer").is_none_or(|organizer| organizer["self"] == true);
        if revives && (world.spent_ids_are_final || !is_ours) {
            let message = "Shared properties can only be changed by the organizer of the event.";
            return Err(refusal(403, "forbiddenForNonOrganizer", message, None));
        }
        if fields["status"] == "cancelled" {
            return Ok(cancel(world, self.calendar(), id, fields));
        }
        check_times(&fields)?;
        if !self.keeps_conference() {
            fields.remove("conferenceData");
        }
        let moved = ["start", "end", "recurrence"].iter().any(|name| current.get(*name) != fields.get(*name));
        if moved {
            let before = current.get("sequence").and_then(Value::as_u64).unwrap_or_default();
            fields.insert("sequence".to_owned(), json!(before + 1));
        }
        Ok(world.keep(self.calendar(), id, fields))
    }

    pub(super) fn delete(&self, world: &mut World, id: &str) -> Result<Value, Refusal> {
        let current = self.current(world, id, true)?;
        if current["status"] == "cancelled" {
            return Err(refusal(410, "deleted", "Resource has been deleted", None));
        }
        self.matched(&current)?;
        cancel(world, self.calendar(), id, current);
        Ok(Value::Null)
    }
}

/// Cancels an event, and the occurrences of a series with it.
pub(super) fn cancel(world: &mut World, calendar: &str, id: &str, mut fields: Map<String, Value>) -> Value {
    fields.insert("status".to_owned(), json!("cancelled"));
    let shown = world.keep(calendar, id, fields);
    let events = &world.calendars[calendar].events;
    let occurrences: Vec<_> = events
        .iter()
        .filter(|(_, event)| event.text("recurringEventId") == id && !event.is_cancelled())
        .map(|(id, event)| (id.clone(), event.fields.clone()))
        .collect();
    for (id, mut fields) in occurrences {
        fields.insert("status".to_owned(), json!("cancelled"));
        world.keep(calendar, &id, fields);
    }
    shown
}

/// Unknown fields are violations, and Google drops them.
fn writable(name: &str) -> bool {
    Contract::shared().has_field("Event", name) && !READ_ONLY.contains(&name)
}

/// A patch: null removes a field, objects are merged, arrays are replaced.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Some(fields) = target.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// `20261208T150000Z` or `20261208` of an occurrence's id, as the field that holds it.
pub(super) fn original_start(compact: &str) -> Option<Value> {
    let compact = compact.trim_start_matches('R');
    let part = |range| compact.get(range);
    let date = format!("{}-{}-{}", part(0..4)?, part(4..6)?, part(6..8)?);
    match compact.len() {
        8 => Some(json!({ "date": date })),
        16 => {
            let (hour, minute, second) = (part(9..11)?, part(11..13)?, part(13..15)?);
            Some(json!({ "dateTime": format!("{date}T{hour}:{minute}:{second}Z"), "timeZone": "UTC" }))
        }
        _ => None,
    }
}

fn check_times(fields: &Map<String, Value>) -> Result<(), Refusal> {
    let mut starts = Vec::new();
    for name in ["start", "end"] {
        let time = fields.get(name).unwrap_or(&Value::Null);
        let (date, instant) = (time["date"].as_str(), time["dateTime"].as_str());
        let text = match (date, instant) {
            (Some(date), None) if date.len() == 10 => date,
            (None, Some(instant)) if instant.len() > 10 => instant,
            (None, None) => {
                return Err(refusal(400, "required", &format!("Missing {name} time."), None));
            }
            _ => return Err(invalid(&format!("Invalid {name} time."), name)),
        };
        if instant.is_some() && fields.contains_key("recurrence") && !time["timeZone"].is_string() {
            let message = format!("Missing time zone definition for {name} time.");
            return Err(refusal(400, "required", &message, None));
        }
        let offset = instant
            .map(|text| text.ends_with('Z') || text.get(10..).is_some_and(|rest| rest.contains(['+', '-'])));
        if offset == Some(false) && !time["timeZone"].is_string() {
            return Err(refusal(
                400,
                "required",
                &format!("Missing time zone definition for {name} time."),
                None,
            ));
        }
        starts.push((text, instant.is_some()));
    }
    let ((start, start_timed), (end, end_timed)) = (starts[0], starts[1]);
    if start_timed != end_timed {
        return Err(invalid("Start and end times must either both be date or both be dateTime.", "end"));
    }
    // The end of an all-day event is exclusive, so even one day has two dates.
    let empty = if start_timed { start.get(19..) == end.get(19..) && end < start } else { end <= start };
    if empty {
        return Err(refusal(400, "timeRangeEmpty", "The specified time range is empty.", None));
    }
    Ok(())
}
