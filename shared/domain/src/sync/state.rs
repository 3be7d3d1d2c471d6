//! How far a sync has come: the pass under way, and from where the next one reads.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    kind::{SyncKind, Watermark},
    page::Page,
};
use crate::{Timestamp, calendar::channel::Watch, saturating};

/// How far the clock of a third party may be behind ours.
const CLOCK_SKEW: Duration = Duration::from_mins(5);

/// After which time a full pass is repeated whose removals were held.
const AFTER_HELD: Duration = Duration::from_hours(1);

/// Failures in a row from which the tenant is notified, if they may end without a person.
const NOTIFIED_FAILURES: u32 = 3;

/// How many strays are remembered. They are the ones with the least hashes, so that a lost record is among them at two
/// passes in a row, unless there are more new ones than that within the seconds between two passes.
const STRAYS_KEPT: usize = 50;

/// How long after everything was read again because of strays it is not done once more.
const STRAYS_PAUSE: Duration = Duration::from_hours(30 * 24);

/// What a pass reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PassMode {
    /// Everything; what it does not show is removed afterwards.
    Full,
    /// What changed since the position.
    Delta,
    /// Only which records there are; what it does not show is removed afterwards.
    Keys,
}

/// What a pass, or all of them, did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Counts {
    /// Pages that were read.
    pub pages: u64,
    /// Records that were read.
    pub read: u64,
    /// Records that were new.
    pub created: u64,
    /// Records that changed.
    pub updated: u64,
    /// Records that were removed.
    pub removed: u64,
    /// Records that could not be read, and were skipped.
    pub unreadable: u64,
}

/// A pass under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pass {
    /// What it reads.
    pub mode: PassMode,
    /// When it began.
    pub started_at: Timestamp,
    /// Where its next page is; nothing before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// When that was given: some feeds forget it after minutes.
    pub next_at: Timestamp,
    /// Whether all pages were read, and what they did not show is being removed.
    #[serde(default)]
    pub sweeping: bool,
    /// From where the next pass reads, as the last page said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// The greatest time of a record so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub greatest: Option<Timestamp>,
    /// How often its pages were halved.
    #[serde(default)]
    pub halved: u32,
    /// How many keys were kept that its pages had; nothing where it does not read keys.
    #[serde(default)]
    pub seen: u64,
    /// What it did.
    #[serde(default)]
    pub counts: Counts,
}

/// Why a sync does not go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SyncError {
    /// What happened, as one of the documented codes.
    pub code: SyncErrorCode,
    /// What happened, in words.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

/// What can keep a sync from going on.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, strum::AsRefStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum SyncErrorCode {
    /// The third party asks for fewer calls, or the limits of its row are used up.
    Throttled,
    /// The third party has blocked the token for a while.
    Suspended,
    /// The third party does not respond, or fails.
    Unavailable,
    /// The connection must be granted again.
    Reauthorize,
    /// What is read is not there, or not any more.
    NotFound,
    /// The account may not read it.
    Forbidden,
    /// The third party refuses the request, or its response cannot be read: a fault of ours or of a setting.
    Protocol,
    /// The tenant's quota of events is used up.
    QuotaReached,
}

/// What a person is shown of a sync.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, strum::AsRefStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum SyncStatus {
    /// Its first full pass has not ended.
    Starting,
    /// It goes on.
    Active,
    /// Its position was lost, or it was requested: a full pass is under way, or about to begin.
    Resyncing,
    /// It was paused.
    Paused,
    /// It does not go on; `last_error` says why.
    Failing,
}

/// How far a sync has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SyncState {
    /// Passes that have begun and show which records there are, full ones and those of keys; the present one has this
    /// number.
    pub full_passes: u32,
    /// The pass under way.
    pub pass: Option<Pass>,
    /// From where the next delta reads; nothing before a full pass was complete.
    pub position: Option<String>,
    /// The parameters that the position belongs to.
    pub parameters: String,
    /// When the last pass was complete.
    pub completed_at: Option<Timestamp>,
    /// When the last full pass was complete, with its sweep.
    pub full_completed_at: Option<Timestamp>,
    /// When the last pass of keys was complete, with its sweep.
    pub keys_completed_at: Option<Timestamp>,
    /// Whether changes are read next: a pass of keys shows none.
    pub delta_next: bool,
    /// Some of the records that the last pass of keys showed and that were not known, by the hashes of their keys. One that
    /// is still not known at the next such pass was lost.
    pub strays: Vec<u64>,
    /// When everything was last read again because of strays.
    pub strays_read_at: Option<Timestamp>,
    /// Records that are known.
    pub known: u64,
    /// How many records the last full pass missed, where they were held.
    pub held: Option<u64>,
    /// How often in a row it did not go on.
    pub failures: u32,
    /// Passes in a row that ended before their last page, and began again from their beginning.
    pub restarts: u32,
    /// What the tenant was notified of since the last pass was complete.
    pub notified: Option<SyncErrorCode>,
    /// How often pages were halved, since the third party could not make larger ones.
    pub halved: u32,
    /// Until when it waits.
    pub parked_until: Option<Timestamp>,
    /// Why it does not go on.
    pub error: Option<SyncError>,
    /// What all passes did.
    pub totals: Counts,
    /// The channels by which the third party says that something has changed.
    pub watch: Watch,
    /// Whether what is read was not there any more, and the tenant was notified.
    pub source_removed: bool,
}

impl SyncState {
    /// Begins a pass, or continues the one under way where its next page can still be read.
    ///
    /// A full one where there is no position, and where `parameters` are others than those of the position. One of keys,
    /// or a full one where the feed has no such pages, where removals were held, and where the last one is longer ago than
    /// the kind allows.
    ///
    /// True where one begins. It must then be saved before its first page is read: the number of such a pass must not be
    /// used twice, since what a run has marked that was killed would count as seen.
    pub fn begin(&mut self, kind: &SyncKind, parameters: &str, now: Timestamp) -> bool {
        if self.parameters != parameters {
            self.forget();
            parameters.clone_into(&mut self.parameters);
        }
        if let Some(pass) = &self.pass {
            let is_dead =
                |life: Duration| !pass.sweeping && pass.next.is_some() && now.since(pass.next_at) > life;
            if !kind.link_life.is_some_and(is_dead) {
                return false;
            }
            self.drop_pass();
        }
        let mode = self.next_mode(kind, now);
        if mode != PassMode::Delta {
            // Also where such a pass begins again: what the part before has seen may be gone since.
            self.full_passes += 1;
        }
        self.pass = Some(Pass {
            mode,
            started_at: now,
            next: None,
            next_at: now,
            sweeping: false,
            position: None,
            greatest: None,
            halved: self.halved,
            seen: 0,
            counts: Counts::default(),
        });
        true
    }

    fn next_mode(&self, kind: &SyncKind, now: Timestamp) -> PassMode {
        let last = self.full_completed_at.max(self.keys_completed_at);
        let is_due = |every: Duration| last.is_none_or(|last| now.since(last) >= every);
        let removals_are_due = self.held.is_some() || kind.full_every.is_some_and(is_due);
        match kind.keys {
            _ if self.position.is_none() => PassMode::Full,
            _ if self.delta_next => PassMode::Delta,
            Some(_) if removals_are_due => PassMode::Keys,
            None if removals_are_due => PassMode::Full,
            _ => PassMode::Delta,
        }
    }

    /// Drops the pass under way, whose next page cannot be read: it begins again from where it began.
    pub fn drop_pass(&mut self) {
        self.restarts = self.restarts.saturating_add(u32::from(self.pass.is_some()));
        self.pass = None;
    }

    /// Halves the pages, since one took the third party too long. The URL of a next page has its size in it, so a pass that
    /// follows one begins again. False where they are as small as they get.
    pub fn halve(&mut self, kind: &SyncKind) -> bool {
        if self.halved >= kind.halvings {
            return false;
        }
        self.halved += 1;
        match &mut self.pass {
            Some(pass) if pass.next.is_none() => pass.halved = self.halved,
            _ => self.drop_pass(),
        }
        true
    }

    /// The number that records of the present pass are marked with; nothing where it is not a full one.
    #[must_use]
    pub fn mark(&self) -> Option<u32> {
        self.pass.as_ref().filter(|pass| pass.mode == PassMode::Full).map(|_| self.full_passes)
    }

    /// Whether the pass under way is of this mode.
    #[must_use]
    pub fn is_in(&self, mode: PassMode) -> bool {
        self.pass.as_ref().is_some_and(|pass| pass.mode == mode)
    }

    /// Notes that a page was read and all that it says is done.
    pub fn page_done(&mut self, page: &Page, done: Counts, now: Timestamp) {
        let Some(pass) = &mut self.pass else { return };
        pass.counts.add(&done);
        pass.counts.pages += 1;
        pass.counts.read += saturating::<u64>(page.records.len());
        pass.counts.unreadable += saturating::<u64>(page.unreadable.len());
        self.known = (self.known + done.created).saturating_sub(done.removed);
        pass.greatest = pass.greatest.max(page.records.iter().filter_map(|record| record.modified_at).max());
        pass.next.clone_from(&page.next);
        pass.next_at = now;
        if page.position.is_some() {
            pass.position.clone_from(&page.position);
        }
        pass.sweeping = page.next.is_none();
        self.went_on();
    }

    /// Notes that part of a page was done. The page is read once more, and what was done of it shows no change then.
    pub fn page_broke_off(&mut self, done: Counts) {
        let Some(pass) = &mut self.pass else { return };
        pass.counts.add(&done);
        self.known = (self.known + done.created).saturating_sub(done.removed);
    }

    /// Notes how many records are known, which were counted. A run that was killed between its writes has not.
    pub fn counted(&mut self, known: u64) {
        self.known = known;
    }

    /// Notes that part of a sweep was done.
    pub fn swept(&mut self, removed: u64) {
        let Some(pass) = &mut self.pass else { return };
        pass.counts.removed += removed;
        self.known = self.known.saturating_sub(removed);
        self.went_on();
    }

    fn went_on(&mut self) {
        (self.failures, self.parked_until, self.error) = (0, None, None);
        self.source_removed = false;
    }

    /// Ends the pass, whose pages were all read. Only now the position moves. False where the feed did not say from where
    /// to go on, which is a fault of ours: the pass is then forgotten.
    pub fn complete(&mut self, kind: &SyncKind, held: Option<u64>, now: Timestamp) -> bool {
        let Some(pass) = self.pass.take() else { return true };
        let position = match kind.watermark {
            Watermark::Token => pass.position.clone(),
            Watermark::PassStart => Some(pass.started_at.to_string()),
            // A full pass does not show what was removed while it went on, so its successor reads from its beginning.
            Watermark::Greatest if pass.mode == PassMode::Full => {
                let began = pass.started_at - CLOCK_SKEW;
                Some(pass.greatest.map_or(began, |at| at.min(began)).to_string())
            }
            // A pass without a record leaves the position where it was, and a record with a time that is to come does not
            // move it there.
            Watermark::Greatest => {
                pass.greatest.map(|at| at.min(pass.started_at).to_string()).or_else(|| self.position.clone())
            }
        };
        self.totals.add(&pass.counts);
        // A pass of keys shows no changes, so those since the position are still to be read.
        if pass.mode != PassMode::Keys {
            let Some(position) = position else { return false };
            self.position = Some(position);
        }
        self.completed_at = Some(now);
        (self.restarts, self.notified) = (0, None);
        self.delta_next = pass.mode == PassMode::Keys;
        if pass.mode != PassMode::Delta {
            self.held = held;
            if held.is_none() {
                let completed = match pass.mode {
                    PassMode::Keys => &mut self.keys_completed_at,
                    PassMode::Full | PassMode::Delta => &mut self.full_completed_at,
                };
                *completed = Some(now);
            }
            // What was too much at one hour need not be so for good.
            self.halved = self.halved.saturating_sub(1);
        }
        true
    }

    /// Notes which records a complete pass of keys showed that are not known. True where one of them was not known at the
    /// one before either, although changes were read since: everything is read again. That is not done often, since a feed
    /// may list keys of records that it never shows.
    pub fn found_strays(&mut self, mut strays: Vec<u64>, now: Timestamp) -> bool {
        strays.sort_unstable();
        let is_recent = self.strays_read_at.is_some_and(|at| now.since(at) < STRAYS_PAUSE);
        let is_lost = !is_recent && self.strays.iter().any(|stray| strays.binary_search(stray).is_ok());
        strays.truncate(STRAYS_KEPT);
        self.strays = if is_lost { Vec::new() } else { strays };
        if is_lost {
            self.position = None;
            self.strays_read_at = Some(now);
        }
        is_lost
    }

    /// Notes how many keys of a page were kept.
    pub fn keys_kept(&mut self, count: u64) {
        if let Some(pass) = &mut self.pass {
            pass.seen += count;
        }
    }

    /// Forgets position and pass: everything is read again.
    pub fn forget(&mut self) {
        (self.pass, self.position, self.held) = (None, None, None);
        (self.delta_next, self.strays) = (false, Vec::new());
    }

    /// Notes that it does not go on until `until`.
    pub fn park(&mut self, error: SyncError, until: Timestamp) {
        self.failures = self.failures.saturating_add(1);
        self.parked_until = Some(until);
        self.error = Some(error);
    }

    /// Until when no request may be made, whatever asks for a run: what the third party asked for, and what a quota says.
    /// Nothing where it waits for something that can be over before.
    #[must_use]
    pub fn must_wait_until(&self, now: Timestamp) -> Option<Timestamp> {
        let code = self.error.as_ref()?.code;
        let is_asked =
            matches!(code, SyncErrorCode::Throttled | SyncErrorCode::Suspended | SyncErrorCode::QuotaReached);
        self.parked_until.filter(|until| is_asked && *until > now)
    }

    /// Whether the tenant is to be notified that it does not go on because of `code`, which is then noted: at once where a
    /// person has to act, and otherwise once it has failed several times in a row, also where the first pages of each pass
    /// work. Once for each code until a pass is complete.
    pub fn notify(&mut self, code: SyncErrorCode) -> bool {
        let may_end_soon = matches!(code, SyncErrorCode::Throttled | SyncErrorCode::Unavailable);
        let is_due = match self.notified {
            Some(notified) if may_end_soon || notified == code => false,
            _ => !may_end_soon || self.failures.max(self.restarts) >= NOTIFIED_FAILURES,
        };
        if is_due {
            self.notified = Some(code);
        }
        is_due
    }

    /// What a person is shown.
    #[must_use]
    pub fn status(&self, is_paused: bool, resync_requested: bool) -> SyncStatus {
        if is_paused {
            SyncStatus::Paused
        } else if self.error.as_ref().is_some_and(|error| error.code != SyncErrorCode::Throttled) {
            SyncStatus::Failing
        } else if self.full_completed_at.is_none() {
            SyncStatus::Starting
        } else if resync_requested || self.position.is_none() || self.mark().is_some() {
            SyncStatus::Resyncing
        } else {
            SyncStatus::Active
        }
    }

    /// When it runs next, once it has stopped for now: when what it waits for ends, at once where a pass is under way or
    /// removals are held, and after the interval of its kind otherwise.
    #[must_use]
    pub fn next_run(&self, interval: Duration, now: Timestamp) -> Timestamp {
        match self.parked_until {
            Some(until) => until.max(now),
            None if self.pass.is_some() || self.position.is_none() || self.delta_next => now,
            // A fault of the third party has a while to end, before anything is removed.
            None if self.held.is_some() => now + AFTER_HELD,
            None => now + interval,
        }
    }
}

impl Counts {
    /// Adds what another one counted.
    pub fn add(&mut self, other: &Self) {
        self.pages += other.pages;
        self.read += other.read;
        self.created += other.created;
        self.updated += other.updated;
        self.removed += other.removed;
        self.unreadable += other.unreadable;
    }
}

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
