//! Which connections an account has, and how many a tenant has: these rows change together, in the transaction that makes
//! a connection or takes it off its account.

use std::{collections::BTreeMap, time::Duration};

use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};
use domain::{
    ConnectionId, TenantId,
    connection::{Connection, IdpName},
    saturating,
};
use serde::{Deserialize, Serialize};

use super::{CHANGE_TRIES, Connections, StoredConnection};
use crate::{
    Fault,
    runtime::clock,
    store::table::{
        Item,
        keys::{Key, connect},
        transactions::{first_condition_failed, has_reason},
    },
};

/// The connections of one account, by the CRM's person.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountLinks {
    /// The connections.
    #[serde(default)]
    pub links: BTreeMap<String, ConnectionId>,
    #[serde(default)]
    revision: u64,
}

impl AccountLinks {
    /// The connections and their persons.
    #[must_use]
    pub fn list(&self) -> Vec<(ConnectionId, String)> {
        self.links.iter().map(|(user, id)| (*id, user.clone())).collect()
    }
}

/// How many connections of a tenant have not ended. Without a row they are counted by the rows of their accounts, as of a
/// tenant that connected before there was this count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct ConnectionCount {
    connections: u32,
    revision: u64,
}

/// The result of making a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateConnectionOutcome {
    /// It is made.
    New,
    /// The account's connections have changed since they were read; nothing was written.
    Changed,
    /// The tenant has as many as it may have; nothing was written.
    LimitReached,
}

impl Connections {
    /// The connections of an account at a provider.
    pub async fn of_account(
        &self,
        tenant: &TenantId,
        idp: &IdpName,
        sub: &str,
    ) -> Result<AccountLinks, Fault> {
        Ok(self.table.get_row(connect::account(tenant, idp, sub), true).await?.unwrap_or_default())
    }

    /// Whether a tenant has as many connections as it may have.
    pub async fn is_full(&self, tenant: &TenantId, limit: Option<u32>) -> Result<bool, Fault> {
        let Some(limit) = limit else { return Ok(false) };
        Ok(self.count(tenant).await?.connections >= limit)
    }

    /// Makes a connection of an account whose connections were `links`, if the tenant has fewer than `limit`.
    pub async fn create(
        &self,
        stored: &StoredConnection,
        links: &AccountLinks,
        limit: Option<u32>,
    ) -> Result<CreateConnectionOutcome, Fault> {
        const DOING: &str = "writing a connection";
        let connection = &stored.connection;
        let mut after = links.clone();
        after.links.insert(connection.user_id.clone(), connection.id);
        let put = Put::builder()
            .table_name(self.table.name())
            .set_item(Some(stored.item()?))
            .condition_expression("attribute_not_exists(pk)")
            .build()
            .map_err(Fault::on(DOING))?;
        for _ in 0..CHANGE_TRIES {
            let count = self.count(&connection.tenant_id).await?;
            if limit.is_some_and(|limit| count.connections >= limit) {
                return Ok(CreateConnectionOutcome::LimitReached);
            }
            let writes = vec![
                self.links_write(connection, links, after.clone())?,
                self.count_write(&connection.tenant_id, count, count.connections.saturating_add(1))?,
                TransactWriteItem::builder().put(put.clone()).build(),
            ];
            match self.table.transact(writes).await {
                Ok(()) => return Ok(CreateConnectionOutcome::New),
                Err(error) if first_condition_failed(&error) => return Ok(CreateConnectionOutcome::Changed),
                Err(error) if has_reason(&error, "ConditionalCheckFailed") => pause().await,
                Err(error) => return Err(Fault::on(DOING)(error)),
            }
        }
        Err(Fault::new(DOING, "others connect accounts of the tenant at the same time"))
    }

    /// Takes an account's connection off the list of its account, so that it can be connected again.
    pub async fn unlink(&self, connection: &Connection) -> Result<(), Fault> {
        const DOING: &str = "unlinking a connection";
        let Connection { tenant_id, idp, account, .. } = connection;
        for _ in 0..CHANGE_TRIES {
            let links = self.of_account(tenant_id, idp, &account.sub).await?;
            let mut after = links.clone();
            after.links.retain(|_, id| *id != connection.id);
            if after == links {
                return Ok(());
            }
            let count = self.count(tenant_id).await?;
            let writes = vec![
                self.links_write(connection, &links, after)?,
                self.count_write(tenant_id, count, count.connections.saturating_sub(1))?,
            ];
            match self.table.transact(writes).await {
                Ok(()) => return Ok(()),
                Err(error) if has_reason(&error, "ConditionalCheckFailed") => pause().await,
                Err(error) => return Err(Fault::on(DOING)(error)),
            }
        }
        Err(Fault::new(DOING, "others change the connections of the tenant at the same time"))
    }

    /// The count, and of which revision it is.
    async fn count(&self, tenant: &TenantId) -> Result<ConnectionCount, Fault> {
        const DOING: &str = "counting connections";
        if let Some(row) = self.table.get_row(connect::connection_count(tenant), true).await? {
            return Ok(row);
        }
        // The first writer makes the row, so none of these can change until then without that being seen.
        let rows = self.table.rows_under(tenant.to_string(), connect::LINKED_ACCOUNTS, DOING).await?;
        let links = |row: Item| {
            Ok(serde_dynamo::from_item::<_, AccountLinks>(row).map_err(Fault::on(DOING))?.links.len())
        };
        let counts: Vec<usize> = rows.into_iter().map(links).collect::<Result<_, Fault>>()?;
        Ok(ConnectionCount { connections: saturating(counts.into_iter().sum::<usize>()), revision: 0 })
    }

    fn count_write(
        &self,
        tenant: &TenantId,
        before: ConnectionCount,
        connections: u32,
    ) -> Result<TransactWriteItem, Fault> {
        let after = ConnectionCount { connections, revision: before.revision + 1 };
        self.write_revision(connect::connection_count(tenant), &after, before.revision)
    }

    fn links_write(
        &self,
        connection: &Connection,
        before: &AccountLinks,
        after: AccountLinks,
    ) -> Result<TransactWriteItem, Fault> {
        let after = AccountLinks { revision: before.revision + 1, ..after };
        let key = connect::account(&connection.tenant_id, &connection.idp, &connection.account.sub);
        self.write_revision(key, &after, before.revision)
    }

    /// The write of a row that must be of the revision that was read, or not exist.
    fn write_revision<T: Serialize>(
        &self,
        key: Key,
        row: &T,
        revision: u64,
    ) -> Result<TransactWriteItem, Fault> {
        let put = self
            .table
            .replacement(key, row)?
            .condition_expression("attribute_not_exists(pk) OR revision = :revision")
            .expression_attribute_values(":revision", AttributeValue::N(revision.to_string()))
            .build()
            .map_err(Fault::on("writing the connections of an account"))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }
}

/// A random wait spreads concurrent writers.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(60).mul_f64(clock::jitter())).await;
}
