//! Rows of a tenant that is deleted, whatever they hold: found by the partitions that begin with the tenant, never by a
//! scan.

use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, DeleteRequest, WriteRequest};
use domain::{EndpointId, TenantId, delivery::Group};

use super::table::{Item, Table, attributes::text, keys};
use crate::{
    Fault,
    aws::{sdk::DynamoDb, throttles},
    runtime::clock,
};

/// Keys that one read returns at most.
pub const CHUNK: usize = 500;

/// Rows that one call deletes.
/// Source: <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html>
const DELETED_AT_ONCE: usize = 25;

/// How often a call is repeated for what the table had no capacity for.
const DELETE_TRIES: u32 = 8;

/// Which table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Who and where.
    Registry,
    /// What happened.
    Events,
    /// What saves work.
    Leases,
}

/// The tables that have rows of tenants, but for the audit table.
#[derive(Debug)]
pub struct TenantRows {
    registry: Table,
    events: Table,
    leases: Table,
}

impl TenantRows {
    /// Those of the tables of these names.
    pub(crate) fn new(dynamodb: &DynamoDb, names: [&str; 3]) -> Self {
        let [registry, events, leases] = names.map(|name| Table::new(dynamodb.clone(), name));
        Self { registry, events, leases }
    }

    fn table(&self, place: Place) -> &Table {
        match place {
            Place::Registry => &self.registry,
            Place::Events => &self.events,
            Place::Leases => &self.leases,
        }
    }

    /// The sort keys of a partition that begin with `prefix` and are behind `after`, in order: up to [`CHUNK`] of them.
    pub async fn sort_keys(
        &self,
        place: Place,
        pk: &str,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<Vec<String>, Fault> {
        const DOING: &str = "reading the keys of a tenant's rows";
        // `!` sorts before everything that keys are spelled with, and directly behind a whole key; `~` behind everything.
        let first = after.map_or_else(|| prefix.to_owned(), |after| format!("{after}!"));
        let first = if first.is_empty() { "!".to_owned() } else { first };
        let mut found = Vec::new();
        let mut from = None;
        loop {
            let response = self
                .table(place)
                .between(pk.to_owned(), first.clone(), format!("{prefix}~"))
                .projection_expression("pk, sk")
                .consistent_read(true)
                .limit(500)
                .set_exclusive_start_key(from)
                .send()
                .await
                .map_err(Fault::on(DOING))?;
            for row in response.items() {
                found.push(text(row, "sk")?.to_owned());
            }
            from = response.last_evaluated_key;
            if from.is_none() || found.len() >= CHUNK {
                found.truncate(CHUNK);
                return Ok(found);
            }
        }
    }

    /// Deletes rows, whether they exist or not. What the table has no capacity for is tried again more and more slowly.
    pub async fn delete(&self, place: Place, rows: Vec<keys::Key>) -> Result<(), Fault> {
        const DOING: &str = "deleting a tenant's rows";
        let table = self.table(place);
        for some in rows.chunks(DELETED_AT_ONCE) {
            let request = |(pk, sk): &keys::Key| {
                let key = Item::from([
                    ("pk".to_owned(), AttributeValue::S(pk.clone())),
                    ("sk".to_owned(), AttributeValue::S(sk.clone())),
                ]);
                let delete = DeleteRequest::builder().set_key(Some(key)).build().map_err(Fault::on(DOING))?;
                Ok(WriteRequest::builder().delete_request(delete).build())
            };
            let mut open = some.iter().map(request).collect::<Result<Vec<_>, Fault>>()?;
            for round in 0.. {
                let mut unprocessed = table.write_batch(open, DOING).await?;
                open = unprocessed.remove(table.name()).unwrap_or_default();
                if open.is_empty() {
                    break;
                }
                throttles::add(throttles::Service::DynamoDb);
                if round == DELETE_TRIES {
                    return Err(Fault::new(DOING, "the table has no capacity"));
                }
                let pause = Duration::from_millis(100 << round.min(5));
                tokio::time::sleep(pause.mul_f64(0.5 + clock::jitter())).await;
            }
        }
        Ok(())
    }

    /// Which of these rows exist.
    pub async fn existing(&self, place: Place, keys: Vec<keys::Key>) -> Result<Vec<keys::Key>, Fault> {
        let rows = self.table(place).get_many(keys, "reading a tenant's rows").await?;
        rows.iter().map(|row| Ok((text(row, "pk")?.to_owned(), text(row, "sk")?.to_owned()))).collect()
    }

    /// The keys of deliveries of an endpoint that the index has, also of those whose events are gone.
    pub async fn deliveries(&self, owner: &TenantId, endpoint: EndpointId) -> Result<Vec<keys::Key>, Fault> {
        const DOING: &str = "reading the deliveries of a tenant's endpoint";
        let mut found = Vec::new();
        for group in [Group::Open, Group::Failed, Group::Delivered] {
            for shard in 0..keys::list_shards(owner) {
                let pk = keys::list_partition(owner, endpoint, group, shard);
                let response = self
                    .events
                    .query()
                    .index_name("deliveries")
                    .key_condition_expression("list_pk = :pk")
                    .expression_attribute_values(":pk", AttributeValue::S(pk))
                    .limit(100)
                    .send()
                    .await
                    .map_err(Fault::on(DOING))?;
                for row in response.items() {
                    found.push((text(row, "pk")?.to_owned(), text(row, "sk")?.to_owned()));
                }
            }
        }
        Ok(found)
    }

    /// The partitions of the events of one shard of a day of the tenant's timeline, up to `limit` of those behind `after`,
    /// each with its place.
    pub async fn events_of(
        &self,
        tenant: &TenantId,
        (day, shard): (i64, u8),
        after: Option<&str>,
        limit: i32,
    ) -> Result<Vec<(String, String)>, Fault> {
        let query = self
            .events
            .query()
            .index_name("timeline")
            .key_condition_expression("timeline_pk = :pk AND timeline_sk > :after")
            .expression_attribute_values(
                ":pk",
                AttributeValue::S(keys::timeline_partition(tenant, day, shard)),
            )
            .expression_attribute_values(":after", AttributeValue::S(after.unwrap_or(" ").to_owned()));
        let response = query.limit(limit).send().await.map_err(Fault::on("reading a tenant's timeline"))?;
        let read = |row: &Item| Ok((text(row, "timeline_sk")?.to_owned(), text(row, "pk")?.to_owned()));
        response.items().iter().map(read).collect()
    }
}
