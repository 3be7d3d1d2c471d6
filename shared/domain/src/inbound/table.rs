//! The table of one source: how it verifies, reads events, and responds. A preset has one, and a tenant's custom
//! source is one.

use serde::{Deserialize, Serialize};

use super::{
    challenge::Challenge,
    engine::{
        self, Scheme,
        scheme::{Condition, Method},
        template::{Template, Word},
    },
    extraction::EventRules,
    reading::{Origin, Place, Pointer},
};
use crate::pointer::{Violation, member};

/// Everything that differs between two senders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// How requests are verified.
    pub scheme: Scheme,
    /// How they become events.
    pub events: EventRules,
    /// Requests that are no events but must get a certain response.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub challenges: Vec<Challenge>,
    /// How events and refusals are responded to.
    #[serde(default)]
    pub responses: Responses,
}

impl Table {
    /// Whether a secret itself is in the body of a request.
    #[must_use]
    pub fn has_secret_in_body(&self) -> bool {
        let in_body = |origin: &Origin| {
            matches!(origin, Origin::Json(_) | Origin::Item(_) | Origin::Form(_) | Origin::Body)
        };
        let methods = self.scheme.methods.iter();
        methods
            .filter(|method| !method.algorithm.signs() && !method.algorithm.has_public_key())
            .any(|method| method.signature.from.origins().any(in_body))
    }

    /// The places that events are read from.
    pub(super) fn event_places(&self) -> impl Iterator<Item = &Place> {
        let rules = &self.events;
        let conditions = rules.ignore.iter().map(Condition::place);
        let read = read_places(rules).into_iter().map(|(_, place)| place);
        read.chain(&rules.data).chain(&rules.items).chain(conditions)
    }
}

/// How a sender expects its requests to be responded to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Responses {
    /// To an accepted request.
    #[serde(default)]
    pub accepted: Reply,
    /// To a request whose signature is refused.
    #[serde(default = "Reply::refusal")]
    pub refused: Reply,
    /// While we cannot accept requests, though it is not the sender's fault.
    #[serde(default = "Reply::unavailable")]
    pub unavailable: Reply,
    /// Status codes that the sender must never get, since they end its retries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub never: Vec<u16>,
}

impl Default for Responses {
    fn default() -> Self {
        Self {
            accepted: Reply::default(),
            refused: Reply::refusal(),
            unavailable: Reply::unavailable(),
            never: Vec::new(),
        }
    }
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The content type of `body`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The body; ours if missing, none if empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Seconds after which to try again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
}

impl Default for Reply {
    /// 200, since some providers count nothing else as a success.
    fn default() -> Self {
        Self { status: 200, content_type: None, body: None, retry_after: None }
    }
}

impl Reply {
    fn refusal() -> Self {
        Self { status: 401, ..Self::default() }
    }

    fn unavailable() -> Self {
        Self { status: 503, ..Self::default() }
    }
}

/// Rows in one list of a table.
const ROW_COUNT_LIMIT: usize = 8;

/// Bytes of a table, as a tenant writes it and as it is stored.
pub const TABLE_LENGTH_LIMIT: usize = 16 * 1024;

/// Reads a tenant's table.
///
/// # Errors
/// Every fault, with the pointer to its field.
pub fn parse_table(json: &str) -> Result<Table, Vec<Violation>> {
    if json.len() > TABLE_LENGTH_LIMIT {
        return Err(vec![Violation::new("", format!("must be at most {TABLE_LENGTH_LIMIT} bytes long"))]);
    }
    let table = read_table(json)?;
    // With its defaults it is longer than it was written.
    if serde_json::to_string(&table).is_ok_and(|stored| stored.len() > TABLE_LENGTH_LIMIT) {
        let detail =
            format!("must be at most {TABLE_LENGTH_LIMIT} bytes long with the defaults of its fields");
        return Err(vec![Violation::new("", detail)]);
    }
    Ok(table)
}

/// Reads a table as it is stored, of any length: it was checked when it was written, and a limit that is lowered later
/// must not make a source unreadable.
///
/// # Errors
/// Every fault, with the pointer to its field.
pub fn read_table(json: &str) -> Result<Table, Vec<Violation>> {
    let table: Table = engine::parse(json).map_err(|violation| vec![violation])?;
    let violations = violations(&table);
    if violations.is_empty() { Ok(table) } else { Err(violations) }
}

/// What is wrong in a table beyond its shape.
pub(super) fn violations(table: &Table) -> Vec<Violation> {
    let mut found: Vec<_> =
        engine::violations(&table.scheme).into_iter().map(|violation| violation.within("/scheme")).collect();
    found.extend(of_events(&table.events).into_iter().map(|violation| violation.within("/events")));
    found.extend(of_items(table).into_iter().map(|violation| violation.within("/events")));
    found.extend(of_signatures(table).into_iter().map(|violation| violation.within("/events")));
    if table.challenges.iter().any(Challenge::signs) {
        found.extend(of_signed_challenges(&table.scheme));
    }
    if table.challenges.len() > ROW_COUNT_LIMIT {
        found.push(Violation::new("/challenges", format!("must have at most {ROW_COUNT_LIMIT} rows")));
    }
    for (index, challenge) in table.challenges.iter().enumerate() {
        let parent = format!("/challenges/{index}");
        found.extend(challenge.violations().into_iter().map(|violation| violation.within(&parent)));
    }
    let replies = &table.responses;
    for (name, reply) in [
        ("accepted", &replies.accepted),
        ("refused", &replies.refused),
        ("unavailable", &replies.unavailable),
    ] {
        if !(200..600).contains(&reply.status) || replies.never.contains(&reply.status) {
            let pointer = format!("/responses/{name}/status");
            found.push(Violation::new(pointer, "must be a status from 200 to 599 that the sender may get"));
        }
    }
    found
}

/// A challenge signs with the key of the events what a stranger gives: letters, digits, `_` and `-`. So the text of
/// an event must have another character, whatever the request holds.
fn of_signed_challenges(scheme: &Scheme) -> Vec<Violation> {
    let is_other = |letter: char| !letter.is_ascii_alphanumeric() && !['_', '-'].contains(&letter);
    let has_other = |word: &Word| matches!(word, Word::Text(text) if text.contains(is_other));
    let is_forgeable = |signed: &Option<Template>| {
        !signed.as_ref().is_some_and(|signed| signed.words().iter().any(has_other))
    };
    let forgeable = scheme.methods.iter().enumerate().filter(|(_, method)| is_forgeable(&method.signed));
    let detail = "must have a fixed text with a character beyond letters, digits, _ and -, since a challenge contains {hmac}";
    forgeable.map(|(index, _)| Violation::new(format!("/scheme/methods/{index}/signed"), detail)).collect()
}

/// A signature of an item vouches for this item and for nothing else, so its event must be made of it alone.
fn of_items(table: &Table) -> Vec<Violation> {
    let mut found = Vec::new();
    let rules = &table.events;
    if let Some(place) =
        rules.data.as_ref().filter(|place| !rules.items.is_empty() && !place.is_within_item())
    {
        let detail = format!("must be a place of the item, since every item would hold a copy of {place}");
        found.push(Violation::new("/data", detail));
    }
    let lists = table.scheme.methods.iter().filter_map(|method| method.signature.from.per_item());
    let lists: Vec<_> = lists.map(|(list, _)| list).collect();
    let signs_id = |method: &Method| method.algorithm.signs() && method.timestamp.is_none();
    if rules.body_is_id && (!rules.items.is_empty() || !table.scheme.methods.iter().all(signs_id)) {
        let detail = "must be missing where a method signs nothing or a time, and for a batch";
        found.push(Violation::new("/body_is_id", detail));
    }
    if lists.is_empty() {
        return found;
    }
    let items: Vec<_> = rules.items.iter().filter_map(Place::per_item).collect();
    let is_list = |list: &Pointer| match (&rules.items[..], &items[..]) {
        ([_], [(items, element)]) => items == list && element.is_item(),
        _ => false,
    };
    if !lists.iter().all(is_list) {
        let detail = "must be exactly the list whose items are signed, since others would count as verified";
        found.push(Violation::new("/items", detail));
    }
    let outside = read_places(rules).into_iter().filter(|(_, place)| !place.is_within_item());
    let detail = "must be a place of the item, since the signature of an item covers nothing else";
    found.extend(outside.map(|(pointer, _)| Violation::new(pointer, detail)));
    found
}

/// A header or parameter with the signature is not kept, so a replay could not read an event from it.
fn of_signatures(table: &Table) -> Vec<Violation> {
    let origins = table.scheme.methods.iter().flat_map(|method| method.signature.from.origins());
    let signatures: Vec<_> =
        origins.filter(|origin| matches!(origin, Origin::Header(_) | Origin::Query(_))).collect();
    let is_signature = |place: &Place| place.origins().any(|origin| signatures.contains(&origin));
    let read = read_places(&table.events).into_iter().filter(|(_, place)| is_signature(place));
    read.map(|(pointer, _)| Violation::new(pointer, "must not be the signature, which is not kept")).collect()
}

/// What events are read from, with the pointers of the fields; without the data, which has a rule of its own.
fn read_places(rules: &EventRules) -> Vec<(String, &Place)> {
    let ids = rules.dedupe.iter().enumerate().flat_map(|(index, id)| {
        id.iter().enumerate().map(move |(part, place)| (format!("/dedupe/{index}/{part}"), place))
    });
    let types =
        rules.event_type.iter().enumerate().map(|(index, place)| (format!("/event_type/{index}"), place));
    let time = rules.occurred_at.iter().map(|time| ("/occurred_at/from".to_owned(), &time.from));
    let account = rules.account.iter().map(|account| ("/account".to_owned(), account));
    let mut places: Vec<_> = ids.chain(types).chain(time).chain(account).collect();
    for (index, rule) in rules.normal.iter().enumerate() {
        places.push((format!("/normal/{index}/kind"), &rule.kind));
        for (name, place) in &rule.fields {
            places.push((member(&format!("/normal/{index}/fields"), name), place));
        }
    }
    places
}

/// Lists of a table that are longer than those of any provider. Each row can cost a walk through the document.
fn of_lengths(rules: &EventRules) -> Vec<Violation> {
    let ids = rules.dedupe.iter().enumerate().map(|(index, id)| (format!("/dedupe/{index}"), id.len()));
    let lists = [
        ("/items", rules.items.len()),
        ("/event_type", rules.event_type.len()),
        ("/dedupe", rules.dedupe.len()),
        ("/data_headers", rules.data_headers.len()),
        ("/normal", rules.normal.len()),
        ("/ignore", rules.ignore.len()),
    ];
    let lists = lists.into_iter().map(|(pointer, length)| (pointer.to_owned(), length));
    let long = lists.chain(ids).filter(|(_, length)| *length > ROW_COUNT_LIMIT);
    long.map(|(pointer, _)| Violation::new(pointer, format!("must have at most {ROW_COUNT_LIMIT} rows")))
        .collect()
}

fn of_events(rules: &EventRules) -> Vec<Violation> {
    let mut found = of_lengths(rules);
    for (index, place) in rules.items.iter().enumerate() {
        if place.per_item().is_none() || place.json_pointer().is_none() {
            found.push(Violation::new(
                format!("/items/{index}"),
                "must be a JSON pointer with a *, such as json:/events/*",
            ));
        }
    }
    if rules.event_type.is_empty() {
        found.push(Violation::new("/event_type", "must have at least one place"));
    }
    if rules.dedupe.is_empty() || rules.dedupe.iter().any(Vec::is_empty) {
        found.push(Violation::new("/dedupe", "must have at least one id, and each id a place"));
    }
    for (index, rule) in rules.normal.iter().enumerate() {
        let parent = format!("/normal/{index}");
        found.extend(rule.violations().into_iter().map(|violation| violation.within(&parent)));
    }
    let of_signature = |place: &Place| {
        place
            .origins()
            .any(|origin| matches!(origin, Origin::Pair(_) | Origin::Position(_) | Origin::Headers(_)))
    };
    for (pointer, _) in read_places(rules).into_iter().filter(|(_, place)| of_signature(place)) {
        found.push(Violation::new(pointer, "must not be a part of the signature or of several headers"));
    }
    found
}
