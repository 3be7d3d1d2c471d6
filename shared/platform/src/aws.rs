//! What all AWS clients share: credentials, region, time-outs and one TLS stack.
//!
//! The clients are set up from Lambda's variables alone. The usual loader would also look for
//! profiles, instance metadata and single sign-on, which a function never has and pays for at
//! every cold start.

use std::time::Duration;

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_types::{SdkConfig, region::Region};

use crate::config::Runtime;

/// The set-up that every client is made from. Clients share its connections.
#[must_use]
pub fn sdk_config(runtime: &Runtime) -> SdkConfig {
    use aws_sdk_sqs::config::{BehaviorVersion, retry::RetryConfig, timeout::TimeoutConfig};

    let credentials = Credentials::new(
        &runtime.access_key_id,
        runtime.secret_access_key.expose(),
        runtime.session_token.as_ref().map(|token| token.expose().to_owned()),
        None,
        "lambda",
    );
    let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(runtime.region.clone()))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(http)
        .sleep_impl(TokioSleep::new())
        .retry_config(RetryConfig::standard())
        // A call that hangs must not eat the invocation: three tries fit into 15 s.
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(Duration::from_secs(2))
                .operation_attempt_timeout(Duration::from_secs(5))
                .operation_timeout(Duration::from_secs(15))
                .build(),
        );
    if let Some(url) = &runtime.endpoint_url {
        config = config.endpoint_url(url);
    }
    config.build()
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
