//! The end of a grant at its provider.

use domain::{
    Secret, Timestamp,
    connection::{
        Idp,
        idp::{ClientAuth, Revocation, RevokeForm, RevokedToken},
    },
};
use http::{
    Method, Request,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::{Providers, authorization, client::Client, proof::ClientProof};
use crate::webhook::egress::TOKEN_TIMEOUT;

/// Codes by which providers say that a token is not valid any more: Google's and Okta's, and Slack's.
const GONE_CODES: [&str; 3] = ["invalid_token", "token_revoked", "account_inactive"];

/// What a revocation led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevokeOutcome {
    /// The grant has ended, with this status.
    Done(u16),
    /// The provider has no way to end a grant.
    NotSupported,
    /// It may live on: the provider responded with this status, or there is no response, or no token to name.
    Failed(Option<u16>),
}

impl Providers {
    /// Ends a grant, as the row says. Repeating it does no harm.
    ///
    /// A 2xx is success (RFC 7009, section 2.2), unless its body is an error, as Slack's can be. A token that the
    /// provider does not know any more (`invalid_token`, or the 404 of a DELETE) shows that the grant has ended **if it
    /// is the only one or the refresh token**: an access token also ends by its age. `unsupported_token_type` and all
    /// else is a failure.
    pub async fn revoke(
        &self,
        idp: &Idp,
        client: &Client,
        access_token: Option<&Secret>,
        refresh_token: Option<&Secret>,
        now: Timestamp,
    ) -> RevokeOutcome {
        let Some(revocation) = &idp.revocation else { return RevokeOutcome::NotSupported };
        let token = match revocation.token {
            RevokedToken::Refresh => refresh_token.or(access_token),
            RevokedToken::Access => access_token,
        };
        let request = token.and_then(|token| request(idp, revocation, client, token, now));
        let Some(request) = request else { return RevokeOutcome::Failed(None) };
        let is_durable = refresh_token.is_none() || token == refresh_token;
        match self.egress.exchange(request, TOKEN_TIMEOUT).await {
            Ok(response) => outcome(revocation.form, is_durable, response.status().as_u16(), response.body()),
            Err(_) => RevokeOutcome::Failed(None),
        }
    }
}

fn outcome(form: RevokeForm, is_durable: bool, status: u16, body: &[u8]) -> RevokeOutcome {
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    let code = document.get("error").and_then(Value::as_str);
    let is_refused = code.is_some() || document.get("ok") == Some(&Value::Bool(false));
    let is_delete = matches!(form, RevokeForm::DeleteJson | RevokeForm::DeletePath);
    let is_gone = code.is_some_and(|code| GONE_CODES.contains(&code)) || (is_delete && status == 404);
    match status {
        200..=299 if !is_refused => RevokeOutcome::Done(status),
        200..=299 | 400..=499 if is_gone && is_durable => RevokeOutcome::Done(status),
        _ => RevokeOutcome::Failed(Some(status)),
    }
}

/// The request; `None` where it cannot be made.
fn request(
    idp: &Idp,
    revocation: &Revocation,
    client: &Client,
    token: &Secret,
    now: Timestamp,
) -> Option<Request<Vec<u8>>> {
    let auth = match (revocation.auth, revocation.form) {
        (Some(auth), _) => auth,
        (None, RevokeForm::Form) => idp.auth,
        (None, RevokeForm::FormWithoutClient | RevokeForm::Bearer | RevokeForm::DeletePath) => {
            ClientAuth::None
        }
        // GitHub's API decodes nothing: it is no endpoint of RFC 6749.
        (None, RevokeForm::DeleteJson) => ClientAuth::BasicRaw,
    };
    let proof = ClientProof::new(idp, auth, client, now).ok()?;
    let url = revocation.url.replace("{client_id}", &path_part(&client.client_id)?);
    let url = if url.contains("{token}") { url.replace("{token}", &path_part(token.expose())?) } else { url };
    let (method, header, body) = match revocation.form {
        RevokeForm::Form | RevokeForm::FormWithoutClient => {
            let mut form = form_urlencoded::Serializer::new(String::new());
            form.append_pair("token", token.expose());
            if revocation.form == RevokeForm::Form {
                form.extend_pairs(proof.fields(&client.client_id));
            }
            let body = Some(("application/x-www-form-urlencoded", form.finish()));
            (Method::POST, proof.header(&client.client_id), body)
        }
        RevokeForm::Bearer => (Method::POST, Some(authorization("Bearer", token)?), None),
        RevokeForm::DeleteJson => {
            let body = json!({ "access_token": token }).to_string();
            (Method::DELETE, proof.header(&client.client_id), Some(("application/json", body)))
        }
        RevokeForm::DeletePath => (Method::DELETE, proof.header(&client.client_id), None),
    };
    let mut request = Request::builder().method(method).uri(url);
    if let Some(header) = header {
        request = request.header(AUTHORIZATION, header);
    }
    if let Some((media_type, _)) = &body {
        request = request.header(CONTENT_TYPE, *media_type);
    }
    request.body(body.map(|(_, text)| text.into_bytes()).unwrap_or_default()).ok()
}

/// A text as one part of a path (RFC 3986, section 3.3); `None` where it would lead to another one: `.` and `..` do,
/// encoded or not.
fn path_part(text: &str) -> Option<String> {
    // In a form a space is a plus, and a plus is encoded.
    let encoded: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
    (!matches!(text, "" | "." | "..")).then(|| encoded.replace('+', "%20"))
}
