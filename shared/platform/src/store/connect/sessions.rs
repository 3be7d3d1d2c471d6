//! Connect sessions, and what finds one by its link.

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{
    ConnectSessionId, TenantId,
    connection::session::{ConnectSession, SESSION_KEPT_SECS},
};
use serde::{Deserialize, Serialize};

use crate::{
    Fault,
    aws::sdk::DynamoDb,
    store::table::{
        Table,
        keys::{Key, connect},
        put_if, rows,
    },
};

/// How often a change is tried while others change the session, too.
const CHANGE_TRIES: u32 = 5;

/// A session as JSON, since `expires_at` is the table's own attribute.
#[derive(Serialize, Deserialize)]
struct SessionRow {
    session: String,
    revision: u64,
    expires_at: i64,
}

/// What finds a session by its link.
#[derive(Serialize, Deserialize)]
struct LinkRow {
    tenant_id: TenantId,
    session_id: ConnectSessionId,
    expires_at: i64,
}

/// Connect sessions.
#[derive(Debug, Clone)]
pub struct ConnectSessions {
    table: Table,
}

impl ConnectSessions {
    /// The sessions in this table.
    #[must_use]
    pub fn new(dynamodb: DynamoDb, table: &str) -> Self {
        Self { table: Table::new(dynamodb, table) }
    }

    /// Makes a session whose link has this hash.
    pub async fn create(&self, session: &ConnectSession, link_hash: &str) -> Result<(), Fault> {
        let link = LinkRow {
            tenant_id: session.tenant_id.clone(),
            session_id: session.id,
            expires_at: session.expires_at.secs() + SESSION_KEPT_SECS,
        };
        let writes = vec![
            self.table.put_new(key_of(session), &row(session, 0)?)?,
            self.table.put_new(connect::connect_link(link_hash), &link)?,
        ];
        self.table.transact(writes).await.map_err(Fault::on("writing a connect session"))
    }

    /// One session, read consistently.
    pub async fn get(
        &self,
        tenant: &TenantId,
        id: ConnectSessionId,
    ) -> Result<Option<ConnectSession>, Fault> {
        Ok(self.read(connect::connect_session(tenant, id)).await?.map(|(session, _)| session))
    }

    /// The session behind a link.
    pub async fn by_link(&self, link_hash: &str) -> Result<Option<ConnectSession>, Fault> {
        let link = self.table.get_row::<LinkRow>(connect::connect_link(link_hash), true).await?;
        match link {
            Some(link) => self.get(&link.tenant_id, link.session_id).await,
            None => Ok(None),
        }
    }

    /// Changes a session, as it is then; `None` where it does not exist or `change` makes nothing of it.
    pub async fn change(
        &self,
        tenant: &TenantId,
        id: ConnectSessionId,
        change: impl Fn(&mut ConnectSession) -> bool,
    ) -> Result<Option<ConnectSession>, Fault> {
        for _ in 0..CHANGE_TRIES {
            let Some((mut session, revision)) = self.read(connect::connect_session(tenant, id)).await? else {
                return Ok(None);
            };
            if !change(&mut session) {
                return Ok(None);
            }
            let put = self
                .table
                .put(rows::item(key_of(&session), &row(&session, revision + 1)?)?)
                .condition_expression("revision = :revision")
                .expression_attribute_values(":revision", AttributeValue::N(revision.to_string()));
            if put_if(put, "writing a connect session").await? {
                return Ok(Some(session));
            }
        }
        Err(Fault::new("writing a connect session", "others change it at the same time"))
    }

    async fn read(&self, key: Key) -> Result<Option<(ConnectSession, u64)>, Fault> {
        let Some(row) = self.table.get_row::<SessionRow>(key, true).await? else { return Ok(None) };
        let session = serde_json::from_str(&row.session).map_err(Fault::on("reading a connect session"))?;
        Ok(Some((session, row.revision)))
    }
}

fn key_of(session: &ConnectSession) -> Key {
    connect::connect_session(&session.tenant_id, session.id)
}

fn row(session: &ConnectSession, revision: u64) -> Result<SessionRow, Fault> {
    let text = serde_json::to_string(session).map_err(Fault::on("writing a connect session"))?;
    Ok(SessionRow { session: text, revision, expires_at: session.expires_at.secs() + SESSION_KEPT_SECS })
}
