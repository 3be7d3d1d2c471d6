//! From an authorization code to a connection.

use domain::{
    ConnectionId, Timestamp,
    connection::{
        Connection, Idp, Status,
        account::first_consent_name,
        callback::{AuthorizationError, AuthorizationResponse},
        record::missing_scopes,
        session::{ConnectSession, Flow, Outcome},
        token::{Grant, TokenOutcome},
    },
};
use platform::{
    Fault,
    connection::{
        keeper::{NewGrant, NotConnected},
        measures,
        provider::IdentityError,
    },
};

use crate::App;

/// What a flow came to, and the connection.
type ExchangeResult = (Outcome, Option<ConnectionId>);

/// The row of a flow's provider; nothing where it is no longer set up.
pub(crate) async fn row(app: &App, flow: &Flow) -> Result<Option<Idp>, Fault> {
    let config = app.keeper.idps().of_owner(&flow.tenant_id, flow.operator_idp, &flow.idp).await?;
    Ok(config.and_then(|config| config.idp()))
}

/// Makes a connection of a response that this request has taken.
pub(crate) async fn connect(
    app: &App,
    idp: &Idp,
    flow: &Flow,
    session: &ConnectSession,
    response: AuthorizationResponse,
    now: Timestamp,
) -> Result<ExchangeResult, Fault> {
    if !response.is_from(idp) {
        return Ok((Outcome::WrongIssuer, None));
    }
    let code = match response.result {
        Ok(code) => code,
        Err(error) => return Ok((refusal(&error, idp), None)),
    };
    let config = app.keeper.idps().of_owner(&flow.tenant_id, flow.operator_idp, &flow.idp).await?;
    let Some(config) = config else { return Ok((Outcome::SessionEnded, None)) };
    let client = app.keeper.client(&config, idp, flow.credential_id).await?;
    let vault = app.keeper.vault();
    let verifier = vault.open_of_flow(&flow.tenant_id, flow.session_id, "verifier", &flow.verifier).await?;
    let providers = app.keeper.providers();
    let redeemed = providers.redeem(idp, &client, &code, verifier.expose(), &flow.redirect_uri, now).await;
    let mut grant = match redeemed {
        TokenOutcome::Granted(grant) => *grant,
        refused => return Ok((refused_exchange(&refused, flow, now), None)),
    };
    let identity = match providers.identify(idp, &client.client_id, &grant, &flow.nonce, now).await {
        Ok(identity) => identity,
        Err(error) => {
            tracing::warn!(%error, idp = %flow.idp, "could not identify account");
            return Ok((unidentified(error), None));
        }
    };
    let mut account = identity.account;
    if account.name.is_none() {
        account.name = response.user.as_deref().and_then(first_consent_name);
    }
    grant.extra.extend(identity.extra);
    let held = match session.reconnects {
        Some(id) => app.keeper.connections().get(&flow.tenant_id, id).await?,
        None => None,
    };
    // One that is dead is as good as none.
    let is_held = |held: &Connection| held.refreshable && held.status != Status::Reauthorize;
    let holds = held.is_some_and(|stored| is_held(&stored.connection));
    if let Some(outcome) = lacking(idp, session, flow, &grant, holds) {
        return Ok((outcome, None));
    }
    let tenant = app.tenants.get(&flow.tenant_id).await?;
    let new = NewGrant {
        tenant: flow.tenant_id.clone(),
        idp: flow.idp.clone(),
        operator_idp: flow.operator_idp,
        credential_id: flow.credential_id,
        user_id: session.user_id.clone(),
        limit: tenant.and_then(|tenant| tenant.settings.limits.connections),
        reconnects: session.reconnects,
        share: session.share,
        confirm: session.confirm,
        requested_scopes: flow.scopes.clone(),
        metadata: session.metadata.clone(),
        label: None,
        refresh: None,
        account,
        grant,
    };
    match app.keeper.connect(new, now).await {
        Ok(connection) => Ok((Outcome::Connected, Some(connection.id))),
        Err(NotConnected::Refused(outcome)) => Ok((outcome, None)),
        Err(NotConnected::Fault(fault)) => Err(fault),
    }
}

/// What a grant lacks without which nothing is connected.
fn lacking(idp: &Idp, session: &ConnectSession, flow: &Flow, grant: &Grant, holds: bool) -> Option<Outcome> {
    let has_refresh_token = grant.refresh_token.is_some() || holds;
    let granted = grant.scopes.as_ref().unwrap_or(&flow.scopes);
    if !missing_scopes(&session.required_scopes, granted, has_refresh_token).is_empty() {
        return Some(Outcome::InsufficientScope);
    }
    // Its row asks for lasting access in words of its own, and the consent page was shown.
    (!has_refresh_token && !idp.first_authorize_parameters.is_empty()).then_some(Outcome::NoRefreshToken)
}

fn refusal(error: &AuthorizationError, idp: &Idp) -> Outcome {
    if error.is_denial(idp) {
        return Outcome::Denied;
    }
    tracing::warn!(code = error.code, "the provider refused an authorization request");
    match error.code.as_str() {
        "server_error" | "temporarily_unavailable" => Outcome::IdpUnavailable,
        _ => Outcome::ExchangeFailed,
    }
}

fn refused_exchange(outcome: &TokenOutcome, flow: &Flow, now: Timestamp) -> Outcome {
    let (error, outcome) = match outcome {
        TokenOutcome::ClientRefused(error) => {
            measures::client_refused(now);
            (error, Outcome::ExchangeFailed)
        }
        TokenOutcome::Later { error, .. } => (error, Outcome::IdpUnavailable),
        TokenOutcome::Dead(error) | TokenOutcome::Refused(error) => (error, Outcome::ExchangeFailed),
        TokenOutcome::Granted(_) => return Outcome::Connected,
    };
    tracing::warn!(idp = %flow.idp, code = error.code, status = error.status, "could not redeem code");
    outcome
}

fn unidentified(error: IdentityError) -> Outcome {
    match error {
        IdentityError::WrongNonce => Outcome::WrongNonce,
        IdentityError::NoIdToken | IdentityError::IdToken(_) => Outcome::IdTokenInvalid,
        IdentityError::Unavailable => Outcome::IdpUnavailable,
        IdentityError::Unknown => Outcome::AccountUnknown,
    }
}
