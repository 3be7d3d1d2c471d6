//! How many deliveries are held for an endpoint, and since when, as the due index has them.

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{EndpointId, TenantId, Timestamp, saturating};
use futures_util::future::{try_join, try_join_all};

use super::drains::Drains;
use crate::{
    Fault,
    store::table::{Table, attributes::millis, keys},
};

/// How many are counted in one shard. The query reads half a megabyte for them.
const COUNTED_IN_SHARD: i32 = 2_500;

/// The deliveries that are held for an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeldCount {
    /// How many there are.
    pub count: u64,
    /// Whether there are more.
    pub more: bool,
    /// Since when the first of them has been held.
    pub oldest_at: Option<Timestamp>,
}

/// Counts of held deliveries.
#[derive(Debug, Clone)]
pub struct HeldCounts {
    table: Table,
    drains: Drains,
}

impl HeldCounts {
    pub(crate) fn new(table: Table, drains: Drains) -> Self {
        Self { table, drains }
    }

    /// What is held for an endpoint; nothing where nothing is. One read where it has no entry, and a query of each shard
    /// otherwise.
    pub async fn get(&self, owner: &TenantId, endpoint: EndpointId) -> Result<Option<HeldCount>, Fault> {
        if !self.drains.exists(owner, endpoint).await? {
            return Ok(None);
        }
        let shards = (0..keys::HELD_SHARDS).map(|shard| self.in_shard(owner, endpoint, shard));
        let mut sum = HeldCount::default();
        for part in try_join_all(shards).await? {
            sum.count += part.count;
            sum.more |= part.more;
            sum.oldest_at = [sum.oldest_at, part.oldest_at].into_iter().flatten().min();
        }
        Ok((sum.count > 0).then_some(sum))
    }

    /// The same for several endpoints at once.
    pub async fn of_all(
        &self,
        owner: &TenantId,
        endpoints: &[EndpointId],
    ) -> Result<Vec<(EndpointId, HeldCount)>, Fault> {
        let counts = endpoints.iter().map(|id| try_join(std::future::ready(Ok(*id)), self.get(owner, *id)));
        let counts = try_join_all(counts).await?.into_iter();
        Ok(counts.filter_map(|(id, count)| Some((id, count?))).collect())
    }

    async fn in_shard(&self, owner: &TenantId, endpoint: EndpointId, shard: u8) -> Result<HeldCount, Fault> {
        let response = self
            .table
            .query()
            .index_name("due")
            .key_condition_expression("due_pk = :pk")
            .expression_attribute_values(
                ":pk",
                AttributeValue::S(keys::held_partition(owner, endpoint, shard)),
            )
            .projection_expression("due_at")
            .limit(COUNTED_IN_SHARD)
            .send()
            .await
            .map_err(Fault::on("counting held deliveries"))?;
        let items = response.items();
        let oldest_at = items.first().map(|item| millis(item, "due_at")).transpose()?;
        Ok(HeldCount {
            count: saturating(items.len()),
            more: response.last_evaluated_key().is_some(),
            oldest_at,
        })
    }
}
