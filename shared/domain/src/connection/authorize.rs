//! The authorization request: the URL at the provider that a browser is sent to.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use url::Url;

use super::idp::{Idp, ResponseMode};

/// An authorization request (RFC 6749, section 4.1.1; RFC 7636; `OpenID` Connect Core, section 3.1.2.1).
#[derive(Debug, Clone, Copy)]
pub struct AuthorizationRequest<'a> {
    /// The provider.
    pub idp: &'a Idp,
    /// Our client there.
    pub client_id: &'a str,
    /// Where the response comes back, as registered there.
    pub redirect_uri: &'a str,
    /// What is asked for.
    pub scopes: &'a [String],
    /// What finds the flow again.
    pub state: &'a str,
    /// What the `id_token` must repeat.
    pub nonce: &'a str,
    /// The verifier of PKCE, of which only the hash is sent.
    pub verifier: &'a str,
    /// Which account is suggested.
    pub login_hint: Option<&'a str>,
    /// Whether a refresh token of this connection is held.
    pub holds_refresh_token: bool,
}

impl AuthorizationRequest<'_> {
    /// The URL; `None` where the row's address is no URL.
    #[must_use]
    pub fn url(&self) -> Option<String> {
        let Self { idp, .. } = self;
        let mut url = Url::parse(&idp.authorize_url).ok()?;
        let mut query = url.query_pairs_mut();
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", self.client_id)
            .append_pair("redirect_uri", self.redirect_uri)
            .append_pair("state", self.state);
        if !self.scopes.is_empty() {
            let separator = idp.scope_separator.character().to_string();
            query.append_pair("scope", &self.scopes.join(&separator));
        }
        if idp.openid.is_some() {
            query.append_pair("nonce", self.nonce);
        }
        if idp.pkce {
            query.append_pair("code_challenge", &challenge(self.verifier));
            query.append_pair("code_challenge_method", "S256");
        }
        if idp.response_mode == ResponseMode::FormPost {
            query.append_pair("response_mode", "form_post");
        }
        if let Some(hint) = self.login_hint {
            query.append_pair("login_hint", hint);
        }
        for (name, value) in &idp.authorize_parameters {
            query.append_pair(name, value);
        }
        if !self.holds_refresh_token {
            for (name, value) in &idp.first_authorize_parameters {
                query.append_pair(name, value);
            }
        }
        drop(query);
        Some(url.into())
    }
}

/// The challenge of a verifier (RFC 7636, section 4.2).
fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))
}

/// What to ask a provider for: what the session names, or the row's own, and what is always asked for. Where a consent
/// replaces the one before, what was granted is asked for again.
#[must_use]
pub fn scopes(idp: &Idp, wanted: &[String], granted: &[String]) -> Vec<String> {
    let wanted = if wanted.is_empty() && granted.is_empty() { &idp.scopes } else { wanted };
    let again = if idp.replaces_scopes { granted } else { &[] };
    let mut scopes: Vec<String> = Vec::new();
    for scope in idp.base_scopes.iter().chain(wanted).chain(again) {
        if !scopes.contains(scope) {
            scopes.push(scope.clone());
        }
    }
    scopes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::samples::idp, *};

    fn url(idp: &Idp, holds_refresh_token: bool) -> String {
        let scopes = ["a:b".to_owned(), "c".to_owned()];
        // A row's address may have a query of its own.
        let with_query = Idp { authorize_url: format!("{}?tenant=a b", idp.authorize_url), ..idp.clone() };
        let request = AuthorizationRequest {
            idp: &with_query,
            client_id: "me & you",
            redirect_uri: "https://api.example/oauth/x/callback",
            scopes: &scopes,
            state: "st",
            nonce: "no",
            // RFC 7636, appendix B.
            verifier: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
            login_hint: None,
            holds_refresh_token,
        };
        request.url().unwrap()
    }

    #[test]
    fn the_url_is_what_the_row_says() {
        let plain = "https://idp.example/authorize?tenant=a%20b&response_type=code&client_id=me+%26+you&redirect_uri=https%3A%2F%2Fapi.example%2Foauth%2Fx%2Fcallback&state=st&scope=a%3Ab";
        let pkce = "&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256";
        for (row, holds, expected) in [
            (json!({}), false, format!("{plain}+c{pkce}")),
            (json!({ "pkce": false, "scope_separator": "comma" }), false, format!("{plain}%2Cc")),
            (
                json!({ "response_mode": "form_post" }),
                true,
                format!("{plain}+c{pkce}&response_mode=form_post"),
            ),
            (
                json!({ "authorize_parameters": { "access_type": "offline" }, "first_authorize_parameters": { "prompt": "consent" } }),
                false,
                format!("{plain}+c{pkce}&access_type=offline&prompt=consent"),
            ),
            (
                json!({ "authorize_parameters": { "access_type": "offline" }, "first_authorize_parameters": { "prompt": "consent" } }),
                true,
                format!("{plain}+c{pkce}&access_type=offline"),
            ),
            (
                json!({ "openid": { "issuer": "https://idp.example", "jwks_url": "https://idp.example/jwks" } }),
                true,
                format!("{plain}+c&nonce=no{pkce}"),
            ),
        ] {
            assert_eq!(url(&idp(row.clone()), holds), expected, "{row}");
        }
    }

    #[test]
    fn f19_a_consent_that_replaces_the_one_before_names_it_again() {
        let list = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let row = |replaces| {
            idp(json!({ "base_scopes": ["openid"], "scopes": ["email"], "replaces_scopes": replaces }))
        };
        for (replaces, wanted, granted, expected) in [
            (true, vec![], vec![], vec!["openid", "email"]),
            (true, vec!["mail"], vec![], vec!["openid", "mail"]),
            (true, vec!["calendar"], vec!["openid", "mail"], vec!["openid", "calendar", "mail"]),
            (false, vec!["calendar"], vec!["openid", "mail"], vec!["openid", "calendar"]),
            // A reconnection that names nothing asks for what was there.
            (true, vec![], vec!["mail"], vec!["openid", "mail"]),
        ] {
            let got = scopes(&row(replaces), &list(&wanted), &list(&granted));
            assert_eq!(got, list(&expected), "{replaces} {wanted:?} {granted:?}");
        }
    }
}
