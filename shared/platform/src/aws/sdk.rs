//! What all AWS clients share: credentials, region, timeouts and connections.
//!
//! The clients are set up from Lambda's variables alone. The usual loader would also look for
//! profiles, instance metadata and single sign-on, which a function never has and pays for at
//! every cold start. Their HTTP is hyper's and their TLS rustls's, as in calls to endpoints, so that a binary
//! holds one of each.

use std::time::Duration;

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_runtime_api::client::http::http_client_fn;
use aws_types::{SdkConfig, region::Region};

use super::connector::connector;
use crate::{
    Fault,
    runtime::{config::Runtime, tls},
};

/// How long a connection to AWS may take to come about.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The HTTP client of calls to AWS without the SDK. Its clones share its connections.
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

/// The set-up that every client of the SDK is made from.
pub fn sdk_config(runtime: &Runtime) -> Result<SdkConfig, Fault> {
    use aws_sdk_sqs::config::{BehaviorVersion, retry::RetryConfig, timeout::TimeoutConfig};

    let connector = connector()?;
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
    Ok(config.build())
}

/// A client of DynamoDB.
#[must_use]
pub fn dynamodb(sdk: &SdkConfig) -> aws_sdk_dynamodb::Client {
    aws_sdk_dynamodb::Client::new(sdk)
}

/// A client of Secrets Manager.
#[must_use]
pub fn secrets_manager(sdk: &SdkConfig) -> aws_sdk_secretsmanager::Client {
    aws_sdk_secretsmanager::Client::new(sdk)
}
