//! The keys of lists of deliveries: those of an endpoint, and those of a tenant whose last attempt failed.

use domain::{DeliveryId, EndpointId, EventId, TenantId, Timestamp, delivery::Group};

/// Shards of each group of an endpoint's deliveries.
///
/// A partition takes 1,000 writes a second: 4,000 deliveries a second that succeed at once, and 16,000 of
/// an endpoint of the operator, which gets the events of all tenants. A page of the list costs as many
/// queries for each of its groups.
#[must_use]
pub fn list_shards(owner: &TenantId) -> u8 {
    if owner.is_operator() { 16 } else { 4 }
}

/// What the partitions of endpoints' deliveries begin with.
pub const LISTS: &str = "list#";

/// One shard of one group of an endpoint's deliveries; `owner` is whose endpoint it is.
#[must_use]
pub fn list_partition(owner: &TenantId, endpoint: EndpointId, group: Group, shard: u8) -> String {
    format!("{LISTS}{owner}#{endpoint}#{}#{shard}", group.as_str())
}

/// The partition of a delivery among those of its endpoint.
#[must_use]
pub fn list(owner: &TenantId, id: DeliveryId, group: Group) -> String {
    list_partition(owner, id.endpoint, group, id.shard(list_shards(owner)))
}

/// Shards of the deliveries of a tenant's endpoints whose last attempt failed.
///
/// A partition takes 1,000 writes a second, so as many failures of one tenant are recorded as 8,000 a second, and 16,000 of
/// the operator. A page of the list costs as many queries.
#[must_use]
pub fn failing_shards(owner: &TenantId) -> u8 {
    if owner.is_operator() { 16 } else { 8 }
}

/// One shard of the deliveries whose last attempt failed; `owner` is whose endpoints they are of.
#[must_use]
pub fn failing_partition(owner: &TenantId, shard: u8) -> String {
    format!("failing#{owner}#{shard}")
}

/// The partition of a delivery among those whose last attempt failed.
#[must_use]
pub fn failing(owner: &TenantId, id: DeliveryId) -> String {
    failing_partition(owner, id.shard(failing_shards(owner)))
}

/// Its place there: by the time at which it was first written, which never changes, then by what it
/// is of.
#[must_use]
pub fn list_place(at: Timestamp, event: EventId, generation: u32) -> String {
    format!("{:015}#{event}#{generation:04}", at.millis())
}

/// Reads [`list_place`] back.
#[must_use]
pub fn parse_list_place(text: &str) -> Option<(Timestamp, EventId, u32)> {
    let (millis, rest) = text.split_once('#')?;
    let (event, generation) = rest.split_once('#')?;
    Some((Timestamp::from_millis(millis.parse().ok()?), event.parse().ok()?, generation.parse().ok()?))
}
