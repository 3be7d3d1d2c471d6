//! The page of a connect session, and the way from there to the provider.

use domain::{
    Secret,
    connection::{
        Idp, IdpName, Status,
        authorize::{AuthorizationRequest, scopes},
        idp::{GrantType, ResponseMode},
        session::{ConnectSession, Flow, Outcome, SessionStatus, hash},
    },
};
use platform::{
    Fault,
    lambda::http::{Request, Response},
    runtime::clock,
    store::registry::idps::FoundIdp,
};

use crate::{
    App,
    cookie::{BrowserId, random_text},
    page::{self, Button, Introduction},
};

/// A session whose link works, and the providers that it offers.
struct OpenSession {
    session: ConnectSession,
    offered: Vec<OfferedIdp>,
}

/// A provider of a session.
struct OfferedIdp {
    name: IdpName,
    found: FoundIdp,
    idp: Idp,
}

/// The session behind a link.
async fn open(app: &App, link: &str) -> Result<Result<OpenSession, Response>, Fault> {
    let ended = |outcome| Ok(Err(page::outcome(outcome, None)));
    let Some(session) = app.sessions.by_link(&hash(link)).await? else { return ended(Outcome::SessionEnded) };
    if !session.is_usable(clock::now()) {
        let outcome = match session.status {
            SessionStatus::Connected => Outcome::Connected,
            _ => Outcome::SessionEnded,
        };
        return ended(outcome);
    }
    let tenant = app.tenants.get(&session.tenant_id).await?;
    if tenant.is_some_and(|tenant| tenant.suspended.is_some()) {
        return ended(Outcome::SessionEnded);
    }
    let mut offered = Vec::new();
    for name in session.offered() {
        let found = app.keeper.idps().find(&session.tenant_id, name).await?;
        let row = found.and_then(|found| found.config.idp().map(|idp| (found, idp)));
        // The row may have changed since: a person has nothing to consent to there.
        let row = row.filter(|(_, idp)| idp.grant == GrantType::AuthorizationCode);
        offered.extend(row.map(|(found, idp)| OfferedIdp { name: name.clone(), found, idp }));
    }
    // They may have been removed since.
    if offered.is_empty() { ended(Outcome::SessionEnded) } else { Ok(Ok(OpenSession { session, offered })) }
}

/// Shows whom and what the link is for. It changes nothing, so that a mail scanner may follow it.
pub(crate) async fn show(app: &App, request: &Request, link: &str) -> Result<Response, Fault> {
    let OpenSession { session, offered } = match open(app, link).await? {
        Ok(opened) => opened,
        Err(response) => return Ok(response),
    };
    // One for each way in which these providers respond.
    let mut browsers: Vec<(ResponseMode, BrowserId)> = Vec::new();
    for OfferedIdp { idp, .. } in &offered {
        if browsers.iter().all(|(mode, _)| *mode != idp.response_mode) {
            browsers.push((idp.response_mode, BrowserId::of_or_new(request, idp.response_mode)?));
        }
    }
    let tenant = app.tenants.get(&session.tenant_id).await?;
    let tenant = tenant.map_or_else(|| session.tenant_id.to_string(), |tenant| tenant.name.clone());
    let button = |one: &OfferedIdp| {
        let browser = browsers.iter().find(|(mode, _)| *mode == one.idp.response_mode);
        Button {
            title: one.idp.title.clone().into_owned(),
            name: session.is_choice().then(|| one.name.to_string()),
            proof: browser.map(|(_, browser)| browser.proof(link)).unwrap_or_default(),
        }
    };
    let buttons: Vec<_> = offered.iter().map(button).collect();
    let mut response =
        page::introduction(&Introduction { tenant: &tenant, user_id: &session.user_id, buttons: &buttons });
    for (mode, browser) in &browsers {
        browser.set(*mode, &mut response);
    }
    Ok(response)
}

/// Sends the browser to the provider.
pub(crate) async fn begin(app: &App, request: &Request, link: &str) -> Result<Response, Fault> {
    let OpenSession { session, offered } = match open(app, link).await? {
        Ok(opened) => opened,
        Err(response) => return Ok(response),
    };
    let field = |wanted: &str| {
        let found = url::form_urlencoded::parse(&request.body).find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.into_owned()).unwrap_or_default()
    };
    let (proof, chosen) = (field("proof"), field("idp"));
    let is_chosen = |one: &OfferedIdp| !session.is_choice() || one.name.as_str() == chosen;
    let Some(OfferedIdp { name, found, idp }) = offered.into_iter().find(is_chosen) else {
        return Ok(page::outcome(Outcome::SessionEnded, None));
    };
    let address = format!("{}/oauth/connect/{link}", app.base_url(request));
    // Another site can post this form, but knows nothing of the browser's cookie.
    let browser = BrowserId::of(request, idp.response_mode).filter(|browser| browser.proves(link, &proof));
    let Some(browser) = browser else { return Ok(page::outcome(Outcome::WrongBrowser, Some(&address))) };
    let now = clock::now();
    let Some(credential) = found.config.newest(now) else {
        tracing::warn!(tenant = %session.tenant_id, idp = %name, "identity provider has no usable credentials");
        return Ok(page::outcome(Outcome::IdpUnavailable, Some(&address)));
    };
    let target = match session.reconnects {
        Some(id) => app.keeper.connections().get(&session.tenant_id, id).await?,
        None => None,
    };
    let held = target.as_ref().map(|stored| &stored.connection);
    let granted = held.map(|connection| connection.scopes.as_slice()).unwrap_or_default();
    let mut wanted = session.scopes.clone();
    wanted.extend(session.required_scopes.iter().filter(|scope| !session.scopes.contains(scope)).cloned());
    let scopes = scopes(&idp, &wanted, granted);
    let (state, nonce, verifier) = (random_text()?, random_text()?, Secret::new(random_text()?));
    let redirect_uri = format!("{}{}", app.base_url(request), found.config.redirect_path());
    let vault = app.keeper.vault();
    let (tenant, id) = (&session.tenant_id, session.id);
    let flow = Flow {
        tenant_id: tenant.clone(),
        session_id: id,
        link: vault.seal_of_flow(tenant, id, "link", &Secret::new(address.clone())).await?,
        idp: name,
        operator_idp: found.is_operators,
        credential_id: credential.id,
        redirect_uri: redirect_uri.clone(),
        browser: browser.hash(),
        nonce: nonce.clone(),
        verifier: vault.seal_of_flow(tenant, id, "verifier", &verifier).await?,
        scopes: scopes.clone(),
        created_at: now,
    };
    app.flows.create(&hash(&state), &flow).await?;
    let started = |session: &mut ConnectSession| {
        let can_start = session.is_usable(now);
        if can_start {
            session.status = SessionStatus::Started;
        }
        can_start
    };
    app.sessions.change(tenant, id, started).await?;
    let holds = held.is_some_and(|held| held.refreshable && held.status != Status::Reauthorize);
    let authorization = AuthorizationRequest {
        idp: &idp,
        client_id: &credential.client_id,
        redirect_uri: &redirect_uri,
        scopes: &scopes,
        state: &state,
        nonce: &nonce,
        verifier: verifier.expose(),
        login_hint: session.login_hint.as_deref(),
        holds_refresh_token: holds,
    };
    let malformed = || Fault::new("sending a browser to a provider", "its address is malformed");
    let url = authorization.url().ok_or_else(malformed)?;
    let mut response = page::redirect(&url).ok_or_else(malformed)?;
    browser.set(idp.response_mode, &mut response);
    Ok(response)
}
