//! `scheduler`: brings back what is due, every minute, and looks for what was lost, every hour.

use std::sync::Arc;

use lambda_runtime::Error;
use platform::{
    lambda::schedule,
    recovery::{reconcile::Reconciler, schedule::Scheduler},
    setup::Parts,
};
use serde::Deserialize;

/// What a schedule asks for.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case", tag = "job")]
enum Job {
    Due,
    Reconcile,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let parts = Parts::new()?;
    let scheduler = Scheduler {
        registry: Arc::clone(&parts.registry),
        events: parts.events.clone(),
        slow_lane: Arc::clone(&parts.lanes.slow),
    };
    let reconciler = Reconciler {
        publisher: Arc::new(parts.publisher()?),
        alerts: parts.alerts()?,
        registry: parts.registry,
        events: parts.events,
    };
    let (scheduler, reconciler) = (&scheduler, &reconciler);
    schedule::run(|job, deadline| async move {
        match job {
            Job::Due => scheduler.run(deadline).await,
            Job::Reconcile => reconciler.run(deadline).await,
        }
    })
    .await
}
