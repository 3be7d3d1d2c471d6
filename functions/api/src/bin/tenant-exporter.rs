//! `tenant-exporter`: makes exports of tenants, every five minutes as far as it comes. It is in this package because an
//! export is what the routes of the API show.

use api::Exporter;
use lambda_runtime::Error;
use platform::{lambda::schedule, setup::Parts};
use serde::Deserialize;

/// The job that the schedule starts.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case", tag = "job")]
enum Job {
    Export,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let parts = Parts::new()?;
    let quotas = parts.quotas()?;
    let (exporter, quotas) = (&Exporter::new(parts)?, &quotas);
    schedule::run(|job, deadline| async move {
        match job {
            Job::Export => quotas.noting_costs(exporter.run(deadline)).await,
        }
    })
    .await
}
