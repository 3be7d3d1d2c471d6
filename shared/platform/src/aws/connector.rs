//! How the SDK's requests reach AWS: over hyper's own client, without a library between. The SDK has parsed the URL,
//! converted the headers and counted the time already, and an SDK call is most of what a publish costs.

use std::time::Duration;

use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector},
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
};
use aws_smithy_types::{body::SdkBody, retry::ErrorKind};
use http_body_util::BodyExt as _;
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, Error, connect},
    rt::{TokioExecutor, TokioTimer},
};

use super::{
    sdk::CONNECT_TIMEOUT,
    spending,
    throttles::{self, Service},
};
use crate::{Fault, runtime::tls};

/// How long an unused connection is kept. A function that was frozen in between does not see that AWS has closed it,
/// and after a send over such a connection it is unknown whether messages were sent.
const IDLE: Duration = Duration::from_secs(20);

/// Connections to AWS. Its clones share them.
pub(super) type Connections = Client<HttpsConnector<connect::HttpConnector>, SdkBody>;

/// Connections that are made when they are needed.
pub(super) fn connections() -> Result<Connections, Fault> {
    let mut tcp = connect::HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let https = hyper_rustls::HttpsConnectorBuilder::new()
        // It sets the protocols itself.
        .with_tls_config(tls::client_config(&[])?)
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .build(https))
}

/// The SDK's connector over these connections. Timeouts and retries are the SDK's.
pub(super) fn connector(connections: Connections) -> SharedHttpConnector {
    SharedHttpConnector::new(Connector(connections))
}

#[derive(Debug, Clone)]
struct Connector(Connections);

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok());
            let service = target.and_then(Service::of_target);
            let (target, sent_bytes) = (target.map(str::to_owned), sent_bytes(&request));
            let response = client.request(request).await.map_err(client_error)?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await.map_err(|error| ConnectorError::io(error.into()))?.to_bytes();
            if let Some(target) = target {
                spending::count_target(&target, sent_bytes, parts.status.is_success(), &body);
            }
            if !parts.status.is_success() {
                throttles::count(service, &body);
            }
            let response = http::Response::from_parts(parts, SdkBody::from(body));
            HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

fn sent_bytes(request: &http::Request<SdkBody>) -> usize {
    request.body().bytes().map_or(0, <[u8]>::len)
}

/// What went wrong, in the kinds by which the SDK decides whether to try again.
/// Without a connection nothing was sent; after any other error the service may have the request.
fn client_error(error: Error) -> ConnectorError {
    if error.is_connect() {
        ConnectorError::other(error.into(), Some(ErrorKind::TransientError))
    } else {
        ConnectorError::io(error.into())
    }
}
