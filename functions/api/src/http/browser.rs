//! What browsers require of responses: which pages may read them (CORS), and that they are never shown as a page.
//!
//! Source: the Fetch standard, <https://fetch.spec.whatwg.org/#http-cors-protocol>. There are no cookies, so no response
//! allows credentials: a page sends a key of its own in `Authorization`.

use ::http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
        CONTENT_SECURITY_POLICY, ORIGIN, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, VARY,
        X_CONTENT_TYPE_OPTIONS,
    },
};
use domain::access::origin::Origins;
use platform::lambda::http::{Request, Response};

/// Headers that a page may send.
const ALLOWED_HEADERS: &str = "authorization, content-type, idempotency-key, if-match, if-none-match, tenant";

/// Headers that a page may read beside those that it always may.
const EXPOSED_HEADERS: &str =
    "etag, idempotent-replayed, next-cursor, ratelimit, ratelimit-policy, retry-after";

/// How long a browser keeps a permission, in seconds.
const PERMISSION_SECS: &str = "600";

/// Headers of every response. Nothing of the API is a page, so a browser that is led to it must load nothing.
const ALWAYS: [(HeaderName, &str); 4] = [
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (REFERRER_POLICY, "no-referrer"),
    (STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
];

/// The origin of the page that sends a request, if it may.
pub(crate) fn allowed_origin(origins: &Origins, request: &Request) -> Option<HeaderValue> {
    let origin = request.header(ORIGIN.as_str()).filter(|origin| origins.allow(origin))?;
    HeaderValue::try_from(origin).ok()
}

/// The permission that a browser asks for before a request with these methods; nothing where it does not ask.
pub(crate) fn permission(request: &Request, methods: &[Method]) -> Option<Response> {
    if request.method != Method::OPTIONS {
        return None;
    }
    request.header(ACCESS_CONTROL_REQUEST_METHOD.as_str())?;
    let mut response = Response::json(StatusCode::NO_CONTENT, String::new());
    response.headers = HeaderMap::new();
    let methods: Vec<_> = methods.iter().map(Method::as_str).collect();
    for (name, value) in [
        (ACCESS_CONTROL_ALLOW_METHODS, methods.join(", ")),
        (ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS.to_owned()),
        (ACCESS_CONTROL_MAX_AGE, PERMISSION_SECS.to_owned()),
    ] {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers.insert(name, value);
        }
    }
    Some(response)
}

/// Adds the headers of every response, and lets the page of this origin read it.
pub(crate) fn finish(response: &mut Response, has_origins: bool, origin: Option<HeaderValue>) {
    for (name, value) in ALWAYS {
        response.headers.insert(name, HeaderValue::from_static(value));
    }
    if has_origins {
        // A cache must not give one page what another may read.
        response.headers.append(VARY, HeaderValue::from_static("Origin"));
    }
    if let Some(origin) = origin {
        response.headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        response.headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED_HEADERS));
    }
}
