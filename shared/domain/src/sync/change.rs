//! Whether a record has changed, compared with what is known of it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::page::{Incoming, Presence, content_hash};

/// What is known of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownRecord {
    /// The hash of what was shown of it.
    pub hash: String,
    /// The third party's version of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether it is an occurrence that was taken out of its series.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub excluded: bool,
    /// Fields whose former values an update shows, such as the time of an appointment.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub kept: Value,
    /// The last full pass that has shown it.
    pub seen_in: u32,
}

/// What a record comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Created {
        /// What is to be known.
        known: KnownRecord,
        /// What is shown of it.
        shown: Value,
    },
    /// It changed.
    Updated {
        /// What is to be known.
        known: KnownRecord,
        /// What is shown of it.
        shown: Value,
        /// Former values of the fields that are kept.
        previous: Value,
    },
    /// It is gone.
    Removed {
        /// What is shown of an occurrence that was taken out of its series, which stays known; nothing for others.
        excluded: Option<(KnownRecord, Value)>,
    },
    /// Nothing that is shown changed, and what is known must be written: a version, or that the pass has seen it.
    Noted {
        /// What is to be known.
        known: KnownRecord,
    },
    /// Nothing changed: it is the echo of our own write, or was read before.
    Unchanged,
}

/// Compares a record with what is known of it.
///
/// `kept` names the fields at the top level whose former values an update shows. `full_pass` is the number of the full
/// pass that the record came in, or nothing in a delta.
#[must_use]
pub fn change(
    known: Option<&KnownRecord>,
    incoming: &Incoming,
    kept: &[&str],
    full_pass: Option<u32>,
) -> Change {
    let seen_in = full_pass.or(known.map(|known| known.seen_in)).unwrap_or_default();
    let must_mark = known.is_some_and(|known| known.seen_in != seen_in);
    let is_echo = |known: &KnownRecord| incoming.version.is_some() && known.version == incoming.version;
    let to_know = |shown: &Value, excluded| KnownRecord {
        hash: content_hash(shown),
        version: incoming.version.clone(),
        excluded,
        kept: kept_fields(shown, kept),
        seen_in,
    };
    match (&incoming.presence, known) {
        (Presence::Gone, None) => Change::Unchanged,
        (Presence::Gone, Some(_)) => Change::Removed { excluded: None },
        (Presence::Excluded(_), Some(known)) if known.excluded => noted(known, incoming, seen_in, must_mark),
        (Presence::Excluded(shown), _) => {
            Change::Removed { excluded: Some((to_know(shown, true), shown.clone())) }
        }
        // An occurrence that was put back.
        (Presence::Live(shown), Some(known)) if known.excluded => {
            Change::Created { known: to_know(shown, false), shown: shown.clone() }
        }
        (Presence::Live(shown), None) => {
            Change::Created { known: to_know(shown, false), shown: shown.clone() }
        }
        (Presence::Live(shown), Some(known)) => {
            if is_echo(known) && !must_mark {
                return Change::Unchanged;
            }
            let new = to_know(shown, false);
            if new.hash == known.hash {
                noted(known, incoming, seen_in, must_mark)
            } else {
                Change::Updated { known: new, shown: shown.clone(), previous: known.kept.clone() }
            }
        }
    }
}

fn noted(known: &KnownRecord, incoming: &Incoming, seen_in: u32, must_mark: bool) -> Change {
    if !must_mark && known.version == incoming.version {
        return Change::Unchanged;
    }
    Change::Noted { known: KnownRecord { version: incoming.version.clone(), seen_in, ..known.clone() } }
}

fn kept_fields(shown: &Value, kept: &[&str]) -> Value {
    let fields = kept.iter().filter_map(|name| Some(((*name).to_owned(), shown.get(name)?.clone())));
    let fields: serde_json::Map<_, _> = fields.collect();
    if fields.is_empty() { Value::Null } else { Value::Object(fields) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn known(title: &str, version: &str, seen_in: u32) -> KnownRecord {
        let shown = json!({"title": title, "start": 1});
        KnownRecord {
            hash: content_hash(&shown),
            version: Some(version.to_owned()),
            excluded: false,
            kept: json!({"start": 1}),
            seen_in,
        }
    }

    fn incoming(presence: Presence, version: &str) -> Incoming {
        Incoming { key: "e".to_owned(), version: Some(version.to_owned()), presence, modified_at: None }
    }

    fn live(title: &str, start: u32, version: &str) -> Incoming {
        incoming(Presence::Live(json!({"title": title, "start": start})), version)
    }

    fn name(change: &Change) -> &'static str {
        match change {
            Change::Created { .. } => "created",
            Change::Updated { .. } => "updated",
            Change::Removed { excluded: None } => "removed",
            Change::Removed { excluded: Some(_) } => "excluded",
            Change::Noted { .. } => "noted",
            Change::Unchanged => "unchanged",
        }
    }

    #[test]
    fn a_record_is_compared_with_what_is_known_of_it() {
        let excluded = || incoming(Presence::Excluded(json!({"series_id": "s"})), "2");
        let out = KnownRecord { excluded: true, ..known("A", "1", 1) };
        for (case, known, incoming, pass, expected) in [
            ("new", None, live("A", 1, "1"), None, "created"),
            ("new in a full pass", None, live("A", 1, "1"), Some(1), "created"),
            ("G16: our own write", Some(known("A", "1", 1)), live("B", 1, "1"), None, "unchanged"),
            (
                "reminders alone change the version",
                Some(known("A", "1", 1)),
                live("A", 1, "2"),
                None,
                "noted",
            ),
            ("changed", Some(known("A", "1", 1)), live("B", 1, "2"), None, "updated"),
            ("seen by a later full pass", Some(known("A", "1", 1)), live("A", 1, "1"), Some(2), "noted"),
            ("read twice by one pass", Some(known("A", "1", 2)), live("A", 1, "1"), Some(2), "unchanged"),
            ("changed, in a full pass", Some(known("A", "1", 1)), live("B", 1, "2"), Some(2), "updated"),
            ("gone", Some(known("A", "1", 1)), incoming(Presence::Gone, "2"), None, "removed"),
            ("M7: gone and never known", None, incoming(Presence::Gone, "2"), None, "unchanged"),
            ("G10: taken out of its series", None, excluded(), None, "excluded"),
            ("G10: known before", Some(known("A", "1", 1)), excluded(), None, "excluded"),
            (
                "taken out before",
                Some(out.clone()),
                incoming(Presence::Excluded(json!({})), "1"),
                None,
                "unchanged",
            ),
            ("taken out before, a later pass", Some(out.clone()), excluded(), Some(2), "noted"),
            ("put back", Some(out), live("A", 1, "3"), None, "created"),
        ] {
            let change = change(known.as_ref(), &incoming, &["start"], pass);
            assert_eq!(name(&change), expected, "{case}");
        }
    }

    #[test]
    fn an_update_shows_former_values() {
        // G18: moved.
        let change = change(Some(&known("A", "1", 1)), &live("A", 9, "2"), &["start"], None);
        let Change::Updated { known, shown, previous } = change else { panic!("{change:?}") };
        assert_eq!((previous, shown["start"].clone()), (json!({"start": 1}), json!(9)));
        assert_eq!((known.kept, known.version.as_deref()), (json!({"start": 9}), Some("2")));
    }

    #[test]
    fn a_feed_without_versions_is_compared_by_content_alone() {
        let mut row = known("A", "1", 1);
        row.version = None;
        let mut record = live("A", 1, "1");
        record.version = None;
        assert_eq!(change(Some(&row), &record, &[], None), Change::Unchanged);
    }
}
