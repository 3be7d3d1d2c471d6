//! The calendars of a connected account.

use std::sync::Arc;

use domain::{
    calendar::calendars,
    client::apis::google_calendar,
    connection::{Connection, presets},
    sync::{SyncSettings, kind::KindName},
};
use platform::{
    Fault,
    client::ConnectionSession,
    lambda::problem::{Kind, Problem},
};
use schemars::JsonSchema;
use serde::Serialize;

use super::find;
use crate::{
    http::{call::Call, parameter::Parameter},
    state::Api,
    third_party::{self, About, success},
};

/// Pages of a list at most: 2,500 calendars.
const PAGES: usize = 10;

/// The parameter of the list.
pub(crate) const PARAMETERS: [Parameter; 1] = [Parameter {
    name: "base_url",
    place: "query",
    description: "Another address of the API, where the deployment allows it; the vendor's by default.",
    schema: r#"{"type":"string","maxLength":1000,"format":"uri","examples":["https://www.googleapis.com/calendar/v3"]}"#,
}];

/// The calendars of an account.
#[derive(Serialize, JsonSchema)]
pub(crate) struct CalendarList {
    /// The calendars, in the account's order.
    data: Vec<CalendarView>,
    /// Whether there are more than can be listed.
    truncated: bool,
}

/// A calendar of an account.
#[derive(Serialize, JsonSchema)]
pub(crate) struct CalendarView {
    /// Its id, for `calendar_id` of a sync.
    id: String,
    /// Its name, as the account has it.
    title: Option<String>,
    /// The IANA name of its zone.
    time_zone: Option<String>,
    /// What the account may do, in Google's words: `owner`, `writer`, `reader` or `freeBusyReader`.
    access_role: String,
    /// Whether appointments can be written.
    writable: bool,
    /// Whether it is the account's own one, which is also called `primary`.
    primary: bool,
    /// The sync that reads it by this connection; null where none does.
    sync_id: Option<domain::SyncId>,
}

/// Whether a connection may be one of this provider: of a name that is no preset, its tenant knows more.
pub(crate) fn may_be_of(connection: &Connection, idp: &str) -> bool {
    connection.idp.as_str() == idp || presets::find(connection.idp.as_str()).is_none()
}

pub(crate) async fn list(api: Arc<Api>, call: Call) -> Result<CalendarList, Problem> {
    let connection = find(&api, &call).await?.connection;
    if !may_be_of(&connection, "google") {
        let detail = format!("connections at {} have no calendars here", connection.idp);
        return Err(Problem::new(Kind::NotSupported, detail));
    }
    let row = &google_calendar::API;
    let settings =
        SyncSettings { base_url: call.query("base_url").map(str::to_owned), ..SyncSettings::default() };
    let checked = settings.check(&[], row.base, &api.egress_allow);
    checked.map_err(|invalid| Problem::parameter("base_url", invalid.message))?;
    let about = About { connection: connection.id, api: row, what: "account" };
    let mut held = third_party::begin(&api, &call, connection.id).await?;
    let read = read(&api, &mut held, about, settings.base_url.as_deref()).await;
    api.connection_calls.end(held).await?;
    let (calendars, truncated) = read?;
    let readers = api.syncs.readers(&connection.tenant_id, connection.id, KindName::GoogleCalendar).await?;
    let data = calendars.into_iter().map(|calendar| {
        let mut settings = SyncSettings { calendar_id: Some(calendar.id.clone()), ..settings.clone() };
        let mut sync_id = readers.of(&settings);
        if sync_id.is_none() && calendar.primary {
            settings.calendar_id = Some("primary".to_owned());
            sync_id = readers.of(&settings);
        }
        CalendarView {
            writable: calendar.is_writable(),
            id: calendar.id,
            title: calendar.title,
            time_zone: calendar.time_zone,
            access_role: calendar.access_role,
            primary: calendar.primary,
            sync_id,
        }
    });
    Ok(CalendarList { data: data.collect(), truncated })
}

async fn read(
    api: &Api,
    held: &mut ConnectionSession,
    about: About<'_>,
    base: Option<&str>,
) -> Result<(Vec<calendars::CalendarOfAccount>, bool), Problem> {
    let base = base.unwrap_or(about.api.base).trim_end_matches('/');
    let (mut all, mut next) = (Vec::new(), None);
    for _ in 0..PAGES {
        let request = calendars::request(next.as_deref());
        let called = api.connection_calls.caller.call(
            &mut held.session,
            (about.api, base),
            &request.call,
            &request.target,
        );
        let body = success(Box::pin(called).await?, about)?;
        let (calendars, following) = calendars::read(body).map_err(|malformed| {
            Fault::new("reading calendars", format!("the field {} cannot be read", malformed.field))
        })?;
        all.extend(calendars);
        next = following;
        if next.is_none() {
            return Ok((all, false));
        }
    }
    Ok((all, true))
}
