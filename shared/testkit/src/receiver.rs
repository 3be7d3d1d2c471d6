//! A tenant's endpoint: a real HTTP server that keeps what it gets.

use std::{
    net::SocketAddr,
    ops::Deref,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::Response;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::{eventually, process::Peer, server};

/// A response of the receiver.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(&'static str, String)>,
    /// How long it takes first.
    pub delay: Duration,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    /// A response at once.
    pub fn status(status: u16) -> Self {
        // 204 has no body.
        let body = if status == 204 { Bytes::new() } else { Bytes::from_static(b"noted") };
        Self { status, headers: Vec::new(), delay: Duration::ZERO, body }
    }

    /// A response with JSON.
    pub fn json(status: u16, body: &Value) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self { headers, body: body.to_string().into(), ..Self::status(status) }
    }

    /// No response: the connection is cut.
    pub fn cut() -> Self {
        // No status of HTTP.
        Self::status(0)
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// A response after a delay.
    pub fn after(delay: Duration) -> Self {
        Self { delay, ..Self::status(200) }
    }
}

/// A request that came in.
#[derive(Debug, Clone)]
pub struct ReceivedRequest {
    /// The method.
    pub method: String,
    /// The path, with the query.
    pub path: String,
    /// Header names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, byte for byte.
    pub body: Bytes,
    /// Who sent it.
    pub peer: SocketAddr,
    /// When.
    pub at: Instant,
}

impl ReceivedRequest {
    /// A header.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or_else(|| panic!("there is no header {name} in {:?}", self.headers), |(_, value)| value)
    }

    /// The `webhook-id`.
    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a webhook's body is JSON")
    }
}

type Requests = Arc<Mutex<Vec<ReceivedRequest>>>;

/// The server; it ends with its value.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    requests: Requests,
    task: tokio::task::JoinHandle<()>,
}

impl Receiver {
    /// Starts one that always responds with 200.
    pub async fn start() -> Self {
        Self::responding(|_| Reply::status(200)).await
    }

    /// Starts one that responds to the n-th request (from 0) with what `reply` returns.
    pub async fn responding(reply: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::responding_to(move |n, _| reply(n)).await
    }

    /// The same with a response to what the request is.
    pub async fn responding_to(
        reply: impl Fn(usize, &ReceivedRequest) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its own address");
        let requests = Requests::default();
        let kept = Arc::clone(&requests);
        let handle = move |peer: Arc<Peer>, request: hyper::Request<Bytes>| {
            let headers = request.headers().iter();
            let headers = headers.map(|(name, value)| {
                (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            });
            let received = ReceivedRequest {
                method: request.method().to_string(),
                path: request.uri().to_string(),
                headers: headers.collect(),
                body: request.body().clone(),
                peer: peer.address,
                at: Instant::now(),
            };
            let n = {
                let mut kept = kept.lock().expect("no test panicked with it");
                kept.push(received.clone());
                kept.len() - 1
            };
            let reply = reply(n, &received);
            async move {
                tokio::time::sleep(reply.delay).await;
                let mut response = Response::builder().status(reply.status);
                for (name, value) in reply.headers {
                    response = response.header(name, value);
                }
                response.body(reply.body).ok()
            }
        };
        let task = tokio::spawn(server::serve(listener, handle));
        Self { address, requests, task }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}/webhooks", self.address)
    }

    /// All that has come so far.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.requests.lock().expect("no test panicked with it").clone()
    }

    /// How many have come so far.
    pub fn count(&self) -> usize {
        self.requests.lock().expect("no test panicked with it").len()
    }

    /// Waits until `count` requests have come.
    pub async fn wait_for(&self, count: usize, limit: Duration) -> Vec<ReceivedRequest> {
        let what = format!("{count} requests at {}", self.url());
        eventually(&what, limit, || async {
            // A copy of many requests takes long.
            (self.count() >= count).then(|| self.requests())
        })
        .await
    }
}

/// A receiver that responds with 500 until it recovers, and with 200 then.
#[derive(Debug)]
pub struct FlakyReceiver {
    receiver: Receiver,
    recovered: Arc<AtomicBool>,
}

impl FlakyReceiver {
    /// Starts one that fails.
    pub async fn failing() -> Self {
        let recovered = Arc::new(AtomicBool::new(false));
        let read = Arc::clone(&recovered);
        let status = move || if read.load(Ordering::Relaxed) { 200 } else { 500 };
        Self { receiver: Receiver::responding(move |_| Reply::status(status())).await, recovered }
    }

    /// From now on it responds with 200.
    pub fn recover(&self) {
        self.recovered.store(true, Ordering::Relaxed);
    }
}

impl Deref for FlakyReceiver {
    type Target = Receiver;

    fn deref(&self) -> &Receiver {
        &self.receiver
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}
