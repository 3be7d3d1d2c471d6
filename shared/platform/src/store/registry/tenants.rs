//! Tenants, and the list of all of them.

use std::{sync::Arc, time::Duration};

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use domain::{
    TenantId, Timestamp,
    delivery::Retention,
    saturating,
    tenant::{Deletion, Settings, Suspension, UnusualRetention},
};
use serde::{Deserialize, Serialize};

use super::{ROW_CAPACITY, erasures};
use crate::{
    Fault,
    runtime::cache::Cache,
    store::table::{Item, Table, keys, put_if, rows::item, transactions::first_condition_held},
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
    /// How many API keys it has.
    #[serde(default)]
    pub key_count: u32,
    /// How many sources it has. Less than none where one is deleted that was made before they were counted.
    #[serde(default)]
    pub source_count: i64,
    /// How many syncs it has. Less than none where one is deleted that was made before they were counted.
    #[serde(default)]
    pub sync_count: i64,
    /// Counts the changes to what its endpoints subscribe to.
    #[serde(default)]
    pub subscribers_revision: u64,
    /// What is set for it.
    #[serde(default)]
    pub settings: Settings,
    /// Since when and why it is suspended, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<Suspension>,
    /// That it is to be deleted, if it is. It is suspended then, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<Deletion>,
    /// Counts the changes to its name, its settings and its state.
    #[serde(default)]
    pub revision: u64,
}

impl Tenant {
    /// Whether the removal has begun: nothing of it is changed any more.
    #[must_use]
    pub fn is_being_deleted(&self) -> bool {
        self.deletion.as_ref().is_some_and(|deletion| deletion.began_at.is_some())
    }
}

/// A tenant in the list of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantListing {
    /// Which one.
    pub id: TenantId,
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// Whether it is suspended.
    pub is_suspended: bool,
    /// Whether it is to be deleted.
    pub is_deleting: bool,
    /// The retentions under which something is kept, besides the default. Those that have ended remain until the tenant
    /// is changed again.
    pub retentions: Vec<UnusualRetention>,
}

/// How much longer a row is used while it cannot be read: as long as the list of its endpoints.
const USABLE_ON_FAULT: Duration = Duration::from_mins(1);

/// Tenants, with a cache.
#[derive(Debug, Clone)]
pub struct Tenants {
    table: Table,
    /// For how long a row is used without reading it again.
    cache_age: Duration,
    /// It holds rows for longer, for when they cannot be read.
    cache: Arc<Cache<TenantId, Tenant>>,
}

impl Tenants {
    pub(crate) fn new(table: Table, cache_age: Duration) -> Self {
        Self { table, cache_age, cache: Arc::new(Cache::new(cache_age + USABLE_ON_FAULT, ROW_CAPACITY)) }
    }

    /// The tenant, if there is one.
    pub async fn get(&self, id: &TenantId) -> Result<Option<Tenant>, Fault> {
        match self.cache.get_within(id, self.cache_age) {
            Some(tenant) => Ok(Some(tenant)),
            None => self.get_now(id).await,
        }
    }

    /// The same; while rows cannot be read, one that was read a while ago.
    pub async fn get_or_earlier(&self, id: &TenantId) -> Result<Option<Tenant>, Fault> {
        let fault = match self.get(id).await {
            Err(fault) => fault,
            found => return found,
        };
        let Some(tenant) = self.cache.get(id) else { return Err(fault) };
        tracing::warn!(%fault, tenant = %id, "could not read the settings of a tenant; those read before are used");
        Ok(Some(tenant))
    }

    /// The tenant as it is now, if there is one.
    pub async fn get_now(&self, id: &TenantId) -> Result<Option<Tenant>, Fault> {
        let Some(tenant) = self.table.get_row::<Tenant>(keys::tenant(id), true).await? else {
            return Ok(None);
        };
        self.cache.put(id.clone(), tenant.clone());
        Ok(Some(tenant))
    }

    /// The longest retention under which events of a tenant can be kept. The operator has the default.
    pub async fn longest_retention(&self, id: &TenantId, now: Timestamp) -> Result<Retention, Fault> {
        let row = if id.is_operator() { None } else { self.get(id).await? };
        Ok(row.map_or(Retention::DEFAULT, |row| row.settings.longest_retention(now)))
    }

    /// Makes a tenant. Nothing where it exists, which it does then unchanged.
    pub async fn create(&self, id: &TenantId, name: &str, now: Timestamp) -> Result<Option<Tenant>, Fault> {
        let row = Tenant {
            name: name.to_owned(),
            created_at: now.millis(),
            endpoint_count: 0,
            key_count: 0,
            source_count: 0,
            sync_count: 0,
            subscribers_revision: 0,
            settings: Settings::default(),
            suspended: None,
            deletion: None,
            revision: 0,
        };
        // Listed first: a name in the list without a tenant does no harm, a tenant that no job
        // ever visits would.
        self.add_to_list(id, &row).await?;
        let put =
            self.table.put(item(keys::tenant(id), &row)?).condition_expression("attribute_not_exists(pk)");
        if !put_if(put, "writing a tenant").await? {
            return Ok(None);
        }
        // Of concurrent creations, the name of the one that made it.
        self.put_in_list(id, &row).await?;
        Ok(Some(row))
    }

    /// Changes the name, the settings and the state of a tenant to what they are in `tenant`, if it is still of the
    /// revision that was read. False where it is not.
    pub async fn replace(&self, id: &TenantId, tenant: &Tenant) -> Result<bool, Fault> {
        const DOING: &str = "writing a tenant";
        let number = |value: u64| AttributeValue::N(value.to_string());
        let settings = serde_dynamo::to_attribute_value(&tenant.settings).map_err(Fault::on(DOING))?;
        let mut update = self
            .table
            .change(keys::tenant(id))
            // The operator's row is made with its first endpoint, and has no revision.
            .condition_expression(if tenant.revision == 0 {
                "attribute_exists(pk) AND (attribute_not_exists(revision) OR revision = :revision)"
            } else {
                "revision = :revision"
            })
            .expression_attribute_names("#name", "name")
            .expression_attribute_values(":name", AttributeValue::S(tenant.name.clone()))
            .expression_attribute_values(":settings", settings)
            .expression_attribute_values(":revision", number(tenant.revision))
            .expression_attribute_values(":next", number(tenant.revision + 1));
        let mut set = vec!["SET #name = :name, settings = :settings, revision = :next".to_owned()];
        let mut removed = Vec::new();
        let suspended = tenant.suspended.as_ref().map(serde_dynamo::to_attribute_value).transpose();
        let deletion = tenant.deletion.as_ref().map(serde_dynamo::to_attribute_value).transpose();
        for (name, value) in [("suspended", suspended), ("deletion", deletion)] {
            match value.map_err(Fault::on(DOING))? {
                None => removed.push(name),
                Some(value) => {
                    set.push(format!("{name} = :{name}"));
                    update = update.expression_attribute_values(format!(":{name}"), value);
                }
            }
        }
        let mut change = set.join(", ");
        if !removed.is_empty() {
            change = format!("{change} REMOVE {}", removed.join(", "));
        }
        update = update.update_expression(change);
        let update = update.build().map_err(Fault::on(DOING))?;
        let listing = self.table.replacement(keys::tenant_listing(id), &ListingRow::of(tenant))?;
        let listing = listing.build().map_err(Fault::on(DOING))?;
        let writes = vec![
            TransactWriteItem::builder().update(update).build(),
            TransactWriteItem::builder().put(listing).build(),
            erasures::request_write(&self.table, id, tenant.deletion.as_ref())?,
        ];
        let replaced = first_condition_held(self.table.transact(writes).await, DOING)?;
        self.cache.forget(id);
        Ok(replaced)
    }

    /// Puts a tenant into the list of all, unless it is there.
    pub async fn add_to_list(&self, id: &TenantId, tenant: &Tenant) -> Result<(), Fault> {
        let listing = item(keys::tenant_listing(id), &ListingRow::of(tenant))?;
        let put = self.table.put(listing).condition_expression("attribute_not_exists(pk)");
        put_if(put, "listing a tenant").await.map(|_| ())
    }

    async fn put_in_list(&self, id: &TenantId, tenant: &Tenant) -> Result<(), Fault> {
        let listing = item(keys::tenant_listing(id), &ListingRow::of(tenant))?;
        self.table.put(listing).send().await.map_err(Fault::on("listing a tenant"))?;
        Ok(())
    }

    /// Up to `limit` tenants of one shard of the list of all, after `after`.
    pub async fn list(&self, shard: u8, after: Option<&str>, limit: i32) -> Result<Vec<TenantId>, Fault> {
        let listed = self.listings(shard, after, limit).await?;
        Ok(listed.into_iter().map(|tenant| tenant.id).collect())
    }

    /// Tenants in the order of their ids, after `after`, that `fit`: some `limit` of them, or fewer where that takes more
    /// reads than one request should make.
    pub async fn page(
        &self,
        after: Option<String>,
        limit: usize,
        fit: impl Fn(&TenantListing) -> bool,
    ) -> Result<TenantPage, Fault> {
        let mut page = TenantPage { tenants: Vec::new(), next: after };
        for _ in 0..PAGE_ROUNDS {
            let mut found = Vec::new();
            // Beyond this id a shard may have more than was read.
            let mut read_to: Option<String> = None;
            for shard in 0..keys::TENANT_SHARDS {
                let listed = self.listings(shard, page.next.as_deref(), PAGE_ROWS).await?;
                if listed.len() == saturating::<usize>(PAGE_ROWS)
                    && let Some(last) = listed.last()
                {
                    let last = last.id.to_string();
                    read_to = Some(read_to.map_or(last.clone(), |known| known.min(last)));
                }
                found.extend(listed);
            }
            found.sort_by(|one, other| one.id.as_str().cmp(other.id.as_str()));
            found.retain(|tenant| read_to.as_deref().is_none_or(|last| tenant.id.as_str() <= last));
            for tenant in found {
                if page.tenants.len() == limit {
                    page.next = page.tenants.last().map(|last| last.id.to_string());
                    return Ok(page);
                }
                if fit(&tenant) {
                    page.tenants.push(tenant);
                }
            }
            page.next = read_to;
            if page.next.is_none() {
                break;
            }
        }
        Ok(page)
    }

    /// The same, as they are in the list.
    pub async fn listings(
        &self,
        shard: u8,
        after: Option<&str>,
        limit: i32,
    ) -> Result<Vec<TenantListing>, Fault> {
        let doing = "listing tenants";
        let query = self
            .table
            .query()
            .key_condition_expression("pk = :pk AND sk > :after")
            .expression_attribute_values(":pk", AttributeValue::S(keys::tenants_partition(shard)))
            // A space sorts before every character of a tenant's id.
            .expression_attribute_values(":after", AttributeValue::S(after.unwrap_or(" ").to_owned()));
        let response = query.limit(limit).send().await.map_err(Fault::on(doing))?;
        let read = |item: Item| {
            let id = item.get("sk").and_then(|sk| sk.as_s().ok()).and_then(|id| id.parse().ok());
            let id = id.ok_or_else(|| Fault::new(doing, "a row is malformed"))?;
            let row: ListingRow = serde_dynamo::from_item(item).map_err(Fault::on(doing))?;
            let created_at = Timestamp::from_millis(row.created_at);
            let ListingRow { name, is_suspended, is_deleting, retentions, .. } = row;
            Ok(TenantListing { id, name, created_at, is_suspended, is_deleting, retentions })
        };
        response.items.unwrap_or_default().into_iter().map(read).collect()
    }
}

/// Rows of a shard in one read for a page, and how often the shards are read for one.
const PAGE_ROWS: i32 = 250;
const PAGE_ROUNDS: u32 = 8;

/// A page of the list of all tenants.
#[derive(Debug)]
pub struct TenantPage {
    /// The tenants.
    pub tenants: Vec<TenantListing>,
    /// After which id the list continues; nothing at its end.
    pub next: Option<String>,
}

/// A tenant's row in the list of all.
#[derive(Serialize, Deserialize)]
struct ListingRow {
    #[serde(default)]
    name: String,
    #[serde(default)]
    created_at: i64,
    #[serde(default)]
    is_suspended: bool,
    #[serde(default)]
    is_deleting: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    retentions: Vec<UnusualRetention>,
}

impl ListingRow {
    fn of(tenant: &Tenant) -> Self {
        Self {
            name: tenant.name.clone(),
            created_at: tenant.created_at,
            is_suspended: tenant.suspended.is_some(),
            is_deleting: tenant.deletion.is_some(),
            retentions: tenant.settings.unusual_retentions(),
        }
    }
}

/// A write of a transaction that counts one more of what a tenant has, on the condition that it may have that.
pub(super) fn counting(
    table: &Table,
    tenant: &TenantId,
    attribute: &str,
    limit: u32,
) -> Result<TransactWriteItem, Fault> {
    let update = table
        .change(keys::tenant(tenant))
        .update_expression("ADD #count :one")
        .condition_expression(if limit == 0 {
            // Nothing may be made, also where fewer were counted than there are.
            "#count < :limit AND #count > :limit"
        } else {
            "attribute_exists(pk) AND (attribute_not_exists(#count) OR #count < :limit)"
        })
        .expression_attribute_names("#count", attribute)
        .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
        .expression_attribute_values(":limit", AttributeValue::N(limit.to_string()))
        .build()
        .map_err(Fault::on("counting what a tenant has"))?;
    Ok(TransactWriteItem::builder().update(update).build())
}

/// A write of a transaction that counts one less.
pub(super) fn counting_less(
    table: &Table,
    tenant: &TenantId,
    attribute: &str,
) -> Result<TransactWriteItem, Fault> {
    let update = table
        .change(keys::tenant(tenant))
        .update_expression("ADD #count :less")
        .expression_attribute_names("#count", attribute)
        .expression_attribute_values(":less", AttributeValue::N("-1".to_owned()))
        .build()
        .map_err(Fault::on("counting what a tenant has"))?;
    Ok(TransactWriteItem::builder().update(update).build())
}
