//! Calls to tenants' URLs: the only place that makes them, behind the egress guard.
//!
//! The guard asks twice. A host that is an address is checked in the URL, because a resolver is
//! never asked about it; a name is resolved by [`GuardedResolver`], which hands on only addresses
//! that may be called, so the address that was checked is the address connected to.

use std::{
    error::Error,
    fmt, io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{
    delivery::{EXCERPT_LIMIT, Failure, Outcome},
    egress::{self, Allow},
};
use reqwest::{
    Client, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{HeaderMap, RETRY_AFTER},
    redirect,
};

use crate::{Fault, tls};

/// All the time one attempt has, in which its answer must be read too.
pub const TIMEOUT: Duration = Duration::from_secs(15);

/// Bytes of an answer that are read; the rest is not waited for.
const RESPONSE_LIMIT: usize = 64 * 1024;

/// What an HTTP/2 peer may send ahead of our reading, in bytes: what is read at most, whole.
const WINDOW: u32 = 64 * 1024;

/// How long an idle connection is kept. A frozen function comes back with dead ones, so not long.
const POOL_IDLE: Duration = Duration::from_secs(10);

/// Makes the calls.
#[derive(Debug, Clone)]
pub struct Egress {
    client: Client,
    allow: Arc<Allow>,
}

impl Egress {
    /// A caller that is let out to the public internet, and to what `allow` names.
    pub fn new(allow: Allow) -> Result<Self, Fault> {
        let allow = Arc::new(allow);
        let client = Client::builder()
            .tls_backend_preconfigured(tls::client_config(&[b"h2", b"http/1.1"])?)
            .dns_resolver(GuardedResolver { allow: Arc::clone(&allow) })
            .redirect(redirect::Policy::none())
            .timeout(TIMEOUT)
            .pool_idle_timeout(POOL_IDLE)
            .http2_initial_stream_window_size(WINDOW)
            .http2_initial_connection_window_size(WINDOW)
            .no_proxy()
            .user_agent(concat!("core-webhooks/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(Fault::on("setting up calls to endpoints"))?;
        Ok(Self { client, allow })
    }

    /// Posts `body`. What the endpoint does, or does not do, is an outcome and never an error.
    pub async fn post(&self, url: &str, headers: HeaderMap, body: String) -> (Outcome, Duration) {
        let began = Instant::now();
        let outcome = match self.try_post(url, headers, body).await {
            Ok(outcome) => outcome,
            Err(failure) => Outcome::Failed(failure),
        };
        (outcome, began.elapsed())
    }

    async fn try_post(&self, url: &str, headers: HeaderMap, body: String) -> Result<Outcome, Failure> {
        let url = Url::parse(url).map_err(|_| Failure::RefusedAddress)?;
        egress::check_url(&url, &self.allow).map_err(|_| Failure::RefusedAddress)?;
        let sent = self.client.post(url).headers(headers).body(body).send().await;
        let mut response = sent.map_err(|error| classify(&error))?;
        let status = response.status().as_u16();
        let retry_after =
            response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut head = Vec::new();
        let mut read = 0;
        // Read to its end where it is short, so that the connection can be used again. Where it
        // breaks off, the status has still been given and counts.
        while let Ok(Some(chunk)) = response.chunk().await {
            read += chunk.len();
            let room = EXCERPT_LIMIT - head.len();
            head.extend_from_slice(&chunk[..room.min(chunk.len())]);
            if read > RESPONSE_LIMIT {
                break;
            }
        }
        Ok(Outcome::Answered { status, retry_after, excerpt: excerpt(&head) })
    }
}

/// The beginning of an answer as text of at most [`EXCERPT_LIMIT`] bytes. What is no UTF-8
/// becomes replacement characters, which are longer than what they replace.
fn excerpt(head: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(head).into_owned();
    text.truncate(text.floor_char_boundary(EXCERPT_LIMIT));
    text
}

/// What went wrong, told by the types in the chain of errors and never by their words.
fn classify(error: &reqwest::Error) -> Failure {
    if error.is_timeout() {
        return Failure::Timeout;
    }
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(guard) = error.downcast_ref::<GuardError>() {
            return match guard {
                GuardError::NotFound => Failure::Dns,
                GuardError::Refused => Failure::RefusedAddress,
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

/// Resolves names with the system's resolver, and refuses those of which any address may not
/// be called: a name that points inside and outside is an attack or a mistake.
struct GuardedResolver {
    allow: Arc<Allow>,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow = Arc::clone(&self.allow);
        Box::pin(async move {
            let found =
                tokio::net::lookup_host((name.as_str(), 0)).await.map_err(|_| GuardError::NotFound)?;
            let addresses: Vec<SocketAddr> = found.collect();
            if addresses.is_empty() {
                return Err(GuardError::NotFound.into());
            }
            if !addresses.iter().all(|address| egress::is_allowed(address.ip(), &allow)) {
                return Err(GuardError::Refused.into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn post(allow: &str, url: &str) -> Outcome {
        let egress = Egress::new(allow.parse().unwrap()).unwrap();
        egress.post(url, HeaderMap::new(), "{}".to_owned()).await.0
    }

    #[tokio::test]
    async fn refuses_addresses_and_names_that_lead_to_them() {
        for url in
            ["https://127.0.0.1/", "http://localhost/", "https://localhost/", "https://[::1]/", "nonsense"]
        {
            assert_eq!(post("", url).await, Outcome::Failed(Failure::RefusedAddress), "{url}");
        }
    }

    #[tokio::test]
    async fn tells_failures_apart() {
        // A port that was free a moment ago, and one that speaks no TLS.
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = plain.local_addr().unwrap();
        tokio::spawn(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            while let Ok((mut stream, _)) = plain.accept().await {
                let _ = stream.write_all(b"this is not TLS and not HTTP\r\n\r\n").await;
                // Closing first could reset the connection before the client has read its answer.
                while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {}
            }
        });
        let allow = "127.0.0.1/32";
        for (url, failure) in [
            (format!("http://{closed}/"), Failure::Connect),
            (format!("https://{address}/"), Failure::Tls),
            (format!("http://{address}/"), Failure::Protocol),
            ("https://no-such-host.invalid/".to_owned(), Failure::Dns),
        ] {
            assert_eq!(post(allow, &url).await, Outcome::Failed(failure), "{url}");
        }
    }

    #[test]
    fn excerpts_are_text_within_the_limit() {
        assert_eq!(excerpt(b"ok"), "ok");
        assert!(excerpt(&[0xff; EXCERPT_LIMIT]).len() <= EXCERPT_LIMIT);
        assert!(excerpt(&[0xff; EXCERPT_LIMIT]).starts_with('\u{fffd}'));
    }
}
