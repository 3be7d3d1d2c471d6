//! HTTP: our request and response, and the loop that serves them.
//!
//! Shape of the events: HTTP API payload 2.0
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>).

use std::{collections::HashMap, time::Instant};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use domain::saturating;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{ALLOW, CONTENT_TYPE, HOST, RETRY_AFTER, WWW_AUTHENTICATE},
};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::{Deserialize, Serialize};

use super::problem::{Kind, Problem};
use crate::aws::throttles;

/// An HTTP request, with its body as the bytes that were sent. It holds keys and signatures, so
/// it has no `Debug`.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path, with its percent-escapes as they were sent and without the stage.
    pub path: String,
    /// Query parameters, decoded, in order.
    pub query: Vec<(String, String)>,
    headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
    /// Lambda's id of the request, for logs and errors.
    pub id: String,
    /// The address of the client, as API Gateway or the load balancer saw it.
    pub source_ip: Option<String>,
}

impl Request {
    /// A header, by its name in lower case. It may hold any character: `HeaderValue::to_str` would
    /// hide a value that is not ASCII, and a hidden idempotency key would publish an event twice.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
    }

    /// The public address of the API, without a slash at the end.
    #[must_use]
    pub fn base_url(&self) -> String {
        let host = self.header(HOST.as_str()).unwrap_or("localhost");
        let scheme = self.header("x-forwarded-proto").unwrap_or("https");
        format!("{scheme}://{host}")
    }
}

/// An HTTP response.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: StatusCode,
    /// The headers; one name can have several values.
    pub headers: HeaderMap,
    /// The body, text or binary.
    pub body: Bytes,
}

impl Response {
    /// A response with a body of this type.
    #[must_use]
    pub fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        Self { status, headers, body: body.into() }
    }

    /// A JSON response.
    #[must_use]
    pub fn json(status: StatusCode, body: String) -> Self {
        Self::new(status, "application/json", body)
    }

    /// A problem, as RFC 9457 has it. A failure on our side is logged here.
    #[must_use]
    pub fn problem(problem: &Problem, request_id: &str) -> Self {
        if let Some(fault) = &problem.fault {
            tracing::error!(%fault, "request failed");
        }
        let body = problem.body(request_id);
        let mut response = Self::new(problem.kind.status(), "application/problem+json", body);
        match problem.kind {
            Kind::Unauthorized => {
                response.headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Kind::MethodNotAllowed => {
                let methods: Vec<_> = problem.allow.iter().map(Method::as_str).collect();
                if let Ok(methods) = HeaderValue::try_from(methods.join(", ")) {
                    response.headers.insert(ALLOW, methods);
                }
            }
            _ => {}
        }
        if let Some(seconds) = problem.retry_after {
            response.headers.insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpEvent {
    raw_path: String,
    /// Null under `cargo lambda watch` where there is no query.
    #[serde(default)]
    raw_query_string: Option<String>,
    #[serde(default)]
    headers: HashMap<String, String>,
    request_context: HttpContext,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpContext {
    http: HttpLine,
    #[serde(default)]
    stage: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpLine {
    method: String,
    #[serde(default)]
    source_ip: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HttpResponse {
    status_code: u16,
    headers: HashMap<String, String>,
    body: String,
    is_base64_encoded: bool,
    /// Always empty; `cargo lambda watch` cannot do without it.
    cookies: [String; 0],
}

fn request(event: HttpEvent, id: String) -> Result<Request, Error> {
    let text = event.body.unwrap_or_default();
    // Signatures are over bytes, so the base64 of API Gateway is decoded first.
    let body = if event.is_base64_encoded { BASE64_STANDARD.decode(text)? } else { text.into_bytes() };
    // A stage other than $default precedes the path.
    let stage =
        event.request_context.stage.filter(|stage| stage != "$default").map(|stage| format!("/{stage}/"));
    let path =
        match stage.and_then(|stage| event.raw_path.strip_prefix(&stage).map(|path| format!("/{path}"))) {
            Some(path) => path,
            None => event.raw_path,
        };
    let query = form_pairs(event.raw_query_string.as_deref().unwrap_or_default());
    let headers = event.headers.into_iter().filter_map(|(name, value)| {
        Some((name.parse::<HeaderName>().ok()?, value.parse::<HeaderValue>().ok()?))
    });
    let headers = headers.collect();
    let HttpLine { method, source_ip } = event.request_context.http;
    Ok(Request { method: method.parse()?, path, query, headers, body, id, source_ip })
}

/// Decodes `a=1&b=2` by the rules of `application/x-www-form-urlencoded`.
fn form_pairs(text: &str) -> Vec<(String, String)> {
    let pairs = url::form_urlencoded::parse(text.as_bytes()).into_owned();
    pairs.filter(|(name, _)| !name.is_empty()).collect()
}

/// Serves HTTP requests until the environment ends.
pub async fn run<H, F>(handle: H) -> Result<(), Error>
where
    H: Fn(Request) -> F,
    F: Future<Output = Response>,
{
    let handle = &handle;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<HttpEvent>| async move {
        let request = request(event.payload, event.context.request_id)?;
        let started_at = Instant::now();
        let (method, request_id) = (request.method.clone(), request.id.clone());
        // The path after /in/PROVIDER/ is a secret, which readers of logs must not learn.
        let segments = if request.path.starts_with("/in/") { 3 } else { usize::MAX };
        let path = request.path.split('/').take(segments).collect::<Vec<_>>().join("/");
        // Boxed: the compiler's layout of SDK calls inside handlers inside this loop nests too deep.
        let response = Box::pin(handle(request)).await;
        let duration_ms = saturating::<u64>(started_at.elapsed().as_millis());
        let status = response.status.as_u16();
        tracing::info!(%method, path, request_id, status, duration_ms, "request");
        throttles::flush();
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Ok::<_, Error>(HttpResponse {
            status_code: status,
            headers: response.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            body: String::from_utf8_lossy(&response.body).into_owned(),
            is_base64_encoded: false,
            cookies: [],
        })
    }))
    .await
}

#[cfg(test)]
mod tests;
