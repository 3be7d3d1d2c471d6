//! What people see. No page has a script, and no page names a token.

use std::fmt::Write;

use domain::connection::session::Outcome;
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, LOCATION, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
        X_FRAME_OPTIONS,
    },
};
use platform::lambda::http::Response;

/// Nothing is loaded from anywhere, and no other site frames a page.
/// Not `form-action`: browsers apply it to the redirect after a form, which leads to the provider.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'";

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:28rem;margin:12vh auto;padding:0 1.5rem;color:#1c2330}\
h1{font-size:1.4rem}form{margin:.8rem 0}button{font:inherit;padding:.6rem 1.4rem;border:0;border-radius:.4rem;background:#1f4fd8;color:#fff}\
dl{display:grid;grid-template-columns:auto 1fr;gap:.3rem 1rem}dt{color:#5b6472}dd{margin:0;overflow-wrap:anywhere}";

/// What the page of a session names.
pub(crate) struct Introduction<'a> {
    /// The tenant's name.
    pub(crate) tenant: &'a str,
    /// The CRM's own id of the person.
    pub(crate) user_id: &'a str,
    /// The way to each provider that is offered.
    pub(crate) buttons: &'a [Button],
}

/// The way to a provider.
pub(crate) struct Button {
    /// The provider's name for people.
    pub(crate) title: String,
    /// Its name in the API, where there is a choice.
    pub(crate) name: Option<String>,
    /// What shows that the button was on a page of this browser.
    pub(crate) proof: String,
}

/// The page before the provider's.
pub(crate) fn introduction(page: &Introduction<'_>) -> Response {
    let Introduction { tenant, user_id, buttons } = page;
    let (tenant, user_id) = (escape(tenant), escape(user_id));
    let (heading, text) = match buttons {
        [only] => {
            let idp = escape(&only.title);
            (format!("Connect {idp}"), format!("You are about to connect an account of {idp}."))
        }
        _ => (
            "Connect an account".to_owned(),
            "You are about to connect an account. Choose its provider.".to_owned(),
        ),
    };
    let mut body = format!(
        "<h1>{heading}</h1><p>{text} Go on only if this is you.</p>\
<dl><dt>Organization</dt><dd>{tenant}</dd><dt>User</dt><dd>{user_id}</dd></dl>"
    );
    for Button { title, name, proof } in *buttons {
        body.push_str("<form method=\"post\">");
        if let Some(name) = name {
            let _ = write!(body, "<input type=\"hidden\" name=\"idp\" value=\"{}\">", escape(name));
        }
        let (proof, title) = (escape(proof), escape(title));
        let _ = write!(
            body,
            "<input type=\"hidden\" name=\"proof\" value=\"{proof}\"><button>Continue to {title}</button></form>"
        );
    }
    html(StatusCode::OK, &heading, &body)
}

/// The page of an outcome, with a way to start again where there is a link.
pub(crate) fn outcome(outcome: Outcome, again: Option<&str>) -> Response {
    let (heading, text) = outcome.words();
    let mut body = format!("<h1>{heading}</h1><p>{text}</p><p><small>{}</small></p>", outcome.as_str());
    if let Some(link) = again.filter(|_| outcome.can_start_again()) {
        let _ = write!(body, "<p><a href=\"{}\">Start again</a></p>", escape(link));
    }
    html(status(outcome), heading, &body)
}

fn status(outcome: Outcome) -> StatusCode {
    match outcome {
        Outcome::Connected | Outcome::Denied => StatusCode::OK,
        Outcome::StateUsed => StatusCode::ACCEPTED,
        Outcome::StateUnknown => StatusCode::NOT_FOUND,
        Outcome::StateExpired | Outcome::SessionEnded => StatusCode::GONE,
        Outcome::IdpUnavailable => StatusCode::BAD_GATEWAY,
        Outcome::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
        Outcome::AccountLinkedElsewhere | Outcome::OtherAccount | Outcome::LimitReached => {
            StatusCode::CONFLICT
        }
        _ => StatusCode::BAD_REQUEST,
    }
}

/// A redirect with GET.
pub(crate) fn redirect(location: &str) -> Option<Response> {
    let mut response = bare(StatusCode::SEE_OTHER);
    response.headers.insert(LOCATION, HeaderValue::try_from(location).ok()?);
    Some(response)
}

/// A response without a body.
pub(crate) fn bare(status: StatusCode) -> Response {
    protect(Response::new(status, "text/html; charset=utf-8", ""))
}

fn html(status: StatusCode, title: &str, body: &str) -> Response {
    let text = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
<title>{title}</title><style>{STYLE}</style></head><body>{body}</body></html>"
    );
    protect(Response::new(status, "text/html; charset=utf-8", text))
}

fn protect(mut response: Response) -> Response {
    let headers: [(HeaderName, &'static str); 5] = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, "no-store"),
        // The address of a callback holds the code.
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
    ];
    response.headers.extend(headers.map(|(name, value)| (name, HeaderValue::from_static(value))));
    response
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_page_shows_what_a_tenant_wrote_as_html() {
        let evil = "<script>\"'&";
        let button = || Button { title: evil.into(), name: Some(evil.into()), proof: evil.into() };
        for buttons in [vec![button()], vec![button(), button()]] {
            let page = Introduction { tenant: evil, user_id: evil, buttons: &buttons };
            let response = introduction(&page);
            let text = String::from_utf8(response.body.to_vec()).unwrap();
            assert!(!text.contains("<script"), "{text}");
            assert!(text.contains("&lt;script&gt;&quot;&#39;&amp;"), "{text}");
            assert_eq!(text.matches("<form").count(), buttons.len());
        }
    }

    #[test]
    fn every_outcome_has_a_page_that_nothing_caches_or_frames() {
        for &one in Outcome::ALL {
            let response = outcome(one, Some("https://api.example/oauth/connect/x"));
            let text = String::from_utf8(response.body.to_vec()).unwrap();
            assert_eq!(text.contains("Start again</a>"), one.can_start_again(), "{one}");
            assert_eq!(response.headers[CACHE_CONTROL], "no-store");
            assert_eq!(response.headers[REFERRER_POLICY], "no-referrer");
            let policy = response.headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
            assert!(!policy.contains("script-src") && policy.contains("default-src 'none'"));
        }
    }
}
