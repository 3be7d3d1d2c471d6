//! Tenants, and the list of all of them.

use std::{sync::Arc, time::Duration};

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use super::ROW_CAPACITY;
use crate::{
    Fault,
    runtime::cache::Cache,
    store::table::{Item, Table, keys, put_if, rows::item},
};

/// A tenant's row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tenant {
    /// The CRM's name for it.
    pub name: String,
    /// When it was made.
    pub created_at: i64,
    /// How many endpoints it has.
    pub endpoint_count: u32,
    /// Counts the changes to what its endpoints subscribe to.
    #[serde(default)]
    pub subscribers_revision: u64,
}

/// The result of making a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateTenantOutcome {
    /// It was made.
    New,
    /// It already exists, and is unchanged.
    Exists,
}

/// Tenants, with a cache.
#[derive(Debug, Clone)]
pub struct Tenants {
    table: Table,
    cache: Arc<Cache<TenantId, Tenant>>,
}

impl Tenants {
    pub(crate) fn new(table: Table, cache_age: Duration) -> Self {
        Self { table, cache: Arc::new(Cache::new(cache_age, ROW_CAPACITY)) }
    }

    /// The tenant, if there is one.
    pub async fn get(&self, id: &TenantId) -> Result<Option<Tenant>, Fault> {
        if let Some(tenant) = self.cache.get(id) {
            return Ok(Some(tenant));
        }
        let Some(tenant) = self.table.get_row::<Tenant>(keys::tenant(id), true).await? else {
            return Ok(None);
        };
        self.cache.put(id.clone(), tenant.clone());
        Ok(Some(tenant))
    }

    /// Makes a tenant.
    pub async fn create(
        &self,
        id: &TenantId,
        name: &str,
        now: Timestamp,
    ) -> Result<CreateTenantOutcome, Fault> {
        // Listed first: a name in the list without a tenant does no harm, a tenant that no job
        // ever visits would.
        self.add_to_list(id).await?;
        let row = Tenant {
            name: name.to_owned(),
            created_at: now.millis(),
            endpoint_count: 0,
            subscribers_revision: 0,
        };
        let put =
            self.table.put(item(keys::tenant(id), &row)?).condition_expression("attribute_not_exists(pk)");
        Ok(if put_if(put, "writing a tenant").await? {
            CreateTenantOutcome::New
        } else {
            CreateTenantOutcome::Exists
        })
    }

    /// Puts a tenant into the list of all, where it may be already.
    pub async fn add_to_list(&self, id: &TenantId) -> Result<(), Fault> {
        let (pk, sk) = keys::tenant_listing(id);
        let listing =
            Item::from([("pk".to_owned(), AttributeValue::S(pk)), ("sk".to_owned(), AttributeValue::S(sk))]);
        self.table.put(listing).send().await.map_err(Fault::on("listing a tenant"))?;
        Ok(())
    }

    /// Up to `limit` tenants of one shard of the list of all, after `after`.
    pub async fn list(&self, shard: u8, after: Option<&str>, limit: i32) -> Result<Vec<TenantId>, Fault> {
        let doing = "listing tenants";
        let mut query = self
            .table
            .query()
            .key_condition_expression("pk = :pk AND sk > :after")
            .expression_attribute_values(":pk", AttributeValue::S(keys::tenants_partition(shard)))
            // A space sorts before every character of a tenant's id.
            .expression_attribute_values(":after", AttributeValue::S(after.unwrap_or(" ").to_owned()));
        query = query.limit(limit);
        let response = query.send().await.map_err(Fault::on(doing))?;
        let tenants = response.items().iter().map(|item| item.get("sk").and_then(|sk| sk.as_s().ok()));
        tenants
            .map(|id| {
                id.and_then(|id| id.parse().ok()).ok_or_else(|| Fault::new(doing, "a row is malformed"))
            })
            .collect()
    }
}
