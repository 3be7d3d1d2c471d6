//! `receiver`: an endpoint in a process of its own, for the bench. It responds with 200 to whatever is
//! posted and keeps when it came, by its `webhook-id`. Its first line is its URL.
//!
//! `GET /count` returns how many came, `GET /arrivals` when they came (seconds since 1970, the
//! first of each id), `POST /reset` forgets them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use bytes::Bytes;
use hyper::{Method, Request, Response};
use testkit::server;
use tokio::net::TcpListener;

#[derive(Default)]
struct KeptRequest {
    count: u64,
    arrivals: HashMap<String, f64>,
}

// One thread: where the machine has two cores, what is measured needs the other.
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    println!("http://{}", listener.local_addr().expect("its own address"));
    let kept = Arc::new(Mutex::new(KeptRequest::default()));
    server::serve(listener, move |_, request| {
        let response = response(&mut kept.lock().expect("no panic with it"), &request);
        async move { Some(Response::new(response)) }
    })
    .await;
}

fn response(kept: &mut KeptRequest, request: &Request<Bytes>) -> Bytes {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/count") => kept.count.to_string().into(),
        (&Method::GET, "/arrivals") => serde_json::to_string(&kept.arrivals).expect("JSON").into(),
        (&Method::POST, "/reset") => {
            *kept = KeptRequest::default();
            Bytes::new()
        }
        _ => {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock after 1970");
            kept.count += 1;
            if let Some(id) = request.headers().get("webhook-id").and_then(|id| id.to_str().ok()) {
                kept.arrivals.entry(id.to_owned()).or_insert(now.as_secs_f64());
            }
            Bytes::from_static(b"noted")
        }
    }
}
