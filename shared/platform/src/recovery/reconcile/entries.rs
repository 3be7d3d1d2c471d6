//! The job `entries`: connections without an entry in the due index, of which no token would be refreshed any more.
//!
//! Every change of a connection writes its entry, so there are none without one unless rows were lost: by a restore of
//! one table, or by a person. A pass goes through all connections and begins an hour after the one before began.

use std::time::Duration;

use domain::{ConnectionId, TenantId, Timestamp, connection::Connection};
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use super::Reconciler;
use crate::{
    Fault,
    recovery::budget::StopTime,
    runtime::clock,
    store::{registry::connections::ConnectionFilter, table::keys::TENANT_SHARDS},
};

/// The name of the job's progress.
const JOB: &str = "entries";

/// The time between the beginnings of two passes. A pass reads all connections.
const BETWEEN_PASSES: Duration = Duration::from_hours(1);

/// Tenants read at a time.
const TENANTS: i32 = 100;

/// Connections read at a time.
const CONNECTIONS: usize = 100;

/// Entries read concurrently.
const CONCURRENT_READS: usize = 16;

/// Over how long the entries that are put again are spread, so that a restored table is no burst at providers.
const SPREAD: Duration = Duration::from_mins(10);

/// How far a pass has come: the last tenant that it has done, and the last connection of the next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct PassProgress {
    began_at: i64,
    /// Whether the operator, who is in no list and comes first, is done. Rows that were written before lack it.
    #[serde(default)]
    operator_done: bool,
    shard: u8,
    after: Option<String>,
    within: Option<(TenantId, ConnectionId)>,
}

impl PassProgress {
    fn new(now: Timestamp) -> Self {
        Self { began_at: now.millis(), operator_done: false, shard: 0, after: None, within: None }
    }

    fn operator_is_done(&self) -> bool {
        self.operator_done || self.shard > 0 || self.after.is_some()
    }

    fn is_finished(&self) -> bool {
        self.shard >= TENANT_SHARDS
    }

    /// Where a run begins; `None` where the pass before is finished and the next one is not due.
    fn next(known: Option<Self>, now: Timestamp) -> Option<Self> {
        match known {
            Some(known) if !known.is_finished() => Some(known),
            Some(known) if now < Timestamp::from_millis(known.began_at) + BETWEEN_PASSES => None,
            _ => Some(Self::new(now)),
        }
    }

    /// The connection after which a tenant's are read.
    fn within(&self, tenant: &TenantId) -> Option<ConnectionId> {
        self.within.as_ref().filter(|(known, _)| known == tenant).map(|(_, id)| *id)
    }
}

impl Reconciler {
    /// Puts the missing entries of connections, as far as the time allows.
    pub(super) async fn missing_entries(&self, until: Timestamp) -> Result<(), Fault> {
        let known = self.progress.get(JOB).await?;
        let Some(mut progress) = PassProgress::next(known, clock::now()) else { return Ok(()) };
        let walked = self.walk_connections(&mut progress, StopTime(until)).await;
        self.progress.save(JOB, &progress).await?;
        walked
    }

    async fn walk_connections(&self, progress: &mut PassProgress, stop: StopTime) -> Result<(), Fault> {
        if !progress.operator_is_done() {
            if !self.walk_tenant(&TenantId::operator(), progress, stop).await? {
                return Ok(());
            }
            (progress.operator_done, progress.within) = (true, None);
        }
        while !progress.is_finished() {
            let tenants = self.tenants.list(progress.shard, progress.after.as_deref(), TENANTS).await?;
            if tenants.is_empty() {
                (progress.shard, progress.after) = (progress.shard + 1, None);
                continue;
            }
            for tenant in tenants {
                if !self.walk_tenant(&tenant, progress, stop).await? {
                    return Ok(());
                }
                (progress.after, progress.within) = (Some(tenant.to_string()), None);
            }
            // An invocation that is killed later does not repeat these tenants.
            self.progress.save(JOB, progress).await?;
        }
        Ok(())
    }

    /// Goes through the connections of one tenant; false where the time has passed before the last one.
    async fn walk_tenant(
        &self,
        tenant: &TenantId,
        progress: &mut PassProgress,
        stop: StopTime,
    ) -> Result<bool, Fault> {
        loop {
            if stop.has_passed() {
                return Ok(false);
            }
            let before = progress.within(tenant);
            let listed =
                self.connections.list(tenant, &ConnectionFilter::default(), before, CONNECTIONS).await?;
            self.put_missing(&listed).await?;
            match listed.last() {
                Some(last) => progress.within = Some((tenant.clone(), last.id)),
                None => return Ok(true),
            }
        }
    }

    async fn put_missing(&self, listed: &[Connection]) -> Result<(), Fault> {
        // Where nothing is due, there is no entry: a token without an end, or a grant that is dead.
        let expected = listed.iter().filter(|connection| connection.next_refresh_at.is_some());
        let puts = expected.map(|connection| self.put_if_missing(connection));
        let mut puts = stream::iter(puts).buffer_unordered(CONCURRENT_READS);
        while let Some(put) = puts.next().await {
            put?;
        }
        Ok(())
    }

    async fn put_if_missing(&self, connection: &Connection) -> Result<(), Fault> {
        let Connection { tenant_id, id, .. } = connection;
        if self.connection_entries.get(tenant_id, *id).await?.is_some() {
            return Ok(());
        }
        tracing::warn!(tenant = %tenant_id, connection_id = %id, "connection had no entry in the due index; it is due now");
        // An entry of a connection that has ended meanwhile is removed when it is due.
        let due = clock::now() + SPREAD.mul_f64(clock::jitter());
        self.connection_entries.put(tenant_id, *id, due).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_begins_an_hour_after_the_one_before_and_goes_on_where_it_stopped() {
        let (began, minute) = (Timestamp::from_secs(1_000_000), Duration::from_mins(1));
        let fresh = PassProgress::new(began);
        assert_eq!(PassProgress::next(None, began), Some(fresh.clone()));
        let unfinished = PassProgress { shard: 2, after: Some("acme".to_owned()), ..fresh.clone() };
        let late = began + BETWEEN_PASSES * 3;
        assert_eq!(PassProgress::next(Some(unfinished.clone()), late), Some(unfinished));
        let finished = PassProgress { shard: TENANT_SHARDS, ..fresh };
        assert_eq!(PassProgress::next(Some(finished.clone()), began + BETWEEN_PASSES - minute), None);
        let next = began + BETWEEN_PASSES;
        assert_eq!(PassProgress::next(Some(finished), next), Some(PassProgress::new(next)));
    }

    #[test]
    fn the_operator_comes_first_and_once() {
        let fresh = PassProgress::new(Timestamp::from_secs(1_000_000));
        for (progress, is_done) in [
            (fresh.clone(), false),
            (PassProgress { operator_done: true, ..fresh.clone() }, true),
            // Of a pass that began before operators were gone through.
            (PassProgress { shard: 1, ..fresh.clone() }, true),
            (PassProgress { after: Some("acme".to_owned()), ..fresh }, true),
        ] {
            assert_eq!(progress.operator_is_done(), is_done, "{progress:?}");
        }
    }

    #[test]
    fn a_place_within_a_tenant_is_of_that_tenant() {
        let (acme, other): (TenantId, TenantId) = ("acme".parse().unwrap(), "other".parse().unwrap());
        let id = ConnectionId::new(Timestamp::from_secs(1), [1; 10]);
        let progress =
            PassProgress { within: Some((acme.clone(), id)), ..PassProgress::new(Timestamp::from_secs(1)) };
        assert_eq!((progress.within(&acme), progress.within(&other)), (Some(id), None));
    }
}
