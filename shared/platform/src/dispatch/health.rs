//! What a batch shows about its endpoints: health, circuit, disabling, and alerts to their owners.

use std::{collections::HashMap, sync::Arc};

use domain::{
    EndpointId, TenantId, Timestamp,
    delivery::engine::health::{Attempts, Effect, Update},
    endpoint::{DisabledBy, Disablement, Endpoint, OnDisable, health::Tally},
};
use futures_util::future::join_all;

use super::{EndpointKey, failing::FailureWatch, message::MessageResult};
use crate::{
    Fault,
    alert::{Alert, Alerts},
    runtime::clock,
    store::{due::drains::Drains, registry::endpoints::Endpoints},
};

/// Keeps the health of endpoints.
#[derive(Debug)]
pub(super) struct HealthKeeper {
    pub(super) endpoints: Endpoints,
    pub(super) drains: Drains,
    pub(super) alerts: Arc<Alerts>,
    /// Days of nothing but failure that disable an endpoint; 0 for never.
    pub(super) disable_after_days: u32,
    /// Which endpoints fail often.
    pub(super) watch: FailureWatch,
}

impl HealthKeeper {
    /// Writes what a batch showed about its endpoints, and notifies their owners.
    pub(super) async fn update_all(
        &self,
        known: &HashMap<EndpointKey, Arc<Endpoint>>,
        results: &[MessageResult],
    ) {
        // Side by side: one whose owner cannot be notified at once must not cost the others their health.
        join_all(known.iter().map(|(key, endpoint)| self.update_one(key, endpoint, results))).await;
    }

    async fn update_one(&self, key: &EndpointKey, endpoint: &Arc<Endpoint>, results: &[MessageResult]) {
        let (owner, id) = key;
        let mut tally = Tally::default();
        let mut exhausted = None;
        for result in results.iter().filter(|result| result.endpoint.as_ref() == Some(key)) {
            tally.merge(&result.tally);
            exhausted = exhausted.or(result.exhausted);
        }
        // Most batches show nothing new.
        let is_news =
            tally.gone || tally.failed > 0 || endpoint.health.after(&tally, clock::now()) != endpoint.health;
        if is_news && let Err(fault) = Box::pin(self.update(owner, endpoint, tally)).await {
            tracing::error!(%fault, tenant = %owner, endpoint_id = %id, "could not save endpoint health");
        }
        if tally.failed > 0
            && let Err(fault) = Box::pin(self.watch.check(owner, endpoint, tally.failed)).await
        {
            tracing::warn!(%fault, tenant = %owner, endpoint_id = %id, "could not evaluate failure rate of endpoint");
        }
        if let Some(delivery) = exhausted {
            Box::pin(self.alerts.raise(owner, *id, &Alert::Exhausted(delivery))).await;
        }
    }

    /// Writes the health of an endpoint, known as it was before these attempts, and acts on it.
    async fn update(&self, owner: &TenantId, endpoint: &Arc<Endpoint>, tally: Tally) -> Result<(), Fault> {
        let id = endpoint.id;
        // The probe of this batch has changed it already.
        let newer = self.endpoints.get(owner, id).await?;
        let enable_count = endpoint.enable_count;
        let endpoint = newer.unwrap_or_else(|| Arc::clone(endpoint));
        let now = clock::now();
        let attempts = Attempts { tally, enable_count };
        let (mut update, mut effect) = Update::start(endpoint, attempts, self.disable_after_days, now);
        loop {
            effect = match effect {
                Effect::Save(health) => {
                    let saved = self.endpoints.save_health(owner, update.endpoint(), &health).await?;
                    update.saved(health, saved)
                }
                Effect::Reread => {
                    let newer = self.endpoints.get_now(owner, id).await?;
                    update.reread(
                        newer.ok_or_else(|| Fault::new("dispatching", "the endpoint does not exist"))?,
                    )
                }
                Effect::Recover => {
                    tracing::info!(tenant = %owner, endpoint_id = %id, "circuit closed");
                    self.drains.wake(owner, id, now, now).await?;
                    Box::pin(self.alerts.raise(owner, id, &Alert::Recovered)).await;
                    update.judged()
                }
                Effect::NoteOpened => {
                    tracing::warn!(tenant = %owner, endpoint_id = %id, "circuit opened");
                    update.judged()
                }
                Effect::Warn(disabled_at) => {
                    self.alerts.raise(owner, id, &Alert::Disabling { disabled_at }).await;
                    Effect::Finish
                }
                Effect::Disable(by) => {
                    self.disable(owner, id, by, enable_count, now).await?;
                    Effect::Finish
                }
                Effect::Finish => return Ok(()),
            };
        }
    }

    async fn disable(
        &self,
        owner: &TenantId,
        id: EndpointId,
        by: DisabledBy,
        enable_count: u64,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let disabled = Disablement { mode: OnDisable::Hold, by, at: now };
        if self.endpoints.disable_enabled(owner, id, disabled, enable_count).await? {
            self.alerts.raise(owner, id, &Alert::Disabled(by)).await;
        }
        Ok(())
    }
}
