//! The job that signs audit trails: once a day, a checkpoint for each tenant whose trail has grown since the last one.
//!
//! A pass goes through all tenants and continues in the next run until it is finished. What cannot be signed is logged,
//! counted and skipped, and the next pass begins earlier. A checkpoint is the signature of what is in the table: a trail
//! that was rewritten before is signed as it is, and does not fit the checkpoint before, which this job compares, too.

use std::time::Duration;

use domain::{
    Secret, TenantId, Timestamp,
    audit::{
        Link,
        checkpoint::{Checkpoint, CheckpointKey, PublicKey},
    },
};
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use super::budget::StopTime;
use crate::{
    Fault,
    runtime::{
        clock, config,
        telemetry::{self, Metric, Unit},
    },
    secrets::SecretText,
    setup::{self, Parts},
    store::{
        audit::Audit,
        registry::{
            checkpoint_keys::CheckpointKeys, erasures::Erasures, progress::JobProgress, tenants::Tenants,
        },
        table::keys::TENANT_SHARDS,
    },
};

/// The job's name among those whose progress is saved.
const JOB: &str = "checkpoints";

/// How long after the beginning of a pass the next one begins.
const INTERVAL: Duration = Duration::from_hours(24);

/// The same after a pass that could not sign all trails.
const RETRY_INTERVAL: Duration = Duration::from_hours(1);

/// What must be left of an invocation for one more page of tenants.
const ROUND: Duration = Duration::from_secs(30);

/// Tenants in one page of the list.
const TENANTS: i32 = 100;

/// Trails that are examined concurrently.
const CONCURRENT_TRAILS: usize = 8;

/// How far a pass has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Pass {
    begun_at: i64,
    /// When the last pass began that reached all trails.
    complete_at: i64,
    operator_done: bool,
    shard: u8,
    after: Option<String>,
    /// Trails that could not be examined or signed.
    faults: usize,
}

impl Pass {
    fn begin(now: Timestamp, complete_at: i64) -> Self {
        let begun_at = now.millis();
        Self { begun_at, complete_at, operator_done: false, shard: 0, after: None, faults: 0 }
    }

    /// The pass of a run: the one that is not finished, or a new one when it is due.
    fn next(known: Option<Self>, now: Timestamp) -> Self {
        let Some(known) = known else { return Self::begin(now, now.millis()) };
        let interval = if known.faults > 0 { RETRY_INTERVAL } else { INTERVAL };
        if known.is_finished() && now.since(Timestamp::from_millis(known.begun_at)) >= interval {
            return Self::begin(now, known.complete_at);
        }
        known
    }

    fn is_finished(&self) -> bool {
        self.shard >= TENANT_SHARDS
    }

    /// Goes on to the next shard of the list of tenants, of which the last one ends the pass.
    fn end_shard(&mut self) {
        (self.shard, self.after) = (self.shard + 1, None);
        if self.is_finished() && self.faults == 0 {
            self.complete_at = self.begun_at;
        }
    }

    /// How long ago the last pass began that reached all trails.
    fn lag(&self, now: Timestamp) -> Duration {
        now.since(Timestamp::from_millis(self.complete_at))
    }
}

/// What was found of a trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TrailState {
    /// There is nothing that is not signed.
    Same,
    /// It has grown, and was signed.
    Signed,
    /// It does not fit its last checkpoint, and was not signed.
    Broken,
}

/// The counts of a run.
#[derive(Debug, Default)]
struct Totals {
    signed: usize,
    broken: usize,
}

/// What signing needs.
#[derive(Debug)]
pub struct Checkpointer {
    tenants: Tenants,
    erasures: Erasures,
    progress: JobProgress,
    audit: Audit,
    keys: CheckpointKeys,
    secret: SecretText,
}

/// The key, and the public ones of all checkpoints.
struct Signer {
    key: CheckpointKey,
    known: Vec<PublicKey>,
}

/// The secret of the key, as the template generates it.
#[derive(Deserialize)]
struct KeyDocument {
    key: Secret,
}

impl Checkpointer {
    /// Made of a function's parts.
    pub fn new(parts: &Parts) -> Result<Self, setup::Error> {
        Ok(Self {
            tenants: parts.tenants.clone(),
            erasures: parts.erasures.clone(),
            progress: parts.progress.clone(),
            audit: parts.audit()?,
            keys: parts.checkpoint_keys.clone(),
            secret: SecretText::new(parts.secrets_manager(), config::checkpoint_key_secret()?),
        })
    }

    /// Signs the trails that have grown, if a pass is due or not finished, as far as the time allows.
    pub async fn run(&self, deadline: Timestamp) -> Result<(), Fault> {
        let now = clock::now();
        let mut pass = Pass::next(self.progress.get(JOB).await?, now);
        let mut totals = Totals::default();
        let is_idle = pass.is_finished();
        let walked = if is_idle {
            Ok(())
        } else {
            self.walk(&mut pass, &mut totals, now, StopTime(deadline - ROUND)).await
        };
        let (Totals { signed, broken }, lag_seconds) = (totals, pass.lag(now).as_secs());
        let mut metrics = vec![Metric::one("CheckpointLag", Unit::Seconds, lag_seconds)];
        if !is_idle {
            metrics.push(Metric::one("BrokenTrails", Unit::Count, u64::try_from(broken).unwrap_or(u64::MAX)));
            tracing::info!(signed, broken, faults = pass.faults, lag_seconds, "checkpoints");
        }
        telemetry::measure(&metrics, &[], now);
        walked
    }

    async fn walk(
        &self,
        pass: &mut Pass,
        totals: &mut Totals,
        now: Timestamp,
        stop: StopTime,
    ) -> Result<(), Fault> {
        let key = self.key(now).await?;
        if !pass.operator_done {
            self.trails(vec![TenantId::operator()], &key, pass, totals).await;
            // Those of tenants that were erased, which are in no list.
            let erased = self.erasures.unsigned_trails().await?;
            for tenant in self.trails(erased, &key, pass, totals).await {
                self.erasures.note_signed(&tenant).await?;
            }
            pass.operator_done = true;
        }
        while !pass.is_finished() {
            if stop.has_passed() {
                tracing::warn!("checkpoints ran out of time; the next run continues");
                return Ok(());
            }
            let tenants = self.tenants.list(pass.shard, pass.after.as_deref(), TENANTS).await?;
            match tenants.last().map(ToString::to_string) {
                Some(last) => {
                    self.trails(tenants, &key, pass, totals).await;
                    pass.after = Some(last);
                }
                None => pass.end_shard(),
            }
            self.progress.save(JOB, pass).await?;
        }
        Ok(())
    }

    /// The key, of which everyone must be able to verify what it signs before it signs.
    async fn key(&self, now: Timestamp) -> Result<Signer, Fault> {
        const DOING: &str = "reading the key of checkpoints";
        let text = self.secret.read(DOING).await?;
        let document: KeyDocument =
            serde_json::from_str(&text).map_err(|_| Fault::new(DOING, "malformed"))?;
        let key = CheckpointKey::from_secret(document.key.expose());
        let public = key.public();
        if self.keys.add(&public, now).await? {
            tracing::info!(key_id = public.id(), public_key = %public, "new key of checkpoints");
        }
        let mut known: Vec<_> = self.keys.list().await?.into_iter().map(|known| known.key).collect();
        known.push(public);
        Ok(Signer { key, known })
    }

    /// Signs the trails of some tenants; those whose trails are signed now to their end.
    async fn trails(
        &self,
        tenants: Vec<TenantId>,
        key: &Signer,
        pass: &mut Pass,
        totals: &mut Totals,
    ) -> Vec<TenantId> {
        let mut signed = Vec::new();
        let trails = tenants.into_iter().map(async |tenant| {
            let state = self.trail(&tenant, key).await;
            (tenant, state)
        });
        let mut trails = stream::iter(trails).buffer_unordered(CONCURRENT_TRAILS);
        while let Some((tenant, state)) = trails.next().await {
            match state {
                Ok(TrailState::Same) => signed.push(tenant),
                Ok(TrailState::Signed) => {
                    totals.signed += 1;
                    signed.push(tenant);
                }
                Ok(TrailState::Broken) => {
                    totals.broken += 1;
                    tracing::error!(%tenant, "audit trail does not fit its checkpoint");
                }
                Err(fault) => {
                    pass.faults += 1;
                    tracing::error!(%fault, %tenant, "could not sign audit trail");
                }
            }
        }
        signed
    }

    async fn trail(&self, tenant: &TenantId, signer: &Signer) -> Result<TrailState, Fault> {
        let noted = self.keys.signed(tenant).await?;
        let last = self.audit.newest_checkpoints(tenant, None, 1).await?.pop();
        let is_valid = |last: &Checkpoint| last.check(tenant, &last.link.hash, &signer.known).is_ok();
        let signed = match (noted, last) {
            (None, None) => Link::start(),
            // One that was signed and not noted is later than the note.
            (None, Some(last)) if is_valid(&last) => last.link,
            (Some(noted), Some(last))
                if last.link == noted || last.link.seq > noted.seq && is_valid(&last) =>
            {
                last.link
            }
            // The last checkpoint was removed or replaced, or is a stranger's.
            _ => return Ok(TrailState::Broken),
        };
        let head = self.audit.head(tenant).await?;
        if head == signed {
            return Ok(TrailState::Same);
        }
        if signed.seq > 0 {
            let entry = self.audit.from(tenant, signed.seq, 1).await?.pop();
            if entry.is_none_or(|entry| entry.link() != signed) {
                return Ok(TrailState::Broken);
            }
        }
        let checkpoint = signer.key.sign(tenant, head, clock::now());
        if self.audit.add_checkpoint(tenant, &checkpoint).await? {
            let (Link { seq, hash }, key_id) = (&checkpoint.link, &checkpoint.key_id);
            let signature = &checkpoint.signature;
            // The log is a second record of what was signed.
            tracing::info!(%tenant, seq, hash, key_id, signature, "audit checkpoint");
        }
        self.keys.note_signed(tenant, &checkpoint.link).await?;
        Ok(TrailState::Signed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(hour: i64) -> Timestamp {
        Timestamp::from_secs(3600 * hour)
    }

    #[test]
    fn a_pass_begins_once_a_day_and_sooner_after_faults() {
        let finished = |faults| {
            let mut pass = Pass::begin(hour(100), hour(76).millis());
            pass.faults = faults;
            (0..TENANT_SHARDS).for_each(|_| pass.end_shard());
            pass
        };
        let open = Pass { shard: 1, after: Some("acme".into()), ..Pass::begin(hour(100), hour(76).millis()) };
        let new = |at: i64, complete: i64| Pass::begin(hour(at), hour(complete).millis());
        for (name, known, now, expected, lag) in [
            ("the first", None, 100, new(100, 100), 0),
            ("not finished", Some(open.clone()), 140, open, 64),
            ("finished", Some(finished(0)), 123, finished(0), 23),
            ("the next day", Some(finished(0)), 124, new(124, 100), 24),
            ("with faults", Some(finished(1)), 100, finished(1), 24),
            ("an hour after faults", Some(finished(1)), 101, new(101, 76), 25),
        ] {
            let pass = Pass::next(known, hour(now));
            assert_eq!((&pass, pass.lag(hour(now)).as_secs()), (&expected, 3600 * lag), "{name}");
        }
    }
}
