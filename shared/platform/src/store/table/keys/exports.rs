//! Keys of exports of tenants, in the events table.

use domain::{ExportId, TenantId};

use super::Key;

/// The partition of a tenant's exports.
#[must_use]
pub fn exports_partition(tenant: &TenantId) -> String {
    format!("{tenant}#exports")
}

/// What the sort keys of exports begin with.
pub const EXPORTS: &str = "export#";

/// One export of a tenant.
#[must_use]
pub fn export(tenant: &TenantId, id: ExportId) -> Key {
    (exports_partition(tenant), format!("{EXPORTS}{id}"))
}

/// The partition of the exports of all tenants that are not finished: the job does not know whose there are.
#[must_use]
pub fn open_exports_partition() -> String {
    // `#` is in no tenant's id.
    "exports#".to_owned()
}

/// That a tenant has an export that is not finished.
#[must_use]
pub fn open_export(tenant: &TenantId) -> Key {
    (open_exports_partition(), tenant.to_string())
}
