//! The export of a tenant: everything that the API shows of it, as lines of JSON in numbered objects.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{ExportId, TenantId, Timestamp};

/// A part is stored when it has so many bytes; it has at most one line more. It is in memory until then.
pub const PART_BYTES: usize = 4 * 1024 * 1024;

/// The most parts of one export. Their list is in its row, which has at most 400 KB.
pub const PARTS_LIMIT: usize = 2_500;

/// How long an export may take: its first objects would else be gone before its last ones.
pub const LONGEST: Duration = Duration::from_hours(24 * 3);

/// How long its objects are kept.
pub const KEPT: Duration = Duration::from_hours(24 * 7);

/// How long its row is kept.
pub const ROW_KEPT: Duration = Duration::from_hours(24 * 30);

/// How long a link to an object works.
pub const LINK: Duration = Duration::from_mins(15);

/// Exports of a tenant within [`SPAN`].
pub const EXPORTS_LIMIT: usize = 5;

/// Of which time exports are counted.
pub const SPAN: Duration = Duration::from_hours(24);

/// Runs that may fail one after the other: an hour's.
pub const FAULTS_LIMIT: u32 = 12;

/// What no export has, and why. It is part of the manifest.
pub const LEFT_OUT: [&str; 5] = [
    "texts of API keys and sessions: only their hashes are stored",
    "signing keys of endpoints and secrets of sources: they would let others sign in the tenant's name; routes of their own reveal signing keys",
    "tokens of connections and secrets of clients: they open accounts of people",
    "deliveries to the operator's endpoints, and values of headers that look like secrets: the API does not show them either",
    "idempotency keys, rate limits and links under way: they expire within a day",
];

/// How far an export has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It is not finished.
    Open,
    /// All parts and the manifest are stored.
    Complete,
    /// It was given up.
    Failed,
}

/// An object with lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// How many lines it has.
    pub lines: u64,
    /// How many bytes.
    pub bytes: u64,
    /// The SHA-256 of these bytes, in hexadecimal digits.
    pub sha256: String,
}

/// Where an export goes on, behind everything that is in its parts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Which list.
    #[serde(default)]
    pub step: usize,
    /// Which page of it.
    #[serde(default)]
    pub cursor: Option<String>,
    /// The last entry of this page that is done.
    #[serde(default)]
    pub done: Option<String>,
    /// Of the entry behind it, which page of what belongs to it; empty for the first one.
    #[serde(default)]
    pub inner: Option<String>,
    /// Which entry that is: it can be gone when the export goes on.
    #[serde(default)]
    pub inner_of: Option<String>,
}

impl Position {
    /// Notes that an entry is done, with all that belongs to it.
    pub fn end_entry(&mut self, id: String) {
        (self.done, self.inner, self.inner_of) = (Some(id), None, None);
    }

    /// Notes that what belongs to an entry begins.
    pub fn begin_inner(&mut self, id: &str) {
        (self.inner, self.inner_of) = (Some(String::new()), Some(id.to_owned()));
    }

    /// Whether what belongs to this entry has begun.
    #[must_use]
    pub fn is_within(&self, id: &str) -> bool {
        self.inner.is_some() && self.inner_of.as_deref() == Some(id)
    }

    /// Notes that a page is done: the next one begins at `next`, or the next list if there is none.
    pub fn end_page(&mut self, next: Option<String>) {
        let step = self.step + usize::from(next.is_none());
        *self = Self { step, cursor: next, ..Self::default() };
    }

    /// How many entries of a page are done. None where the last one that was is gone: the page is then repeated.
    #[must_use]
    pub fn done_of<'a>(&self, mut ids: impl Iterator<Item = &'a str>) -> usize {
        let done = self.done.as_deref();
        done.and_then(|done| ids.position(|id| id == done)).map_or(0, |index| index + 1)
    }
}

/// An export with its progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// Which one.
    pub id: ExportId,
    /// Whose.
    pub tenant_id: TenantId,
    /// Who requested it.
    pub requested_by: String,
    /// When. What is accepted later is not part of it.
    pub created_at: Timestamp,
    /// How far it has come.
    pub stage: Stage,
    /// When it ended.
    #[serde(default)]
    pub finished_at: Option<Timestamp>,
    /// Where it goes on.
    #[serde(default)]
    pub position: Position,
    /// What is stored of it.
    #[serde(default)]
    pub parts: Vec<Part>,
    /// How many lines of each type are in the parts.
    #[serde(default)]
    pub counts: BTreeMap<String, u64>,
    /// Runs that have failed since the last part was stored.
    #[serde(default)]
    pub faults: u32,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<String>,
}

impl Export {
    /// One that has not begun.
    #[must_use]
    pub fn new(id: ExportId, tenant_id: TenantId, requested_by: String, now: Timestamp) -> Self {
        Self {
            id,
            tenant_id,
            requested_by,
            created_at: now,
            stage: Stage::Open,
            finished_at: None,
            position: Position::default(),
            parts: Vec::new(),
            counts: BTreeMap::new(),
            faults: 0,
            error: None,
        }
    }

    /// What the keys of all exports of a tenant begin with. The slash ends the tenant's id.
    #[must_use]
    pub fn prefix(tenant: &TenantId) -> String {
        format!("exports/{tenant}/")
    }

    /// The key of the part of this number, from 1.
    #[must_use]
    pub fn part_key(&self, number: usize) -> String {
        format!("{}{}/{}", Self::prefix(&self.tenant_id), self.id, Self::part_name(number))
    }

    /// The name of that part.
    #[must_use]
    pub fn part_name(number: usize) -> String {
        format!("part-{number:05}.jsonl")
    }

    /// The key of the manifest.
    #[must_use]
    pub fn manifest_key(&self) -> String {
        format!("{}{}/manifest.json", Self::prefix(&self.tenant_id), self.id)
    }

    /// Why it is given up, if it is.
    #[must_use]
    pub fn given_up(&self, now: Timestamp) -> Option<&'static str> {
        if self.faults >= FAULTS_LIMIT {
            Some("reading the tenant failed again and again")
        } else if now.since(self.created_at) > LONGEST {
            Some("it took longer than three days")
        } else {
            None
        }
    }

    /// When its objects are removed.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.finished_at.map(|at| at + KEPT)
    }

    /// All bytes of its parts.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// Ends it.
    pub fn end(&mut self, now: Timestamp, error: Option<&str>) {
        self.stage = if error.is_some() { Stage::Failed } else { Stage::Complete };
        (self.finished_at, self.error) = (Some(now), error.map(str::to_owned));
    }
}

/// In how many seconds another one may be requested, if the last [`EXPORTS_LIMIT`] were, the newest first.
#[must_use]
pub fn wait(newest: &[Timestamp], now: Timestamp) -> Option<i64> {
    let oldest = *newest.get(EXPORTS_LIMIT - 1)?;
    let free = oldest + SPAN;
    (free > now).then(|| (free.secs() - now.secs()).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn export() -> Export {
        let id = ExportId::new(Timestamp::from_secs(1), [0; 10]);
        Export::new(id, "acme".parse().unwrap(), "operator".into(), Timestamp::from_secs(1))
    }

    #[test]
    fn a_position_goes_through_entries_pages_and_lists() {
        let mut position = Position::default();
        for (done, ids, expected) in [
            (None, vec!["a", "b"], 0),
            (Some("a"), vec!["a", "b"], 1),
            (Some("b"), vec!["a", "b"], 2),
            (Some("gone"), vec!["a", "b"], 0),
        ] {
            position.done = done.map(str::to_owned);
            assert_eq!(position.done_of(ids.into_iter()), expected, "{done:?}");
        }
        position.inner = Some(String::new());
        position.end_entry("b".into());
        assert_eq!((position.done.as_deref(), &position.inner), (Some("b"), &None));
        position.end_page(Some("next".into()));
        assert_eq!(position, Position { cursor: Some("next".into()), ..Position::default() });
        position.end_page(None);
        assert_eq!(position, Position { step: 1, ..Position::default() });
    }

    #[test]
    fn a_tenant_has_so_many_exports_a_day() {
        let hours = |hours: i64| Timestamp::from_secs(hours * 3600);
        for (newest, expected) in [
            (vec![], None),
            (vec![29, 29, 29, 29], None),
            (vec![29, 28, 27, 26, 25], Some(19 * 3600)),
            (vec![29, 28, 27, 26, 6], None),
            (vec![29, 28, 27, 26, 7], Some(3600)),
        ] {
            let newest: Vec<_> = newest.into_iter().map(hours).collect();
            assert_eq!(wait(&newest, hours(30)), expected, "{newest:?}");
        }
    }

    #[test]
    fn the_stored_form_is_read_back() {
        let mut export = export();
        export.parts.push(Part { lines: 1, bytes: 2, sha256: "ab".into() });
        export.counts.insert("event".into(), 1);
        export.end(Timestamp::from_secs(9), None);
        let text = serde_json::to_string(&export).unwrap();
        assert_eq!(serde_json::from_str::<Export>(&text).unwrap(), export);
        assert_eq!((export.stage, export.bytes()), (Stage::Complete, 2));
        assert_eq!(export.expires_at(), Some(Timestamp::from_secs(9) + KEPT));
        assert!(
            export.part_key(7).starts_with("exports/acme/exp_")
                && export.part_key(7).ends_with("/part-00007.jsonl")
        );
        export.end(Timestamp::from_secs(9), Some("a reason"));
        assert_eq!((export.stage, export.error.as_deref()), (Stage::Failed, Some("a reason")));
    }
}
