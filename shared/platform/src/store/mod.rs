//! The tables: `registry` (who and where), `events` (what happened and how it went), `leases` (what
//! saves work) and `audit` (who changed what).

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client,
    operation::{
        put_item::{PutItemError, builders::PutItemFluentBuilder},
        query::builders::QueryFluentBuilder,
        update_item::{UpdateItemError, UpdateItemOutput, builders::UpdateItemFluentBuilder},
    },
    types::AttributeValue,
};

use self::table::keys;
use crate::Fault;

pub mod audit;
pub mod due;
pub mod events;
pub mod registry;
pub mod stats;
pub mod table;

/// One row, as a table holds it.
pub type Item = HashMap<String, AttributeValue>;

/// One table, and the calls that both stores make.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    client: Client,
    name: String,
}

impl Table {
    /// The row under this key.
    async fn get(
        &self,
        (pk, sk): keys::Key,
        consistent: bool,
        doing: &'static str,
    ) -> Result<Option<Item>, Fault> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.name)
            .key("pk", AttributeValue::S(pk))
            .key("sk", AttributeValue::S(sk))
            .consistent_read(consistent)
            .send()
            .await
            .map_err(Fault::on(doing))?;
        Ok(answer.item)
    }

    /// All rows of a partition whose sort keys begin with `prefix`, in order, read consistently.
    async fn rows_under(&self, pk: String, prefix: &str, doing: &'static str) -> Result<Vec<Item>, Fault> {
        // `~` sorts behind everything that keys are spelled with.
        self.rows_between(pk, prefix.to_owned(), format!("{prefix}~"), doing).await
    }

    /// All rows of a partition from one sort key to another, in order, read consistently.
    async fn rows_between(
        &self,
        pk: String,
        first: String,
        last: String,
        doing: &'static str,
    ) -> Result<Vec<Item>, Fault> {
        let mut rows = Vec::new();
        let mut from = None;
        loop {
            let answer = self
                .between(pk.clone(), first.clone(), last.clone())
                .consistent_read(true)
                .set_exclusive_start_key(from)
                .send()
                .await
                .map_err(Fault::on(doing))?;
            rows.extend(answer.items.unwrap_or_default());
            from = answer.last_evaluated_key;
            if from.is_none() {
                return Ok(rows);
            }
        }
    }

    /// A query for the rows of a partition from one sort key to another, to which the caller adds how
    /// it reads them.
    fn between(&self, pk: String, first: String, last: String) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :pk AND sk BETWEEN :first AND :last")
            .expression_attribute_values(":pk", AttributeValue::S(pk))
            .expression_attribute_values(":first", AttributeValue::S(first))
            .expression_attribute_values(":last", AttributeValue::S(last))
    }

    /// An update of the row under this key, to which the caller adds what it does.
    fn update(&self, (pk, sk): keys::Key) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.name)
            .key("pk", AttributeValue::S(pk))
            .key("sk", AttributeValue::S(sk))
    }

    /// A put of `item`, to which the caller adds its condition.
    fn put(&self, item: Item) -> PutItemFluentBuilder {
        self.client.put_item().table_name(&self.name).set_item(Some(item))
    }
}

/// Makes an update, and answers what was asked to be returned; `None` where its condition did not
/// hold.
async fn update_if(
    update: UpdateItemFluentBuilder,
    doing: &'static str,
) -> Result<Option<UpdateItemOutput>, Fault> {
    match update.send().await {
        Ok(answer) => Ok(Some(answer)),
        Err(error)
            if error
                .as_service_error()
                .is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
        {
            Ok(None)
        }
        Err(error) => Err(Fault::on(doing)(error)),
    }
}

/// Makes a put; false where its condition did not hold.
async fn put_if(put: PutItemFluentBuilder, doing: &'static str) -> Result<bool, Fault> {
    match put.send().await {
        Ok(_) => Ok(true),
        Err(error)
            if error.as_service_error().is_some_and(PutItemError::is_conditional_check_failed_exception) =>
        {
            Ok(false)
        }
        Err(error) => Err(Fault::on(doing)(error)),
    }
}
