//! The removal of everything that a deleted tenant has, in passes until one finds nothing. How passes follow each other
//! is `domain::tenant::erasure`; what a pass goes through is in the files beside.
//!
//! A run may be killed anywhere. What was removed is not found again, and everything else is found by what the tenant's
//! own rows name, which are removed last. The progress only saves looking at partitions that are empty.

mod close;
mod objects;
mod purge;

use std::time::Duration;

use domain::{
    Timestamp,
    audit::Entry,
    tenant::erasure::{Erasure, REMAINING, Stage},
};
use serde_json::json;

use crate::{
    Fault,
    aws::s3::Objects,
    runtime::clock,
    secrets::{RotatingSecrets, Secrets},
    setup::{self, Parts},
    store::{
        audit::{AppendOutcome, Audit},
        due::connections::ConnectionEntries,
        registry::{
            accounts::SourceAccounts, api_keys::ApiKeys, connections::Connections, endpoints::Endpoints,
            erasures::Erasures, progress::JobProgress, sources::Sources, tenants::Tenants,
        },
        tenant_rows::TenantRows,
    },
};

/// The name of the lease of a run.
const JOB: &str = "erase";

/// What is left of an invocation when nothing is started any more.
const ROUND: Duration = Duration::from_secs(20);

/// How a step or a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
enum End {
    Done,
    OutOfTime,
}

/// When a run starts nothing more, by the machine's clock.
#[derive(Debug, Clone, Copy)]
struct StopTime(Timestamp);

impl StopTime {
    fn has_passed(self) -> bool {
        clock::machine_now() >= self.0
    }
}

/// Seconds between two runs.
const RUN_SECS: i64 = 300;

/// What erasing needs.
#[derive(Debug)]
pub struct Eraser {
    tenants: Tenants,
    erasures: Erasures,
    progress: JobProgress,
    api_keys: ApiKeys,
    sources: Sources,
    accounts: SourceAccounts,
    endpoints: Endpoints,
    connections: Connections,
    entries: ConnectionEntries,
    secrets: Secrets,
    rotating: RotatingSecrets,
    rows: TenantRows,
    objects: Objects,
    audit: Audit,
}

impl Eraser {
    /// Made of a function's parts.
    pub fn new(parts: &Parts) -> Result<Self, setup::Error> {
        Ok(Self {
            tenants: parts.tenants.clone(),
            erasures: parts.erasures.clone(),
            progress: parts.progress.clone(),
            api_keys: parts.api_keys.clone(),
            sources: parts.sources.clone(),
            accounts: parts.accounts.clone(),
            endpoints: parts.endpoints.clone(),
            connections: parts.connections.clone(),
            entries: parts.connection_entries.clone(),
            secrets: parts.secrets()?,
            rotating: parts.rotating_secrets()?,
            rows: parts.tenant_rows()?,
            objects: parts.objects()?,
            audit: parts.audit()?,
        })
    }

    /// Goes on with all deletions whose grace time has ended, as far as the time allows. Does nothing while another run
    /// is at it.
    pub async fn run(&self, deadline: Timestamp) -> Result<(), Fault> {
        let is_due = |erasure: &Erasure| erasure.is_due(clock::now());
        if !self.erasures.open().await?.iter().any(is_due) {
            return Ok(());
        }
        if !self.progress.lease(JOB, deadline, clock::machine_now()).await? {
            tracing::info!("another run of the eraser has the lease");
            return Ok(());
        }
        let result = self.all(StopTime(deadline - ROUND)).await;
        if let Err(fault) = self.progress.release(JOB, deadline).await {
            tracing::warn!(%fault, "could not return the lease on erasing; it will expire");
        }
        result
    }

    async fn all(&self, stop: StopTime) -> Result<(), Fault> {
        let mut result = Ok(());
        // Read now: a run that had the lease before may have changed them.
        let mut open = self.erasures.open().await?;
        // Each run begins with another one, and each gets its part of the time: a large tenant does not keep the others.
        let runs = domain::saturating::<usize>(clock::now().secs() / RUN_SECS);
        let first = runs % open.len().max(1);
        open.rotate_left(first);
        let count = open.len();
        for (index, erasure) in open.into_iter().enumerate() {
            let tenant = erasure.tenant_id.clone();
            let parts = u32::try_from(count - index).unwrap_or(u32::MAX);
            let now = clock::machine_now();
            let part = StopTime(now + stop.0.since(now) / parts.max(1));
            match Box::pin(self.erase(erasure, part)).await {
                Ok(End::Done) => {}
                Ok(End::OutOfTime) => {
                    tracing::info!(%tenant, "the eraser ran out of time; the next run continues");
                }
                // One that fails does not keep the others from being done.
                Err(fault) => {
                    tracing::error!(%fault, %tenant, "could not erase tenant; the next run continues");
                    result = Err(fault);
                }
            }
        }
        result
    }

    /// Goes on with one deletion until it waits or is done.
    async fn erase(&self, mut erasure: Erasure, stop: StopTime) -> Result<End, Fault> {
        if erasure.is_due(clock::now())
            && erasure.deletion.began_at.is_none()
            && !self.begin(&mut erasure).await?
        {
            return Ok(End::Done);
        }
        while erasure.is_due(clock::now()) {
            if stop.has_passed() {
                return Ok(End::OutOfTime);
            }
            if erasure.stage == Stage::Finishing {
                if Box::pin(self.finish(&mut erasure)).await? {
                    break;
                }
                // Something was written after the pass that found nothing.
                erasure.reopen();
                self.erasures.save(&erasure).await?;
                continue;
            }
            // Stored before anything is removed: a run that is killed leaves it so, and the next one knows.
            erasure.begin_run();
            self.erasures.save(&erasure).await?;
            let ended = Box::pin(self.pass(&mut erasure, stop)).await;
            if ended.is_ok() {
                erasure.end_run();
            }
            if let Ok(End::Done) = ended {
                let (stage, found) = (erasure.stage, erasure.found);
                erasure.end_pass(clock::now());
                tracing::info!(tenant = %erasure.tenant_id, ?stage, found, "ended pass of an erasure");
            }
            self.erasures.save(&erasure).await?;
            if ended? == End::OutOfTime {
                return Ok(End::OutOfTime);
            }
        }
        Ok(End::Done)
    }

    /// Notes that the removal begins, in the tenant's row, so that it can no longer be cancelled. False where the
    /// deletion was cancelled, or changed at the same time.
    async fn begin(&self, erasure: &mut Erasure) -> Result<bool, Fault> {
        let id = erasure.tenant_id.clone();
        let Some(mut tenant) = self.tenants.get_now(&id).await? else {
            return Err(Fault::new("erasing a tenant", "a deletion has no tenant"));
        };
        let Some(deletion) = tenant.deletion.as_mut() else { return Ok(false) };
        let now = clock::now();
        if now < deletion.deletes_at {
            // It was cancelled, and requested again.
            return Ok(false);
        }
        deletion.began_at = Some(deletion.began_at.unwrap_or(now));
        *erasure = Erasure::new(id.clone(), deletion.clone());
        let began = self.tenants.replace(&id, &tenant).await?;
        if began {
            tracing::info!(tenant = %erasure.tenant_id, "erasing a tenant");
        }
        Ok(began)
    }

    /// One pass, or what is left of it.
    async fn pass(&self, erasure: &mut Erasure, stop: StopTime) -> Result<End, Fault> {
        const CLOSING: [purge::Step; 2] = [purge::Step::Access, purge::Step::Connections];
        let steps: &[purge::Step] = if erasure.stage == Stage::Closing { &CLOSING } else { &purge::STEPS };
        while let Some(step) = steps.get(erasure.step) {
            match Box::pin(self.step(*step, erasure, stop)).await? {
                End::OutOfTime => return Ok(End::OutOfTime),
                End::Done => erasure.end_step(),
            }
            // An invocation that is killed later does not repeat this step.
            self.erasures.save(erasure).await?;
        }
        Ok(End::Done)
    }

    /// Removes what is left of the tenant, and keeps the proof. False where there are other rows than those that are left.
    async fn finish(&self, erasure: &mut Erasure) -> Result<bool, Fault> {
        // What leads to everything else goes last, and the tenant's row with the proof.
        if !self.remove_tombstones(erasure).await? {
            return Ok(false);
        }
        erasure.stage = Stage::Finished;
        erasure.finished_at = Some(clock::now());
        erasure.audit_entry = Some(self.record(erasure).await?);
        let is_new = self.erasures.finish(erasure).await?;
        tracing::info!(tenant = %erasure.tenant_id, is_new, removed = ?erasure.removed, "erased tenant");
        Ok(true)
    }

    /// The entry in the operator's trail, by its number and its hash.
    async fn record(&self, erasure: &Erasure) -> Result<String, Fault> {
        let Erasure { tenant_id, deletion, removed, verified_at, finished_at, .. } = erasure;
        let proof = json!({
            "tenant_id": tenant_id,
            "requested_by": deletion.requested_by,
            "requested_at": deletion.requested_at,
            "began_at": deletion.began_at,
            "verified_at": verified_at,
            "finished_at": finished_at,
            "removed": removed,
            "remaining": REMAINING,
        });
        let entry = Entry {
            seq: 0,
            at: clock::now(),
            actor: "tenant-eraser".to_owned(),
            action: "tenant.erased".to_owned(),
            subject: tenant_id.to_string(),
            source_ip: None,
            request_id: "tenant-eraser".to_owned(),
            before: None,
            after: Some(proof.to_string()),
        };
        match self.audit.append(&domain::TenantId::operator(), entry).await? {
            AppendOutcome::New(sealed) => Ok(sealed.link().to_string()),
            AppendOutcome::Conflict => Err(Fault::new(
                "recording the deletion of a tenant",
                "others append to the trail all the time",
            )),
        }
    }
}
