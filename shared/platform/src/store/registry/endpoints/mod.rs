//! Endpoints: making, reading and deleting them. Edits are in `edit`, lists in `list`,
//! and those that a publish goes to in `subscribers`.

pub mod edit;
mod list;
mod rows;
mod subscribers;

use std::{sync::Arc, time::Duration};

use aws_sdk_dynamodb::{
    operation::update_item::builders::UpdateItemFluentBuilder,
    types::{AttributeValue, TransactWriteItem},
};
use domain::{
    EndpointId, TenantId, Timestamp,
    endpoint::{Endpoint, State},
};

use self::{
    rows::{EndpointRow, TombstoneRow},
    subscribers::SubscriberLists,
};
use super::tenants::Tenant;
use crate::{
    Fault,
    runtime::cache::Cache,
    store::table::{
        Table, keys,
        transactions::{as_part_of_transaction, first_condition_failed, first_condition_held},
        update_if,
    },
};

/// Endpoints cached: with a long URL and a hundred filters one takes up to 20 KB.
const ENDPOINT_CAPACITY: usize = 300;

/// The result of making an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateEndpointOutcome {
    /// It was made.
    New,
    /// The tenant has as many as it may have.
    LimitReached,
    /// The tenant does not exist.
    NoTenant,
}

/// Endpoints, with a cache.
#[derive(Debug, Clone)]
pub struct Endpoints {
    table: Table,
    cache: Arc<EndpointCache>,
}

#[derive(Debug)]
struct EndpointCache {
    endpoints: Cache<(TenantId, EndpointId), Arc<Endpoint>>,
    subscribers: SubscriberLists,
}

impl Endpoints {
    pub(crate) fn new(table: Table, cache_age: Duration) -> Self {
        let cache = EndpointCache {
            endpoints: Cache::new(cache_age, ENDPOINT_CAPACITY),
            subscribers: SubscriberLists::new(),
        };
        Self { table, cache: Arc::new(cache) }
    }

    /// Makes an endpoint, if the tenant may have one more of so many.
    pub async fn create(
        &self,
        tenant: &TenantId,
        endpoint: &Endpoint,
        limit: u32,
    ) -> Result<CreateEndpointOutcome, Fault> {
        let disabled = match endpoint.state {
            State::Disabled(disabled) => Some(disabled),
            State::Enabled | State::Deleted => None,
        };
        let row = EndpointRow {
            id: endpoint.id,
            url: endpoint.url.clone(),
            event_types: endpoint.event_types.clone(),
            description: endpoint.description.clone(),
            created_at: endpoint.created_at.millis(),
            secret_shard: endpoint.secret_shard,
            settings: endpoint.settings.clone(),
            disabled,
            health: None,
            health_version: 0,
            enable_count: 0,
            revision: 0,
            discard_held_until: None,
            channels: endpoint.channels.clone(),
            filter: endpoint.filter.clone(),
            metadata: endpoint.metadata.clone(),
        };
        // The operator has no row of its own until its first endpoint is counted.
        let condition = if tenant.is_operator() {
            "attribute_not_exists(pk) OR endpoint_count < :limit"
        } else {
            "attribute_exists(pk) AND endpoint_count < :limit"
        };
        let count = self.table.change(keys::tenant(tenant))
            .update_expression("SET #name = if_not_exists(#name, :name), created_at = if_not_exists(created_at, :now) ADD endpoint_count :one, subscribers_revision :one")
            .condition_expression(condition)
            .expression_attribute_names("#name", "name")
            .expression_attribute_values(":name", AttributeValue::S(TenantId::OPERATOR.to_owned()))
            .expression_attribute_values(":now", AttributeValue::N(row.created_at.to_string()))
            .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
            .expression_attribute_values(":limit", AttributeValue::N(limit.to_string()))
            .build()
            .map_err(Fault::on("writing an endpoint"))?;
        let count = TransactWriteItem::builder().update(count).build();
        let writes = vec![count, self.table.put_new(keys::endpoint(tenant, endpoint.id), &row)?];
        match self.table.transact(writes).await {
            Ok(()) => {
                self.cache.subscribers.forget(tenant);
                Ok(CreateEndpointOutcome::New)
            }
            Err(error) if first_condition_failed(&error) => {
                let exists = self.table.get_row::<Tenant>(keys::tenant(tenant), true).await?.is_some();
                Ok(if exists { CreateEndpointOutcome::LimitReached } else { CreateEndpointOutcome::NoTenant })
            }
            Err(error) => Err(Fault::on("writing an endpoint")(error)),
        }
    }

    /// One endpoint, a deleted one too. A miss is confirmed by a consistent read.
    pub async fn get(&self, owner: &TenantId, id: EndpointId) -> Result<Option<Arc<Endpoint>>, Fault> {
        let cached = (owner.clone(), id);
        if let Some(endpoint) = self.cache.endpoints.get(&cached) {
            return Ok(Some(endpoint));
        }
        // Boxed: the SDK's futures are large, and would be a part of every attempt's.
        match Box::pin(self.table.get_row::<EndpointRow>(keys::endpoint(owner, id), false)).await? {
            Some(row) => Ok(Some(self.remember(owner, row.into()))),
            None => Box::pin(self.get_now(owner, id)).await,
        }
    }

    /// One endpoint as it is now, a deleted one too.
    pub async fn get_now(&self, owner: &TenantId, id: EndpointId) -> Result<Option<Arc<Endpoint>>, Fault> {
        let endpoint = match self.table.get_row::<EndpointRow>(keys::endpoint(owner, id), true).await? {
            Some(row) => row.into(),
            None => match self.table.get_row::<TombstoneRow>(keys::tombstone(owner, id), true).await? {
                Some(tombstone) => tombstone.endpoint(id),
                None => return Ok(None),
            },
        };
        Ok(Some(self.remember(owner, endpoint)))
    }

    fn remember(&self, owner: &TenantId, endpoint: Endpoint) -> Arc<Endpoint> {
        let endpoint = Arc::new(endpoint);
        self.cache.endpoints.put((owner.clone(), endpoint.id), Arc::clone(&endpoint));
        endpoint
    }

    /// How many endpoints a tenant has; 0 where the tenant does not exist.
    pub async fn count(&self, tenant: &TenantId) -> Result<u32, Fault> {
        let row = self.table.get_row::<Tenant>(keys::tenant(tenant), true).await?;
        Ok(row.map_or(0, |row| row.endpoint_count))
    }

    /// Deletes an endpoint. A tombstone stays outside of all lists: deliveries under way find that
    /// the endpoint was deleted, and not that it never existed. False where there is none.
    pub async fn delete(&self, tenant: &TenantId, id: EndpointId, now: Timestamp) -> Result<bool, Fault> {
        let doing = "deleting an endpoint";
        let delete = self
            .table
            .deletion(keys::endpoint(tenant, id))
            .condition_expression("attribute_exists(pk)")
            .build()
            .map_err(Fault::on(doing))?;
        let count = self
            .table
            .change(keys::tenant(tenant))
            .update_expression("ADD endpoint_count :less, subscribers_revision :one")
            .expression_attribute_values(":less", AttributeValue::N("-1".to_owned()))
            .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
            .build()
            .map_err(Fault::on(doing))?;
        let writes = vec![
            TransactWriteItem::builder().delete(delete).build(),
            TransactWriteItem::builder().update(count).build(),
            self.table.put_new(keys::tombstone(tenant, id), &TombstoneRow { deleted_at: now.millis() })?,
        ];
        let deleted = first_condition_held(self.table.transact(writes).await, doing)?;
        self.forget(tenant, id);
        self.cache.subscribers.forget(tenant);
        Ok(deleted)
    }

    fn update(&self, owner: &TenantId, id: EndpointId) -> UpdateItemFluentBuilder {
        self.table.update(keys::endpoint(owner, id))
    }

    /// Makes an update of what decides whether an event goes to the endpoint; false where its condition did not
    /// hold.
    async fn write_subscription(
        &self,
        owner: &TenantId,
        id: EndpointId,
        update: UpdateItemFluentBuilder,
    ) -> Result<bool, Fault> {
        let doing = "writing an endpoint";
        let update = as_part_of_transaction(&update).map_err(Fault::on(doing))?;
        let writes = [update, self.counting_change(owner)?];
        let writes = writes.map(|update| TransactWriteItem::builder().update(update).build());
        let written = self.table.transact(writes.to_vec()).await;
        self.forget(owner, id);
        self.cache.subscribers.forget(owner);
        first_condition_held(written, doing)
    }

    /// Makes an update of what a publish does not read; false where its condition did not hold.
    async fn write(
        &self,
        owner: &TenantId,
        id: EndpointId,
        update: UpdateItemFluentBuilder,
    ) -> Result<bool, Fault> {
        let written = update_if(update, "writing an endpoint").await;
        self.forget(owner, id);
        Ok(written?.is_some())
    }

    fn forget(&self, owner: &TenantId, id: EndpointId) {
        self.cache.endpoints.forget(&(owner.clone(), id));
    }
}

/// The condition that an endpoint exists.
const LIVE: &str = "attribute_exists(pk)";
