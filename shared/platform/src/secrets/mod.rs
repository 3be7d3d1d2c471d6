//! Secrets Manager: every signing key and source secret. Who may read or change them is not decided
//! here.
//!
//! The secrets of all tenants of one kind share a pool of documents, its shards, since each
//! costs $0.40 a month; [`domain::pool`] decides which shard an owner joins. An entry is named by tenant
//! and id, and nothing is read without both. A document's version is immutable and cached by its id; the
//! registry's pointer says which version counts. `PutSecretValue` has no condition, so a change is
//! committed by moving the pointer from the version it was made of; the loser retries. A
//! lease per shard keeps losers rare, since a secret takes only about a hundred versions a day.
//!
//! An owner changes in its shard. Where that has had its versions of the day, or has no room, the owner moves to an
//! open shard: its keys count there once its row names that shard. See `docs/internals/data-model.md`.

mod change;
mod documents;
mod erase;
mod operator_key;
mod rotating;
mod shards;
mod text;

use std::{sync::Arc, time::Duration};

use aws_sdk_secretsmanager::Client;
use domain::{
    Secret, TenantId, Timestamp,
    connection::storage::CredentialShards,
    ids::holder::Holder,
    pool::EntryKey,
    signing::{SigningKey, keys::StoredSecret},
};

use change::{Document, SecretChange};
use documents::{DocumentRef, Documents};

pub use change::{Rotation, SecretsError};
pub use operator_key::OperatorKey;
pub use rotating::{DurableCredential, RotatingSecrets};
pub use text::SecretText;

use crate::{
    Fault,
    runtime::{cache::Cache, clock},
    store::registry::pointers::{Departure, Pointer, SecretPointers},
};

/// How long a moved owner's entry stays where it was: longer than a cached row leads there.
const MOVED_STAY: Duration = Duration::from_mins(1);

/// Decoded keys cached. A miss costs microseconds, because documents have a cache of their own.
const DECODED_KEYS: usize = 5_000;

/// A signing key, decoded, and when it ends.
type DecodedKey = (Arc<SigningKey>, Option<Timestamp>);

/// An endpoint or source that has secrets.
#[derive(Debug, Clone, Copy)]
pub struct SecretOwner<'a> {
    /// Its tenant.
    pub tenant: &'a TenantId,
    /// Whether it is an endpoint or a source.
    pub holder: Holder,
    /// Its id.
    pub id: &'a str,
}

impl<'a> SecretOwner<'a> {
    fn in_shard(self, shard: u32) -> SecretRef<'a> {
        SecretRef { tenant: self.tenant, holder: self.holder, shard, id: self.id }
    }
}

/// The secrets of an endpoint or source, and the shard that they are in.
#[derive(Debug, Clone, Copy)]
pub struct SecretRef<'a> {
    /// Its tenant.
    pub tenant: &'a TenantId,
    /// Whether it is an endpoint or a source.
    pub holder: Holder,
    /// Which shard of the pool of this kind.
    pub shard: u32,
    /// Its id.
    pub id: &'a str,
}

impl<'a> SecretRef<'a> {
    /// The signing keys of an endpoint.
    #[must_use]
    pub fn of_endpoint(tenant: &'a TenantId, shard: u32, id: &'a str) -> Self {
        Self { tenant, holder: Holder::Endpoints, shard, id }
    }

    /// The secrets of a source.
    #[must_use]
    pub fn of_source(tenant: &'a TenantId, shard: u32, id: &'a str) -> Self {
        Self { tenant, holder: Holder::Sources, shard, id }
    }

    fn owner(self) -> SecretOwner<'a> {
        SecretOwner { tenant: self.tenant, holder: self.holder, id: self.id }
    }

    fn entry(self) -> EntryKey {
        EntryKey::new(self.tenant, self.id)
    }
}

/// Where the secrets of an owner are after a change.
#[derive(Debug)]
#[must_use = "where they moved, the owner's row must follow, and then `Secrets::moved`"]
pub struct Place {
    /// The shard.
    pub shard: u32,
    /// What was recorded in the shard that they moved from.
    moving: Option<Departure>,
}

/// The document that a pointer leads to.
fn document_of(holder: Holder, pointer: &Pointer) -> DocumentRef<'_> {
    DocumentRef { holder, shard: pointer.shard, tenant: pointer.tenant.as_ref() }
}

/// Secrets Manager, with its cache.
#[derive(Debug)]
pub struct Secrets {
    pointers: SecretPointers,
    documents: Documents,
    signing_keys: Cache<(String, EntryKey), Arc<Vec<DecodedKey>>>,
    connections_in: CredentialShards,
}

impl Secrets {
    /// The secrets whose names begin with `prefix`, of which `pointers` says which version counts.
    #[must_use]
    pub fn new(client: Client, prefix: String, pointers: SecretPointers) -> Self {
        let signing_keys = Cache::new(Duration::from_hours(1), DECODED_KEYS);
        let documents = Documents::new(client, prefix);
        Self { pointers, documents, signing_keys, connections_in: CredentialShards::Shared }
    }

    /// The same, where new tokens of connections go into such documents. Those that are stored remain where they are.
    #[must_use]
    pub fn with_connections_in(self, connections_in: CredentialShards) -> Self {
        Self { connections_in, ..self }
    }

    /// The secrets of one endpoint or source that are valid now, by a cached pointer younger than `age`. Where that
    /// document does not have the owner, the pointer is read again, since the owner may be newer.
    pub async fn get(&self, secret: SecretRef<'_>, age: Duration) -> Result<Vec<Secret>, Fault> {
        let (_, document) = self.current(secret, age).await?;
        let keys = document.get(&secret.entry()).unwrap_or_default();
        let now = clock::now();
        Ok(keys.iter().filter(|key| key.is_active(now)).map(|key| key.secret.clone()).collect())
    }

    /// The keys of an endpoint or source that are valid now, newest first, read without a cache; empty where it is
    /// being deleted.
    pub async fn keys_now(&self, secret: SecretRef<'_>, now: Timestamp) -> Result<Vec<StoredSecret>, Fault> {
        let (_, document) = self.current(secret, Duration::ZERO).await?;
        let keys = document.get(&secret.entry()).unwrap_or_default().iter();
        Ok(keys.filter(|key| key.is_active(now)).cloned().collect())
    }

    /// The signing keys of one endpoint that are valid at `at`, newest first, decoded.
    ///
    /// Which keys exist is cached for as long as a pointer is; which of them have expired is
    /// decided anew each time.
    pub async fn signing_keys(
        &self,
        secret: SecretRef<'_>,
        at: Timestamp,
    ) -> Result<Vec<Arc<SigningKey>>, Fault> {
        let keys = self.decoded_keys(secret).await?;
        let active = |end: &Option<Timestamp>| end.is_none_or(|end| at < end);
        let keys: Vec<_> =
            keys.iter().filter(|(_, end)| active(end)).map(|(key, _)| Arc::clone(key)).collect();
        if keys.is_empty() {
            return Err(Fault::new("reading a signing key", "the endpoint has none"));
        }
        Ok(keys)
    }

    async fn decoded_keys(&self, secret: SecretRef<'_>) -> Result<Arc<Vec<DecodedKey>>, Fault> {
        let (age, entry) = (Duration::MAX, secret.entry());
        if let Some(pointer) = self.pointers.get(secret.holder, secret.shard, age).await?
            && let Some(keys) = self.signing_keys.get(&(pointer.version, entry.clone()))
        {
            return Ok(keys);
        }
        let (version, document) = Box::pin(self.current(secret, age)).await?;
        let stored = document.get(&entry).unwrap_or_default();
        let decode = |key: &StoredSecret| {
            SigningKey::parse(key.secret.expose()).map(|parsed| (Arc::new(parsed), key.expires_at))
        };
        let keys = stored.iter().map(decode).collect::<Result<Vec<_>, _>>();
        let keys = Arc::new(keys.map_err(Fault::on("reading a signing key"))?);
        if !keys.is_empty() {
            self.signing_keys.put((version, entry), Arc::clone(&keys));
        }
        Ok(keys)
    }

    async fn current(&self, secret: SecretRef<'_>, age: Duration) -> Result<(String, Arc<Document>), Fault> {
        let SecretRef { holder, shard, .. } = secret;
        if !age.is_zero()
            && let Some(pointer) = self.pointers.get(holder, shard, age).await?
            && let Some(document) =
                self.documents.get(document_of(holder, &pointer), &pointer.version).await?
            && document.get(&secret.entry()).is_some()
        {
            return Ok((pointer.version, document));
        }
        let missing = || Fault::new("reading a secret", "there is no pointer to it");
        let newest = self.pointers.now(holder, shard).await?.ok_or_else(missing)?;
        let document = self.documents.get(document_of(holder, &newest), &newest.version).await?;
        let missing = || Fault::new("reading a secret", "its version is missing");
        Ok((newest.version, document.ok_or_else(missing)?))
    }

    /// Adds the secrets of a new owner, and returns the shard that they are in.
    pub async fn add(&self, owner: SecretOwner<'_>, secrets: &[Secret]) -> Result<u32, SecretsError> {
        let (shard, _) = self.join(owner, None, SecretChange::Set(secrets)).await?;
        self.remove_overdue(owner.holder, shard).await;
        Ok(shard)
    }

    /// Replaces all secrets of an owner. Where they are in another shard then, they count
    /// once the owner's row says so, and then [`Self::moved`] is due.
    pub async fn set(&self, secret: SecretRef<'_>, secrets: &[Secret]) -> Result<Place, SecretsError> {
        let change = SecretChange::Set(secrets);
        if self.change_present(secret, change).await?.is_some() {
            return Ok(Place { shard: secret.shard, moving: None });
        }
        let moving = Some(self.start_move(secret, clock::now()).await?);
        let (shard, _) = self.join(secret.owner(), Some(secret.shard), change).await?;
        Ok(Place { shard, moving })
    }

    /// Gives an endpoint or source a new key beside its present ones; returns where they are, and all that are valid then,
    /// newest first. Where they are in another shard then, they count
    /// once the owner's row says so, and then [`Self::moved`] is due.
    pub async fn rotate(
        &self,
        secret: SecretRef<'_>,
        rotation: Rotation<'_>,
    ) -> Result<(Place, Vec<StoredSecret>), SecretsError> {
        let change = SecretChange::Rotate(rotation, None);
        if let Some(after) = self.change_present(secret, change).await? {
            return Ok((Place { shard: secret.shard, moving: None }, after));
        }
        // An owner without keys has an entry, too; one that is deleted has none, and nothing is to be moved.
        let (_, document) = self.current(secret, Duration::ZERO).await?;
        if document.get(&secret.entry()).is_none() {
            return Err(SecretsError::Gone);
        }
        let moving = Some(self.start_move(secret, clock::now()).await?);
        // After that record: what is read now is not changed until the move ends.
        let before = self.keys_now(secret, rotation.now).await?;
        let change = SecretChange::Rotate(rotation, Some(&before));
        let (shard, after) = Box::pin(self.join(secret.owner(), Some(secret.shard), change)).await?;
        Ok((Place { shard, moving }, after))
    }

    /// Ends a move, now that the owner's row names the other shard: what it left is removed with a later version
    /// of its old shard, since rows that are cached still lead there. Nothing happens where it came
    /// back since.
    pub async fn moved(&self, holder: Holder, place: Place) -> Result<(), Fault> {
        let Some(moving) = place.moving else { return Ok(()) };
        let at = (clock::now() + MOVED_STAY).millis();
        self.pointers.end_move(holder, &moving, &Departure { left: true, at, ..moving.clone() }).await
    }

    /// Removes all secrets of an owner that nothing refers to: now or, where its shard accepts no change, with a
    /// later version of the shard.
    pub async fn remove(&self, secret: SecretRef<'_>) -> Result<(), SecretsError> {
        let SecretRef { holder, shard, .. } = secret;
        let at = clock::now().millis();
        self.pointers.leave(holder, &Departure { shard, owner: secret.entry(), left: true, at }).await?;
        self.clean(holder, shard).await
    }
}
