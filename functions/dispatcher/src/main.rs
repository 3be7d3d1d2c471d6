//! `dispatcher`: takes batches from a lane and calls endpoints.

use std::sync::Arc;

use lambda_runtime::Error;
use platform::{
    aws, config,
    dispatch::Dispatcher,
    http::Egress,
    lambda,
    lanes::Lane,
    secrets::Secrets,
    store::{events::Events, registry::Registry},
    telemetry,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let runtime = config::Runtime::read()?;
    telemetry::start(runtime.log_level);
    let sdk = aws::sdk_config(&runtime)?;
    let dynamodb = aws::dynamodb(&sdk);
    let dispatcher = Arc::new(Dispatcher {
        registry: Arc::new(Registry::new(dynamodb.clone(), config::registry_table()?)),
        events: Events::new(dynamodb, config::events_table()?),
        secrets: Secrets::new(aws::secrets_manager(&sdk), config::secrets_prefix()?),
        fast_lane: Lane::new(aws::sqs(&sdk), config::fast_lane_url()?),
        egress: Egress::new(config::egress_allow()?)?,
    });
    lambda::run_sqs(|records, deadline| {
        let dispatcher = Arc::clone(&dispatcher);
        async move { dispatcher.batch(records, deadline).await }
    })
    .await
}
