//! The keys of syncs: their rows, what is known of their records, when they are due, and the leases of their tokens.

use domain::{
    ConnectionId, SyncId, TenantId, Timestamp,
    sync::{
        SyncSettings,
        kind::{Engine, KindName},
    },
};

use super::{DUE_SHARDS, Key, bucket, due_partition};

/// What the sort keys of a tenant's syncs begin with.
pub const SYNCS: &str = "sync#";

/// One sync, in the registry.
#[must_use]
pub fn sync(tenant: &TenantId, id: SyncId) -> Key {
    (tenant.to_string(), format!("{SYNCS}{id}"))
}

/// What the sort keys of the rows begin with that say which sync reads what.
pub const SYNCED: &str = "synced#";

/// Which sync reads this by this connection, in the registry. The address of the API counts too: a sandbox has other data.
#[must_use]
pub fn synced(tenant: &TenantId, id: ConnectionId, kind: KindName, settings: &SyncSettings) -> Key {
    let source = serde_json::json!([
        settings.calendar_id,
        settings.originating_system,
        settings.dataset,
        settings.base_url.as_deref().map(|url| url.trim_end_matches('/')),
    ]);
    let hash = domain::digest::hash(&source.to_string());
    (tenant.to_string(), format!("{}{hash}", synced_by(id, kind)))
}

/// What the sort keys of the same begin with, for all that is read by one connection.
#[must_use]
pub fn synced_by(id: ConnectionId, kind: KindName) -> String {
    format!("{SYNCED}{id}#{}#", kind.as_ref())
}

/// What the sort keys of records begin with.
pub const RECORDS: &str = "record#";

/// The partition of what is known of a sync's records, in the events table. It has no end of its own.
#[must_use]
pub fn records(tenant: &TenantId, id: SyncId) -> String {
    format!("{tenant}#{id}")
}

/// What is known of one record. A third party's key can be any text, and longer than a sort key may be, so it is hashed
/// where it is long.
#[must_use]
pub fn record(tenant: &TenantId, id: SyncId, key: &str) -> Key {
    const LONGEST: usize = 512;
    let key = if key.len() > LONGEST { domain::digest::hash(key) } else { key.to_owned() };
    (records(tenant, id), format!("{RECORDS}{key}"))
}

/// What the sort keys of the keys begin with that a pass has seen.
#[must_use]
pub fn seen(pass: u32) -> String {
    format!("seen#{pass:010}#")
}

/// Some of the keys that a page of a pass had, in the partition of the records. `part` differs each time, since a page
/// that is read twice need not have the same keys.
#[must_use]
pub fn seen_part(tenant: &TenantId, id: SyncId, pass: u32, part: &str) -> Key {
    (records(tenant, id), format!("{}{part}", seen(pass)))
}

/// What the sort keys of the entries of syncs begin with.
pub const SYNCS_DUE: &str = "sync_due#";

/// The partition of a tenant's entries in the due index.
#[must_use]
pub fn entries(tenant: &TenantId) -> String {
    format!("{tenant}#syncs")
}

/// The entry in the due index by which a sync runs.
#[must_use]
pub fn sync_due(tenant: &TenantId, engine: Engine, id: SyncId) -> Key {
    (entries(tenant), format!("{SYNCS_DUE}{}#{id}", engine_name(engine)))
}

/// Reads the key of such an entry back.
#[must_use]
pub fn parse_sync_due(pk: &str, sk: &str) -> Option<(TenantId, Engine, SyncId)> {
    let tenant = pk.strip_suffix("#syncs")?.parse().ok()?;
    let (engine, id) = sk.strip_prefix(SYNCS_DUE)?.split_once('#')?;
    let engine = [Engine::Calendar, Engine::Mls].into_iter().find(|known| engine_name(*known) == engine)?;
    Some((tenant, engine, id.parse().ok()?))
}

/// The partition of the due index for a sync that runs at this time.
#[must_use]
pub fn due_sync(id: SyncId, at: Timestamp) -> String {
    due_partition(bucket(at), id.shard(DUE_SHARDS))
}

/// A push channel, for a message that arrives for it: by the hash of its id, which anyone can send.
#[must_use]
pub fn push_channel(id: &str) -> Key {
    (format!("channel#{}", domain::digest::hash(id)), "lookup".to_owned())
}

/// The channels that a deleted sync has left, in the partition of its records.
#[must_use]
pub fn channels_left(tenant: &TenantId, id: SyncId) -> Key {
    (records(tenant, id), "channels".to_owned())
}

/// The lease on the calls by one connection, in the leases table.
#[must_use]
pub fn caller(tenant: &TenantId, id: ConnectionId) -> Key {
    (format!("{tenant}#{id}"), "caller".to_owned())
}

fn engine_name(engine: Engine) -> &'static str {
    match engine {
        Engine::Calendar => "calendar",
        Engine::Mls => "mls",
    }
}
