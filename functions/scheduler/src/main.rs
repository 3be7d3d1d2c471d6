//! `scheduler`: sends what is due, every minute, reconciles what was lost, every two minutes, and signs audit trails, once
//! a day.

use lambda_runtime::Error;
use platform::{
    lambda::schedule,
    recovery::{checkpoints::Checkpointer, reconcile::Reconciler, schedule::Scheduler},
    setup::Parts,
};
use serde::Deserialize;

/// The job that a schedule starts.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case", tag = "job")]
enum Job {
    Due,
    Reconcile,
    Checkpoints,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let parts = Parts::new()?;
    let (scheduler, reconciler) = (Scheduler::new(&parts)?, Reconciler::new(&parts)?);
    let checkpointer = Checkpointer::new(&parts)?;
    let (scheduler, reconciler, checkpointer) = (&scheduler, &reconciler, &checkpointer);
    schedule::run(|job, deadline| async move {
        match job {
            Job::Due => scheduler.run(deadline).await,
            Job::Reconcile => reconciler.run(deadline).await,
            Job::Checkpoints => checkpointer.run(deadline).await,
        }
    })
    .await
}
