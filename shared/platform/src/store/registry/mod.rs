//! The registry table: tenants, API keys, endpoints, sources, and pointers to secrets.
//!
//! Rows are cached for at most ten seconds, which is what a change made elsewhere can take to
//! be seen. The list that a publish fans out to is kept for one second only: who has just made
//! an endpoint expects the next event there.

mod catalog;
mod endpoints;
mod pointers;
mod several;

use std::{sync::Arc, time::Duration};

use aws_sdk_dynamodb::{
    Client,
    error::SdkError,
    operation::transact_write_items::TransactWriteItemsError,
    types::{AttributeValue, Put, TransactWriteItem},
};
use domain::{
    EndpointId, KeyId, SourceId, TenantId, Timestamp,
    endpoint::{Endpoint, Subscriber},
    ids::{
        holder::Holder,
        key::{Caller, Scope},
    },
    inbound::Provider,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use catalog::{Kept as KeptEventType, Written as CatalogWritten};
pub use endpoints::{Edit, EndpointCreated};
pub use pointers::Pointer;

use super::{
    Item, Table, put_if,
    table::{
        keys::{self, Key},
        transactions::first_condition_failed,
    },
};
use crate::{Fault, runtime::cache::Cache};

/// How old the list of a tenant's endpoints can be when an event is published.
const FAN_OUT_AGE: Duration = Duration::from_secs(1);
/// Small rows kept per kind, of some hundred bytes each.
const CAPACITY: usize = 2000;
/// Endpoints kept: with a long URL and a hundred filters one takes up to 20 KB.
const ENDPOINT_CAPACITY: usize = 300;
/// Tenants whose whole list of endpoints is kept, for its one second.
const FAN_OUT_CAPACITY: usize = 10;

/// A tenant's row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tenant {
    /// The CRM's name for it.
    pub name: String,
    /// When it was made.
    pub created_at: i64,
    /// How many endpoints it has.
    pub endpoint_count: u32,
}

/// What a source's URL leads to.
#[derive(Debug, Clone)]
pub struct Source {
    /// Which one.
    pub id: SourceId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Who sends to it.
    pub provider: Provider,
    /// Which of the tenant's secrets holds its own.
    pub secret_shard: u32,
}

/// Whether something new was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// It is there now.
    New,
    /// It was there before, and is unchanged.
    Exists,
}

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

/// The table, with its cache.
#[derive(Debug)]
pub struct Registry {
    table: Table,
    callers: Cache<String, Caller>,
    tenants: Cache<TenantId, Tenant>,
    sources: Cache<SourceId, Source>,
    endpoints: Cache<(TenantId, EndpointId), Arc<Endpoint>>,
    fan_outs: Cache<TenantId, Arc<Vec<Subscriber>>>,
    pointers: Cache<(TenantId, Holder, u32), Pointer>,
}

impl Registry {
    /// The registry in this table, whose rows are cached for `cache_age`.
    #[must_use]
    pub fn new(client: Client, table: String, cache_age: Duration) -> Self {
        Self {
            table: Table { client, name: table },
            callers: Cache::new(cache_age, CAPACITY),
            tenants: Cache::new(cache_age, CAPACITY),
            sources: Cache::new(cache_age, CAPACITY),
            endpoints: Cache::new(cache_age, ENDPOINT_CAPACITY),
            fan_outs: Cache::new(FAN_OUT_AGE, FAN_OUT_CAPACITY),
            pointers: Cache::new(cache_age, CAPACITY),
        }
    }

    /// Makes a tenant.
    pub async fn create_tenant(&self, id: &TenantId, name: &str, now: Timestamp) -> Result<Created, Fault> {
        // Listed first: a name in the list without a tenant does no harm, a tenant that no job
        // ever comes to would.
        self.list_tenant(id).await?;
        let row = Tenant { name: name.to_owned(), created_at: now.millis(), endpoint_count: 0 };
        let put =
            self.table.put(item(keys::tenant(id), &row)?).condition_expression("attribute_not_exists(pk)");
        Ok(if put_if(put, "writing a tenant").await? { Created::New } else { Created::Exists })
    }

    /// Puts a tenant into the list of all, where it may stand already.
    pub async fn list_tenant(&self, id: &TenantId) -> Result<(), Fault> {
        let (pk, sk) = keys::tenant_listing(id);
        let listing =
            Item::from([("pk".to_owned(), AttributeValue::S(pk)), ("sk".to_owned(), AttributeValue::S(sk))]);
        self.table.put(listing).send().await.map_err(Fault::on("listing a tenant"))?;
        Ok(())
    }

    /// Up to `limit` tenants of one shard of the list of all, after `after`.
    pub async fn tenants(&self, shard: u8, after: Option<&str>, limit: i32) -> Result<Vec<TenantId>, Fault> {
        let doing = "listing tenants";
        let mut query = self
            .table
            .client
            .query()
            .table_name(&self.table.name)
            .key_condition_expression("pk = :pk AND sk > :after")
            .expression_attribute_values(":pk", AttributeValue::S(keys::tenants_partition(shard)))
            // A space sorts before every character of a tenant's id.
            .expression_attribute_values(":after", AttributeValue::S(after.unwrap_or(" ").to_owned()));
        query = query.limit(limit);
        let answer = query.send().await.map_err(Fault::on(doing))?;
        let tenants = answer.items().iter().map(|item| item.get("sk").and_then(|sk| sk.as_s().ok()));
        tenants
            .map(|id| id.and_then(|id| id.parse().ok()).ok_or_else(|| Fault::new(doing, "a row is odd")))
            .collect()
    }

    /// How far a job has come; `None` before its first run.
    pub async fn progress<T: DeserializeOwned>(&self, job: &str) -> Result<Option<T>, Fault> {
        self.get(keys::progress(job), true).await
    }

    /// Keeps how far a job has come.
    pub async fn keep_progress<T: Serialize>(&self, job: &str, progress: &T) -> Result<(), Fault> {
        let put = self.table.put(item(keys::progress(job), progress)?);
        put.send().await.map_err(Fault::on("keeping a job's progress"))?;
        Ok(())
    }

    /// The tenant, if there is one.
    pub async fn tenant(&self, id: &TenantId) -> Result<Option<Tenant>, Fault> {
        if let Some(tenant) = self.tenants.get(id) {
            return Ok(Some(tenant));
        }
        let Some(tenant) = self.get::<Tenant>(keys::tenant(id), true).await? else { return Ok(None) };
        self.tenants.put(id.clone(), tenant.clone());
        Ok(Some(tenant))
    }

    /// Makes an API key: one row for its tenant, one to find it by its hash.
    pub async fn create_key(
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
            self.put_new(keys::api_key(tenant, id), &row)?,
            self.put_new(keys::api_key_lookup(hash), &lookup)?,
        ];
        self.transact(writes).await.map_err(Fault::on("writing an API key"))
    }

    /// Who holds the key with this hash.
    pub async fn caller(&self, hash: &str) -> Result<Option<Caller>, Fault> {
        if let Some(caller) = self.callers.get(&hash.to_owned()) {
            return Ok(Some(caller));
        }
        // Consistent, so that a key works from the moment its creation was answered.
        let Some(row) = self.get::<KeyLookupRow>(keys::api_key_lookup(hash), true).await? else {
            return Ok(None);
        };
        let caller = Caller::Key { tenant: row.tenant, id: row.key_id, scopes: row.scopes };
        self.callers.put(hash.to_owned(), caller.clone());
        Ok(Some(caller))
    }

    /// Makes a source: one row for its tenant, one to find it by its URL.
    pub async fn create_source(
        &self,
        source: &Source,
        description: &str,
        now: Timestamp,
    ) -> Result<(), Fault> {
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
            self.put_new(keys::source(&source.tenant, source.id), &row)?,
            self.put_new(keys::source_lookup(source.id), &lookup)?,
        ];
        self.transact(writes).await.map_err(Fault::on("writing a source"))
    }

    /// The source behind a URL, read consistently: a new one works at once.
    pub async fn source(&self, id: SourceId) -> Result<Option<Source>, Fault> {
        if let Some(source) = self.sources.get(&id) {
            return Ok(Some(source));
        }
        let Some(row) = self.get::<SourceRow>(keys::source_lookup(id), true).await? else { return Ok(None) };
        let source =
            Source { id, tenant: row.tenant, provider: row.provider, secret_shard: row.secret_shard };
        self.sources.put(id, source.clone());
        Ok(Some(source))
    }

    async fn get<T: DeserializeOwned>(&self, key: Key, consistent: bool) -> Result<Option<T>, Fault> {
        let doing = "reading the registry";
        let item = self.table.get(key, consistent, doing).await?;
        item.map(serde_dynamo::from_item).transpose().map_err(Fault::on(doing))
    }

    async fn rows_under<T: DeserializeOwned>(
        &self,
        tenant: &TenantId,
        prefix: &str,
    ) -> Result<Vec<T>, Fault> {
        let doing = "listing in the registry";
        let rows = self.table.rows_under(tenant.to_string(), prefix, doing).await?;
        serde_dynamo::from_items(rows).map_err(Fault::on(doing))
    }

    fn put_new<T: Serialize>(&self, key: Key, row: &T) -> Result<TransactWriteItem, Fault> {
        let put = Put::builder()
            .table_name(&self.table.name)
            .set_item(Some(item(key, row)?))
            .condition_expression("attribute_not_exists(pk)")
            .build()
            .map_err(Fault::on("writing to the registry"))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    async fn transact(
        &self,
        writes: Vec<TransactWriteItem>,
    ) -> Result<(), SdkError<TransactWriteItemsError>> {
        self.table.transact(writes).await
    }
}

/// A row with its key.
fn item<T: Serialize>((pk, sk): Key, row: &T) -> Result<Item, Fault> {
    let mut item: Item = serde_dynamo::to_item(row).map_err(Fault::on("writing to the registry"))?;
    item.insert("pk".to_owned(), AttributeValue::S(pk));
    item.insert("sk".to_owned(), AttributeValue::S(sk));
    Ok(item)
}
