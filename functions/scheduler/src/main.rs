//! `scheduler`: sends what is due, every minute, and reconciles what was lost, every hour.

use std::sync::Arc;

use lambda_runtime::Error;
use platform::{
    lambda::schedule,
    recovery::{drain::Drainer, reconcile::Reconciler, replay::Replayer, schedule::Scheduler},
    setup::Parts,
};
use serde::Deserialize;

/// The job that a schedule starts.
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
        progress: parts.progress.clone(),
        due: parts.due.clone(),
        drainer: Drainer {
            endpoints: parts.endpoints.clone(),
            due: parts.due.clone(),
            drains: parts.drains.clone(),
            slow_lane: Arc::clone(&parts.lanes.slow),
        },
        replayer: Replayer {
            endpoints: parts.endpoints.clone(),
            replays: parts.replays.clone(),
            events: parts.events.clone(),
            snapshots: parts.snapshots.clone(),
            timeline: parts.timeline.clone(),
            endpoint_deliveries: parts.endpoint_deliveries.clone(),
            generations: parts.generations.clone(),
            slow_lane: Arc::clone(&parts.lanes.slow),
        },
        slow_lane: Arc::clone(&parts.lanes.slow),
    };
    let reconciler = Reconciler {
        publisher: Arc::new(parts.publisher()?),
        alerts: parts.alerts()?,
        tenants: parts.tenants,
        progress: parts.progress,
        events: parts.events,
        snapshots: parts.snapshots,
        timeline: parts.timeline,
        deliveries: parts.deliveries,
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
