//! Sources: a row for the tenant, and one by which a source's URL is found. Both hold the same, so that a function
//! reads one row, and a change is one transaction on both.

use std::{sync::Arc, time::Duration};

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use domain::{
    SourceId, TenantId, Timestamp,
    access::Network,
    inbound::{Provider, Source, source::SourceSettings, table::read_table},
    saturating,
};
use serde::{Deserialize, Serialize};

use super::{
    ROW_CAPACITY,
    tenants::{counting, counting_less},
};
use crate::{
    Fault,
    runtime::cache::Cache,
    store::table::{
        Table,
        attributes::number,
        keys::{self, Key},
        rows::{Order, Span},
        transactions::first_condition_held,
    },
};

/// The attribute of a tenant that counts them.
const COUNT: &str = "source_count";

/// How long a request that brings the secret has to store it.
const HANDSHAKE_CLAIM_MILLIS: i64 = 60_000;

/// The condition that no request is storing the secret that it brings.
const UNCLAIMED: &str = "(attribute_not_exists(handshake_claimed_until) OR handshake_claimed_until < :now)";

/// A source as both rows hold it. What is empty is left out.
#[derive(Serialize, Deserialize)]
struct SourceRow {
    id: SourceId,
    tenant: TenantId,
    provider: Provider,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    description: String,
    created_at: i64,
    secret_shard: u32,
    #[serde(default)]
    secret_count: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    awaits_secret_until: Option<i64>,
    /// The table of a custom source, as JSON: the engine's own reader checks it again when it is read, but not its length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    table: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    public_urls: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    allowed_networks: Vec<Network>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rate_limit: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verify_token_hash: Option<String>,
    #[serde(default)]
    revision: u64,
}

impl SourceRow {
    fn new(source: &Source) -> Result<Self, Fault> {
        let settings = &source.settings;
        let table = settings.table.as_ref().map(|table| serde_json::to_string(&**table)).transpose();
        Ok(Self {
            id: source.id,
            tenant: source.tenant.clone(),
            provider: source.provider,
            description: source.description.clone(),
            created_at: source.created_at.millis(),
            secret_shard: source.secret_shard,
            secret_count: source.secret_count,
            awaits_secret_until: source.awaits_secret_until.map(Timestamp::millis),
            table: table.map_err(Fault::on("writing a source"))?,
            public_urls: settings.public_urls.clone(),
            allowed_networks: settings.allowed_networks.clone(),
            rate_limit: settings.rate_limit,
            verify_token_hash: settings.verify_token.as_ref().map(ToString::to_string),
            revision: source.revision,
        })
    }

    fn source(self) -> Result<Source, Fault> {
        let malformed = |attribute: &str| {
            Fault::new("reading a source", format!("the attribute {attribute} is malformed"))
        };
        let table = self.table.map(|json| read_table(&json).map_err(|_| malformed("table")));
        let verify_token = self.verify_token_hash.map(|hash| hash.parse());
        Ok(Source {
            id: self.id,
            tenant: self.tenant,
            provider: self.provider,
            description: self.description,
            created_at: Timestamp::from_millis(self.created_at),
            secret_shard: self.secret_shard,
            secret_count: self.secret_count,
            awaits_secret_until: self.awaits_secret_until.map(Timestamp::from_millis),
            settings: SourceSettings {
                table: table.transpose()?.map(Arc::new),
                public_urls: self.public_urls,
                allowed_networks: self.allowed_networks,
                rate_limit: self.rate_limit,
                verify_token: verify_token.transpose().map_err(|_| malformed("verify_token_hash"))?,
            },
            revision: self.revision,
        })
    }
}

/// What stays of a deleted source.
#[derive(Serialize, Deserialize)]
struct TombstoneRow {
    deleted_at: i64,
}

/// Sources, with a cache.
#[derive(Debug, Clone)]
pub struct Sources {
    table: Table,
    cache: Arc<Cache<SourceId, Arc<Source>>>,
}

impl Sources {
    pub(crate) fn new(table: Table, cache_age: Duration) -> Self {
        Self { table, cache: Arc::new(Cache::new(cache_age, ROW_CAPACITY)) }
    }

    /// Makes a source: one row for its tenant, one to find it by its URL. False where the tenant has as many as it may, or
    /// does not exist any more. The operator's are not counted: its row is made with its first endpoint.
    pub async fn create(&self, source: &Source, limit: u32) -> Result<bool, Fault> {
        const DOING: &str = "writing a source";
        let row = SourceRow::new(source)?;
        let rows = [
            self.table.put_new(keys::source(&source.tenant, source.id), &row)?,
            self.table.put_new(keys::source_lookup(source.id), &row)?,
        ];
        if source.tenant.is_operator() {
            self.table.transact(rows.into()).await.map_err(Fault::on(DOING))?;
            return Ok(true);
        }
        let mut writes = vec![counting(&self.table, &source.tenant, COUNT, limit)?];
        writes.extend(rows);
        first_condition_held(self.table.transact(writes).await, DOING)
    }

    /// Replaces a source by `changed`. False where it does not exist (any more), or is no longer of the revision that
    /// `changed` was made of; its own revision is the next one.
    pub async fn replace(&self, changed: &Source) -> Result<bool, Fault> {
        const DOING: &str = "changing a source";
        let row = SourceRow { revision: changed.revision + 1, ..SourceRow::new(changed)? };
        let put = |key: Key| {
            self.table
                .replacement(key, &row)?
                .condition_expression("attribute_exists(pk) AND revision = :revision")
                .expression_attribute_values(":revision", number(saturating(changed.revision)))
                .build()
                .map(|put| TransactWriteItem::builder().put(put).build())
                .map_err(Fault::on(DOING))
        };
        self.write_both(changed, put, Vec::new(), DOING).await
    }

    /// Deletes a source: its URL responds then as one that never existed. A tombstone stays for its tenant. False where
    /// there is none, or where its secrets are no longer in the shard that `source` names: what is there is to be removed
    /// next.
    pub async fn delete(&self, source: &Source, now: Timestamp) -> Result<bool, Fault> {
        const DOING: &str = "deleting a source";
        let delete = |key: Key| {
            self.table
                .deletion(key)
                .condition_expression("secret_shard = :shard")
                .expression_attribute_values(":shard", number(source.secret_shard.into()))
                .build()
                .map(|delete| TransactWriteItem::builder().delete(delete).build())
                .map_err(Fault::on(DOING))
        };
        let key = keys::source_tombstone(&source.tenant, source.id);
        let mut besides = vec![self.table.put_new(key, &TombstoneRow { deleted_at: now.millis() })?];
        if !source.tenant.is_operator() {
            besides.push(counting_less(&self.table, &source.tenant, COUNT)?);
        }
        self.write_both(source, delete, besides, DOING).await
    }

    /// Records where a source's secrets are and how many there are, in both rows. It then waits for none from a request.
    /// False where they are no longer in the shard that `source` names, or the source was deleted.
    pub async fn record_secrets(&self, source: &Source, shard: u32, count: usize) -> Result<bool, Fault> {
        self.record_secrets_if(source, shard, count, None).await
    }

    /// The same, and also false where the source is no longer of the revision that `source` has: others may have changed
    /// the secrets after they were counted.
    pub async fn record_counted_secrets(
        &self,
        source: &Source,
        shard: u32,
        count: usize,
    ) -> Result<bool, Fault> {
        self.record_secrets_if(source, shard, count, Some(source.revision)).await
    }

    async fn record_secrets_if(
        &self,
        source: &Source,
        shard: u32,
        count: usize,
        revision: Option<u64>,
    ) -> Result<bool, Fault> {
        let of_revision = if revision.is_some() { " AND revision = :revision" } else { "" };
        let mut values = vec![
            (":from", number(source.secret_shard.into())),
            (":to", number(shard.into())),
            (":count", number(saturating(count))),
            (":one", number(1)),
        ];
        values.extend(revision.map(|revision| (":revision", number(saturating(revision)))));
        let change = "SET secret_shard = :to, secret_count = :count ADD revision :one REMOVE awaits_secret_until, handshake_claimed_until";
        let condition = format!("secret_shard = :from{of_revision}");
        self.update_both(source, change, &condition, &values, "writing where a source's secrets are").await
    }

    /// Lets one request have the secret that it brings, for a minute: true for the first of concurrent ones, while the
    /// source waits for its secret. It waits on where that request dies before [`Self::record_secrets`].
    pub async fn claim_handshake(&self, source: &Source, now: Timestamp) -> Result<bool, Fault> {
        let values =
            [(":until", number(now.millis() + HANDSHAKE_CLAIM_MILLIS)), (":now", number(now.millis()))];
        let condition = format!("awaits_secret_until > :now AND {UNCLAIMED}");
        let change = "SET handshake_claimed_until = :until";
        self.update_both(source, change, &condition, &values, "claiming the handshake of a source").await
    }

    /// Ends the wait for a secret that a request brings, before the tenant sets it. False while a request has claimed it:
    /// its secret would count in the end.
    pub async fn close_handshake(&self, source: &Source, now: Timestamp) -> Result<bool, Fault> {
        let values = [(":one", number(1)), (":now", number(now.millis()))];
        let condition = format!("attribute_exists(pk) AND {UNCLAIMED}");
        let change = "ADD revision :one REMOVE awaits_secret_until";
        self.update_both(source, change, &condition, &values, "closing the handshake of a source").await
    }

    /// Makes the same update of both rows of a source; false where its condition did not hold.
    async fn update_both(
        &self,
        source: &Source,
        change: &str,
        condition: &str,
        values: &[(&str, AttributeValue)],
        doing: &'static str,
    ) -> Result<bool, Fault> {
        let update = |key: Key| {
            let values = values.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
            self.table
                .change(key)
                .update_expression(change)
                .condition_expression(condition)
                .set_expression_attribute_values(Some(values.collect()))
                .build()
                .map(|update| TransactWriteItem::builder().update(update).build())
                .map_err(Fault::on(doing))
        };
        self.write_both(source, update, Vec::new(), doing).await
    }

    /// Makes the same write of both rows of a source, and others with them; false where its condition did not hold.
    async fn write_both(
        &self,
        source: &Source,
        write: impl Fn(Key) -> Result<TransactWriteItem, Fault>,
        besides: Vec<TransactWriteItem>,
        doing: &'static str,
    ) -> Result<bool, Fault> {
        let mut writes =
            vec![write(keys::source(&source.tenant, source.id))?, write(keys::source_lookup(source.id))?];
        writes.extend(besides);
        let written = first_condition_held(self.table.transact(writes).await, doing)?;
        self.cache.forget(&source.id);
        Ok(written)
    }

    /// The source behind a URL, read consistently: a new one works at once.
    pub async fn get(&self, id: SourceId) -> Result<Option<Arc<Source>>, Fault> {
        self.get_within(id, Duration::MAX).await
    }

    /// The same, no older than `age`.
    pub async fn get_within(&self, id: SourceId, age: Duration) -> Result<Option<Arc<Source>>, Fault> {
        if let Some(source) = self.cache.get_within(&id, age) {
            return Ok(Some(source));
        }
        let Some(row) = self.table.get_row::<SourceRow>(keys::source_lookup(id), true).await? else {
            self.cache.forget(&id);
            return Ok(None);
        };
        let source = Arc::new(row.source()?);
        self.cache.put(id, Arc::clone(&source));
        Ok(Some(source))
    }

    /// One source of a tenant, as it is now.
    pub async fn of_tenant(&self, tenant: &TenantId, id: SourceId) -> Result<Option<Source>, Fault> {
        let row = self.table.get_row::<SourceRow>(keys::source(tenant, id), true).await?;
        row.map(SourceRow::source).transpose()
    }

    /// Whether a tenant had this source and has deleted it.
    pub async fn was_deleted(&self, tenant: &TenantId, id: SourceId) -> Result<bool, Fault> {
        let row = self.table.get_row::<TombstoneRow>(keys::source_tombstone(tenant, id), true).await?;
        Ok(row.is_some())
    }

    /// Sources of a tenant, the newest first: up to `limit` of those before `before`.
    pub async fn list(
        &self,
        tenant: &TenantId,
        before: Option<SourceId>,
        limit: usize,
    ) -> Result<Vec<Source>, Fault> {
        // `~` sorts behind every id.
        let end = before.map_or_else(|| format!("{}~", keys::SOURCES), |id| keys::source(tenant, id).1);
        let span = Span { pk: tenant.to_string(), first: keys::SOURCES.to_owned(), last: end };
        let read = |item| {
            let row: SourceRow = serde_dynamo::from_item(item).map_err(Fault::on("reading a source"))?;
            if Some(row.id) == before { Ok(None) } else { row.source().map(Some) }
        };
        self.table.page(span, Order::NewestFirst, limit, "listing sources", read).await
    }
}
