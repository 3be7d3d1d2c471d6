//! Reading and verifying the audit trail. What a call writes into it is in `http/trail.rs`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{
    TenantId, Timestamp,
    audit::{ChainBreak, ChainedEntry, Flaw, Link, verify as verify_chain},
    saturating,
};
use platform::{Fault, lambda::problem::Problem};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::{
    http::{call::Call, page::Page},
    state::Api,
};

/// An entry of the audit trail.
#[derive(Serialize, JsonSchema)]
pub(crate) struct AuditEntry {
    /// Its number, from 1 without gaps.
    seq: u64,
    at: Timestamp,
    /// The caller: `operator`, or the id of an API key.
    actor: String,
    /// What the caller did. An entry whose action has the suffix `.failed` follows if the call failed.
    action: String,
    /// The id of what was changed.
    subject: String,
    /// The address of the caller.
    source_ip: Option<String>,
    /// The request id, as in logs and problems.
    request_id: String,
    /// The changed fields before the change; without secrets.
    before: Option<Value>,
    /// The changed fields after the change.
    after: Option<Value>,
    /// The hash of the previous entry; zeros in the first.
    prev_hash: String,
    /// SHA-256 over `prev_hash` and all fields above.
    hash: String,
}

impl From<ChainedEntry> for AuditEntry {
    fn from(ChainedEntry { entry, prev, hash }: ChainedEntry) -> Self {
        // After tampering it may not be JSON.
        let state = |text: String| serde_json::from_str(&text).unwrap_or(Value::String(text));
        Self {
            seq: entry.seq,
            at: entry.at,
            actor: entry.actor,
            action: entry.action,
            subject: entry.subject,
            source_ip: entry.source_ip,
            request_id: entry.request_id,
            before: entry.before.map(state),
            after: entry.after.map(state),
            prev_hash: prev,
            hash,
        }
    }
}

pub(crate) async fn list(api: Arc<Api>, call: Call) -> Result<Page<AuditEntry>, Problem> {
    let limit = call.limit()?;
    let more = saturating::<i32>(limit + 1);
    let entries = api.audit.newest(call.tenant()?, call.before::<u64>()?, more).await?;
    let data = entries.into_iter().map(AuditEntry::from).collect();
    Ok(Page::cut(data, limit, |last: &AuditEntry| last.seq.to_string())?)
}

/// The first entry that fails verification.
#[derive(Serialize, JsonSchema)]
pub(crate) struct BrokenEntry {
    /// The number of the entry.
    seq: u64,
    /// Why it fails.
    reason: String,
}

/// The result of verifying a trail.
#[derive(Serialize, JsonSchema)]
pub(crate) struct AuditVerification {
    /// Whether all checked entries are intact.
    valid: bool,
    /// The number of entries that were checked and are intact.
    entries: u64,
    /// The first entry that is not intact; null if all are.
    first_broken: Option<BrokenEntry>,
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

pub(crate) async fn verify(api: Arc<Api>, call: Call) -> Result<AuditVerification, Problem> {
    let tenant = call.tenant()?;
    let from = call.cursor_as(|text| text.parse::<Link>().ok())?;
    let started = Instant::now();
    let mut head = from.unwrap_or_else(Link::start);
    let first = head.seq;
    let mut broken = check_link(&api, tenant, &head).await?;
    let mut ended = false;
    while broken.is_none() && !ended && started.elapsed() < VERIFY_TIME {
        let page = api.audit.from(tenant, head.seq + 1, VERIFY_PAGE).await?;
        ended = page.is_empty();
        match verify_chain(tenant, head.clone(), &page) {
            Ok(end) => head = end,
            Err(found) => {
                let sound = page.iter().take_while(|sealed| sealed.entry.seq < found.seq).last();
                head = sound.map_or(head, ChainedEntry::link);
                broken = Some(found);
            }
        }
    }
    let is_some = |link: &Link| link.seq > 0;
    Ok(AuditVerification {
        valid: broken.is_none(),
        entries: head.seq - first,
        next_cursor: (broken.is_none() && !ended).then(|| head.to_string()),
        head: Some(head).filter(is_some).map(|link| link.to_string()),
        first_broken: broken.map(|ChainBreak { seq, flaw }| BrokenEntry { seq, reason: flaw.to_string() }),
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
