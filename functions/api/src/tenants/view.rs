//! Tenants as the API shows them.

use std::collections::BTreeMap;

use domain::{TenantId, Timestamp, access::Network, delivery::Retention, saturating, tenant::Limits};
use platform::{
    alert::payload::EVENT_TYPES,
    store::registry::tenants::{Tenant, TenantListing},
};
use schemars::JsonSchema;
use serde::Serialize;

/// Whether a tenant may use the service.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TenantStatus {
    /// It may.
    Active,
    /// Nothing is accepted from it or for it. What was accepted before is delivered.
    Suspended,
    /// It is deleted at `deletes_at`, and is suspended until then.
    Deleting,
}

impl TenantStatus {
    fn new(is_suspended: bool, is_deleting: bool) -> Self {
        match (is_deleting, is_suspended) {
            (true, _) => Self::Deleting,
            (false, true) => Self::Suspended,
            (false, false) => Self::Active,
        }
    }

    pub(super) fn of_listing(tenant: &TenantListing) -> Self {
        Self::new(tenant.is_suspended, tenant.is_deleting)
    }
}

/// A tenant.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TenantView {
    id: TenantId,
    /// Its name.
    name: String,
    status: TenantStatus,
    /// Since when it is suspended; null if it is active.
    suspended_at: Option<Timestamp>,
    /// Why it is suspended; null if it is active.
    suspension_reason: Option<String>,
    /// When everything of it is removed; null if it is not to be deleted.
    deletes_at: Option<Timestamp>,
    /// The networks from which its API keys may be used; any if there are none.
    allowed_networks: Vec<Network>,
    /// Its limits, where they differ from the deployment's defaults.
    limits: Limits,
    /// For how many days everything is kept that is stored about an event, from its acceptance on; of what is accepted
    /// now.
    retention_days: Retention,
    /// Which operational events are published, by type.
    alerts: BTreeMap<&'static str, bool>,
    /// How many endpoints it has.
    endpoint_count: u32,
    /// How many API keys it has.
    key_count: u32,
    /// How many sources it has.
    source_count: u32,
    /// How many syncs it has.
    sync_count: u32,
    created_at: Timestamp,
}

impl TenantView {
    pub(super) fn new(id: &TenantId, tenant: &Tenant) -> Self {
        let suspended = tenant.suspended.as_ref();
        Self {
            id: id.clone(),
            name: tenant.name.clone(),
            status: TenantStatus::new(suspended.is_some(), tenant.deletion.is_some()),
            suspended_at: suspended.map(|suspended| suspended.at),
            suspension_reason: suspended.map(|suspended| suspended.reason.clone()),
            deletes_at: tenant.deletion.as_ref().map(|deletion| deletion.deletes_at),
            allowed_networks: tenant.settings.allowed_networks.clone(),
            limits: tenant.settings.limits,
            retention_days: tenant.settings.retention_days,
            alerts: EVENT_TYPES
                .iter()
                .map(|name| (*name, !tenant.settings.muted_alerts.contains(*name)))
                .collect(),
            endpoint_count: tenant.endpoint_count,
            key_count: tenant.key_count,
            source_count: saturating(tenant.source_count.max(0)),
            sync_count: saturating(tenant.sync_count.max(0)),
            created_at: Timestamp::from_millis(tenant.created_at),
        }
    }
}

/// A tenant in the list of all.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TenantSummary {
    id: TenantId,
    /// Its name.
    name: String,
    status: TenantStatus,
    created_at: Timestamp,
}

impl From<&TenantListing> for TenantSummary {
    fn from(tenant: &TenantListing) -> Self {
        Self {
            id: tenant.id.clone(),
            name: tenant.name.clone(),
            status: TenantStatus::of_listing(tenant),
            created_at: tenant.created_at,
        }
    }
}
