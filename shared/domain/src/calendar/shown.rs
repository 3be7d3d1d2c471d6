//! An appointment as our events show it.

use serde::Serialize;

/// A time of an appointment, as its calendar has it: never turned into another zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum CalendarTime {
    /// A day, for an appointment of whole days. The end is the day after the last one.
    Day {
        /// `2026-03-29`.
        date: String,
    },
    /// A time.
    Time {
        /// RFC 3339 with an offset.
        date_time: String,
        /// The IANA name of the zone, where there is one; a series needs it.
        #[serde(skip_serializing_if = "Option::is_none")]
        time_zone: Option<String>,
    },
}

/// Someone who is invited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Attendee {
    /// The address.
    pub email: String,
    /// The name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `needs_action`, `declined`, `tentative` or `accepted`.
    pub response: &'static str,
    /// Whether the appointment can be without this person.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// An appointment, or a series of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct CalendarEvent {
    /// The provider's id in its calendar.
    pub id: String,
    /// The provider's id of the same appointment in all calendars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ical_uid: Option<String>,
    /// The series that it is an occurrence of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub series_id: Option<String>,
    /// Which occurrence of the series it is: when that would have been.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_start: Option<CalendarTime>,
    /// `confirmed`, `tentative` or `cancelled`.
    pub status: &'static str,
    /// What it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// More about it; may be HTML.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// When it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<CalendarTime>,
    /// When it ends, exclusive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<CalendarTime>,
    /// How it repeats: lines of RFC 5545, section 3.8.5.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recurrence: Vec<String>,
    /// The address of who organizes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organizer: Option<String>,
    /// Who is invited.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attendees: Vec<Attendee>,
    /// Whether more are invited than are shown.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub attendees_omitted: bool,
    /// Whether the time counts as free.
    pub free: bool,
    /// `default`, `public`, `private` or `confidential`.
    pub visibility: String,
    /// The kind by Google: `default`, `outOfOffice`, `focusTime`, `birthday` …
    pub kind: String,
    /// The link of the video call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meeting_url: Option<String>,
    /// The CRM's own id, where the CRM made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub core_id: Option<String>,
}
