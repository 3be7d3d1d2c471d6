//! An AWS that responds at once: writes succeed without effect, and what is read comes from the stack, once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use hyper::{Request, Response};
use serde_json::{Value, json};
use testkit::{http_client, server, wait::millis_now};
use tokio::net::TcpListener;

/// A message that a function sent to a queue.
pub(crate) struct SentMessage {
    pub(crate) queue_url: String,
    pub(crate) body: String,
    pub(crate) group: Option<String>,
    /// In milliseconds since 1970.
    pub(crate) sent_at: u64,
}

/// The responses and what was sent.
pub(crate) struct Aws {
    url: String,
    shared: Arc<AwsState>,
}

struct AwsState {
    upstream: String,
    client: reqwest::Client,
    reads: Mutex<HashMap<(String, Bytes), Bytes>>,
    messages: Mutex<Vec<SentMessage>>,
    forwarded: Mutex<HashMap<String, usize>>,
}

impl Aws {
    /// Starts it before this stack.
    pub(crate) async fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = Arc::new(AwsState {
            upstream: upstream.to_owned(),
            client: http_client(),
            reads: Mutex::default(),
            messages: Mutex::default(),
            forwarded: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        tokio::spawn(server::serve(listener, move |_, request| {
            let shared = Arc::clone(&serving);
            async move { Some(shared.respond(request).await) }
        }));
        Self { url, shared }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What was sent since the last call.
    pub(crate) fn take_messages(&self) -> Vec<SentMessage> {
        std::mem::take(&mut *self.shared.messages.lock().expect("no panic with it"))
    }

    /// Calls that went to the stack, by operation: each took the stack's time.
    pub(crate) fn forwarded(&self) -> HashMap<String, usize> {
        self.shared.forwarded.lock().expect("no panic with it").clone()
    }
}

impl AwsState {
    async fn respond(&self, request: Request<Bytes>) -> Response<Bytes> {
        let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok());
        let target = target.unwrap_or_default().to_owned();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let body = match operation.as_str() {
            "PutItem" | "UpdateItem" | "DeleteItem" | "TransactWriteItems" => Bytes::from_static(b"{}"),
            "BatchExecuteStatement" => {
                let statements = parse(request.body())["Statements"].as_array().map_or(0, Vec::len);
                text(&json!({ "Responses": vec![json!({ "TableName": "events" }); statements] }))
            }
            "SendMessageBatch" => self.sent(&parse(request.body())),
            "ChangeMessageVisibilityBatch" => {
                text(&json!({ "Successful": ids(&parse(request.body())), "Failed": [] }))
            }
            _ => return self.read(operation, target, request).await,
        };
        json_response(body)
    }

    fn sent(&self, request: &Value) -> Bytes {
        let sent_at = millis_now();
        let entries = request["Entries"].as_array().into_iter().flatten();
        let message = |entry: &Value| SentMessage {
            queue_url: request["QueueUrl"].as_str().unwrap_or_default().to_owned(),
            body: entry["MessageBody"].as_str().unwrap_or_default().to_owned(),
            group: entry["MessageGroupId"].as_str().map(ToOwned::to_owned),
            sent_at,
        };
        self.messages.lock().expect("no panic with it").extend(entries.map(message));
        text(&json!({ "Successful": ids(request), "Failed": [] }))
    }

    /// What the stack responded to the same read before, or responds now.
    async fn read(&self, operation: String, target: String, request: Request<Bytes>) -> Response<Bytes> {
        let key = (target, request.body().clone());
        if let Some(known) = self.reads.lock().expect("no panic with it").get(&key) {
            return json_response(known.clone());
        }
        *self.forwarded.lock().expect("no panic with it").entry(operation).or_default() += 1;
        let (parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let url = format!("{}{path}", self.upstream);
        let sent = self.client.request(parts.method, url).headers(parts.headers).body(body).send().await;
        let response = sent.expect("the stack");
        let status = response.status();
        let body = response.bytes().await.expect("the stack");
        if status.is_success() {
            self.reads.lock().expect("no panic with it").insert(key, body.clone());
        }
        let mut response = json_response(body);
        *response.status_mut() = status;
        response
    }
}

fn parse(body: &Bytes) -> Value {
    serde_json::from_slice(body).unwrap_or_default()
}

fn text(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}

fn ids(request: &Value) -> Vec<Value> {
    let entries = request["Entries"].as_array().into_iter().flatten();
    entries.map(|entry| json!({ "Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": "0" })).collect()
}

fn json_response(body: Bytes) -> Response<Bytes> {
    Response::builder().header("content-type", "application/x-amz-json-1.0").body(body).expect("a response")
}
