//! The circuits of identity providers: how often one client failed there in a row, and when it is tried again.

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use domain::{CredentialId, TenantId, Timestamp, connection::IdpName};

use crate::{
    Fault,
    aws::sdk::DynamoDb,
    store::table::{
        Table,
        attributes::{integer, number},
        keys::connect,
        update_if,
    },
};

/// How long failures in a row are remembered, in seconds.
const KEPT_SECS: i64 = 24 * 3600;

/// One client at a provider.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CircuitKey {
    /// Whose provider it is.
    pub owner: TenantId,
    /// The provider.
    pub idp: IdpName,
    /// The credentials.
    pub credential: CredentialId,
}

/// The circuits.
#[derive(Debug, Clone)]
pub struct IdpCircuits {
    table: Table,
}

impl IdpCircuits {
    /// The circuits in this table.
    #[must_use]
    pub fn new(dynamodb: DynamoDb, table: &str) -> Self {
        Self { table: Table::new(dynamodb, table) }
    }

    /// How often a client has failed in a row.
    pub async fn failures(&self, key: &CircuitKey) -> Result<u64, Fault> {
        let row = connect::idp_circuit(&key.owner, &key.idp, key.credential);
        let Some(item) = self.table.get(row, true, "reading a circuit").await? else { return Ok(0) };
        integer(&item, "failures")
    }

    /// Counts a failure; how many there are in a row then.
    pub async fn add(&self, key: &CircuitKey, now: Timestamp) -> Result<u64, Fault> {
        let update = self
            .table
            .update(connect::idp_circuit(&key.owner, &key.idp, key.credential))
            .update_expression("ADD failures :one SET expires_at = :expires")
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":expires", number(now.secs() + KEPT_SECS))
            .return_values(ReturnValue::AllNew);
        let added = update_if(update, "counting a failure of an identity provider").await?;
        added.and_then(|response| response.attributes).map_or(Ok(0), |item| integer(&item, "failures"))
    }

    /// Takes the permit for the next probe, which then follows no earlier than at `next`. False where another request
    /// has it.
    pub async fn take_probe(&self, key: &CircuitKey, next: Timestamp, now: Timestamp) -> Result<bool, Fault> {
        let update = self
            .table
            .update(connect::idp_circuit(&key.owner, &key.idp, key.credential))
            .update_expression("SET next_probe_at = :next")
            .condition_expression("attribute_not_exists(next_probe_at) OR next_probe_at <= :now")
            .expression_attribute_values(":next", number(next.millis()))
            .expression_attribute_values(":now", AttributeValue::N(now.millis().to_string()));
        Ok(update_if(update, "taking a probe of an identity provider").await?.is_some())
    }

    /// Forgets the failures of a client, since a request succeeded.
    pub async fn close(&self, key: &CircuitKey) -> Result<(), Fault> {
        let delete =
            self.table.delete(connect::idp_circuit(&key.owner, &key.idp, key.credential)).send().await;
        delete.map(|_| ()).map_err(Fault::on("closing a circuit"))
    }
}
