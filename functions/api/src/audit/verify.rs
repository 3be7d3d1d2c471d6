//! Verifying a trail: each entry against its hash and the one before it, and each checkpoint against its entry.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{
    TenantId,
    audit::{
        ChainBreak, Flaw, Link,
        checkpoint::{Checkpoint, PublicKey},
        verify as verify_chain,
    },
    saturating,
};
use platform::{
    Fault,
    lambda::problem::Problem,
    store::audit::{ForeignRow, TrailRow},
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{http::call::Call, state::Api};

/// The first entry that fails verification.
#[derive(Serialize, JsonSchema)]
pub(crate) struct BrokenEntry {
    /// The number of the entry.
    seq: u64,
    /// Why it fails.
    reason: String,
}

/// A row in the trail's place that is no entry.
#[derive(Clone, Serialize, JsonSchema)]
pub(crate) struct ForeignRowView {
    /// Its sort key in the audit table.
    key: String,
}

/// The result of verifying a trail.
#[derive(Serialize, JsonSchema)]
pub(crate) struct AuditVerification {
    /// Whether all checked entries are intact.
    valid: bool,
    /// The number of entries that were checked and are intact.
    entries: u64,
    /// The number of checkpoints that were checked and fit.
    checkpoints: u64,
    /// The first entry that is not intact; null if all are.
    first_broken: Option<BrokenEntry>,
    /// Rows in the trail's place that are no entries, up to 100: only someone with access to the table can have written
    /// them. The entries are verified without them.
    foreign_rows: Vec<ForeignRowView>,
    /// The last intact entry with its hash. Store it elsewhere: passed as `cursor` later, it proves
    /// that this part of the trail has not changed. Null if there is none.
    head: Option<String>,
    /// Pass it as `cursor` to verify the next part; null at the end.
    next_cursor: Option<String>,
}

/// How long one call verifies, well within the function's timeout.
const VERIFY_TIME: Duration = Duration::from_secs(15);

/// Entries in one read. One can hold some 100 KB, of an endpoint with all that it may have.
const VERIFY_PAGE: i32 = 50;

/// Rows that are no entries, at most, in one response.
const FOREIGN_ROWS: usize = 100;

/// Checkpoints in one read.
const CHECKPOINT_PAGE: i32 = 100;

/// A walk along a trail and its checkpoints.
struct Walk<'a> {
    api: &'a Api,
    tenant: &'a TenantId,
    keys: Vec<PublicKey>,
    /// The last intact entry.
    head: Link,
    /// The last one for which a checkpoint was signed that fits; where the walk began before the first.
    signed: Link,
    /// The checkpoints from `head` on that were read.
    checkpoints: VecDeque<Checkpoint>,
    /// From which entry on more are read; nothing where all are.
    next_checkpoint: Option<u64>,
    /// How many fit.
    fitting: u64,
    /// Entries up to `head`, and up to `signed`.
    intact: u64,
    intact_and_signed: u64,
    /// Rows that are no entries.
    foreign_rows: Vec<ForeignRowView>,
}

/// How a walk goes on.
enum Step {
    Further,
    End,
    Broken(ChainBreak),
}

impl Walk<'_> {
    /// Checks the next page of entries.
    async fn step(&mut self) -> Result<Step, Fault> {
        // Checkpoints first: the entry of each of them was there when it was read.
        if let Some(next) = self.next_checkpoint.filter(|_| self.checkpoints.is_empty()) {
            let page = self.api.audit.checkpoints_from(self.tenant, next, CHECKPOINT_PAGE).await?;
            let is_full = page.len() == saturating::<usize>(CHECKPOINT_PAGE);
            self.next_checkpoint = page.last().filter(|_| is_full).map(|last| last.link.seq + 1);
            self.checkpoints.extend(page);
        }
        // The entry behind which the walk begins can be one that was signed.
        if let Err(broken) = self.check_signature(&self.head.clone()) {
            return Ok(Step::Broken(broken));
        }
        let rows = self.api.audit.rows_behind(self.tenant, self.head.seq, VERIFY_PAGE).await?;
        let mut is_end = true;
        // The number that the next entry follows: that of the head, or of a row that has taken the place behind it.
        let mut place = self.head.clone();
        for row in rows {
            let sealed = match row {
                TrailRow::Entry(sealed) => sealed,
                TrailRow::Foreign(ForeignRow { key, seq }) => {
                    if seq == Some(place.seq + 1) {
                        place.seq += 1;
                    }
                    // Those behind the last entry are read with its page, and once more.
                    let is_new = self.foreign_rows.last().is_none_or(|last| last.key < key);
                    if is_new && self.foreign_rows.len() < FOREIGN_ROWS {
                        self.foreign_rows.push(ForeignRowView { key });
                    }
                    continue;
                }
            };
            is_end = false;
            place = match verify_chain(self.tenant, place, [&*sealed]) {
                Ok(link) => link,
                Err(broken) => return Ok(Step::Broken(broken)),
            };
            self.head = place.clone();
            self.intact += 1;
            if let Err(broken) = self.check_signature(&place) {
                return Ok(Step::Broken(broken));
            }
        }
        Ok(match (is_end, self.checkpoints.front()) {
            (false, _) => Step::Further,
            (true, None) => Step::End,
            (true, Some(cut)) => Step::Broken(ChainBreak { seq: cut.link.seq, flaw: Flaw::CutOff }),
        })
    }

    /// Checks the checkpoint of an entry, if there is one. Where it does not fit, nothing after the last one that does is
    /// known to be intact.
    fn check_signature(&mut self, link: &Link) -> Result<(), ChainBreak> {
        while let Some(checkpoint) =
            self.checkpoints.front().filter(|first| first.link.seq <= link.seq).cloned()
        {
            self.checkpoints.pop_front();
            if let Err(flaw) = checkpoint.check(self.tenant, &link.hash, &self.keys) {
                (self.head, self.intact) = (self.signed.clone(), self.intact_and_signed);
                return Err(ChainBreak { seq: link.seq, flaw });
            }
            (self.signed, self.intact_and_signed) = (link.clone(), self.intact);
            self.fitting += 1;
        }
        Ok(())
    }
}

pub(crate) async fn verify(api: Arc<Api>, call: Call) -> Result<AuditVerification, Problem> {
    let tenant = call.tenant()?;
    let from = call.cursor_as(|text| text.parse::<Link>().ok())?.unwrap_or_else(Link::start);
    let started = Instant::now();
    let mut walk = Walk {
        api: &api,
        tenant,
        keys: api.checkpoint_keys.list().await?.into_iter().map(|known| known.key).collect(),
        head: from.clone(),
        signed: from.clone(),
        checkpoints: VecDeque::new(),
        next_checkpoint: Some(from.seq.max(1)),
        fitting: 0,
        intact: 0,
        intact_and_signed: 0,
        foreign_rows: Vec::new(),
    };
    let mut step = check_link(&api, tenant, &from).await?.map_or(Step::Further, Step::Broken);
    while matches!(step, Step::Further) && started.elapsed() < VERIFY_TIME {
        step = walk.step().await?;
    }
    let Walk { head, fitting, intact, foreign_rows, .. } = walk;
    let first_broken = match step {
        Step::Broken(ChainBreak { seq, flaw }) => Some(BrokenEntry { seq, reason: flaw.to_string() }),
        Step::Further | Step::End => None,
    };
    Ok(AuditVerification {
        valid: first_broken.is_none(),
        entries: intact,
        checkpoints: fitting,
        next_cursor: matches!(step, Step::Further).then(|| head.to_string()),
        head: Some(head).filter(|link| link.seq > 0).map(|link| link.to_string()),
        first_broken,
        foreign_rows,
    })
}

/// What is wrong with the entry that a link names, if anything.
async fn check_link(api: &Api, tenant: &TenantId, link: &Link) -> Result<Option<ChainBreak>, Fault> {
    if link.seq == 0 {
        return Ok(None);
    }
    let found = api.audit.from(tenant, link.seq, 1).await?;
    let before = found.first().map(|sealed| Link { seq: link.seq - 1, hash: sealed.prev.clone() });
    let missing = ChainBreak { seq: link.seq, flaw: Flaw::Missing };
    let Some(before) = before else { return Ok(Some(missing)) };
    Ok(match verify_chain(tenant, before, &found) {
        Ok(there) if there == *link => None,
        Ok(_) => Some(ChainBreak { seq: link.seq, flaw: Flaw::Changed }),
        Err(broken) => Some(broken),
    })
}
