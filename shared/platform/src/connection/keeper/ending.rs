//! The end of a connection: here at once, and at the provider as soon as that responds.

use std::time::Duration;

use domain::{
    ConnectionId, TenantId, Timestamp,
    connection::{
        Connection,
        idp::RevokedToken,
        record::{RevokedBy, Status},
        token::TokenOutcome,
    },
};

use super::{Keeper, SETTLING};
use crate::{
    Fault, connection::provider::RevokeOutcome, runtime::clock,
    store::registry::connections::StoredConnection,
};

/// How long a grant is tried to be ended at the provider.
pub(super) const REVOKING: Duration = Duration::from_hours(24);

/// How often.
pub(super) const REVOKE_EVERY: Duration = Duration::from_mins(30);

impl Keeper {
    /// Ends a connection: no token is handed out from now on. Where `at_idp`, the grant is ended at the provider too,
    /// at once or within a day. `None` where the connection does not exist.
    pub async fn revoke(
        &self,
        tenant: &TenantId,
        id: ConnectionId,
        by: RevokedBy,
        at_idp: bool,
        now: Timestamp,
    ) -> Result<Option<Connection>, Fault> {
        let Some(found) = self.find(tenant, id).await? else { return Ok(None) };
        if found.connection.status == Status::Revoked {
            // It may have stopped halfway.
            let after = Box::pin(self.finish_revocation(found, now)).await?;
            return Ok(Some(after.connection));
        }
        // Before the change: who stops after it leaves the rest to the entry.
        self.entries.put(tenant, id, now + SETTLING).await?;
        let change = |stored: &mut StoredConnection| {
            let connection = &mut stored.connection;
            let is_confirmed = by == RevokedBy::Timeout && connection.status != Status::Pending;
            if connection.status == Status::Revoked || is_confirmed {
                return false;
            }
            connection.revoke(by, now);
            connection.next_refresh_at = Some(now + REVOKE_EVERY);
            stored.lease = None;
            stored.revoking_until = Some(if at_idp { now + REVOKING } else { now });
            true
        };
        let Some(after) = self.connections.change(tenant, id, change).await? else {
            return Ok(self.find(tenant, id).await?.map(|stored| stored.connection));
        };
        let after = self.follow_up(after).await;
        match Box::pin(self.finish_revocation(after.clone(), now)).await {
            Ok(after) => Ok(Some(after.connection)),
            Err(fault) => {
                tracing::warn!(%fault, %tenant, connection_id = %id, "could not end grant at provider; its entry retries");
                Ok(Some(after.connection))
            }
        }
    }

    /// Ends the grant of a revoked connection at the provider, and removes its tokens.
    pub(super) async fn finish_revocation(
        &self,
        stored: StoredConnection,
        now: Timestamp,
    ) -> Result<StoredConnection, Fault> {
        let Some(until) = stored.revoking_until else { return Ok(stored) };
        self.connections.unlink(&stored.connection).await?;
        let stored = self.vault.settle(&self.connections, stored).await?;
        if until <= now {
            // A grant that is left does not keep one that is ended later.
            self.connections.forget_grant(&stored.connection).await?;
        }
        let is_done = until <= now || Box::pin(self.revoke_at_idp(&stored, now)).await?;
        let (tenant, id) = (stored.connection.tenant_id.clone(), stored.connection.id);
        if !is_done {
            self.entries.put(&tenant, id, now + REVOKE_EVERY).await?;
            return Ok(stored);
        }
        // Before the secret: what stops between the two would ask the provider again, without a token.
        let ended = |stored: &mut StoredConnection| {
            let is_open = stored.revoking_until.is_some_and(|until| until > now);
            stored.revoking_until = stored.revoking_until.min(Some(now));
            is_open
        };
        self.connections.change(&tenant, id, ended).await?;
        self.vault.remove(&stored).await?;
        let row = self.row(&stored.connection).await?;
        let change = |stored: &mut StoredConnection| {
            // A refresh that was on its way has brought another token, which is to be ended, too.
            if stored.revoking_until.is_some_and(|until| until > now) {
                return false;
            }
            stored.revoking_until = None;
            stored.token = None;
            stored.journal = None;
            stored.place = None;
            stored.stored_generation = None;
            let kept = row.as_ref().and_then(|row| stored.connection.next_due(row, now, clock::jitter()));
            stored.connection.next_refresh_at = kept.or(Some(now + REVOKING));
            true
        };
        match self.connections.change(&tenant, id, change).await? {
            Some(after) => {
                self.schedule(&after.connection).await?;
                Ok(after)
            }
            None => Ok(stored),
        }
    }

    /// Ends the grant at the provider; false where that is to be tried again.
    async fn revoke_at_idp(&self, stored: &StoredConnection, now: Timestamp) -> Result<bool, Fault> {
        let connection = &stored.connection;
        let clients = self.clients(connection, now).await?;
        let Some(client) = clients.first() else { return Ok(true) };
        let ends_grant = client.idp.revocation.as_ref().is_some_and(|revocation| revocation.ends_grant);
        if self.connections.forget_grant(connection).await? && ends_grant {
            // Another connection is of the same grant.
            return Ok(true);
        }
        let durable = self.vault.durable(stored).await?.map(|credential| credential.token);
        let access = self.vault.token(stored).await?;
        let mut refresh = durable.filter(|_| connection.refreshable);
        let names_access =
            client.idp.revocation.as_ref().is_some_and(|one| one.token == RevokedToken::Access);
        let mut access = access;
        if names_access
            && !connection.has_token_until(now)
            && let Some(token) = &refresh
            && let TokenOutcome::Granted(grant) =
                self.providers.refresh(&client.idp, &client.client, token, now).await
        {
            // An access token that has expired names nothing.
            access = Some(grant.access_token);
            refresh = grant.refresh_token.or(refresh);
        }
        let outcome =
            self.providers.revoke(&client.idp, &client.client, access.as_ref(), refresh.as_ref(), now).await;
        tracing::info!(connection_id = %connection.id, idp = %connection.idp, ?outcome, "revoked grant at provider");
        Ok(!matches!(outcome, RevokeOutcome::Failed(_)))
    }

    /// Deletes what is left of a connection that was ended long ago.
    pub(super) async fn forget(&self, stored: &StoredConnection) -> Result<(), Fault> {
        self.vault.remove_all(stored).await?;
        self.connections.unlink(&stored.connection).await?;
        self.connections.delete(stored).await?;
        self.entries.remove(&stored.connection.tenant_id, stored.connection.id).await
    }
}
