//! Pointers to the shards of the pools of secrets, the leases around changes to them, and the owners that
//! leave a shard: the part of the registry that [`crate::secrets`] commits by.

use std::{sync::Arc, time::Duration};

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{
    TenantId, Timestamp,
    ids::holder::Holder,
    pool::{EntryKey, Shard},
};
use serde::{Deserialize, Serialize};

use super::ROW_CAPACITY;
use crate::{
    Fault,
    runtime::{cache::Cache, flights::Flights},
    store::table::{Table, delete_if, keys, put_if, rows::item},
};

/// How long a lease is held whose holder was lost: longer than a change takes.
const SECRETS_LEASE: Duration = Duration::from_secs(10);

const READING: &str = "reading the pointers to secrets";

/// Which version of a shard counts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pointer {
    /// Which shard of the pool.
    pub shard: u32,
    /// Whose document it is, where it is not of all tenants. It is part of its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// The version's id in Secrets Manager.
    pub version: String,
    /// The size of that version, in bytes.
    pub size: usize,
    /// The day (UTC, since 1970) that `versions` counts.
    pub day: i64,
    /// Versions that were committed on that day.
    pub versions: u32,
}

impl Pointer {
    /// The pointer to a version of a shard.
    #[must_use]
    pub fn new(
        Shard { number, size, day, versions }: Shard,
        tenant: Option<TenantId>,
        version: String,
    ) -> Self {
        Self { shard: number, tenant, version, size, day, versions }
    }

    /// What the choice of a shard depends on.
    #[must_use]
    pub fn shard(&self) -> Shard {
        Shard { number: self.shard, size: self.size, day: self.day, versions: self.versions }
    }
}

#[derive(Serialize)]
struct LeaseRow {
    free_at: i64,
    holder_token: String,
}

/// An owner that leaves a shard. An entry is removed with the next version of its shard, which may be on another
/// day, since a shard has only so many versions a day.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Departure {
    /// Which shard.
    pub shard: u32,
    /// The owner.
    pub owner: EntryKey,
    /// False while it moves to another shard: until `at` its entry here must not change, since the change could
    /// be lost. True once nothing refers to its entry: it is removed at `at` or later.
    pub left: bool,
    /// When, in milliseconds since 1970.
    pub at: i64,
}

impl Departure {
    /// Whether the entry is to be removed now.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.left && self.at <= now.millis()
    }

    /// Whether a change to the entry could be lost.
    #[must_use]
    pub fn bars_changes(&self, now: Timestamp) -> bool {
        self.left || now.millis() < self.at
    }
}

/// Pointers to secrets, with a cache.
#[derive(Debug, Clone)]
pub struct SecretPointers {
    table: Table,
    cache: Arc<Cache<(Holder, u32), Pointer>>,
    flights: Arc<Flights<Holder, Arc<Vec<Pointer>>>>,
}

impl SecretPointers {
    pub(crate) fn new(table: Table, cache_age: Duration) -> Self {
        let cache = Arc::new(Cache::new(cache_age, ROW_CAPACITY));
        Self { table, cache, flights: Arc::default() }
    }

    /// The pointer to one shard, no older than `age`. A pool's pointers are read together: hundreds of them cost
    /// less than a call for each, and one partition could not serve such calls of all functions.
    pub async fn get(&self, holder: Holder, shard: u32, age: Duration) -> Result<Option<Pointer>, Fault> {
        if let Some(pointer) = self.cache.get_within(&(holder, shard), age) {
            return Ok(Some(pointer));
        }
        let pointers = self.clone();
        let all = async move { pointers.all(holder).await.map(Arc::new) };
        let all = Box::pin(self.flights.join(&holder, READING, all)).await?;
        Ok(all.iter().find(|pointer| pointer.shard == shard).cloned())
    }

    /// The pointer to one shard as it is now.
    pub async fn now(&self, holder: Holder, shard: u32) -> Result<Option<Pointer>, Fault> {
        let row = Box::pin(self.table.get_row::<Pointer>(keys::secret(holder, shard), true)).await?;
        if let Some(pointer) = &row {
            self.cache.put((holder, shard), pointer.clone());
        }
        Ok(row)
    }

    /// The pointers to all shards of a pool, read consistently.
    pub async fn all(&self, holder: Holder) -> Result<Vec<Pointer>, Fault> {
        let rows = self.table.rows_under(keys::secrets_partition(holder), keys::SECRETS, READING).await?;
        let pointers: Vec<Pointer> = serde_dynamo::from_items(rows).map_err(Fault::on(READING))?;
        for pointer in &pointers {
            self.cache.put((holder, pointer.shard), pointer.clone());
        }
        Ok(pointers)
    }

    /// Moves a pointer, if it is still at `from`: this is the commit of a change to
    /// a secret, since Secrets Manager itself has no conditional write.
    pub async fn move_to(&self, holder: Holder, from: Option<&Pointer>, to: &Pointer) -> Result<bool, Fault> {
        let put = self.table.put(item(keys::secret(holder, to.shard), to)?);
        let put = match from {
            None => put.condition_expression("attribute_not_exists(pk)"),
            Some(from) => put
                .condition_expression("version = :from")
                .expression_attribute_values(":from", AttributeValue::S(from.version.clone())),
        };
        let moved = put_if(put, "moving the pointer to a secret").await?;
        if moved {
            self.cache.put((holder, to.shard), to.clone());
        }
        Ok(moved)
    }

    /// Takes the lease to change a shard, if it is free. It saves work
    /// and versions that would be lost; correctness depends on [`Self::move_to`].
    pub async fn take_lease(
        &self,
        holder: Holder,
        shard: u32,
        token: &str,
        now: Timestamp,
    ) -> Result<bool, Fault> {
        const FREE: &str = "attribute_not_exists(pk) OR free_at < :value OR holder_token = :token";
        self.write_lease(keys::secrets_lease(holder, shard), token, now + SECRETS_LEASE, FREE, now).await
    }

    /// Gives the lease back, if it is still this one.
    pub async fn release_lease(&self, holder: Holder, shard: u32, token: &str) -> Result<bool, Fault> {
        const HELD: &str = "holder_token = :token AND free_at > :value";
        let released = Timestamp::from_millis(0);
        self.write_lease(keys::secrets_lease(holder, shard), token, released, HELD, released).await
    }

    async fn write_lease(
        &self,
        key: keys::Key,
        token: &str,
        free_at: Timestamp,
        condition: &str,
        value: Timestamp,
    ) -> Result<bool, Fault> {
        let row = LeaseRow { free_at: free_at.millis(), holder_token: token.to_owned() };
        let put = self
            .table
            .put(item(key, &row)?)
            .condition_expression(condition)
            .expression_attribute_values(":value", AttributeValue::N(value.millis().to_string()))
            .expression_attribute_values(":token", AttributeValue::S(token.to_owned()));
        put_if(put, "leasing a shard of secrets").await
    }

    /// Removes the pointer to a shard whose document was deleted, if it is still at this version.
    pub async fn remove(&self, holder: Holder, pointer: &Pointer) -> Result<(), Fault> {
        let delete = self
            .table
            .delete(keys::secret(holder, pointer.shard))
            .condition_expression("attribute_not_exists(pk) OR version = :version")
            .expression_attribute_values(":version", AttributeValue::S(pointer.version.clone()));
        delete.send().await.map_err(Fault::on("removing the pointer to a secret"))?;
        self.cache.forget(&(holder, pointer.shard));
        Ok(())
    }

    /// The owners that leave a shard, or any shard of the pool, read consistently.
    pub async fn departures(&self, holder: Holder, shard: Option<u32>) -> Result<Vec<Departure>, Fault> {
        const DOING: &str = "reading which owners leave a shard";
        let prefix = shard.map_or_else(|| keys::DEPARTURES.to_owned(), keys::departures_from);
        let rows = self.table.rows_under(keys::secrets_partition(holder), &prefix, DOING).await?;
        serde_dynamo::from_items(rows).map_err(Fault::on(DOING))
    }

    /// Whether one owner leaves a shard.
    pub async fn departure(
        &self,
        holder: Holder,
        shard: u32,
        owner: &EntryKey,
    ) -> Result<Option<Departure>, Fault> {
        Box::pin(self.table.get_row(keys::departure(holder, shard, owner), true)).await
    }

    /// Records that an owner leaves a shard.
    pub async fn leave(&self, holder: Holder, departure: &Departure) -> Result<(), Fault> {
        let key = keys::departure(holder, departure.shard, &departure.owner);
        let put = self.table.put(item(key, departure)?).send().await;
        put.map(|_| ()).map_err(Fault::on("writing which owner leaves a shard"))
    }

    /// Records that an owner has left a shard, if the move is still the one that began.
    pub async fn end_move(&self, holder: Holder, from: &Departure, to: &Departure) -> Result<(), Fault> {
        let put = self
            .table
            .put(item(keys::departure(holder, to.shard, &to.owner), to)?)
            .condition_expression("#at = :from")
            .expression_attribute_names("#at", "at")
            .expression_attribute_values(":from", AttributeValue::N(from.at.to_string()));
        put_if(put, "writing which owner left a shard").await.map(|_| ())
    }

    /// Forgets that an owner leaves a shard: it is back, or its entry is removed. A later departure is kept.
    pub async fn forget(&self, holder: Holder, departure: &Departure) -> Result<(), Fault> {
        let delete = self
            .table
            .delete(keys::departure(holder, departure.shard, &departure.owner))
            .condition_expression("#at = :at")
            .expression_attribute_names("#at", "at")
            .expression_attribute_values(":at", AttributeValue::N(departure.at.to_string()));
        delete_if(delete, "deleting which owner left a shard").await.map(|_| ())
    }
}
