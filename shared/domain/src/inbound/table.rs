//! The table of one source: how it verifies, reads events, and responds. A preset has one, and a tenant's custom
//! source is one.

use serde::{Deserialize, Serialize};

use super::{
    challenge::Challenge,
    engine::{self, Scheme},
    extraction::EventRules,
    reading::{Origin, Place},
};
use crate::pointer::Violation;

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

/// Bytes of a table.
const TABLE_LENGTH_LIMIT: usize = 16 * 1024;

/// Reads a tenant's table.
///
/// # Errors
/// Every fault, with the pointer to its field.
pub fn parse_table(json: &str) -> Result<Table, Vec<Violation>> {
    if json.len() > TABLE_LENGTH_LIMIT {
        return Err(vec![Violation::new("", format!("must be at most {TABLE_LENGTH_LIMIT} bytes long"))]);
    }
    let table: Table = engine::parse(json).map_err(|violation| vec![violation])?;
    let violations = violations(&table);
    if violations.is_empty() { Ok(table) } else { Err(violations) }
}

/// What is wrong in a table beyond its shape.
pub(super) fn violations(table: &Table) -> Vec<Violation> {
    let mut found: Vec<_> =
        engine::violations(&table.scheme).into_iter().map(|violation| violation.within("/scheme")).collect();
    found.extend(of_events(&table.events).into_iter().map(|violation| violation.within("/events")));
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

fn of_events(rules: &EventRules) -> Vec<Violation> {
    let mut found = Vec::new();
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
    let ids = rules.dedupe.iter().enumerate().flat_map(|(index, id)| {
        id.iter().enumerate().map(move |(part, place)| (format!("/dedupe/{index}/{part}"), place))
    });
    let types =
        rules.event_type.iter().enumerate().map(|(index, place)| (format!("/event_type/{index}"), place));
    for (pointer, _) in ids.chain(types).filter(|(_, place)| of_signature(place)) {
        found.push(Violation::new(pointer, "must not be a part of the signature or of several headers"));
    }
    found
}
