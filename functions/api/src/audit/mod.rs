//! The audit trail: what a call leaves in it, and the routes that read it.
//!
//! An entry is written before what it tells is done: where it cannot be written, nothing is changed
//! and no key is shown. A call that fails after that leaves a second entry that says so.

use std::{
    fmt::Display,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use domain::{
    TenantId, Timestamp,
    audit::{Broken, Entry, Flaw, Link, Sealed, changed, verify as verify_chain},
    endpoint::{Endpoint, headers::REDACTED},
    ids::key::Caller,
    saturating,
};
use platform::{
    Fault,
    lambda::problem::{Kind, Problem},
    store::audit::AppendOutcome,
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use url::Url;

use crate::{
    Api,
    endpoints::EndpointView,
    http::route::{Call, Page},
};

/// What a call leaves in the trail: who acts, and what its row calls it.
#[derive(Clone)]
pub(crate) struct Trail {
    action: &'static str,
    actor: String,
    source_ip: Option<String>,
    request_id: String,
    at: Timestamp,
    /// Whose trail has an entry of this call, and about what.
    written: Arc<Mutex<Option<(TenantId, String)>>>,
    /// Whether there was nothing to change.
    unchanged: Arc<AtomicBool>,
}

impl Trail {
    pub(crate) fn new(
        action: &'static str,
        caller: &Caller,
        source_ip: Option<String>,
        request_id: String,
        at: Timestamp,
    ) -> Self {
        let actor = match caller {
            Caller::Operator => "operator".to_owned(),
            Caller::Key { id, .. } => id.to_string(),
        };
        Self { action, actor, source_ip, request_id, at, written: Arc::default(), unchanged: Arc::default() }
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
                // The log is another place that knows the chain's end.
                tracing::info!(%tenant, seq, action, subject, actor, hash = sealed.hash, "audit");
                Ok(())
            }
            AppendOutcome::Conflict => {
                Err(Problem::new(Kind::Conflict, "many changes are made by this tenant; try again"))
            }
        }
    }

    /// Looks at what became of the call.
    pub(crate) async fn close(&self, api: &Api, succeeded: bool) {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner).take();
        match written {
            None if succeeded && !self.unchanged.load(Ordering::Relaxed) => {
                tracing::error!(action = self.action, "change is not in the audit trail");
            }
            Some((tenant, subject)) if !succeeded => {
                let action = format!("{}.failed", self.action);
                if let Err(problem) = self.append(api, &tenant, action, subject, [None, None]).await {
                    tracing::error!(fault = ?problem.fault, "could not record failed change in the audit trail");
                }
            }
            _ => {}
        }
    }
}

impl Call {
    /// Writes what this call is about to do into its tenant's trail. A handler of a row with
    /// `.audited(..)` asks for it once it knows that nothing is in the way, before its first write;
    /// `before` and `after` are what it changes, without secrets.
    pub(crate) async fn record(
        &self,
        api: &Api,
        subject: impl Display,
        before: Option<Value>,
        after: Option<Value>,
    ) -> Result<(), Problem> {
        self.record_for(api, self.tenant()?, subject, before, after).await
    }

    /// Says that there is nothing to change, and so nothing to record.
    pub(crate) fn unchanged(&self) {
        if let Some(trail) = &self.trail {
            trail.unchanged.store(true, Ordering::Relaxed);
        }
    }

    /// The same in the trail of another tenant, which the operator acts on.
    pub(crate) async fn record_for(
        &self,
        api: &Api,
        tenant: &TenantId,
        subject: impl Display,
        before: Option<Value>,
        after: Option<Value>,
    ) -> Result<(), Problem> {
        let unmarked = || Fault::new("writing the audit trail", "the route is not marked as audited");
        let trail = self.trail.as_ref().ok_or_else(unmarked)?;
        let (action, subject) = (trail.action.to_owned(), subject.to_string());
        Box::pin(trail.append(api, tenant, action, subject.clone(), [before, after])).await?;
        *trail.written.lock().unwrap_or_else(PoisonError::into_inner) = Some((tenant.clone(), subject));
        Ok(())
    }

    /// [`Self::record`] of a change to an endpoint; `None` before it is made or after it is deleted.
    /// Of a change only the fields that differ are kept.
    pub(crate) async fn record_endpoint(
        &self,
        api: &Api,
        before: Option<&Endpoint>,
        after: Option<&Endpoint>,
    ) -> Result<(), Problem> {
        let Some(id) = before.or(after).map(|endpoint| endpoint.id) else {
            return Err(Fault::new("writing the audit trail", "there is no endpoint").into());
        };
        let state = |endpoint: Option<&Endpoint>| endpoint.map(|endpoint| whole(endpoint)).transpose();
        let (before, after) = match (state(before)?, state(after)?) {
            (Some(before), Some(after)) => {
                let (before, after) = changed(&before, &after);
                (Some(before), Some(after))
            }
            states => states,
        };
        self.record(api, id, before.map(redacted), after.map(redacted)).await
    }
}

/// All that people set of an endpoint, the values of headers included, to be compared.
fn whole(endpoint: &Endpoint) -> Result<Value, Fault> {
    let view = serde_json::to_value(EndpointView::new(endpoint));
    let mut view = view.map_err(Fault::on("writing the audit trail"))?;
    if let Some(fields) = view.as_object_mut() {
        // These tell how it fares, and are not set by anybody.
        for name in ["id", "created_at", "health", "status"] {
            fields.remove(name);
        }
        let headers = endpoint.settings.headers.iter();
        let headers = headers.map(|(name, value)| (name.to_owned(), Value::from(value.expose())));
        fields.insert("headers".to_owned(), Value::Object(headers.collect()));
        fields.insert("delivery_rate".to_owned(), json!(endpoint.settings.delivery_rate));
    }
    Ok(view)
}

/// The same without what may be a secret: values of headers, and the query of the URL.
fn redacted(mut state: Value) -> Value {
    if let Some(headers) = state.get_mut("headers").and_then(Value::as_object_mut) {
        headers.values_mut().for_each(|value| *value = Value::from(REDACTED));
    }
    if let Some(Value::String(text)) = state.get_mut("url")
        && let Ok(mut url) = Url::parse(text)
        && url.query().is_some()
    {
        url.set_query(Some(REDACTED));
        *text = url.into();
    }
    state
}

/// An entry of the audit trail.
#[derive(Serialize, JsonSchema)]
pub(crate) struct AuditEntry {
    /// Its number, from 1 without a gap.
    seq: u64,
    at: Timestamp,
    /// Who: `operator`, or the id of an API key.
    actor: String,
    /// What. The same with `.failed` behind it follows where the call ended in an error.
    action: String,
    /// To what: an id.
    subject: String,
    /// From which address.
    source_ip: Option<String>,
    /// The request, as logs and problems name it.
    request_id: String,
    /// What it changed, as it was; secrets are left out.
    before: Option<Value>,
    /// The same as it is then.
    after: Option<Value>,
    /// The hash of the entry before; zeros in the first.
    prev_hash: String,
    /// SHA-256 over `prev_hash` and all of the above.
    hash: String,
}

impl From<Sealed> for AuditEntry {
    fn from(Sealed { entry, prev, hash }: Sealed) -> Self {
        // What somebody meddled with need not be JSON any more.
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

/// Where a trail does not hold.
#[derive(Serialize, JsonSchema)]
pub(crate) struct BrokenView {
    /// The number of the first entry that does not fit.
    seq: u64,
    /// What is wrong with it.
    reason: String,
}

/// What looking through a trail found.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Verified {
    /// Whether all entries that were looked at fit.
    valid: bool,
    /// How many were looked at and fit.
    entries: u64,
    /// Where it does not hold; null where it does.
    first_broken: Option<BrokenView>,
    /// The last entry that fits, with its hash. Note it elsewhere: passed as `cursor` later, it
    /// shows that this part of the trail is still the same. Null where there is none.
    head: Option<String>,
    /// There is more to look at: pass it as `cursor`; null at the end.
    next_cursor: Option<String>,
}

/// How long one call looks, well within the function's time.
const VERIFY_TIME: Duration = Duration::from_secs(15);

/// Entries in one read. One can hold some 100 KB, of an endpoint with all that it may have.
const VERIFY_PAGE: i32 = 50;

pub(crate) async fn verify(api: Arc<Api>, call: Call) -> Result<Verified, Problem> {
    let tenant = call.tenant()?;
    let from = call.cursor().map(str::parse::<Link>).transpose();
    let from = from.map_err(|()| Problem::parameter("cursor", "is not a head or cursor of this list"))?;
    let began = Instant::now();
    let mut head = from.unwrap_or_else(Link::start);
    let first = head.seq;
    let mut broken = noted(&api, tenant, &head).await?;
    let mut ended = false;
    while broken.is_none() && !ended && began.elapsed() < VERIFY_TIME {
        let page = api.audit.from(tenant, head.seq + 1, VERIFY_PAGE).await?;
        ended = page.is_empty();
        match verify_chain(tenant, head.clone(), &page) {
            Ok(end) => head = end,
            Err(found) => {
                let sound = page.iter().take_while(|sealed| sealed.entry.seq < found.seq).last();
                head = sound.map_or(head, Sealed::link);
                broken = Some(found);
            }
        }
    }
    let is_some = |link: &Link| link.seq > 0;
    Ok(Verified {
        valid: broken.is_none(),
        entries: head.seq - first,
        next_cursor: (broken.is_none() && !ended).then(|| head.to_string()),
        head: Some(head).filter(is_some).map(|link| link.to_string()),
        first_broken: broken.map(|Broken { seq, flaw }| BrokenView { seq, reason: flaw.to_string() }),
    })
}

/// Whether the trail still has the entry that a link names.
async fn noted(api: &Api, tenant: &TenantId, link: &Link) -> Result<Option<Broken>, Fault> {
    if link.seq == 0 {
        return Ok(None);
    }
    let found = api.audit.from(tenant, link.seq, 1).await?;
    let before = found.first().map(|sealed| Link { seq: link.seq - 1, hash: sealed.prev.clone() });
    let missing = Broken { seq: link.seq, flaw: Flaw::Missing };
    let Some(before) = before else { return Ok(Some(missing)) };
    Ok(match verify_chain(tenant, before, &found) {
        Ok(there) if there == *link => None,
        Ok(_) => Some(Broken { seq: link.seq, flaw: Flaw::Changed }),
        Err(broken) => Some(broken),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_kept() {
        for (state, kept) in [
            (json!({"headers": {"x-a": "b"}}), json!({"headers": {"x-a": REDACTED}})),
            (
                json!({"url": "https://example.com/a?token=secret"}),
                json!({"url": "https://example.com/a?[redacted]"}),
            ),
            (json!({"url": "https://example.com/a"}), json!({"url": "https://example.com/a"})),
            (json!({"rate_limit": 5}), json!({"rate_limit": 5})),
        ] {
            assert_eq!(redacted(state), kept);
        }
    }
}
