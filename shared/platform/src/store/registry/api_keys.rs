//! API keys: a row for the tenant, and an entry for each text by which a request finds its key.

use std::{sync::Arc, time::Duration};

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use domain::{
    KeyId, TenantId, Timestamp,
    access::{
        ApiKey,
        key::{KeyEntry, LAST_USE_SECS},
    },
};
use serde::{Deserialize, Serialize};

use super::{ROW_CAPACITY, tenants::counting};
use crate::{
    Fault,
    runtime::cache::Cache,
    store::table::{
        Table,
        keys::{self, access},
        rows::{Order, Span},
        transactions::{first_condition_failed, first_condition_held},
        update_if,
    },
};

/// An entry, with what only the store uses.
#[derive(Serialize, Deserialize)]
struct EntryRow {
    #[serde(flatten)]
    entry: KeyEntry,
    /// When the last use was noted, in seconds since 1970.
    #[serde(default)]
    last_used_secs: i64,
}

/// What remains of a revoked key, so that revoking it again changes nothing.
#[derive(Serialize)]
struct TombstoneRow {
    deleted_at: i64,
}

/// The result of creating a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateKeyOutcome {
    /// It was created.
    New,
    /// The tenant has as many as it may.
    LimitReached,
    /// The tenant does not exist.
    NoTenant,
}

/// API keys, with a cache.
#[derive(Debug, Clone)]
pub struct ApiKeys {
    table: Table,
    entries: Arc<Cache<String, KeyEntry>>,
}

impl ApiKeys {
    pub(crate) fn new(table: Table, cache_age: Duration) -> Self {
        Self { table, entries: Arc::new(Cache::new(cache_age, ROW_CAPACITY)) }
    }

    /// Creates a key, if its tenant may have one more of so many.
    pub async fn create(&self, key: &ApiKey, limit: u32) -> Result<CreateKeyOutcome, Fault> {
        const DOING: &str = "writing an API key";
        let mut writes = vec![
            counting(&self.table, &key.tenant, "key_count", limit)?,
            self.table.put_new(access::api_key(&key.tenant, key.id), key)?,
        ];
        for entry in key.entries() {
            let row = EntryRow { entry, last_used_secs: 0 };
            writes.push(self.table.put_new(access::api_key_lookup(&row.entry.hash), &row)?);
        }
        match self.table.transact(writes).await {
            Ok(()) => Ok(CreateKeyOutcome::New),
            Err(error) if first_condition_failed(&error) => {
                let exists = self.table.get(keys::tenant(&key.tenant), true, DOING).await?.is_some();
                Ok(if exists { CreateKeyOutcome::LimitReached } else { CreateKeyOutcome::NoTenant })
            }
            Err(error) => Err(Fault::on(DOING)(error)),
        }
    }

    /// One key of a tenant, as it is now.
    pub async fn get(&self, tenant: &TenantId, id: KeyId) -> Result<Option<ApiKey>, Fault> {
        self.table.get_row(access::api_key(tenant, id), true).await
    }

    /// Up to `limit` keys of a tenant, newest first, created before `before`.
    pub async fn list(
        &self,
        tenant: &TenantId,
        before: Option<KeyId>,
        limit: usize,
    ) -> Result<Vec<ApiKey>, Fault> {
        const DOING: &str = "listing API keys";
        let last =
            before.map_or_else(|| format!("{}~", access::API_KEYS), |id| access::api_key(tenant, id).1);
        let span = Span { pk: tenant.to_string(), first: access::API_KEYS.to_owned(), last };
        let read = |item| {
            let key: ApiKey = serde_dynamo::from_item(item).map_err(Fault::on(DOING))?;
            Ok(Some(key).filter(|key| Some(key.id) != before))
        };
        self.table.page(span, Order::NewestFirst, limit, DOING, read).await
    }

    /// Replaces a key, if it is still of the revision that was read; `ended` are the hashes of texts that must not
    /// be found any more. False where others have changed the key.
    pub async fn replace(&self, key: &mut ApiKey, ended: &[String]) -> Result<bool, Fault> {
        const DOING: &str = "writing an API key";
        let before = key.revision;
        key.revision += 1;
        let put = self
            .table
            .replacement(access::api_key(&key.tenant, key.id), key)?
            .condition_expression("revision = :revision")
            .expression_attribute_values(":revision", AttributeValue::N(before.to_string()));
        let mut writes = vec![put];
        for entry in key.entries() {
            let row = EntryRow { entry, last_used_secs: 0 };
            writes.push(self.table.replacement(access::api_key_lookup(&row.entry.hash), &row)?);
        }
        let puts = writes.into_iter().map(|put| {
            let put = put.build().map_err(Fault::on(DOING))?;
            Ok(TransactWriteItem::builder().put(put).build())
        });
        let mut writes = puts.collect::<Result<Vec<_>, Fault>>()?;
        for hash in ended {
            writes.push(self.table.removal(access::api_key_lookup(hash), None)?);
        }
        let replaced = first_condition_held(self.table.transact(writes).await, DOING)?;
        self.forget(key, ended);
        Ok(replaced)
    }

    /// Revokes a key. False where it was changed or revoked meanwhile.
    pub async fn revoke(&self, key: &ApiKey, now: Timestamp) -> Result<bool, Fault> {
        const DOING: &str = "revoking an API key";
        let (tenant, id) = (&key.tenant, key.id);
        let mut writes = vec![self.table.removal(access::api_key(tenant, id), Some(key.revision))?];
        for entry in key.entries() {
            writes.push(self.table.removal(access::api_key_lookup(&entry.hash), None)?);
        }
        let tombstone = TombstoneRow { deleted_at: now.millis() };
        writes.push(self.table.put_new(access::api_key_tombstone(tenant, id), &tombstone)?);
        writes.push(super::tenants::counting_less(&self.table, tenant, "key_count")?);
        let revoked = first_condition_held(self.table.transact(writes).await, DOING)?;
        self.forget(key, &[]);
        Ok(revoked)
    }

    /// Whether a tenant had a key that was revoked.
    pub async fn was_revoked(&self, tenant: &TenantId, id: KeyId) -> Result<bool, Fault> {
        let found = self.table.get(access::api_key_tombstone(tenant, id), true, "reading an API key").await?;
        Ok(found.is_some())
    }

    /// As much of a key as a request requires, by the hash of its text. The use is noted, once an hour.
    pub async fn find(&self, hash: &str, now: Timestamp) -> Result<Option<KeyEntry>, Fault> {
        if let Some(entry) = self.entries.get(&hash.to_owned()) {
            return Ok(Some(entry));
        }
        // Consistent, so that a key works as soon as its creation has returned.
        let Some(row) = self.table.get_row::<EntryRow>(access::api_key_lookup(hash), true).await? else {
            return Ok(None);
        };
        self.entries.put(hash.to_owned(), row.entry.clone());
        if now.secs() - row.last_used_secs >= LAST_USE_SECS
            && let Err(fault) = self.note_use(&row.entry, now).await
        {
            tracing::warn!(%fault, key_id = %row.entry.key_id, "could not note the use of an API key");
        }
        Ok(Some(row.entry))
    }

    /// Notes a use. Of concurrent requests one does: the others find its note in the entry.
    async fn note_use(&self, entry: &KeyEntry, now: Timestamp) -> Result<(), Fault> {
        const DOING: &str = "noting the use of an API key";
        let number = |value: i64| AttributeValue::N(value.to_string());
        let mark = self
            .table
            .update(access::api_key_lookup(&entry.hash))
            .update_expression("SET last_used_secs = :now")
            .condition_expression("last_used_secs <= :before")
            .expression_attribute_values(":now", number(now.secs()))
            .expression_attribute_values(":before", number(now.secs() - LAST_USE_SECS));
        if update_if(mark, DOING).await?.is_none() {
            return Ok(());
        }
        let shown = self
            .table
            .update(access::api_key(&entry.tenant, entry.key_id))
            .update_expression("SET last_used_at = :now")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":now", AttributeValue::S(now.to_string()));
        update_if(shown, DOING).await.map(|_| ())
    }

    fn forget(&self, key: &ApiKey, ended: &[String]) {
        for entry in key.entries() {
            self.entries.forget(&entry.hash);
        }
        for hash in ended {
            self.entries.forget(hash);
        }
    }
}
