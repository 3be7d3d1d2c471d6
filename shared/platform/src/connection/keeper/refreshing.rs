//! A refresh, step by step; the order is what a crash between any two steps is survived by.

use std::{pin::Pin, time::Duration};

use data_encoding::HEXLOWER;
use domain::{
    ConnectionId, TenantId, Timestamp,
    connection::{
        Connection, Idp,
        idp::Rotation,
        record::{ErrorCode, RevokedBy, Status},
        refresh::DueStep,
        token::{Grant, IdpError, TokenOutcome},
    },
};

use tokio::time::Instant;

use super::{Keeper, ProviderClient, SETTLING, ending::REVOKING, vault::Vault};
use crate::{
    Fault, aws::spending, runtime::clock, secrets::DurableCredential,
    store::registry::connections::StoredConnection,
};

const REFRESHING: &str = "refreshing a connection";

/// The time of a call to a provider, and of the writes after it.
const CALL_TIME: Duration = Duration::from_secs(15);

/// Pauses between tries of committing a grant.
const COMMIT_PAUSES: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

impl Keeper {
    /// Does what is due about a connection. A message about it may arrive twice.
    /// `deadline` is by the machine's clock.
    pub async fn due(
        &self,
        tenant: &TenantId,
        id: ConnectionId,
        deadline: Timestamp,
        now: Timestamp,
    ) -> Result<(), Fault> {
        spending::weigh(tenant, 1);
        let Some(stored) = self.find(tenant, id).await? else {
            // It was not made in the end, or was deleted; or the entry keeps a notice.
            if let Some(notice) = self.entries.notice(tenant, id).await? {
                Box::pin(self.heed(tenant, &notice, now)).await?;
            }
            return self.entries.remove(tenant, id).await;
        };
        let stored = self.settled(stored).await;
        let connection = &stored.connection;
        let has_ended = matches!(connection.status, Status::Revoked | Status::Pending);
        let row = match self.row(connection).await? {
            Some(row) => row,
            // What has ended needs no provider to be forgotten.
            None if has_ended => any_row()?,
            None => return self.without_provider(tenant, id, now).await,
        };
        match connection.due_step(now) {
            DueStep::Refresh => {
                let generation = connection.generation;
                // Where another refresher has it, that one writes the entry.
                let after = self.refresh_under_lease(tenant, id, generation, deadline, now).await?;
                match after.and_then(|after| after.connection.lost_at.zip(after.connection.next_refresh_at)) {
                    Some((lost, next)) if lost == now => {
                        self.try_again(tenant, id, generation, next, deadline).await
                    }
                    _ => Ok(()),
                }
            }
            DueStep::Revoke => {
                Box::pin(self.revoke(tenant, id, RevokedBy::Timeout, true, now)).await.map(|_| ())
            }
            DueStep::Forget => self.forget(&stored).await,
            DueStep::End | DueStep::Nothing if stored.revoking_until.is_some() => {
                Box::pin(self.finish_revocation(stored, now)).await.map(|_| ())
            }
            step @ (DueStep::End | DueStep::Nothing) => {
                let change = |stored: &mut StoredConnection| {
                    let connection = &mut stored.connection;
                    if step == DueStep::End && connection.status == Status::Active {
                        connection.end(ErrorCode::GrantExpired, &IdpError::default(), now);
                    }
                    connection.announce_due(now);
                    connection.next_refresh_at = connection.next_due(&row, now, clock::jitter());
                    true
                };
                match self.connections.change(tenant, id, change).await? {
                    Some(after) => {
                        self.follow_up(after).await;
                        Ok(())
                    }
                    None => Ok(()),
                }
            }
        }
    }

    /// Uses a refresh token once more whose response was lost a moment ago. A scheduler would be too late: providers that
    /// allow for it do so for seconds.
    async fn try_again(
        &self,
        tenant: &TenantId,
        id: ConnectionId,
        generation: u64,
        next: Timestamp,
        deadline: Timestamp,
    ) -> Result<(), Fault> {
        let pause = next.since(clock::now());
        if clock::machine_now() + pause + CALL_TIME < deadline {
            tokio::time::sleep(pause).await;
            self.refresh_under_lease(tenant, id, generation, deadline, clock::now()).await?;
        }
        Ok(())
    }

    /// A connection whose provider is no longer set up fails as one whose credentials are refused.
    async fn without_provider(
        &self,
        tenant: &TenantId,
        id: ConnectionId,
        now: Timestamp,
    ) -> Result<(), Fault> {
        tracing::warn!(%tenant, connection_id = %id, "a connection's identity provider is not set up");
        let (outcome, plain) = (TokenOutcome::ClientRefused(IdpError::default()), any_row()?);
        let change = |stored: &mut StoredConnection| {
            let connection = &mut stored.connection;
            // The only token of others is as good as before.
            let is_kept =
                connection.refreshable && matches!(connection.status, Status::Active | Status::Failing);
            if is_kept {
                connection.note_failure(&plain, &outcome, now, clock::jitter());
            }
            is_kept
        };
        match self.connections.change(tenant, id, change).await? {
            Some(after) => {
                self.follow_up(after).await;
                Ok(())
            }
            None => self.entries.put(tenant, id, now + Duration::from_hours(24)).await,
        }
    }

    /// Refreshes a connection of this generation under its lease; `None` where another refresher has it, or the
    /// generation is another one by now. What comes back was refreshed, or has its failure noted.
    pub(super) async fn refresh_under_lease(
        &self,
        tenant: &TenantId,
        id: ConnectionId,
        generation: u64,
        deadline: Timestamp,
        now: Timestamp,
    ) -> Result<Option<StoredConnection>, Fault> {
        let by = HEXLOWER.encode(&clock::random::<16>()?);
        let Some(stored) = self.connections.lease(tenant, id, generation, &by, now).await? else {
            return Ok(None);
        };
        // Named, since the compiler cannot prove of the type that it infers that it is `Send`, as the API requires.
        let refreshing: Pin<Box<dyn Future<Output = _> + Send + '_>> =
            Box::pin(self.refresh_leased(stored, &by, deadline, now));
        let refreshed = refreshing.await;
        if let Err(fault) = &refreshed {
            tracing::error!(%fault, %tenant, connection_id = %id, "could not refresh connection");
            // The lease ends on its own, but a retry need not wait for that.
            let release = |stored: &mut StoredConnection| {
                let is_ours = stored.is_leased_by(&by);
                if is_ours {
                    stored.lease = None;
                }
                is_ours
            };
            if let Err(fault) = self.connections.change(tenant, id, release).await {
                tracing::warn!(%fault, "could not release lease on connection; it will expire");
            }
        }
        refreshed.map(Some)
    }

    /// The connection with its journal in Secrets Manager, if that succeeds; the journal is as good until then.
    async fn settled(&self, stored: StoredConnection) -> StoredConnection {
        match self.vault.settle(&self.connections, stored.clone()).await {
            Ok(settled) => settled,
            Err(fault) => {
                let id = stored.connection.id;
                tracing::warn!(%fault, connection_id = %id, "could not store refresh token; it remains sealed");
                stored
            }
        }
    }

    async fn refresh_leased(
        &self,
        stored: StoredConnection,
        by: &str,
        deadline: Timestamp,
        now: Timestamp,
    ) -> Result<StoredConnection, Fault> {
        let stored = self.settled(stored).await;
        let clients = self.clients(&stored.connection, now).await?;
        let Some(first) = clients.first() else {
            let outcome = TokenOutcome::ClientRefused(IdpError::default());
            let row = self.row(&stored.connection).await?;
            let row = row.map_or_else(any_row, Ok)?;
            return self.commit_failure(stored, by, &row, (&outcome, Duration::ZERO), now).await;
        };
        let row = &first.idp;
        if !self.circuits.admits(&stored.connection, now).await? {
            let outcome = TokenOutcome::Later { error: IdpError::default(), wait: None, may_have_run: false };
            return self.commit_failure(stored, by, row, (&outcome, Duration::ZERO), now).await;
        }
        let Some(credential) = self.vault.durable(&stored).await? else {
            let error = IdpError { code: Some("no_stored_token".to_owned()), ..IdpError::default() };
            let outcome = TokenOutcome::Dead(error);
            return self.commit_failure(stored, by, row, (&outcome, Duration::ZERO), now).await;
        };
        self.vault.prepare(&stored.connection).await?;
        check_time(deadline)?;
        let began = Instant::now();
        let (mut outcome, mut used) = (self.ask(&clients, &credential, deadline, now).await, credential);
        // A token that was refused may not be the newest one any more.
        if matches!(outcome, TokenOutcome::Dead(_)) {
            let newest = self.connections.get(&stored.connection.tenant_id, stored.connection.id).await?;
            let newest = match &newest {
                Some(newest) => self.vault.durable(newest).await?,
                None => None,
            };
            if let Some(newest) = newest.filter(|newest| newest.token != used.token) {
                check_time(deadline)?;
                outcome = self.ask(&clients, &newest, deadline, now).await;
                used = newest;
            }
        }
        let took = began.elapsed();
        self.circuits.note(&stored.connection, &outcome, now).await;
        match outcome {
            TokenOutcome::Granted(grant) => self.commit_grant(stored, row, (&grant, took), &used, now).await,
            outcome => self.commit_failure(stored, by, row, (&outcome, took), now).await,
        }
    }

    /// Asks the provider, with an older secret of the same client where the newest is refused.
    async fn ask(
        &self,
        clients: &[ProviderClient],
        credential: &DurableCredential,
        deadline: Timestamp,
        now: Timestamp,
    ) -> TokenOutcome {
        let mut outcome = TokenOutcome::ClientRefused(IdpError::default());
        for (index, ProviderClient { idp, client }) in clients.iter().enumerate() {
            if index > 0 && check_time(deadline).is_err() {
                break;
            }
            outcome = self.providers.refresh(idp, client, &credential.token, now).await;
            if !matches!(outcome, TokenOutcome::ClientRefused(_)) {
                return outcome;
            }
        }
        outcome
    }

    /// Commits a grant: generation, sealed token, expiry and, where the refresh token changed, the sealed journal, in one
    /// conditional update. It is tried for as long as that may help: the provider has replaced what is stored.
    async fn commit_grant(
        &self,
        stored: StoredConnection,
        row: &Idp,
        (grant, took): (&Grant, Duration),
        used: &DurableCredential,
        now: Timestamp,
    ) -> Result<StoredConnection, Fault> {
        let mut pauses = COMMIT_PAUSES.into_iter();
        let fault = loop {
            let committed = Box::pin(self.try_commit_grant(&stored, row, (grant, took), used, now)).await;
            match (committed, pauses.next()) {
                (Ok(after), _) => {
                    let after = self.follow_up(after).await;
                    self.announce_refresh(&after.connection, now).await;
                    return Ok(after);
                }
                (Err(fault), Some(pause)) => {
                    tracing::warn!(%fault, connection_id = %stored.connection.id, "could not commit a refresh; trying again");
                    tokio::time::sleep(pause).await;
                }
                (Err(fault), None) => break fault,
            }
        };
        if let Some(token) = grant.refresh_token.as_ref().filter(|token| **token != used.token) {
            let generation = stored.connection.generation.max(used.generation) + 1;
            let credential = DurableCredential { generation, token: token.clone() };
            self.vault.rescue(&stored, &credential).await?;
        }
        Err(fault)
    }

    async fn try_commit_grant(
        &self,
        stored: &StoredConnection,
        row: &Idp,
        (grant, took): (&Grant, Duration),
        used: &DurableCredential,
        now: Timestamp,
    ) -> Result<StoredConnection, Fault> {
        let Connection { tenant_id, id, generation, .. } = stored.connection.clone();
        // Sealed for the generation that it will have.
        let mut next = stored.connection.clone();
        next.take_grant(grant, used.generation, now);
        let token = self.vault.seal_token(&next, &grant.access_token).await?;
        let renewed = grant.refresh_token.as_ref().filter(|token| **token != used.token);
        let journal = match renewed.filter(|_| Vault::replaces(stored, row, now)) {
            Some(token) => Some(self.vault.seal_journal(&next, token).await?),
            None => None,
        };
        let change = |stored: &mut StoredConnection| {
            let connection = &mut stored.connection;
            if connection.generation != generation {
                return false;
            }
            connection.take_grant(grant, used.generation, now);
            connection.last_refreshed_at = Some(now);
            connection.note_granted_refresh(renewed.is_some(), took, now);
            stored.token.clone_from(&token);
            if journal.is_some() {
                stored.journal.clone_from(&journal);
            }
            stored.lease = None;
            if connection.status == Status::Revoked {
                // It was ended meanwhile, by the token of before. This one is to be ended, too.
                stored.revoking_until = Some(now + REVOKING);
                connection.next_refresh_at = Some(now);
                return true;
            }
            if matches!(connection.status, Status::Failing | Status::Reauthorize) {
                connection.status = Status::Active;
            }
            connection.announce_due(now);
            connection.next_refresh_at = connection.next_due(row, now, clock::jitter());
            true
        };
        match self.connections.change(&tenant_id, id, change).await? {
            Some(after) => Ok(after),
            None => self.keep_rotated(stored, grant, used).await,
        }
    }

    /// Keeps a rotated refresh token although another writer is ahead: one that did not replace what was used.
    async fn keep_rotated(
        &self,
        stored: &StoredConnection,
        grant: &Grant,
        used: &DurableCredential,
    ) -> Result<StoredConnection, Fault> {
        let ahead = self.gone_ahead(stored).await?;
        let rotated = grant.refresh_token.as_ref().filter(|token| **token != used.token);
        let current = self.vault.durable(&ahead).await?;
        let Some(token) = rotated.filter(|_| current.is_some_and(|current| current.token == used.token))
        else {
            return Ok(ahead);
        };
        let journal = self.vault.seal_journal(&ahead.connection, token).await?;
        let generation = ahead.connection.generation;
        let change = |stored: &mut StoredConnection| {
            let is_same = stored.connection.generation == generation;
            if is_same {
                stored.journal = Some(journal.clone());
            }
            is_same
        };
        let Connection { tenant_id, id, .. } = &ahead.connection;
        Ok(self.connections.change(tenant_id, *id, change).await?.unwrap_or(ahead))
    }

    /// Notes a failure, if the lease is still held: another refresher may have succeeded since.
    async fn commit_failure(
        &self,
        stored: StoredConnection,
        by: &str,
        row: &Idp,
        (outcome, took): (&TokenOutcome, Duration),
        now: Timestamp,
    ) -> Result<StoredConnection, Fault> {
        let Connection { tenant_id, id, generation, .. } = stored.connection.clone();
        let jitter = clock::jitter();
        // A refresher that stopped halfway may have replaced the refresh token.
        let may_be_lost = stored.was_abandoned && row.rotation == Rotation::Rotates;
        let change = |stored: &mut StoredConnection| {
            if stored.connection.generation != generation || !stored.is_leased_by(by) {
                return false;
            }
            let connection = &mut stored.connection;
            if matches!(connection.status, Status::Active | Status::Failing) {
                if may_be_lost {
                    connection.lost_at.get_or_insert(now);
                }
                connection.note_failure(row, outcome, now, jitter);
                connection.note_failed_refresh(took, now);
            }
            stored.lease = None;
            true
        };
        if matches!(outcome, TokenOutcome::Dead(_)) {
            // A token call has no entry that is due soon: who stops after the change leaves the event to this one.
            self.entries.put(&tenant_id, id, now + SETTLING).await?;
        }
        match self.connections.change(&tenant_id, id, change).await? {
            Some(after) => Ok(self.follow_up(after).await),
            None => self.gone_ahead(&stored).await,
        }
    }

    async fn gone_ahead(&self, stored: &StoredConnection) -> Result<StoredConnection, Fault> {
        let Connection { tenant_id, id, .. } = &stored.connection;
        let missing = || Fault::new(REFRESHING, "the connection no longer exists");
        self.find(tenant_id, *id).await?.ok_or_else(missing)
    }
}

/// Whether there is time for a call to a provider and the writes after it. One that is cut off in the middle could cost
/// the credential.
fn check_time(deadline: Timestamp) -> Result<(), Fault> {
    let enough = clock::machine_now() + CALL_TIME < deadline;
    enough.then_some(()).ok_or_else(|| Fault::new(REFRESHING, "too little time is left"))
}

/// A row for rules that depend on no provider, such as when an ended connection is forgotten.
fn any_row() -> Result<Idp, Fault> {
    let preset = domain::connection::presets::all().next();
    preset.map(|preset| preset.row.clone()).ok_or_else(|| Fault::new(REFRESHING, "no preset can be read"))
}
