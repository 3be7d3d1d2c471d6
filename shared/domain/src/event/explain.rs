//! Why an event did not go to an endpoint.
//!
//! Which endpoints an event goes to was decided when it was published, by their settings at that moment, which are not
//! kept. The reasons here are those of the endpoint as it is now, and so is what they say.

use schemars::JsonSchema;
use serde::Serialize;

use super::{EventTypeFilter, channel::Channel, filter::FailedCondition, listen::Facts};
use crate::{
    Timestamp,
    endpoint::{Endpoint, OnDisable, State},
};

/// What of an event and an endpoint decides whether the one goes to the other.
#[derive(Debug)]
pub struct Question<'a> {
    /// The event.
    pub event: &'a Facts<'a>,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// How the event chooses its endpoints.
    pub audience: Audience,
    /// The endpoint as it is now.
    pub endpoint: &'a Endpoint,
}

/// Which endpoints get an event whose type their filters let pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// All of them.
    All,
    /// Those with a filter that is not `*`: it is an operational event.
    ByName,
    /// Those that name exactly its type, since there are many of it.
    ByExactName,
    /// Those with a filter that is not `*`, but not the endpoint that it is about, which is this one.
    ByNameButNotThis,
}

impl Audience {
    fn is_reached_by(self, filter: &EventTypeFilter, event: &Facts<'_>) -> bool {
        let named = match self {
            Self::All => true,
            Self::ByName | Self::ByNameButNotThis => !filter.is_everything(),
            Self::ByExactName => filter.is_exact(),
        };
        named && filter.matches(event.event_type())
    }
}

/// The kind of a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReasonCode {
    /// The endpoint was deleted.
    Deleted,
    /// The endpoint was created after the event.
    CreatedLater,
    /// None of its event types lets the event pass.
    EventType,
    /// Operational events go only to endpoints that name them.
    OnlyByName,
    /// An endpoint gets no operational event about itself.
    AboutItself,
    /// The event is on none of its channels.
    Channels,
    /// A condition of its content filter does not hold.
    Filter,
    /// It is disabled with `skip`.
    DisabledWithSkip,
    /// Nothing of it excludes the event now, so it was different then.
    ChangedSince,
}

/// One reason why an event does not go to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Reason {
    /// The kind of reason; stable.
    pub code: ReasonCode,
    /// The reason in words.
    pub detail: String,
    /// The conditions of the content filter that do not hold; empty for all other reasons.
    pub conditions: Vec<FailedCondition>,
}

impl Reason {
    fn new(code: ReasonCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), conditions: Vec::new() }
    }
}

/// All reasons why the event would not go to the endpoint by its present settings; none where it would.
#[must_use]
pub fn reasons(question: &Question<'_>) -> Vec<Reason> {
    let Question { event, accepted_at, audience, endpoint } = question;
    let mut reasons = Vec::new();
    let mut skip_since = None;
    match endpoint.state {
        State::Deleted => {
            let detail = "the endpoint was deleted; its settings are not kept";
            return vec![Reason::new(ReasonCode::Deleted, detail)];
        }
        State::Disabled(disabled) if disabled.mode == OnDisable::Skip => skip_since = Some(disabled.at),
        State::Disabled(_) | State::Enabled => {}
    }
    if endpoint.created_at > *accepted_at {
        let created = endpoint.created_at;
        let detail =
            format!("the endpoint was created at {created}, after the event was accepted at {accepted_at}");
        reasons.push(Reason::new(ReasonCode::CreatedLater, detail));
    }
    if !event.is_of(&endpoint.event_types) {
        let filters = listed(endpoint.event_types.iter().map(EventTypeFilter::to_string));
        let detail =
            format!("the type {} passes none of the endpoint's event types: {filters}", event.event_type());
        reasons.push(Reason::new(ReasonCode::EventType, detail));
    } else if !endpoint.event_types.iter().any(|filter| audience.is_reached_by(filter, event))
        && *audience != Audience::All
    {
        let exactly = if *audience == Audience::ByExactName { "exactly it" } else { "it or a prefix of it" };
        let detail = format!(
            "{} is an operational event, which only endpoints get whose event types name {exactly}",
            event.event_type()
        );
        reasons.push(Reason::new(ReasonCode::OnlyByName, detail));
    }
    if *audience == Audience::ByNameButNotThis {
        let detail =
            "the event is about this endpoint, and an endpoint gets no operational event about itself";
        reasons.push(Reason::new(ReasonCode::AboutItself, detail));
    }
    if !event.is_on(&endpoint.channels) {
        let of_endpoint = listed(endpoint.channels.iter().map(Channel::to_string));
        let detail = format!("the event is on none of the endpoint's channels: {of_endpoint}");
        reasons.push(Reason::new(ReasonCode::Channels, detail));
    }
    if let Some(filter) = &endpoint.filter
        && !event.passes(Some(filter))
    {
        let conditions = event.value().map(|data| filter.failures(data)).unwrap_or_default();
        let detail = match conditions.first() {
            Some(first) => format!("the event's data does not fulfil the filter: {first}"),
            None => "the event's data cannot be read as JSON values, so it passes no filter".to_owned(),
        };
        reasons.push(Reason { conditions, ..Reason::new(ReasonCode::Filter, detail) });
    }
    if let Some(since) = skip_since {
        let detail = if since > *accepted_at {
            format!(
                "the endpoint is disabled with skip since {since}, after the event was accepted at {accepted_at}"
            )
        } else {
            format!("the endpoint is disabled with skip since {since}")
        };
        reasons.push(Reason::new(ReasonCode::DisabledWithSkip, detail));
    }
    reasons
}

/// Whether the event would go to the endpoint if it was published now: whatever excludes it is only that it was published
/// before.
#[must_use]
pub fn matches_now(reasons: &[Reason]) -> bool {
    reasons.iter().all(|reason| reason.code == ReasonCode::CreatedLater)
}

/// The reason where the event did not go to an endpoint that nothing excludes now.
#[must_use]
pub fn changed_since() -> Reason {
    let detail = "by its present settings the endpoint would get the event, so they were different when it was \
                  published, or the endpoint was created or enabled less than a minute before";
    Reason::new(ReasonCode::ChangedSince, detail)
}

/// At most ten of these texts.
fn listed(texts: impl Iterator<Item = String>) -> String {
    let mut texts: Vec<_> = texts.collect();
    let more = texts.len().saturating_sub(10);
    texts.truncate(10);
    let text = texts.join(", ");
    if more > 0 { format!("{text}, and {more} more") } else { text }
}

#[cfg(test)]
mod tests;
