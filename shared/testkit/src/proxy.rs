//! The proxy between the functions and the stack, which can kill a caller at a chosen call.
//!
//! A rule names an operation of AWS and a text that its body holds (a tenant's id, say), so
//! tests that run side by side do not meet each other's faults.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use hyper::{Request, Response};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::{http_client, process, server};

/// What a rule does to a call.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Kill the calling process; the call never reaches the stack.
    KillBefore,
    /// Let the call through, then kill the calling process before it hears the answer.
    KillAfter,
    /// Let the call through, and cut the connection instead of answering.
    LoseAnswer,
}

/// When to do what.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rule {
    /// The operation, such as `PutItem`.
    pub operation: String,
    /// Texts that the body must all hold.
    pub contains: Vec<String>,
    /// What to do.
    pub fault: Fault,
    /// How often at most.
    pub times: u32,
}

#[derive(Default)]
struct Rules(Mutex<Vec<(Rule, u32)>>);

impl Rules {
    fn add(&self, rule: Rule) -> usize {
        let mut rules = self.0.lock().expect("no panic with it");
        rules.push((rule, 0));
        rules.len() - 1
    }

    fn hits(&self, id: usize) -> Option<u32> {
        self.0.lock().expect("no panic with it").get(id).map(|(_, hits)| *hits)
    }

    /// The fault for this call, which is counted.
    fn apply(&self, operation: &str, body: &str) -> Option<Fault> {
        let mut rules = self.0.lock().expect("no panic with it");
        let (rule, hits) = rules.iter_mut().find(|(rule, hits)| {
            *hits < rule.times
                && rule.operation == operation
                && rule.contains.iter().all(|text| body.contains(text))
        })?;
        *hits += 1;
        Some(rule.fault)
    }
}

/// Runs the proxy until the process ends. On `control`, `POST` of a rule answers its id, and
/// `GET /ID` how often it was applied.
pub async fn run(listen: SocketAddr, control: SocketAddr, upstream: String) -> std::io::Result<()> {
    let rules = Arc::new(Rules::default());
    let proxy = TcpListener::bind(listen).await?;
    let controls = TcpListener::bind(control).await?;
    let client = http_client();
    let applied = Arc::clone(&rules);
    let forward = move |peer, request| {
        let (client, rules, upstream) = (client.clone(), Arc::clone(&applied), upstream.clone());
        async move { forward(&client, &rules, &upstream, peer, request).await }
    };
    let steer = move |_, request| {
        let answer = steer(&rules, &request);
        async move { Some(answer) }
    };
    tokio::join!(server::serve(proxy, forward), server::serve(controls, steer));
    Ok(())
}

fn steer(rules: &Rules, request: &Request<Bytes>) -> Response<Bytes> {
    let answer = if request.method() == hyper::Method::POST {
        serde_json::from_slice(request.body()).ok().map(|rule| rules.add(rule).to_string())
    } else {
        request.uri().path()[1..].parse().ok().and_then(|id| rules.hits(id)).map(|hits| hits.to_string())
    };
    let mut response = Response::default();
    match answer {
        Some(text) => *response.body_mut() = text.into(),
        None => *response.status_mut() = hyper::StatusCode::BAD_REQUEST,
    }
    response
}

async fn forward(
    client: &reqwest::Client,
    rules: &Rules,
    upstream: &str,
    peer: SocketAddr,
    request: Request<Bytes>,
) -> Option<Response<Bytes>> {
    let target =
        request.headers().get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default();
    let fault = rules.apply(operation, &String::from_utf8_lossy(request.body()));
    if let Some(Fault::KillBefore) = fault {
        kill(peer);
        return None;
    }
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    // The runtime's own long poll never answers while there is nothing to do.
    let answer = client
        .request(parts.method, format!("{upstream}{path}"))
        .headers(parts.headers)
        .body(body)
        .timeout(Duration::from_mins(2))
        .send()
        .await
        .ok()?;
    match fault {
        Some(Fault::KillAfter) => {
            kill(peer);
            return None;
        }
        Some(Fault::LoseAnswer) => return None,
        Some(Fault::KillBefore) | None => {}
    }
    let (status, headers) = (answer.status(), answer.headers().clone());
    let mut response = Response::new(answer.bytes().await.ok()?);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    // The body is whole here, so its length is set anew.
    response.headers_mut().remove("transfer-encoding");
    Some(response)
}

fn kill(peer: SocketAddr) {
    if let Some(pid) = process::of_peer(peer) {
        process::kill(pid);
    }
}
