//! The proxy between the functions and the stack: it disturbs calls of AWS, and counts them.
//!
//! A rule names operations of AWS and texts that the body holds (a tenant's id, say), so tests
//! that run side by side do not meet each other's faults. Chaos hits by chance whatever comes, and
//! is for runs that have the stack to themselves.

mod call;
mod chaos;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use hyper::{Method, Request, Response, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

pub use call::{Call, Count};
pub use chaos::{PerMille, Plan, Report};

use crate::{
    http_client,
    process::{Kill, Peer},
    server,
};
use call::{Counts, listed};
use chaos::Chaos;

/// What is done to a call.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Kill the calling process; the call never reaches the stack.
    KillBefore,
    /// Let the call through, then kill the calling process before it receives the response.
    KillAfter,
    /// Let the call through, and cut the connection instead of responding.
    LoseResponse,
    /// Respond as a service that is called too often; the call never reaches the stack.
    Throttle,
    /// Cut the connection; the call never reaches the stack.
    Cut,
    /// Let the call through after this long.
    Delay {
        /// In milliseconds.
        ms: u64,
    },
}

/// When to do what.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rule {
    /// The operation, such as `PutItem`; several with commas between them; `*` for any.
    pub operation: String,
    /// Texts that the body must all hold.
    pub contains: Vec<String>,
    /// What to do.
    pub fault: Fault,
    /// How often at most.
    pub times: u32,
}

impl Rule {
    /// A fault for the first calls of this operation whose bodies hold all of these texts.
    #[must_use]
    pub fn new(operation: &str, contains: &[&str], fault: Fault, times: u32) -> Self {
        let contains = contains.iter().map(ToString::to_string).collect();
        Self { operation: operation.to_owned(), contains, fault, times }
    }

    /// A rule that disturbs nothing and counts the calls.
    #[must_use]
    pub fn counting(operation: &str, contains: &[&str]) -> Self {
        Self::new(operation, contains, Fault::Delay { ms: 0 }, u32::MAX)
    }
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
                && listed(rule.operation.split(',').map(str::trim), operation)
                && rule.contains.iter().all(|text| body.contains(text))
        })?;
        *hits += 1;
        Some(rule.fault)
    }
}

struct Proxy {
    client: reqwest::Client,
    upstream: String,
    rules: Rules,
    chaos: Chaos,
    counts: Counts,
    kills: Mutex<Vec<Kill>>,
    /// The events of messages whose sender did not hear that they were sent.
    unheard: Mutex<BTreeSet<String>>,
}

/// Runs the proxy until the process ends. On `control`:
///
/// | request | does |
/// |---|---|
/// | `POST /` of a [`Rule`] | returns its id |
/// | `GET /ID` | how often that rule was applied |
/// | `POST /chaos` of a [`Plan`] | begins chaos, instead of any that runs |
/// | `GET /chaos`, `DELETE /chaos` | its [`Report`]; `DELETE` ends it |
/// | `GET /counts` | a [`Count`] per operation and function, of the calls that the stack responded to |
/// | `POST /counts/reset` | begins to count at 0 |
/// | `GET /kills` | each [`Kill`] since the proxy began |
/// | `GET /unheard` | ids of the events in messages that were sent, and whose sender got no response |
pub async fn run(listen: SocketAddr, control: SocketAddr, upstream: String) -> std::io::Result<()> {
    let calls = TcpListener::bind(listen).await?;
    let controls = TcpListener::bind(control).await?;
    let proxy = Arc::new(Proxy {
        client: http_client(),
        upstream,
        rules: Rules::default(),
        chaos: Chaos::default(),
        counts: Counts::default(),
        kills: Mutex::default(),
        unheard: Mutex::default(),
    });
    let steered = Arc::clone(&proxy);
    let forward = move |peer: Arc<Peer>, request| {
        let proxy = Arc::clone(&proxy);
        async move { proxy.forward(&peer, request).await }
    };
    let steer = move |_, request| {
        let response = steered.steer(&request);
        async move { Some(response) }
    };
    tokio::join!(server::serve(calls, forward), server::serve(controls, steer));
    Ok(())
}

impl Proxy {
    fn steer(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let text = match (request.method(), request.uri().path()) {
            (&Method::POST, "/") => json(request.body()).map(|rule| self.rules.add(rule).to_string()),
            (&Method::POST, "/chaos") => {
                json(request.body()).and_then(|plan| self.chaos.begin(plan).then(String::new))
            }
            (&Method::GET, "/chaos") => Some(text(&self.chaos.report())),
            (&Method::DELETE, "/chaos") => Some(text(&self.chaos.end())),
            (&Method::GET, "/counts") => Some(text(&self.counts.all())),
            (&Method::POST, "/counts/reset") => {
                self.counts.begin();
                Some(String::new())
            }
            (&Method::GET, "/kills") => Some(text(&*self.kills.lock().expect("no panic with it"))),
            (&Method::GET, "/unheard") => Some(text(&*self.unheard.lock().expect("no panic with it"))),
            (&Method::GET, path) => {
                path[1..].parse().ok().and_then(|id| self.rules.hits(id)).map(|hits| hits.to_string())
            }
            _ => None,
        };
        let mut response = Response::default();
        match text {
            Some(text) => *response.body_mut() = text.into(),
            None => *response.status_mut() = StatusCode::BAD_REQUEST,
        }
        response
    }

    async fn forward(&self, peer: &Peer, request: Request<Bytes>) -> Option<Response<Bytes>> {
        let call = Call::of(&request);
        let disturbed = call.as_ref().filter(|call| call.targeted).and_then(|call| {
            let body = String::from_utf8_lossy(request.body());
            let fault = self.rules.apply(&call.operation, &body).or_else(|| self.chaos.draw(call, peer))?;
            Some((call, fault))
        });
        match disturbed {
            Some((_, Fault::KillBefore)) => {
                self.kill(peer);
                return None;
            }
            Some((_, Fault::Cut)) => return None,
            Some((call, Fault::Throttle)) => return Some(call.throttled()),
            Some((_, Fault::Delay { ms })) => tokio::time::sleep(Duration::from_millis(ms)).await,
            Some((call, Fault::KillAfter | Fault::LoseResponse))
                if call.operation.starts_with("SendMessage") =>
            {
                let events = event_ids(&String::from_utf8_lossy(request.body()));
                self.unheard.lock().expect("no panic with it").extend(events);
            }
            Some((_, Fault::KillAfter | Fault::LoseResponse)) | None => {}
        }
        let sent = request.body().len();
        let response = self.ask(request).await?;
        if let Some(call) = &call {
            self.counts.add(call, peer, call.milliunits(sent, &response));
        }
        match disturbed {
            Some((_, Fault::KillAfter)) => {
                self.kill(peer);
                None
            }
            Some((_, Fault::LoseResponse)) => None,
            _ => Some(response),
        }
    }

    fn kill(&self, peer: &Peer) {
        let Some(kill) = peer.pid().and_then(Kill::now) else { return };
        self.kills.lock().expect("no panic with it").push(kill);
    }

    async fn ask(&self, request: Request<Bytes>) -> Option<Response<Bytes>> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        // The runtime's own long poll gets no response while there is nothing to do.
        let upstream = self
            .client
            .request(parts.method, format!("{}{path}", self.upstream))
            .headers(parts.headers)
            .body(body)
            .timeout(Duration::from_mins(2))
            .send()
            .await
            .ok()?;
        let (status, headers) = (upstream.status(), upstream.headers().clone());
        let mut response = Response::new(upstream.bytes().await.ok()?);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        // The body is whole here, so its length is set anew.
        response.headers_mut().remove("transfer-encoding");
        Some(response)
    }
}

/// The ids of events in a text.
fn event_ids(text: &str) -> Vec<String> {
    const PREFIX: &str = "evt_";
    let ids = text.match_indices(PREFIX).map(|(start, _)| {
        let end = text[start + PREFIX.len()..].find(|letter: char| !letter.is_ascii_alphanumeric());
        text[start..end.map_or(text.len(), |end| start + PREFIX.len() + end)].to_owned()
    });
    ids.collect()
}

fn json<T: serde::de::DeserializeOwned>(body: &[u8]) -> Option<T> {
    serde_json::from_slice(body).ok()
}

fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("it is JSON")
}

#[cfg(test)]
mod tests;
