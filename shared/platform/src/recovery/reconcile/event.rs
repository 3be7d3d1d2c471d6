//! One event: which of its deliveries a job has to act on.

use std::collections::HashSet;

use domain::{
    DeliveryId, EndpointId, EventId, TenantId, Timestamp,
    delivery::{Retention, engine::change::Change},
    endpoint::Target,
};
use tokio::sync::Semaphore;

use super::{Reconciler, progress::Job};
use crate::{
    Fault,
    runtime::clock,
    store::events::{
        deliveries::{DeliveryChange, DeliveryKey, DeliverySummary, EventOverview},
        pages::Snapshot,
        stored::StoredEvent,
    },
};

/// Deliveries of one event that are acted on between two checks of the time: each may raise an alert,
/// which takes several calls.
const STEP: usize = 50;

/// Such steps made concurrently.
const CONCURRENT_STEPS: usize = 2;

/// An event whose item is read as soon as something is to be done about it, which is rare.
struct LazyEvent<'a> {
    of: &'a Reconciler,
    tenant: &'a TenantId,
    id: EventId,
    stored: Option<StoredEvent>,
}

impl LazyEvent<'_> {
    /// The event; `None` where it was deleted meanwhile.
    async fn get(&mut self) -> Result<Option<&StoredEvent>, Fault> {
        if self.stored.is_none() {
            self.stored = self.of.events.get(self.tenant, self.id).await?;
        }
        Ok(self.stored.as_ref())
    }
}

/// Examines events for one job.
pub(super) struct EventReconciler<'a> {
    pub(super) of: &'a Reconciler,
    pub(super) job: Job,
    /// When nothing is started any more, by the machine's clock.
    until: Timestamp,
    steps: Semaphore,
}

/// The counts of one event.
#[derive(Debug, Default)]
pub(super) struct EventReport {
    pub(super) repaired: usize,
    pub(super) faults: usize,
    /// It is to be examined once more: the run was out of time.
    pub(super) cut: bool,
}

/// A delivery on which a job has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OpenDelivery {
    pub(super) target: Target,
    /// `None` where it has no row.
    summary: Option<DeliverySummary>,
}

impl OpenDelivery {
    pub(super) fn generation(&self) -> u32 {
        self.summary.map_or(0, |summary| summary.generation)
    }

    /// How many attempts are on record; `None` where it has no row.
    pub(super) fn recorded_attempts(&self) -> Option<u32> {
        self.summary.map(|summary| summary.attempts)
    }

    pub(super) fn change(
        &self,
        tenant: &TenantId,
        event: &StoredEvent,
        change: Change,
        now: Timestamp,
    ) -> DeliveryChange {
        let id = DeliveryId { event: event.id, endpoint: self.target.endpoint };
        DeliveryChange {
            key: DeliveryKey { tenant: tenant.clone(), id, generation: self.generation() },
            operator: self.target.operator,
            event_type: Some(event.event_type.clone()),
            change,
            accepted_at: Some(event.at),
            retention: event.retention,
            now,
        }
    }
}

impl<'a> EventReconciler<'a> {
    pub(super) fn new(of: &'a Reconciler, job: Job, until: Timestamp) -> Self {
        Self { of, job, until, steps: Semaphore::new(CONCURRENT_STEPS) }
    }

    pub(super) fn out_of_time(&self) -> bool {
        clock::machine_now() >= self.until
    }

    /// Examines one event and acts on its deliveries, if it has the retention, where one is given.
    pub(super) async fn event(&self, tenant: &TenantId, id: EventId, only: Option<Retention>) -> EventReport {
        let mut report = EventReport::default();
        if let Err(fault) = self.try_event(tenant, id, only, &mut report).await {
            self.skip(tenant, id, &fault, &mut report);
        }
        report
    }

    pub(super) fn skip(&self, tenant: &TenantId, id: EventId, fault: &Fault, report: &mut EventReport) {
        let job = self.job.name();
        tracing::error!(%fault, job, %tenant, event_id = %id, "skipped deliveries of an event");
        report.faults += 1;
    }

    /// First the deliveries that have a row, also those that the snapshot does not name, then those of
    /// the snapshot without a row, page by page: a wide event has more of them than there is time for.
    async fn try_event(
        &self,
        tenant: &TenantId,
        id: EventId,
        only: Option<Retention>,
        report: &mut EventReport,
    ) -> Result<(), Fault> {
        // Its own row first: the events of other retentions can be many, with many deliveries.
        if only.is_some() && self.of.deliveries.retention(tenant, id).await? != only {
            return Ok(());
        }
        let Some(found) = self.of.deliveries.overview(tenant, id).await? else { return Ok(()) };
        let EventOverview { snapshot, summaries } = found;
        let with_row: HashSet<_> = summaries.iter().map(|(endpoint, _)| *endpoint).collect();
        let open = self.open(tenant, id, summaries, report);
        let mut event = LazyEvent { of: self.of, tenant, id, stored: None };
        self.act(tenant, &mut event, &open, report).await?;
        let (snapshot, count) = match &snapshot {
            Snapshot::Inline(targets) => {
                return self.act(tenant, &mut event, &without_row(targets, &with_row), report).await;
            }
            Snapshot::Pages { id, count } => (id, *count),
        };
        for page in 0..count {
            if report.cut {
                break;
            }
            let done = match self.of.snapshots.page(tenant, id, snapshot, page).await {
                Ok(Some(found)) => {
                    self.act(tenant, &mut event, &without_row(&found.targets, &with_row), report).await
                }
                Ok(None) => Err(Fault::new("reading where an event goes", "a page is missing")),
                Err(fault) => Err(fault),
            };
            if let Err(fault) = done {
                self.skip(tenant, id, &fault, report);
            }
        }
        Ok(())
    }

    /// The deliveries with a row on which the job has to act, as far as they can be read. `expire` acts
    /// on every generation, `repair` on the latest: it took the place of those before.
    fn open(
        &self,
        tenant: &TenantId,
        event: EventId,
        summaries: Vec<(EndpointId, Result<DeliverySummary, Fault>)>,
        report: &mut EventReport,
    ) -> Vec<OpenDelivery> {
        let now = clock::now();
        let mut open: Vec<OpenDelivery> = Vec::new();
        for (endpoint, summary) in summaries {
            if self.job == Job::Repair {
                // Generations come in order, so the last one stays.
                open.pop_if(|before| before.target.endpoint == endpoint);
            }
            match summary {
                Ok(summary) if self.job.is_open(Some(&summary), now) => {
                    let target = Target { endpoint, operator: summary.operator };
                    open.push(OpenDelivery { target, summary: Some(summary) });
                }
                Ok(_) => {}
                Err(fault) => self.skip(tenant, event, &fault, report),
            }
        }
        open
    }

    async fn act(
        &self,
        tenant: &TenantId,
        event: &mut LazyEvent<'_>,
        open: &[OpenDelivery],
        report: &mut EventReport,
    ) -> Result<(), Fault> {
        if open.is_empty() {
            return Ok(());
        }
        let Some(event) = event.get().await? else { return Ok(()) };
        let now = clock::now();
        for step in open.chunks(STEP) {
            let _turn = self.steps.acquire().await.map_err(Fault::on("waiting for a turn"))?;
            if self.out_of_time() {
                report.cut = true;
                return Ok(());
            }
            match self.job {
                Job::Repair => self.repair(tenant, event, step, now, report).await?,
                Job::Expire => self.expire(tenant, event, step, now, report).await,
            }
        }
        Ok(())
    }
}

/// The deliveries to those of an event's endpoints that have no row: a job has to act on each.
fn without_row(targets: &[Target], with_row: &HashSet<EndpointId>) -> Vec<OpenDelivery> {
    let targets = targets.iter().filter(|target| !with_row.contains(&target.endpoint));
    targets.map(|target| OpenDelivery { target: *target, summary: None }).collect()
}
