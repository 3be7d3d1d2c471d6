//! A function's process, on a Runtime API of its own.
//! Source: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>.

use std::{collections::BTreeMap, path::Path, process::Stdio, sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::{Response, StatusCode};
use serde_json::Value;
use testkit::wait::millis_now;
use tokio::{
    net::TcpListener,
    process::{Child, Command},
    sync::{Mutex, mpsc},
    time::timeout,
};

/// How long an invocation may take.
const INVOCATION_LIMIT: Duration = Duration::from_secs(30);

/// A function that runs, and waits for its next event.
pub(crate) struct Function {
    process: Child,
    events: mpsc::Sender<Bytes>,
    responses: mpsc::Receiver<Result<Bytes, Bytes>>,
}

impl Function {
    /// Starts a function, with all of AWS at this URL.
    pub(crate) async fn start(binary: &Path, environment: &BTreeMap<String, String>, aws_url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (events, queue) = mpsc::channel::<Bytes>(1);
        let (done, responses) = mpsc::channel(1);
        let queue = Arc::new(Mutex::new(queue));
        tokio::spawn(testkit::server::serve(listener, move |_, request| {
            let (queue, done) = (Arc::clone(&queue), done.clone());
            async move {
                let path = request.uri().path().to_owned();
                if path.ends_with("/invocation/next") {
                    let event = queue.lock().await.recv().await?;
                    return Some(invocation(event));
                }
                let body = request.into_body();
                let result = if path.ends_with("/response") { Ok(body) } else { Err(body) };
                done.send(result).await.ok()?;
                Some(status(StatusCode::ACCEPTED))
            }
        }));
        let process = Command::new(binary)
            .env_clear()
            .envs(environment)
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_ENDPOINT_URL", aws_url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
        Self { process, events, responses }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id().expect("it runs")
    }

    /// Hands it an event, and waits for its response. What is not a success ends the rig: its numbers would be
    /// those of something else.
    pub(crate) async fn invoke(&mut self, event: &Value) {
        self.events.send(Bytes::from(event.to_string())).await.expect("the function runs");
        let response = timeout(INVOCATION_LIMIT, self.responses.recv()).await.expect("a response in time");
        let body = match response.expect("the function runs") {
            Ok(body) => body,
            Err(body) => panic!("the invocation failed: {}", String::from_utf8_lossy(&body)),
        };
        let response: Value = serde_json::from_slice(&body).unwrap_or_default();
        let succeeded = response["statusCode"].as_u64().is_none_or(|status| (200..300).contains(&status));
        let kept = response["batchItemFailures"].as_array().is_some_and(|kept| !kept.is_empty());
        assert!(succeeded && !kept, "the invocation was refused: {response}");
    }
}

fn invocation(event: Bytes) -> Response<Bytes> {
    let deadline = (u128::from(millis_now()) + INVOCATION_LIMIT.as_millis()).to_string();
    Response::builder()
        .header("lambda-runtime-aws-request-id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd")
        .header("lambda-runtime-deadline-ms", deadline)
        .header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:000000000000:function:bench")
        .header(
            "lambda-runtime-trace-id",
            "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=0",
        )
        .header("content-type", "application/json")
        .body(event)
        .expect("a response")
}

fn status(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}
