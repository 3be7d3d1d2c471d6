//! The deliveries of a tenant's endpoints whose last attempt failed, by time: the index `failing` of the events table.
//!
//! It is sparse: a delivery that succeeds at once is never in it, so it costs a write for each failed attempt, and one when
//! the delivery succeeds after all.

use domain::{EndpointId, TenantId, Timestamp, delivery::Failure};
use futures_util::future::try_join_all;

use super::lists::{ListEntry, ListIndex, ListPlace, Span, in_shard, read_listed};
use crate::{
    Fault,
    store::table::{Item, Table, attributes::parsed, keys},
};

const FAILING: ListIndex =
    ListIndex { name: "failing", condition: "failing_pk = :pk AND list_sk BETWEEN :first AND :last" };

/// A place in the list: by time, and then by endpoint, since one event can fail at several endpoints at once.
pub type FailingPlace = (ListPlace, EndpointId);

/// A delivery whose last attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailingEntry {
    /// The delivery.
    pub listed: ListEntry,
    /// Why the last attempt failed.
    pub failure: Failure,
}

impl FailingEntry {
    /// Its place in the list.
    #[must_use]
    pub fn place(&self) -> FailingPlace {
        (self.listed.place, self.listed.key.id.endpoint)
    }
}

/// The part of the list that one read covers, the newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailingWindow {
    /// Its entries.
    pub rows: Vec<FailingEntry>,
    /// How far down it reaches; `None` where it includes the end of the list.
    pub floor: Option<FailingPlace>,
}

/// Deliveries whose last attempt failed.
#[derive(Debug, Clone)]
pub struct FailingDeliveries {
    table: Table,
}

impl FailingDeliveries {
    pub(crate) fn new(table: Table) -> Self {
        Self { table }
    }

    /// The newest before `before` and since `since`, at most `limit`: a query of each shard.
    pub async fn newest(
        &self,
        owner: &TenantId,
        (before, since): (Option<FailingPlace>, Timestamp),
        limit: usize,
    ) -> Result<FailingWindow, Fault> {
        let span = Span::NewestFirst { before: before.map(|(place, _)| place), since };
        let read = |item: &Item| {
            let row = FailingEntry { listed: read_listed(item)?, failure: parsed(item, "failure")? };
            Ok(before.is_none_or(|before| row.place() < before).then_some(row))
        };
        let shards = (0..keys::failing_shards(owner))
            .map(|shard| keys::failing_partition(owner, shard))
            .map(|pk| in_shard((&self.table, FAILING), pk, span, limit, read));
        let mut rows: Vec<FailingEntry> = try_join_all(shards).await?.into_iter().flatten().collect();
        rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.place()));
        rows.truncate(limit);
        let floor = rows.last().filter(|_| rows.len() >= limit).map(FailingEntry::place);
        Ok(FailingWindow { rows, floor })
    }
}
