//! A call that is sent exactly once, on a connection of its own: to the token endpoint of a provider, and for its keys.
//!
//! A refresh token that rotates, and an authorization code, can be redeemed once (RFC 6749, sections 4.1.2 and 10.4):
//! a second copy of the request makes providers revoke the whole grant. So nothing here, nor below, sends a request
//! again, no idle connection is used, which may break under a request, and the caller learns whether any byte of the
//! request was written. HTTP/1.1 alone, since one request gains nothing from more.

use std::{
    fmt,
    future::poll_fn,
    io::{self, Read},
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use domain::delivery::Failure;
use flate2::read::MultiGzDecoder;
use http::{
    HeaderValue, Request, Response, Uri, Version,
    header::{
        ACCEPT, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, HOST, HeaderMap, TRANSFER_ENCODING, USER_AGENT,
    },
    response, uri,
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use rustls::{ClientConfig, client::Resumption};
use tokio::time::timeout_at;
use tower_service::Service;

use super::{Deadline, Egress, OUR_NAME, RESPONSE_LIMIT, known_cause, wire::Traffic};

/// The time of one call to a token endpoint, including reading its response.
pub const TOKEN_TIMEOUT: Duration = Duration::from_secs(10);

/// TLS sessions that are kept for resumption: providers are few.
const SESSIONS: usize = 32;

/// Why there is no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExchangeError {
    /// No byte of the request was written, so the peer has not processed it.
    NotSent(Failure),
    /// The request was written, in part or whole, and its response was lost or is unreadable: whether the peer has
    /// processed it is unknown.
    EffectUnknown(Failure),
}

impl ExchangeError {
    /// What failed.
    #[must_use]
    pub fn failure(self) -> Failure {
        match self {
            Self::NotSent(failure) | Self::EffectUnknown(failure) => failure,
        }
    }
}

impl fmt::Display for ExchangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sent =
            if matches!(self, Self::NotSent(_)) { "not sent" } else { "sent, and its effect is unknown" };
        write!(f, "{}; the request was {sent}", self.failure())
    }
}

impl std::error::Error for ExchangeError {}

/// The TLS of these calls, with sessions of their own.
pub(super) fn tls(mut tls: ClientConfig) -> ClientConfig {
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    tls.resumption = Resumption::in_memory_sessions(SESSIONS);
    tls
}

impl Egress {
    /// Sends `request` once, on a new connection, and returns whatever the peer responds: any status, and a redirect as it
    /// is. The method, absolute URL, headers and body are the caller's; `accept` is JSON unless it is set.
    ///
    /// A body of up to 64 KiB is returned, and a longer one is an error. gzip is decoded within the same limit, whether
    /// asked for or not, since some providers send it to every client. `timeout` is for all of it.
    ///
    /// # Errors
    /// [`ExchangeError`], which says whether the request was sent.
    pub async fn exchange(
        &self,
        request: Request<Vec<u8>>,
        timeout: Duration,
    ) -> Result<Response<Vec<u8>>, ExchangeError> {
        self.exchange_up_to(RESPONSE_LIMIT, request, timeout).await
    }

    /// The same with a body of up to `limit` bytes, compressed and not. For pages of third parties' APIs: HTTP/1.1 reads
    /// them at the speed of the connection, where our window of HTTP/2 would not.
    ///
    /// # Errors
    /// [`ExchangeError`], which says whether the request was sent.
    pub async fn exchange_up_to(
        &self,
        limit: usize,
        request: Request<Vec<u8>>,
        timeout: Duration,
    ) -> Result<Response<Vec<u8>>, ExchangeError> {
        let deadline: Deadline = (Instant::now() + timeout).into();
        let mut traffic = None;
        let responded = timeout_at(deadline, self.call(limit, request, &mut traffic)).await;
        responded.unwrap_or(Err(Failure::Timeout)).map_err(|failure| {
            let was_sent = traffic.is_some_and(|traffic| traffic.sent() > 0);
            if was_sent { ExchangeError::EffectUnknown(failure) } else { ExchangeError::NotSent(failure) }
        })
    }

    /// `traffic` is set once there is a connection.
    async fn call(
        &self,
        limit: usize,
        request: Request<Vec<u8>>,
        traffic: &mut Option<Arc<Traffic>>,
    ) -> Result<Response<Vec<u8>>, Failure> {
        let uri = self.guarded(&request.uri().to_string())?;
        let request = prepared(request, &uri)?;
        let mut connector = self.single.clone();
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| known_cause(&*error);
        poll_fn(|context| connector.poll_ready(context)).await.map_err(|_| Failure::Connect)?;
        let connected = connector.call(uri).await;
        let stream = connected.map_err(|error| failed(error).unwrap_or(Failure::Connect))?;
        *traffic = Some(stream.inner().traffic());
        // A malformed header that is not used must not cost the tokens beside it; the connection has no second response.
        let handshake = http1::Builder::new().ignore_invalid_headers_in_responses(true).handshake(stream);
        let (mut sender, connection) = handshake.await.map_err(|error| failed_after(&error))?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| failed_after(&error))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, limit).collect().await.map_err(|_| Failure::Body)?;
            decoded(head, &body.to_bytes(), limit)
        };
        // The connection is driven here and not in a task of its own, so that it ends with the call.
        let (mut connection, mut exchange, mut ended) = (pin!(connection), pin!(exchange), false);
        poll_fn(|context| {
            // How it ended is reported to the exchange.
            ended = ended || connection.as_mut().poll(context).is_ready();
            exchange.as_mut().poll(context)
        })
        .await
    }
}

/// The request as it is written: a path, a host, and the headers that every call has.
fn prepared(request: Request<Vec<u8>>, uri: &Uri) -> Result<Request<Full<Bytes>>, Failure> {
    let (mut head, body) = request.into_parts();
    let path = uri.path_and_query().map_or("/", uri::PathAndQuery::as_str);
    head.uri = path.parse().map_err(|_| Failure::BlockedAddress)?;
    head.version = Version::HTTP_11;
    let host = uri.host().unwrap_or_default();
    let host = uri.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let headers = &mut head.headers;
    headers.insert(HOST, HeaderValue::try_from(host).map_err(|_| Failure::BlockedAddress)?);
    headers.insert(USER_AGENT, HeaderValue::from_static(OUR_NAME));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
    // How the body is framed follows from the body.
    headers.remove(CONTENT_LENGTH);
    headers.remove(TRANSFER_ENCODING);
    Ok(Request::from_parts(head, Full::from(body)))
}

fn failed_after(error: &hyper::Error) -> Failure {
    known_cause(error).unwrap_or(Failure::Protocol)
}

/// The response with its body as it was before it was compressed.
fn decoded(mut head: response::Parts, body: &[u8], limit: usize) -> Result<Response<Vec<u8>>, Failure> {
    let body = match encoding(&head.headers)? {
        Encoding::Identity => body.to_vec(),
        Encoding::Gzip => gunzip(body, limit).map_err(|_| Failure::Body)?,
    };
    head.headers.remove(CONTENT_ENCODING);
    head.headers.remove(CONTENT_LENGTH);
    Ok(Response::from_parts(head, body))
}

enum Encoding {
    Identity,
    Gzip,
}

/// RFC 9110, section 8.4.1.3: `x-gzip` is gzip. Two encodings on top of each other are refused.
fn encoding(headers: &HeaderMap) -> Result<Encoding, Failure> {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    let value = values.next().map_or(&b""[..], HeaderValue::as_bytes).trim_ascii().to_ascii_lowercase();
    match (&*value, values.next()) {
        (b"" | b"identity", None) => Ok(Encoding::Identity),
        (b"gzip" | b"x-gzip", None) => Ok(Encoding::Gzip),
        _ => Err(Failure::Body),
    }
}

fn gunzip(body: &[u8], limit: usize) -> io::Result<Vec<u8>> {
    // A response without a body, such as a 304, may still name its encoding.
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let mut plain = Vec::new();
    let read = MultiGzDecoder::new(body).take(limit as u64 + 1).read_to_end(&mut plain)?;
    if read > limit { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(plain) }
}

#[cfg(test)]
mod tests;
