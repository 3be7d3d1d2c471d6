//! The audit table: entries are added and never changed. What they say and how they are chained is
//! `domain::audit`.
//!
//! An entry's number is its sort key and inserting overwrites nothing, so two writers cannot both
//! take a place: the second one takes the next place, behind the entry that it lost to.

mod checkpoints;
mod search;

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{
    TenantId, Timestamp,
    audit::{ChainedEntry, Entry, Link},
    saturating,
};

use super::table::{
    Item, Table,
    attributes::{integer, number, text},
    keys,
    statements::{Statement, StatementOutcome},
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
}

impl Audit {
    /// The trails in this table.
    #[must_use]
    pub fn new(dynamodb: DynamoDb, table: &str) -> Self {
        Self { table: Table::new(dynamodb, table) }
    }

    /// Adds an entry to the end of a tenant's trail.
    pub async fn append(&self, tenant: &TenantId, entry: Entry) -> Result<AppendOutcome, Fault> {
        let mut head = self.head(tenant).await?;
        for _ in 0..APPEND_TRIES {
            let sealed = entry.clone().seal(tenant, &head);
            let statement = Statement::insert(&self.table, item(tenant, &sealed));
            let mut applied = self.table.execute(vec![statement], "writing the audit trail").await;
            let no_result = || Err(Fault::new("writing the audit trail", "the statement has no result"));
            let existing = match applied.pop().unwrap_or_else(no_result)? {
                StatementOutcome::Applied => return Ok(AppendOutcome::New(Box::new(sealed))),
                StatementOutcome::ConditionFailed(Some(item)) => read(&item).link(),
                StatementOutcome::ConditionFailed(None) => self.head(tenant).await?,
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
        Ok(rows.iter().map(read).collect())
    }

    /// Entries of a tenant from number `from` on, in order.
    pub async fn from(&self, tenant: &TenantId, from: u64, limit: i32) -> Result<Vec<ChainedEntry>, Fault> {
        let rows =
            self.query(keys::audit_entry(tenant, from.min(LAST_SEQ)), Direction::Forward, limit).await?;
        Ok(rows.iter().map(read).collect())
    }

    /// Up to `limit` rows of a partition from a key on.
    async fn query(&self, from: keys::Key, direction: Direction, limit: i32) -> Result<Vec<Item>, Fault> {
        let mut rows: Vec<Item> = Vec::new();
        let mut start = None;
        // One call reads 1 MB at most, and a page of large entries can be more.
        loop {
            let wanted = limit.saturating_sub(saturating::<i32>(rows.len()));
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

fn item(tenant: &TenantId, ChainedEntry { entry, prev, hash }: &ChainedEntry) -> Item {
    let (pk, sk) = keys::audit_entry(tenant, entry.seq);
    let texts = [
        ("pk", &pk),
        ("sk", &sk),
        ("actor", &entry.actor),
        ("action", &entry.action),
        ("subject", &entry.subject),
        ("request_id", &entry.request_id),
        ("prev", prev),
        ("hash", hash),
    ];
    let options = [("source_ip", &entry.source_ip), ("before", &entry.before), ("after", &entry.after)];
    let options = options.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let texts = texts.into_iter().chain(options);
    let mut item: Item =
        texts.map(|(name, value)| (name.to_owned(), AttributeValue::S(value.clone()))).collect();
    item.insert("at".to_owned(), number(entry.at.millis()));
    item
}

/// Reads a row, whatever it holds: one that was tampered with is still shown and counted, and does
/// not match its hash.
fn read(item: &Item) -> ChainedEntry {
    let option = |name: &str| text(item, name).ok().map(str::to_owned);
    let required = |name: &str| option(name).unwrap_or_default();
    let entry = Entry {
        seq: required("sk").parse().unwrap_or_default(),
        at: Timestamp::from_millis(integer(item, "at").unwrap_or_default()),
        actor: required("actor"),
        action: required("action"),
        subject: required("subject"),
        source_ip: option("source_ip"),
        request_id: required("request_id"),
        before: option("before"),
        after: option("after"),
    };
    ChainedEntry { entry, prev: required("prev"), hash: required("hash") }
}

pub use search::FoundEntries;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_back() {
        let tenant: TenantId = "acme".parse().unwrap();
        let entry = Entry {
            seq: 0,
            at: Timestamp::from_millis(1_700_000_000_001),
            actor: "operator".into(),
            action: "endpoint.deleted".into(),
            subject: "ept_1".into(),
            source_ip: None,
            request_id: "r".into(),
            before: Some(r#"{"url":"https://example.com/"}"#.into()),
            after: None,
        };
        let sealed = entry.seal(&tenant, &Link::start());
        let row = item(&tenant, &sealed);
        assert_eq!(read(&row), sealed);
        assert_eq!(row["sk"], AttributeValue::S("000000000001".into()));
        // A malformed row is still shown.
        let mut malformed = row;
        malformed.remove("at");
        malformed.insert("actor".into(), AttributeValue::Bool(true));
        assert_ne!(read(&malformed), sealed);
        assert_eq!(read(&malformed).entry.seq, 1);
    }
}
