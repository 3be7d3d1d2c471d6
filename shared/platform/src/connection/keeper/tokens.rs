//! Token calls: the CRM asks for an access token that works.

use std::time::Duration;

use domain::{
    ConnectionId, TenantId, Timestamp,
    connection::{Connection, Status, record::ErrorCode, token::IdpError},
};
use tokio::time::Instant;

use super::{AccessToken, Keeper, NoToken, SETTLING, TokenRequest};
use crate::{runtime::clock, store::registry::connections::StoredConnection};

/// How long a caller waits for a refresh that another one makes: longer than a call to a provider.
const PATIENCE: Duration = Duration::from_secs(12);

/// How long a caller may begin a refresh of its own: with the call to the provider it has waited about as long as
/// for that of another one.
const TAKING: Duration = Duration::from_secs(2);

/// What is left of the gateway's 30 s for a request, less what comes before.
const REQUEST_TIME: Duration = Duration::from_secs(26);

/// How often it looks meanwhile.
const POLL: Duration = Duration::from_millis(250);

/// How long after a refresh another one is refused. Providers count them.
const COOL_DOWN: Duration = Duration::from_secs(30);

/// How exactly it is known when the CRM last asked for a token.
const LAST_TOKEN_ACCURACY: Duration = Duration::from_hours(1);

impl Keeper {
    /// An access token, refreshed where that is required. However many ask with one refused generation, one refreshes.
    pub async fn token(
        &self,
        tenant: &TenantId,
        id: ConnectionId,
        request: &TokenRequest,
        now: Timestamp,
    ) -> Result<AccessToken, NoToken> {
        let began = Instant::now();
        let deadline = clock::machine_now() + REQUEST_TIME;
        loop {
            let stored = self.find(tenant, id).await?.ok_or(NoToken::NotFound)?;
            let connection = &stored.connection;
            match connection.status {
                Status::Revoked => return Err(NoToken::Revoked),
                Status::Pending => return Err(NoToken::Pending),
                Status::Active | Status::Failing | Status::Reauthorize => {}
            }
            let missing = connection.lacks(&request.scopes);
            if !missing.is_empty() {
                return Err(NoToken::MissingScopes(missing));
            }
            let is_refused = request.refused_generation == Some(connection.generation);
            // A longer life than the provider gives would be asked for at each call.
            let most = connection.token_lifetime().map_or(Duration::MAX, |lifetime| lifetime / 2);
            let until = now + request.min_valid.min(most);
            let is_new =
                now.since(connection.token_issued_at) < COOL_DOWN || connection.token_issued_at > now;
            let is_fresh = connection.has_token_until(until) && !connection.is_near_expiry(now);
            if !is_refused && (is_fresh || is_new && connection.has_token_until(now)) {
                return self.hand_out(stored, now).await;
            }
            let since = connection.last_refreshed_at.map_or(Duration::MAX, |at| now.since(at));
            if is_refused && since < COOL_DOWN {
                // Providers count refreshes, and an API that refuses a new token refuses it for another reason.
                return Err(NoToken::TooSoon { retry_after: COOL_DOWN.saturating_sub(since) });
            }
            let can_refresh = connection.refreshable && connection.status != Status::Reauthorize;
            let is_usable = !is_refused && connection.has_token_until(now);
            if !can_refresh {
                if is_refused && !connection.refreshable && connection.status != Status::Reauthorize {
                    self.note_refusal(tenant, id, now).await?;
                }
                let error = connection.last_error.clone();
                return if is_usable {
                    self.hand_out(stored, now).await
                } else {
                    Err(NoToken::Reauthorize(error))
                };
            }
            // A failure a moment ago is not repeated by each caller.
            let waits =
                connection.next_refresh_at.filter(|at| connection.status == Status::Failing && *at > now);
            if let Some(until) = waits {
                let retry_after = until.since(now).clamp(Duration::from_secs(1), COOL_DOWN);
                let is_recent = now.since(connection.updated_at) < COOL_DOWN;
                if is_usable {
                    return self.hand_out(stored, now).await;
                }
                if is_recent {
                    return Err(NoToken::Unavailable { retry_after });
                }
            }
            let generation = connection.generation;
            if began.elapsed() > TAKING {
                // Another refresher is at work. A call that began now would end after the caller has gone.
                if began.elapsed() >= PATIENCE {
                    return self.without_refresh(stored, is_refused, now).await;
                }
                tokio::time::sleep(POLL).await;
                continue;
            }
            match self.refresh_under_lease(tenant, id, generation, deadline, now).await? {
                Some(after) if after.connection.generation > generation => {
                    return self.hand_out(after, now).await;
                }
                Some(after) => return self.without_refresh(after, is_refused, now).await,
                None => tokio::time::sleep(POLL).await,
            }
        }
    }

    /// What a caller gets where the refresh granted nothing: the present token where it still works.
    async fn without_refresh(
        &self,
        stored: StoredConnection,
        is_refused: bool,
        now: Timestamp,
    ) -> Result<AccessToken, NoToken> {
        let connection = &stored.connection;
        if !is_refused && connection.has_token_until(now) && connection.status != Status::Revoked {
            return self.hand_out(stored, now).await;
        }
        Err(match connection.status {
            Status::Reauthorize => NoToken::Reauthorize(connection.last_error.clone()),
            Status::Revoked => NoToken::Revoked,
            _ => {
                let wait = connection.next_refresh_at.map_or(COOL_DOWN, |at| at.since(now));
                NoToken::Unavailable { retry_after: wait.clamp(Duration::from_secs(1), COOL_DOWN) }
            }
        })
    }

    /// Hands the present token out, and notes about when.
    async fn hand_out(&self, stored: StoredConnection, now: Timestamp) -> Result<AccessToken, NoToken> {
        let connection = &stored.connection;
        // It may have ended while it was refreshed.
        match connection.status {
            Status::Revoked => return Err(NoToken::Revoked),
            Status::Pending => return Err(NoToken::Pending),
            _ => {}
        }
        let token = self.vault.token(&stored).await?;
        let Some(token) = token else { return Err(NoToken::Reauthorize(connection.last_error.clone())) };
        let handed = AccessToken {
            token,
            token_type: connection.token_type.clone(),
            expires_at: connection.token_expires_at,
            scopes: connection.scopes.clone(),
            generation: connection.generation,
            extra: connection.extra.clone(),
        };
        let is_known = connection.last_token_at.is_some_and(|at| now.since(at) < LAST_TOKEN_ACCURACY);
        if !is_known && let Err(fault) = self.note_use(&stored, now).await {
            tracing::warn!(%fault, connection_id = %connection.id, "could not note the use of a connection");
        }
        Ok(handed)
    }

    /// Notes that the provider's API refuses the only token of a connection: the person must grant another one.
    async fn note_refusal(
        &self,
        tenant: &TenantId,
        id: ConnectionId,
        now: Timestamp,
    ) -> Result<(), crate::Fault> {
        // Before the change: who stops after it leaves the rest to the entry.
        self.entries.put(tenant, id, now + SETTLING).await?;
        let end = |stored: &mut StoredConnection| {
            let is_open = matches!(stored.connection.status, Status::Active | Status::Failing);
            if is_open {
                stored.connection.end(ErrorCode::GrantRevoked, &IdpError::default(), now);
            }
            is_open
        };
        if let Some(after) = self.connections.change(tenant, id, end).await? {
            self.follow_up(after).await;
        }
        Ok(())
    }

    /// Notes that the CRM asks for tokens of this connection: it is refreshed ahead from now on.
    async fn note_use(&self, stored: &StoredConnection, now: Timestamp) -> Result<(), crate::Fault> {
        let Connection { tenant_id, id, .. } = &stored.connection;
        let row = self.row(&stored.connection).await?;
        let change = |stored: &mut StoredConnection| {
            let connection = &mut stored.connection;
            connection.last_token_at = Some(now);
            if let (Status::Active, Some(row)) = (connection.status, &row) {
                // Not later than it is: a notice of the provider can ask for a refresh at once.
                let due = connection.next_due(row, now, clock::jitter());
                let earlier = connection.next_refresh_at.zip(due).map(|(known, due)| known.min(due));
                connection.next_refresh_at = earlier.or(due);
            }
            true
        };
        match self.connections.change(tenant_id, *id, change).await? {
            Some(after) => self.schedule(&after.connection).await,
            None => Ok(()),
        }
    }

    /// Refreshes a connection now, whatever its token's age is.
    pub async fn refresh(
        &self,
        tenant: &TenantId,
        id: ConnectionId,
        now: Timestamp,
    ) -> Result<Connection, NoToken> {
        let began = Instant::now();
        let deadline = clock::machine_now() + REQUEST_TIME;
        let stored = self.find(tenant, id).await?.ok_or(NoToken::NotFound)?;
        let generation = stored.connection.generation;
        let connection = &stored.connection;
        match connection.status {
            Status::Revoked => return Err(NoToken::Revoked),
            Status::Reauthorize => return Err(NoToken::Reauthorize(connection.last_error.clone())),
            _ if !connection.refreshable => return Err(NoToken::Reauthorize(None)),
            _ => {}
        }
        let failed_at = (connection.failures > 0).then_some(connection.updated_at);
        let last = connection
            .last_refreshed_at
            .unwrap_or(connection.token_issued_at)
            .max(connection.token_issued_at);
        let since = now.since(failed_at.map_or(last, |at| at.max(last)));
        if since < COOL_DOWN {
            return Err(NoToken::TooSoon { retry_after: COOL_DOWN.saturating_sub(since) });
        }
        loop {
            if began.elapsed() <= TAKING
                && let Some(after) = self.refresh_under_lease(tenant, id, generation, deadline, now).await?
            {
                return Ok(after.connection);
            }
            let now_stored = self.find(tenant, id).await?.ok_or(NoToken::NotFound)?;
            if now_stored.connection.generation > generation {
                return Ok(now_stored.connection);
            }
            if began.elapsed() >= PATIENCE {
                return Err(NoToken::Unavailable { retry_after: COOL_DOWN });
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
