//! API keys as the API shows them.

use domain::{
    KeyId, Secret, TenantId, Timestamp,
    access::{ApiKey, Network, Role, Scope},
};
use schemars::JsonSchema;
use serde::Serialize;

/// Whether a key is accepted.
#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KeyStatus {
    /// It is.
    Active,
    /// It is refused since `expires_at`.
    Expired,
}

/// An API key, without the key itself.
#[derive(Serialize, JsonSchema)]
pub(crate) struct KeyView {
    pub(super) id: KeyId,
    tenant_id: TenantId,
    /// Its name.
    name: String,
    status: KeyStatus,
    /// The last characters of the key.
    hint: String,
    /// Its role; null if it has scopes of its own.
    role: Option<Role>,
    /// Its scopes.
    scopes: Vec<Scope>,
    /// From when on it is refused; null for never.
    expires_at: Option<Timestamp>,
    /// The networks from which it may be used; any if there are none.
    allowed_networks: Vec<Network>,
    /// Requests per second with this key; null for no limit but the tenant's.
    requests_per_second: Option<u32>,
    /// Requests with this key that may arrive at once; null for twice the rate.
    request_burst: Option<u32>,
    /// Until when a key before the last rotation is valid; null if none is.
    previous_valid_until: Option<Timestamp>,
    /// When it was last used, to the hour; null if it never was.
    last_used_at: Option<Timestamp>,
    /// Who created it: `operator`, or the id of an API key.
    created_by: String,
    created_at: Timestamp,
}

impl KeyView {
    pub(super) fn new(key: &ApiKey, now: Timestamp) -> Self {
        let is_expired = key.expires_at.is_some_and(|end| end <= now);
        let previous = key.previous.iter().map(|previous| previous.valid_until).max();
        Self {
            id: key.id,
            tenant_id: key.tenant.clone(),
            name: key.name.clone(),
            status: if is_expired { KeyStatus::Expired } else { KeyStatus::Active },
            hint: key.hint.clone(),
            role: key.grant.role(),
            scopes: key.grant.scopes(),
            expires_at: key.expires_at,
            allowed_networks: key.allowed_networks.clone(),
            requests_per_second: key.requests_per_second,
            request_burst: key.request_burst,
            previous_valid_until: previous.filter(|until| *until > now),
            last_used_at: key.last_used_at,
            created_by: key.created_by.clone(),
            created_at: key.created_at,
        }
    }
}

/// A new or rotated API key, with the key itself.
#[derive(Serialize, JsonSchema)]
pub(crate) struct CreatedKey {
    #[serde(flatten)]
    view: KeyView,
    /// The key. Only its hash is stored, so it cannot be shown again.
    key: Secret,
}

impl CreatedKey {
    pub(super) fn new(key: &ApiKey, text: Secret, now: Timestamp) -> Self {
        Self { view: KeyView::new(key, now), key: text }
    }
}
