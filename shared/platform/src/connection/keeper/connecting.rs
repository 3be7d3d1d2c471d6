//! A grant becomes a connection, or renews one.

use domain::{
    ConnectionId, Secret, Timestamp,
    connection::{
        Connection, Idp, Status,
        history::RefreshHistory,
        idp::Rotation,
        notice::token_identifiers,
        record::{ConnectionEvent, RefreshMode},
        session::{Link, Outcome, link},
        token::Grant,
    },
};

use super::{Keeper, NewGrant, NotConnected, SETTLING};
use crate::{
    Fault,
    runtime::clock,
    store::registry::connections::{AccountLinks, CreateConnectionOutcome, StoredConnection},
};

/// How long a browser waits for what follows the connection.
const FOLLOW_UP: std::time::Duration = std::time::Duration::from_secs(5);

/// How often a grant is linked while other grants of the same account are.
const LINK_TRIES: u32 = 5;

impl Keeper {
    /// Makes a connection of a grant, or renews the one of the same account and person.
    pub async fn connect(&self, new: NewGrant, now: Timestamp) -> Result<Connection, NotConnected> {
        for _ in 0..LINK_TRIES {
            let target = match new.reconnects {
                Some(id) => {
                    let ended = || NotConnected::Refused(Outcome::SessionEnded);
                    Some(self.find(&new.tenant, id).await?.ok_or_else(ended)?)
                }
                None => None,
            };
            let links = self.connections.of_account(&new.tenant, &new.idp, &new.account.sub).await?;
            let target = target.as_ref().map(|stored| &stored.connection);
            if target.is_some_and(|target| target.idp != new.idp) {
                return Err(NotConnected::Refused(Outcome::SessionEnded));
            }
            let decided = link(&new.user_id, new.share, &new.account.sub, target, &links.list());
            let connected = match decided.map_err(NotConnected::Refused)? {
                Link::Renew(id) => self.renew(id, &new, now).await?,
                // Before anything is written: what is checked with the write is too late for the rest.
                Link::New if self.connections.is_full(&new.tenant, new.limit).await? => {
                    return Err(NotConnected::Refused(Outcome::LimitReached));
                }
                Link::New => self.make(&new, &links, now).await?,
            };
            if let Some(stored) = connected {
                let connection = stored.connection.clone();
                // A browser waits. What takes longer is left to the entry.
                let followed = tokio::time::timeout(FOLLOW_UP, Box::pin(self.follow_up(stored))).await;
                return Ok(followed.map_or(connection, |stored| stored.connection));
            }
        }
        Err(Fault::new("connecting an account", "others connect it at the same time").into())
    }

    /// What lasts of a grant.
    fn durable(new: &NewGrant) -> &Secret {
        new.grant.refresh_token.as_ref().unwrap_or(&new.grant.access_token)
    }

    /// Makes a connection; `None` where the account's connections have changed, or the tenant's last one was made by
    /// others meanwhile, which the next try sees.
    async fn make(
        &self,
        new: &NewGrant,
        links: &AccountLinks,
        now: Timestamp,
    ) -> Result<Option<StoredConnection>, Fault> {
        let id = ConnectionId::new(now, clock::random()?);
        let mut connection = Connection {
            id,
            tenant_id: new.tenant.clone(),
            idp: new.idp.clone(),
            credential_id: new.credential_id,
            operator_idp: new.operator_idp,
            user_id: new.user_id.clone(),
            status: if new.confirm { Status::Pending } else { Status::Active },
            account: new.account.clone(),
            // Where a response names none, what was asked for is granted (RFC 6749, section 5.1).
            scopes: new.requested_scopes.clone(),
            requested_scopes: new.requested_scopes.clone(),
            refreshable: false,
            refresh: new.refresh.unwrap_or(RefreshMode::Auto),
            generation: 0,
            token_type: String::new(),
            token_issued_at: now,
            token_expires_at: None,
            grant_expires_at: None,
            refreshes: RefreshHistory::default(),
            authorized_at: now,
            last_refreshed_at: None,
            next_refresh_at: None,
            last_token_at: None,
            last_error: None,
            failures: 0,
            failing_since: None,
            refused_since: None,
            grant_slides: false,
            failing_announced: false,
            lost_at: None,
            expiry_announced_days: None,
            revoked_by: None,
            label: new.label.clone(),
            metadata: new.metadata.clone(),
            extra: serde_json::Map::new(),
            created_at: now,
            updated_at: now,
            changes: 0,
            announcements: vec![],
        };
        connection.take_grant(&new.grant, 0, now);
        if !new.confirm {
            connection.announce(ConnectionEvent::Created, now);
        }
        let row = self.row(&connection).await?.ok_or_else(not_set_up)?;
        connection.next_refresh_at = connection.next_due(&row, now, clock::jitter());
        let token = self.vault.seal_token(&connection, &new.grant.access_token).await?;
        let journal = Some(self.vault.seal_journal(&connection, Self::durable(new)).await?);
        let place = self.vault.place_of_new(&row, new.grant.refresh_token.is_some());
        let stored = StoredConnection {
            connection,
            token,
            journal,
            place,
            stored_at: None,
            stored_generation: None,
            revoking_until: None,
            revision: 0,
            lease: None,
            was_abandoned: false,
        };
        // Before the connection: an entry of none is removed, and a connection without one would be forgotten.
        self.entries.put(&new.tenant, id, now + SETTLING).await?;
        self.connections.note_grant(&stored.connection, &identifiers(&row, &new.grant)).await?;
        let created = self.connections.create(&stored, links, new.limit).await?;
        if created == CreateConnectionOutcome::LimitReached {
            // The grant is of no connection.
            self.connections.forget_grant(&stored.connection).await?;
        }
        Ok((created == CreateConnectionOutcome::New).then_some(stored))
    }

    /// Renews a connection; `None` where it no longer is.
    async fn renew(
        &self,
        id: ConnectionId,
        new: &NewGrant,
        now: Timestamp,
    ) -> Result<Option<StoredConnection>, Fault> {
        let Some(mut stored) = self.find(&new.tenant, id).await? else {
            // It was deleted, and its account still names it.
            return Ok(None);
        };
        if stored.connection.status == Status::Revoked {
            self.connections.unlink(&stored.connection).await?;
            return Ok(None);
        }
        // A row that was restored from a backup is behind its secret; without it, the row's own generation counts.
        let used = match self.vault.durable(&stored).await {
            Ok(credential) => credential.map_or(0, |credential| credential.generation),
            Err(fault) => {
                tracing::warn!(%fault, connection_id = %id, "could not read refresh token of a renewed connection");
                0
            }
        };
        // Before the change: who stops after it leaves the rest to the entry.
        self.entries.put(&new.tenant, id, now + SETTLING).await?;
        let connection = &mut stored.connection;
        connection.account = connection.account.renewed(new.account.clone());
        connection.credential_id = new.credential_id;
        connection.operator_idp = new.operator_idp;
        for scope in &new.requested_scopes {
            if !connection.requested_scopes.contains(scope) {
                connection.requested_scopes.push(scope.clone());
            }
        }
        // One that is dead is as good as none.
        let holds = connection.refreshable && connection.status != Status::Reauthorize;
        connection.refreshable = holds;
        connection.grant_expires_at = None;
        connection.grant_slides = false;
        let row = self.row(connection).await?.ok_or_else(not_set_up)?;
        let mut grant = new.grant.clone();
        if grant.scopes.is_none() {
            // What was asked for is granted (RFC 6749, section 5.1), beside what was, unless that is replaced.
            let kept = connection
                .scopes
                .iter()
                .filter(|scope| !row.replaces_scopes && !new.requested_scopes.contains(scope));
            grant.scopes = Some(new.requested_scopes.iter().chain(kept).cloned().collect());
        }
        connection.take_grant(&grant, used, now);
        connection.authorized_at = now;
        connection.expiry_announced_days = None;
        connection.metadata.extend(new.metadata.clone());
        if let Some(label) = &new.label {
            connection.label = Some(label.clone());
        }
        if connection.status != Status::Pending {
            connection.status = Status::Active;
            connection.announce(ConnectionEvent::Reauthorized, now);
        }
        connection.next_refresh_at = connection.next_due(&row, now, clock::jitter());
        stored.token = self.vault.seal_token(&stored.connection, &new.grant.access_token).await?;
        // A consent without a refresh token must not erase the one that is held.
        if new.grant.refresh_token.is_some() || !holds {
            let journal = self.vault.seal_journal(&stored.connection, Self::durable(new)).await?;
            stored.journal = Some(journal);
        }
        stored.lease = None;
        self.connections.note_grant(&stored.connection, &identifiers(&row, &new.grant)).await?;
        Ok(self.connections.replace(&mut stored).await?.then_some(stored))
    }

    /// Confirms who connected; `None` where the connection does not exist.
    pub async fn confirm(
        &self,
        tenant: &domain::TenantId,
        id: ConnectionId,
        now: Timestamp,
    ) -> Result<Option<Connection>, Fault> {
        let Some(stored) = self.find(tenant, id).await? else { return Ok(None) };
        if stored.connection.status != Status::Pending {
            return Ok(Some(stored.connection));
        }
        let row = self.row(&stored.connection).await?.ok_or_else(not_set_up)?;
        let change = |stored: &mut StoredConnection| {
            let connection = &mut stored.connection;
            let is_pending = connection.status == Status::Pending;
            if is_pending {
                connection.status = Status::Active;
                connection.updated_at = now;
                connection.announce(ConnectionEvent::Created, now);
                connection.next_refresh_at = connection.next_due(&row, now, clock::jitter());
            }
            is_pending
        };
        match self.connections.change(tenant, id, change).await? {
            Some(after) => Ok(Some(self.follow_up(after).await.connection)),
            None => Ok(self.find(tenant, id).await?.map(|stored| stored.connection)),
        }
    }
}

/// By what a provider may name the refresh token of a grant. One that each use replaces is known for too short a time.
fn identifiers(row: &Idp, grant: &Grant) -> Vec<String> {
    let token = grant.refresh_token.as_ref().filter(|_| row.rotation == Rotation::Keeps);
    token.map(|token| token_identifiers(token).to_vec()).unwrap_or_default()
}

fn not_set_up() -> Fault {
    Fault::new("connecting an account", "its identity provider is not set up")
}
