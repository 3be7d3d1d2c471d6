//! The deletion of a tenant: a time of grace, then passes that remove everything until one finds nothing.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{TenantId, Timestamp};

/// How long a deletion can be cancelled by default, in days.
pub const GRACE_DAYS: u32 = 7;

/// The longest grace time, in days.
pub const GRACE_DAYS_LIMIT: u32 = 30;

/// The pause between two passes: what was under way when the pass before ended has ended by then. It is longer than a
/// cached row is used, a message waits in a lane (15 minutes), a function runs, and a person takes at a provider.
pub const SETTLING: Duration = Duration::from_mins(30);

/// What remains, and why. It is part of the proof.
pub const REMAINING: [&str; 4] = [
    "the audit trail: it is evidence, and no role may delete an entry",
    "rows that expire: idempotency keys and links within a day, and what a function wrote later than the last pass",
    "messages in queues, which expire within 14 days, log lines and backups, as long as the deployment keeps them",
    "earlier versions of shared secrets, which nothing refers to, until Secrets Manager deletes them",
];

/// That a tenant is to be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletion {
    /// Who requested it.
    pub requested_by: String,
    /// When.
    pub requested_at: Timestamp,
    /// When the grace time ends.
    pub deletes_at: Timestamp,
    /// When the removal began: from then on it cannot be cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began_at: Option<Timestamp>,
}

/// How far a removal has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The first pass: nothing is accepted any more, and grants are ended.
    Closing,
    /// The passes that remove everything.
    Purging,
    /// The last pass found nothing. What remains is the tenant's own row.
    Finishing,
    /// Everything is gone.
    Finished,
}

/// A deletion with its progress, and in the end its proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    /// Whose.
    pub tenant_id: TenantId,
    /// The request.
    #[serde(flatten)]
    pub deletion: Deletion,
    /// How far it has come.
    pub stage: Stage,
    /// When the next pass begins.
    pub not_before: Timestamp,
    /// Which step of the pass is next.
    #[serde(default)]
    pub step: usize,
    /// Behind which place that step continues.
    #[serde(default)]
    pub after: Option<String>,
    /// What this pass has found so far.
    #[serde(default)]
    pub found: u64,
    /// Whether a run is at the pass. One that was killed may have removed what it has not counted.
    #[serde(default)]
    pub is_running: bool,
    /// What was removed, by kind.
    #[serde(default)]
    pub removed: BTreeMap<String, u64>,
    /// When the pass ended that found nothing.
    #[serde(default)]
    pub verified_at: Option<Timestamp>,
    /// When the tenant's row was removed.
    #[serde(default)]
    pub finished_at: Option<Timestamp>,
    /// The entry of the operator's audit trail: its number and its hash.
    #[serde(default)]
    pub audit_entry: Option<String>,
}

impl Erasure {
    /// One that has not begun.
    #[must_use]
    pub fn new(tenant_id: TenantId, deletion: Deletion) -> Self {
        Self {
            tenant_id,
            not_before: deletion.deletes_at,
            deletion,
            stage: Stage::Closing,
            step: 0,
            after: None,
            found: 0,
            is_running: false,
            removed: BTreeMap::new(),
            verified_at: None,
            finished_at: None,
            audit_entry: None,
        }
    }

    /// Whether there is something to do now.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.stage != Stage::Finished && self.not_before <= now
    }

    /// Counts what was removed; a pass that found it is not the last one.
    pub fn count(&mut self, kind: &str, removed: usize) {
        self.found += u64::try_from(removed).unwrap_or(u64::MAX);
        self.note(kind, removed);
    }

    /// Counts what was removed and expires in any case, so that no further pass is required because of it.
    pub fn note(&mut self, kind: &str, removed: usize) {
        if removed > 0 {
            *self.removed.entry(kind.to_owned()).or_default() += u64::try_from(removed).unwrap_or(u64::MAX);
        }
    }

    /// Begins another pass, since something was found after the last one.
    pub fn reopen(&mut self) {
        (self.stage, self.step, self.after, self.found) = (Stage::Purging, 0, None, 0);
        self.verified_at = None;
    }

    /// Begins a run of the pass. Where the run before did not end, the pass is not the last one: what that has removed is not
    /// found again.
    pub fn begin_run(&mut self) {
        if self.is_running {
            self.found += 1;
        }
        self.is_running = true;
    }

    /// Ends a run whose counts are complete.
    pub fn end_run(&mut self) {
        self.is_running = false;
    }

    /// Notes that a step of the pass is done.
    pub fn end_step(&mut self) {
        self.step += 1;
        self.after = None;
    }

    /// Notes that all steps of the pass are done. A pass that found something is followed by another one, since
    /// something may have been written meanwhile.
    pub fn end_pass(&mut self, now: Timestamp) {
        let is_verified = self.stage == Stage::Purging && self.found == 0;
        if is_verified {
            self.stage = Stage::Finishing;
            self.verified_at = Some(now);
        } else {
            self.stage = Stage::Purging;
            self.not_before = now + SETTLING;
        }
        (self.step, self.after, self.found) = (0, None, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn erasure() -> Erasure {
        let deletion = Deletion {
            requested_by: "operator".into(),
            requested_at: Timestamp::from_secs(1_000),
            deletes_at: Timestamp::from_secs(2_000),
            began_at: None,
        };
        Erasure::new("acme".parse().unwrap(), deletion)
    }

    #[test]
    fn passes_follow_until_one_finds_nothing() {
        let mut erasure = erasure();
        let mut now = Timestamp::from_secs(2_000);
        assert!(!erasure.is_due(Timestamp::from_secs(1_999)) && erasure.is_due(now));
        // What each pass finds, and the stage behind it.
        for (found, stage) in
            [(0, Stage::Purging), (5, Stage::Purging), (1, Stage::Purging), (0, Stage::Finishing)]
        {
            erasure.count("events", found);
            erasure.end_step();
            erasure.after = Some("place".into());
            erasure.end_pass(now);
            assert_eq!((erasure.stage, erasure.step, erasure.found), (stage, 0, 0), "{found}");
            assert_eq!((erasure.after.clone(), erasure.is_due(now)), (None, stage == Stage::Finishing));
            if stage == Stage::Purging {
                now = now + SETTLING;
                assert!(erasure.is_due(now));
            }
        }
        assert_eq!((erasure.removed["events"], erasure.verified_at), (6, Some(now)));
    }

    #[test]
    fn a_pass_whose_run_was_killed_verifies_nothing() {
        let now = Timestamp::from_secs(2_000);
        for (ends, verified) in [(true, true), (false, false)] {
            let mut erasure = erasure();
            erasure.stage = Stage::Purging;
            erasure.begin_run();
            if ends {
                erasure.end_run();
            }
            erasure.begin_run();
            erasure.end_run();
            erasure.end_pass(now);
            assert_eq!(erasure.verified_at.is_some(), verified);
            // The pass behind it can.
            erasure.begin_run();
            erasure.end_run();
            erasure.end_pass(now);
            assert!(erasure.verified_at.is_some());
        }
    }

    #[test]
    fn the_stored_form_is_read_back() {
        let mut erasure = erasure();
        erasure.count("objects", 2);
        let text = serde_json::to_string(&erasure).unwrap();
        assert_eq!(serde_json::from_str::<Erasure>(&text).unwrap(), erasure);
    }
}
