//! `tenant-eraser`: removes everything of tenants that were deleted, every five minutes as far as it comes.

use lambda_runtime::Error;
use platform::{erasure::Eraser, lambda::schedule, setup::Parts};
use serde::Deserialize;

/// The job that the schedule starts.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case", tag = "job")]
enum Job {
    Erase,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let parts = Parts::new()?;
    let (eraser, quotas) = (Eraser::new(&parts)?, parts.quotas()?);
    let (eraser, quotas) = (&eraser, &quotas);
    schedule::run(|job, deadline| async move {
        match job {
            Job::Erase => quotas.noting_costs(eraser.run(deadline)).await,
        }
    })
    .await
}
