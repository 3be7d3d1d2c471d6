//! Connections: a row each, with its sealed access token, and a row for each account, by which a second connection of
//! it is found.
//!
//! A row changes only from the revision that was read, so that no writer overwrites another one. What is at stake is a
//! refresh token that the provider has already replaced.

mod links;

use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use domain::{
    ConnectionId, TenantId, Timestamp,
    connection::{Connection, IdpName, Status},
};
use serde::{Deserialize, Serialize};

pub use self::links::{AccountLinks, CreateConnectionOutcome};
use crate::{
    Fault,
    store::table::{
        Item, Table,
        attributes::{malformed, number, text},
        keys::{Key, connect},
        put_if,
        rows::{self, Order, Span},
        update_if,
    },
};

/// How long one refresher holds a connection: longer than its call to the provider and the writes after it.
pub const LEASE_TIME: Duration = Duration::from_mins(1);

/// How often a change is tried while others change the connection, too.
const CHANGE_TRIES: u32 = 20;

/// Where the durable credential of a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialPlace {
    /// In this shard of the pool.
    Pool(u32),
    /// In a secret of its own, since it changes often.
    Own,
    /// In its row, sealed: the journal, which is never moved.
    Sealed,
}

/// A connection as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredConnection {
    /// The connection.
    pub connection: Connection,
    /// Its access token, sealed.
    pub token: Option<String>,
    /// Its durable credential, sealed, until it is in Secrets Manager.
    pub journal: Option<String>,
    /// Where its durable credential is.
    pub place: Option<CredentialPlace>,
    /// When the durable credential there was stored.
    pub stored_at: Option<Timestamp>,
    /// The generation of the durable credential there. One that is older is read from a copy that is behind.
    pub stored_generation: Option<u64>,
    /// Until when its grant is ended at the provider, where that has not succeeded yet.
    pub revoking_until: Option<Timestamp>,
    /// Counts the changes.
    pub revision: u64,
    /// Who refreshes it, and until when.
    pub lease: Option<(String, Timestamp)>,
    /// Whether the refresher before the present one has stopped halfway: its lease ended and was not given back.
    pub was_abandoned: bool,
}

/// What a row holds besides the connection.
#[derive(Serialize, Deserialize)]
struct Besides {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    journal: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    place: Option<CredentialPlace>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stored_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stored_generation: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoking_until: Option<Timestamp>,
    revision: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease_until: Option<i64>,
    /// When the lease ended that the present one followed; 0 where there was none. Only taking a lease writes it.
    #[serde(default, skip_serializing)]
    previous_lease_until: i64,
}

impl StoredConnection {
    fn item(&self) -> Result<Item, Fault> {
        let mut item = rows::item(key_of(&self.connection), &self.connection)?;
        let (lease_by, lease_until) = self.lease.clone().unzip();
        let besides = Besides {
            token: self.token.clone(),
            journal: self.journal.clone(),
            place: self.place,
            stored_at: self.stored_at,
            stored_generation: self.stored_generation,
            revoking_until: self.revoking_until,
            revision: self.revision,
            lease_by,
            lease_until: lease_until.map(Timestamp::millis),
            previous_lease_until: 0,
        };
        let besides: Item = serde_dynamo::to_item(besides).map_err(Fault::on("writing a connection"))?;
        item.extend(besides);
        Ok(item)
    }

    fn read(item: Item) -> Result<Self, Fault> {
        const READING: &str = "reading a connection";
        let besides: Besides = serde_dynamo::from_item(item.clone()).map_err(Fault::on(READING))?;
        let lease = besides.lease_by.zip(besides.lease_until.map(Timestamp::from_millis));
        Ok(Self {
            connection: serde_dynamo::from_item(item).map_err(Fault::on(READING))?,
            token: besides.token,
            journal: besides.journal,
            place: besides.place,
            stored_at: besides.stored_at,
            stored_generation: besides.stored_generation,
            revoking_until: besides.revoking_until,
            revision: besides.revision,
            lease,
            was_abandoned: besides.previous_lease_until > 0,
        })
    }

    /// Whether this refresher holds the lease.
    #[must_use]
    pub fn is_leased_by(&self, by: &str) -> bool {
        self.lease.as_ref().is_some_and(|(holder, _)| holder == by)
    }
}

fn key_of(connection: &Connection) -> Key {
    connect::connection(&connection.tenant_id, connection.id)
}

/// That there is a grant. Its key says of what.
#[derive(Default, Serialize, Deserialize)]
struct GrantRow {
    /// The identifiers of its refresh token, where that remains the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tokens: Vec<String>,
}

/// That a connection holds a token; its key says all.
#[derive(Serialize)]
struct HeldTokenRow {}

/// Which connections are listed.
#[derive(Debug, Clone, Default)]
pub struct ConnectionFilter {
    /// Of this person.
    pub user_id: Option<String>,
    /// At this provider.
    pub idp: Option<IdpName>,
    /// Of this status.
    pub status: Option<Status>,
    /// Of this e-mail address, whatever its case is.
    pub email: Option<String>,
}

impl ConnectionFilter {
    fn admits(&self, connection: &Connection) -> bool {
        let email = connection.account.email.as_deref();
        self.user_id.as_ref().is_none_or(|user| *user == connection.user_id)
            && self.idp.as_ref().is_none_or(|idp| *idp == connection.idp)
            && self.status.is_none_or(|status| status == connection.status)
            && self
                .email
                .as_ref()
                .is_none_or(|wanted| email.is_some_and(|email| email.eq_ignore_ascii_case(wanted)))
    }
}

/// Connections.
#[derive(Debug, Clone)]
pub struct Connections {
    table: Table,
}

impl Connections {
    pub(crate) fn new(table: Table) -> Self {
        Self { table }
    }

    /// One connection, read consistently.
    pub async fn get(&self, tenant: &TenantId, id: ConnectionId) -> Result<Option<StoredConnection>, Fault> {
        let item = self.table.get(connect::connection(tenant, id), true, "reading a connection").await?;
        item.map(StoredConnection::read).transpose()
    }

    /// Replaces a connection, if it is still of the revision that was read. False where it is not.
    pub async fn replace(&self, stored: &mut StoredConnection) -> Result<bool, Fault> {
        let before = stored.revision;
        stored.revision += 1;
        let put = self
            .table
            .put(stored.item()?)
            .condition_expression("revision = :revision")
            .expression_attribute_values(":revision", AttributeValue::N(before.to_string()));
        put_if(put, "writing a connection").await
    }

    /// Changes a connection, however often others do at the same time; `None` where it does not exist, or `change`
    /// makes nothing of it. Returns what is stored then.
    pub async fn change(
        &self,
        tenant: &TenantId,
        id: ConnectionId,
        mut change: impl FnMut(&mut StoredConnection) -> bool,
    ) -> Result<Option<StoredConnection>, Fault> {
        for _ in 0..CHANGE_TRIES {
            let Some(mut stored) = Box::pin(self.get(tenant, id)).await? else { return Ok(None) };
            if !change(&mut stored) {
                return Ok(None);
            }
            if Box::pin(self.replace(&mut stored)).await? {
                return Ok(Some(stored));
            }
            tokio::time::sleep(Duration::from_millis(20).mul_f64(1.0 + crate::runtime::clock::jitter()))
                .await;
        }
        Err(Fault::new("changing a connection", "others change it at the same time"))
    }

    /// Takes the lease on a connection of this generation; `None` where another refresher has it, or the generation is
    /// another one.
    pub async fn lease(
        &self,
        tenant: &TenantId,
        id: ConnectionId,
        generation: u64,
        by: &str,
        now: Timestamp,
    ) -> Result<Option<StoredConnection>, Fault> {
        let update = self
            .table
            .update(connect::connection(tenant, id))
            .update_expression(
                "SET previous_lease_until = if_not_exists(lease_until, :zero), lease_until = :until, lease_by = :by \
                 ADD revision :one",
            )
            .expression_attribute_values(":zero", number(0))
            .condition_expression(
                "generation = :generation AND (attribute_not_exists(lease_until) OR lease_until < :now)",
            )
            .expression_attribute_values(":until", number((now + LEASE_TIME).millis()))
            .expression_attribute_values(":by", AttributeValue::S(by.to_owned()))
            .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
            .expression_attribute_values(":generation", AttributeValue::N(generation.to_string()))
            .expression_attribute_values(":now", number(now.millis()))
            .return_values(ReturnValue::AllNew);
        let taken = update_if(update, "leasing a connection").await?;
        taken.and_then(|response| response.attributes).map(StoredConnection::read).transpose()
    }

    /// Notes that a connection is of the grant that an account gave to a client of this owner, which tenants share where
    /// the owner is the operator. It is noted before the connection is made, and errs on the side of leaving a grant.
    ///
    /// `tokens` are the identifiers of a new refresh token, by which the connection can be found; without any, those
    /// that were noted before remain.
    pub async fn note_grant(&self, connection: &Connection, tokens: &[String]) -> Result<(), Fault> {
        const DOING: &str = "noting a grant";
        let key = connect::grant(connection);
        if tokens.is_empty() {
            let put = self.table.put(rows::item(key, &GrantRow::default())?);
            return put_if(put.condition_expression("attribute_not_exists(pk)"), DOING).await.map(|_| ());
        }
        for token in tokens {
            let put = self.table.put(rows::item(connect::held_token(connection, token), &HeldTokenRow {})?);
            put_if(put, DOING).await?;
        }
        let put = self.table.put(rows::item(key, &GrantRow { tokens: tokens.to_vec() })?);
        let put = put.return_values(ReturnValue::AllOld).send().await.map_err(Fault::on(DOING))?;
        let before = put.attributes.map(serde_dynamo::from_item).transpose().map_err(Fault::on(DOING))?;
        let GrantRow { tokens: before } = before.unwrap_or_default();
        let gone: Vec<_> = before.into_iter().filter(|token| !tokens.contains(token)).collect();
        self.forget_tokens(connection, &gone).await
    }

    async fn forget_tokens(&self, connection: &Connection, tokens: &[String]) -> Result<(), Fault> {
        for token in tokens {
            let delete = self.table.delete(connect::held_token(connection, token));
            delete.send().await.map_err(Fault::on("forgetting a refresh token"))?;
        }
        Ok(())
    }

    /// Forgets that, and says whether another connection is of the same grant.
    pub async fn forget_grant(&self, connection: &Connection) -> Result<bool, Fault> {
        const DOING: &str = "forgetting a grant";
        let key = connect::grant(connection);
        let (pk, _) = key.clone();
        // The tokens first: the row is what leads to them.
        let row = self.table.get_row::<GrantRow>(key.clone(), true).await?.unwrap_or_default();
        self.forget_tokens(connection, &row.tokens).await?;
        self.table.delete(key).send().await.map_err(Fault::on(DOING))?;
        let prefix = connect::grants_of(&connection.idp, &connection.account.sub);
        let others = self.table.rows_under(pk, &prefix, "reading a grant").await?;
        Ok(!others.is_empty())
    }

    /// Whether a connection holds the refresh token of this identifier now.
    pub async fn holds_token(&self, connection: &Connection, token: &str) -> Result<bool, Fault> {
        let row = self.table.get_row::<GrantRow>(connect::grant(connection), true).await?;
        Ok(row.is_some_and(|row| row.tokens.iter().any(|held| held == token)))
    }

    /// The connections, of all tenants, that hold or held the refresh token of this identifier, of a client of this owner.
    pub async fn of_token(
        &self,
        owner: &TenantId,
        token: &str,
    ) -> Result<Vec<(TenantId, ConnectionId)>, Fault> {
        self.granted(owner, &connect::holders_of(token)).await
    }

    /// The connections, of all tenants, that an account has granted to a client of this owner at one provider.
    pub async fn of_grant(
        &self,
        owner: &TenantId,
        idp: &IdpName,
        sub: &str,
    ) -> Result<Vec<(TenantId, ConnectionId)>, Fault> {
        self.granted(owner, &connect::grants_of(idp, sub)).await
    }

    /// The connections of the rows of a grant that begin so.
    async fn granted(&self, owner: &TenantId, prefix: &str) -> Result<Vec<(TenantId, ConnectionId)>, Fault> {
        const DOING: &str = "reading the connections of a grant";
        let rows = self.table.rows_under(connect::grants_partition(owner), prefix, DOING).await?;
        let read = |row: &Item| connect::parse_grant(text(row, "sk")?).ok_or_else(|| malformed("sk"));
        rows.iter().map(read).collect()
    }

    /// Deletes a connection that was ended long ago.
    pub async fn delete(&self, stored: &StoredConnection) -> Result<(), Fault> {
        let delete = self
            .table
            .delete(key_of(&stored.connection))
            .condition_expression("attribute_not_exists(pk) OR revision = :revision")
            .expression_attribute_values(":revision", AttributeValue::N(stored.revision.to_string()));
        delete.send().await.map(|_| ()).map_err(Fault::on("deleting a connection"))
    }

    /// Connections of a tenant, the newest first: up to `limit` of those before `before`.
    pub async fn list(
        &self,
        tenant: &TenantId,
        filter: &ConnectionFilter,
        before: Option<ConnectionId>,
        limit: usize,
    ) -> Result<Vec<Connection>, Fault> {
        // `~` sorts behind every id.
        let last = before
            .map_or_else(|| format!("{}~", connect::CONNECTIONS), |id| connect::connection(tenant, id).1);
        let span = Span { pk: tenant.to_string(), first: connect::CONNECTIONS.to_owned(), last };
        let read = |item| {
            let connection = StoredConnection::read(item)?.connection;
            Ok((Some(connection.id) != before && filter.admits(&connection)).then_some(connection))
        };
        self.table.page(span, Order::NewestFirst, limit, "listing connections", read).await
    }
}
