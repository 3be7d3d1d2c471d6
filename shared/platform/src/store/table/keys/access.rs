//! Keys of rows about API keys and portal sessions.

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
