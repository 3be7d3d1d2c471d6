//! What is known of the records of a sync: a row each, without an end, since a record that is not known is new.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, DeleteRequest, PutRequest, WriteRequest};
use domain::{SyncId, TenantId, saturating, sync::KnownRecord};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use crate::{
    Fault,
    store::table::{Item, Table, keys::sync as keys, rows::item, update_if, waits::after_conflict},
};

/// Writes of one call.
/// Source: <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html>
const WRITES_AT_ONCE: usize = 25;

/// Calls that write concurrently.
const CONCURRENT_WRITES: usize = 4;

/// Retries of what the table had no capacity for.
const RETRIES: u32 = 10;

/// Rows that one read of a sweep looks at.
const SWEPT_AT_ONCE: i32 = 1000;

/// The number of no pass: a sweep for it misses every record.
pub const NO_PASS: u32 = u32::MAX;

/// A change of what is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordWrite {
    /// This is known of a record.
    Keep(String, KnownRecord),
    /// A record is not known any more.
    Forget(String),
}

/// A row: the third party's key, since the one of the table may be its hash, and what is known.
#[derive(Serialize, Deserialize)]
struct RecordRow {
    key: String,
    #[serde(flatten)]
    known: RecordAttributes,
}

#[derive(Serialize, Deserialize)]
struct RecordAttributes {
    hash: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    excluded: bool,
    /// JSON, so that numbers stay what they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kept: Option<String>,
    seen_in: u32,
}

/// A page of a sweep.
#[derive(Debug, Default)]
pub struct SweptPage {
    /// Records that the pass has not seen.
    pub missing: Vec<(String, KnownRecord)>,
    /// Records that were looked at, without those that were taken out of their series.
    pub scanned: u64,
    /// Where the next page begins; nothing at the end.
    pub next: Option<String>,
}

/// What is known of records.
#[derive(Debug, Clone)]
pub struct SyncRecords {
    pub(super) table: Table,
}

impl SyncRecords {
    pub(crate) fn new(table: Table) -> Self {
        Self { table }
    }

    /// What is known of these records, read consistently.
    pub async fn get(
        &self,
        tenant: &TenantId,
        sync: SyncId,
        wanted: &[&str],
    ) -> Result<HashMap<String, KnownRecord>, Fault> {
        let mut wanted: Vec<_> = wanted.iter().map(|key| keys::record(tenant, sync, key)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let items = self.table.get_many(wanted, "reading what is known of records").await?;
        items.into_iter().map(read).collect()
    }

    /// Writes what is known. A record that is written twice has its last write.
    pub async fn write(
        &self,
        tenant: &TenantId,
        sync: SyncId,
        writes: Vec<RecordWrite>,
    ) -> Result<(), Fault> {
        const DOING: &str = "writing what is known of records";
        // One call must not have two writes to one row.
        let mut last = HashMap::with_capacity(writes.len());
        for write in writes {
            let key = match &write {
                RecordWrite::Keep(key, _) | RecordWrite::Forget(key) => keys::record(tenant, sync, key),
            };
            last.insert(key, write);
        }
        let requests = last.into_iter().map(|((pk, sk), write)| match write {
            RecordWrite::Keep(key, known) => {
                let row = item((pk, sk), &RecordRow { key, known: attributes(known) })?;
                let put = PutRequest::builder().set_item(Some(row)).build().map_err(Fault::on(DOING))?;
                Ok(WriteRequest::builder().put_request(put).build())
            }
            RecordWrite::Forget(_) => {
                let key = Item::from([
                    ("pk".to_owned(), AttributeValue::S(pk)),
                    ("sk".to_owned(), AttributeValue::S(sk)),
                ]);
                let delete = DeleteRequest::builder().set_key(Some(key)).build().map_err(Fault::on(DOING))?;
                Ok(WriteRequest::builder().delete_request(delete).build())
            }
        });
        let requests: Vec<_> = requests.collect::<Result<_, Fault>>()?;
        stream::iter(requests.chunks(WRITES_AT_ONCE))
            .map(|batch| self.write_batch(batch.to_vec(), DOING))
            .buffer_unordered(CONCURRENT_WRITES)
            .try_collect()
            .await
    }

    async fn write_batch(&self, mut batch: Vec<WriteRequest>, doing: &'static str) -> Result<(), Fault> {
        for retry in 1..=RETRIES {
            let mut left = self.table.write_batch(batch, doing).await?;
            batch = left.remove(self.table.name()).unwrap_or_default();
            if batch.is_empty() {
                return Ok(());
            }
            after_conflict(retry).await;
        }
        Err(Fault::new(doing, "the table had no capacity for some rows"))
    }

    /// What is known of one record, read consistently.
    pub async fn one(
        &self,
        tenant: &TenantId,
        sync: SyncId,
        key: &str,
    ) -> Result<Option<KnownRecord>, Fault> {
        let item = self
            .table
            .get(keys::record(tenant, sync, key), true, "reading what is known of a record")
            .await?;
        Ok(item.map(read).transpose()?.map(|(_, known)| known))
    }

    /// Writes what is known of one record. Only for the holder of the lease of its connection, as all writes here.
    pub async fn write_one(&self, tenant: &TenantId, sync: SyncId, write: RecordWrite) -> Result<(), Fault> {
        const DOING: &str = "writing what is known of a record";
        match write {
            RecordWrite::Keep(key, known) => {
                let at = keys::record(tenant, sync, &key);
                let row = item(at, &RecordRow { key, known: attributes(known) })?;
                self.table.put(row).send().await.map_err(Fault::on(DOING))?;
            }
            RecordWrite::Forget(key) => {
                let delete = self.table.delete(keys::record(tenant, sync, &key));
                delete.send().await.map_err(Fault::on(DOING))?;
            }
        }
        Ok(())
    }

    /// Notes beside a known record that it may have been written, until what is known of it is written again.
    pub async fn attempt(&self, tenant: &TenantId, sync: SyncId, key: &str, mark: &str) -> Result<(), Fault> {
        let update = self
            .table
            .update(keys::record(tenant, sync, key))
            .update_expression("SET attempt = :mark")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":mark", AttributeValue::S(mark.to_owned()));
        update_if(update, "noting an attempt to write a record").await.map(|_| ())
    }

    /// The same as it was noted.
    pub async fn attempted(
        &self,
        tenant: &TenantId,
        sync: SyncId,
        key: &str,
    ) -> Result<Option<String>, Fault> {
        const DOING: &str = "reading the attempt to write a record";
        let item = self.table.get(keys::record(tenant, sync, key), true, DOING).await?;
        Ok(item.and_then(|item| item.get("attempt")?.as_s().ok().cloned()))
    }

    /// A page of the records that the full pass `pass` has not seen, behind `after`.
    pub async fn missing(
        &self,
        tenant: &TenantId,
        sync: SyncId,
        pass: u32,
        after: Option<&str>,
    ) -> Result<SweptPage, Fault> {
        const DOING: &str = "looking for records that were not seen";
        let first = after.map_or(keys::RECORDS.to_owned(), |sk| format!("{sk}\u{1}"));
        let response = self
            .table
            .between(keys::records(tenant, sync), first, format!("{}\u{10FFFF}", keys::RECORDS))
            .filter_expression("seen_in <> :pass OR excluded = :true")
            .expression_attribute_values(":true", AttributeValue::Bool(true))
            .expression_attribute_values(":pass", AttributeValue::N(pass.to_string()))
            .consistent_read(true)
            .limit(SWEPT_AT_ONCE)
            .send()
            .await
            .map_err(Fault::on(DOING))?;
        let next = response.last_evaluated_key.and_then(|key| key.get("sk")?.as_s().ok().cloned());
        let scanned: u64 = saturating(response.scanned_count);
        let items = response.items.unwrap_or_default().into_iter().map(read);
        let mut missing: Vec<(String, KnownRecord)> = items.collect::<Result<_, _>>()?;
        let excluded = missing.iter().filter(|(_, known)| known.excluded).count();
        missing.retain(|(_, known)| known.seen_in != pass);
        Ok(SweptPage { missing, scanned: scanned.saturating_sub(saturating(excluded)), next })
    }

    /// The known records whose keys begin with this one and are longer.
    pub async fn beginning_with(
        &self,
        tenant: &TenantId,
        sync: SyncId,
        key: &str,
    ) -> Result<Vec<(String, KnownRecord)>, Fault> {
        let (pk, sk) = keys::record(tenant, sync, key);
        let (mut found, mut from) = (Vec::new(), None);
        loop {
            let response = self
                .table
                .between(pk.clone(), format!("{sk}\u{1}"), format!("{sk}\u{10FFFF}"))
                .consistent_read(true)
                .set_exclusive_start_key(from)
                .send()
                .await
                .map_err(Fault::on("reading what belongs to a record"))?;
            for item in response.items.unwrap_or_default() {
                found.push(read(item)?);
            }
            from = response.last_evaluated_key;
            if from.is_none() {
                return Ok(found);
            }
        }
    }

    /// Forgets records of a sync that was deleted, some at a time; false once there are none.
    pub async fn forget_some(&self, tenant: &TenantId, sync: SyncId) -> Result<bool, Fault> {
        let page = self.missing(tenant, sync, NO_PASS, None).await?;
        let any = !page.missing.is_empty();
        let writes = page.missing.into_iter().map(|(key, _)| RecordWrite::Forget(key)).collect();
        self.write(tenant, sync, writes).await?;
        Ok(any)
    }
}

fn attributes(known: KnownRecord) -> RecordAttributes {
    RecordAttributes {
        hash: known.hash,
        version: known.version,
        excluded: known.excluded,
        kept: (!known.kept.is_null()).then(|| known.kept.to_string()),
        seen_in: known.seen_in,
    }
}

fn read(item: Item) -> Result<(String, KnownRecord), Fault> {
    const DOING: &str = "reading what is known of a record";
    let row: RecordRow = serde_dynamo::from_item(item).map_err(Fault::on(DOING))?;
    let kept =
        row.known.kept.map(|text| serde_json::from_str(&text).map_err(Fault::on(DOING))).transpose()?;
    let known = KnownRecord {
        hash: row.known.hash,
        version: row.known.version,
        excluded: row.known.excluded,
        kept: kept.unwrap_or_default(),
        seen_in: row.known.seen_in,
    };
    Ok((row.key, known))
}
