//! Reading and verifying the audit trail. What a call writes into it is in `http/trail.rs`.

pub(crate) mod checkpoints;
mod export;
mod verify;

use std::sync::Arc;

use domain::{
    Timestamp,
    audit::{ChainedEntry, filter::EntryFilter},
    saturating,
};
use platform::lambda::problem::Problem;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

pub(crate) use self::{
    export::{PARAMETERS as EXPORT_PARAMETERS, export},
    verify::verify,
};
use crate::{
    http::{
        call::Call,
        page::Page,
        parameter::{PAGE, Parameter},
    },
    state::Api,
};

/// The parameters of the list.
pub(crate) const PARAMETERS: [Parameter; 7] = [
    PAGE[0],
    PAGE[1],
    Parameter {
        name: "actor",
        place: "query",
        description: "Only entries of this caller: `operator`, or the id of an API key.",
        schema: r#"{"type":"string","pattern":"^[!-~]{1,128}$","examples":["operator"]}"#,
    },
    Parameter {
        name: "action",
        place: "query",
        description: "Only entries of this action, or of all that begin alike, as `endpoint.*`.",
        schema: r#"{"type":"string","maxLength":100,"pattern":"^[a-z_]+(\\.[a-z_]+)*(\\.\\*)?$","examples":["endpoint.*"]}"#,
    },
    Parameter {
        name: "subject",
        place: "query",
        description: "Only entries about the object with this id.",
        schema: r#"{"type":"string","pattern":"^[!-~]{1,128}$","examples":["ept_01kavg7r8e6mt4xw2z5v9b3csq"]}"#,
    },
    Parameter {
        name: "since",
        place: "query",
        description: "Only entries at or after this time.",
        schema: r#"{"type":"string","format":"date-time","examples":["2026-11-24T09:30:00.000Z"]}"#,
    },
    Parameter {
        name: "until",
        place: "query",
        description: "Only entries before this time.",
        schema: r#"{"type":"string","format":"date-time","examples":["2030-11-24T09:30:00.000Z"]}"#,
    },
];

/// An entry of the audit trail.
#[derive(Serialize, JsonSchema)]
pub(crate) struct AuditEntry {
    /// Its number, from 1 without gaps.
    seq: u64,
    at: Timestamp,
    /// The caller: `operator`, or the id of an API key.
    actor: String,
    /// What the caller did. An entry whose action has the suffix `.failed` follows if the call failed, or `.unknown` if it is
    /// unknown whether a third party did it.
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
    let (tenant, limit, before) = (call.tenant()?, call.limit()?, call.before::<u64>()?);
    let filter = filter(&call)?;
    let cut = |entries: Vec<ChainedEntry>| {
        let data = entries.into_iter().map(AuditEntry::from).collect();
        Page::cut(data, limit, |last: &AuditEntry| last.seq.to_string())
    };
    if filter.is_empty() {
        return Ok(cut(api.audit.newest(tenant, before, saturating::<i32>(limit + 1)).await?)?);
    }
    let found = api.audit.search(tenant, before, &filter, limit).await?;
    let mut page = cut(found.entries)?;
    if page.next_cursor.is_none() {
        page.next_cursor = found.next.map(|next| next.to_string());
    }
    Ok(page)
}

/// The entries that a call asks for.
fn filter(call: &Call) -> Result<EntryFilter, Problem> {
    let id = |name| {
        let is_id =
            |text: &str| (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        match call.query(name) {
            Some(text) if !is_id(text) => {
                Err(Problem::parameter(name, "must be 1 to 128 characters of an id"))
            }
            text => Ok(text.map(str::to_owned)),
        }
    };
    let (since, until) = call.time_range()?;
    Ok(EntryFilter {
        actor: id("actor")?,
        action: call.parsed("action")?,
        subject: id("subject")?,
        since,
        until,
    })
}
