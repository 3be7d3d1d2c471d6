//! The spelling of every table key. A key of a tenant's row begins with the tenant, which the
//! builders take first, so no row can be asked for without saying whose.

use domain::{DeliveryId, EndpointId, EventId, KeyId, SourceId, TenantId, Timestamp};

use crate::secrets::Holder;

/// Shards of a tenant's timeline per day: today is always one hot day.
pub const TIMELINE_SHARDS: u8 = 4;

/// A partition key and a sort key.
pub type Key = (String, String);

/// The tenant's own row.
#[must_use]
pub fn tenant(tenant: &TenantId) -> Key {
    (tenant.to_string(), "tenant".to_owned())
}

/// One API key, for its tenant.
#[must_use]
pub fn api_key(tenant: &TenantId, id: KeyId) -> Key {
    (tenant.to_string(), format!("key#{id}"))
}

/// One API key, for those who hold the key and do not know yet whose it is.
#[must_use]
pub fn api_key_lookup(hash: &str) -> Key {
    // `#` is in no tenant's id, so this cannot be a tenant's partition.
    (format!("keyhash#{hash}"), "lookup".to_owned())
}

/// What the sort keys of a tenant's endpoints begin with.
pub const ENDPOINTS: &str = "endpoint#";

/// One endpoint.
#[must_use]
pub fn endpoint(tenant: &TenantId, id: EndpointId) -> Key {
    (tenant.to_string(), format!("{ENDPOINTS}{id}"))
}

/// One source, for its tenant.
#[must_use]
pub fn source(tenant: &TenantId, id: SourceId) -> Key {
    (tenant.to_string(), format!("source#{id}"))
}

/// One source, for a request that arrives at its URL.
#[must_use]
pub fn source_lookup(id: SourceId) -> Key {
    (format!("source#{id}"), "lookup".to_owned())
}

/// What the sort keys of the pointers to a tenant's secrets begin with.
#[must_use]
pub fn secrets_of(holder: Holder) -> String {
    format!("secret#{}#", holder.as_str())
}

/// The pointer to the current version of one of a tenant's secrets.
#[must_use]
pub fn secret(tenant: &TenantId, holder: Holder, shard: u32) -> Key {
    (tenant.to_string(), format!("{}{shard:04}", secrets_of(holder)))
}

/// The lease of whoever is changing a tenant's secrets of one kind.
#[must_use]
pub fn secrets_lease(tenant: &TenantId, holder: Holder) -> Key {
    (tenant.to_string(), format!("lease#{}", holder.as_str()))
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

/// One shard of one day of a tenant's timeline.
#[must_use]
pub fn timeline_partition(tenant: &TenantId, day: i64, shard: u8) -> String {
    format!("{tenant}#{day}#{shard}")
}

/// Where an event stands in its tenant's timeline.
#[must_use]
pub fn timeline(tenant: &TenantId, id: EventId, at: Timestamp) -> Key {
    let text = id.to_string();
    // The last character is random in every id, derived or not.
    let shard = text.bytes().last().unwrap_or_default() % TIMELINE_SHARDS;
    (timeline_partition(tenant, at.day(), shard), timeline_place(at, id))
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
