//! Calls to tenants' URLs: the only place that makes them, behind the egress guard.
//!
//! The guard asks twice. A host that is an address is checked in the URL, because a resolver is
//! never asked about it; a name is resolved by [`GuardedResolver`], which hands on only addresses
//! that may be called, so the address that was checked is the address connected to. What a name
//! leads to later (DNS rebinding) matters only to later connections, which are checked in turn.

use std::{
    error::Error,
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{
    delivery::{
        Failure, Outcome,
        attempt::{AttemptDetails, EXCERPT_LIMIT, Timing, kept_headers},
    },
    endpoint::egress::{self, Allow},
};
use futures_util::future::BoxFuture;
use reqwest::{
    Client, Request, Response, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{HeaderMap, HeaderValue, RETRY_AFTER},
    redirect,
};
use rustls::ClientConfig;
use tokio::time::{Instant as Deadline, timeout_at};

use super::timing;
use crate::{Fault, runtime::tls};

/// The default time of one attempt, including reading its response.
pub const TIMEOUT: Duration = Duration::from_secs(15);

/// Bytes of a response that are read; the rest is ignored.
const RESPONSE_LIMIT: usize = 64 * 1024;

/// What an HTTP/2 peer may send ahead of our reading, in bytes: what is read at most, whole.
const WINDOW: u32 = 64 * 1024;

/// How long an idle connection is kept. A frozen function resumes with closed ones, so not long.
const POOL_IDLE: Duration = Duration::from_secs(10);

/// What we call ourselves.
pub const USER_AGENT: &str = concat!("core-webhooks/", env!("CARGO_PKG_VERSION"));

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
#[derive(Debug, Clone)]
pub struct Egress {
    client: Client,
    allow: Arc<Allow>,
}

impl Egress {
    /// A caller that is let out to the public internet, and to what `allow` names.
    pub fn new(allow: Allow) -> Result<Self, Fault> {
        Self::with_lookup(allow, Box::new(|name| Box::pin(system_lookup(name))))
    }

    pub(super) fn with_lookup(allow: Allow, lookup: Lookup) -> Result<Self, Fault> {
        Self::with_tls(allow, lookup, tls::client_config(&[b"h2", b"http/1.1"])?)
    }

    pub(super) fn with_tls(allow: Allow, lookup: Lookup, mut tls: ClientConfig) -> Result<Self, Fault> {
        tls.resumption = timing::watched_sessions();
        let allow = Arc::new(allow);
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .connector_layer(timing::Watch)
            .dns_resolver(GuardedResolver { allow: Arc::clone(&allow), lookup })
            .redirect(redirect::Policy::none())
            .pool_idle_timeout(POOL_IDLE)
            .http2_initial_stream_window_size(WINDOW)
            .http2_initial_connection_window_size(WINDOW)
            .no_proxy()
            .user_agent(USER_AGENT)
            .build()
            .map_err(Fault::on("setting up calls to endpoints"))?;
        Ok(Self { client, allow })
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

    async fn try_post(
        &self,
        url: &str,
        headers: HeaderMap,
        body: Vec<u8>,
        deadline: Deadline,
        details: &mut AttemptDetails,
    ) -> Result<Outcome, Failure> {
        let url = Url::parse(url).map_err(|_| Failure::BlockedAddress)?;
        egress::check_url(&url, &self.allow).map_err(|_| Failure::BlockedAddress)?;
        let request = self.client.post(url).headers(headers).body(body).build();
        // URL, headers and body have been parsed, so this cannot fail for any of them.
        let request = request.map_err(|error| classify(&error))?;
        let response = self.send(request, deadline, &mut details.timing).await?;
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

    /// Sends `request`, and once more where an idle connection was used and broke before an
    /// response's head came: the endpoint, a balancer or a NAT has most likely closed it while the
    /// function was frozen or as the request was on its way (RFC 9112, section 9.3.1).
    ///
    /// Below this, hyper takes another connection if an idle one is found closed before the
    /// request is written, and reqwest repeats what an HTTP/2 peer says it did not process
    /// (`REFUSED_STREAM`, or a `GOAWAY` without error). What is left is a request that was
    /// written and perhaps read; sending it again may deliver it twice, with one `webhook-id`, as
    /// any retry may. A head that breaks off or is garbled counts as none: reqwest's error does
    /// not distinguish them. A new connection that breaks is a failure at once.
    async fn send(
        &self,
        request: Request,
        deadline: Deadline,
        timing: &mut Timing,
    ) -> Result<Response, Failure> {
        let again = request.try_clone();
        let (sent, on_idle) = self.send_once(request, deadline, timing).await;
        match (sent, again) {
            (Err(Failure::Protocol), Some(again)) if on_idle => {
                tracing::debug!("idle connection broke; sending once more");
                self.send_once(again, deadline, timing).await.0
            }
            (sent, _) => sent,
        }
    }

    /// Also says whether the request went out on an idle connection. reqwest does not report it.
    async fn send_once(
        &self,
        request: Request,
        deadline: Deadline,
        timing: &mut Timing,
    ) -> (Result<Response, Failure>, bool) {
        let began = Instant::now();
        let (sent, notes) = timing::noted(timeout_at(deadline, self.client.execute(request))).await;
        let sent = match sent {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(classify(&error)),
            Err(_) => Err(Failure::Timeout),
        };
        *timing = notes.timing(began, Instant::now(), sent.as_ref().ok().map(Response::extensions));
        (sent, notes.went_on_idle())
    }
}

/// Reads a response to its end where it is short, so that the connection can be used again, and
/// keeps its first [`EXCERPT_LIMIT`] bytes in `head`. A long one is left, which closes its
/// connection.
async fn read(mut response: Response, head: &mut Vec<u8>) -> Result<(), reqwest::Error> {
    let mut read = 0;
    while let Some(chunk) = response.chunk().await? {
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
fn classify(error: &reqwest::Error) -> Failure {
    if error.is_timeout() {
        return Failure::Timeout;
    }
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(guard) = error.downcast_ref::<GuardError>() {
            return match guard {
                GuardError::NotFound => Failure::Dns,
                GuardError::Refused => Failure::BlockedAddress,
            };
        }
        if error.is::<rustls::Error>() {
            return Failure::Tls;
        }
        // An `io::Error` hides the error it wraps from `source`.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = wrapped.map_or_else(|| error.source(), |inner| Some(inner as &(dyn Error + 'static)));
    }
    if error.is_connect() { Failure::Connect } else { Failure::Protocol }
}

/// Why a name leads nowhere.
#[derive(Debug)]
enum GuardError {
    NotFound,
    Refused,
}

impl fmt::Display for GuardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "the name was not found",
            Self::Refused => "the name leads to an address that may not be called",
        })
    }
}

impl Error for GuardError {}

/// Finds a name's addresses.
pub(super) type Lookup = Box<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// Asks the system's resolver.
async fn system_lookup(name: String) -> io::Result<Vec<IpAddr>> {
    Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
}

/// Resolves names, and refuses those of which any address may not be called: a name that points
/// inside and outside is an attack or a mistake. It is asked once for each new connection.
struct GuardedResolver {
    allow: Arc<Allow>,
    lookup: Lookup,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        timing::asked();
        let allow = Arc::clone(&self.allow);
        let found = (self.lookup)(name.as_str().to_owned());
        Box::pin(async move {
            let addresses = found.await.map_err(|_| GuardError::NotFound)?;
            if addresses.is_empty() {
                return Err(GuardError::NotFound.into());
            }
            if !addresses.iter().all(|address| egress::is_allowed(*address, &allow)) {
                return Err(GuardError::Refused.into());
            }
            timing::resolved();
            // Port 0 is replaced by the URL's.
            Ok(Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}

#[cfg(test)]
pub(super) mod tests;
