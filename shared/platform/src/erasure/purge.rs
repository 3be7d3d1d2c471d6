//! The steps of a pass, and the rows that each removes.

use std::ops::RangeInclusive;

use domain::{EndpointId, TenantId, delivery::Retention, tenant::erasure::Erasure};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::{End, Eraser, StopTime};
use crate::{
    Fault,
    runtime::clock,
    store::{
        table::keys::{self, INBOUND_SHARDS, TIMELINE_SHARDS},
        tenant_rows::{CHUNK, Place},
    },
};

/// A step of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Keys, sources, accounts and endpoints.
    Access,
    Connections,
    /// Replays, entries of connections, sessions, grants.
    Partitions,
    InboundRequests,
    /// Events with pages and deliveries.
    Events,
    /// What is left of endpoints: drain entries, statistics, deliveries without an event.
    Endpoints,
    Usage,
    Objects,
    Secrets,
    /// Other rows of the registry.
    Registry,
}

/// All steps. Each begins with what a later one needs.
pub(super) const STEPS: [Step; 10] = [
    Step::Access,
    Step::Connections,
    Step::Partitions,
    Step::InboundRequests,
    Step::Events,
    Step::Endpoints,
    Step::Usage,
    Step::Objects,
    Step::Secrets,
    Step::Registry,
];

/// Days that rows of events and inbound requests are looked for beyond those that they are kept: two that DynamoDB may
/// take to delete them, and a few for generations that began late.
const MORE_DAYS: i64 = 10;

/// Days that rows of usage are looked for: they are kept for 400.
const USAGE_DAYS: i64 = 403;

/// Events that are removed concurrently, and those that are read at a time.
const CONCURRENT_EVENTS: usize = 8;
const EVENTS: i32 = 100;

/// What the sort keys of tombstones begin with.
const TOMBSTONES: &str = "gone#";

/// The days of events and inbound requests that a tenant can have, whatever its retention: it may have been longer before.
fn days() -> RangeInclusive<i64> {
    let today = clock::now().day();
    today - i64::from(Retention::LONGEST.days()) - MORE_DAYS..=today + 1
}

/// What was removed of one event.
#[derive(Default)]
struct EventRows {
    events: usize,
    deliveries: usize,
    pages: usize,
}

impl Eraser {
    pub(super) async fn step(&self, step: Step, erasure: &mut Erasure, stop: StopTime) -> Result<End, Fault> {
        match step {
            Step::Access => self.remove_access(erasure, stop).await,
            Step::Connections => self.remove_connections(erasure, stop).await,
            Step::Partitions => self.remove_partitions(erasure, stop).await,
            Step::InboundRequests => self.remove_inbound_requests(erasure, stop).await,
            Step::Events => self.remove_events(erasure, stop).await,
            Step::Endpoints => self.remove_endpoint_rows(erasure, stop).await,
            Step::Usage => self.remove_usage(erasure).await,
            Step::Objects => self.remove_objects(erasure, stop).await,
            Step::Secrets => self.remove_secrets(erasure).await,
            Step::Registry => self.remove_registry_rows(erasure, stop).await,
        }
    }

    /// Removes the rows of a partition whose sort keys begin with `prefix`; how many there were.
    async fn remove_under(
        &self,
        place: Place,
        pk: &str,
        prefix: &str,
        stop: StopTime,
    ) -> Result<(usize, End), Fault> {
        let mut removed = 0;
        loop {
            let found = self.rows.sort_keys(place, pk, prefix, None).await?;
            let count = found.len();
            self.rows.delete(place, found.into_iter().map(|sk| (pk.to_owned(), sk)).collect()).await?;
            removed += count;
            if count < CHUNK {
                return Ok((removed, End::Done));
            }
            if stop.has_passed() {
                return Ok((removed, End::OutOfTime));
            }
        }
    }

    async fn remove_partitions(&self, erasure: &mut Erasure, stop: StopTime) -> Result<End, Fault> {
        let tenant = erasure.tenant_id.clone();
        if self.remove_syncs(erasure, stop).await? == End::OutOfTime {
            return Ok(End::OutOfTime);
        }
        for (place, pk, kind) in [
            (Place::Events, keys::replays_partition(&tenant), "replays"),
            (Place::Events, keys::exports::exports_partition(&tenant), "exports"),
            (Place::Events, format!("{tenant}#connections"), "connection_entries"),
            (Place::Events, keys::sync::entries(&tenant), "sync_entries"),
            (Place::Registry, keys::connect::grants_partition(&tenant), "grants"),
        ] {
            let (removed, end) = self.remove_under(place, &pk, "", stop).await?;
            erasure.count(kind, removed);
            if end == End::OutOfTime {
                return Ok(end);
            }
        }
        // The job that exports would remove it too, once it finds no export.
        self.rows.delete(Place::Events, vec![keys::exports::open_export(&tenant)]).await?;
        for pk in [
            tenant.to_string(),
            format!("{tenant}#connect"),
            format!("{tenant}#idp"),
            format!("{tenant}#portal"),
        ] {
            let (removed, end) = self.remove_under(Place::Leases, &pk, "", stop).await?;
            erasure.note("leases", removed);
            if end == End::OutOfTime {
                return Ok(end);
            }
        }
        Ok(End::Done)
    }

    async fn remove_inbound_requests(&self, erasure: &mut Erasure, stop: StopTime) -> Result<End, Fault> {
        let tenant = erasure.tenant_id.clone();
        for day in days() {
            for shard in 0..INBOUND_SHARDS {
                let pk = keys::inbound_partition(&tenant, day, shard);
                let (removed, end) = self.remove_under(Place::Events, &pk, "", stop).await?;
                erasure.count("inbound_requests", removed);
                if end == End::OutOfTime {
                    return Ok(end);
                }
            }
            if stop.has_passed() {
                return Ok(End::OutOfTime);
            }
        }
        Ok(End::Done)
    }

    async fn remove_events(&self, erasure: &mut Erasure, stop: StopTime) -> Result<End, Fault> {
        let tenant = erasure.tenant_id.clone();
        for day in days() {
            for shard in 0..TIMELINE_SHARDS {
                // The index is behind the table, so this goes on behind what it has read.
                let mut after: Option<String> = None;
                loop {
                    let found = self.rows.events_of(&tenant, (day, shard), after.as_deref(), EVENTS).await?;
                    let Some((last, _)) = found.last() else { break };
                    after = Some(last.clone());
                    let removals: Vec<_> =
                        found.iter().map(|(_, partition)| self.remove_event(partition)).collect();
                    let removed: Vec<EventRows> =
                        stream::iter(removals).buffer_unordered(CONCURRENT_EVENTS).try_collect().await?;
                    for rows in removed {
                        erasure.count("events", rows.events);
                        erasure.count("deliveries", rows.deliveries);
                        erasure.count("event_pages", rows.pages);
                    }
                    if stop.has_passed() {
                        return Ok(End::OutOfTime);
                    }
                    // For the counts: an invocation that is killed later has removed what it does not find again.
                    self.erasures.save(erasure).await?;
                }
            }
            if stop.has_passed() {
                return Ok(End::OutOfTime);
            }
        }
        Ok(End::Done)
    }

    /// Removes one event with its pages and deliveries. The event goes last: it leads to the rest.
    async fn remove_event(&self, partition: &str) -> Result<EventRows, Fault> {
        let mut removed = EventRows::default();
        loop {
            let found = self.rows.sort_keys(Place::Events, partition, "", None).await?;
            let is_all = found.len() < CHUNK;
            let (event, rest): (Vec<_>, Vec<_>) = found.into_iter().partition(|sk| sk == "event");
            removed.deliveries += rest.iter().filter(|sk| sk.starts_with(keys::DELIVERIES)).count();
            removed.pages += rest.iter().filter(|sk| !sk.starts_with(keys::DELIVERIES)).count();
            let in_partition =
                |all: Vec<String>| all.into_iter().map(|sk| (partition.to_owned(), sk)).collect();
            let has_rest = !rest.is_empty();
            self.rows.delete(Place::Events, in_partition(rest)).await?;
            if is_all {
                removed.events = event.len();
                self.rows.delete(Place::Events, in_partition(event)).await?;
                return Ok(removed);
            }
            if !has_rest {
                return Err(Fault::new("removing an event", "its partition has no end"));
            }
        }
    }

    async fn remove_endpoint_rows(&self, erasure: &mut Erasure, stop: StopTime) -> Result<End, Fault> {
        let tenant = erasure.tenant_id.clone();
        loop {
            let after = erasure.after.clone();
            let found =
                self.rows.sort_keys(Place::Registry, tenant.as_str(), TOMBSTONES, after.as_deref()).await?;
            let Some(last) = found.last().cloned() else { return Ok(End::Done) };
            for tombstone in &found {
                let id = tombstone.strip_prefix(TOMBSTONES).and_then(|id| id.parse::<EndpointId>().ok());
                if let Some(endpoint) = id {
                    self.remove_rows_of(&tenant, endpoint, erasure, stop).await?;
                }
                erasure.after = Some(tombstone.clone());
                if stop.has_passed() {
                    return Ok(End::OutOfTime);
                }
            }
            erasure.after = Some(last);
        }
    }

    async fn remove_rows_of(
        &self,
        tenant: &TenantId,
        endpoint: EndpointId,
        erasure: &mut Erasure,
        stop: StopTime,
    ) -> Result<(), Fault> {
        let (own, _) = keys::drain(tenant, endpoint);
        let (statistics, _) = keys::stats(tenant, endpoint, 0);
        for (place, pk, kind) in
            [(Place::Events, &own, "drain_entries"), (Place::Events, &statistics, "statistics")]
        {
            let (removed, _) = self.remove_under(place, pk, "", stop).await?;
            erasure.count(kind, removed);
        }
        let (removed, _) = self.remove_under(Place::Leases, &own, "", stop).await?;
        erasure.note("leases", removed);
        // The index may be behind: those that are gone are not counted.
        let deliveries = self.rows.deliveries(tenant, endpoint).await?;
        if !deliveries.is_empty() {
            let existing = self.rows.existing(Place::Events, deliveries).await?;
            erasure.count("deliveries", existing.len());
            self.rows.delete(Place::Events, existing).await?;
        }
        Ok(())
    }

    /// Removes syncs, each with what is known of its records before the row that leads to them.
    async fn remove_syncs(&self, erasure: &mut Erasure, stop: StopTime) -> Result<End, Fault> {
        let tenant = erasure.tenant_id.clone();
        let pk = tenant.to_string();
        loop {
            let found = self.rows.sort_keys(Place::Registry, &pk, keys::sync::SYNCS, None).await?;
            let count = found.len();
            for sk in found {
                let id = sk.strip_prefix(keys::sync::SYNCS).and_then(|id| id.parse().ok());
                if let Some(id) = id {
                    let records = keys::sync::records(&tenant, id);
                    let (removed, end) = self.remove_under(Place::Events, &records, "", stop).await?;
                    erasure.count("sync_records", removed);
                    if end == End::OutOfTime {
                        return Ok(end);
                    }
                }
                self.rows.delete(Place::Registry, vec![(pk.clone(), sk)]).await?;
                erasure.count("syncs", 1);
            }
            if count < CHUNK {
                return Ok(End::Done);
            }
        }
    }

    async fn remove_usage(&self, erasure: &mut Erasure) -> Result<End, Fault> {
        let today = clock::now().day();
        let days = today - USAGE_DAYS..=today + 1;
        let rows: Vec<_> = days.map(|day| keys::usage::usage(&erasure.tenant_id, day)).collect();
        let existing = self.rows.existing(Place::Events, rows).await?;
        erasure.note("usage_days", existing.len());
        self.rows.delete(Place::Events, existing).await?;
        Ok(End::Done)
    }

    /// Removes the other rows of the registry but the tenant's own and the tombstones, which lead to what later passes look
    /// for.
    async fn remove_registry_rows(&self, erasure: &mut Erasure, stop: StopTime) -> Result<End, Fault> {
        let pk = erasure.tenant_id.to_string();
        for (prefix, kind) in [
            (keys::connect::IDPS, "idps"),
            (keys::connect::LINKED_ACCOUNTS, "account_links"),
            (keys::connect::CONNECTION_COUNT, "counts"),
            ("connect-settings", "settings"),
            (keys::sync::SYNCED, "sync_sources"),
        ] {
            let (removed, end) = self.remove_under(Place::Registry, &pk, prefix, stop).await?;
            erasure.count(kind, removed);
            if end == End::OutOfTime {
                return Ok(end);
            }
        }
        Ok(End::Done)
    }

    /// Removes the tombstones. False where there are other rows than them and the tenant's own.
    pub(super) async fn remove_tombstones(&self, erasure: &mut Erasure) -> Result<bool, Fault> {
        let pk = erasure.tenant_id.to_string();
        loop {
            let mut found = self.rows.sort_keys(Place::Registry, &pk, "", None).await?;
            let count = found.len();
            if found.iter().any(|sk| sk != "tenant" && !sk.starts_with(TOMBSTONES)) {
                return Ok(false);
            }
            found.retain(|sk| sk != "tenant");
            self.rows.delete(Place::Registry, found.into_iter().map(|sk| (pk.clone(), sk)).collect()).await?;
            if count < CHUNK {
                return Ok(true);
            }
        }
    }
}
