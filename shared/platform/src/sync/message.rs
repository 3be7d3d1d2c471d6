//! The message that makes a function run one sync.

use domain::{SyncId, TenantId};
use serde::{Deserialize, Serialize};

/// Which sync to run. How far it has come is in its row, so a copy does no harm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncMessage {
    /// Whose sync it is.
    pub tenant_id: TenantId,
    /// Which one.
    pub sync_id: SyncId,
}
