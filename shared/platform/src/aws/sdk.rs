//! What all AWS clients share: credentials, region, timeouts and connections.
//!
//! The clients are set up from Lambda's variables alone. The usual loader would also look for
//! profiles, instance metadata and single sign-on, which a function never has and pays for at
//! every cold start. Their HTTP goes through the same library as calls to endpoints, so that a
//! binary holds one HTTP client and one TLS stack.

use std::time::Duration;

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_runtime_api::{
    client::{
        http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
    },
    http::StatusCode,
};
use aws_smithy_types::{body::SdkBody, retry::ErrorKind};
use aws_types::{SdkConfig, region::Region};

use super::throttles::{self, Service};
use crate::{
    Fault,
    runtime::{config::Runtime, tls},
};

/// How long a connection to AWS may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The HTTP client of calls to AWS. Its clones share its connections.
pub fn http_client() -> Result<reqwest::Client, Fault> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls::client_config(&[b"http/1.1"])?)
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .build()
        .map_err(Fault::on("setting up calls to AWS"))
}

/// The credentials of the function's role, which Lambda sets when it starts the process.
#[must_use]
pub fn credentials(runtime: &Runtime) -> Credentials {
    Credentials::new(
        &runtime.access_key_id,
        runtime.secret_access_key.expose(),
        runtime.session_token.as_ref().map(|token| token.expose().to_owned()),
        None,
        "lambda",
    )
}

/// The set-up that every client is made from, over an HTTP client that others use too.
#[must_use]
pub fn sdk_config(client: reqwest::Client, runtime: &Runtime) -> SdkConfig {
    use aws_sdk_sqs::config::{BehaviorVersion, retry::RetryConfig, timeout::TimeoutConfig};

    let connector = SharedHttpConnector::new(Connector(client));
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(runtime.region.clone()))
        .credentials_provider(SharedCredentialsProvider::new(credentials(runtime)))
        .http_client(http_client_fn(move |_, _| connector.clone()))
        .sleep_impl(TokioSleep::new())
        .retry_config(RetryConfig::standard())
        // A call that hangs must not eat the invocation: three tries fit into 15 s.
        .timeout_config(
            TimeoutConfig::builder()
                .operation_attempt_timeout(Duration::from_secs(5))
                .operation_timeout(Duration::from_secs(15))
                .build(),
        );
    if let Some(url) = &runtime.endpoint_url {
        config = config.endpoint_url(url);
    }
    config.build()
}

/// Carries the SDK's requests. Timeouts and retries are the SDK's own.
#[derive(Debug, Clone)]
struct Connector(reqwest::Client);

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            // Every call that we make has its body in memory.
            let body = request.body().bytes().map(<[u8]>::to_vec);
            let body = body.ok_or_else(|| ConnectorError::user("a body that is a stream".into()))?;
            let (parts, _) = request.into_parts();
            let target = parts.headers.get("x-amz-target").and_then(|target| target.to_str().ok());
            let service = target.and_then(Service::of_target);
            let sent =
                client.request(parts.method, parts.uri.to_string()).headers(parts.headers).body(body).send();
            let response = sent.await.map_err(connector_error)?;
            let status = StatusCode::try_from(response.status().as_u16())
                .map_err(|error| ConnectorError::other(error.into(), None))?;
            let headers = response.headers().clone();
            let body = response.bytes().await.map_err(connector_error)?;
            if !status.is_success() {
                throttles::count(service, &body);
            }
            let mut converted = HttpResponse::new(status, SdkBody::from(body));
            for (name, value) in &headers {
                let value = value.to_str().map_err(|error| ConnectorError::other(error.into(), None))?;
                converted.headers_mut().append(name.as_str().to_owned(), value.to_owned());
            }
            Ok(converted)
        })
    }
}

/// What went wrong, in the kinds by which the SDK decides whether to try again.
/// Without a connection nothing was sent; after any other error the service may have the request.
fn connector_error(error: reqwest::Error) -> ConnectorError {
    if error.is_timeout() {
        ConnectorError::timeout(error.into())
    } else if error.is_connect() {
        ConnectorError::other(error.into(), Some(ErrorKind::TransientError))
    } else {
        ConnectorError::io(error.into())
    }
}

/// A client of DynamoDB.
#[must_use]
pub fn dynamodb(sdk: &SdkConfig) -> aws_sdk_dynamodb::Client {
    aws_sdk_dynamodb::Client::new(sdk)
}

/// A client of SQS.
#[must_use]
pub fn sqs(sdk: &SdkConfig) -> aws_sdk_sqs::Client {
    aws_sdk_sqs::Client::new(sdk)
}

/// A client of Secrets Manager.
#[must_use]
pub fn secrets_manager(sdk: &SdkConfig) -> aws_sdk_secretsmanager::Client {
    aws_sdk_secretsmanager::Client::new(sdk)
}
