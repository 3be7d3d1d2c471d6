//! The entry of an endpoint for which work is held: by it the work comes back.

use std::sync::Arc;

use aws_sdk_dynamodb::{
    operation::update_item::builders::UpdateItemFluentBuilder,
    types::{AttributeValue, ReturnValue},
};
use domain::{EndpointId, TenantId, Timestamp, delivery::Retention, recovery::drain};

use super::index::DueEndpoint;
use crate::{
    Fault,
    runtime::cache::Cache,
    store::{
        events::deliveries::DuePlace,
        table::{
            Item, Table,
            attributes::{expires_at, integer, number},
            delete_if, keys, update_if,
        },
    },
};

/// What an endpoint's entry says besides when it is due.
#[derive(Debug, Clone, Default)]
pub struct DrainEntry {
    /// When work was last held.
    pub touched_at: i64,
}

/// How long an entry is kept after work was held last: no delivery is held for longer than its event is kept. The entry of
/// a disabled endpoint, which no run removes, ends by it.
const KEPT: Retention = Retention::LONGEST;

/// Endpoints whose entries this function remembers to have touched.
const TOUCHED: usize = 10_000;

/// Entries of held work.
#[derive(Debug, Clone)]
pub struct Drains {
    table: Table,
    /// When this function last touched an entry. Otherwise every batch for an endpoint that is down would
    /// write the same item.
    touched: Arc<Cache<(TenantId, EndpointId), Timestamp>>,
}

impl Drains {
    pub(crate) fn new(table: Table) -> Self {
        Self { table, touched: Arc::new(Cache::new(drain::TOUCH_REMEMBERED, TOUCHED)) }
    }

    /// Makes an endpoint's entry, due at `due`, where it has none yet. Called before work is held, each
    /// time: an entry that was just touched is not removed. Nothing is written where this function has
    /// touched it within [`drain::TOUCH_REMEMBERED`].
    pub async fn touch(
        &self,
        owner: &TenantId,
        endpoint: EndpointId,
        due: Timestamp,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let key = (owner.clone(), endpoint);
        let is_recent =
            |touched_at: Timestamp| touched_at <= now && now.since(touched_at) < drain::TOUCH_REMEMBERED;
        if self.touched.get(&key).is_some_and(is_recent) {
            return Ok(());
        }
        let place = drain_place(endpoint, due);
        self.update(owner, endpoint)
            .update_expression(
                "SET touched_at = :now, expires_at = :expires, \
                 due_pk = if_not_exists(due_pk, :pk), due_at = if_not_exists(due_at, :due)",
            )
            .expression_attribute_values(":now", number(now.millis()))
            .expression_attribute_values(":expires", expires_at(now, KEPT))
            .expression_attribute_values(":pk", AttributeValue::S(place.pk))
            .expression_attribute_values(":due", number(place.at.millis()))
            .send()
            .await
            .map_err(Fault::on("holding work for an endpoint"))?;
        self.touched.put(key, now);
        Ok(())
    }

    /// Makes an endpoint's entry due at another time, whatever it was.
    pub async fn wake(
        &self,
        owner: &TenantId,
        endpoint: EndpointId,
        due: Timestamp,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let place = drain_place(endpoint, due);
        let update = self
            .update(owner, endpoint)
            .update_expression("SET touched_at = :now, expires_at = :expires, due_pk = :pk, due_at = :due")
            .expression_attribute_values(":now", number(now.millis()))
            .expression_attribute_values(":expires", expires_at(now, KEPT))
            .expression_attribute_values(":pk", AttributeValue::S(place.pk))
            .expression_attribute_values(":due", number(place.at.millis()));
        update.send().await.map_err(Fault::on("waking held work"))?;
        Ok(())
    }

    /// Moves an endpoint's entry to another time, if it is still where it was found, and returns
    /// the entry as it is then.
    pub async fn take(&self, entry: &DueEndpoint, due: Timestamp) -> Result<Option<DrainEntry>, Fault> {
        let place = drain_place(entry.endpoint, due);
        let taken = self
            .update(&entry.owner, entry.endpoint)
            .update_expression("SET due_pk = :pk, due_at = :due")
            .condition_expression("due_pk = :old_pk AND due_at = :old_due")
            .expression_attribute_values(":pk", AttributeValue::S(place.pk))
            .expression_attribute_values(":due", number(place.at.millis()))
            .expression_attribute_values(":old_pk", AttributeValue::S(entry.place.pk.clone()))
            .expression_attribute_values(":old_due", number(entry.place.at.millis()))
            .return_values(ReturnValue::AllNew);
        let taken = update_if(taken, "taking held work").await?;
        Ok(taken.and_then(|response| response.attributes).as_ref().map(read_drain))
    }

    /// Whether an endpoint has an entry, without which nothing is held for it.
    pub async fn exists(&self, owner: &TenantId, endpoint: EndpointId) -> Result<bool, Fault> {
        let key = keys::drain(owner, endpoint);
        Ok(self.table.get(key, false, "reading the entry of held work").await?.is_some())
    }

    /// Removes an endpoint's entry, if no work was held recently; false where it stays.
    pub async fn end(&self, entry: &DueEndpoint, known: &DrainEntry, now: Timestamp) -> Result<bool, Fault> {
        if !drain::may_end(Timestamp::from_millis(known.touched_at), now) {
            return Ok(false);
        }
        let delete = self
            .table
            .delete(keys::drain(&entry.owner, entry.endpoint))
            .condition_expression("touched_at = :touched")
            .expression_attribute_values(":touched", number(known.touched_at));
        delete_if(delete, "removing the entry of held work").await
    }

    fn update(&self, owner: &TenantId, endpoint: EndpointId) -> UpdateItemFluentBuilder {
        self.table.update(keys::drain(owner, endpoint))
    }
}

/// The place of an endpoint's entry that is due then.
pub(crate) fn drain_place(endpoint: EndpointId, due: Timestamp) -> DuePlace {
    let shard = endpoint.shard(keys::DUE_SHARDS);
    DuePlace { pk: keys::due_partition(keys::bucket(due), shard), at: due }
}

fn read_drain(item: &Item) -> DrainEntry {
    DrainEntry { touched_at: integer(item, "touched_at").unwrap_or_default() }
}
