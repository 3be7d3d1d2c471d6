//! Keys of rows about API keys and portal sessions, and of erased tenants whose trails are to be signed.

use domain::{KeyId, PortalSessionId, TenantId};

use super::Key;

/// What the sort keys of a tenant's API keys begin with.
pub const API_KEYS: &str = "key#";

/// One API key, for its tenant.
#[must_use]
pub fn api_key(tenant: &TenantId, id: KeyId) -> Key {
    (tenant.to_string(), format!("{API_KEYS}{id}"))
}

/// The tombstone of a revoked API key, outside of what lists read.
#[must_use]
pub fn api_key_tombstone(tenant: &TenantId, id: KeyId) -> Key {
    (tenant.to_string(), format!("gone#{id}"))
}

/// One API key, for a request that has the key and not its tenant.
#[must_use]
pub fn api_key_lookup(hash: &str) -> Key {
    // `#` is in no tenant's id, so this cannot be a tenant's partition.
    (format!("keyhash#{hash}"), "lookup".to_owned())
}

/// What the sort keys of a tenant's portal sessions begin with.
pub const PORTAL_SESSIONS: &str = "portal#";

/// One portal session, in the leases table.
#[must_use]
pub fn portal_session(tenant: &TenantId, id: PortalSessionId) -> Key {
    (format!("{tenant}#portal"), format!("{PORTAL_SESSIONS}{id}"))
}

/// What finds a portal session by its code.
#[must_use]
pub fn portal_code(hash: &str) -> Key {
    // Neither is a tenant's partition: `#` is in no tenant's id, and no partition of a tenant begins so.
    (format!("portal-code#{hash}"), "code".to_owned())
}

/// What finds a portal session by its token.
#[must_use]
pub fn portal_token(hash: &str) -> Key {
    (format!("portal-token#{hash}"), "token".to_owned())
}

/// What the partitions of the trails begin with that have entries to be sent to the stream.
pub const TOUCHED_TRAILS: &str = "touched-trails#";

/// Shards of those trails: a partition takes 1,000 writes a second.
pub const TOUCHED_SHARDS: u8 = 4;

/// One shard of those trails, in the registry table.
#[must_use]
pub fn touched_trails(shard: u8) -> String {
    format!("{TOUCHED_TRAILS}{shard}")
}

/// That a trail has entries to be sent to the stream.
#[must_use]
pub fn touched_trail(tenant: &TenantId) -> Key {
    let sum = tenant.as_str().bytes().fold(0u8, u8::wrapping_add);
    (touched_trails(sum % TOUCHED_SHARDS), tenant.to_string())
}

/// How far a tenant's trail was sent to the stream, in the registry table.
#[must_use]
pub fn streamed_trail(tenant: &TenantId) -> Key {
    // `#` is in no tenant's id. It remains when the tenant is deleted, as its trail does.
    (format!("streamed-trail#{tenant}"), "mark".to_owned())
}

/// The partition of the erased tenants whose trails are to be signed once more, in the registry table.
pub const UNSIGNED_TRAILS: &str = "unsigned-trails#";

/// That the trail of an erased tenant is to be signed once more, in the registry table.
#[must_use]
pub fn unsigned_trail(tenant: &TenantId) -> Key {
    (UNSIGNED_TRAILS.to_owned(), tenant.to_string())
}
