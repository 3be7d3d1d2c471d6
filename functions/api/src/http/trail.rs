//! What a call writes into the audit trail.
//!
//! An entry is written before the change that it describes: if it cannot be written, nothing is changed
//! and no key is shown. A call that fails after that writes a second entry that says so.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use domain::{TenantId, Timestamp, access::Caller, audit::Entry};
use platform::{
    lambda::problem::{Kind, Problem},
    store::audit::AppendOutcome,
};
use serde_json::Value;

use crate::state::Api;

/// The ends of the actions of second entries.
const FAILED: &str = "failed";
const UNKNOWN: &str = "unknown";

/// The audit trail of one call: who acts, and the action.
#[derive(Clone)]
pub(crate) struct Trail {
    action: &'static str,
    actor: String,
    source_ip: Option<String>,
    request_id: String,
    at: Timestamp,
    /// The entry that this call has written.
    written: Arc<Mutex<Option<WrittenEntry>>>,
    /// Whether there was nothing to change.
    unchanged: Arc<AtomicBool>,
}

/// An entry of what a call is about to do.
#[derive(Clone, PartialEq)]
struct WrittenEntry {
    tenant: TenantId,
    subject: String,
    states: [Option<Value>; 2],
}

impl Trail {
    pub(crate) fn new(
        action: &'static str,
        caller: &Caller,
        source_ip: Option<String>,
        request_id: String,
        at: Timestamp,
    ) -> Self {
        Self {
            action,
            actor: caller.actor(),
            source_ip,
            request_id,
            at,
            written: Arc::default(),
            unchanged: Arc::default(),
        }
    }

    async fn append(
        &self,
        api: &Api,
        tenant: &TenantId,
        action: String,
        subject: String,
        states: [Option<Value>; 2],
    ) -> Result<(), Problem> {
        let [before, after] = states.map(|state| state.map(|state| state.to_string()));
        let entry = Entry {
            seq: 0,
            at: self.at,
            actor: self.actor.clone(),
            action,
            subject,
            source_ip: self.source_ip.clone(),
            request_id: self.request_id.clone(),
            before,
            after,
        };
        match api.audit.append(tenant, entry).await? {
            AppendOutcome::New(sealed) => {
                let Entry { seq, action, subject, actor, .. } = &sealed.entry;
                // The log is a second record of the chain's end.
                tracing::info!(%tenant, seq, action, subject, actor, hash = sealed.hash, "audit");
                Ok(())
            }
            AppendOutcome::Conflict => Err(Problem::new(
                Kind::Conflict,
                "another request of this tenant was recorded at the same time",
            )),
        }
    }

    /// Records the outcome of the call: one that failed after its entry gets a second entry, which says so, or that it is
    /// unknown whether a third party did it.
    pub(crate) async fn close(&self, api: &Api, failure: Option<Kind>) {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner).take();
        match written {
            None if failure.is_none() && !self.unchanged.load(Ordering::Relaxed) => {
                tracing::error!(action = self.action, "change is not in the audit trail");
            }
            Some(entry) if failure.is_some() => {
                let suffix = if failure == Some(Kind::EffectUnknown) { UNKNOWN } else { FAILED };
                if let Err(problem) = self.record_failure(api, entry, suffix).await {
                    tracing::error!(fault = ?problem.fault, "could not record failed change in the audit trail");
                }
            }
            _ => {}
        }
    }

    /// Appends the entry that what an entry describes was not done, or not all of it, or that this is unknown.
    async fn record_failure(&self, api: &Api, entry: WrittenEntry, suffix: &str) -> Result<(), Problem> {
        let action = format!("{}.{suffix}", self.action);
        self.append(api, &entry.tenant, action, entry.subject, [None, None]).await
    }

    /// Appends the entry of what the call is about to do. A call that lost to another change tries again: it does not
    /// write the same entry twice, and where it is about to do something else now, it first records that it did not do
    /// what it wrote before.
    pub(super) async fn record(
        &self,
        api: &Api,
        tenant: &TenantId,
        subject: String,
        states: [Option<Value>; 2],
    ) -> Result<(), Problem> {
        let entry = WrittenEntry { tenant: tenant.clone(), subject: subject.clone(), states: states.clone() };
        let before = self.written.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match before {
            Some(before) if before == entry => return Ok(()),
            // An entry about another object is another step of the same call.
            Some(before) if before.subject == entry.subject && before.tenant == entry.tenant => {
                Box::pin(self.record_failure(api, before, FAILED)).await?;
            }
            _ => {}
        }
        Box::pin(self.append(api, tenant, self.action.to_owned(), subject, states)).await?;
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = Some(entry);
        Ok(())
    }

    /// Notes that there was nothing to change.
    pub(super) fn unchanged(&self) {
        self.unchanged.store(true, Ordering::Relaxed);
    }
}
