//! What a provider says about a grant without being asked: it ends the connections of that grant, or has them refreshed.
//!
//! An inbound function keeps the verified notice as an entry in the due index. Only here are connections read, so that the
//! inbound functions need no access to them.

use domain::{
    ConnectionId, TenantId, Timestamp,
    connection::{
        Connection, IdpConfig, Status,
        notice::{GrantNotice, NoticeEffect, NoticeSubject},
    },
};
use futures_util::{StreamExt, stream};

use super::{Keeper, SETTLING, ending::REVOKE_EVERY};
use crate::{Fault, store::registry::connections::StoredConnection};

/// Identity providers of one owner that are read; more than an owner can have.
const IDP_COUNT_LIMIT: usize = 1000;

/// Connections of one grant that are changed at the same time.
const CONCURRENT_CHANGES: usize = 8;

impl Keeper {
    /// Acts on a notice: on each connection of the grant that the account gave to the client of this owner. A repeat
    /// changes nothing.
    ///
    /// The owner is that of the source at which the notice arrived. The operator's reaches the connections of all tenants
    /// that the operator's client was granted; a tenant's reaches those of the tenant's own clients.
    pub(super) async fn heed(
        &self,
        owner: &TenantId,
        notice: &GrantNotice,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let idps = &self.idps_of(owner, notice).await?;
        let mut found = Vec::new();
        match &notice.subject {
            NoticeSubject::Account(sub) => {
                for idp in idps {
                    found.extend(self.connections.of_grant(owner, &idp.name, sub).await?);
                }
            }
            NoticeSubject::Token(token) => found = self.connections.of_token(owner, token).await?,
        }
        let count = found.len();
        let changes = found.into_iter().map(|(tenant, id)| async move {
            let changed = Box::pin(self.heed_one(&tenant, id, (owner, notice, idps), now)).await;
            if let Err(fault) = &changed {
                tracing::error!(%fault, %tenant, connection_id = %id, "could not act on notice about a grant; its entry does");
            }
            changed
        });
        let changed: Vec<_> = stream::iter(changes).buffer_unordered(CONCURRENT_CHANGES).collect().await;
        let changed = changed.into_iter().collect::<Result<Vec<_>, _>>()?;
        let changed_count = changed.into_iter().filter(|changed| *changed).count();
        let GrantNotice { issuer, kind, .. } = notice;
        tracing::info!(%owner, issuer, kind, count, changed_count, "acted on notice about a grant");
        Ok(())
    }

    /// The owner's providers that a notice is about: of its issuer, and with its client.
    async fn idps_of(&self, owner: &TenantId, notice: &GrantNotice) -> Result<Vec<IdpConfig>, Fault> {
        let is_meant = |config: &IdpConfig| {
            let is_client = config.credentials.iter().any(|one| one.client_id == notice.client_id);
            let openid = config.idp().and_then(|idp| idp.openid);
            is_client && openid.is_some_and(|openid| openid.issuer == notice.issuer)
        };
        let configs = self.idps.list(owner, IDP_COUNT_LIMIT).await?;
        Ok(configs.into_iter().filter(is_meant).collect())
    }

    /// Acts on a notice about one connection; whether that changed it.
    async fn heed_one(
        &self,
        tenant: &TenantId,
        id: ConnectionId,
        (owner, notice, idps): (&TenantId, &GrantNotice, &[IdpConfig]),
        now: Timestamp,
    ) -> Result<bool, Fault> {
        let Some(found) = self.find(tenant, id).await? else { return Ok(false) };
        let is_meant = |connection: &Connection| is_of_client(connection, owner, notice, idps);
        if !is_meant(&found.connection) || !found.connection.clone().take_notice(notice, now) {
            return Ok(false);
        }
        // A later consent may have brought another token.
        if let NoticeSubject::Token(token) = &notice.subject
            && !self.connections.holds_token(&found.connection, token).await?
        {
            return Ok(false);
        }
        // Before the change: who stops after it leaves the rest to the entry.
        self.entries.put(tenant, id, now + SETTLING).await?;
        let change = |stored: &mut StoredConnection| {
            // It may have been granted to another client meanwhile.
            let took = is_meant(&stored.connection) && stored.connection.take_notice(notice, now);
            if took && notice.effect != NoticeEffect::Refresh {
                stored.lease = None;
                // No longer handed out; the grant is dead, and nothing is to be ended at the provider.
                stored.token = None;
                if stored.connection.status == Status::Revoked {
                    stored.connection.next_refresh_at = Some(now + REVOKE_EVERY);
                    stored.revoking_until = Some(now);
                }
            }
            took
        };
        let Some(after) = self.connections.change(tenant, id, change).await? else { return Ok(false) };
        let after = self.follow_up(after).await;
        if after.connection.status == Status::Revoked {
            Box::pin(self.finish_revocation(after, now)).await?;
        }
        Ok(true)
    }
}

/// Whether a connection was granted to the client of a notice. An owner can have several clients at a provider, and a
/// connection can have been granted to another owner's since. One whose credentials were removed is taken for it: nothing
/// says which client it was granted to.
fn is_of_client(connection: &Connection, owner: &TenantId, notice: &GrantNotice, idps: &[IdpConfig]) -> bool {
    let Some(idp) = idps.iter().find(|idp| idp.name == connection.idp) else { return false };
    let mut credentials = idp.credentials.iter();
    let credential = credentials.find(|one| one.id == connection.credential_id);
    connection.tenant_id.owner_of_endpoint(connection.operator_idp) == *owner
        && credential.is_none_or(|credential| credential.client_id == notice.client_id)
}
