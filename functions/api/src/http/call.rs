//! A call: a request after authorisation, with typed access to its parameters.

use std::{
    collections::HashMap,
    fmt::Display,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use domain::{TenantId, Timestamp, access::Caller, idempotency::Origin, saturating, tenant::Limits};
use platform::{
    Fault,
    lambda::{
        http::Request,
        problem::{Kind, Problem},
    },
    runtime::clock,
    store::idempotency::Claim,
};
use serde::Serialize;
use serde_json::Value;

use super::{
    conditional::{self, Conditions},
    cursor,
    parameter::Parameter,
    trail::Trail,
};
use crate::state::Api;

/// What a route accepts, and what the audit trail calls it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Accepts {
    pub(crate) parameters: &'static [Parameter],
    /// The largest body in bytes; nothing for a route without a body.
    pub(crate) body_limit: Option<usize>,
    pub(crate) audited: Option<&'static str>,
}

/// An authorised request, in the form that handlers require.
pub(crate) struct Call {
    caller: Option<Caller>,
    tenant: Option<TenantId>,
    params: HashMap<String, String>,
    query: HashMap<String, String>,
    /// The `Idempotency-Key` header.
    pub(crate) idempotency_key: Option<String>,
    /// Where ids come from, with an idempotency key.
    pub(super) origin_of_ids: Option<Origin>,
    /// Its claim of an idempotency key.
    pub(super) claim: Option<Claim>,
    /// Whether its idempotency key stays with it where it is refused.
    pub(super) keeps_key: Arc<AtomicBool>,
    /// The public URL of the API.
    pub(crate) base_url: String,
    /// How much the tenant may use.
    pub(crate) limits: Limits,
    /// The origin of the page, if a browser sent the request.
    pub(crate) origin: Option<String>,
    /// The id of the request, as in logs and problems.
    request_id: String,
    /// The address of the client, as the edge saw it.
    pub(crate) address: Option<String>,
    /// When the request arrived.
    pub(crate) now: Timestamp,
    /// Its audit trail, if its route is audited.
    pub(crate) trail: Option<Trail>,
    /// The path as it was sent.
    pub(crate) path: String,
    pub(super) content_type: Option<String>,
    pub(crate) body: Vec<u8>,
    pub(super) conditions: Conditions,
    /// The fields of what it changes that change without a request.
    pub(super) volatile: &'static [&'static str],
}

impl Call {
    /// Rejects unknown parameters and a body that is too large.
    pub(crate) fn new(
        accepts: Accepts,
        caller: Option<Caller>,
        tenant: Option<TenantId>,
        params: HashMap<String, String>,
        request: Request,
        base_url: String,
        now: Timestamp,
    ) -> Result<Self, Problem> {
        if accepts.body_limit.is_some_and(|limit| request.body.len() > limit) {
            let limit = accepts.body_limit.unwrap_or_default();
            return Err(Problem::new(Kind::TooLarge, format!("the body exceeds the {limit}-byte limit")));
        }
        let mut query = HashMap::new();
        for (name, value) in &request.query {
            if !accepts.parameters.iter().any(|known| known.place == "query" && known.name == name) {
                return Err(Problem::parameter(name, "unknown parameter"));
            }
            if query.insert(name.clone(), value.clone()).is_some() {
                return Err(Problem::parameter(name, "is given more than once"));
            }
        }
        let trail = accepts.audited.zip(caller.as_ref()).map(|(action, caller)| {
            Trail::new(action, caller, request.source_ip.clone(), request.id.clone(), now)
        });
        Ok(Self {
            conditions: Conditions::of(&request)?,
            volatile: &[],
            trail,
            caller,
            tenant,
            params,
            query,
            idempotency_key: request.header("idempotency-key").map(str::to_owned),
            origin_of_ids: None,
            claim: None,
            keeps_key: Arc::default(),
            base_url,
            limits: Limits::default(),
            origin: request.header("origin").map(str::to_owned),
            request_id: request.id.clone(),
            address: request.source_ip.clone(),
            now,
            path: request.path.clone(),
            content_type: request.header("content-type").map(str::to_owned),
            body: request.body,
        })
    }

    /// A call that a job makes for a tenant, of a route that only reads.
    pub(crate) fn of_job(
        (caller, tenant): (Caller, TenantId),
        params: HashMap<String, String>,
        query: HashMap<String, String>,
        path: String,
        base_url: String,
    ) -> Self {
        Self {
            caller: Some(caller),
            tenant: Some(tenant),
            params,
            query,
            idempotency_key: None,
            origin_of_ids: None,
            claim: None,
            keeps_key: Arc::default(),
            base_url,
            limits: Limits::default(),
            origin: None,
            request_id: String::new(),
            address: None,
            now: clock::now(),
            trail: None,
            path,
            content_type: None,
            body: Vec::new(),
            conditions: Conditions::default(),
            volatile: &[],
        }
    }

    /// The same call as one that only reads what its path names.
    pub(super) fn reading(&self) -> Self {
        Self {
            caller: self.caller.clone(),
            tenant: self.tenant.clone(),
            params: self.params.clone(),
            query: HashMap::new(),
            idempotency_key: None,
            origin_of_ids: None,
            claim: None,
            keeps_key: Arc::default(),
            base_url: self.base_url.clone(),
            limits: self.limits,
            origin: None,
            request_id: self.request_id.clone(),
            address: self.address.clone(),
            now: self.now,
            trail: None,
            path: self.path.clone(),
            content_type: None,
            body: Vec::new(),
            conditions: Conditions::default(),
            volatile: &[],
        }
    }

    /// The time and the random part of the id of what it creates: the same in a repeat.
    pub(crate) fn id_parts(&self) -> Result<(Timestamp, [u8; 10]), Fault> {
        match &self.origin_of_ids {
            Some(origin) => Ok((origin.first_at, origin.random())),
            None => Ok((self.now, clock::random()?)),
        }
    }

    /// Whether a request before it, whose outcome is unknown, may have created what has this id.
    pub(crate) fn may_be_created(&self) -> bool {
        self.origin_of_ids.as_ref().is_some_and(|origin| origin.is_repeat)
    }

    /// When a request with its idempotency key was first sent to a third party, where it may have been carried out.
    pub(crate) fn sent_at(&self) -> Option<Timestamp> {
        self.origin_of_ids.as_ref()?.sent_at
    }

    /// Marks that it is about to be sent to a third party, for its repeats. To be called before the first byte.
    pub(crate) async fn mark_sent(&self, api: &Api) -> Result<(), Problem> {
        let Some(claim) = &self.claim else { return Ok(()) };
        if api.idempotency.mark_sent(claim, clock::now()).await? {
            return Ok(());
        }
        let detail = "another request with this idempotency key is in progress";
        Err(Problem { retry_after: Some(1), ..Problem::new(Kind::Conflict, detail) })
    }

    /// Takes the mark back, unless an earlier request has set it. Without that, a repeat is only more careful.
    pub(crate) async fn unmark_sent(&self, api: &Api) {
        let Some(claim) = self.claim.as_ref().filter(|_| self.sent_at().is_none()) else { return };
        if let Err(fault) = api.idempotency.unmark_sent(claim, clock::now()).await {
            tracing::error!(tenant = %claim.tenant, %fault, "could not note that a call was not sent");
        }
    }

    /// From here on it is unknown what was created, until this is taken back: a repeat with the same idempotency key derives
    /// the same ids, whatever the response is.
    pub(crate) fn keep_key(&self, keeps: bool) {
        self.keeps_key.store(keeps, Ordering::Relaxed);
    }

    /// A parameter of the path, as it was sent.
    pub(super) fn param(&self, name: &str) -> Option<&str> {
        self.params.get(name).map(String::as_str)
    }

    /// Whether its change is to be made only to what was read.
    pub(crate) fn is_conditional(&self) -> bool {
        self.conditions.on_change().is_some()
    }

    /// Checks `If-Match` against what a handler has read, before it changes it. `view` is what GET would show of it.
    pub(crate) fn check_match<T: Serialize>(&self, view: &T) -> Result<(), Problem> {
        if !self.is_conditional() {
            return Ok(());
        }
        self.conditions.check(Some(&conditional::tag_of(view, self.volatile)?))
    }

    /// The tenant that the request is for.
    pub(crate) fn tenant(&self) -> Result<&TenantId, Problem> {
        self.tenant.as_ref().ok_or_else(|| Fault::new("routing", "a public route has no tenant").into())
    }

    /// Whether the operator is calling, for itself or for a tenant.
    pub(crate) fn is_operator(&self) -> bool {
        self.caller == Some(Caller::Operator)
    }

    /// Who is calling.
    pub(crate) fn caller(&self) -> Result<&Caller, Problem> {
        self.caller.as_ref().ok_or_else(|| Fault::new("routing", "a public route has no caller").into())
    }

    /// An id in the path. A text that is not an id is not found.
    pub(crate) fn id<T: FromStr>(&self, name: &str, what: &str) -> Result<T, Problem> {
        self.params.get(name).and_then(|text| text.parse().ok()).ok_or_else(|| Problem::not_found(what))
    }

    /// How many entries a page may have.
    pub(crate) fn limit(&self) -> Result<usize, Problem> {
        self.whole_number("limit", 50, 250).map(saturating)
    }

    /// A query parameter that is a whole number from 1 to `most`.
    pub(crate) fn whole_number(&self, name: &str, default: u32, most: u32) -> Result<u32, Problem> {
        match self.query.get(name).map(|text| text.parse()) {
            None => Ok(default),
            Some(Ok(number)) if (1..=most).contains(&number) => Ok(number),
            Some(_) => Err(Problem::parameter(name, format!("must be a whole number from 1 to {most}"))),
        }
    }

    /// The id that precedes the page, in a list whose cursors are ids.
    pub(crate) fn before<I: FromStr>(&self) -> Result<Option<I>, Problem> {
        self.cursor_as(|text| text.parse().ok())
    }

    /// The position that precedes the page, in a list whose cursors are [opaque](cursor).
    pub(crate) fn position<P>(&self, parse: impl Fn(&str) -> Option<P>) -> Result<Option<P>, Problem> {
        self.cursor_as(|text| cursor::read(text, parse))
    }

    /// The cursor as `parse` reads it.
    pub(crate) fn cursor_as<P>(&self, parse: impl FnOnce(&str) -> Option<P>) -> Result<Option<P>, Problem> {
        let Some(text) = self.query("cursor") else { return Ok(None) };
        let parsed = parse(text).ok_or_else(|| Problem::parameter("cursor", "invalid cursor for this list"));
        parsed.map(Some)
    }

    /// A query parameter of the route's own.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    /// A query parameter that is read as its type reads a text.
    pub(crate) fn parsed<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, Problem> {
        let parsed = self.query(name).map(str::parse::<T>).transpose();
        parsed.map_err(|invalid| Problem::parameter(name, invalid.to_string()))
    }

    /// The times of the parameters `since` and `until`.
    pub(crate) fn time_range(&self) -> Result<(Option<Timestamp>, Option<Timestamp>), Problem> {
        let (since, until) = (self.parsed::<Timestamp>("since")?, self.parsed::<Timestamp>("until")?);
        if since.zip(until).is_some_and(|(since, until)| since >= until) {
            return Err(Problem::parameter("since", "must be before `until`"));
        }
        Ok((since, until))
    }

    /// Writes what this call is about to do into its tenant's trail. A handler of an audited route
    /// calls it after all checks and before its first write; `before` and `after` are the changed
    /// state, without secrets.
    pub(crate) async fn record(
        &self,
        api: &Api,
        subject: impl Display,
        before: Option<Value>,
        after: Option<Value>,
    ) -> Result<(), Problem> {
        self.record_for(api, self.tenant()?, subject, before, after).await
    }

    /// The same in the trail of another tenant, on which the operator acts.
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
        trail.record(api, tenant, subject.to_string(), [before, after]).await
    }

    /// Writes an action of someone whom a public route has come to know into the trail of their tenant.
    pub(crate) async fn record_as(
        &self,
        api: &Api,
        caller: &Caller,
        tenant: &TenantId,
        action: &'static str,
        subject: impl Display,
    ) -> Result<(), Problem> {
        let trail = Trail::new(action, caller, self.address.clone(), self.request_id.clone(), self.now);
        trail.record(api, tenant, subject.to_string(), [None, None]).await
    }

    /// Notes that there is nothing to change, and so nothing to record.
    pub(crate) fn unchanged(&self) {
        if let Some(trail) = &self.trail {
            trail.unchanged();
        }
    }
}
