//! Pointers to the secrets of tenants, and the lease around changes to them: the part of the
//! registry that [`crate::secrets`] commits by.

use std::{sync::Arc, time::Duration};

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{TenantId, Timestamp, ids::holder::Holder};
use serde::{Deserialize, Serialize};

use super::ROW_CAPACITY;
use crate::{
    Fault,
    runtime::cache::Cache,
    store::table::{Table, keys, put_if, rows::item},
};

/// How long a lease is held whose holder was lost: longer than a change takes.
const SECRETS_LEASE: Duration = Duration::from_secs(10);

/// Which version of a tenant's secret counts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pointer {
    /// Which of the tenant's secrets of this kind.
    pub shard: u32,
    /// The version's id in Secrets Manager.
    pub version: String,
    /// The size of that version, in bytes.
    pub size: usize,
}

#[derive(Serialize)]
struct LeaseRow {
    free_at: i64,
    holder_token: String,
}

/// Pointers to secrets, with a cache.
#[derive(Debug, Clone)]
pub struct SecretPointers {
    table: Table,
    cache: Arc<Cache<(TenantId, Holder, u32), Pointer>>,
}

impl SecretPointers {
    pub(crate) fn new(table: Table, cache_age: Duration) -> Self {
        Self { table, cache: Arc::new(Cache::new(cache_age, ROW_CAPACITY)) }
    }

    /// The pointer to one of a tenant's secrets, no older than `age`.
    pub async fn get(
        &self,
        tenant: &TenantId,
        holder: Holder,
        shard: u32,
        age: Duration,
    ) -> Result<Option<Pointer>, Fault> {
        let cached = (tenant.clone(), holder, shard);
        if let Some(pointer) = self.cache.get_within(&cached, age) {
            return Ok(Some(pointer));
        }
        let Some(pointer) =
            Box::pin(self.table.get_row::<Pointer>(keys::secret(tenant, holder, shard), true)).await?
        else {
            return Ok(None);
        };
        self.cache.put(cached, pointer.clone());
        Ok(Some(pointer))
    }

    /// The pointers to all of a tenant's secrets of one kind, by shard, read consistently.
    pub async fn all(&self, tenant: &TenantId, holder: Holder) -> Result<Vec<Pointer>, Fault> {
        const DOING: &str = "reading the pointers to secrets";
        let rows = self.table.rows_under(tenant.to_string(), &keys::secrets_of(holder), DOING).await?;
        serde_dynamo::from_items(rows).map_err(Fault::on(DOING))
    }

    /// Moves a pointer, if it is still at `from`: this is the commit of a change to
    /// a secret, since Secrets Manager itself has no conditional write.
    pub async fn move_to(
        &self,
        tenant: &TenantId,
        holder: Holder,
        from: Option<&Pointer>,
        to: &Pointer,
    ) -> Result<bool, Fault> {
        let put = self.table.put(item(keys::secret(tenant, holder, to.shard), to)?);
        let put = match from {
            None => put.condition_expression("attribute_not_exists(pk)"),
            Some(from) => put
                .condition_expression("version = :from")
                .expression_attribute_values(":from", AttributeValue::S(from.version.clone())),
        };
        let moved = put_if(put, "moving the pointer to a secret").await?;
        if moved {
            self.cache.put((tenant.clone(), holder, to.shard), to.clone());
        }
        Ok(moved)
    }

    /// Takes the lease to change a tenant's secrets of one kind, if it is free. It saves work
    /// and versions that would be lost; correctness depends on [`Self::move_to`].
    pub async fn take_lease(
        &self,
        tenant: &TenantId,
        holder: Holder,
        token: &str,
        now: Timestamp,
    ) -> Result<bool, Fault> {
        self.write_lease(
            tenant,
            holder,
            token,
            now + SECRETS_LEASE,
            "attribute_not_exists(pk) OR free_at < :value OR holder_token = :token",
            now,
        )
        .await
    }

    /// Gives the lease back, if it is still this one.
    pub async fn release_lease(&self, tenant: &TenantId, holder: Holder, token: &str) -> Result<bool, Fault> {
        let released = Timestamp::from_millis(0);
        self.write_lease(
            tenant,
            holder,
            token,
            released,
            "holder_token = :token AND free_at > :value",
            released,
        )
        .await
    }

    async fn write_lease(
        &self,
        tenant: &TenantId,
        holder: Holder,
        token: &str,
        free_at: Timestamp,
        condition: &str,
        value: Timestamp,
    ) -> Result<bool, Fault> {
        let row = LeaseRow { free_at: free_at.millis(), holder_token: token.to_owned() };
        let put = self
            .table
            .put(item(keys::secrets_lease(tenant, holder), &row)?)
            .condition_expression(condition)
            .expression_attribute_values(":value", AttributeValue::N(value.millis().to_string()))
            .expression_attribute_values(":token", AttributeValue::S(token.to_owned()));
        put_if(put, "leasing a tenant's secrets").await
    }
}
