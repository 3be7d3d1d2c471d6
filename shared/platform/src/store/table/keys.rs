//! The spelling of every table key. A key of a tenant's row begins with the tenant, which the
//! builders take first, so no row can be read without naming its tenant.

use domain::{
    ConnectionId, DeliveryId, EndpointId, EventId, InboundRequestId, ReplayId, SourceId, TenantId, Timestamp,
    event::EventType, ids::holder::Holder, inbound::ProviderAccount, pool::EntryKey,
};

pub mod access;
pub mod connect;
pub mod exports;
mod lists;
pub mod sync;
pub mod usage;

pub use lists::*;

/// Shards of a tenant's timeline per day, since all that is accepted today is in one day.
///
/// An index partition takes 1,000 writes a second and is not split where its sort key is a time, so a
/// tenant can publish 8,000 events a second. Each day of a list costs as many queries, and so does each
/// tenant in each pass of reconciliation.
/// Source: <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html>
pub const TIMELINE_SHARDS: u8 = 8;

/// A partition key and a sort key.
pub type Key = (String, String);

/// The tenant's own row.
#[must_use]
pub fn tenant(tenant: &TenantId) -> Key {
    (tenant.to_string(), "tenant".to_owned())
}

/// What the sort keys of the catalog's event types begin with.
pub const EVENT_TYPES: &str = "event_type#";

/// The catalog's partition. It is the operator's, but not in the operator's partition: each function reads the whole
/// catalog after a change to it, and each publish needs the operator's endpoints.
const CATALOG: &str = "catalog#";

/// One event type of the catalog.
#[must_use]
pub fn event_type(event_type: &EventType) -> Key {
    (CATALOG.to_owned(), format!("{EVENT_TYPES}{event_type}"))
}

/// What counts the catalog's types and the changes to them.
#[must_use]
pub fn catalog() -> Key {
    (CATALOG.to_owned(), "catalog".to_owned())
}

/// What the sort keys of a tenant's endpoints begin with.
pub const ENDPOINTS: &str = "endpoint#";

/// One endpoint.
#[must_use]
pub fn endpoint(tenant: &TenantId, id: EndpointId) -> Key {
    (tenant.to_string(), format!("{ENDPOINTS}{id}"))
}

/// The tombstone of a deleted endpoint, outside of what lists read.
#[must_use]
pub fn tombstone(tenant: &TenantId, id: EndpointId) -> Key {
    (tenant.to_string(), format!("gone#{id}"))
}

/// What the sort keys of the accounts begin with that are mapped at a source.
pub const ACCOUNTS: &str = "account#";

/// The tenant of a provider's account at one source of the operator.
#[must_use]
pub fn source_account(source: SourceId, account: &ProviderAccount) -> Key {
    (source_lookup(source).0, format!("{ACCOUNTS}{account}"))
}

/// What the sort keys of a tenant's sources begin with.
pub const SOURCES: &str = "source#";

/// One source, for its tenant.
#[must_use]
pub fn source(tenant: &TenantId, id: SourceId) -> Key {
    (tenant.to_string(), format!("{SOURCES}{id}"))
}

/// The tombstone of a deleted source, outside of what lists read.
#[must_use]
pub fn source_tombstone(tenant: &TenantId, id: SourceId) -> Key {
    (tenant.to_string(), format!("gone#{id}"))
}

/// One source, for a request that arrives at its URL.
#[must_use]
pub fn source_lookup(id: SourceId) -> Key {
    (format!("source#{id}"), "lookup".to_owned())
}

/// What the sort keys of the pointers to the shards of a pool begin with.
pub const SECRETS: &str = "pointer#";

/// The partition of a pool of secrets, which the tenants share: its rows hold no secret.
#[must_use]
pub fn secrets_partition(holder: Holder) -> String {
    // `#` is in no tenant's id, so this cannot be a tenant's partition.
    format!("secrets#{}", holder.as_str())
}

/// The pointer to the current version of one shard of a pool.
#[must_use]
pub fn secret(holder: Holder, shard: u32) -> Key {
    (secrets_partition(holder), format!("{SECRETS}{shard:06}"))
}

/// The lease on changes to one shard.
#[must_use]
pub fn secrets_lease(holder: Holder, shard: u32) -> Key {
    (secrets_partition(holder), format!("lease#{shard:06}"))
}

/// What the sort keys of all owners begin with that leave a shard.
pub const DEPARTURES: &str = "leaving#";

/// What the sort keys of the owners begin with that leave this shard.
#[must_use]
pub fn departures_from(shard: u32) -> String {
    format!("{DEPARTURES}{shard:06}#")
}

/// One owner that leaves a shard.
#[must_use]
pub fn departure(holder: Holder, shard: u32, owner: &EntryKey) -> Key {
    (secrets_partition(holder), format!("{}{owner}", departures_from(shard)))
}

/// Shards of a tenant's log of inbound requests per day. A partition takes 1,000 writes a second, of 1 KB each, so a
/// tenant can receive 4,000 small requests a second. Each day of a list costs as many queries.
pub const INBOUND_SHARDS: u8 = 4;

/// One shard of one day of a tenant's log of inbound requests.
#[must_use]
pub fn inbound_partition(tenant: &TenantId, day: i64, shard: u8) -> String {
    format!("{tenant}#inbound#{day}#{shard}")
}

/// One inbound request. Its id begins with its time, so it sorts by that.
#[must_use]
pub fn inbound_request(tenant: &TenantId, id: InboundRequestId) -> Key {
    (inbound_partition(tenant, id.created_at().day(), id.shard(INBOUND_SHARDS)), id.to_string())
}

/// What counts the requests at one source in one second since 1970, in the leases table.
#[must_use]
pub fn source_limiter(tenant: &TenantId, source: SourceId, second: i64) -> Key {
    (format!("{tenant}#{source}"), format!("second#{second}"))
}

/// The limiter of a tenant's dry runs, in the leases table. No id is part of it, so it is none of a source or endpoint.
#[must_use]
pub fn dry_runs_limiter(tenant: &TenantId) -> Key {
    (tenant.to_string(), "dry-runs".to_owned())
}

/// The record of an idempotency key, in the leases table.
#[must_use]
pub fn idempotency(tenant: &TenantId, name: &str) -> Key {
    (format!("{tenant}#idempotency#{name}"), "request".to_owned())
}

/// The partition of an event and its deliveries.
#[must_use]
pub fn event_partition(tenant: &TenantId, id: EventId) -> String {
    format!("{tenant}#{id}")
}

/// One event.
#[must_use]
pub fn event(tenant: &TenantId, id: EventId) -> Key {
    (event_partition(tenant, id), "event".to_owned())
}

/// What the sort keys of an event's deliveries begin with.
pub const DELIVERIES: &str = "delivery#";

/// One generation of a delivery.
#[must_use]
pub fn delivery(tenant: &TenantId, id: DeliveryId, generation: u32) -> Key {
    (event_partition(tenant, id.event), format!("{DELIVERIES}{}#{generation:04}", id.endpoint))
}

/// What the sort keys of all generations of a delivery to this endpoint begin with.
#[must_use]
pub fn generations_of_delivery(endpoint: EndpointId) -> String {
    format!("{DELIVERIES}{endpoint}#")
}

/// The partition of a delivery, and what the sort keys of its generations begin with.
#[must_use]
pub fn generations(tenant: &TenantId, id: DeliveryId) -> Key {
    (event_partition(tenant, id.event), generations_of_delivery(id.endpoint))
}

/// Reads the partition of an event back.
#[must_use]
pub fn parse_event_partition(pk: &str) -> Option<(TenantId, EventId)> {
    let (tenant, event) = pk.split_once('#')?;
    Some((tenant.parse().ok()?, event.parse().ok()?))
}

/// Reads the sort key of a delivery back: its endpoint and its generation.
#[must_use]
pub fn parse_delivery(sk: &str) -> Option<(EndpointId, u32)> {
    let (endpoint, generation) = sk.strip_prefix(DELIVERIES)?.split_once('#')?;
    Some((endpoint.parse().ok()?, generation.parse().ok()?))
}

/// One page of the endpoints that a widely fanned-out event goes to. `snapshot` distinguishes the
/// pages of one publish from those of a concurrent one.
#[must_use]
pub fn page(tenant: &TenantId, event: EventId, snapshot: &str, page: u32) -> Key {
    (event_partition(tenant, event), format!("page#{snapshot}#{page:04}"))
}

/// Milliseconds in one bucket of the due index. Five minutes: a run of the scheduler reads few of
/// them, and deliveries that were delayed together are spread over several by jitter.
const BUCKET_MILLIS: i64 = 300_000;

/// Shards of each bucket.
pub const DUE_SHARDS: u8 = 8;

/// Shards of the work that is held for one endpoint.
pub const HELD_SHARDS: u8 = 8;

/// The bucket of the due index that holds this time.
#[must_use]
pub fn bucket(at: Timestamp) -> i64 {
    at.millis() / BUCKET_MILLIS
}

/// When a bucket ends.
#[must_use]
pub fn bucket_end(bucket: i64) -> Timestamp {
    Timestamp::from_millis((bucket + 1) * BUCKET_MILLIS)
}

/// One shard of a bucket. It does not begin with a tenant: a run that looks for what is due does
/// not know whose it is.
#[must_use]
pub fn due_partition(bucket: i64, shard: u8) -> String {
    format!("due#{bucket}#{shard}")
}

/// The partition of the due index for a delivery that is due at this time.
#[must_use]
pub fn due(id: DeliveryId, at: Timestamp) -> String {
    due_partition(bucket(at), id.shard(DUE_SHARDS))
}

/// One shard of the work held for an endpoint; `owner` is whose endpoint it is.
#[must_use]
pub fn held_partition(owner: &TenantId, endpoint: EndpointId, shard: u8) -> String {
    format!("held#{owner}#{endpoint}#{shard}")
}

/// The partition of the due index for a delivery that waits for its endpoint.
#[must_use]
pub fn held(owner: &TenantId, id: DeliveryId) -> String {
    held_partition(owner, id.endpoint, id.shard(HELD_SHARDS))
}

/// The entry in the due index by which all work held for one endpoint comes back.
#[must_use]
pub fn drain(owner: &TenantId, endpoint: EndpointId) -> Key {
    (format!("{owner}#{endpoint}"), DRAIN.to_owned())
}

/// The sort key of such an entry.
pub const DRAIN: &str = "drain";

/// Reads the partition of such an entry back.
#[must_use]
pub fn parse_drain_partition(pk: &str) -> Option<(TenantId, EndpointId)> {
    let (owner, endpoint) = pk.split_once('#')?;
    Some((owner.parse().ok()?, endpoint.parse().ok()?))
}

/// What the sort keys of an endpoint's statistics begin with.
const STATS: &str = "stats#";

/// An endpoint's statistics of one hour, in a partition of their own: how busy they are must not
/// keep the endpoint's drain entry from being written. Eight digits of hours since 1970
/// reach beyond the last year that RFC 3339 can spell.
#[must_use]
pub fn stats(owner: &TenantId, endpoint: EndpointId, hour: i64) -> Key {
    (format!("{owner}#{endpoint}#stats"), format!("{STATS}{hour:08}"))
}

/// Reads the sort key of statistics back.
#[must_use]
pub fn parse_stats(sk: &str) -> Option<i64> {
    sk.strip_prefix(STATS)?.parse().ok()
}

/// The partition of a tenant's replays.
#[must_use]
pub fn replays_partition(owner: &TenantId) -> String {
    format!("{owner}#replays")
}

/// What the sort keys of replays begin with.
pub const REPLAYS: &str = "replay#";

/// One replay.
#[must_use]
pub fn replay(owner: &TenantId, id: ReplayId) -> Key {
    (replays_partition(owner), format!("{REPLAYS}{id}"))
}

/// Reads the key of a replay back.
#[must_use]
pub fn parse_replay(pk: &str, sk: &str) -> Option<(TenantId, ReplayId)> {
    let (owner, _) = pk.split_once('#')?;
    Some((owner.parse().ok()?, sk.strip_prefix(REPLAYS)?.parse().ok()?))
}

/// What the sort keys of endpoints begin with that have a replay running.
pub const RUNNING: &str = "running#";

/// That an endpoint has a replay running.
#[must_use]
pub fn running(owner: &TenantId, endpoint: EndpointId) -> Key {
    (replays_partition(owner), format!("{RUNNING}{endpoint}"))
}

/// The partition of the due index for a replay that continues at this time.
#[must_use]
pub fn due_replay(id: ReplayId, at: Timestamp) -> String {
    due_partition(bucket(at), id.shard(DUE_SHARDS))
}

/// What the sort keys of connections begin with that are refreshed.
pub const CONNECTIONS_DUE: &str = "connection#";

/// The entry in the due index by which a connection is refreshed.
#[must_use]
pub fn connection_due(tenant: &TenantId, id: ConnectionId) -> Key {
    (format!("{tenant}#connections"), format!("{CONNECTIONS_DUE}{id}"))
}

/// Reads the key of such an entry back.
#[must_use]
pub fn parse_connection_due(pk: &str, sk: &str) -> Option<(TenantId, ConnectionId)> {
    let tenant = pk.strip_suffix("#connections")?;
    Some((tenant.parse().ok()?, sk.strip_prefix(CONNECTIONS_DUE)?.parse().ok()?))
}

/// The partition of the due index for a connection that is refreshed at this time.
#[must_use]
pub fn due_connection(id: ConnectionId, at: Timestamp) -> String {
    due_partition(bucket(at), id.shard(DUE_SHARDS))
}

/// The limiter of one endpoint, in the leases table.
#[must_use]
pub fn limiter(owner: &TenantId, endpoint: EndpointId) -> Key {
    (format!("{owner}#{endpoint}"), "limiter".to_owned())
}

/// One entry of a tenant's audit trail, in the audit table. Twelve digits sort as numbers do.
#[must_use]
pub fn audit_entry(tenant: &TenantId, seq: u64) -> Key {
    (tenant.to_string(), audit_place(seq))
}

/// The sort key of such an entry.
#[must_use]
pub fn audit_place(seq: u64) -> String {
    format!("{seq:012}")
}

/// The checkpoint of one entry of a tenant's audit trail, in the audit table.
#[must_use]
pub fn audit_checkpoint(tenant: &TenantId, seq: u64) -> Key {
    (format!("{tenant}#checkpoints"), audit_place(seq))
}

/// The end of a tenant's audit trail that was signed last, in the registry table.
#[must_use]
pub fn checkpoint_head(tenant: &TenantId) -> Key {
    // `#` is in no tenant's id, so this cannot be a tenant's partition.
    (format!("checkpoint-head#{tenant}"), "head".to_owned())
}

/// A public key that verifies checkpoints, in the registry table.
#[must_use]
pub fn checkpoint_key(id: &str) -> Key {
    ("checkpoint-keys#".to_owned(), id.to_owned())
}

/// The limiter of the test events of all of a tenant's endpoints, in the leases table.
#[must_use]
pub fn tests_limiter(owner: &TenantId) -> Key {
    (owner.to_string(), "tests".to_owned())
}

/// The limiter of the test events of one endpoint, in the leases table.
#[must_use]
pub fn test_limiter(owner: &TenantId, endpoint: EndpointId) -> Key {
    (format!("{owner}#{endpoint}"), "test".to_owned())
}

/// How far a job has come that goes through all tenants or all time.
#[must_use]
pub fn progress(job: &str) -> Key {
    // `#` is in no tenant's id.
    ("progress#".to_owned(), job.to_owned())
}

/// The lease on a job, beside its progress.
#[must_use]
pub fn job_lease(job: &str) -> Key {
    let (pk, sk) = progress(job);
    (pk, format!("{sk}#lease"))
}

/// The deletions of tenants: requested, under way, and done. It is not a tenant's, so that a proof outlives its tenant.
#[must_use]
pub fn deletions_partition() -> String {
    // `#` is in no tenant's id.
    "deletions#".to_owned()
}

/// What the sort keys of deletions begin with that are not done.
pub const OPEN_DELETIONS: &str = "open#";

/// A deletion that is not done.
#[must_use]
pub fn open_deletion(tenant: &TenantId) -> Key {
    (deletions_partition(), format!("{OPEN_DELETIONS}{tenant}"))
}

/// What the sort keys of the proofs of a tenant's deletions begin with: an id can be used again.
#[must_use]
pub fn deletion_proofs(tenant: &TenantId) -> String {
    format!("proof#{tenant}#")
}

/// The proof of a deletion that began at this time.
#[must_use]
pub fn deletion_proof(tenant: &TenantId, began_at: Timestamp) -> Key {
    (deletions_partition(), format!("{}{:015}", deletion_proofs(tenant), began_at.millis()))
}

/// Shards of the list of all tenants.
pub const TENANT_SHARDS: u8 = 4;

/// What the partitions of the list of all tenants begin with.
pub const TENANTS: &str = "tenants#";

/// One shard of the list of all tenants.
#[must_use]
pub fn tenants_partition(shard: u8) -> String {
    format!("{TENANTS}{shard}")
}

/// A tenant's place in the list of all tenants.
#[must_use]
pub fn tenant_listing(tenant: &TenantId) -> Key {
    let sum = tenant.as_str().bytes().fold(0u8, u8::wrapping_add);
    (tenants_partition(sum % TENANT_SHARDS), tenant.to_string())
}

/// One shard of one day of a tenant's timeline.
#[must_use]
pub fn timeline_partition(tenant: &TenantId, day: i64, shard: u8) -> String {
    format!("{tenant}#{day}#{shard}")
}

/// An event's place in its tenant's timeline.
#[must_use]
pub fn timeline(tenant: &TenantId, id: EventId, at: Timestamp) -> Key {
    (timeline_partition(tenant, at.day(), id.shard(TIMELINE_SHARDS)), timeline_place(at, id))
}

/// The sort key in the timeline: by time, then by id. 15 digits of milliseconds reach the
/// last year that RFC 3339 can spell.
#[must_use]
pub fn timeline_place(at: Timestamp, id: EventId) -> String {
    format!("{:015}#{id}", at.millis())
}

/// Reads [`timeline_place`] back.
#[must_use]
pub fn parse_timeline_place(text: &str) -> Option<(Timestamp, EventId)> {
    let (millis, id) = text.split_once('#')?;
    Some((Timestamp::from_millis(millis.parse().ok()?), id.parse().ok()?))
}

#[cfg(test)]
mod tests;
