//! How connections are made: the guarded look-up, TCP, TLS.

use std::{
    error::Error,
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
    vec,
};

use domain::endpoint::egress::{self, Allow};
use futures_util::future::BoxFuture;
use http::{Uri, uri::Scheme};
use hyper_util::{
    client::legacy::connect::{HttpConnector, dns::Name},
    rt::TokioIo,
};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::wire::{Stream, Wire};
use crate::webhook::timing;

/// How often, and how many times, a silent peer is asked whether it is still there, while a request
/// waits for its response.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 3;

/// Why a name leads nowhere.
#[derive(Debug, Clone, Copy)]
pub(super) enum GuardError {
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
pub(in crate::webhook) type Lookup =
    Box<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// Asks the system's resolver.
pub(super) async fn system_lookup(name: String) -> io::Result<Vec<IpAddr>> {
    Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
}

/// Resolves names, and refuses those of which any address may not be called: a name that points
/// inside and outside is an attack or a mistake. It is asked once for each new connection.
#[derive(Clone)]
struct GuardedResolver {
    allow: Arc<Allow>,
    lookup: Arc<Lookup>,
}

impl Service<Name> for GuardedResolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = GuardError;
    type Future = BoxFuture<'static, Result<Self::Response, GuardError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), GuardError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        timing::asked();
        let allow = Arc::clone(&self.allow);
        let found = (self.lookup)(name.as_str().to_owned());
        Box::pin(async move {
            let addresses = found.await.map_err(|_| GuardError::NotFound)?;
            if addresses.is_empty() {
                return Err(GuardError::NotFound);
            }
            if !addresses.iter().all(|address| egress::is_allowed(*address, &allow)) {
                return Err(GuardError::Refused);
            }
            timing::resolved();
            // Port 0 is replaced by the URL's.
            let addresses: Vec<_> =
                addresses.into_iter().map(|address| SocketAddr::new(address, 0)).collect();
            Ok(addresses.into_iter())
        })
    }
}

/// Makes connections.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: HttpConnector<GuardedResolver>,
    tls: TlsConnector,
    /// Whether bytes pass as they are, and the HTTP library reads the responses.
    raw: bool,
}

impl Connector {
    pub(super) fn new(allow: Arc<Allow>, lookup: Arc<Lookup>, tls: ClientConfig) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(GuardedResolver { allow, lookup });
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE));
        tcp.set_keepalive_interval(Some(KEEPALIVE));
        tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
        Self { tcp, tls: TlsConnector::from(Arc::new(tls)), raw: false }
    }

    /// Leaves the responses to the HTTP library: [`Wire`] passes on few of their headers.
    pub(super) fn raw(self) -> Self {
        Self { raw: true, ..self }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Wire>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        timing::connecting();
        let secure = uri.scheme() == Some(&Scheme::HTTPS);
        // An IPv6 address is in brackets.
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let connecting = self.tcp.call(uri);
        let (tls, raw) = (self.tls.clone(), self.raw);
        Box::pin(async move {
            let tcp = connecting.await?.into_inner();
            let ends = tcp.local_addr().ok().zip(tcp.peer_addr().ok());
            let stream = if secure {
                let name = ServerName::try_from(host)?;
                Stream::Tls(Box::new(tls.connect(name, tcp).await?))
            } else {
                Stream::Plain(tcp)
            };
            timing::connected(ends);
            Ok(TokioIo::new(if raw { Wire::raw(stream) } else { Wire::new(stream) }))
        })
    }
}
