//! Lambda's event shapes, and the loop that takes them; nothing else knows either.
//!
//! Shapes: HTTP API payload 2.0
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>)
//! and SQS with `ReportBatchItemFailures`
//! (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>).

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use domain::Timestamp;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::problem::{Kind, Problem};
use crate::{Fault, aws::throttles, runtime::clock};

/// An HTTP request, with its body as the bytes that were sent. It holds keys and signatures, so
/// it has no `Debug`.
#[derive(Clone)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path, as it was sent.
    pub path: String,
    /// Query parameters, decoded, in order.
    pub query: Vec<(String, String)>,
    headers: HashMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
    /// What this request is called in logs and errors.
    pub id: String,
    /// The address that it came from, as the edge saw it.
    pub source_ip: Option<String>,
}

impl Request {
    /// A header, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Where the API is reached from outside, without a slash at the end.
    #[must_use]
    pub fn base_url(&self) -> String {
        let host = self.header("host").unwrap_or("localhost");
        let scheme = self.header("x-forwarded-proto").unwrap_or("https");
        format!("{scheme}://{host}")
    }
}

/// An HTTP answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Content type of the body.
    pub content_type: &'static str,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body, as text.
    pub body: String,
}

impl Response {
    /// A JSON answer.
    #[must_use]
    pub fn json(status: u16, body: String) -> Self {
        Self { status, content_type: "application/json", headers: Vec::new(), body }
    }

    /// A problem, as RFC 9457 has it. What failed on our side goes into the log here.
    #[must_use]
    pub fn problem(problem: &Problem, request_id: &str) -> Self {
        if let Some(fault) = &problem.fault {
            tracing::error!(%fault, "a request failed on our side");
        }
        let body = problem.body(request_id);
        let mut response = Self {
            status: problem.kind.status(),
            content_type: "application/problem+json",
            headers: Vec::new(),
            body,
        };
        match problem.kind {
            Kind::Unauthorized => response.headers.push(("www-authenticate", "Bearer".to_owned())),
            Kind::MethodNotAllowed => response.headers.push(("allow", problem.allow.join(", "))),
            _ => {}
        }
        if let Some(secs) = problem.retry_after {
            response.headers.push(("retry-after", secs.to_string()));
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
struct HttpAnswer {
    status_code: u16,
    headers: HashMap<&'static str, String>,
    body: String,
    is_base64_encoded: bool,
    /// Always empty; `cargo lambda watch` cannot do without it.
    cookies: [String; 0],
}

fn request(event: HttpEvent, id: String) -> Result<Request, Error> {
    let text = event.body.unwrap_or_default();
    // Signatures are over bytes, so the edge's base64 goes first.
    let body = if event.is_base64_encoded { BASE64_STANDARD.decode(text)? } else { text.into_bytes() };
    // A stage other than $default stands before the path.
    let stage =
        event.request_context.stage.filter(|stage| stage != "$default").map(|stage| format!("/{stage}/"));
    let path =
        match stage.and_then(|stage| event.raw_path.strip_prefix(&stage).map(|path| format!("/{path}"))) {
            Some(path) => path,
            None => event.raw_path,
        };
    let query = form_pairs(event.raw_query_string.as_deref().unwrap_or_default());
    let headers = event.headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
    let HttpLine { method, source_ip } = event.request_context.http;
    Ok(Request { method, path, query, headers, body, id, source_ip })
}

/// Decodes `a=1&b=2` by the rules of `application/x-www-form-urlencoded`.
fn form_pairs(text: &str) -> Vec<(String, String)> {
    // `Url` has the decoder; its base does not matter.
    let Ok(mut url) = reqwest::Url::parse("http://query") else { return Vec::new() };
    url.set_query(Some(text));
    url.query_pairs().into_owned().filter(|(name, _)| !name.is_empty()).collect()
}

/// Serves HTTP requests until the environment ends.
pub async fn run_http<H, F>(handle: H) -> Result<(), Error>
where
    H: Fn(Request) -> F,
    F: Future<Output = Response>,
{
    let handle = &handle;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<HttpEvent>| async move {
        let request = request(event.payload, event.context.request_id)?;
        let began = Instant::now();
        let (method, request_id) = (request.method.clone(), request.id.clone());
        // What follows /in/PROVIDER/ is unguessable, and should stay so for readers of logs.
        let segments = if request.path.starts_with("/in/") { 3 } else { usize::MAX };
        let path = request.path.split('/').take(segments).collect::<Vec<_>>().join("/");
        // Boxed: the compiler's layout of SDK calls inside handlers inside this loop nests too deep.
        let response = Box::pin(handle(request)).await;
        let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(method, path, request_id, status = response.status, duration_ms, "request");
        throttles::flush();
        let mut headers = HashMap::from([("content-type", response.content_type.to_owned())]);
        headers.extend(response.headers);
        Ok::<_, Error>(HttpAnswer {
            status_code: response.status,
            headers,
            body: response.body,
            is_base64_encoded: false,
            cookies: [],
        })
    }))
    .await
}

/// A received message.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Names it in the answer.
    pub message_id: String,
    /// Names this receipt of it.
    pub receipt_handle: String,
    /// The text.
    pub body: String,
    /// The queue that it came by.
    #[serde(default, rename = "eventSourceARN")]
    pub source_arn: String,
    /// What SQS knows of it.
    #[serde(default)]
    attributes: HashMap<String, String>,
}

impl Record {
    /// How often it was received, this time included. Unknown counts as more than once, which
    /// is the careful reading.
    #[must_use]
    pub fn received(&self) -> u32 {
        self.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok()).unwrap_or(2)
    }
}

#[derive(Deserialize)]
struct SqsEvent {
    #[serde(rename = "Records")]
    records: Vec<Record>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SqsAnswer {
    batch_item_failures: Vec<ItemFailure>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ItemFailure {
    item_identifier: String,
}

/// Takes batches of messages until the environment ends. The handler says which messages stay.
pub async fn run_sqs<H, F>(handle: H) -> Result<(), Error>
where
    H: Fn(Vec<Record>, Timestamp) -> F,
    F: Future<Output = Vec<String>>,
{
    let handle = &handle;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<SqsEvent>| async move {
        let deadline = i64::try_from(event.context.deadline).unwrap_or(i64::MAX);
        let deadline = believable(Timestamp::from_millis(deadline), clock::machine_now());
        let kept = Box::pin(handle(event.payload.records, deadline)).await;
        throttles::flush();
        Ok::<_, Error>(sqs_answer(kept))
    }))
    .await
}

/// Runs a job each time its schedule fires, until the environment ends. The handler gets what the
/// schedule says and when the invocation ends.
pub async fn run_schedule<J, H, F>(handle: H) -> Result<(), Error>
where
    J: DeserializeOwned,
    H: Fn(J, Timestamp) -> F,
    F: Future<Output = Result<(), Fault>>,
{
    let handle = &handle;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<J>| async move {
        let deadline = i64::try_from(event.context.deadline).unwrap_or(i64::MAX);
        let deadline = believable(Timestamp::from_millis(deadline), clock::machine_now());
        let began = Instant::now();
        let result = Box::pin(handle(event.payload, deadline)).await;
        throttles::flush();
        let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        match result {
            Ok(()) => {
                tracing::info!(duration_ms, "job");
                Ok(())
            }
            Err(fault) => {
                tracing::error!(%fault, duration_ms, "a job failed on our side");
                Err(Error::from("the job failed; see the log"))
            }
        }
    }))
    .await
}

/// When the invocation ends. `cargo lambda watch` names a moment in 1970; an invocation that has
/// only begun cannot be over, so the template's time-out is taken instead.
fn believable(deadline: Timestamp, now: Timestamp) -> Timestamp {
    if deadline > now { deadline } else { now + Duration::from_secs(30) }
}

/// Which messages stay in the queue. An answer that Lambda cannot read keeps the whole batch,
/// and one without items deletes it, so its spelling has a test of its own.
fn sqs_answer(kept: Vec<String>) -> SqsAnswer {
    let failures = kept.into_iter().map(|item_identifier| ItemFailure { item_identifier });
    SqsAnswer { batch_item_failures: failures.collect() }
}

#[cfg(test)]
mod tests;
