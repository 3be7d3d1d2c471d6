//! Connections of tokens that were granted elsewhere to the same client.

use std::{sync::Arc, time::Duration};

use domain::{
    Secret,
    connection::{account::Account, authorize, idp::GrantType, token::Grant},
};
use platform::{
    connection::keeper::{NewGrant, TokenRequest},
    lambda::problem::Problem,
};
use serde_json::{Map, json};

use super::{
    checks::{self, invalid},
    problems::not_connected,
    requests::{ImportConnection, ImportedAccount},
    sessions::usable_idp,
    views::ConnectionView,
};
use crate::{
    http::{body::within, call::Call},
    state::Api,
};

/// The longest token, in bytes.
const TOKEN_LIMIT: usize = 16 * 1024;
/// The longest lifetime, in seconds: ten years.
const LONGEST_LIFETIME_SECS: u32 = 315_360_000;

/// What a body must be like, whatever the provider is.
fn check(body: &ImportConnection) -> Result<(), Problem> {
    checks::text("/user_id", &body.user_id)?;
    checks::optional_text("/label", body.label.as_ref())?;
    checks::metadata(&body.metadata)?;
    checks::scopes("/scopes", &body.scopes)?;
    let ImportedAccount { sub, email, name } = &body.account;
    checks::text("/account/sub", sub)?;
    checks::optional_text("/account/email", email.as_ref())?;
    checks::optional_text("/account/name", name.as_ref())?;
    token("/refresh_token", body.refresh_token.as_ref())?;
    token("/access_token", body.access_token.as_ref())?;
    if let Some(secs) = body.expires_in {
        within("/expires_in", secs, 1..=LONGEST_LIFETIME_SECS)?;
        if body.access_token.is_none() {
            return Err(invalid("/expires_in", "must be left out without an access_token"));
        }
    }
    Ok(())
}

/// What holds a connection: its tokens, or the credentials of its client.
fn check_tokens(body: &ImportConnection, grant: GrantType) -> Result<(), Problem> {
    let tokens = [("/refresh_token", &body.refresh_token), ("/access_token", &body.access_token)];
    let given = tokens.iter().find(|(_, token)| token.is_some()).map(|(pointer, _)| *pointer);
    match (grant, given) {
        (GrantType::AuthorizationCode, None) => {
            Err(invalid("", "must have a refresh_token, an access_token or both"))
        }
        (GrantType::ClientCredentials, Some(pointer)) => Err(invalid(
            pointer,
            "must be left out: this provider gives tokens for the client's own credentials",
        )),
        _ => Ok(()),
    }
}

fn token(pointer: &str, token: Option<&Secret>) -> Result<(), Problem> {
    let is_token = |token: &Secret| {
        let text = token.expose();
        (1..=TOKEN_LIMIT).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if token.is_none_or(is_token) {
        return Ok(());
    }
    Err(invalid(pointer, format!("must be 1 to {TOKEN_LIMIT} visible ASCII characters without spaces")))
}

pub(crate) async fn import(
    api: Arc<Api>,
    call: Call,
    body: ImportConnection,
) -> Result<ConnectionView, Problem> {
    check(&body)?;
    let (found, idp, credential_id) = usable_idp(&api, &call, &body.idp).await?;
    check_tokens(&body, idp.grant)?;
    let tenant = call.tenant()?;
    if idp.grant == GrantType::ClientCredentials && found.is_operators && !tenant.is_operator() {
        let why = "gives tokens for the operator's own account; set it up with credentials of your own";
        return Err(invalid("/idp", why));
    }
    // What is said to be granted is all that was asked for.
    let requested_scopes = match body.scopes.as_slice() {
        [] => authorize::scopes(&idp, &[], &[]),
        scopes => scopes.to_vec(),
    };
    let after = json!({
        "idp": body.idp,
        "user_id": body.user_id,
        "scopes": requested_scopes,
        "with_refresh_token": body.refresh_token.is_some(),
    });
    // The connection has no id yet.
    call.record(&api, &body.idp, None, Some(after)).await?;
    let lifetime = match (&body.access_token, body.expires_in.or(idp.lifetime_secs)) {
        // None is held, so it has expired.
        (None, _) => Some(Duration::ZERO),
        (Some(_), secs) => secs.map(|secs| Duration::from_secs(secs.into())),
    };
    let is_held = body.access_token.is_some();
    let grant = Grant {
        access_token: body.access_token.unwrap_or_else(|| Secret::new(String::new())),
        token_type: "Bearer".to_owned(),
        expires_in: lifetime,
        refresh_token: match idp.grant {
            GrantType::AuthorizationCode => body.refresh_token,
            // It keeps the place of one: what is used instead are the credentials.
            GrantType::ClientCredentials => Some(Secret::new(GrantType::ClientCredentials.to_string())),
        },
        refresh_expires_in: None,
        scopes: Some(body.scopes).filter(|scopes| !scopes.is_empty()),
        id_token: None,
        extra: Map::new(),
        account: None,
    };
    let ImportedAccount { sub, email, name } = body.account;
    let new = NewGrant {
        tenant: tenant.clone(),
        idp: body.idp,
        operator_idp: found.is_operators,
        credential_id,
        user_id: body.user_id,
        limit: call.limits.connections,
        reconnects: None,
        share: false,
        confirm: false,
        requested_scopes,
        metadata: body.metadata,
        label: body.label,
        refresh: None,
        account: Account { sub, email, name, ..Account::default() },
        grant,
    };
    let connection = api.keeper.connect(new, call.now).await.map_err(not_connected)?;
    if is_held {
        return Ok((&connection).into());
    }
    // What the provider says is then the connection's status. A failure of ours is repeated when the connection is due.
    drop(Box::pin(api.keeper.token(tenant, connection.id, &TokenRequest::default(), call.now)).await);
    let now = api.keeper.connections().get(tenant, connection.id).await?;
    Ok((&now.map_or(connection, |stored| stored.connection)).into())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn an_import_has_a_token_and_an_account() {
        let long = "t".repeat(TOKEN_LIMIT + 1);
        for (more, pointer) in [
            (json!({ "refresh_token": "rt_1" }), None),
            (json!({ "access_token": "at_1", "expires_in": 3600 }), None),
            (json!({}), Some("")),
            (json!({ "refresh_token": "" }), Some("/refresh_token")),
            (json!({ "refresh_token": "a b" }), Some("/refresh_token")),
            (json!({ "access_token": long }), Some("/access_token")),
            (json!({ "access_token": "at_1", "expires_in": 0 }), Some("/expires_in")),
            (json!({ "refresh_token": "rt_1", "expires_in": 60 }), Some("/expires_in")),
            (json!({ "refresh_token": "rt_1", "user_id": " " }), Some("/user_id")),
            (json!({ "refresh_token": "rt_1", "account": { "sub": "" } }), Some("/account/sub")),
            (
                json!({ "refresh_token": "rt_1", "account": { "sub": "1", "email": "" } }),
                Some("/account/email"),
            ),
            (json!({ "refresh_token": "rt_1", "scopes": ["a", "b c"] }), Some("/scopes/1")),
            (json!({ "refresh_token": "rt_1", "metadata": { "": "" } }), Some("/metadata/")),
        ] {
            let mut body = json!({ "user_id": "u_1", "idp": "google", "account": { "sub": "110" } });
            let fields = body.as_object_mut().unwrap();
            fields.extend(more.as_object().cloned().unwrap_or_default());
            let shown = Value::Object(fields.clone()).to_string();
            let body: ImportConnection = serde_json::from_value(body).unwrap();
            let checked = check(&body).and_then(|()| check_tokens(&body, GrantType::AuthorizationCode));
            let found = checked.err().and_then(|problem| problem.errors[0].pointer.clone());
            assert_eq!(found.as_deref(), pointer, "{shown:.200}");
        }
    }
}
