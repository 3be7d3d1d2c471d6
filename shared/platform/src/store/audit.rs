//! The audit table: entries are added and never changed. What they say and how they are chained is
//! `domain::audit`.
//!
//! An entry's number is its sort key and inserting overwrites nothing, so two writers cannot both
//! take a place: the second one takes the next place, behind the entry that it lost to.
//!
//! A row that is no entry, as only someone with access to the table can write it, is read by nothing but verification,
//! which names it. Where it has the place of an entry, the trail goes on behind it.

mod checkpoints;
mod rows;
mod search;

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{
    TenantId,
    audit::{ChainedEntry, Entry, Link},
    saturating,
};

use self::rows::{entries, item};
use super::{
    registry::streamed_trails::StreamedTrails,
    table::{
        Item, Table, keys,
        statements::{Statement, StatementOutcome},
    },
};
use crate::{Fault, aws::sdk::DynamoDb, runtime::clock};

/// Tries to add an entry while concurrent writers take its place, some seconds in all.
const APPEND_TRIES: u32 = 60;

/// The result of adding an entry.
#[derive(Debug)]
pub enum AppendOutcome {
    /// It is in the trail.
    New(Box<ChainedEntry>),
    /// Concurrent writers kept taking the place; nothing was written.
    Conflict,
}

/// The table.
#[derive(Debug)]
pub struct Audit {
    table: Table,
    /// Where trails with new entries are noted, if there is a stream.
    streamed: Option<StreamedTrails>,
}

impl Audit {
    /// The trails in this table.
    #[must_use]
    pub fn new(dynamodb: DynamoDb, table: &str, streamed: Option<StreamedTrails>) -> Self {
        Self { table: Table::new(dynamodb, table), streamed }
    }

    /// Adds an entry to the end of a tenant's trail, and notes the trail for the stream.
    pub async fn append(&self, tenant: &TenantId, entry: Entry) -> Result<AppendOutcome, Fault> {
        let outcome = self.insert(tenant, entry).await?;
        if let (Some(streamed), AppendOutcome::New(sealed)) = (&self.streamed, &outcome)
            && let Err(fault) = streamed.touch(tenant, sealed.entry.seq).await
        {
            // The entry is in the trail, and the walk of the next hour finds it.
            tracing::warn!(%fault, %tenant, "could not note an audit entry for the stream; it is sent within two hours");
        }
        Ok(outcome)
    }

    async fn insert(&self, tenant: &TenantId, entry: Entry) -> Result<AppendOutcome, Fault> {
        let mut head = self.head(tenant).await?;
        for _ in 0..APPEND_TRIES {
            let sealed = entry.clone().seal(tenant, &head);
            let statement = Statement::insert(&self.table, item(tenant, &sealed));
            let mut applied = self.table.execute(vec![statement], "writing the audit trail").await;
            let no_result = || Err(Fault::new("writing the audit trail", "the statement has no result"));
            let existing = match applied.pop().unwrap_or_else(no_result)? {
                StatementOutcome::Applied => return Ok(AppendOutcome::New(Box::new(sealed))),
                StatementOutcome::ConditionFailed(item) => match item.as_ref().map(TrailRow::new) {
                    Some(TrailRow::Entry(entry)) => entry.link(),
                    Some(TrailRow::Foreign(_)) | None => {
                        let newest = self.head(tenant).await?;
                        // The place is taken, and not by an entry: the next one is behind it.
                        let seq = newest.seq.max(sealed.entry.seq);
                        Link { seq, hash: newest.hash }
                    }
                },
            };
            // A call that the SDK retried conflicts with itself.
            if existing == sealed.link() {
                return Ok(AppendOutcome::New(Box::new(sealed)));
            }
            // A random wait spreads concurrent writers.
            tokio::time::sleep(Duration::from_millis(40).mul_f64(clock::jitter())).await;
            head = if existing.seq > head.seq { existing } else { self.head(tenant).await? };
        }
        Ok(AppendOutcome::Conflict)
    }

    /// The end of a tenant's trail.
    pub async fn head(&self, tenant: &TenantId) -> Result<Link, Fault> {
        let newest = self.newest(tenant, None, 1).await?;
        Ok(newest.first().map_or_else(Link::start, ChainedEntry::link))
    }

    /// The newest entries of a tenant, of those before number `before`, newest first.
    pub async fn newest(
        &self,
        tenant: &TenantId,
        before: Option<u64>,
        limit: i32,
    ) -> Result<Vec<ChainedEntry>, Fault> {
        let last = before.unwrap_or(u64::MAX).saturating_sub(1);
        let rows = self.query(keys::audit_entry(tenant, last.min(LAST_SEQ)), Direction::Back, limit).await?;
        Ok(entries(&rows))
    }

    /// Entries of a tenant from number `from` on, in order.
    pub async fn from(&self, tenant: &TenantId, from: u64, limit: i32) -> Result<Vec<ChainedEntry>, Fault> {
        let rows =
            self.query(keys::audit_entry(tenant, from.min(LAST_SEQ)), Direction::Forward, limit).await?;
        Ok(entries(&rows))
    }

    /// All rows of a tenant's trail behind entry number `after`, in order, with up to `limit` entries among them.
    pub async fn rows_behind(
        &self,
        tenant: &TenantId,
        after: u64,
        limit: i32,
    ) -> Result<Vec<TrailRow>, Fault> {
        let (pk, place) = keys::audit_entry(tenant, after.min(LAST_SEQ));
        // The least text behind the place; of the beginning, the least of all.
        let first = if after == 0 { "\u{1}".to_owned() } else { format!("{place}\u{1}") };
        let rows = self.query((pk, first), Direction::Forward, limit).await?;
        Ok(rows.iter().map(TrailRow::new).collect())
    }

    /// The rows of a partition from a key on, with up to `limit` among them that are of the chain.
    async fn query(&self, from: keys::Key, direction: Direction, limit: i32) -> Result<Vec<Item>, Fault> {
        let mut rows: Vec<Item> = Vec::new();
        let mut start = None;
        // One call reads 1 MB at most, and a page of large entries can be more.
        loop {
            let found = rows.iter().filter(|row| rows::is_of_chain(row)).count();
            let wanted = limit.saturating_sub(saturating::<i32>(found));
            if wanted < 1 {
                return Ok(rows);
            }
            let (more, end) = self.read_once(from.clone(), direction, wanted, start).await?;
            rows.extend(more);
            start = end;
            if start.is_none() {
                return Ok(rows);
            }
        }
    }

    /// What one call reads of a partition from a key on, and where the next call continues.
    async fn read_once(
        &self,
        (pk, sk): keys::Key,
        direction: Direction,
        limit: i32,
        start: Option<Item>,
    ) -> Result<(Vec<Item>, Option<Item>), Fault> {
        let response = self
            .table
            .query()
            .key_condition_expression(match direction {
                Direction::Forward => "pk = :pk AND sk >= :seq",
                Direction::Back => "pk = :pk AND sk <= :seq",
            })
            .expression_attribute_values(":pk", AttributeValue::S(pk))
            .expression_attribute_values(":seq", AttributeValue::S(sk))
            .consistent_read(true)
            .scan_index_forward(direction == Direction::Forward)
            .limit(limit)
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(Fault::on("reading the audit trail"))?;
        Ok((response.items.unwrap_or_default(), response.last_evaluated_key))
    }
}

/// Where a query goes from its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forward,
    Back,
}

/// The last number that the sort key has room for.
const LAST_SEQ: u64 = 999_999_999_999;

pub use rows::{ForeignRow, TrailRow};
pub use search::FoundEntries;
