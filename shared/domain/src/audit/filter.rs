//! Which entries of a trail a reader asks for, and how far a search by time can rely on their order.

use std::{fmt, str::FromStr, time::Duration};

use super::Entry;
use crate::Timestamp;

/// By how much the times of entries may run against their numbers. An entry has the time of its request, which takes up
/// to 30 s until it has a number, and the clocks of two functions differ by less than that.
pub const TIME_SLACK: Duration = Duration::from_mins(1);

/// The longest text of an action.
const ACTION_LIMIT: usize = 100;

/// An action, or all whose names begin alike: `endpoint.updated`, `endpoint.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActionPattern {
    /// This one.
    Exact(String),
    /// All that begin with this, which ends in a full stop.
    Prefix(String),
}

/// The text is no action and no prefix of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidAction;

impl fmt::Display for InvalidAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be an action such as endpoint.updated, or a prefix such as endpoint.*")
    }
}

impl FromStr for ActionPattern {
    type Err = InvalidAction;

    fn from_str(text: &str) -> Result<Self, InvalidAction> {
        let (name, is_prefix) = text.strip_suffix(".*").map_or((text, false), |name| (name, true));
        let is_word = |word: &str| {
            !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        if text.len() > ACTION_LIMIT || !name.split('.').all(is_word) {
            return Err(InvalidAction);
        }
        Ok(if is_prefix { Self::Prefix(format!("{name}.")) } else { Self::Exact(name.to_owned()) })
    }
}

impl ActionPattern {
    fn matches(&self, action: &str) -> bool {
        match self {
            Self::Exact(name) => action == name,
            Self::Prefix(prefix) => action.starts_with(prefix),
        }
    }
}

/// What an entry must be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryFilter {
    /// Of this actor.
    pub actor: Option<String>,
    /// Of one of these actions.
    pub action: Option<ActionPattern>,
    /// About this subject.
    pub subject: Option<String>,
    /// At or after this time.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
}

impl EntryFilter {
    /// Whether all entries match.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it is about the time alone, so that entries of the time match one after the other.
    #[must_use]
    pub fn is_of_time_alone(&self) -> bool {
        self.actor.is_none() && self.action.is_none() && self.subject.is_none()
    }

    /// Whether an entry is one of those.
    #[must_use]
    pub fn matches(&self, entry: &Entry) -> bool {
        self.actor.as_ref().is_none_or(|actor| *actor == entry.actor)
            && self.action.as_ref().is_none_or(|action| action.matches(&entry.action))
            && self.subject.as_ref().is_none_or(|subject| *subject == entry.subject)
            && self.since.is_none_or(|since| since <= entry.at)
            && self.until.is_none_or(|until| entry.at < until)
    }

    /// Whether an entry of this time and all entries after it are too new.
    #[must_use]
    pub fn is_before(&self, at: Timestamp) -> bool {
        self.until.is_some_and(|until| until + TIME_SLACK <= at)
    }

    /// Whether an entry of this time and all entries before it are too old.
    #[must_use]
    pub fn is_after(&self, at: Timestamp) -> bool {
        self.since.is_some_and(|since| at + TIME_SLACK <= since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_a_name_or_a_prefix() {
        for (text, matched, other) in [
            ("endpoint.updated", "endpoint.updated", "endpoint.updated.failed"),
            ("endpoint.*", "endpoint.secret.rotated", "endpoints.updated"),
            ("endpoint.secret.*", "endpoint.secret.rotated", "endpoint.secret"),
            ("event_type.put", "event_type.put", "event_type"),
        ] {
            let pattern: ActionPattern = text.parse().unwrap();
            assert!(pattern.matches(matched) && !pattern.matches(other), "{text}");
        }
        let long = "a".repeat(101);
        for text in
            ["", "*", ".*", "endpoint*", "endpoint.*.x", "a..b", "Endpoint.updated", "a.", long.as_str()]
        {
            assert_eq!(text.parse::<ActionPattern>(), Err(InvalidAction), "{text}");
        }
    }

    #[test]
    fn what_a_filter_asks_for_matches() {
        let entry = Entry {
            seq: 7,
            at: Timestamp::from_secs(1000),
            actor: "operator".into(),
            action: "endpoint.updated".into(),
            subject: "ept_1".into(),
            source_ip: None,
            request_id: "r".into(),
            before: None,
            after: None,
        };
        let time = |secs| Some(Timestamp::from_secs(secs));
        let filter = EntryFilter::default;
        for (name, filter, expected) in [
            ("nothing", filter(), true),
            ("actor", EntryFilter { actor: Some("operator".into()), ..filter() }, true),
            ("another actor", EntryFilter { actor: Some("key_1".into()), ..filter() }, false),
            ("action", EntryFilter { action: "endpoint.*".parse().ok(), ..filter() }, true),
            ("another action", EntryFilter { action: "source.*".parse().ok(), ..filter() }, false),
            ("subject", EntryFilter { subject: Some("ept_1".into()), ..filter() }, true),
            ("another subject", EntryFilter { subject: Some("ept_2".into()), ..filter() }, false),
            ("since then", EntryFilter { since: time(1000), ..filter() }, true),
            ("since later", EntryFilter { since: time(1001), ..filter() }, false),
            ("until then", EntryFilter { until: time(1000), ..filter() }, false),
            ("until later", EntryFilter { until: time(1001), ..filter() }, true),
        ] {
            assert_eq!(filter.matches(&entry), expected, "{name}");
        }
    }

    #[test]
    fn a_search_stops_only_where_nothing_more_can_match() {
        let filter = EntryFilter {
            since: Some(Timestamp::from_secs(1000)),
            until: Some(Timestamp::from_secs(2000)),
            ..EntryFilter::default()
        };
        for (secs, before, after) in [
            (2060, true, false),
            (2059, false, false),
            (1500, false, false),
            (941, false, false),
            (940, false, true),
        ] {
            let at = Timestamp::from_secs(secs);
            assert_eq!((filter.is_before(at), filter.is_after(at)), (before, after), "{secs}");
        }
        assert!(!EntryFilter::default().is_before(Timestamp::from_secs(1)));
        assert!(!EntryFilter::default().is_after(Timestamp::from_secs(1)));
    }
}
