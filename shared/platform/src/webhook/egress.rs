//! Calls to tenants' URLs: the only place that makes them, behind the egress guard.
//!
//! The guard asks twice. A host that is an address is checked in the URL, because a resolver is
//! never asked about it; a name is resolved by the guarded resolver of [`connector`], which hands on
//! only addresses that may be called, so the address that was checked is the address connected to. What
//! a name leads to later (DNS rebinding) matters only to later connections, which are checked in turn.

mod connector;
mod exchange;
mod response;
mod wire;

use std::{
    error::Error,
    fmt, io,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use domain::{
    delivery::{
        Failure, Outcome,
        attempt::{AttemptDetails, EXCERPT_LIMIT, kept_headers},
    },
    endpoint::egress::{self, Allow},
};
use futures_util::future::poll_fn;
use http::{
    Extensions, HeaderMap, HeaderValue, Method, Request, Response, Uri,
    header::{ACCEPT, RETRY_AFTER, USER_AGENT},
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{
        Client,
        connect::{CaptureConnection, HttpInfo, capture_connection},
    },
    rt::{TokioExecutor, TokioTimer},
};
use rustls::ClientConfig;
use tokio::time::{Instant as Deadline, timeout_at};
use url::Url;

pub(super) use self::connector::Lookup;
pub use self::exchange::{ExchangeError, TOKEN_TIMEOUT};
use self::{
    connector::{Connector, GuardError, system_lookup},
    wire::Traffic,
};
use super::timing::{self, Ends};
use crate::{
    Fault,
    runtime::{config::OUR_NAME, tls},
};

/// The default time of one attempt, including reading its response.
pub const TIMEOUT: Duration = Duration::from_secs(15);

/// Bytes of a response that are read; the rest is ignored.
const RESPONSE_LIMIT: usize = 64 * 1024;

/// The longest head of an HTTP/2 response, in bytes as its section 6.5.2 counts them.
const HTTP2_HEAD_LIMIT: u32 = 256 * 1024;

/// What an HTTP/2 peer may send ahead of our reading, in bytes: what is read at most, whole.
const WINDOW: u32 = 64 * 1024;

/// How long an idle connection is kept. A frozen function resumes with closed ones, so not long.
const POOL_IDLE: Duration = Duration::from_secs(10);

/// The outcome of a call, and how long it took.
#[derive(Debug, Clone)]
pub struct CallOutcome {
    /// What the endpoint did.
    pub outcome: Outcome,
    /// How long all of it took.
    pub took: Duration,
    /// Its details.
    pub details: AttemptDetails,
}

impl CallOutcome {
    /// How long all of it took, in milliseconds.
    #[must_use]
    pub fn took_ms(&self) -> u32 {
        timing::millis(self.took)
    }
}

/// Makes the calls.
#[derive(Clone)]
pub struct Egress {
    client: Client<Connector, Full<Bytes>>,
    /// For calls with a connection of their own.
    single: Connector,
    allow: Arc<Allow>,
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Egress").field("allow", &self.allow).finish_non_exhaustive()
    }
}

impl Egress {
    /// A caller that is let out to the public internet, and to what `allow` names.
    pub fn new(allow: Allow) -> Result<Self, Fault> {
        Self::with_lookup(allow, Box::new(|name| Box::pin(system_lookup(name))))
    }

    pub(super) fn with_lookup(allow: Allow, lookup: Lookup) -> Result<Self, Fault> {
        Ok(Self::with_tls(allow, lookup, tls::client_config(&[b"h2", b"http/1.1"])?))
    }

    pub(super) fn with_tls(allow: Allow, lookup: Lookup, mut tls: ClientConfig) -> Self {
        tls.resumption = timing::watched_sessions();
        let (allow, lookup) = (Arc::new(allow), Arc::new(lookup));
        let single =
            Connector::new(Arc::clone(&allow), Arc::clone(&lookup), exchange::tls(tls.clone())).raw();
        // Not among its settings: redirects, proxies and cookies, which this client does not have.
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .http2_initial_stream_window_size(WINDOW)
            .http2_initial_connection_window_size(WINDOW)
            .http2_max_header_list_size(HTTP2_HEAD_LIMIT)
            .build(Connector::new(Arc::clone(&allow), lookup, tls));
        Self { client, single, allow }
    }

    /// Posts `body`. What the endpoint does, or does not do, is an outcome and never an error.
    ///
    /// `timeout` is for all of it: lookup, connection, TLS, the request, the response's head
    /// and its body. A 2xx whose body does not end within it is [`Failure::Body`]; any other
    /// status counts, whether its body can be read or not. A response longer than
    /// 64 KiB counts by its status, and its rest is not read.
    pub async fn post(&self, url: &str, headers: HeaderMap, body: Vec<u8>, timeout: Duration) -> CallOutcome {
        let began = Instant::now();
        let mut details = AttemptDetails::default();
        let tried = self.try_post(url, headers, body, (began + timeout).into(), &mut details).await;
        CallOutcome { outcome: tried.unwrap_or_else(Outcome::Failed), took: began.elapsed(), details }
    }

    /// Gets a document of at most 64 KiB with a 200, such as the keys that a provider publishes. `timeout` is for all of it.
    ///
    /// # Errors
    /// [`Failure`], also where the response has another status or is longer.
    pub async fn get(&self, url: &str, timeout: Duration) -> Result<Vec<u8>, Failure> {
        let deadline: Deadline = (Instant::now() + timeout).into();
        let mut request = Request::new(Full::default());
        *request.uri_mut() = self.guarded(url)?;
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(OUR_NAME));
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        let response = self.send(request, deadline, &mut AttemptDetails::default()).await?;
        if response.status() != http::StatusCode::OK {
            return Err(Failure::Protocol);
        }
        let body = Limited::new(response.into_body(), RESPONSE_LIMIT).collect();
        match timeout_at(deadline, body).await {
            Ok(Ok(body)) => Ok(body.to_bytes().to_vec()),
            Ok(Err(_)) => Err(Failure::Body),
            Err(_) => Err(Failure::Timeout),
        }
    }

    /// A URL that may be called.
    fn guarded(&self, url: &str) -> Result<Uri, Failure> {
        let url = Url::parse(url).map_err(|_| Failure::BlockedAddress)?;
        egress::check_url(&url, &self.allow).map_err(|_| Failure::BlockedAddress)?;
        Uri::try_from(url.as_str()).map_err(|_| Failure::BlockedAddress)
    }

    async fn try_post(
        &self,
        url: &str,
        headers: HeaderMap,
        body: Vec<u8>,
        deadline: Deadline,
        details: &mut AttemptDetails,
    ) -> Result<Outcome, Failure> {
        let uri = self.guarded(url)?;
        let mut request = Request::new(Full::from(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(OUR_NAME));
        request.headers_mut().entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        let response = self.send(request, deadline, details).await?;
        let status = response.status();
        let header = |name: &str| response.headers().get(name);
        let retry_after =
            header(RETRY_AFTER.as_str()).and_then(|value| value.to_str().ok()).map(str::to_owned);
        details.headers = kept_headers(status.as_u16(), |name| header(name).map(HeaderValue::as_bytes));
        let mut head = Vec::new();
        let read = timeout_at(deadline, read(response, &mut head)).await;
        if status.is_success() && !matches!(read, Ok(Ok(()))) {
            return Err(Failure::Body);
        }
        Ok(Outcome::Response { status: status.as_u16(), retry_after, excerpt: excerpt(&head) })
    }

    /// Sends `request`, and once more where nothing of a response has come and one of these holds:
    ///
    /// - An HTTP/2 peer says that it did not process the request (RFC 9113, section 8.7).
    /// - An idle connection was used and broke: the endpoint, a balancer or a NAT has most likely
    ///   closed it while the function was frozen, or as the request was on its way (RFC 9112,
    ///   section 9.3.1).
    ///
    /// RFC 9110, section 9.2.2, lets a client repeat a POST only if it knows that the request is in
    /// fact idempotent, or was not applied. In the first case the peer says the latter. In the
    /// second the former holds: both copies have one `webhook-id`, by which a receiver knows them,
    /// and the next attempt would send the same copy. After any byte of a response, even of an
    /// interim one or of a malformed head, the receiver has read the request, so it is not sent again.
    /// Below this, hyper takes another connection if an idle one is closed before the request is
    /// written.
    async fn send(
        &self,
        request: Request<Full<Bytes>>,
        deadline: Deadline,
        details: &mut AttemptDetails,
    ) -> Result<Response<Incoming>, Failure> {
        let again = request.clone();
        let first = self.send_once(request, deadline, details).await;
        match first {
            Err(NoResponse { repeatable: true, .. }) => {
                tracing::debug!("no response; sending once more");
                self.send_once(again, deadline, details).await
            }
            first => first,
        }
        .map_err(|none| none.failure)
    }

    async fn send_once(
        &self,
        mut request: Request<Full<Bytes>>,
        deadline: Deadline,
        details: &mut AttemptDetails,
    ) -> Result<Response<Incoming>, NoResponse> {
        let began = Instant::now();
        let captured = capture_connection(&mut request);
        let mut using = None;
        let (sent, notes) = timing::noted(async {
            let mut sending = pin!(self.client.request(request));
            let watched = poll_fn(|context| {
                let polled = sending.as_mut().poll(context);
                // The connection's own task has not run since it got the request.
                Using::note(&mut using, &captured);
                polled
            });
            timeout_at(deadline, watched).await
        })
        .await;
        let responded = matches!(sent, Ok(Ok(_)));
        let ends = using.as_ref().and_then(|using| using.ends);
        details.timing = notes.timing(began, Instant::now(), ends, responded);
        details.sent |= using.as_ref().is_some_and(Using::has_sent);
        match sent {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => {
                let failure = classify(&error);
                let idle = using.is_some_and(|using| using.was_used && !using.has_received());
                let repeatable = was_refused(&error) || (idle && failure == Failure::Protocol);
                Err(NoResponse { failure, repeatable })
            }
            Err(_) => Err(NoResponse { failure: Failure::Timeout, repeatable: false }),
        }
    }
}

/// There was no response.
struct NoResponse {
    failure: Failure,
    /// Whether the request may be sent again at once.
    repeatable: bool,
}

/// The connection that a request was given to, and what had passed on it by then.
struct Using {
    traffic: Arc<Traffic>,
    ends: Option<Ends>,
    was_used: bool,
    sent: u64,
    received: u64,
}

impl Using {
    /// Notes the connection where the request was given to one, or to another one than before.
    fn note(using: &mut Option<Self>, captured: &CaptureConnection) {
        let metadata = captured.connection_metadata();
        let Some(connected) = &*metadata else { return };
        let mut extensions = Extensions::new();
        connected.get_extras(&mut extensions);
        let Some(traffic) = extensions.remove::<Arc<Traffic>>() else { return };
        if using.as_ref().is_some_and(|using| Arc::ptr_eq(&using.traffic, &traffic)) {
            return;
        }
        *using = Some(Self {
            ends: extensions.get::<HttpInfo>().map(timing::ends),
            was_used: traffic.begin_use(),
            sent: traffic.sent(),
            received: traffic.received(),
            traffic,
        });
    }

    fn has_sent(&self) -> bool {
        self.traffic.sent() > self.sent
    }

    /// Over HTTP/2 also by another request's frame, which errs on the side of not sending again.
    fn has_received(&self) -> bool {
        self.traffic.received() > self.received
    }
}

/// Reads a response to its end where it is short, so that the connection can be used again, and
/// keeps its first [`EXCERPT_LIMIT`] bytes in `head`. A long one is left, which closes its
/// connection.
async fn read(mut response: Response<Incoming>, head: &mut Vec<u8>) -> Result<(), hyper::Error> {
    let mut read = 0;
    while let Some(frame) = response.body_mut().frame().await {
        let Ok(chunk) = frame?.into_data() else { continue };
        read += chunk.len();
        let room = EXCERPT_LIMIT - head.len();
        head.extend_from_slice(&chunk[..room.min(chunk.len())]);
        if read > RESPONSE_LIMIT {
            break;
        }
    }
    Ok(())
}

/// The beginning of a response as text of at most [`EXCERPT_LIMIT`] bytes. What is not UTF-8
/// becomes replacement characters, which are longer than what they replace.
fn excerpt(head: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(head).into_owned();
    text.truncate(text.floor_char_boundary(EXCERPT_LIMIT));
    text
}

/// What went wrong, by the types in the chain of errors and never by their texts.
fn classify(error: &hyper_util::client::legacy::Error) -> Failure {
    let other = if error.is_connect() { Failure::Connect } else { Failure::Protocol };
    known_cause(error).unwrap_or(other)
}

/// The failure that the guard or TLS is the cause of.
fn known_cause(error: &(dyn Error + 'static)) -> Option<Failure> {
    causes(error).find_map(|error| match error.downcast_ref::<GuardError>() {
        Some(GuardError::NotFound) => Some(Failure::Dns),
        Some(GuardError::Refused) => Some(Failure::BlockedAddress),
        None => error.is::<rustls::Error>().then_some(Failure::Tls),
    })
}

/// Whether an HTTP/2 peer says that it has not processed the request: by `REFUSED_STREAM`, or by a
/// `GOAWAY` whose last stream is an earlier one (RFC 9113, section 8.7). h2 reports a `GOAWAY` to no
/// other streams.
fn was_refused(error: &hyper_util::client::legacy::Error) -> bool {
    causes(error).filter_map(|error| error.downcast_ref::<h2::Error>()).any(|error| {
        error.is_remote()
            && (error.is_go_away()
                || (error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM)))
    })
}

/// An error, what caused it, and so on.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        // An `io::Error` hides the error it wraps from `source`.
        let error: &'a (dyn Error + 'static) = *error;
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        wrapped.map_or_else(|| error.source(), |inner| Some(inner as &(dyn Error + 'static)))
    })
}

#[cfg(test)]
mod http2;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod wild;
