//! The job `expire`: a delivery that is unfinished when its event's retention ends.

use domain::{TenantId, Timestamp, delivery::engine::change::RecordOutcome, recovery::lost};
use futures_util::{StreamExt, stream};

use super::event::{EventReconciler, EventReport, OpenDelivery};
use crate::{
    alert::Alert,
    store::events::{deliveries::DeliveryChange, stored::StoredEvent},
};

/// Alerts raised concurrently.
const CONCURRENT_ALERTS: usize = 8;

impl EventReconciler<'_> {
    /// Marks deliveries as expired and notifies their owners.
    pub(super) async fn expire(
        &self,
        tenant: &TenantId,
        event: &StoredEvent,
        open: &[OpenDelivery],
        now: Timestamp,
        report: &mut EventReport,
    ) {
        let change =
            |open: &OpenDelivery| open.change(tenant, event, lost::expire(open.recorded_attempts()), now);
        let changes: Vec<_> = open.iter().map(change).collect();
        let mut expired = Vec::new();
        for (change, recorded) in changes.iter().zip(self.of.deliveries.record(&changes).await) {
            match recorded {
                Ok(RecordOutcome::New) => expired.push(change),
                // An attempt was recorded in the meantime, and decides how it continues.
                Ok(RecordOutcome::Conflict(_)) => {}
                Err(fault) => self.skip(tenant, event.id, &fault, report),
            }
        }
        report.repaired += expired.len();
        let notify = |change: &DeliveryChange| {
            let owner = change.owner();
            let id = change.key.id;
            async move { self.of.alerts.raise(&owner, id.endpoint, &Alert::Expired(id)).await }
        };
        let notifications: Vec<_> = expired.into_iter().map(notify).collect();
        stream::iter(notifications).buffer_unordered(CONCURRENT_ALERTS).collect::<()>().await;
    }
}
