//! Jobs that a schedule starts.

use std::time::Instant;

use domain::{Timestamp, saturating};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::de::DeserializeOwned;

use super::deadline;
use crate::{
    Fault,
    aws::{spending, throttles},
};

/// Runs a job each time its schedule fires, until the environment ends. The handler gets the
/// schedule's input and the end of the invocation.
pub async fn run<J, H, F>(handle: H) -> Result<(), Error>
where
    J: DeserializeOwned,
    H: Fn(J, Timestamp) -> F,
    F: Future<Output = Result<(), Fault>>,
{
    let handle = &handle;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<J>| async move {
        spending::begin(spending::Trigger::Schedule);
        let deadline = deadline::of(&event.context);
        let started_at = Instant::now();
        let result = Box::pin(handle(event.payload, deadline)).await;
        throttles::flush();
        spending::end();
        let duration_ms = saturating::<u64>(started_at.elapsed().as_millis());
        match result {
            Ok(()) => {
                tracing::info!(duration_ms, "job");
                Ok(())
            }
            Err(fault) => {
                tracing::error!(%fault, duration_ms, "job failed");
                Err(Error::from("the job failed; see the log"))
            }
        }
    }))
    .await
}
