//! Sources: a row for the tenant, and one by which a source's URL is found.

use std::{sync::Arc, time::Duration};

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem, Update};
use domain::{SourceId, TenantId, Timestamp, inbound::Provider};
use serde::{Deserialize, Serialize};

use super::ROW_CAPACITY;
use crate::{
    Fault,
    runtime::cache::Cache,
    store::table::{Table, keys, transactions::first_condition_held},
};

/// What a source's URL leads to.
#[derive(Debug, Clone)]
pub struct Source {
    /// Which one.
    pub id: SourceId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The provider that sends to it.
    pub provider: Provider,
    /// Which shard of the pool holds its secrets.
    pub secret_shard: u32,
}

#[derive(Serialize, Deserialize)]
struct SourceRow {
    tenant: TenantId,
    provider: Provider,
    secret_shard: u32,
}

#[derive(Serialize)]
struct SourceDetailsRow<'a> {
    provider: Provider,
    description: &'a str,
    created_at: i64,
    secret_shard: u32,
}

/// Sources, with a cache.
#[derive(Debug, Clone)]
pub struct Sources {
    table: Table,
    cache: Arc<Cache<SourceId, Source>>,
}

impl Sources {
    pub(crate) fn new(table: Table, cache_age: Duration) -> Self {
        Self { table, cache: Arc::new(Cache::new(cache_age, ROW_CAPACITY)) }
    }

    /// Makes a source: one row for its tenant, one to find it by its URL.
    pub async fn create(&self, source: &Source, description: &str, now: Timestamp) -> Result<(), Fault> {
        let row = SourceDetailsRow {
            provider: source.provider,
            description,
            created_at: now.millis(),
            secret_shard: source.secret_shard,
        };
        let lookup = SourceRow {
            tenant: source.tenant.clone(),
            provider: source.provider,
            secret_shard: source.secret_shard,
        };
        let writes = vec![
            self.table.put_new(keys::source(&source.tenant, source.id), &row)?,
            self.table.put_new(keys::source_lookup(source.id), &lookup)?,
        ];
        self.table.transact(writes).await.map_err(Fault::on("writing a source"))
    }

    /// Records that a source's secrets are in another shard from now on, in both rows. False where they are no
    /// longer in the shard that `source` names.
    pub async fn move_secrets(&self, source: &Source, to: u32) -> Result<bool, Fault> {
        const DOING: &str = "moving a source's secrets";
        let number = |shard: u32| AttributeValue::N(shard.to_string());
        let update = |(pk, sk): keys::Key| {
            Update::builder()
                .table_name(self.table.name())
                .key("pk", AttributeValue::S(pk))
                .key("sk", AttributeValue::S(sk))
                .update_expression("SET secret_shard = :to")
                .condition_expression("secret_shard = :from")
                .expression_attribute_values(":from", number(source.secret_shard))
                .expression_attribute_values(":to", number(to))
                .build()
                .map(|update| TransactWriteItem::builder().update(update).build())
                .map_err(Fault::on(DOING))
        };
        let writes =
            vec![update(keys::source_lookup(source.id))?, update(keys::source(&source.tenant, source.id))?];
        let moved = first_condition_held(self.table.transact(writes).await, DOING)?;
        self.cache.forget(&source.id);
        Ok(moved)
    }

    /// The source behind a URL, read consistently: a new one works at once.
    pub async fn get(&self, id: SourceId) -> Result<Option<Source>, Fault> {
        self.get_within(id, Duration::MAX).await
    }

    /// The same, no older than `age`.
    pub async fn get_within(&self, id: SourceId, age: Duration) -> Result<Option<Source>, Fault> {
        if let Some(source) = self.cache.get_within(&id, age) {
            return Ok(Some(source));
        }
        let Some(row) = self.table.get_row::<SourceRow>(keys::source_lookup(id), true).await? else {
            return Ok(None);
        };
        let source =
            Source { id, tenant: row.tenant, provider: row.provider, secret_shard: row.secret_shard };
        self.cache.put(id, source.clone());
        Ok(Some(source))
    }
}
