//! What is refused in a row that a tenant configures.

use std::collections::BTreeMap;

use url::Url;

use super::{ClientAuth, GrantType, Idp, Revocation, RevokeForm};
use crate::{
    endpoint::{
        URL_LIMIT,
        egress::{self, Allow},
    },
    pointer::Violation,
};

/// Scopes of one provider or one session, at most.
pub const SCOPE_COUNT_LIMIT: usize = 100;
/// The longest scope, in bytes.
pub const SCOPE_LENGTH_LIMIT: usize = 256;
/// Parameters that a row adds to a request, at most.
const PARAMETER_COUNT_LIMIT: usize = 20;
/// The longest text of a row that is no URL, in bytes.
const TEXT_LIMIT: usize = 512;

impl Idp {
    /// The checks of a row that a tenant configures: every address may be called, and everything is bounded.
    #[must_use]
    pub fn violations(&self, allow: &Allow) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut url = |pointer: &str, text: &str| {
            if let Err(detail) = check_url(text, allow) {
                found.push(Violation::new(pointer, detail));
            }
        };
        let asks_a_person = self.grant == GrantType::AuthorizationCode;
        if asks_a_person || !self.authorize_url.is_empty() {
            url("/authorize_url", &self.authorize_url);
        }
        url("/token_url", &self.token_url);
        if let Some(text) = &self.refresh_url {
            url("/refresh_url", text);
        }
        if let Some(openid) = &self.openid {
            url("/openid/jwks_url", &openid.jwks_url);
        }
        if let Some(text) = self.profile.as_ref().and_then(|profile| profile.url.as_deref()) {
            url("/profile/url", text);
        }
        if let Some(revocation) = &self.revocation {
            url("/revocation/url", &filled(&revocation.url));
        }
        let scopes = [("/scopes", &self.scopes), ("/base_scopes", &self.base_scopes)];
        found.extend(scopes.iter().filter_map(|(pointer, scopes)| check_scopes(pointer, scopes).err()));
        for (pointer, parameters) in [
            ("/authorize_parameters", &self.authorize_parameters),
            ("/first_authorize_parameters", &self.first_authorize_parameters),
            ("/token_parameters", &self.token_parameters),
        ] {
            found.extend(parameter_violation(pointer, parameters));
        }
        let mut bounded = |pointer: &str, texts: &[String]| {
            let fits = |text: &String| !text.is_empty() && text.len() <= TEXT_LIMIT;
            if texts.len() > PARAMETER_COUNT_LIMIT || !texts.iter().all(fits) {
                let detail =
                    format!("must have at most {PARAMETER_COUNT_LIMIT} texts of 1 to {TEXT_LIMIT} bytes");
                found.push(Violation::new(pointer, detail));
            }
        };
        bounded("/dead_codes", &self.dead_codes);
        bounded("/denied_codes", &self.denied_codes);
        bounded("/keep", &self.keep);
        if let Some(openid) = &self.openid {
            bounded("/openid/trusted_audiences", &openid.trusted_audiences);
            bounded("/openid/issuer", std::slice::from_ref(&openid.issuer));
        }
        if let Some(profile) = &self.profile {
            bounded("/profile/keep", &profile.keep);
            bounded("/profile/sub", &profile.sub);
        }
        bounded("/title", &[self.title.to_string()]);
        let tokens = ["access_token", "refresh_token", "id_token"];
        let kept = |texts: &[String]| texts.iter().any(|text| tokens.contains(&text.as_str()));
        if kept(&self.keep) || self.profile.as_ref().is_some_and(|profile| kept(&profile.keep)) {
            found.push(Violation::new("/keep", "must not keep a token beside the tokens"));
        }
        if self.openid.as_ref().is_some_and(|openid| openid.algorithms.is_empty()) {
            found.push(Violation::new("/openid/algorithms", "must not be empty"));
        }
        if self.profile.as_ref().is_some_and(|profile| profile.sub.is_empty()) {
            found.push(Violation::new("/profile/sub", "must not be empty"));
        }
        if asks_a_person && self.openid.is_none() && self.profile.is_none() {
            let detail = "is required where there is no openid: something must name the account";
            found.push(Violation::new("/profile", detail));
        }
        if self.lifetime_secs.is_some_and(|secs| !(60..=31_536_000).contains(&secs)) {
            found.push(Violation::new("/lifetime_secs", "must be 60 to 31536000"));
        }
        if let Some(revocation) = &self.revocation {
            found.extend(revocation.violation());
        }
        let texts = self.profile.iter().flat_map(|profile| {
            profile.sub.iter().chain(&profile.email).chain(&profile.email_verified).chain(&profile.name)
        });
        let is_pointer = |text: &String| text.starts_with('/') && text.len() <= TEXT_LIMIT;
        if !texts.into_iter().all(is_pointer) {
            found.push(Violation::new("/profile", "must name values by JSON pointers, such as /user/id"));
        }
        if self.docs.len() > URL_LIMIT {
            found.push(Violation::new("/docs", format!("must be at most {URL_LIMIT} bytes long")));
        }
        if !asks_a_person && self.auth == ClientAuth::None {
            found.push(Violation::new(
                "/auth",
                "must not be none where the client's credentials are the grant",
            ));
        }
        if self.auth == ClientAuth::None && !self.pkce {
            found.push(Violation::new("/pkce", "must be true where the client does not authenticate"));
        }
        found
    }
}

impl Revocation {
    /// A token belongs in a path or a body, and not in the name of a host that a resolver is asked about.
    fn violation(&self) -> Option<Violation> {
        let is_path = self.form == RevokeForm::DeletePath;
        let path = self.url.splitn(4, '/').nth(3).unwrap_or_default();
        let before_path = &self.url[..self.url.len() - path.len()];
        if before_path.contains("{token}") || before_path.contains("{client_id}") {
            Some(Violation::new("/revocation/url", "must have its places in the path"))
        } else if is_path != path.contains("{token}") {
            Some(Violation::new(
                "/revocation/url",
                "must contain {token} exactly where the form is delete_path",
            ))
        } else {
            None
        }
    }
}

/// An address with its places filled in, to check what is around them.
fn filled(url: &str) -> String {
    url.replace("{client_id}", "client").replace("{token}", "token")
}

/// Parameters that the flow sets. A row that could set them could switch its protections off.
pub(super) const OWN_PARAMETERS: [&str; 19] = [
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "code",
    "code_challenge",
    "code_challenge_method",
    "code_verifier",
    "grant_type",
    "login_hint",
    "nonce",
    "redirect_uri",
    "refresh_token",
    "request",
    "request_uri",
    "response_mode",
    "response_type",
    "scope",
    "state",
];

fn parameter_violation(pointer: &str, parameters: &BTreeMap<String, String>) -> Option<Violation> {
    if parameters.len() > PARAMETER_COUNT_LIMIT {
        let detail = format!("must have at most {PARAMETER_COUNT_LIMIT} parameters");
        return Some(Violation::new(pointer, detail));
    }
    let own = parameters.keys().find(|name| OWN_PARAMETERS.contains(&name.as_str()));
    if let Some(name) = own {
        return Some(Violation::new(pointer, format!("must not set {name}, which the flow sets")));
    }
    let fits = |text: &str| !text.is_empty() && text.len() <= TEXT_LIMIT;
    let long = parameters.iter().any(|(name, value)| !fits(name) || value.len() > TEXT_LIMIT);
    long.then(|| Violation::new(pointer, format!("must have names and values of at most {TEXT_LIMIT} bytes")))
}

/// Whether scopes can be asked for.
///
/// # Errors
/// What they must be. A separator inside a scope would ask for another one.
pub fn check_scopes(pointer: &str, scopes: &[String]) -> Result<(), Violation> {
    if scopes.len() > SCOPE_COUNT_LIMIT {
        return Err(Violation::new(pointer, format!("must have at most {SCOPE_COUNT_LIMIT} scopes")));
    }
    // RFC 6749, appendix A.4, without the comma that some providers separate by.
    let is_scope = |text: &String| {
        let known = |byte: u8| matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x5b | 0x5d..=0x7e);
        !text.is_empty() && text.len() <= SCOPE_LENGTH_LIMIT && text.bytes().all(known)
    };
    match scopes.iter().position(|scope| !is_scope(scope)) {
        None => Ok(()),
        Some(index) => Err(Violation::new(
            format!("{pointer}/{index}"),
            format!("must be 1 to {SCOPE_LENGTH_LIMIT} visible ASCII characters without \" , and \\"),
        )),
    }
}

/// Whether an address of a row may be called.
fn check_url(text: &str, allow: &Allow) -> Result<(), String> {
    if text.len() > URL_LIMIT {
        return Err(format!("must be at most {URL_LIMIT} bytes long"));
    }
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if url.fragment().is_some() {
        return Err("must have no fragment".to_owned());
    }
    egress::check_url(&url, allow).map_err(|error| error.to_string())
}
