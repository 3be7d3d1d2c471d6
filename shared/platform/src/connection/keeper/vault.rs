//! Where the tokens of a connection are: access tokens sealed in its row, what lasts in Secrets Manager.

use std::time::Duration;

use domain::{
    ConnectSessionId, ConnectionId, Secret, TenantId, Timestamp,
    connection::{
        Connection, Idp,
        idp::Rotation,
        storage::{RotatingTokens, Storage},
    },
    ids::holder::Holder,
};

use crate::{
    Fault,
    connection::{seal::SealContext, seal_keys::SealKeys},
    runtime::clock,
    secrets::{DurableCredential, RotatingSecrets, SecretOwner, SecretRef, Secrets, SecretsError},
    store::registry::connections::{Connections, CredentialPlace, StoredConnection},
};

/// How old a stored refresh token may be that the provider renews beside the old one: a week of 90 days that
/// Microsoft's live. Each put takes a version of its document.
const RENEWED_AGE: Duration = Duration::from_hours(7 * 24);

const SETTLING: &str = "storing a refresh token";

/// Seals and stores tokens.
#[derive(Debug)]
pub struct Vault {
    seals: SealKeys,
    pool: Secrets,
    rotating: RotatingSecrets,
    /// Where rotating tokens of new connections go. Those of others remain where they are.
    rotating_tokens: RotatingTokens,
}

impl Vault {
    pub(in crate::connection) fn new(
        seals: SealKeys,
        pool: Secrets,
        rotating: RotatingSecrets,
        rotating_tokens: RotatingTokens,
    ) -> Self {
        Self { seals, pool, rotating, rotating_tokens }
    }

    pub(super) fn pool(&self) -> &Secrets {
        &self.pool
    }

    /// Seals a text of a connection for this generation.
    async fn seal(
        &self,
        tenant: &TenantId,
        id: ConnectionId,
        generation: u64,
        field: &str,
        secret: &Secret,
    ) -> Result<String, Fault> {
        let connection = id.to_string();
        let context = SealContext { connection: &connection, generation, field };
        self.seals.seal(tenant, context, secret.expose().as_bytes()).await
    }

    async fn open(
        &self,
        tenant: &TenantId,
        id: ConnectionId,
        generation: u64,
        field: &str,
        sealed: &str,
    ) -> Result<Secret, Fault> {
        let connection = id.to_string();
        self.open_in(tenant, SealContext { connection: &connection, generation, field }, sealed).await
    }

    /// A secret of a flow, sealed; the session's id is bound to it in the place of a connection's.
    pub async fn seal_of_flow(
        &self,
        tenant: &TenantId,
        session: ConnectSessionId,
        field: &str,
        secret: &Secret,
    ) -> Result<String, Fault> {
        let session = session.to_string();
        let context = SealContext { connection: &session, generation: 0, field };
        self.seals.seal(tenant, context, secret.expose().as_bytes()).await
    }

    /// A secret of a flow.
    pub async fn open_of_flow(
        &self,
        tenant: &TenantId,
        session: ConnectSessionId,
        field: &str,
        sealed: &str,
    ) -> Result<Secret, Fault> {
        let session = session.to_string();
        self.open_in(tenant, SealContext { connection: &session, generation: 0, field }, sealed).await
    }

    async fn open_in(
        &self,
        tenant: &TenantId,
        context: SealContext<'_>,
        sealed: &str,
    ) -> Result<Secret, Fault> {
        let plain = self.seals.open(tenant, context, sealed).await?;
        let text = String::from_utf8(plain.to_vec());
        text.map(Secret::new).map_err(|_| Fault::new("opening a sealed text", "it is not text"))
    }

    /// What a row keeps of an access token; nothing where it is the durable credential itself.
    pub(super) async fn seal_token(
        &self,
        connection: &Connection,
        token: &Secret,
    ) -> Result<Option<String>, Fault> {
        let Connection { tenant_id, id, generation, refreshable, .. } = connection;
        if !refreshable {
            return Ok(None);
        }
        self.seal(tenant_id, *id, *generation, "token", token).await.map(Some)
    }

    /// The access token of a connection.
    pub(super) async fn token(&self, stored: &StoredConnection) -> Result<Option<Secret>, Fault> {
        let Connection { tenant_id, id, generation, .. } = &stored.connection;
        match &stored.token {
            Some(sealed) => self.open(tenant_id, *id, *generation, "token", sealed).await.map(Some),
            None if stored.connection.refreshable => Ok(None),
            None => Ok(self.durable(stored).await?.map(|credential| credential.token)),
        }
    }

    /// What a row keeps of a durable credential until it is in Secrets Manager.
    pub(super) async fn seal_journal(
        &self,
        connection: &Connection,
        token: &Secret,
    ) -> Result<String, Fault> {
        let Connection { tenant_id, id, generation, .. } = connection;
        let sealed = self.seal(tenant_id, *id, *generation, "journal", token).await?;
        Ok(format!("{generation}:{sealed}"))
    }

    async fn journal(&self, stored: &StoredConnection) -> Result<Option<DurableCredential>, Fault> {
        let Some(journal) = &stored.journal else { return Ok(None) };
        let malformed = || Fault::new("opening a token", "its generation is malformed");
        let (generation, sealed) = journal.split_once(':').ok_or_else(malformed)?;
        let generation = generation.parse().map_err(|_| malformed())?;
        let Connection { tenant_id, id, .. } = &stored.connection;
        let token = self.open(tenant_id, *id, generation, "journal", sealed).await?;
        Ok(Some(DurableCredential { generation, token }))
    }

    /// The durable credential of a connection: the journal's or the stored one, whichever is newer.
    pub(super) async fn durable(
        &self,
        stored: &StoredConnection,
    ) -> Result<Option<DurableCredential>, Fault> {
        let journal = self.journal(stored).await?;
        let kept = self.kept(stored).await?;
        // Secrets Manager is eventually consistent. A version that is behind holds a token that was used.
        let found = journal.iter().chain(&kept).map(|credential| credential.generation).max();
        if stored.place.is_some() && found < stored.stored_generation {
            return Err(Fault::new("reading a refresh token", "what was stored is not there yet"));
        }
        Ok(match (journal, kept) {
            (Some(journal), Some(kept)) if kept.generation > journal.generation => Some(kept),
            (Some(journal), _) => Some(journal),
            (None, kept) => kept,
        })
    }

    async fn kept(&self, stored: &StoredConnection) -> Result<Option<DurableCredential>, Fault> {
        let Connection { tenant_id, id, .. } = &stored.connection;
        match stored.place {
            // What is sealed is the journal.
            None | Some(CredentialPlace::Sealed) => Ok(None),
            Some(CredentialPlace::Own) => self.rotating.get(tenant_id, *id).await,
            Some(CredentialPlace::Pool(shard)) => {
                let name = id.to_string();
                let secret = SecretRef { tenant: tenant_id, holder: Holder::Connections, shard, id: &name };
                let found = self.pool.get(secret, Duration::ZERO).await?;
                let malformed = || Fault::new("reading a refresh token", "the entry is malformed");
                let read = |text: &Secret| serde_json::from_str(text.expose()).map_err(|_| malformed());
                found.first().map(read).transpose()
            }
        }
    }

    /// Whether a credential that was granted replaces the stored one.
    pub(super) fn replaces(stored: &StoredConnection, idp: &Idp, now: Timestamp) -> bool {
        let is_fresh = stored.stored_at.is_some_and(|at| now.since(at) < RENEWED_AGE);
        idp.rotation != Rotation::Renews || stored.place.is_none() || !is_fresh
    }

    /// Where the durable credential of a new connection goes, where it is not for the pool.
    pub(super) fn place_of_new(&self, idp: &Idp, refreshable: bool) -> Option<CredentialPlace> {
        match self.rotating_tokens.storage(idp, refreshable) {
            Storage::Document => None,
            Storage::OwnSecret => Some(CredentialPlace::Own),
            Storage::Row => Some(CredentialPlace::Sealed),
        }
    }

    /// Makes sure that something can be sealed: what a provider grants must not be lost because the keys cannot be read.
    pub(super) async fn prepare(&self, connection: &Connection) -> Result<(), Fault> {
        let Connection { tenant_id, id, generation, .. } = connection;
        let nothing = Secret::new(String::new());
        self.seal(tenant_id, *id, *generation, "nothing", &nothing).await.map(|_| ())
    }

    /// Stores a rotated refresh token although the row could not be written: the newest version counts.
    pub(super) async fn rescue(
        &self,
        stored: &StoredConnection,
        credential: &DurableCredential,
    ) -> Result<(), Fault> {
        let Connection { tenant_id, id, .. } = &stored.connection;
        match stored.place {
            Some(CredentialPlace::Own) => self.rotating.put(tenant_id, *id, credential).await,
            Some(CredentialPlace::Sealed) => Err(Fault::new(SETTLING, "it is sealed in its row")),
            _ => Err(Fault::new(SETTLING, "it shares a document, which requires its row")),
        }
    }

    /// Moves the journal of a connection into Secrets Manager and clears it; returns the connection after that.
    pub(super) async fn settle(
        &self,
        connections: &Connections,
        stored: StoredConnection,
    ) -> Result<StoredConnection, Fault> {
        if stored.place == Some(CredentialPlace::Sealed) {
            return Ok(stored);
        }
        let Some(credential) = self.journal(&stored).await? else { return Ok(stored) };
        let Connection { tenant_id, id, .. } = &stored.connection;
        // A later writer may be done with a later one.
        let is_newest = self.kept(&stored).await?.is_none_or(|kept| kept.generation <= credential.generation);
        let (place, moved) = match stored.place {
            place if !is_newest => (place, None),
            Some(CredentialPlace::Own) => {
                self.rotating.put(tenant_id, *id, &credential).await?;
                (Some(CredentialPlace::Own), None)
            }
            place => {
                let text = serde_json::to_string(&credential).map_err(Fault::on(SETTLING))?;
                let secrets = [Secret::new(text)];
                let name = id.to_string();
                let owner = SecretOwner { tenant: tenant_id, holder: Holder::Connections, id: &name };
                if let Some(CredentialPlace::Pool(shard)) = place {
                    let secret =
                        SecretRef { tenant: tenant_id, holder: Holder::Connections, shard, id: &name };
                    let moved = self.pool.set(secret, &secrets).await.map_err(settling_fault)?;
                    (Some(CredentialPlace::Pool(moved.shard)), Some(moved))
                } else {
                    let shard = self.pool.add(owner, &secrets).await.map_err(settling_fault)?;
                    (Some(CredentialPlace::Pool(shard)), None)
                }
            }
        };
        let (journal, now) = (stored.journal.clone(), clock::now());
        let change = |stored: &mut StoredConnection| {
            let is_same = stored.journal == journal;
            if is_same {
                stored.journal = None;
                stored.place = place;
                stored.stored_at = Some(now);
                stored.stored_generation = stored.stored_generation.max(Some(credential.generation));
            }
            is_same
        };
        let settled = connections.change(tenant_id, *id, change).await?;
        if let Some(moved) = moved {
            self.pool.moved(Holder::Connections, moved).await?;
        }
        match settled {
            Some(settled) => Ok(settled),
            // A later one is there, whose writer settles it.
            None => Ok(connections.get(tenant_id, *id).await?.unwrap_or(stored)),
        }
    }

    /// Removes whatever there is of a connection, also a secret that its row does not name.
    pub(super) async fn remove_all(&self, stored: &StoredConnection) -> Result<(), Fault> {
        self.remove(stored).await?;
        self.rotating.remove(&stored.connection.tenant_id, stored.connection.id).await
    }

    /// Removes the durable credential of a connection.
    pub(super) async fn remove(&self, stored: &StoredConnection) -> Result<(), Fault> {
        let Connection { tenant_id, id, .. } = &stored.connection;
        match stored.place {
            // What is sealed goes with the row's own change.
            None | Some(CredentialPlace::Sealed) => Ok(()),
            Some(CredentialPlace::Own) => self.rotating.remove(tenant_id, *id).await,
            Some(CredentialPlace::Pool(shard)) => {
                let name = id.to_string();
                let secret = SecretRef { tenant: tenant_id, holder: Holder::Connections, shard, id: &name };
                self.pool.remove(secret).await.map_err(settling_fault)
            }
        }
    }
}

fn settling_fault(error: SecretsError) -> Fault {
    match error {
        SecretsError::Fault(fault) => fault,
        SecretsError::Conflict => Fault::new(SETTLING, "others change the same document"),
        SecretsError::Gone | SecretsError::Refused(_) => Fault::new(SETTLING, "the document refused it"),
    }
}
