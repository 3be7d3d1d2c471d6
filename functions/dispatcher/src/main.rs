//! `dispatcher`: takes batches from the lanes and calls endpoints.

use std::sync::Arc;

use lambda_runtime::Error;
use platform::{
    dispatch::{Dispatcher, Limits},
    lambda::sqs,
    runtime::config,
    setup::Parts,
    webhook::egress::Egress,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let parts = Parts::new()?;
    let limits = Limits {
        longest_lane_wait: config::longest_lane_wait()?,
        disable_after_days: config::disable_after_days()?,
    };
    let egress = Egress::new(config::egress_allow()?)?;
    let dispatcher = Arc::new(Dispatcher::new(&parts, egress, limits)?);
    sqs::run(|records, deadline| {
        let dispatcher = Arc::clone(&dispatcher);
        async move { dispatcher.batch(records, deadline).await }
    })
    .await
}
