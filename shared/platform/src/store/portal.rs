//! Portal sessions, and what finds one by its code or its token.

use std::{sync::Arc, time::Duration};

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, TransactWriteItem};
use domain::{
    PortalSessionId, TenantId, Timestamp,
    access::portal::{CODE_SECS, PortalSession, PortalToken, RENEWED_SECS},
};
use serde::{Deserialize, Serialize};

use super::table::{
    Table,
    keys::access::{PORTAL_SESSIONS, portal_code, portal_session, portal_token},
    rows::{Order, Span},
    transactions::first_condition_held,
};
use crate::{Fault, aws::sdk::DynamoDb, runtime::cache::Cache};

/// How long a session is listed after its end, in seconds.
const KEPT_SECS: i64 = 24 * 3600;

/// Tokens that are cached.
const TOKEN_CAPACITY: usize = 1_000;

/// A row as JSON, since `expires_at` is the table's own attribute.
#[derive(Serialize, Deserialize)]
struct SessionRow {
    session: String,
    revision: u64,
    expires_at: i64,
}

#[derive(Serialize, Deserialize)]
struct CodeRow {
    tenant: TenantId,
    session_id: PortalSessionId,
    valid_until: i64,
    expires_at: i64,
}

#[derive(Serialize, Deserialize)]
struct TokenRow {
    token: String,
    expires_at: i64,
}

/// Portal sessions, with a cache of tokens.
#[derive(Debug, Clone)]
pub struct PortalSessions {
    table: Table,
    tokens: Arc<Cache<String, PortalToken>>,
}

impl PortalSessions {
    /// The sessions in this table.
    #[must_use]
    pub fn new(dynamodb: DynamoDb, table: &str, cache_age: Duration) -> Self {
        let tokens = Arc::new(Cache::new(cache_age, TOKEN_CAPACITY));
        Self { table: Table::new(dynamodb, table), tokens }
    }

    /// Creates a session whose code has this hash.
    pub async fn create(&self, session: &PortalSession, code_hash: &str) -> Result<(), Fault> {
        let valid_until = session.created_at.secs() + CODE_SECS;
        let code = CodeRow {
            tenant: session.tenant.clone(),
            session_id: session.id,
            valid_until,
            expires_at: valid_until,
        };
        let writes = vec![
            self.table.put_new(portal_session(&session.tenant, session.id), &row(session)?)?,
            self.table.put_new(portal_code(code_hash), &code)?,
        ];
        self.table.transact(writes).await.map_err(Fault::on("writing a portal session"))
    }

    /// The session of a code, which works once; `None` where it does not (any more).
    pub async fn take_code(
        &self,
        code_hash: &str,
        now: Timestamp,
    ) -> Result<Option<(TenantId, PortalSessionId)>, Fault> {
        const DOING: &str = "taking the code of a portal session";
        let delete = self.table.delete(portal_code(code_hash)).return_values(ReturnValue::AllOld);
        let Some(item) = delete.send().await.map_err(Fault::on(DOING))?.attributes else { return Ok(None) };
        let row: CodeRow = serde_dynamo::from_item(item).map_err(Fault::on(DOING))?;
        Ok((now.secs() < row.valid_until).then_some((row.tenant, row.session_id)))
    }

    /// One session, read consistently; `None` where it was revoked.
    pub async fn get(&self, tenant: &TenantId, id: PortalSessionId) -> Result<Option<PortalSession>, Fault> {
        let row = self.table.get_row::<SessionRow>(portal_session(tenant, id), true).await?;
        row.as_ref().map(read).transpose()
    }

    /// Gives a session another token. The one that it has works for a minute more, because the response with the new one
    /// can be lost. False where others have changed or revoked the session.
    pub async fn set_token(
        &self,
        session: &mut PortalSession,
        hash: &str,
        valid_until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, Fault> {
        const DOING: &str = "writing the token of a portal session";
        let before = session.revision;
        let replaced = session.token_hash.replace(hash.to_owned());
        let ended = std::mem::replace(&mut session.previous_token_hash, replaced.clone());
        session.revision += 1;
        let put = self
            .table
            .replacement(portal_session(&session.tenant, session.id), &row(session)?)?
            .condition_expression("revision = :revision")
            .expression_attribute_values(":revision", AttributeValue::N(before.to_string()))
            .build()
            .map_err(Fault::on(DOING))?;
        let token = self.table.put_new(portal_token(hash), &token_row(session, valid_until)?)?;
        let mut writes = vec![TransactWriteItem::builder().put(put).build(), token];
        if let Some(replaced) = &replaced {
            let end = Timestamp::from_secs(now.secs() + RENEWED_SECS).min(session.ends_at);
            let put = self.table.replacement(portal_token(replaced), &token_row(session, end)?)?;
            let put = put.build().map_err(Fault::on(DOING))?;
            writes.push(TransactWriteItem::builder().put(put).build());
        }
        if let Some(ended) = &ended {
            writes.push(self.table.removal(portal_token(ended), None)?);
        }
        let written = first_condition_held(self.table.transact(writes).await, DOING)?;
        for hash in [replaced, ended].iter().flatten() {
            self.tokens.forget(hash);
        }
        Ok(written)
    }

    /// Ends a session, if it is still of the revision that was read: a token that was made meanwhile would go on working.
    /// False where it is not.
    pub async fn revoke(&self, session: &PortalSession) -> Result<bool, Fault> {
        let key = portal_session(&session.tenant, session.id);
        let mut writes = vec![self.table.removal(key, Some(session.revision))?];
        for hash in [&session.token_hash, &session.previous_token_hash].into_iter().flatten() {
            writes.push(self.table.removal(portal_token(hash), None)?);
            self.tokens.forget(hash);
        }
        first_condition_held(self.table.transact(writes).await, "revoking a portal session")
    }

    /// Up to `limit` sessions of a tenant, newest first, created before `before`.
    pub async fn list(
        &self,
        tenant: &TenantId,
        before: Option<PortalSessionId>,
        limit: usize,
    ) -> Result<Vec<PortalSession>, Fault> {
        const DOING: &str = "listing portal sessions";
        let pk = portal_session(tenant, PortalSessionId::new(Timestamp::EPOCH, [0; 10])).0;
        let last = before.map_or_else(|| format!("{PORTAL_SESSIONS}~"), |id| portal_session(tenant, id).1);
        let span = Span { pk, first: PORTAL_SESSIONS.to_owned(), last };
        let read = |item| {
            let row: SessionRow = serde_dynamo::from_item(item).map_err(Fault::on(DOING))?;
            let session = read(&row)?;
            Ok(Some(session).filter(|session| Some(session.id) != before))
        };
        self.table.page(span, Order::NewestFirst, limit, DOING, read).await
    }

    /// The token with this hash.
    pub async fn token(&self, hash: &str) -> Result<Option<PortalToken>, Fault> {
        if let Some(token) = self.tokens.get(&hash.to_owned()) {
            return Ok(Some(token));
        }
        let Some(row) = self.table.get_row::<TokenRow>(portal_token(hash), true).await? else {
            return Ok(None);
        };
        let token: PortalToken =
            serde_json::from_str(&row.token).map_err(Fault::on("reading the token of a portal session"))?;
        self.tokens.put(hash.to_owned(), token.clone());
        Ok(Some(token))
    }
}

fn token_row(session: &PortalSession, valid_until: Timestamp) -> Result<TokenRow, Fault> {
    let token = serde_json::to_string(&session.token(valid_until));
    let token = token.map_err(Fault::on("writing the token of a portal session"))?;
    Ok(TokenRow { token, expires_at: valid_until.secs() })
}

fn row(session: &PortalSession) -> Result<SessionRow, Fault> {
    let text = serde_json::to_string(session).map_err(Fault::on("writing a portal session"))?;
    Ok(SessionRow {
        session: text,
        revision: session.revision,
        expires_at: session.ends_at.secs() + KEPT_SECS,
    })
}

fn read(row: &SessionRow) -> Result<PortalSession, Fault> {
    serde_json::from_str(&row.session).map_err(Fault::on("reading a portal session"))
}
