//! `scheduler`: sends what is due, every minute, reconciles what was lost, every two minutes, signs audit trails, once
//! a day, and sends their entries to a stream, every minute.

use lambda_runtime::Error;
use platform::{
    lambda::schedule,
    recovery::{
        audit_stream::AuditStreamer, checkpoints::Checkpointer, reconcile::Reconciler, schedule::Scheduler,
    },
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
    AuditStream,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let parts = Parts::new()?;
    let (scheduler, reconciler) = (Scheduler::new(&parts)?, Reconciler::new(&parts)?);
    let (checkpointer, streamer) = (Checkpointer::new(&parts)?, AuditStreamer::new(&parts)?);
    let quotas = parts.quotas()?;
    let (scheduler, reconciler, quotas) = (&scheduler, &reconciler, &quotas);
    let (checkpointer, streamer) = (&checkpointer, &streamer);
    schedule::run(|job, deadline| async move {
        let running = async {
            match job {
                Job::Due => scheduler.run(deadline).await,
                Job::Reconcile => reconciler.run(deadline).await,
                Job::Checkpoints => checkpointer.run(deadline).await,
                Job::AuditStream => streamer.run(deadline).await,
            }
        };
        quotas.noting_costs(running).await
    })
    .await
}
