//! `dispatcher`: takes batches from the lanes and calls endpoints.

use std::sync::Arc;

use lambda_runtime::Error;
use platform::{
    dispatch::{Dispatcher, Watch},
    lambda::sqs,
    runtime::config,
    setup::Parts,
    webhook::egress::Egress,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let parts = Parts::new()?;
    let dispatcher = Arc::new(Dispatcher {
        leases: parts.leases()?,
        secrets: parts.secrets()?,
        egress: Egress::new(config::egress_allow()?)?,
        alerts: parts.alerts()?,
        longest_lane_wait: config::longest_lane_wait()?,
        disable_after_days: config::disable_after_days()?,
        watch: Watch::default(),
        endpoints: parts.endpoints,
        events: parts.events,
        deliveries: parts.deliveries,
        statistics: parts.statistics,
        drains: parts.drains,
        lanes: parts.lanes,
    });
    sqs::run(|records, deadline| {
        let dispatcher = Arc::clone(&dispatcher);
        async move { dispatcher.batch(records, deadline).await }
    })
    .await
}
