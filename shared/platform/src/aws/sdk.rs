//! What all AWS clients share: credentials, region, timeouts and connections.
//!
//! The clients are set up from Lambda's variables alone. The usual loader would also look for
//! profiles, instance metadata and single sign-on, which a function never has and pays for at
//! every cold start. Their HTTP is hyper's and their TLS rustls's, as in calls to endpoints, so that a binary
//! holds one of each.

use std::{
    sync::{Arc, LazyLock, OnceLock},
    time::Duration,
};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_runtime_api::client::http::http_client_fn;
use aws_types::{SdkConfig, region::Region};

use super::{
    connector::{Connections, connections, connector},
    json::{DYNAMODB, JsonClient, SQS},
    spending,
};
use crate::{
    Fault,
    runtime::{config::Runtime, tls},
};

/// A call that hangs must not eat the invocation: three attempts fit into the time of a call.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
pub(super) const OPERATION_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a connection to AWS may take to come about.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The HTTP client of calls to S3 and SNS, made when it is first used: few invocations have a large payload or an alert,
/// and each start would pay for it. Its clones share it.
#[derive(Debug, Clone, Default)]
pub struct HttpClient(Arc<OnceLock<reqwest::Client>>);

impl HttpClient {
    pub(super) fn get(&self) -> Result<&reqwest::Client, Fault> {
        if let Some(client) = self.0.get() {
            return Ok(client);
        }
        let client = http_client()?;
        Ok(self.0.get_or_init(|| client))
    }
}

fn http_client() -> Result<reqwest::Client, Fault> {
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

/// What calls AWS: one client of each service, over connections that all share.
#[derive(Debug)]
pub struct Aws {
    /// The tables.
    pub dynamodb: DynamoDb,
    /// The queues.
    pub sqs: Sqs,
    sdk: SdkConfig,
}

/// What calls DynamoDB.
#[derive(Debug, Clone)]
pub struct DynamoDb {
    /// Makes any call.
    pub client: aws_sdk_dynamodb::Client,
    /// Makes the calls that there are for each event.
    pub(crate) json: Arc<JsonClient>,
}

type SqsClientMaker = Box<dyn FnOnce() -> aws_sdk_sqs::Client + Send>;

/// What calls SQS.
#[derive(Debug, Clone)]
pub struct Sqs {
    /// Makes any call. It is made when it is first used, as most invocations only send.
    pub(super) client: Arc<LazyLock<aws_sdk_sqs::Client, SqsClientMaker>>,
    /// Sends.
    pub(super) json: Arc<JsonClient>,
}

impl Aws {
    /// Set up from the variables of Lambda.
    pub fn new(runtime: &Runtime) -> Result<Self, Fault> {
        spending::set_memory(runtime.memory_mb);
        let connections = connections()?;
        let sdk = sdk_config(runtime, connections.clone());
        let sdk_of_sqs = sdk.clone();
        let sqs_client: SqsClientMaker = Box::new(move || aws_sdk_sqs::Client::new(&sdk_of_sqs));
        let json = |service| JsonClient::new(connections.clone(), runtime, service).map(Arc::new);
        Ok(Self {
            dynamodb: DynamoDb { client: dynamodb_client(&sdk), json: json(DYNAMODB)? },
            sqs: Sqs { client: Arc::new(LazyLock::new(sqs_client)), json: json(SQS)? },
            sdk,
        })
    }

    /// A client of Secrets Manager.
    #[must_use]
    pub fn secrets_manager(&self) -> aws_sdk_secretsmanager::Client {
        aws_sdk_secretsmanager::Client::new(&self.sdk)
    }
}

fn dynamodb_client(sdk: &SdkConfig) -> aws_sdk_dynamodb::Client {
    let config = aws_sdk_dynamodb::config::Builder::from(sdk).interceptor(spending::AskUnits).build();
    aws_sdk_dynamodb::Client::from_conf(config)
}

fn sdk_config(runtime: &Runtime, connections: Connections) -> SdkConfig {
    use aws_sdk_sqs::config::{BehaviorVersion, retry::RetryConfig, timeout::TimeoutConfig};

    let connector = connector(connections);
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(runtime.region.clone()))
        .credentials_provider(SharedCredentialsProvider::new(credentials(runtime)))
        .http_client(http_client_fn(move |_, _| connector.clone()))
        .sleep_impl(TokioSleep::new())
        .retry_config(RetryConfig::standard())
        .timeout_config(
            TimeoutConfig::builder()
                .operation_attempt_timeout(ATTEMPT_TIMEOUT)
                .operation_timeout(OPERATION_TIMEOUT)
                .build(),
        );
    if let Some(url) = &runtime.endpoint_url {
        config = config.endpoint_url(url);
    }
    config.build()
}
