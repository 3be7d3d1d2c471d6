//! The entry of a connection: by it the connection's token is refreshed in time.

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{ConnectionId, TenantId, Timestamp};

use super::index::DueConnection;
use crate::{
    Fault,
    store::table::{
        Item, Table,
        attributes::{millis, number},
        keys, update_if,
    },
};

/// Entries of connections.
#[derive(Debug, Clone)]
pub struct ConnectionEntries {
    table: Table,
}

impl ConnectionEntries {
    pub(crate) fn new(table: Table) -> Self {
        Self { table }
    }

    /// Makes a connection due at `due`, whatever it was.
    ///
    /// An entry never expires: an outage that is longer than its life would end all refreshing. So it must be removed
    /// with its connection.
    pub async fn put(
        &self,
        tenant: &TenantId,
        connection: ConnectionId,
        due: Timestamp,
    ) -> Result<(), Fault> {
        let (pk, sk) = keys::connection_due(tenant, connection);
        let item = Item::from([
            ("pk".to_owned(), AttributeValue::S(pk)),
            ("sk".to_owned(), AttributeValue::S(sk)),
            ("due_pk".to_owned(), AttributeValue::S(keys::due_connection(connection, due))),
            ("due_at".to_owned(), number(due.millis())),
        ]);
        self.table.put(item).send().await.map_err(Fault::on("making a connection due"))?;
        Ok(())
    }

    /// Moves an entry ahead to `lease`, if it is still where it was found. False where it is not: it was put anew or
    /// removed, or another run has it.
    pub async fn take(&self, found: &DueConnection, lease: Timestamp) -> Result<bool, Fault> {
        let taken = self
            .table
            .update(keys::connection_due(&found.tenant, found.connection))
            .update_expression("SET due_pk = :pk, due_at = :due")
            .condition_expression("due_pk = :old_pk AND due_at = :old_due")
            .expression_attribute_values(
                ":pk",
                AttributeValue::S(keys::due_connection(found.connection, lease)),
            )
            .expression_attribute_values(":due", number(lease.millis()))
            .expression_attribute_values(":old_pk", AttributeValue::S(found.place.pk.clone()))
            .expression_attribute_values(":old_due", number(found.place.at.millis()));
        Ok(update_if(taken, "taking a due connection").await?.is_some())
    }

    /// Removes the entry of a connection that is not refreshed any more.
    pub async fn remove(&self, tenant: &TenantId, connection: ConnectionId) -> Result<(), Fault> {
        let delete = self.table.delete(keys::connection_due(tenant, connection));
        delete.send().await.map_err(Fault::on("removing the entry of a connection"))?;
        Ok(())
    }

    /// When a connection is due, read consistently; `None` where it has no entry.
    pub async fn get(&self, tenant: &TenantId, connection: ConnectionId) -> Result<Option<Timestamp>, Fault> {
        let key = keys::connection_due(tenant, connection);
        let item = self.table.get(key, true, "reading the entry of a connection").await?;
        item.as_ref().map(|item| millis(item, "due_at")).transpose()
    }
}
