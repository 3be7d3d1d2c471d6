//! The authorization response: what a browser brings back from a provider.

use super::idp::Idp;

/// The longest value that is read of a response, in bytes. Codes and states are far shorter.
const VALUE_LIMIT: usize = 4096;

/// An authorization response (RFC 6749, sections 4.1.2 and 4.1.2.1; RFC 9207).
#[derive(Clone, PartialEq, Eq)]
pub struct AuthorizationResponse {
    /// What finds the flow.
    pub state: String,
    /// The code, or why there is none.
    pub result: Result<String, AuthorizationError>,
    /// Which issuer responds.
    pub iss: Option<String>,
    /// What Apple posts about the person on the first consent, as JSON.
    pub user: Option<String>,
}

/// Why a provider granted nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizationError {
    /// The provider's code.
    pub code: String,
    /// Its description, for people.
    pub description: Option<String>,
}

/// The request is no authorization response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MalformedResponse;

/// Codes by which providers say that the person declined, or that an administrator must consent.
const DENIED_CODES: [&str; 7] = [
    "access_denied",
    "user_cancelled_authorize",
    "user_cancelled_login",
    "user_denied",
    "consent_required",
    "authorization_declined",
    "denied",
];

impl AuthorizationError {
    /// Whether the person declined, which is no failure.
    #[must_use]
    pub fn is_denial(&self, idp: &Idp) -> bool {
        DENIED_CODES.contains(&self.code.as_str()) || idp.denied_codes.contains(&self.code)
    }
}

impl AuthorizationResponse {
    /// Reads the parameters of a query or a form.
    ///
    /// # Errors
    /// A parameter is there twice (RFC 6749, section 3.1), is too long, or neither a code nor an error is there.
    pub fn read(parameters: &[(String, String)]) -> Result<Self, MalformedResponse> {
        let find = |name: &str| {
            let mut values = parameters.iter().filter(|(known, _)| known == name).map(|(_, value)| value);
            match (values.next(), values.next()) {
                (_, Some(_)) => Err(MalformedResponse),
                (Some(value), _) if value.len() > VALUE_LIMIT => Err(MalformedResponse),
                (value, None) => Ok(value.filter(|value| !value.is_empty()).cloned()),
            }
        };
        let state = find("state")?.ok_or(MalformedResponse)?;
        let denied = find("denied")?.map(|_| "denied".to_owned());
        let result = match (find("error")?.or(denied), find("code")?) {
            (Some(code), _) => Err(AuthorizationError { code, description: find("error_description")? }),
            (None, Some(code)) => Ok(code),
            (None, None) => return Err(MalformedResponse),
        };
        Ok(Self { state, result, iss: find("iss")?, user: find("user")? })
    }

    /// Whether the response is of this provider's server (RFC 9207): on errors, too. A mix-up would send its code to
    /// another server.
    #[must_use]
    pub fn is_from(&self, idp: &Idp) -> bool {
        let issuer = idp.openid.as_ref().map(|openid| openid.issuer.as_str());
        match (&self.iss, issuer) {
            (Some(iss), Some(issuer)) => iss == issuer || is_of_template(iss, issuer),
            (None, _) => !idp.requires_iss,
            // Without an issuer of its own, a provider may still name one: its own site, and no other's.
            (Some(iss), None) => !idp.requires_iss && is_same_site(iss, &idp.authorize_url),
        }
    }
}

fn is_same_site(iss: &str, authorize_url: &str) -> bool {
    let origin = |text: &str| url::Url::parse(text).ok().map(|url| url.origin());
    origin(iss).is_some_and(|iss| origin(authorize_url) == Some(iss))
}

/// Whether an issuer is one of a template with `{tenantid}`.
fn is_of_template(iss: &str, template: &str) -> bool {
    let Some((before, after)) = template.split_once("{tenantid}") else { return false };
    iss.strip_prefix(before).and_then(|rest| rest.strip_suffix(after)).is_some_and(super::id_token::is_guid)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::samples::idp, *};

    fn pairs(text: &str) -> Vec<(String, String)> {
        url::form_urlencoded::parse(text.as_bytes()).into_owned().collect()
    }

    #[test]
    fn a_response_has_a_state_and_a_code_or_an_error() {
        let ok = |code: &str| Some(Ok(code.to_owned()));
        let error = |code: &str| Some(Err(code.to_owned()));
        for (text, expected) in [
            ("state=s&code=c", ok("c")),
            ("state=s&error=access_denied&error_description=no", error("access_denied")),
            // What is refused is not redeemed.
            ("state=s&code=c&error=server_error", error("server_error")),
            ("state=s&denied=token", error("denied")),
            ("code=c", None),
            ("state=&code=c", None),
            ("state=s", None),
            ("state=s&code=", None),
            ("state=s&state=t&code=c", None),
            ("state=s&code=c&code=d", None),
        ] {
            let read = AuthorizationResponse::read(&pairs(text)).ok();
            assert_eq!(read.map(|read| read.result.map_err(|error| error.code)), expected, "{text}");
        }
        let long = "x".repeat(VALUE_LIMIT + 1);
        assert!(AuthorizationResponse::read(&pairs(&format!("state=s&code={long}"))).is_err());
    }

    #[test]
    fn f13_another_issuer_is_refused_and_a_promised_one_is_required() {
        let openid = |issuer: &str| json!({ "issuer": issuer, "jwks_url": "https://idp.example/jwks" });
        let plain = idp(json!({ "openid": openid("https://idp.example") }));
        let strict = idp(json!({ "openid": openid("https://idp.example"), "requires_iss": true }));
        let plain_oauth = idp(json!({}));
        let template = idp(json!({ "openid": openid("https://login.example/{tenantid}/v2.0") }));
        let guid = "https://login.example/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0";
        for (row, iss, expected) in [
            (&plain, None, true),
            (&plain, Some("https://idp.example"), true),
            (&plain, Some("https://idp.example/"), false),
            (&plain, Some("https://other.example"), false),
            (&strict, None, false),
            (&strict, Some("https://idp.example"), true),
            (&plain_oauth, Some("https://idp.example"), true),
            (&plain_oauth, Some("https://accounts.other.example"), false),
            (&template, Some(guid), true),
            (&template, Some("https://login.example/common/v2.0"), false),
            (&template, Some("https://evil.example/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0"), false),
        ] {
            for result in ["code=c", "error=server_error"] {
                let iss = iss.map(|iss| format!("&iss={iss}")).unwrap_or_default();
                let response =
                    AuthorizationResponse::read(&pairs(&format!("state=s&{result}{iss}"))).unwrap();
                assert_eq!(response.is_from(row), expected, "{iss} {result}");
            }
        }
    }

    #[test]
    fn f16_every_word_for_a_denial_is_one() {
        let row = idp(json!({ "denied_codes": ["no_thanks"] }));
        for (code, expected) in [
            ("access_denied", true),
            ("user_cancelled_authorize", true),
            ("user_cancelled_login", true),
            ("consent_required", true),
            ("denied", true),
            ("no_thanks", true),
            ("server_error", false),
            ("invalid_scope", false),
        ] {
            let error = AuthorizationError { code: code.to_owned(), description: None };
            assert_eq!(error.is_denial(&row), expected, "{code}");
        }
    }
}
