//! The bodies of requests about appointments. Their values are checked in `domain::calendar::change`.

use domain::{
    Patch,
    calendar::{
        CalendarTime,
        change::{AppointmentChange, InvalidAppointment, Invitee},
    },
};
use platform::lambda::problem::{Kind, Problem};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::http::read_only::ReadOnly;

/// When an appointment begins or ends: a day, or a time.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AppointmentTime {
    /// A day, such as `2026-03-29`, for an appointment of whole days. The end is the day after the last one.
    #[serde(default)]
    #[schemars(extend("format" = "date"))]
    date: Option<String>,
    /// A time with an offset (RFC 3339).
    #[serde(default)]
    #[schemars(extend("format" = "date-time"))]
    date_time: Option<String>,
    /// The zone of the time by its IANA name. A series requires it.
    #[serde(default)]
    #[schemars(length(min = 1, max = 64))]
    time_zone: Option<String>,
}

/// Someone to invite.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AppointmentGuest {
    /// The address.
    #[schemars(length(min = 3, max = 254), regex(pattern = r"^[^@\s]+@[^@\s]+$"))]
    email: String,
    /// The name.
    #[serde(default)]
    #[schemars(length(max = 200))]
    name: Option<String>,
    /// Whether the appointment can be without this person.
    #[serde(default)]
    optional: bool,
    /// What the person has responded, which only that person changes. Read-only.
    #[serde(default, rename = "response")]
    _response: ReadOnly,
}

/// An appointment to create.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateAppointment {
    /// What it is about.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    title: Option<String>,
    /// More about it.
    #[serde(default)]
    #[schemars(length(max = 8192))]
    description: Option<String>,
    /// Where.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    location: Option<String>,
    /// When it begins.
    start: AppointmentTime,
    /// When it ends, exclusive.
    end: AppointmentTime,
    /// How it repeats: lines of RFC 5545, section 3.8.5.
    #[serde(default)]
    #[schemars(length(max = 20), inner(length(min = 1, max = 1000)))]
    recurrence: Vec<String>,
    /// Who is invited.
    #[serde(default)]
    #[schemars(length(max = 100))]
    attendees: Vec<AppointmentGuest>,
    /// Whether the time counts as free.
    #[serde(default)]
    free: bool,
    /// `default`, `public`, `private` or `confidential`.
    #[serde(default)]
    #[schemars(extend("enum" = ["default", "public", "private", "confidential", null]))]
    visibility: Option<String>,
    /// `confirmed` or `tentative`.
    #[serde(default)]
    #[schemars(extend("enum" = ["confirmed", "tentative", null]))]
    status: Option<String>,
    /// The CRM's own id. An appointment with the same one is created once, however often it is requested.
    #[serde(default)]
    #[schemars(length(min = 1, max = 200))]
    core_id: Option<String>,
}

/// Changes to an appointment. A field that is left out does not change, null removes its value, and read-only fields are
/// ignored.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateAppointment {
    /// What it is about.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    title: Patch<String>,
    /// More about it.
    #[serde(default)]
    #[schemars(length(max = 8192))]
    description: Patch<String>,
    /// Where.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    location: Patch<String>,
    /// When it begins.
    #[serde(default)]
    start: Option<AppointmentTime>,
    /// When it ends, exclusive.
    #[serde(default)]
    end: Option<AppointmentTime>,
    /// How it repeats: lines of RFC 5545, section 3.8.5. They replace all before.
    #[serde(default)]
    #[schemars(length(max = 20), inner(length(min = 1, max = 1000)))]
    recurrence: Patch<Vec<String>>,
    /// Who is invited: all of them. What those who remain have responded is kept.
    #[serde(default)]
    #[schemars(length(max = 100))]
    attendees: Patch<Vec<AppointmentGuest>>,
    /// Whether the time counts as free.
    #[serde(default)]
    free: Patch<bool>,
    /// `default`, `public`, `private` or `confidential`.
    #[serde(default)]
    #[schemars(extend("enum" = ["default", "public", "private", "confidential", null]))]
    visibility: Patch<String>,
    /// `confirmed` or `tentative`.
    #[serde(default)]
    #[schemars(extend("enum" = ["confirmed", "tentative", null]))]
    status: Patch<String>,
    /// Read-only.
    #[serde(default, rename = "id")]
    _id: ReadOnly,
    /// Read-only.
    #[serde(default, rename = "ical_uid")]
    _ical_uid: ReadOnly,
    /// Read-only.
    #[serde(default, rename = "series_id")]
    _series_id: ReadOnly,
    /// Read-only.
    #[serde(default, rename = "original_start")]
    _original_start: ReadOnly,
    /// Read-only.
    #[serde(default, rename = "organizer")]
    _organizer: ReadOnly,
    /// Read-only.
    #[serde(default, rename = "attendees_omitted")]
    _attendees_omitted: ReadOnly,
    /// Read-only.
    #[serde(default, rename = "kind")]
    _kind: ReadOnly,
    /// Read-only.
    #[serde(default, rename = "meeting_url")]
    _meeting_url: ReadOnly,
    /// Read-only.
    #[serde(default, rename = "core_id")]
    _core_id: ReadOnly,
}

impl CreateAppointment {
    pub(super) fn parse(self) -> Result<AppointmentChange, Problem> {
        let given = |text: Option<String>| text.map_or(Patch::Absent, Patch::Set);
        checked(AppointmentChange {
            title: given(self.title),
            description: given(self.description),
            location: given(self.location),
            start: Some(time("/start", self.start)?),
            end: Some(time("/end", self.end)?),
            recurrence: Some(self.recurrence).filter(|rules| !rules.is_empty()),
            attendees: Some(guests(self.attendees)).filter(|guests| !guests.is_empty()),
            free: Some(self.free).filter(|free| *free),
            visibility: self.visibility,
            status: self.status,
            core_id: self.core_id,
        })
    }
}

impl UpdateAppointment {
    pub(super) fn parse(self) -> Result<AppointmentChange, Problem> {
        checked(AppointmentChange {
            title: self.title,
            description: self.description,
            location: self.location,
            start: self.start.map(|start| time("/start", start)).transpose()?,
            end: self.end.map(|end| time("/end", end)).transpose()?,
            recurrence: self.recurrence.or_cleared_to(Vec::new),
            attendees: self.attendees.or_cleared_to(Vec::new).map(guests),
            free: self.free.or_cleared_to(|| false),
            visibility: self.visibility.or_cleared_to(|| "default".to_owned()),
            status: self.status.or_cleared_to(|| "confirmed".to_owned()),
            core_id: None,
        })
    }
}

fn checked(change: AppointmentChange) -> Result<AppointmentChange, Problem> {
    change.check().map_err(invalid)?;
    Ok(change)
}

/// The problem of a field that the domain refuses.
pub(super) fn invalid(InvalidAppointment { pointer, message }: InvalidAppointment) -> Problem {
    Problem::field(Kind::InvalidField, pointer, message)
}

fn time(pointer: &str, time: AppointmentTime) -> Result<CalendarTime, Problem> {
    match time {
        AppointmentTime { date: Some(date), date_time: None, time_zone: None } => {
            Ok(CalendarTime::Day { date })
        }
        AppointmentTime { date: None, date_time: Some(date_time), time_zone } => {
            Ok(CalendarTime::Time { date_time, time_zone })
        }
        AppointmentTime { .. } => {
            let detail = "must have either date, or date_time and, if wanted, time_zone";
            Err(Problem::field(Kind::InvalidField, pointer, detail))
        }
    }
}

fn guests(guests: Vec<AppointmentGuest>) -> Vec<Invitee> {
    let invitee =
        |guest: AppointmentGuest| Invitee { email: guest.email, name: guest.name, optional: guest.optional };
    guests.into_iter().map(invitee).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn created(body: Value) -> Result<AppointmentChange, Problem> {
        serde_json::from_value::<CreateAppointment>(body).unwrap().parse()
    }

    #[test]
    fn a_time_is_a_day_or_a_time() {
        let day = json!({ "date": "2026-03-30" });
        for (start, pointer) in [
            (json!({ "date": "2026-03-29" }), None),
            (json!({}), Some("/start")),
            (json!({ "date": "2026-03-29", "time_zone": "UTC" }), Some("/start")),
            (json!({ "date": "2026-03-29", "date_time": "2026-03-29T00:00:00Z" }), Some("/start")),
            (json!({ "time_zone": "UTC" }), Some("/start")),
            (json!({ "date_time": "2026-03-29T00:00:00Z" }), Some("/end")),
        ] {
            let problem = created(json!({ "start": start, "end": day })).err();
            let found = problem.as_ref().and_then(|problem| problem.errors[0].pointer.as_deref());
            assert_eq!(found, pointer, "{start}");
        }
    }

    #[test]
    fn what_was_read_changes_nothing() {
        let shown = json!({
            "id": "e", "ical_uid": "e@google.com", "status": "confirmed", "title": "Viewing", "organizer": "a@b.test",
            "start": { "date": "2026-03-29" }, "end": { "date": "2026-03-30" }, "free": false, "visibility": "default",
            "kind": "default", "attendees": [{ "email": "a@b.test", "response": "accepted" }], "core_id": "apt_1",
            "series_id": "s", "original_start": { "date": "2026-03-29" }, "attendees_omitted": true,
            "meeting_url": "https://meet.test/x", "recurrence": ["RRULE:FREQ=DAILY"],
        });
        let change = serde_json::from_value::<UpdateAppointment>(shown).unwrap().parse().unwrap();
        assert_eq!((change.core_id, change.attendees.map(|all| all.len())), (None, Some(1)));
        let cleared =
            json!({ "title": null, "attendees": null, "free": null, "visibility": null, "status": null });
        let change = serde_json::from_value::<UpdateAppointment>(cleared).unwrap().parse().unwrap();
        let expected = AppointmentChange {
            title: Patch::Clear,
            attendees: Some(vec![]),
            free: Some(false),
            visibility: Some("default".to_owned()),
            status: Some("confirmed".to_owned()),
            ..AppointmentChange::default()
        };
        assert_eq!(change, expected);
    }
}
