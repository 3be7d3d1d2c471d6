//! Keys of what was used. The partition is a day's and not a tenant's, so that the operator reads a day of all tenants.

use domain::{KeyId, TenantId};

use super::Key;

/// Shards of a day: each takes 1,000 writes a second, and a write counts many requests.
pub const USAGE_SHARDS: u8 = 16;

/// One shard of one day (days since 1970).
#[must_use]
pub fn usage_partition(day: i64, shard: u8) -> String {
    // `#` is in no tenant's id, so this cannot be a tenant's partition.
    format!("usage#{day}#{shard}")
}

/// What a tenant has used on a day.
#[must_use]
pub fn usage(tenant: &TenantId, day: i64) -> Key {
    let sum = tenant.as_str().bytes().fold(0u8, u8::wrapping_add);
    (usage_partition(day, sum % USAGE_SHARDS), tenant.to_string())
}

/// The number that the rate limit of an API key is kept by.
#[must_use]
pub fn key_rate(tenant: &TenantId, key: KeyId) -> Key {
    // No day is called so, so no list of a day has it.
    (format!("usage#keys#{tenant}"), key.to_string())
}
