//! What lets requests in: keys, sources, accounts at sources of the operator, endpoints and connections.

use domain::{
    ConnectionId, SourceId, TenantId,
    connection::record::{RevokedBy, Status},
    inbound::ProviderAccount,
    tenant::erasure::{Erasure, SETTLING, Stage},
};

use super::{End, Eraser, StopTime};
use crate::{
    Fault,
    runtime::clock,
    store::registry::connections::{ConnectionFilter, StoredConnection},
};

/// Rows of a list that are read at once.
const PAGE: usize = 50;

impl Eraser {
    /// Removes keys, sources and endpoints. Endpoints leave tombstones, which lead to what is left of them. The counts are
    /// saved after each page: an invocation that is killed later does not find again what it has removed.
    pub(super) async fn remove_access(&self, erasure: &mut Erasure, stop: StopTime) -> Result<End, Fault> {
        let tenant = erasure.tenant_id.clone();
        loop {
            let keys = self.api_keys.list(&tenant, None, PAGE).await?;
            if keys.is_empty() {
                break;
            }
            for key in &keys {
                // One that was changed meanwhile is in the next page.
                let revoked = self.api_keys.revoke(key, clock::now()).await?;
                erasure.count("api_keys", usize::from(revoked));
            }
            self.erasures.save(erasure).await?;
            if stop.has_passed() {
                return Ok(End::OutOfTime);
            }
        }
        loop {
            let sources = self.sources.list(&tenant, None, PAGE).await?;
            if sources.is_empty() {
                break;
            }
            for source in &sources {
                self.accounts.remove_all(source.id).await?;
                let deleted = self.sources.delete(source, clock::now()).await?;
                erasure.count("sources", usize::from(deleted));
            }
            self.erasures.save(erasure).await?;
            if stop.has_passed() {
                return Ok(End::OutOfTime);
            }
        }
        if self.remove_accounts(&tenant, erasure, stop).await? == End::OutOfTime {
            return Ok(End::OutOfTime);
        }
        loop {
            let endpoints = self.endpoints.list(&tenant, None, PAGE).await?;
            if endpoints.is_empty() {
                return Ok(End::Done);
            }
            for endpoint in &endpoints {
                let deleted = self.endpoints.delete(&tenant, endpoint.id, clock::now()).await?;
                erasure.count("endpoints", usize::from(deleted));
            }
            self.erasures.save(erasure).await?;
            if stop.has_passed() {
                return Ok(End::OutOfTime);
            }
        }
    }

    /// Removes the accounts that are mapped to the tenant, at the operator's sources. Nothing leads from the tenant to
    /// them, so all accounts are read.
    async fn remove_accounts(
        &self,
        tenant: &TenantId,
        erasure: &mut Erasure,
        stop: StopTime,
    ) -> Result<End, Fault> {
        // A run continues behind the sources that the run before has read.
        let mut before: Option<SourceId> = erasure.after.as_deref().and_then(|id| id.parse().ok());
        loop {
            let sources = self.sources.list(&TenantId::operator(), before, PAGE).await?;
            let Some(last) = sources.last() else {
                erasure.after = None;
                return Ok(End::Done);
            };
            before = Some(last.id);
            for source in &sources {
                let mut after: Option<ProviderAccount> = None;
                loop {
                    let accounts = self.accounts.list(source.id, after.as_ref(), PAGE).await?;
                    for account in accounts.iter().filter(|account| account.tenant == *tenant) {
                        self.accounts.remove(source.id, &account.account).await?;
                        erasure.count("source_accounts", 1);
                        self.erasures.save(erasure).await?;
                    }
                    let Some(last) = accounts.into_iter().last() else { break };
                    after = Some(last.account);
                    if stop.has_passed() {
                        return Ok(End::OutOfTime);
                    }
                }
            }
            erasure.after = before.map(|id| id.to_string());
        }
    }

    /// Ends connections in the first pass: no token is handed out or refreshed any more, and `token-refresher` ends the
    /// grants at the providers until the next pass. That one removes them with their tokens.
    pub(super) async fn remove_connections(
        &self,
        erasure: &mut Erasure,
        stop: StopTime,
    ) -> Result<End, Fault> {
        let tenant = erasure.tenant_id.clone();
        // In the first pass they stay, so a run continues behind those that the run before has ended.
        let mut before: Option<ConnectionId> = erasure.after.as_deref().and_then(|id| id.parse().ok());
        loop {
            let filter = ConnectionFilter::default();
            let listed = self.connections.list(&tenant, &filter, before, PAGE).await?;
            let Some(last) = listed.last() else {
                erasure.after = None;
                return Ok(End::Done);
            };
            before = Some(last.id);
            for connection in &listed {
                if erasure.stage == Stage::Closing {
                    self.end_connection(&tenant, connection.id).await?;
                } else {
                    self.remove_connection(&tenant, connection.id).await?;
                    erasure.count("connections", 1);
                }
            }
            erasure.after = before.map(|id| id.to_string());
            self.erasures.save(erasure).await?;
            if stop.has_passed() {
                return Ok(End::OutOfTime);
            }
        }
    }

    async fn end_connection(&self, tenant: &TenantId, id: ConnectionId) -> Result<(), Fault> {
        let now = clock::now();
        // Before the change: it leads `token-refresher` to the rest.
        self.entries.put(tenant, id, now).await?;
        let change = |stored: &mut StoredConnection| {
            if stored.connection.status == Status::Revoked {
                return false;
            }
            stored.connection.revoke(RevokedBy::Request, now);
            stored.lease = None;
            stored.revoking_until = Some(now + SETTLING);
            true
        };
        self.connections.change(tenant, id, change).await.map(|_| ())
    }

    async fn remove_connection(&self, tenant: &TenantId, id: ConnectionId) -> Result<(), Fault> {
        let Some(stored) = self.connections.get(tenant, id).await? else { return Ok(()) };
        // Its token in a pool is removed with all secrets of the tenant. The row goes last: it leads to the rest.
        self.rotating.remove(tenant, id).await?;
        self.connections.forget_grant(&stored.connection).await?;
        self.connections.unlink(&stored.connection).await?;
        self.entries.remove(tenant, id).await?;
        self.connections.delete(&stored).await
    }
}
