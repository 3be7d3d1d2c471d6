//! What a client writes of an appointment: which values are valid, and whether an appointment has them already.

use std::collections::HashSet;

use serde_json::Value;

use super::{CalendarEvent, CalendarTime};
use crate::{Patch, Timestamp};

/// The longest title and place, in characters.
const SHORT_LIMIT: usize = 1024;

/// The longest description, in characters.
const LONG_LIMIT: usize = 8192;

/// Attendees of an appointment at most: as many as are read.
const ATTENDEES: usize = 100;

/// Lines of a recurrence at most, and the longest one in bytes.
const RECURRENCE: (usize, usize) = (20, 1000);

/// The longest id of the CRM, in characters.
const CORE_ID_LIMIT: usize = 200;

/// Someone to invite.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Invitee {
    /// The address.
    pub email: String,
    /// The name.
    pub name: Option<String>,
    /// Whether the appointment can be without this person.
    pub optional: bool,
}

/// The fields of an appointment that are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppointmentChange {
    /// What it is about.
    pub title: Patch<String>,
    /// More about it.
    pub description: Patch<String>,
    /// Where.
    pub location: Patch<String>,
    /// When it begins.
    pub start: Option<CalendarTime>,
    /// When it ends, exclusive.
    pub end: Option<CalendarTime>,
    /// How it repeats; nothing in it for one that does not.
    pub recurrence: Option<Vec<String>>,
    /// Who is invited, all of them.
    pub attendees: Option<Vec<Invitee>>,
    /// Whether the time counts as free.
    pub free: Option<bool>,
    /// Who sees it.
    pub visibility: Option<String>,
    /// Whether it is certain.
    pub status: Option<String>,
    /// The CRM's own id, in a new one alone.
    pub core_id: Option<String>,
}

/// Why a field is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidAppointment {
    /// The field, as a JSON pointer into the body of the request.
    pub pointer: String,
    /// What it must be.
    pub message: &'static str,
}

fn refused<T>(pointer: impl Into<String>, message: &'static str) -> Result<T, InvalidAppointment> {
    Err(InvalidAppointment { pointer: pointer.into(), message })
}

impl AppointmentChange {
    /// Checks each field for itself, and times together where both are given.
    ///
    /// # Errors
    /// The first field that is refused.
    pub fn check(&self) -> Result<(), InvalidAppointment> {
        let short = "must have at most 1024 characters, none of them a control character";
        let texts = [
            ("/title", &self.title, SHORT_LIMIT, short),
            ("/location", &self.location, SHORT_LIMIT, short),
            (
                "/description",
                &self.description,
                LONG_LIMIT,
                "must have at most 8192 characters, and no control characters but line ends and tabs",
            ),
        ];
        for (pointer, text, limit, message) in texts {
            let allows_lines = limit == LONG_LIMIT;
            let is_bad =
                |letter: char| letter.is_control() && !(allows_lines && matches!(letter, '\n' | '\r' | '\t'));
            if text.value().is_some_and(|text| text.chars().count() > limit || text.chars().any(is_bad)) {
                return refused(pointer, message);
            }
        }
        for (pointer, time) in [("/start", &self.start), ("/end", &self.end)] {
            time.as_ref().map_or(Ok(()), |time| check_time(pointer, time))?;
        }
        if let Some(rules) = &self.recurrence {
            check_recurrence(rules)?;
        }
        if let Some(attendees) = &self.attendees {
            check_attendees(attendees)?;
        }
        let words = [
            (
                "/visibility",
                &self.visibility,
                &["default", "public", "private", "confidential"][..],
                "must be default, public, private or confidential",
            ),
            ("/status", &self.status, &["confirmed", "tentative"], "must be confirmed or tentative"),
        ];
        for (pointer, word, known, message) in words {
            if word.as_ref().is_some_and(|word| !known.contains(&word.as_str())) {
                return refused(pointer, message);
            }
        }
        if let Some(id) = &self.core_id
            && (id.trim().is_empty()
                || id.chars().count() > CORE_ID_LIMIT
                || id.chars().any(char::is_control))
        {
            return refused("/core_id", "must have 1 to 200 characters, none of them a control character");
        }
        if let (Some(start), Some(end)) = (&self.start, &self.end) {
            check_span(start, end)?;
        }
        self.recurrence
            .as_ref()
            .map_or(Ok(()), |rules| check_zones(rules, self.start.as_ref(), self.end.as_ref()))
    }

    /// Checks the times that an appointment has after this change.
    ///
    /// # Errors
    /// The first field that is refused.
    pub fn check_on(&self, current: &CalendarEvent) -> Result<(), InvalidAppointment> {
        let start = self.start.as_ref().or(current.start.as_ref());
        let end = self.end.as_ref().or(current.end.as_ref());
        if let (Some(start), Some(end)) = (start, end)
            && (self.start.is_some() || self.end.is_some())
        {
            check_span(start, end)?;
        }
        if self.attendees.is_some() && current.attendees_omitted {
            return refused("/attendees", "must be left out: more people are invited than are shown");
        }
        let touches = self.start.is_some() || self.end.is_some() || self.recurrence.is_some();
        let rules = self.recurrence.as_ref().unwrap_or(&current.recurrence);
        if touches { check_zones(rules, start, end) } else { Ok(()) }
    }

    /// Whether an appointment has all of these values.
    #[must_use]
    pub fn is_applied(&self, shown: &CalendarEvent) -> bool {
        let texts = [
            (&self.title, &shown.title),
            (&self.description, &shown.description),
            (&self.location, &shown.location),
        ];
        texts.into_iter().all(|(wanted, shown)| has_text(wanted, shown.as_deref()))
            && self.start.as_ref().is_none_or(|wanted| is_time(wanted, shown.start.as_ref()))
            && self.end.as_ref().is_none_or(|wanted| is_time(wanted, shown.end.as_ref()))
            && self.recurrence.as_ref().is_none_or(|wanted| *wanted == shown.recurrence)
            && self.attendees.as_ref().is_none_or(|wanted| are_invited(wanted, shown))
            && self.free.is_none_or(|wanted| wanted == shown.free)
            && self.visibility.as_ref().is_none_or(|wanted| *wanted == shown.visibility)
            && self.status.as_ref().is_none_or(|wanted| wanted == shown.status)
            && self.core_id.as_ref().is_none_or(|wanted| shown.core_id.as_ref() == Some(wanted))
    }

    /// Whether an appointment is what these values alone made: all others are as in a new one.
    #[must_use]
    pub fn creates(&self, shown: &CalendarEvent) -> bool {
        let text = |text: &Patch<String>| if *text == Patch::Absent { Patch::Clear } else { text.clone() };
        let word = |word: &Option<String>, usual: &str| word.clone().or_else(|| Some(usual.to_owned()));
        let whole = Self {
            title: text(&self.title),
            description: text(&self.description),
            location: text(&self.location),
            recurrence: self.recurrence.clone().or_else(|| Some(Vec::new())),
            attendees: self.attendees.clone().or_else(|| Some(Vec::new())),
            free: self.free.or(Some(false)),
            visibility: word(&self.visibility, "default"),
            status: word(&self.status, "confirmed"),
            ..self.clone()
        };
        whole.is_applied(shown)
    }

    /// Whether it is all that made `after` of `before`. The fields that it writes have their names in what is shown.
    #[must_use]
    pub fn explains(&self, before: &CalendarEvent, after: &CalendarEvent) -> bool {
        self.is_applied(after) && self.rest(before) == self.rest(after)
    }

    /// A hash of what it does not write: the same before it and after it, if it is all that was made.
    #[must_use]
    pub fn rest_hash(&self, shown: &CalendarEvent) -> String {
        crate::digest::hash(&self.rest(shown).unwrap_or_default().to_string())
    }

    fn rest(&self, shown: &CalendarEvent) -> Option<Value> {
        let mut fields = serde_json::to_value(shown).ok()?;
        for name in self.names() {
            fields.as_object_mut()?.remove(name);
        }
        Some(fields)
    }

    /// The names of the fields that it writes, for the audit trail; their values are other people's too.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        let fields = [
            ("title", self.title != Patch::Absent),
            ("description", self.description != Patch::Absent),
            ("location", self.location != Patch::Absent),
            ("start", self.start.is_some()),
            ("end", self.end.is_some()),
            ("recurrence", self.recurrence.is_some()),
            ("attendees", self.attendees.is_some()),
            ("free", self.free.is_some()),
            ("visibility", self.visibility.is_some()),
            ("status", self.status.is_some()),
            ("core_id", self.core_id.is_some()),
        ];
        fields.into_iter().filter_map(|(name, is_written)| is_written.then_some(name)).collect()
    }
}

fn has_text(wanted: &Patch<String>, shown: Option<&str>) -> bool {
    match wanted {
        Patch::Absent => true,
        Patch::Clear => shown.is_none_or(str::is_empty),
        Patch::Set(text) => shown.unwrap_or_default() == text,
    }
}

/// The calendar may show a time with another offset, and adds the zone where there is none.
fn is_time(wanted: &CalendarTime, shown: Option<&CalendarTime>) -> bool {
    match (wanted, shown) {
        (CalendarTime::Day { date }, Some(CalendarTime::Day { date: shown })) => date == shown,
        (
            CalendarTime::Time { date_time, time_zone },
            Some(CalendarTime::Time { date_time: shown, time_zone: shown_zone }),
        ) => {
            let is_same = match (date_time.parse::<Timestamp>(), shown.parse::<Timestamp>()) {
                (Ok(wanted), Ok(shown)) => wanted == shown,
                _ => date_time == shown,
            };
            is_same && time_zone.as_ref().is_none_or(|zone| shown_zone.as_ref() == Some(zone))
        }
        _ => false,
    }
}

fn are_invited(wanted: &[Invitee], shown: &CalendarEvent) -> bool {
    let is_shown = |invitee: &Invitee| {
        shown.attendees.iter().any(|attendee| {
            attendee.email.eq_ignore_ascii_case(&invitee.email)
                && attendee.optional == invitee.optional
                && invitee.name.as_ref().is_none_or(|name| attendee.name.as_ref() == Some(name))
        })
    };
    wanted.len() == shown.attendees.len() && wanted.iter().all(is_shown)
}

fn check_time(pointer: &str, time: &CalendarTime) -> Result<(), InvalidAppointment> {
    match time {
        CalendarTime::Day { date } => {
            let is_date = date.len() == 10 && format!("{date}T00:00:00Z").parse::<Timestamp>().is_ok();
            if is_date {
                Ok(())
            } else {
                refused(format!("{pointer}/date"), "must be a date such as 2026-03-29")
            }
        }
        CalendarTime::Time { date_time, time_zone } => {
            if date_time.parse::<Timestamp>().is_err() {
                let message = "must be an RFC 3339 time with an offset, such as 2026-12-08T15:00:00+01:00";
                return refused(format!("{pointer}/date_time"), message);
            }
            let is_zone = |zone: &String| {
                let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-/".contains(&byte);
                (1..=64).contains(&zone.len()) && zone.bytes().all(is_letter)
            };
            if time_zone.as_ref().is_some_and(|zone| !is_zone(zone)) {
                return refused(
                    format!("{pointer}/time_zone"),
                    "must be a zone by its IANA name, such as Europe/Berlin",
                );
            }
            Ok(())
        }
    }
}

fn check_span(start: &CalendarTime, end: &CalendarTime) -> Result<(), InvalidAppointment> {
    let ends_later = match (start, end) {
        (CalendarTime::Day { date: start }, CalendarTime::Day { date: end }) => start < end,
        (CalendarTime::Time { date_time: start, .. }, CalendarTime::Time { date_time: end, .. }) => {
            match (start.parse::<Timestamp>(), end.parse::<Timestamp>()) {
                (Ok(start), Ok(end)) => start <= end,
                _ => true,
            }
        }
        _ => return refused("/end", "must be a day where the start is one, and a time where that is one"),
    };
    if ends_later {
        Ok(())
    } else {
        refused("/end", "must not be before the start; the end of whole days is the day after the last one")
    }
}

/// An offset does not say when the clocks change.
fn check_zones(
    rules: &[String],
    start: Option<&CalendarTime>,
    end: Option<&CalendarTime>,
) -> Result<(), InvalidAppointment> {
    if rules.is_empty() {
        return Ok(());
    }
    for (pointer, time) in [("/start/time_zone", start), ("/end/time_zone", end)] {
        if let Some(CalendarTime::Time { time_zone: None, .. }) = time {
            return refused(pointer, "is required for a series");
        }
    }
    Ok(())
}

fn check_recurrence(rules: &[String]) -> Result<(), InvalidAppointment> {
    let (count, length) = RECURRENCE;
    if rules.len() > count {
        return refused("/recurrence", "must have at most 20 lines");
    }
    for (index, rule) in rules.iter().enumerate() {
        let is_known = ["RRULE:", "EXRULE:", "RDATE:", "RDATE;", "EXDATE:", "EXDATE;"]
            .iter()
            .any(|name| rule.len() > name.len() && rule.starts_with(name));
        if !is_known || rule.len() > length || rule.chars().any(char::is_control) {
            let message = "must be a line RRULE, EXRULE, RDATE or EXDATE of RFC 5545 of at most 1000 bytes";
            return refused(format!("/recurrence/{index}"), message);
        }
    }
    Ok(())
}

fn check_attendees(attendees: &[Invitee]) -> Result<(), InvalidAppointment> {
    if attendees.len() > ATTENDEES {
        return refused("/attendees", "must be at most 100");
    }
    let mut seen = HashSet::new();
    for (index, attendee) in attendees.iter().enumerate() {
        let email = &attendee.email;
        let is_address = email
            .split_once('@')
            .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'))
            && email.len() <= 254
            && !email.chars().any(|letter| letter.is_whitespace() || letter.is_control());
        if !is_address {
            return refused(format!("/attendees/{index}/email"), "must be an e-mail address");
        }
        if !seen.insert(email.to_lowercase()) {
            return refused(format!("/attendees/{index}/email"), "is there twice");
        }
        let is_bad = |name: &String| name.chars().count() > 200 || name.chars().any(char::is_control);
        if attendee.name.as_ref().is_some_and(is_bad) {
            let message = "must have at most 200 characters, none of them a control character";
            return refused(format!("/attendees/{index}/name"), message);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str, zone: Option<&str>) -> CalendarTime {
        CalendarTime::Time { date_time: text.to_owned(), time_zone: zone.map(str::to_owned) }
    }

    fn day(text: &str) -> CalendarTime {
        CalendarTime::Day { date: text.to_owned() }
    }

    fn invitee(email: &str) -> Invitee {
        Invitee { email: email.to_owned(), ..Invitee::default() }
    }

    fn rules(rules: &[&str]) -> Vec<String> {
        rules.iter().map(|rule| (*rule).to_owned()).collect()
    }

    #[test]
    fn a_field_that_is_refused_is_named() {
        let none = AppointmentChange::default;
        let hour = "2026-12-08T15:00:00+01:00";
        for (change, expected) in [
            (none(), None),
            (AppointmentChange { title: Patch::Set("x".repeat(1025)), ..none() }, Some("/title")),
            (AppointmentChange { title: Patch::Set("a\nb".into()), ..none() }, Some("/title")),
            (AppointmentChange { title: Patch::Clear, ..none() }, None),
            (AppointmentChange { description: Patch::Set("a\nb".into()), ..none() }, None),
            (AppointmentChange { description: Patch::Set("\u{0}".into()), ..none() }, Some("/description")),
            (
                AppointmentChange { start: Some(time("2026-12-08 15:00", None)), ..none() },
                Some("/start/date_time"),
            ),
            (
                AppointmentChange { start: Some(time("2026-12-08T15:00:00", None)), ..none() },
                Some("/start/date_time"),
            ),
            (AppointmentChange { start: Some(time(hour, Some("Europe/Berlin"))), ..none() }, None),
            (
                AppointmentChange { start: Some(time(hour, Some("the moon"))), ..none() },
                Some("/start/time_zone"),
            ),
            (AppointmentChange { start: Some(day("2026-02-30")), ..none() }, Some("/start/date")),
            (AppointmentChange { start: Some(day("2026-3-29")), ..none() }, Some("/start/date")),
            // G15: the end is exclusive, so one day has two dates.
            (
                AppointmentChange { start: Some(day("2026-03-29")), end: Some(day("2026-03-29")), ..none() },
                Some("/end"),
            ),
            (
                AppointmentChange { start: Some(day("2026-03-29")), end: Some(day("2026-03-30")), ..none() },
                None,
            ),
            (
                AppointmentChange { start: Some(day("2026-03-29")), end: Some(time(hour, None)), ..none() },
                Some("/end"),
            ),
            (
                AppointmentChange {
                    start: Some(time(hour, None)),
                    end: Some(time("2026-12-08T13:59:59Z", None)),
                    ..none()
                },
                Some("/end"),
            ),
            (
                AppointmentChange {
                    start: Some(time(hour, None)),
                    end: Some(time("2026-12-08T14:00:00Z", None)),
                    ..none()
                },
                None,
            ),
            (AppointmentChange { recurrence: Some(rules(&["FREQ=DAILY"])), ..none() }, Some("/recurrence/0")),
            (
                AppointmentChange { recurrence: Some(rules(&["RRULE:FREQ=DAILY", "DTSTART:1"])), ..none() },
                Some("/recurrence/1"),
            ),
            (
                AppointmentChange {
                    recurrence: Some(rules(&["RRULE:FREQ=DAILY"])),
                    start: Some(time(hour, None)),
                    ..none()
                },
                Some("/start/time_zone"),
            ),
            (
                AppointmentChange { recurrence: Some(rules(&[])), start: Some(time(hour, None)), ..none() },
                None,
            ),
            (
                AppointmentChange { attendees: Some(vec![invitee("ada")]), ..none() },
                Some("/attendees/0/email"),
            ),
            (
                AppointmentChange { attendees: Some(vec![invitee("a@b.c"), invitee("A@b.c")]), ..none() },
                Some("/attendees/1/email"),
            ),
            (
                AppointmentChange { attendees: Some(vec![invitee("a@b.c"); 101]), ..none() },
                Some("/attendees"),
            ),
            (AppointmentChange { visibility: Some("secret".into()), ..none() }, Some("/visibility")),
            (AppointmentChange { status: Some("cancelled".into()), ..none() }, Some("/status")),
            (AppointmentChange { core_id: Some(" ".into()), ..none() }, Some("/core_id")),
        ] {
            let result = change.check().err();
            assert_eq!(result.as_ref().map(|invalid| invalid.pointer.as_str()), expected, "{change:?}");
        }
    }
}
