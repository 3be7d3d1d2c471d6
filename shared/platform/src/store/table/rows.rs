//! Rows that are a struct each, in and out.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, WriteRequest};
use domain::saturating;
use serde::{Serialize, de::DeserializeOwned};

use super::{Item, Table, keys::Key, waits::after_conflict};
use crate::Fault;

/// Rows of a partition, from one sort key to another, both inclusive.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) pk: String,
    pub(crate) first: String,
    pub(crate) last: String,
}

/// Keys that one read may have.
/// Source: <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html>
const KEYS_AT_ONCE: usize = 100;

/// Retries of what a read of many rows has left out.
const GET_RETRIES: u32 = 10;

/// The order in which rows are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// By ids that begin with a time, backwards.
    NewestFirst,
    /// By name.
    ByName,
}

impl Table {
    /// A page of a list, read consistently: what `read` makes of up to `limit` rows. It makes nothing of a row that is not
    /// in the list, such as the one behind which the page begins.
    pub(crate) async fn page<T>(
        &self,
        span: Span,
        order: Order,
        limit: usize,
        doing: &'static str,
        read: impl Fn(Item) -> Result<Option<T>, Fault>,
    ) -> Result<Vec<T>, Fault> {
        let Span { pk, first, last } = span;
        let mut found = Vec::new();
        let mut from = None;
        loop {
            let response = self
                .between(pk.clone(), first.clone(), last.clone())
                .scan_index_forward(order == Order::ByName)
                .consistent_read(true)
                // One more, since the bound itself is among them.
                .limit(saturating::<i32>(limit).saturating_add(1))
                .set_exclusive_start_key(from)
                .send()
                .await
                .map_err(Fault::on(doing))?;
            for item in response.items.unwrap_or_default() {
                found.extend(read(item)?);
            }
            from = response.last_evaluated_key;
            if from.is_none() || found.len() >= limit {
                found.truncate(limit);
                return Ok(found);
            }
        }
    }

    /// The rows under these keys, in any order; one that does not exist is left out.
    pub(crate) async fn get_many(&self, keys: Vec<Key>, doing: &'static str) -> Result<Vec<Item>, Fault> {
        let mut found = Vec::new();
        for some in keys.chunks(KEYS_AT_ONCE) {
            let keys = some.iter().map(|(pk, sk)| {
                Item::from([
                    ("pk".to_owned(), AttributeValue::S(pk.clone())),
                    ("sk".to_owned(), AttributeValue::S(sk.clone())),
                ])
            });
            let request = KeysAndAttributes::builder().set_keys(Some(keys.collect())).build();
            let mut requests = vec![(self.name().to_owned(), request.map_err(Fault::on(doing))?)];
            // What a response has no room for, or was throttled, is asked for again.
            for retry in 0.. {
                if requests.is_empty() {
                    break;
                }
                if retry > 0 {
                    after_conflict(retry).await;
                }
                if retry > GET_RETRIES {
                    return Err(Fault::new(doing, "some rows were not read"));
                }
                let batch = self.dynamodb.client.batch_get_item();
                let batch = batch.set_request_items(Some(requests.into_iter().collect()));
                let response = batch.send().await.map_err(Fault::on(doing))?;
                let items = response.responses.unwrap_or_default();
                found.extend(items.into_values().flatten());
                requests = response.unprocessed_keys.unwrap_or_default().into_iter().collect();
            }
        }
        Ok(found)
    }

    /// Makes writes of one call; returns what the table had no capacity for.
    pub(crate) async fn write_batch(
        &self,
        writes: Vec<WriteRequest>,
        doing: &'static str,
    ) -> Result<HashMap<String, Vec<WriteRequest>>, Fault> {
        let batch = self.dynamodb.client.batch_write_item().request_items(self.name(), writes);
        let response = batch.send().await.map_err(Fault::on(doing))?;
        Ok(response.unprocessed_items.unwrap_or_default())
    }

    /// The row under this key, as a struct.
    pub(crate) async fn get_row<T: DeserializeOwned>(
        &self,
        key: Key,
        consistent: bool,
    ) -> Result<Option<T>, Fault> {
        let doing = "reading a row";
        let item = self.get(key, consistent, doing).await?;
        item.map(serde_dynamo::from_item).transpose().map_err(Fault::on(doing))
    }
}

/// A row with its key.
pub(crate) fn item<T: Serialize>((pk, sk): Key, row: &T) -> Result<Item, Fault> {
    let mut item: Item = serde_dynamo::to_item(row).map_err(Fault::on("writing a row"))?;
    item.insert("pk".to_owned(), AttributeValue::S(pk));
    item.insert("sk".to_owned(), AttributeValue::S(sk));
    Ok(item)
}
