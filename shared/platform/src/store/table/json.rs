//! The two calls of DynamoDB that there are for each event and each batch of messages.
//!
//! Sources: <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_PutItem.html>,
//! <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchExecuteStatement.html>.

mod values;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Deserialize, Serialize};

use self::values::{ReceivedItem, SentItem, SentValue};
use super::Item;
use crate::aws::json::{CallError, JsonClient, Operation};

/// Both have a condition, so one that is repeated finds what it has made.
const PUT_ITEM: Operation = Operation { target: "DynamoDB_20120810.PutItem", repeatable: true };
const BATCH_EXECUTE_STATEMENT: Operation =
    Operation { target: "DynamoDB_20120810.BatchExecuteStatement", repeatable: true };

/// Has the response say how many units the call took.
const TOTAL: &str = "TOTAL";

/// Has the response hold the item of a condition that did not hold.
const ALL_OLD: &str = "ALL_OLD";

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PutItemRequest<'a> {
    table_name: &'a str,
    item: SentItem<'a>,
    condition_expression: &'static str,
    return_values_on_condition_check_failure: &'static str,
    return_consumed_capacity: &'static str,
}

#[derive(Deserialize)]
struct EmptyResponse {}

#[derive(Deserialize)]
struct ConditionFailure {
    #[serde(rename = "Item")]
    item: Option<ReceivedItem>,
}

/// Puts an item unless there is one under its key. `Err` has the existing item, where the response has it.
pub(super) async fn put_new(
    client: &JsonClient,
    table: &str,
    item: &Item,
) -> Result<Result<(), Option<Item>>, CallError> {
    let request = PutItemRequest {
        table_name: table,
        item: SentItem(item),
        condition_expression: "attribute_not_exists(pk)",
        return_values_on_condition_check_failure: ALL_OLD,
        return_consumed_capacity: TOTAL,
    };
    match client.call::<EmptyResponse>(PUT_ITEM, &request).await {
        Ok(EmptyResponse {}) => Ok(Ok(())),
        Err(error) => match error.with_code("ConditionalCheckFailedException") {
            Some(response) => {
                let failure = serde_json::from_slice::<ConditionFailure>(&response.body).ok();
                Ok(Err(failure.and_then(|failure| failure.item).map(|item| item.0)))
            }
            None => Err(error),
        },
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct BatchRequest<'a> {
    statements: Vec<StatementRequest<'a>>,
    return_consumed_capacity: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct StatementRequest<'a> {
    statement: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parameters: Vec<SentValue<'a>>,
    return_values_on_condition_check_failure: &'static str,
}

#[derive(Deserialize)]
struct BatchResponse {
    #[serde(rename = "Responses")]
    responses: Option<Vec<StatementResponse>>,
}

#[derive(Deserialize)]
struct StatementResponse {
    #[serde(rename = "Error")]
    error: Option<StatementError>,
}

/// Why one statement of a call was not carried out.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct StatementError {
    /// A code of its own, which lacks the `Exception` of a call's.
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
    item: Option<ReceivedItem>,
}

impl StatementError {
    /// The item whose condition did not hold, where the response has it.
    pub(super) fn into_item(self) -> Option<Item> {
        self.item.map(|item| item.0)
    }
}

/// Carries out statements, each a text and its parameters; for each, why it was not carried out.
pub(super) async fn execute<'a>(
    client: &JsonClient,
    statements: impl Iterator<Item = (&'a str, &'a [AttributeValue])>,
) -> Result<Vec<Option<StatementError>>, CallError> {
    let statements = statements.map(|(statement, parameters)| StatementRequest {
        statement,
        parameters: parameters.iter().map(SentValue).collect(),
        return_values_on_condition_check_failure: ALL_OLD,
    });
    let request = BatchRequest { statements: statements.collect(), return_consumed_capacity: TOTAL };
    let response: BatchResponse = client.call(BATCH_EXECUTE_STATEMENT, &request).await?;
    Ok(response.responses.unwrap_or_default().into_iter().map(|response| response.error).collect())
}
