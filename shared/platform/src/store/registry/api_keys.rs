//! API keys: a row for the tenant, and one by which a key is found.

use std::{sync::Arc, time::Duration};

use domain::{
    KeyId, TenantId, Timestamp,
    ids::key::{Caller, Scope},
};
use serde::{Deserialize, Serialize};

use super::ROW_CAPACITY;
use crate::{
    Fault,
    runtime::cache::Cache,
    store::table::{Table, keys},
};

#[derive(Serialize, Deserialize)]
struct KeyLookupRow {
    tenant: TenantId,
    key_id: KeyId,
    scopes: Vec<Scope>,
}

#[derive(Serialize)]
struct KeyRow<'a> {
    name: &'a str,
    scopes: &'a [Scope],
    hash: &'a str,
    created_at: i64,
}

/// As much of a key's row as its holder is shown.
#[derive(Deserialize)]
struct KeyNameRow {
    name: String,
}

/// API keys, with a cache.
#[derive(Debug, Clone)]
pub struct ApiKeys {
    table: Table,
    callers: Arc<Cache<String, Caller>>,
}

impl ApiKeys {
    pub(crate) fn new(table: Table, cache_age: Duration) -> Self {
        Self { table, callers: Arc::new(Cache::new(cache_age, ROW_CAPACITY)) }
    }

    /// Makes an API key: one row for its tenant, one to find it by its hash.
    pub async fn create(
        &self,
        tenant: &TenantId,
        id: KeyId,
        name: &str,
        scopes: &[Scope],
        hash: &str,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let row = KeyRow { name, scopes, hash, created_at: now.millis() };
        let lookup = KeyLookupRow { tenant: tenant.clone(), key_id: id, scopes: scopes.to_vec() };
        let writes = vec![
            self.table.put_new(keys::api_key(tenant, id), &row)?,
            self.table.put_new(keys::api_key_lookup(hash), &lookup)?,
        ];
        self.table.transact(writes).await.map_err(Fault::on("writing an API key"))
    }

    /// The name of a tenant's key, if there is such a key.
    pub async fn name(&self, tenant: &TenantId, id: KeyId) -> Result<Option<String>, Fault> {
        let row = self.table.get_row::<KeyNameRow>(keys::api_key(tenant, id), true).await?;
        Ok(row.map(|row| row.name))
    }

    /// The caller that the key with this hash belongs to.
    pub async fn caller(&self, hash: &str) -> Result<Option<Caller>, Fault> {
        if let Some(caller) = self.callers.get(&hash.to_owned()) {
            return Ok(Some(caller));
        }
        // Consistent, so that a key works as soon as its creation has returned.
        let Some(row) = self.table.get_row::<KeyLookupRow>(keys::api_key_lookup(hash), true).await? else {
            return Ok(None);
        };
        let caller = Caller::Key { tenant: row.tenant, id: row.key_id, scopes: row.scopes };
        self.callers.put(hash.to_owned(), caller.clone());
        Ok(Some(caller))
    }
}
