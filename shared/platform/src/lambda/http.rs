//! HTTP: our request and response, and the loop that serves them.
//!
//! [`event`] knows the shapes of the events; nothing here does.

mod event;
mod front;

use std::time::Instant;

use bytes::Bytes;
use domain::saturating;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::Serialize;
use serde_json::value::RawValue;

use super::problem::{Kind, Problem};
use crate::{
    aws::{spending, throttles},
    runtime::config,
};

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
    /// The query as it was sent, where the service passes it on (HTTP API, function URL); elsewhere the same
    /// parameters, written again.
    pub raw_query: String,
    headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
    /// Lambda's id of the request, for logs and errors.
    pub id: String,
    /// The address of the client, as API Gateway or the load balancer saw it.
    pub source_ip: Option<String>,
    /// The public address of the function, without a slash at the end.
    pub base_url: String,
}

impl Request {
    /// A header, by its name in lower case. It may hold any character: `HeaderValue::to_str` would
    /// hide a value that is not ASCII, and a hidden idempotency key would publish an event twice.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
    }

    /// All headers, with names in lower case. One that is not UTF-8 is left out.
    pub fn headers<'a>(&'a self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let text = |(name, value): (&'a HeaderName, &'a HeaderValue)| {
            Some((name.as_str(), std::str::from_utf8(value.as_bytes()).ok()?))
        };
        self.headers.iter().filter_map(text)
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

/// Serves HTTP requests until the environment ends.
pub async fn run<H, F>(handle: H) -> Result<(), Error>
where
    H: Fn(Request) -> F,
    F: Future<Output = Response>,
{
    let front = front::Front::new(config::front_secrets()?);
    let handle = &|request: Request| {
        let id = request.id.clone();
        let admitted = front.admit(request).map(&handle);
        async move {
            match admitted {
                Ok(handled) => handled.await,
                Err(problem) => Response::problem(&problem, &id),
            }
        }
    };
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Box<RawValue>>| async move {
        spending::begin(spending::Trigger::Request);
        let response = respond(event.payload.get(), event.context.request_id, handle).await;
        throttles::flush();
        spending::end();
        response
    }))
    .await
}

/// The response to one event. What a client can send gets a response, and never fails the invocation.
pub async fn respond<H, F>(
    event: &str,
    request_id: String,
    handle: &H,
) -> Result<impl Serialize + use<H, F>, Error>
where
    H: Fn(Request) -> F,
    F: Future<Output = Response>,
{
    let started_at = Instant::now();
    let (origin, request) = event::read(event, request_id.clone())?;
    let (method, path, response) = match request {
        Ok(request) => {
            let (method, path) = (request.method.to_string(), path_for_logs(&request.path));
            // Boxed: the compiler's layout of SDK calls inside handlers inside this loop nests too deep.
            (method, path, Box::pin(handle(request)).await)
        }
        Err(event::MalformedEvent(detail)) => {
            let problem = Problem::new(Kind::InvalidRequest, detail);
            (String::new(), String::new(), Response::problem(&problem, &request_id))
        }
    };
    let duration_ms = saturating::<u64>(started_at.elapsed().as_millis());
    tracing::info!(method, path, request_id, status = response.status.as_u16(), duration_ms, "request");
    Ok(event::write(response, origin).await?)
}

/// The path without what follows `/in/PROVIDER/` or `/oauth/connect/`: that is a secret, which readers of logs must not
/// learn.
fn path_for_logs(path: &str) -> String {
    let mut segments: Vec<&str> = path.split('/').collect();
    let source = segments.iter().position(|segment| *segment == "in").map(|index| index + 2);
    let link = segments.windows(2).position(|pair| pair == ["oauth", "connect"]).map(|index| index + 2);
    if let Some(shown) = [source, link].into_iter().flatten().min() {
        segments.truncate(shown);
    }
    segments.join("/")
}

#[cfg(test)]
mod tests;
