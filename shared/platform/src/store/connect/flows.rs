//! Flows: one try of a person at a provider each, found by its `state`.
//!
//! A flow is new, then taken, then done. Only the request that takes it redeems the code: redeeming a code twice ends
//! the grant (RFC 6749, section 4.1.2).

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{
    Timestamp,
    connection::session::{FLOW_KEPT_SECS, FLOW_SECS, Flow, Outcome},
};
use serde::{Deserialize, Serialize};

use crate::{
    Fault,
    aws::sdk::DynamoDb,
    store::table::{Table, attributes::number, keys::connect, put_if, rows, update_if},
};

#[derive(Serialize, Deserialize)]
struct FlowRow {
    flow: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    taken_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    expires_at: i64,
}

/// A flow, and how far it has got.
#[derive(Debug, Clone)]
pub struct FoundFlow {
    /// The flow.
    pub flow: Flow,
    /// When a request took it.
    pub taken_at: Option<Timestamp>,
    /// What it led to.
    pub outcome: Option<Outcome>,
}

impl FoundFlow {
    /// Whether the person took too long.
    #[must_use]
    pub fn has_expired(&self, now: Timestamp) -> bool {
        now.secs() >= self.flow.created_at.secs() + FLOW_SECS
    }
}

/// Flows.
#[derive(Debug, Clone)]
pub struct Flows {
    table: Table,
}

impl Flows {
    /// The flows in this table.
    #[must_use]
    pub fn new(dynamodb: DynamoDb, table: &str) -> Self {
        Self { table: Table::new(dynamodb, table) }
    }

    /// Makes a flow whose state has this hash.
    pub async fn create(&self, state_hash: &str, flow: &Flow) -> Result<(), Fault> {
        let text = serde_json::to_string(flow).map_err(Fault::on("writing a flow"))?;
        let expires_at = flow.created_at.secs() + FLOW_SECS + FLOW_KEPT_SECS;
        let row = FlowRow { flow: text, taken_at: None, outcome: None, expires_at };
        let put = self.table.put(rows::item(connect::flow(state_hash), &row)?);
        let made = put_if(put.condition_expression("attribute_not_exists(pk)"), "writing a flow").await?;
        if made { Ok(()) } else { Err(Fault::new("writing a flow", "its state exists")) }
    }

    /// A flow, read consistently.
    pub async fn get(&self, state_hash: &str) -> Result<Option<FoundFlow>, Fault> {
        let Some(row) = self.table.get_row::<FlowRow>(connect::flow(state_hash), true).await? else {
            return Ok(None);
        };
        let flow = serde_json::from_str(&row.flow).map_err(Fault::on("reading a flow"))?;
        Ok(Some(FoundFlow { flow, taken_at: row.taken_at.map(Timestamp::from_millis), outcome: row.outcome }))
    }

    /// Takes a flow. False where another request has.
    pub async fn take(&self, state_hash: &str, now: Timestamp) -> Result<bool, Fault> {
        let update = self
            .table
            .update(connect::flow(state_hash))
            .update_expression("SET taken_at = :now")
            .condition_expression("attribute_exists(pk) AND attribute_not_exists(taken_at)")
            .expression_attribute_values(":now", number(now.millis()));
        Ok(update_if(update, "taking a flow").await?.is_some())
    }

    /// Notes what a flow that was taken led to.
    pub async fn finish(&self, state_hash: &str, outcome: Outcome) -> Result<(), Fault> {
        let update = self
            .table
            .update(connect::flow(state_hash))
            .update_expression("SET outcome = :outcome")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":outcome", AttributeValue::S(outcome.as_str().to_owned()));
        update_if(update, "finishing a flow").await.map(|_| ())
    }
}
