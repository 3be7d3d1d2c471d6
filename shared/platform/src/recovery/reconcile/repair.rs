//! The job `repair`: a delivery without a driver gets one again.

use domain::{TenantId, Timestamp, delivery::engine::change::RecordOutcome, recovery::lost};

use super::event::{EventReconciler, EventReport, OpenDelivery};
use crate::{Fault, store::events::stored::StoredEvent};

impl EventReconciler<'_> {
    /// Gives deliveries a driver again: a message, or, where a message cannot name the generation, a
    /// due entry.
    pub(super) async fn repair(
        &self,
        tenant: &TenantId,
        event: &StoredEvent,
        open: &[OpenDelivery],
        now: Timestamp,
        report: &mut EventReport,
    ) -> Result<(), Fault> {
        let (replayed, first): (Vec<_>, Vec<_>) = open.iter().partition(|open| open.generation() > 0);
        let due = |open: &OpenDelivery| {
            open.change(tenant, event, lost::repair(open.recorded_attempts(), now), now)
        };
        let changes: Vec<_> = replayed.into_iter().map(due).collect();
        for recorded in self.of.deliveries.record(&changes).await {
            match recorded {
                Ok(RecordOutcome::New) => report.repaired += 1,
                // It has a driver after all.
                Ok(RecordOutcome::Conflict(_)) => {}
                Err(fault) => self.skip(tenant, event.id, &fault, report),
            }
        }
        let targets: Vec<_> = first.into_iter().map(|open| open.target).collect();
        if !targets.is_empty() {
            self.of.publisher.resend(tenant, event.clone(), &targets, now).await?;
        }
        report.repaired += targets.len();
        tracing::warn!(%tenant, event_id = %event.id, deliveries = open.len(), "sent deliveries without a driver again");
        Ok(())
    }
}
