//! The keeper of connections: makes them, keeps their tokens fresh, hands tokens out, and ends them.
//!
//! A refresh is one POST under a lease and a generation. Its outcome is written, sealed, into the connection's row
//! before anything else, in the update that counts the generation up; then a new refresh token goes to Secrets Manager,
//! and the sealed copy is cleared. The first reader of such a copy finishes that.

mod announcing;
mod circuit;
mod connecting;
mod ending;
mod noticing;
mod refreshing;
mod tokens;
mod types;
mod vault;

use std::{sync::Arc, time::Duration};

use domain::{
    ConnectionId, TenantId, Timestamp,
    connection::{Connection, Idp, IdpConfig, idp::GrantType, storage::RotatingTokens},
};

use self::circuit::Circuits;
pub use self::types::{AccessToken, NewGrant, NoToken, NotConnected, TokenRequest};
pub use self::vault::Vault;
use super::{
    provider::{Client, ClientSecret, Providers},
    seal_keys::SealKeys,
};
use crate::{
    Fault,
    publish::Publisher,
    runtime::clock,
    secrets::{RotatingSecrets, SecretRef, Secrets},
    store::{
        connect::circuits::IdpCircuits,
        due::connections::ConnectionEntries,
        registry::{
            connections::{Connections, StoredConnection},
            idps::Idps,
        },
    },
};

/// How long a connection that is being made may take before its entry looks after it.
const SETTLING: Duration = Duration::from_mins(1);

/// How long a connection waits that has nothing due.
const IDLE: Duration = Duration::from_hours(30 * 24);

/// Keeps connections.
#[derive(Debug)]
pub struct Keeper {
    pub(super) connections: Connections,
    pub(super) idps: Idps,
    pub(super) entries: ConnectionEntries,
    pub(super) providers: Providers,
    pub(super) vault: Vault,
    pub(super) circuits: Circuits,
    pub(super) publisher: Arc<Publisher>,
}

/// A provider's client, and by which row it is used.
pub(super) struct ProviderClient {
    pub(super) idp: Idp,
    pub(super) client: Client,
}

/// What a keeper is made of.
#[derive(Debug)]
pub struct KeeperParts {
    /// Connections.
    pub connections: Connections,
    /// Identity providers.
    pub idps: Idps,
    /// Entries of connections.
    pub entries: ConnectionEntries,
    /// Calls to providers.
    pub providers: Providers,
    /// What tokens are sealed with.
    pub seal_keys: SealKeys,
    /// Secrets that rarely change.
    pub pool: Secrets,
    /// Refresh tokens that each use replaces.
    pub rotating: RotatingSecrets,
    /// Where those of new connections go.
    pub rotating_tokens: RotatingTokens,
    /// Circuits of providers.
    pub circuits: IdpCircuits,
    /// Publishes events.
    pub publisher: Arc<Publisher>,
}

impl Keeper {
    /// A keeper.
    #[must_use]
    pub fn new(parts: KeeperParts) -> Self {
        Self {
            connections: parts.connections,
            idps: parts.idps,
            entries: parts.entries,
            providers: parts.providers,
            vault: Vault::new(parts.seal_keys, parts.pool, parts.rotating, parts.rotating_tokens),
            circuits: Circuits::new(parts.circuits),
            publisher: parts.publisher,
        }
    }

    /// Connections.
    #[must_use]
    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    /// Seals the secrets of flows.
    #[must_use]
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Identity providers.
    #[must_use]
    pub fn idps(&self) -> &Idps {
        &self.idps
    }

    /// Calls to providers.
    #[must_use]
    pub fn providers(&self) -> &Providers {
        &self.providers
    }

    /// The secrets of tenants.
    #[must_use]
    pub fn secrets(&self) -> &Secrets {
        self.vault.pool()
    }

    /// The row by which a connection was granted, and the client's credentials to try, the best first. Empty where the
    /// provider is no longer set up.
    pub(super) async fn clients(
        &self,
        connection: &Connection,
        now: Timestamp,
    ) -> Result<Vec<ProviderClient>, Fault> {
        let Connection { tenant_id, operator_idp, idp, credential_id, .. } = connection;
        let Some(config) = self.idps.of_owner(tenant_id, *operator_idp, idp).await? else {
            return Ok(vec![]);
        };
        let Some(row) = config.idp() else { return Ok(vec![]) };
        if row.grant == GrantType::ClientCredentials && *operator_idp && !tenant_id.is_operator() {
            // They are the operator's own account, which no person of this tenant has granted.
            return Ok(vec![]);
        }
        let (mut clients, mut unread) = (Vec::new(), None);
        for credential in config.of_client_of(*credential_id, now).into_iter().take(2) {
            match self.client(&config, &row, credential.id).await {
                Ok(client) => clients.push(ProviderClient { idp: row.clone(), client }),
                Err(fault) => {
                    tracing::error!(%fault, idp = %idp, "could not read credentials of identity provider");
                    unread = Some(fault);
                }
            }
        }
        match unread {
            Some(fault) if clients.is_empty() => Err(fault),
            _ => Ok(clients),
        }
    }

    /// Our client at a provider, with its secret.
    pub async fn client(
        &self,
        config: &IdpConfig,
        row: &Idp,
        credential: domain::CredentialId,
    ) -> Result<Client, Fault> {
        const READING: &str = "reading credentials of an identity provider";
        let missing = || Fault::new(READING, "there are none of this id");
        let found = config.credentials.iter().find(|one| one.id == credential).ok_or_else(missing)?;
        let id = format!("{}/{credential}", config.name);
        let secret = SecretRef {
            tenant: &config.tenant_id,
            holder: domain::ids::holder::Holder::Idps,
            shard: found.secret_shard,
            id: &id,
        };
        let secrets = self.vault.pool().get(secret, Duration::MAX).await?;
        let secret = match secrets.first() {
            Some(text) => ClientSecret::parse(text, row.auth).map_err(|why| Fault::new(READING, why))?,
            None => ClientSecret::None,
        };
        Ok(Client { client_id: found.client_id.clone(), secret })
    }

    /// The row of a connection's provider; a plain one where the provider is no longer set up.
    pub(super) async fn row(&self, connection: &Connection) -> Result<Option<Idp>, Fault> {
        let Connection { tenant_id, operator_idp, idp, .. } = connection;
        Ok(self.idps.of_owner(tenant_id, *operator_idp, idp).await?.and_then(|config| config.idp()))
    }

    /// Notes when a connection is next due, in its entry. What the row says is for people.
    pub(super) async fn schedule(&self, connection: &Connection) -> Result<(), Fault> {
        let Connection { tenant_id, id, .. } = connection;
        let now = clock::now();
        // Never without an entry: another writer may have just made it due.
        let mut due = connection.next_refresh_at.unwrap_or(now + IDLE);
        if !connection.announcements.is_empty() {
            // The one who was to publish them may have been killed.
            due = due.min(now + SETTLING);
        }
        self.entries.put(tenant_id, *id, due).await
    }

    /// Does what is left after a change was committed: the refresh token into Secrets Manager, the events, the entry. A
    /// failure is logged and left to the entry, which every change has. The entry is moved last: a function that is killed
    /// before that leaves the events to it.
    pub(super) async fn follow_up(&self, stored: StoredConnection) -> StoredConnection {
        let (tenant, id) = (stored.connection.tenant_id.clone(), stored.connection.id);
        let settled = async {
            let stored = self.vault.settle(&self.connections, stored.clone()).await?;
            let stored = self.announce(stored).await?;
            self.schedule(&stored.connection).await?;
            Ok::<_, Fault>(stored)
        };
        match Box::pin(settled).await {
            Ok(stored) => stored,
            Err(fault) => {
                tracing::warn!(%fault, %tenant, connection_id = %id, "could not finish a change of a connection; its entry does");
                let entered = self.entries.put(&tenant, id, clock::now() + SETTLING).await;
                if let Err(fault) = entered {
                    tracing::error!(%fault, %tenant, connection_id = %id, "could not write entry of a connection");
                }
                stored
            }
        }
    }

    /// One connection.
    pub(super) async fn find(
        &self,
        tenant: &TenantId,
        id: ConnectionId,
    ) -> Result<Option<StoredConnection>, Fault> {
        self.connections.get(tenant, id).await
    }
}
