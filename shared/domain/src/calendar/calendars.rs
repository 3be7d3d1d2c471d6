//! The calendars of an account.

use serde::Deserialize;
use serde_json::Value;

use crate::{
    client::{api::query, apis::google_calendar},
    sync::{MalformedPage, RequestTarget, page::PageRequest},
};

/// Calendars in a page; Google's limit is 250.
const PAGE_SIZE: &str = "250";

/// What is read of each.
const FIELDS: &str = "nextPageToken,items(id,summary,summaryOverride,timeZone,accessRole,primary)";

/// A calendar of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalendarOfAccount {
    /// Its id.
    pub id: String,
    /// Its name, as the account has it.
    pub title: Option<String>,
    /// The IANA name of its zone.
    pub time_zone: Option<String>,
    /// What the account may do, in Google's words.
    pub access_role: String,
    /// Whether it is the account's own one.
    pub primary: bool,
}

impl CalendarOfAccount {
    /// Whether the account may write appointments.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        matches!(self.access_role.as_str(), "owner" | "writer")
    }
}

/// The request for a page of the calendars of a Google account.
#[must_use]
pub fn request(next: Option<&str>) -> PageRequest {
    let mut pairs = vec![("maxResults", PAGE_SIZE), ("fields", FIELDS)];
    pairs.extend(next.map(|token| ("pageToken", token)));
    let call = google_calendar::LIST_CALENDARS;
    let target = RequestTarget::Path { path: call.path.to_owned(), query: query(&pairs) };
    PageRequest { call, target }
}

/// Reads a page: its calendars, and the token of the next one.
///
/// # Errors
/// A response that is no list.
pub fn read(body: Value) -> Result<(Vec<CalendarOfAccount>, Option<String>), MalformedPage> {
    let list: List = serde_json::from_value(body).map_err(|_| MalformedPage { field: "items" })?;
    let calendars = list.items.into_iter().map(|entry| CalendarOfAccount {
        id: entry.id,
        title: entry.summary_override.or(entry.summary),
        time_zone: entry.time_zone,
        access_role: entry.access_role,
        primary: entry.primary,
    });
    Ok((calendars.collect(), list.next_page_token))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    #[serde(default)]
    items: Vec<Entry>,
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    id: String,
    summary: Option<String>,
    summary_override: Option<String>,
    time_zone: Option<String>,
    #[serde(default)]
    access_role: String,
    #[serde(default)]
    primary: bool,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_is_read() {
        let (calendars, next) = read(json!({
            "nextPageToken": "p2", "items": [
                { "id": "ada@example.com", "summary": "Ada", "timeZone": "Europe/Berlin", "accessRole": "owner", "primary": true },
                { "id": "team", "summary": "Team", "summaryOverride": "Ours", "accessRole": "reader" },
            ],
        }))
        .unwrap();
        assert_eq!(next.as_deref(), Some("p2"));
        let shown: Vec<_> = calendars
            .iter()
            .map(|calendar| (calendar.title.as_deref(), calendar.is_writable(), calendar.primary))
            .collect();
        assert_eq!(shown, [(Some("Ada"), true, true), (Some("Ours"), false, false)]);
        assert_eq!(read(json!({})).unwrap(), (vec![], None));
        assert!(read(json!([])).is_err() && read(json!({ "items": [{}] })).is_err());
    }

    #[test]
    fn the_next_page_is_requested_by_its_token() {
        let RequestTarget::Path { path, query } = request(Some("p 2")).target else { panic!("a path") };
        assert_eq!(path, "/users/me/calendarList");
        assert!(
            query.ends_with("&pageToken=p%202") && query.starts_with("maxResults=250&fields="),
            "{query}"
        );
    }
}
