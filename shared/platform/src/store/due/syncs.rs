//! The entry of a sync: by it the sync runs again. It never expires, so it must be removed with its sync.

use domain::{SyncId, TenantId, Timestamp, sync::kind::Engine};

use super::{entry::take, index::DueSync};
use crate::{
    Fault,
    store::table::{Item, Table, attributes::number, keys::sync as keys, put_if},
};

/// Entries of syncs.
#[derive(Debug, Clone)]
pub struct SyncEntries {
    table: Table,
}

impl SyncEntries {
    pub(crate) fn new(table: Table) -> Self {
        Self { table }
    }

    /// Makes a sync due at `due`, whatever it was.
    pub async fn put(
        &self,
        tenant: &TenantId,
        engine: Engine,
        id: SyncId,
        due: Timestamp,
    ) -> Result<(), Fault> {
        let put = self.table.put(entry(tenant, engine, id, due));
        put.send().await.map_err(Fault::on("making a sync due"))?;
        Ok(())
    }

    /// Makes a sync due at `due` after a run, unless something has made it due while it ran.
    pub async fn settle(
        &self,
        tenant: &TenantId,
        engine: Engine,
        id: SyncId,
        due: Timestamp,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let put = self
            .table
            .put(entry(tenant, engine, id, due))
            // The scheduler has moved the entry ahead when it started the run.
            .condition_expression("attribute_not_exists(due_at) OR due_at > :now")
            .expression_attribute_values(":now", number(now.millis()));
        put_if(put, "making a sync due after its run").await.map(|_| ())
    }

    /// Moves an entry ahead to `lease`, if it is still where it was found. False where it is not.
    pub async fn take(&self, found: &DueSync, lease: Timestamp) -> Result<bool, Fault> {
        let key = keys::sync_due(&found.tenant, found.engine, found.sync);
        let ahead = (keys::due_sync(found.sync, lease), lease);
        take(&self.table, key, &found.place, ahead, "taking a due sync").await
    }

    /// Removes the entry of a sync that does not run any more.
    pub async fn remove(&self, tenant: &TenantId, engine: Engine, id: SyncId) -> Result<(), Fault> {
        let delete = self.table.delete(keys::sync_due(tenant, engine, id));
        delete.send().await.map_err(Fault::on("removing the entry of a sync"))?;
        Ok(())
    }
}

fn entry(tenant: &TenantId, engine: Engine, id: SyncId, due: Timestamp) -> Item {
    super::entry::entry(keys::sync_due(tenant, engine, id), keys::due_sync(id, due), due)
}
