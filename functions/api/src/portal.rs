//! Portal sessions: a person of a tenant uses the API from a browser, without a key of the tenant.

use std::sync::Arc;

use ::http::header::ORIGIN;
use domain::{
    PortalSessionId, Secret, TenantId, Timestamp,
    access::{
        Caller, Role, Scope,
        origin::Origins,
        portal::{
            CODE_PREFIX, CODE_SECS, DEFAULT_SECS, LONGEST_SECS, ORIGIN_COUNT_LIMIT, PortalSession,
            SHORTEST_SECS, TOKEN_PREFIX, from_random, hash, is_well_formed, may_have,
        },
    },
};
use platform::{
    Fault,
    lambda::problem::{Kind, Problem},
    runtime::clock,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    connections::checks,
    http::{
        body::{Nothing, within},
        call::Call,
        page::Page,
    },
    state::Api,
};

/// A portal session to create.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreatePortalSession {
    /// A role, instead of scopes; what no portal may do is left out of it.
    #[serde(default)]
    role: Option<Role>,
    /// What the person may do, at most what the caller may; by default the scopes of the role `viewer`.
    #[serde(default)]
    scopes: Option<Vec<Scope>>,
    /// The CRM's id of the person, for the list of sessions.
    #[serde(default)]
    #[schemars(length(min = 1, max = 200))]
    user_id: Option<String>,
    /// The origins of the pages that may use the session; any by default.
    #[serde(default)]
    #[schemars(length(max = 10))]
    origins: Vec<String>,
    /// How long the session lasts, in seconds; an hour by default.
    #[serde(default)]
    #[schemars(range(min = 60, max = 43_200))]
    expires_in: Option<u32>,
}

/// A portal session.
#[derive(Serialize, JsonSchema)]
pub(crate) struct PortalSessionView {
    id: PortalSessionId,
    tenant_id: TenantId,
    /// The CRM's id of the person; null if it was not set.
    user_id: Option<String>,
    /// What the person may do.
    scopes: Vec<Scope>,
    /// The origins of the pages that may use it; any if there are none.
    origins: Vec<String>,
    /// When the code was exchanged; null if it was not.
    opened_at: Option<Timestamp>,
    /// When it ends.
    ends_at: Timestamp,
    /// Who created it: `operator`, or the id of an API key.
    created_by: String,
    created_at: Timestamp,
}

impl From<&PortalSession> for PortalSessionView {
    fn from(session: &PortalSession) -> Self {
        Self {
            id: session.id,
            tenant_id: session.tenant.clone(),
            user_id: session.user_id.clone(),
            scopes: session.scopes.clone(),
            origins: session.origins.clone(),
            opened_at: session.opened_at,
            ends_at: session.ends_at,
            created_by: session.created_by.clone(),
            created_at: session.created_at,
        }
    }
}

/// A new portal session, with its code.
#[derive(Serialize, JsonSchema)]
pub(crate) struct CreatedPortalSession {
    #[serde(flatten)]
    view: PortalSessionView,
    /// What the page exchanges for a token. It works once. Pass it in the fragment of the page's URL, which browsers do not
    /// send.
    code: Secret,
    /// Until when the code works.
    code_expires_at: Timestamp,
}

/// A code of a portal session.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExchangePortalCode {
    /// The code.
    code: Secret,
}

/// A token of a portal session.
#[derive(Serialize, JsonSchema)]
pub(crate) struct PortalTokenView {
    /// What the page sends in `Authorization`, as a key.
    token: Secret,
    /// Until when it works. Renew it before.
    expires_at: Timestamp,
    session: PortalSessionView,
}

/// Checks what a session may do.
fn scopes(call: &Call, body: &CreatePortalSession) -> Result<Vec<Scope>, Problem> {
    let mut scopes = match (&body.scopes, body.role) {
        (Some(_), Some(_)) => {
            let detail = "must be left out beside a role";
            return Err(Problem::field(Kind::InvalidField, "/scopes", detail));
        }
        (Some(scopes), None) if scopes.is_empty() => {
            return Err(Problem::field(Kind::InvalidField, "/scopes", "must have at least one scope"));
        }
        (Some(scopes), None) => {
            if let Some(index) = scopes.iter().position(|scope| !may_have(*scope)) {
                let detail = "must be another one: no browser may have this scope";
                return Err(Problem::field(Kind::InvalidField, format!("/scopes/{index}"), detail));
            }
            scopes.clone()
        }
        (None, role) => {
            role.unwrap_or(Role::Viewer).scopes().into_iter().filter(|scope| may_have(*scope)).collect()
        }
    };
    scopes.sort_unstable();
    scopes.dedup();
    for scope in &scopes {
        if !call.caller()?.may(*scope) {
            let field = if body.scopes.is_some() { "/scopes" } else { "/role" };
            let detail = format!("{scope} is not a scope of this API key");
            return Err(Problem::field(Kind::Forbidden, field, detail));
        }
    }
    Ok(scopes)
}

pub(crate) async fn create(
    api: Arc<Api>,
    call: Call,
    body: CreatePortalSession,
) -> Result<CreatedPortalSession, Problem> {
    let scopes = scopes(&call, &body)?;
    if let Some(user_id) = &body.user_id {
        checks::text("/user_id", user_id)?;
    }
    if body.origins.len() > ORIGIN_COUNT_LIMIT {
        let detail = format!("must have at most {ORIGIN_COUNT_LIMIT} origins");
        return Err(Problem::field(Kind::InvalidField, "/origins", detail));
    }
    for (index, origin) in body.origins.iter().enumerate() {
        let is_one =
            !origin.contains(',') && origin.parse().is_ok_and(|origins: Origins| !origins.is_empty());
        if !is_one || origin.trim() != origin {
            let detail = "must be an origin, such as https://crm.example.com, without a path";
            return Err(Problem::field(Kind::InvalidField, format!("/origins/{index}"), detail));
        }
    }
    let secs = body.expires_in.unwrap_or(DEFAULT_SECS);
    within("/expires_in", secs, SHORTEST_SECS..=LONGEST_SECS)?;
    let mut ends_at = Timestamp::from_secs(call.now.secs() + i64::from(secs));
    if let Caller::Key { tenant, id, .. } = call.caller()? {
        let key = api.authenticator.api_keys.get(tenant, *id).await?;
        // It does not outlive the key that it is made with.
        ends_at = key.and_then(|key| key.expires_at).map_or(ends_at, |end| end.min(ends_at));
    }
    let session = PortalSession {
        id: PortalSessionId::new(call.now, clock::random()?),
        tenant: call.tenant()?.clone(),
        user_id: body.user_id,
        scopes,
        origins: body.origins,
        created_at: call.now,
        created_by: call.caller()?.actor(),
        rate: call.caller()?.key_rate(),
        opened_at: None,
        ends_at,
        token_hash: None,
        previous_token_hash: None,
        revision: 0,
    };
    let code = from_random(CODE_PREFIX, &clock::random()?);
    let after = json!({ "user_id": session.user_id, "scopes": session.scopes, "ends_at": session.ends_at });
    call.record(&api, session.id, None, Some(after)).await?;
    api.authenticator.portal_sessions.create(&session, &hash(code.expose())).await?;
    let code_expires_at = Timestamp::from_secs(call.now.secs() + CODE_SECS).min(session.ends_at);
    Ok(CreatedPortalSession { view: (&session).into(), code, code_expires_at })
}

/// The problem of a code that does not work, for whatever reason: what the reason is helps only those who guess.
fn unknown_code() -> Problem {
    Problem::field(
        Kind::InvalidField,
        "/code",
        "is unknown, was used, or has expired; create another session",
    )
}

pub(crate) async fn exchange(
    api: Arc<Api>,
    call: Call,
    body: ExchangePortalCode,
) -> Result<PortalTokenView, Problem> {
    let sessions = &api.authenticator.portal_sessions;
    // Without a call, so that a flood of texts that are no codes costs nothing.
    if !is_well_formed(CODE_PREFIX, body.code.expose()) {
        return Err(unknown_code());
    }
    let taken = sessions.take_code(&hash(body.code.expose()), call.now).await?;
    let (tenant, id) = taken.ok_or_else(unknown_code)?;
    let session = sessions.get(&tenant, id).await?.filter(|session| call.now < session.ends_at);
    let mut session = session.ok_or_else(unknown_code)?;
    if api.tenants.get(&tenant).await?.is_some_and(|tenant| tenant.suspended.is_some()) {
        return Err(Problem::new(Kind::TenantSuspended, "the tenant is suspended"));
    }
    if !session.allows_origin(call.origin.as_deref()) {
        let detail = "is not one of the origins of the portal session";
        return Err(Problem::header(Kind::Forbidden, ORIGIN.as_str(), detail));
    }
    let (scopes, rate) = (session.scopes.clone(), session.rate);
    let caller = Caller::Portal { tenant: tenant.clone(), id, scopes, rate };
    call.record_as(&api, &caller, &tenant, "portal_session.opened", id).await?;
    session.opened_at = Some(call.now);
    new_token(&api, &call, session).await
}

/// Gives the session of the caller another token, in place of the one that it has sent.
pub(crate) async fn renew(api: Arc<Api>, call: Call, _: Nothing) -> Result<PortalTokenView, Problem> {
    let Caller::Portal { tenant, id, .. } = call.caller()? else {
        return Err(Problem::new(Kind::Forbidden, "requires the token of a portal session"));
    };
    let session = api.authenticator.portal_sessions.get(tenant, *id).await?;
    let session = session.filter(|session| call.now < session.ends_at);
    let ended = || {
        let detail = "the portal session has ended; create another one";
        Problem::header(Kind::Unauthorized, "Authorization", detail)
    };
    new_token(&api, &call, session.ok_or_else(ended)?).await
}

async fn new_token(api: &Api, call: &Call, mut session: PortalSession) -> Result<PortalTokenView, Problem> {
    let token = from_random(TOKEN_PREFIX, &clock::random()?);
    let expires_at = session.token_end(call.now);
    let sessions = &api.authenticator.portal_sessions;
    if sessions.set_token(&mut session, &hash(token.expose()), expires_at, call.now).await? {
        return Ok(PortalTokenView { token, expires_at, session: (&session).into() });
    }
    Err(Problem::new(Kind::Conflict, "another request renewed or revoked the session at the same time"))
}

pub(crate) async fn list(api: Arc<Api>, call: Call) -> Result<Page<PortalSessionView>, Problem> {
    let (limit, before) = (call.limit()?, call.before::<PortalSessionId>()?);
    let sessions = api.authenticator.portal_sessions.list(call.tenant()?, before, limit + 1).await?;
    let data = sessions.iter().map(PortalSessionView::from).collect();
    Ok(Page::cut(data, limit, |last: &PortalSessionView| last.id.to_string())?)
}

pub(crate) async fn revoke(api: Arc<Api>, call: Call) -> Result<(), Problem> {
    let id: PortalSessionId = call.id("portal_session_id", "portal session")?;
    let sessions = &api.authenticator.portal_sessions;
    let unknown = || Problem::not_found("portal session");
    let session = sessions.get(call.tenant()?, id).await?.ok_or_else(unknown)?;
    call.record(&api, id, Some(json!({ "user_id": session.user_id })), None).await?;
    Ok(end(&api, session).await?)
}

/// Ends a session, whatever its page does meanwhile.
async fn end(api: &Api, session: PortalSession) -> Result<(), Fault> {
    let sessions = &api.authenticator.portal_sessions;
    let mut found = Some(session);
    for _ in 0..REVOKE_TRIES {
        match found {
            Some(session) if !sessions.revoke(&session).await? => {
                found = sessions.get(&session.tenant, session.id).await?;
            }
            _ => return Ok(()),
        }
    }
    Err(Fault::new("revoking a portal session", "its page kept renewing it"))
}

/// Ends all sessions of a tenant that this caller has created.
pub(crate) async fn revoke_all_of(api: &Api, tenant: &TenantId, creator: &str) -> Result<(), Fault> {
    let mut before = None;
    loop {
        let sessions = api.authenticator.portal_sessions.list(tenant, before, PAGE).await?;
        before = sessions.last().map(|session| session.id);
        let is_last = sessions.len() < PAGE;
        for session in sessions.into_iter().filter(|session| session.created_by == creator) {
            end(api, session).await?;
        }
        if is_last {
            return Ok(());
        }
    }
}

/// How often a session is ended while its page renews it.
const REVOKE_TRIES: u32 = 10;

/// Sessions in one read.
const PAGE: usize = 100;
