//! Lists with pages and sync tokens: `events.list` and `calendarList.list`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    refusal::{Refusal, invalid, refusal},
    world::{Event, Page, SyncToken, World, rfc3339},
};

type Query = [(String, String)];

/// Parameters that may not be sent with a sync token.
const FORBIDDEN_IN_EVENTS: [&str; 8] = [
    "iCalUID",
    "orderBy",
    "privateExtendedProperty",
    "q",
    "sharedExtendedProperty",
    "timeMin",
    "timeMax",
    "updatedMin",
];
const FORBIDDEN_IN_CALENDARS: [&str; 2] = ["minAccessRole", "showOwnOrganizationOnly"];
/// Parameters that do not select what is listed.
const FREE: [&str; 8] =
    ["syncToken", "pageToken", "maxResults", "fields", "alt", "prettyPrint", "quotaUser", "key"];

fn parameter<'a>(query: &'a Query, name: &str) -> Option<&'a str> {
    query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// The parameters that must stay the same over a sync.
fn fixed(query: &Query, forbidden: &[&str]) -> BTreeMap<String, Vec<String>> {
    let mut fixed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in query {
        if !FREE.contains(&name.as_str()) && !forbidden.contains(&name.as_str()) {
            fixed.entry(name.clone()).or_default().push(value.clone());
        }
    }
    for (name, default) in [("showDeleted", "false"), ("showHidden", "false"), ("singleEvents", "false")] {
        fixed.entry(name.to_owned()).or_insert_with(|| vec![default.to_owned()]);
    }
    // A delta always has deletions, so these may not differ in a way that counts.
    fixed.remove("showDeleted");
    fixed.remove("showHidden");
    fixed
}

/// One page: what of it is left to list, and how the list goes on.
struct Listing<'a> {
    list: String,
    query: &'a Query,
    forbidden: &'a [&'a str],
    not_false: &'a [&'a str],
}

impl Listing<'_> {
    /// Where this call is in the list. `ids` lists what changed since a sequence; 0 is a full list.
    fn page(&self, world: &mut World, ids: impl Fn(&World, u64) -> Vec<String>) -> Result<Page, Refusal> {
        let sync_token = parameter(self.query, "syncToken").map(str::to_owned);
        let parameters = fixed(self.query, self.forbidden);
        if sync_token.is_some() {
            let is_false = |name: &&&str| parameter(self.query, name) == Some("false");
            let sent = self.forbidden.iter().find(|name| parameter(self.query, name).is_some());
            if let Some(name) = sent.or_else(|| self.not_false.iter().find(is_false)) {
                let message = format!("Sync token cannot be combined with other query restrictions: {name}");
                return Err(refusal(400, "syncTokenWithRequestRestrictions", &message, Some("syncToken")));
            }
        }
        let since = match &sync_token {
            None => 0,
            Some(token) => {
                let known =
                    world.sync_tokens.get(token).filter(|known| !known.expired && known.list == self.list);
                let Some(known) = known else {
                    let message = "Sync token is no longer valid, a full sync is required.";
                    return Err(refusal(410, "fullSyncRequired", message, Some("syncToken")));
                };
                if known.parameters != parameters {
                    let before = format!("{:?}", known.parameters);
                    world
                        .violations
                        .push(format!("{}: {before} is now {parameters:?} beside a sync token", self.list));
                    return Err(invalid("The parameters differ from those of the first sync.", "syncToken"));
                }
                known.since
            }
        };
        if let Some(token) = parameter(self.query, "pageToken") {
            let page = world.pages.get(token).filter(|page| page.list == self.list).cloned();
            let page = page.ok_or_else(|| invalid("Invalid page token value.", "pageToken"))?;
            if page.parameters != parameters || page.sync_token != sync_token {
                world.violations.push(format!("{}: other parameters beside a page token", self.list));
                return Err(invalid("The parameters differ from those of the first page.", "pageToken"));
            }
            return Ok(page);
        }
        let gives_token = parameter(self.query, "orderBy").is_none();
        let (rest, now) = (ids(world, since), world.sequence);
        Ok(Page { list: self.list.clone(), parameters, sync_token, rest, since: now, gives_token })
    }

    /// Takes the ids of this page, and gives the token of the next one or that of the next sync.
    fn take(&self, world: &mut World, mut page: Page, most: usize) -> (Vec<String>, Map<String, Value>) {
        let asked = parameter(self.query, "maxResults").and_then(|text| text.parse().ok());
        let asked = asked.unwrap_or(250).min(most);
        let size = world.page_sizes.pop_front().unwrap_or(world.page_size).min(asked).min(page.rest.len());
        let shown: Vec<String> = page.rest.drain(..size).collect();
        let mut tokens = Map::new();
        // A page may be empty though the list goes on, and the last one may be empty too.
        if !page.rest.is_empty() {
            let token = world.next_token("Eg");
            tokens.insert("nextPageToken".to_owned(), json!(token));
            world.pages.insert(token, page);
        } else if page.gives_token {
            let token = world.next_token("CP");
            tokens.insert("nextSyncToken".to_owned(), json!(token));
            let Page { list, parameters, since, .. } = page;
            world.sync_tokens.insert(token, SyncToken { list, parameters, since, expired: false });
        }
        (shown, tokens)
    }
}

pub(super) fn events(
    world: &mut World,
    account: &str,
    calendar: &str,
    query: &Query,
) -> Result<Value, Refusal> {
    let id = if calendar == "primary" { account } else { calendar };
    world.calendar_of(account, id, false)?;
    if parameter(query, "singleEvents") == Some("true") {
        let message = "the fake Google does not expand series";
        world.violations.push(format!("events.list: singleEvents=true: {message}"));
        return Err(refusal(501, "notImplemented", message, Some("singleEvents")));
    }
    if parameter(query, "orderBy") == Some("startTime") {
        return Err(invalid("The requested ordering is not available for the particular query.", "orderBy"));
    }
    if let Some(least) = instant(parameter(query, "updatedMin")) {
        let oldest = i128::from(world.now()) - 28 * 86_400_000;
        if least < oldest {
            let message = "The requested minimum modification time lies too far in the past.";
            return Err(refusal(410, "updatedMinTooLongAgo", message, Some("updatedMin")));
        }
    }
    let not_false = ["showDeleted"];
    let listing = Listing {
        list: format!("events {id}"),
        query,
        forbidden: &FORBIDDEN_IN_EVENTS,
        not_false: &not_false,
    };
    let page = listing.page(world, |world, since| {
        let events = &world.calendars[id].events;
        let mut found: Vec<(&String, &Event)> = events
            .iter()
            .filter(
                |(_, event)| if since == 0 { in_full(events, event, query) } else { event.sequence > since },
            )
            .collect();
        let by_change = parameter(query, "orderBy") == Some("updated") || since > 0;
        found.sort_by_key(|(_, event)| if by_change { event.sequence } else { event.made });
        found.into_iter().map(|(id, _)| id.clone()).collect()
    })?;
    let (ids, tokens) = listing.take(world, page, 2500);
    let entry = world.accounts[account].entries[id].0.clone();
    let calendar = &world.calendars[id];
    let items: Vec<Value> =
        ids.iter().filter_map(|id| Some(shown(&calendar.events, calendar.events.get(id)?))).collect();
    let mut body = json!({
        "kind": "calendar#events", "etag": format!("\"p{}\"", world.sequence), "summary": calendar.fields["summary"],
        "timeZone": calendar.fields["timeZone"], "accessRole": entry["accessRole"], "updated": rfc3339(world.now()),
        "defaultReminders": [], "items": items,
    });
    body.as_object_mut().expect("an object").extend(tokens);
    Ok(body)
}

/// Whether a full list has an event.
fn in_full(events: &BTreeMap<String, Event>, event: &Event, query: &Query) -> bool {
    let deleted = parameter(query, "showDeleted") == Some("true");
    // A cancelled occurrence of a living series is listed even where deletions are not.
    if event.is_cancelled() && !deleted && series(events, event).is_none() {
        return false;
    }
    let private = event.fields.get("extendedProperties").unwrap_or(&Value::Null);
    let has = |kind: &str, wanted: &str| {
        wanted.split_once('=').is_some_and(|(name, value)| private[kind][name] == value)
    };
    let all = |name: &str, kind: &str| {
        query.iter().filter(|(known, _)| known == name).all(|(_, wanted)| has(kind, wanted))
    };
    let types: Vec<_> = query.iter().filter(|(name, _)| name == "eventTypes").map(|(_, kind)| kind).collect();
    let kind = if event.text("eventType").is_empty() { "default" } else { event.text("eventType") };
    let time = |name: &str| {
        let time = event.fields.get(name)?;
        let date = time["date"].as_str().map(|date| format!("{date}T00:00:00Z"));
        instant(date.as_deref().or_else(|| time["dateTime"].as_str()))
    };
    let recurs = event.fields.contains_key("recurrence");
    let after = |least| recurs || time("end").is_none_or(|end| end > least);
    let before = |most| time("start").is_none_or(|start| start < most);
    all("privateExtendedProperty", "private")
        && all("sharedExtendedProperty", "shared")
        && (types.is_empty() || types.iter().any(|one| *one == kind))
        && parameter(query, "iCalUID").is_none_or(|uid| event.text("iCalUID") == uid)
        && parameter(query, "q").is_none_or(|q| event.text("summary").contains(q))
        && instant(parameter(query, "timeMin")).is_none_or(after)
        && instant(parameter(query, "timeMax")).is_none_or(before)
        && instant(parameter(query, "updatedMin"))
            .is_none_or(|least| instant(Some(event.text("updated"))).is_none_or(|updated| updated >= least))
}

fn instant(text: Option<&str>) -> Option<i128> {
    OffsetDateTime::parse(text?, &Rfc3339).ok().map(|at| at.unix_timestamp_nanos() / 1_000_000)
}

/// The living series that an event is an occurrence of.
fn series<'a>(events: &'a BTreeMap<String, Event>, event: &Event) -> Option<&'a Event> {
    events.get(event.text("recurringEventId")).filter(|series| !series.is_cancelled())
}

/// An event as lists show it. Of a cancelled one only what Google guarantees: a client that reads more there has an error
/// that shows in production only sometimes.
fn shown(events: &BTreeMap<String, Event>, event: &Event) -> Value {
    if !event.is_cancelled() {
        return Value::Object(event.fields.clone());
    }
    let mut names = vec!["kind", "etag", "id", "status"];
    if series(events, event).is_some() {
        names.extend(["recurringEventId", "originalStartTime"]);
    }
    let fields = names.iter().filter_map(|name| Some(((*name).to_owned(), event.fields.get(*name)?.clone())));
    Value::Object(fields.collect())
}

pub(super) fn calendars(world: &mut World, account: &str, query: &Query) -> Result<Value, Refusal> {
    let not_false = ["showDeleted", "showHidden"];
    let list = format!("calendarList {account}");
    let listing = Listing { list, query, forbidden: &FORBIDDEN_IN_CALENDARS, not_false: &not_false };
    let rank =
        |role: &str| ["freeBusyReader", "reader", "writer", "owner"].iter().position(|one| *one == role);
    let least = parameter(query, "minAccessRole").and_then(rank);
    let page = listing.page(world, |world, since| {
        let shows = |name: &str| parameter(query, name) == Some("true");
        let full = |entry: &Value| {
            (shows("showDeleted") || entry["deleted"] != true)
                && (shows("showHidden") || entry["hidden"] != true)
                && least <= rank(entry["accessRole"].as_str().unwrap_or_default())
        };
        let entries = world.accounts[account].entries.iter();
        let entries = entries.filter(|(_, (entry, at))| if since == 0 { full(entry) } else { *at > since });
        entries.map(|(id, _)| id.clone()).collect()
    })?;
    let (ids, tokens) = listing.take(world, page, 250);
    let entries = &world.accounts[account].entries;
    let items: Vec<Value> = ids.iter().filter_map(|id| Some(entries.get(id)?.0.clone())).collect();
    let etag = format!("\"p{}\"", world.sequence);
    let mut body = json!({ "kind": "calendar#calendarList", "etag": etag, "items": items });
    body.as_object_mut().expect("an object").extend(tokens);
    Ok(body)
}
