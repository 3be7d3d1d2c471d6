//! How a browser is known again: a random id in a cookie, which every flow of that browser shares.
//!
//! One cookie and not one for each flow: a request's headers end at 10,240 bytes. No callback clears it, so that a
//! second tab is not cut off. A provider that posts its response from its own site gets a cookie of its own with
//! `SameSite=None`, since browsers send no other with a cross-site POST.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::connection::{idp::ResponseMode, session::hash};
use http::{HeaderValue, header::SET_COOKIE};
use platform::{
    Fault,
    lambda::http::{Request, Response},
    runtime::clock,
};
use subtle::ConstantTimeEq;

/// How long a browser is known, in seconds: longer than a link works.
const MAX_AGE: u32 = 3600;

/// The length of a random id, in characters.
const ID_LENGTH: usize = 43;

fn name(mode: ResponseMode) -> &'static str {
    match mode {
        ResponseMode::Query => "__Host-cw-browser",
        ResponseMode::FormPost => "__Host-cw-browser-post",
    }
}

/// The id of a browser.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct BrowserId(String);

impl BrowserId {
    /// The id that a browser shows, as it would be shown with a response of this mode.
    pub(crate) fn of(request: &Request, mode: ResponseMode) -> Option<Self> {
        let cookies = request.header("cookie")?;
        let mut pairs = cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
        let (_, value) = pairs.find(|(known, _)| *known == name(mode))?;
        let is_id = value.len() == ID_LENGTH
            && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        is_id.then(|| Self(value.to_owned()))
    }

    /// The browser's id, or a fresh one.
    pub(crate) fn of_or_new(request: &Request, mode: ResponseMode) -> Result<Self, Fault> {
        match Self::of(request, mode) {
            Some(known) => Ok(known),
            None => random_text().map(Self),
        }
    }

    /// What a flow keeps of it.
    pub(crate) fn hash(&self) -> String {
        hash(&self.0)
    }

    /// What a page of this browser shows so that no other site can press its button.
    pub(crate) fn proof(&self, link: &str) -> String {
        hash(&format!("{}.{link}", self.0))
    }

    /// Whether a page of this browser was shown.
    pub(crate) fn proves(&self, link: &str, proof: &str) -> bool {
        self.proof(link).as_bytes().ct_eq(proof.as_bytes()).into()
    }

    /// Sets the cookie, as it must be for a response of this mode.
    pub(crate) fn set(&self, mode: ResponseMode, response: &mut Response) {
        let same_site = match mode {
            ResponseMode::Query => "Lax",
            ResponseMode::FormPost => "None",
        };
        let cookie = format!(
            "{}={}; Path=/; Max-Age={MAX_AGE}; Secure; HttpOnly; SameSite={same_site}",
            name(mode),
            self.0
        );
        if let Ok(value) = HeaderValue::try_from(cookie) {
            response.headers.append(SET_COOKIE, value);
        }
    }
}

/// A text of 256 random bits.
pub(crate) fn random_text() -> Result<String, Fault> {
    Ok(URL_SAFE_NO_PAD.encode(clock::random::<32>()?))
}
