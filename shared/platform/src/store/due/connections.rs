//! The entry of a connection: by it the connection's token is refreshed in time.

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{ConnectionId, TenantId, Timestamp, connection::notice::GrantNotice};
use sha2::{Digest, Sha256};

use super::{
    entry::{entry, take},
    index::DueConnection,
};
use crate::{
    Fault,
    store::table::{Table, attributes::millis, keys},
};

/// The attribute of a kept notice.
const NOTICE: &str = "notice";

/// The id under which a notice is kept.
fn notice_id(notice: &str, at: Timestamp) -> ConnectionId {
    let mut id = [0; 10];
    id.copy_from_slice(&Sha256::digest(notice)[..10]);
    ConnectionId::new(at, id)
}

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
        let key = keys::connection_due(tenant, connection);
        let item = entry(key, keys::due_connection(connection, due), due);
        self.table.put(item).send().await.map_err(Fault::on("making a connection due"))?;
        Ok(())
    }

    /// Keeps a notice about a grant until it was acted on: an entry that is due now, under an id that no connection has.
    /// The same notice has the same id, so a repeat keeps it once.
    ///
    /// It is stored and not sent, because a message is lost with its queue's patience, and an entry is not.
    pub async fn put_notice(
        &self,
        owner: &TenantId,
        notice: &GrantNotice,
        now: Timestamp,
    ) -> Result<(), Fault> {
        const DOING: &str = "keeping a notice about a grant";
        let notice_text = serde_json::to_string(notice).map_err(Fault::on(DOING))?;
        let id = notice_id(&notice_text, notice.at);
        let mut item = entry(keys::connection_due(owner, id), keys::due_connection(id, now), now);
        item.insert(NOTICE.to_owned(), AttributeValue::S(notice_text));
        self.table.put(item).send().await.map_err(Fault::on(DOING))?;
        Ok(())
    }

    /// The notice that an entry keeps; nothing where it is the entry of a connection, or there is none.
    pub async fn notice(&self, owner: &TenantId, id: ConnectionId) -> Result<Option<GrantNotice>, Fault> {
        const DOING: &str = "reading a notice about a grant";
        let item = self.table.get(keys::connection_due(owner, id), true, DOING).await?;
        let text = item.as_ref().and_then(|item| item.get(NOTICE)).and_then(|text| text.as_s().ok());
        text.map(|text| serde_json::from_str(text).map_err(Fault::on(DOING))).transpose()
    }

    /// Moves an entry ahead to `lease`, if it is still where it was found. False where it is not: it was put anew or
    /// removed, or another run has it.
    pub async fn take(&self, found: &DueConnection, lease: Timestamp) -> Result<bool, Fault> {
        let key = keys::connection_due(&found.tenant, found.connection);
        let ahead = (keys::due_connection(found.connection, lease), lease);
        take(&self.table, key, &found.place, ahead, "taking a due connection").await
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
