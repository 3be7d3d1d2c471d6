//! What a token endpoint responds, judged before anything else reads it.
//!
//! Providers depart from RFC 6749, section 5, in every part of it, and a customer's connection depends on what is
//! made of that. Only a provider's own word ends a connection: a JSON or form `error` that means a dead grant. A page of
//! HTML, an empty body or a 5xx means nothing but "later".

use std::time::Duration;

use serde_json::{Map, Value};

use super::idp::Idp;
use crate::{Secret, Timestamp, delivery::retry::retry_after};

/// The longest access token that is kept, in bytes. Those of `HubSpot` and Microsoft have up to 4 KB.
const TOKEN_LIMIT: usize = 16 * 1024;

/// The longest lifetime that is accepted, in seconds: ten years.
const LONGEST_LIFETIME: f64 = 315_360_000.0;

/// The response to a token request.
#[derive(Clone, Copy)]
pub struct TokenResponse<'a> {
    /// The status code.
    pub status: u16,
    /// The media type, as it was sent.
    pub content_type: Option<&'a str>,
    /// The header `Retry-After`.
    pub retry_after: Option<&'a str>,
    /// The body, decoded.
    pub body: &'a [u8],
}

/// What was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The access token.
    pub access_token: Secret,
    /// How it is shown, such as `Bearer`.
    pub token_type: String,
    /// How long it lives; nothing where neither the response nor the row says so.
    pub expires_in: Option<Duration>,
    /// The refresh token, where the response has one.
    pub refresh_token: Option<Secret>,
    /// How long the refresh token lives.
    pub refresh_expires_in: Option<Duration>,
    /// The granted scopes, where the response names them.
    pub scopes: Option<Vec<String>>,
    /// The `id_token`.
    pub id_token: Option<Secret>,
    /// The values that the row keeps.
    pub extra: Map<String, Value>,
    /// The account, where the row reads it from the token response.
    pub account: Option<super::account::Account>,
}

/// What a provider says when it grants nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdpError {
    /// Its code, if it has one; never more than [`CODE_LIMIT`] characters of it.
    pub code: Option<String>,
    /// Its finer code, such as Google's `invalid_rapt`.
    pub subcode: Option<String>,
    /// The status code; none where there was no response.
    pub status: Option<u16>,
}

/// Characters of a provider's code that are kept. It is the provider's text, and may be anything.
pub const CODE_LIMIT: usize = 80;

/// The outcome of a token request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenOutcome {
    /// Tokens.
    Granted(Box<Grant>),
    /// The grant is dead: only the person can give another one.
    Dead(IdpError),
    /// Our client is refused. Nothing is wrong with the grant.
    ClientRefused(IdpError),
    /// The provider refuses for a reason that says nothing about the grant.
    Refused(IdpError),
    /// Nothing that counts; later may be better.
    Later {
        /// What the provider said, if anything.
        error: IdpError,
        /// How long it asks to be left alone.
        wait: Option<Duration>,
        /// Whether the request may have been carried out.
        may_have_run: bool,
    },
}

/// Codes of a dead grant everywhere (RFC 6749, section 5.2).
const DEAD_CODE: &str = "invalid_grant";

/// Codes that refuse our client and not the grant (RFC 6749, section 5.2).
const CLIENT_CODES: [&str; 4] =
    ["invalid_client", "unauthorized_client", "invalid_client_id", "incorrect_client_credentials"];

/// Codes that mean "later" whatever their status is (RFC 6749, section 4.1.2.1).
const LATER_CODES: [&str; 4] = ["server_error", "temporarily_unavailable", "slow_down", "rate_limited"];

impl TokenResponse<'_> {
    /// Judges the response. By its status before its body: what a failing server says about a grant does not count.
    #[must_use]
    pub fn outcome(&self, idp: &Idp, now: Timestamp) -> TokenOutcome {
        let wait = self.retry_after.and_then(|text| retry_after(text, now));
        let later = |error: IdpError, may_have_run| TokenOutcome::Later { error, wait, may_have_run };
        let document = self.document();
        let error =
            IdpError { status: Some(self.status), ..document.as_ref().map(error_of).unwrap_or_default() };
        if self.status == 429 {
            return later(error, false);
        }
        if !matches!(self.status, 200..=299 | 400..=499) || self.status == 408 {
            return later(error, true);
        }
        let Some(document) = document else { return later(error, self.status < 300) };
        match error.code.as_deref() {
            None if self.status >= 400 => later(error, false),
            None => match grant(idp, &document) {
                Some(grant) => TokenOutcome::Granted(Box::new(grant)),
                None => later(error, true),
            },
            Some(code) if is_dead(idp, code) => TokenOutcome::Dead(error),
            Some(code) if CLIENT_CODES.contains(&code) => TokenOutcome::ClientRefused(error),
            Some(code) if LATER_CODES.contains(&code) => later(error, false),
            Some(_) => TokenOutcome::Refused(error),
        }
    }

    /// The body as a JSON object, whatever its type is said to be: as form fields, where it is a form.
    fn document(&self) -> Option<Map<String, Value>> {
        if let Ok(Value::Object(object)) = serde_json::from_slice(self.body) {
            return Some(object);
        }
        let content_type = self.content_type.unwrap_or_default().to_ascii_lowercase();
        let is_form = content_type.starts_with("application/x-www-form-urlencoded");
        // Facebook's first API and others sent a form as text.
        let is_text = content_type.starts_with("text/plain");
        if !is_form && !is_text {
            return None;
        }
        let pairs = url::form_urlencoded::parse(self.body).into_owned();
        let fields: Map<_, _> = pairs.map(|(name, value)| (name, Value::String(value))).collect();
        (fields.contains_key("access_token") || fields.contains_key("error")).then_some(fields)
    }
}

fn is_dead(idp: &Idp, code: &str) -> bool {
    // EVE writes the description behind the code.
    let word = code.split_once(':').map_or(code, |(word, _)| word).trim();
    [code, word].iter().any(|code| *code == DEAD_CODE || idp.dead_codes.iter().any(|dead| dead == code))
}

/// What a response says is wrong. A 200 can be an error: GitHub's has `error`, Slack's `"ok": false`.
fn error_of(document: &Map<String, Value>) -> IdpError {
    let text = |name: &str| document.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let is_refused = document.get("ok") == Some(&Value::Bool(false));
    let failed = document.get("status").and_then(Value::as_str);
    // HubSpot's errors name no `error`: `{"status":"BAD_REFRESH_TOKEN","message":…}`.
    let upper =
        |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    let code = text("error")
        .or_else(|| failed.filter(upper))
        .or_else(|| is_refused.then_some("not_ok"))
        .or_else(|| document.get("error").filter(|error| !error.is_null()).map(|_| "malformed_error"));
    IdpError { code: code.map(cut), subcode: text("error_subtype").map(cut), status: None }
}

fn cut(text: &str) -> String {
    let visible = text.chars().filter(|character| !character.is_control());
    visible.take(CODE_LIMIT).collect()
}

/// The grant of a response without an error; `None` where it has no access token.
fn grant(idp: &Idp, document: &Map<String, Value>) -> Option<Grant> {
    let text = |name: &str| document.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let token = |name: &str| {
        text(name).filter(|text| text.len() <= TOKEN_LIMIT).map(|text| Secret::new(text.to_owned()))
    };
    let whole = Value::Object(document.clone());
    let profile = idp.profile.as_ref().filter(|profile| profile.url.is_none());
    let keep = idp.keep.iter();
    Some(Grant {
        access_token: token("access_token")?,
        token_type: text("token_type").unwrap_or("Bearer").chars().take(CODE_LIMIT).collect(),
        expires_in: seconds(document.get("expires_in"))
            .or_else(|| idp.lifetime_secs.map(|secs| Duration::from_secs(secs.into()))),
        refresh_token: token("refresh_token"),
        refresh_expires_in: seconds(document.get("refresh_token_expires_in"))
            .or_else(|| seconds(document.get("refresh_expires_in"))),
        scopes: document.get("scope").or_else(|| document.get("scopes")).and_then(scopes),
        id_token: token("id_token"),
        extra: keep.filter_map(|name| Some((name.clone(), document.get(name)?.clone()))).collect(),
        account: profile.and_then(|profile| super::account::Account::of_profile(profile, &whole)),
    })
}

/// A number of seconds, also as text. Zero means that a token has no end (Mailchimp), and a negative number nothing.
fn seconds(value: Option<&Value>) -> Option<Duration> {
    let secs = match value? {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    let is_known = secs.is_finite() && secs >= 1.0;
    is_known.then(|| Duration::from_secs_f64(secs.min(LONGEST_LIFETIME).floor()))
}

/// Scopes of a response, separated by spaces or commas, or a list. An empty text names none, as Google does where all
/// boxes were left empty.
fn scopes(value: &Value) -> Option<Vec<String>> {
    let mut scopes: Vec<String> = match value {
        Value::String(text) => {
            text.split([' ', ',']).filter(|scope| !scope.is_empty()).map(str::to_owned).collect()
        }
        Value::Array(values) => values.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => return None,
    };
    scopes.truncate(super::idp::SCOPE_COUNT_LIMIT * 2);
    Some(scopes)
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
