//! Rows that are a struct each, in and out.

use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};
use serde::{Serialize, de::DeserializeOwned};

use super::{Item, Table, keys::Key};
use crate::Fault;

impl Table {
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

    /// A put of a row that must not exist yet, as a part of a transaction.
    pub(crate) fn put_new<T: Serialize>(&self, key: Key, row: &T) -> Result<TransactWriteItem, Fault> {
        let put = Put::builder()
            .table_name(self.name())
            .set_item(Some(item(key, row)?))
            .condition_expression("attribute_not_exists(pk)")
            .build()
            .map_err(Fault::on("writing a row"))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }
}

/// A row with its key.
pub(crate) fn item<T: Serialize>((pk, sk): Key, row: &T) -> Result<Item, Fault> {
    let mut item: Item = serde_dynamo::to_item(row).map_err(Fault::on("writing a row"))?;
    item.insert("pk".to_owned(), AttributeValue::S(pk));
    item.insert("sk".to_owned(), AttributeValue::S(sk));
    Ok(item)
}
