//! Connect sessions: links that lead one person through a provider's consent.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use domain::{
    ConnectSessionId, ConnectionId, CredentialId, Timestamp,
    connection::{
        Idp, IdpName, Status,
        idp::GrantType,
        session::{CHOICE_COUNT_LIMIT, ConnectSession, Outcome, SESSION_SECS, SessionStatus, hash},
    },
};
use platform::{
    lambda::problem::{Kind, Problem},
    runtime::clock,
    store::registry::idps::FoundIdp,
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::{
    checks::{self, invalid},
    find as find_connection, idps,
    requests::{ConfirmConnectSession, CreateConnectSession, Reconnect},
    views::ConnectionView,
};
use crate::{http::call::Call, state::Api};

/// A connect session that was created, with its link.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ConnectLinkView {
    id: ConnectSessionId,
    /// The link for the person's browser. It is shown only here; anyone who has it can connect an account of theirs.
    url: String,
    /// Until when the link works: for 30 minutes, or until an account is connected.
    expires_at: Timestamp,
}

/// A connect session.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ConnectSessionView {
    id: ConnectSessionId,
    status: SessionStatus,
    /// What the last visit at the provider led to; null before the first one.
    outcome: Option<Outcome>,
    /// The connection that it led to; null while there is none.
    connection_id: Option<ConnectionId>,
    /// Your own id of the person.
    user_id: String,
    /// The provider; null while the person has not chosen one.
    idp: Option<IdpName>,
    /// The providers among which the person chooses; empty where you have named one.
    idps: Vec<IdpName>,
    /// Until when its link works.
    expires_at: Timestamp,
}

/// What a session asks for, checked as far as possible without its provider.
struct Ask {
    scopes: Vec<String>,
    required_scopes: Vec<String>,
    return_url: Option<String>,
    login_hint: Option<String>,
}

impl Ask {
    async fn checked(self, api: &Api, call: &Call) -> Result<Self, Problem> {
        checks::scopes("/scopes", &self.scopes)?;
        checks::scopes("/required_scopes", &self.required_scopes)?;
        checks::optional_text("/login_hint", self.login_hint.as_ref())?;
        let return_url = match &self.return_url {
            None => None,
            Some(text) => {
                let settings = api.keeper.idps().settings(call.tenant()?).await?;
                Some(checks::return_url(text, &settings.return_urls, &api.egress_allow)?)
            }
        };
        Ok(Self { return_url, ..self })
    }

    fn into_session(self, session: ConnectSession) -> ConnectSession {
        let Self { scopes, required_scopes, return_url, login_hint } = self;
        ConnectSession { scopes, required_scopes, return_url, login_hint, ..session }
    }
}

/// A provider that a tenant can use now, with its row and the credentials for a new grant.
pub(super) async fn usable_idp(
    api: &Api,
    call: &Call,
    name: &IdpName,
) -> Result<(FoundIdp, Idp, CredentialId), Problem> {
    usable_idp_at("/idp", api, call, name).await
}

/// The same, for a field at this pointer.
async fn usable_idp_at(
    pointer: &str,
    api: &Api,
    call: &Call,
    name: &IdpName,
) -> Result<(FoundIdp, Idp, CredentialId), Problem> {
    let unset = |why: &str| invalid(pointer, format!("is not set up: {why}"));
    let found = api.keeper.idps().find(call.tenant()?, name).await?;
    let found = found.ok_or_else(|| unset("there is no identity provider with this name"))?;
    let idp = found.config.idp().ok_or_else(|| unset("its preset no longer exists, and it has no row"))?;
    let credential = found.config.newest(call.now).map(|credential| credential.id);
    let credential = credential.ok_or_else(|| unset("it has no client credentials that can be used now"))?;
    Ok((found, idp, credential))
}

/// Refuses a provider that a tenant cannot use now, and one that gives tokens for the client's own credentials: there is
/// nothing to consent to.
async fn check_consent(pointer: &str, api: &Api, call: &Call, name: &IdpName) -> Result<(), Problem> {
    match usable_idp_at(pointer, api, call, name).await?.1.grant {
        GrantType::AuthorizationCode => Ok(()),
        GrantType::ClientCredentials => Err(invalid(
            pointer,
            "gives tokens for the client's own credentials: import a connection by POST /v1/connections",
        )),
    }
}

/// Stores a session, and makes its link.
async fn open(api: &Api, call: &Call, session: ConnectSession) -> Result<ConnectLinkView, Problem> {
    let link = BASE64_URL_SAFE_NO_PAD.encode(clock::random::<32>()?);
    let after = json!({
        "idp": session.idp,
        "idps": session.idps,
        "user_id": session.user_id,
        "scopes": session.scopes,
        "required_scopes": session.required_scopes,
        "return_url": session.return_url,
        "reconnects": session.reconnects,
        "confirm": session.confirm,
        "share": session.share,
    });
    call.record(api, session.id, None, Some(after)).await?;
    api.connect_sessions.create(&session, &hash(&link)).await?;
    Ok(ConnectLinkView {
        id: session.id,
        url: format!("{}/oauth/connect/{link}", call.base_url),
        expires_at: session.expires_at,
    })
}

pub(crate) async fn create(
    api: Arc<Api>,
    call: Call,
    body: CreateConnectSession,
) -> Result<ConnectLinkView, Problem> {
    let CreateConnectSession {
        user_id,
        idp,
        idps,
        scopes,
        required_scopes,
        return_url,
        login_hint,
        metadata,
        confirm,
        share,
    } = body;
    checks::text("/user_id", &user_id)?;
    checks::metadata(&metadata)?;
    let ask = Ask { scopes, required_scopes, return_url, login_hint }.checked(&api, &call).await?;
    let (idp, idps) = match (idp, idps) {
        (Some(idp), None) => {
            check_consent("/idp", &api, &call, &idp).await?;
            (Some(idp), vec![])
        }
        (None, idps) => (None, choice(&api, &call, idps).await?),
        (Some(_), Some(_)) => return Err(invalid("/idps", "must not be there beside idp")),
    };
    if idp.is_none() {
        let why = "must be empty where the person chooses, since each provider has scopes of its own";
        for (pointer, scopes) in [("/scopes", &ask.scopes), ("/required_scopes", &ask.required_scopes)] {
            if !scopes.is_empty() {
                return Err(invalid(pointer, why));
            }
        }
    }
    let blank = blank(&call, idp, user_id)?;
    open(&api, &call, ask.into_session(ConnectSession { idps, metadata, confirm, share, ..blank })).await
}

/// The providers among which a person chooses: those that are named, or else all that the tenant can use now.
async fn choice(api: &Api, call: &Call, named: Option<Vec<IdpName>>) -> Result<Vec<IdpName>, Problem> {
    if let Some(named) = named {
        if named.is_empty() || named.len() > CHOICE_COUNT_LIMIT {
            let why = format!("must have 1 to {CHOICE_COUNT_LIMIT} identity providers");
            return Err(invalid("/idps", why));
        }
        for (index, name) in named.iter().enumerate() {
            if named[..index].contains(name) {
                return Err(invalid(&format!("/idps/{index}"), "must not be there twice"));
            }
            check_consent(&format!("/idps/{index}"), api, call, name).await?;
        }
        return Ok(named);
    }
    let usable = idps::usable(api, call).await?;
    match usable.len() {
        0 => Err(invalid("/idp", "is required: no identity provider with credentials is set up")),
        1..=CHOICE_COUNT_LIMIT => Ok(usable),
        _ => Err(invalid("/idps", format!("is required: more than {CHOICE_COUNT_LIMIT} are set up"))),
    }
}

/// A session without what is asked for.
fn blank(call: &Call, idp: Option<IdpName>, user_id: String) -> Result<ConnectSession, Problem> {
    Ok(ConnectSession {
        id: ConnectSessionId::new(call.now, clock::random()?),
        tenant_id: call.tenant()?.clone(),
        idp,
        idps: vec![],
        user_id,
        scopes: vec![],
        required_scopes: vec![],
        return_url: None,
        login_hint: None,
        reconnects: None,
        metadata: BTreeMap::new(),
        confirm: false,
        share: false,
        status: SessionStatus::Open,
        outcome: None,
        connection_id: None,
        created_at: call.now,
        expires_at: call.now + Duration::from_secs(SESSION_SECS.unsigned_abs()),
    })
}

/// A session that grants a connection again. The connection keeps its id, person and values.
pub(crate) async fn reconnect(
    api: Arc<Api>,
    call: Call,
    body: Reconnect,
) -> Result<ConnectLinkView, Problem> {
    let Reconnect { scopes, required_scopes, return_url, login_hint } = body;
    let connection = find_connection(&api, &call).await?.connection;
    if connection.status == Status::Revoked {
        let detail = "the connection was ended; create a connect session without it";
        return Err(Problem::new(Kind::ConnectionRevoked, detail));
    }
    let ask = Ask { scopes, required_scopes, return_url, login_hint }.checked(&api, &call).await?;
    check_consent("/idp", &api, &call, &connection.idp).await.map_err(without_field)?;
    // What was asked for before, granted or not, is asked for again.
    let mut scopes = connection.requested_scopes.clone();
    scopes.extend(ask.scopes.iter().filter(|scope| !connection.requested_scopes.contains(scope)).cloned());
    let login_hint = ask.login_hint.clone().or_else(|| connection.account.email.clone());
    let ask = Ask { scopes, login_hint, ..ask };
    let blank = blank(&call, Some(connection.idp.clone()), connection.user_id.clone())?;
    open(&api, &call, ask.into_session(ConnectSession { reconnects: Some(connection.id), ..blank })).await
}

/// The body of a reconnection names no provider.
fn without_field(problem: Problem) -> Problem {
    if problem.kind != Kind::InvalidField {
        return problem;
    }
    Problem::new(Kind::Conflict, format!("the identity provider of the connection: {}", problem.detail))
}

/// The session of the path.
async fn find(api: &Api, call: &Call) -> Result<ConnectSession, Problem> {
    let id: ConnectSessionId = call.id("session_id", "connect session")?;
    let found = api.connect_sessions.get(call.tenant()?, id).await?;
    found.ok_or_else(|| Problem::not_found("connect session"))
}

pub(crate) async fn get(api: Arc<Api>, call: Call) -> Result<ConnectSessionView, Problem> {
    let session = find(&api, &call).await?;
    Ok(ConnectSessionView {
        id: session.id,
        status: session.status_at(call.now),
        outcome: session.outcome,
        connection_id: session.connection_id,
        user_id: session.user_id,
        idp: session.idp,
        idps: session.idps,
        expires_at: session.expires_at,
    })
}

/// Confirms who connected. A confirmation can be repeated.
pub(crate) async fn confirm(
    api: Arc<Api>,
    call: Call,
    body: ConfirmConnectSession,
) -> Result<ConnectionView, Problem> {
    let session = find(&api, &call).await?;
    if body.user_id != session.user_id {
        let why = "is not the person of this session; another person has opened its link";
        return Err(invalid("/user_id", why));
    }
    let Some(id) = session.connection_id else {
        let detail = "no account is connected by this session yet";
        return Err(Problem::new(Kind::ConnectionPending, detail));
    };
    let gone = || Problem::not_found("connection");
    let tenant = call.tenant()?;
    let connection = api.keeper.connections().get(tenant, id).await?.ok_or_else(gone)?.connection;
    match connection.status {
        Status::Pending => {}
        Status::Revoked => {
            let detail = "the connection was ended; the person can connect again by a new connect session";
            return Err(Problem::new(Kind::ConnectionRevoked, detail));
        }
        Status::Active | Status::Failing | Status::Reauthorize => {
            call.unchanged();
            return Ok((&connection).into());
        }
    }
    let states = [Status::Pending, Status::Active].map(|status| Some(json!({ "status": status })));
    let [before, after] = states;
    call.record(&api, id, before, after).await?;
    let confirmed = api.keeper.confirm(tenant, id, call.now).await?.ok_or_else(gone)?;
    Ok((&confirmed).into())
}
