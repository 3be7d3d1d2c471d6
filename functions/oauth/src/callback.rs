//! The way back from a provider.

use std::time::Duration;

use domain::connection::{
    Idp,
    callback::AuthorizationResponse,
    idp::ResponseMode,
    session::{ConnectSession, Outcome, hash},
};
use http::Method;
use platform::{
    Fault,
    lambda::http::{Request, Response},
    runtime::clock,
    store::connect::flows::FoundFlow,
};
use subtle::ConstantTimeEq;

use crate::{App, cookie::BrowserId, exchange, page};

/// How long a second request of the same response waits for what the first one comes to.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long after it was taken a flow without an outcome has none: longer than a function runs.
const STOPPED: Duration = Duration::from_mins(1);

/// How often it looks meanwhile.
const POLL: Duration = Duration::from_millis(250);

/// Reads an authorization response, and makes a connection of it. A response that arrives twice leads to one outcome.
pub(crate) async fn finish(app: &App, request: &Request) -> Result<Response, Fault> {
    let parameters = match request.method {
        Method::POST => url::form_urlencoded::parse(&request.body).into_owned().collect(),
        _ => request.query.clone(),
    };
    let Ok(response) = AuthorizationResponse::read(&parameters) else {
        return Ok(page::outcome(Outcome::StateUnknown, None));
    };
    let state = hash(&response.state);
    // The address is that of the provider that was asked, so that another one's code is not sent to it.
    let path = request.path.trim_end_matches('/');
    let found =
        app.flows.get(&state).await?.filter(|found| path_of(&found.flow.redirect_uri).ends_with(path));
    let Some(found) = found else { return Ok(page::outcome(Outcome::StateUnknown, None)) };
    let session = app.sessions.get(&found.flow.tenant_id, found.flow.session_id).await?;
    let Some(session) = session else { return Ok(page::outcome(Outcome::StateExpired, None)) };
    if let Some(outcome) = found.outcome {
        return respond(app, &found, &session, outcome).await;
    }
    let now = clock::now();
    if found.taken_at.is_some_and(|at| now.since(at) > STOPPED) {
        // The request that took it has stopped halfway. Its code is used up.
        return respond(app, &found, &session, Outcome::InternalError).await;
    }
    if found.taken_at.is_none() && !session.is_usable(now) {
        return respond(app, &found, &session, Outcome::SessionEnded).await;
    }
    if found.has_expired(now) {
        return respond(app, &found, &session, Outcome::StateExpired).await;
    }
    let tenant = app.tenants.get(&found.flow.tenant_id).await?;
    if tenant.is_some_and(|tenant| tenant.suspended.is_some()) {
        return respond(app, &found, &session, Outcome::SessionEnded).await;
    }
    let Some(idp) = exchange::row(app, &found.flow).await? else {
        return respond(app, &found, &session, Outcome::SessionEnded).await;
    };
    if !is_same_browser(request, &idp, &found) {
        // The code is not redeemed: it may be another person's.
        return show(app, &found, Outcome::WrongBrowser).await;
    }
    if !app.flows.take(&state, now).await? {
        let outcome = wait(app, &state).await?;
        return respond(app, &found, &session, outcome).await;
    }
    let exchanged = Box::pin(exchange::connect(app, &idp, &found.flow, &session, response, now)).await;
    let (outcome, connection) = exchanged.unwrap_or_else(|fault| {
        tracing::error!(%fault, session_id = %session.id, "could not connect an account");
        (Outcome::InternalError, None)
    });
    tracing::info!(session_id = %session.id, idp = %found.flow.idp, outcome = outcome.as_str(), "flow finished");
    let finished = |session: &mut ConnectSession| {
        // What has succeeded is not undone by another tab.
        let is_open = session.outcome != Some(Outcome::Connected);
        if is_open {
            session.status = outcome.status();
            session.outcome = Some(outcome);
            session.connection_id = connection.or(session.connection_id);
            session.idp = Some(found.flow.idp.clone());
        }
        is_open
    };
    // The session first: a second callback reads the flow's outcome, and no more.
    app.sessions.change(&session.tenant_id, session.id, finished).await?;
    app.flows.finish(&state, outcome).await?;
    respond(app, &found, &session, outcome).await
}

/// The path of a URL.
fn path_of(url: &str) -> String {
    url::Url::parse(url).map(|url| url.path().to_owned()).unwrap_or_default()
}

/// Whether the browser is the one that began the flow.
fn is_same_browser(request: &Request, idp: &Idp, found: &FoundFlow) -> bool {
    let mode = match request.method {
        Method::POST => ResponseMode::FormPost,
        _ => idp.response_mode,
    };
    let matches =
        |browser: BrowserId| bool::from(browser.hash().as_bytes().ct_eq(found.flow.browser.as_bytes()));
    BrowserId::of(request, mode).is_some_and(matches)
}

/// What the request that took the flow comes to.
async fn wait(app: &App, state: &str) -> Result<Outcome, Fault> {
    let began = tokio::time::Instant::now();
    while began.elapsed() < PATIENCE {
        if let Some(outcome) = app.flows.get(state).await?.and_then(|found| found.outcome) {
            return Ok(outcome);
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(Outcome::StateUsed)
}

/// Sends the browser back to the CRM, so that the code leaves its address bar, or shows the outcome.
async fn respond(
    app: &App,
    found: &FoundFlow,
    session: &ConnectSession,
    outcome: Outcome,
) -> Result<Response, Fault> {
    if outcome != Outcome::StateUsed
        && let Some(response) = session.return_to(outcome).as_deref().and_then(page::redirect)
    {
        return Ok(response);
    }
    show(app, found, outcome).await
}

async fn show(app: &App, found: &FoundFlow, outcome: Outcome) -> Result<Response, Fault> {
    let flow = &found.flow;
    let link = app.keeper.vault().open_of_flow(&flow.tenant_id, flow.session_id, "link", &flow.link).await?;
    Ok(page::outcome(outcome, Some(link.expose())))
}
