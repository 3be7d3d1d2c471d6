//! How rows are read and written: the table itself, the spelling of keys and attributes, statements,
//! and transactions. What a row means belongs to the subject's own file, outside this folder.

use std::{collections::HashMap, sync::Arc};

use aws_sdk_dynamodb::{
    operation::{
        delete_item::{DeleteItemError, builders::DeleteItemFluentBuilder},
        put_item::{PutItemError, builders::PutItemFluentBuilder},
        query::builders::QueryFluentBuilder,
        update_item::{UpdateItemError, UpdateItemOutput, builders::UpdateItemFluentBuilder},
    },
    types::AttributeValue,
};

use self::{
    statements::StatementOutcome,
    waits::{CONFLICT_RETRIES, after_conflict},
};
use crate::{Fault, aws::sdk::DynamoDb};

pub(crate) mod attributes;
mod json;
pub mod keys;
pub(crate) mod rows;
pub(crate) mod statements;
pub(crate) mod transactions;
pub(crate) mod waits;

/// One row, as a table holds it.
pub type Item = HashMap<String, AttributeValue>;

/// A table, and the calls that several subjects make. Its clones share clients.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    dynamodb: DynamoDb,
    name: Arc<str>,
}

impl Table {
    /// The table of this name.
    pub(crate) fn new(dynamodb: DynamoDb, name: &str) -> Self {
        Self { dynamodb, name: name.into() }
    }

    /// What statements and transactions call it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The row under this key.
    pub(crate) async fn get(
        &self,
        (pk, sk): keys::Key,
        consistent: bool,
        doing: &'static str,
    ) -> Result<Option<Item>, Fault> {
        let response = self
            .dynamodb
            .client
            .get_item()
            .table_name(self.name())
            .key("pk", AttributeValue::S(pk))
            .key("sk", AttributeValue::S(sk))
            .consistent_read(consistent)
            .send()
            .await
            .map_err(Fault::on(doing))?;
        Ok(response.item)
    }

    /// All rows of a partition whose sort keys begin with `prefix`, in order, read consistently.
    pub(crate) async fn rows_under(
        &self,
        pk: String,
        prefix: &str,
        doing: &'static str,
    ) -> Result<Vec<Item>, Fault> {
        // `~` sorts behind everything that keys are spelled with.
        self.rows_between(pk, prefix.to_owned(), format!("{prefix}~"), doing).await
    }

    /// All rows of a partition from one sort key to another, in order, read consistently.
    pub(crate) async fn rows_between(
        &self,
        pk: String,
        first: String,
        last: String,
        doing: &'static str,
    ) -> Result<Vec<Item>, Fault> {
        let mut rows = Vec::new();
        let mut from = None;
        loop {
            let response = self
                .between(pk.clone(), first.clone(), last.clone())
                .consistent_read(true)
                .set_exclusive_start_key(from)
                .send()
                .await
                .map_err(Fault::on(doing))?;
            rows.extend(response.items.unwrap_or_default());
            from = response.last_evaluated_key;
            if from.is_none() {
                return Ok(rows);
            }
        }
    }

    /// A query for the rows of a partition from one sort key to another, to which the caller adds how
    /// it reads them.
    pub(crate) fn between(&self, pk: String, first: String, last: String) -> QueryFluentBuilder {
        self.query()
            .key_condition_expression("pk = :pk AND sk BETWEEN :first AND :last")
            .expression_attribute_values(":pk", AttributeValue::S(pk))
            .expression_attribute_values(":first", AttributeValue::S(first))
            .expression_attribute_values(":last", AttributeValue::S(last))
    }

    /// A query, to which the caller adds all but the table.
    pub(crate) fn query(&self) -> QueryFluentBuilder {
        self.dynamodb.client.query().table_name(self.name())
    }

    /// A deletion of the row under this key, to which the caller adds its condition.
    pub(crate) fn delete(&self, (pk, sk): keys::Key) -> DeleteItemFluentBuilder {
        self.dynamodb
            .client
            .delete_item()
            .table_name(self.name())
            .key("pk", AttributeValue::S(pk))
            .key("sk", AttributeValue::S(sk))
    }

    /// An update of the row under this key, to which the caller adds what it does.
    pub(crate) fn update(&self, (pk, sk): keys::Key) -> UpdateItemFluentBuilder {
        self.dynamodb
            .client
            .update_item()
            .table_name(self.name())
            .key("pk", AttributeValue::S(pk))
            .key("sk", AttributeValue::S(sk))
    }

    /// Puts an item, unless there is one under its key.
    pub(crate) async fn insert(&self, item: &Item, doing: &'static str) -> Result<StatementOutcome, Fault> {
        match json::put_new(&self.dynamodb.json, self.name(), item).await {
            Ok(Ok(())) => Ok(StatementOutcome::Applied),
            Ok(Err(existing)) => Ok(StatementOutcome::ConditionFailed(existing)),
            Err(error) => Err(Fault::on(doing)(error)),
        }
    }

    /// A put of `item`, to which the caller adds its condition.
    pub(crate) fn put(&self, item: Item) -> PutItemFluentBuilder {
        self.dynamodb.client.put_item().table_name(self.name()).set_item(Some(item))
    }
}

/// Makes an update and returns its response; `None` where its condition did not hold. One that conflicts with a
/// transaction on its row is retried here, since the SDK does not retry it.
pub(crate) async fn update_if(
    update: UpdateItemFluentBuilder,
    doing: &'static str,
) -> Result<Option<UpdateItemOutput>, Fault> {
    let mut retries = 0..CONFLICT_RETRIES;
    loop {
        let error = match update.clone().send().await {
            Ok(response) => return Ok(Some(response)),
            Err(error) => error,
        };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(_)) => return Ok(None),
            Some(UpdateItemError::TransactionConflictException(_)) => match retries.next() {
                Some(retry) => after_conflict(retry).await,
                None => return Err(Fault::on(doing)(error)),
            },
            _ => return Err(Fault::on(doing)(error)),
        }
    }
}

/// Makes a put; false where its condition did not hold.
pub(crate) async fn put_if(put: PutItemFluentBuilder, doing: &'static str) -> Result<bool, Fault> {
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

/// Makes a deletion; false where its condition did not hold.
pub(crate) async fn delete_if(delete: DeleteItemFluentBuilder, doing: &'static str) -> Result<bool, Fault> {
    match delete.send().await {
        Ok(_) => Ok(true),
        Err(error)
            if error
                .as_service_error()
                .is_some_and(DeleteItemError::is_conditional_check_failed_exception) =>
        {
            Ok(false)
        }
        Err(error) => Err(Fault::on(doing)(error)),
    }
}
