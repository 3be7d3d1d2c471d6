//! Secrets Manager: every signing key and source secret. Who may read or change them is not decided
//! here.
//!
//! A tenant's secrets of one kind share a document, several when it grows large, since each
//! costs $0.40 a month. A document's version is immutable and cached by its id; the registry's
//! pointer says which version counts. `PutSecretValue` has no condition, so a change is
//! committed by moving the pointer from the version it was made of; the loser retries. A
//! lease keeps losers rare, since a secret takes only about a hundred versions a day.

mod change;
mod operator_key;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aws_sdk_secretsmanager::{
    Client,
    operation::{
        create_secret::CreateSecretError, get_secret_value::GetSecretValueError,
        put_secret_value::PutSecretValueError,
    },
};
use data_encoding::HEXLOWER;
use domain::{
    Secret, TenantId, Timestamp,
    ids::holder::Holder,
    signing::{SigningKey, keys::StoredSecret},
};
use zeroize::Zeroizing;

use change::{Document, SecretChange};

pub use change::{Rotation, SecretsError};
pub use operator_key::OperatorKey;

use crate::{
    Fault,
    runtime::{cache::Cache, clock},
    store::registry::pointers::{Pointer, SecretPointers},
};

/// Secrets Manager's limit, in bytes.
const DOCUMENT_LIMIT: usize = 64 * 1024;

/// How long a change is retried while others change the same document: the response must still be
/// sent within the function's time.
const CHANGE_PATIENCE: Duration = Duration::from_secs(10);

/// A document that grew this large, in bytes, accepts no more owners.
/// While an old key is still valid, an endpoint takes three times the room that it took at first, and every
/// endpoint of a tenant may be rotated on one day.
fn full_size(holder: Holder) -> usize {
    match holder {
        Holder::Endpoints => DOCUMENT_LIMIT / 3,
        Holder::Sources => 48 * 1024,
    }
}

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

/// The secrets of an endpoint or source, and the shard that they are in.
#[derive(Debug, Clone, Copy)]
pub struct SecretRef<'a> {
    /// Its tenant.
    pub tenant: &'a TenantId,
    /// Whether it is an endpoint or a source.
    pub holder: Holder,
    /// Which of the tenant's documents of this kind.
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
}

/// Secrets Manager, with its cache.
#[derive(Debug)]
pub struct Secrets {
    client: Client,
    prefix: String,
    pointers: SecretPointers,
    versions: Cache<String, Arc<Document>>,
    signing_keys: Cache<(String, String), Arc<Vec<DecodedKey>>>,
}

impl Secrets {
    /// The secrets whose names begin with `prefix`, of which `pointers` says which version counts.
    #[must_use]
    pub fn new(client: Client, prefix: String, pointers: SecretPointers) -> Self {
        // Versions never change, so age is a matter of memory alone: 64 documents of 64 KiB
        // stay within 4 MiB.
        let age = Duration::from_hours(1);
        Self { client, prefix, pointers, versions: Cache::new(age, 64), signing_keys: Cache::new(age, 2000) }
    }

    /// The secrets of one endpoint or source, by a cached pointer younger than `age`. Where that
    /// document does not have the owner, the pointer is read again, since the owner may be newer.
    pub async fn get(&self, secret: SecretRef<'_>, age: Duration) -> Result<Vec<Secret>, Fault> {
        let (_, document) = self.current(secret, age).await?;
        let keys = document.get(secret.id);
        let keys = keys.ok_or_else(|| Fault::new("reading a secret", "the owner has none"))?;
        Ok(keys.iter().map(|key| key.secret.clone()).collect())
    }

    /// The keys of an endpoint that are valid now, newest first, read without a cache; empty where the
    /// endpoint is being deleted.
    pub async fn keys_now(&self, secret: SecretRef<'_>, now: Timestamp) -> Result<Vec<StoredSecret>, Fault> {
        let (_, document) = self.current(secret, Duration::ZERO).await?;
        let keys = document.get(secret.id).into_iter().flatten();
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
        let age = Duration::MAX;
        if let Some(pointer) = self.pointer(secret, age).await?
            && let Some(keys) = self.signing_keys.get(&(pointer.version, secret.id.to_owned()))
        {
            return Ok(keys);
        }
        let (version, document) = Box::pin(self.current(secret, age)).await?;
        let stored = document.get(secret.id).map(Vec::as_slice).unwrap_or_default();
        let decode = |key: &StoredSecret| {
            SigningKey::parse(key.secret.expose()).map(|parsed| (Arc::new(parsed), key.expires_at))
        };
        let keys = stored.iter().map(decode).collect::<Result<Vec<_>, _>>();
        let keys = Arc::new(keys.map_err(Fault::on("reading a signing key"))?);
        if !keys.is_empty() {
            self.signing_keys.put((version, secret.id.to_owned()), Arc::clone(&keys));
        }
        Ok(keys)
    }

    async fn pointer(&self, secret: SecretRef<'_>, age: Duration) -> Result<Option<Pointer>, Fault> {
        self.pointers.get(secret.tenant, secret.holder, secret.shard, age).await
    }

    async fn current(&self, secret: SecretRef<'_>, age: Duration) -> Result<(String, Arc<Document>), Fault> {
        let missing = || Fault::new("reading a secret", "there is no pointer to it");
        let name = self.name(secret.owner(), secret.shard);
        let pointer = self.pointer(secret, age).await?.ok_or_else(missing)?;
        if let Some(document) = self.version(&name, &pointer.version).await?
            && document.contains_key(secret.id)
        {
            return Ok((pointer.version, document));
        }
        let newest = self.pointer(secret, Duration::ZERO).await?.ok_or_else(missing)?;
        let document = self.version(&name, &newest.version).await?;
        let missing = || Fault::new("reading a secret", "its version is missing");
        Ok((newest.version, document.ok_or_else(missing)?))
    }

    /// Adds the secrets of a new owner, and returns the shard that they are in.
    pub async fn add(&self, owner: SecretOwner<'_>, secrets: &[Secret]) -> Result<u32, SecretsError> {
        self.change(owner, None, SecretChange::Set(secrets)).await.map(|(shard, _)| shard)
    }

    /// Replaces all secrets of an owner, in their shard.
    pub async fn set(&self, secret: SecretRef<'_>, secrets: &[Secret]) -> Result<(), SecretsError> {
        self.change(secret.owner(), Some(secret.shard), SecretChange::Set(secrets)).await.map(|_| ())
    }

    /// Gives an endpoint a new key beside its present ones; returns all that are valid then, newest
    /// first, and their shard. That is another shard where the old one accepts no more changes; they
    /// count there once the endpoint's row says so.
    pub async fn rotate(
        &self,
        secret: SecretRef<'_>,
        rotation: Rotation<'_>,
    ) -> Result<(u32, Vec<StoredSecret>), SecretsError> {
        let change = SecretChange::Rotate(rotation, None);
        match self.change(secret.owner(), Some(secret.shard), change).await {
            Err(SecretsError::Full) => {}
            done => return done,
        }
        let before = self.keys_now(secret, rotation.now).await?;
        let change = SecretChange::Rotate(rotation, Some(&before));
        Box::pin(self.change(secret.owner(), None, change)).await
    }

    /// Removes all secrets of an owner.
    pub async fn remove(&self, secret: SecretRef<'_>) -> Result<(), SecretsError> {
        self.change(secret.owner(), Some(secret.shard), SecretChange::Remove).await.map(|_| ())
    }

    /// Makes a change in `shard`, or, for an owner that has none yet, in the shard that is open for
    /// new owners.
    async fn change(
        &self,
        owner: SecretOwner<'_>,
        shard: Option<u32>,
        change: SecretChange<'_>,
    ) -> Result<(u32, Vec<StoredSecret>), SecretsError> {
        let SecretOwner { tenant, holder, .. } = owner;
        let lease = token()?;
        let began = Instant::now();
        while began.elapsed() < CHANGE_PATIENCE {
            if self.pointers.take_lease(tenant, holder, &lease, clock::now()).await? {
                let set = self.change_once(owner, shard, change).await;
                // Where this fails the lease expires.
                if let Err(fault) = self.pointers.release_lease(tenant, holder, &lease).await {
                    tracing::warn!(%fault, "could not release lease on secrets; it will expire");
                }
                if let Some(done) = set? {
                    return Ok(done);
                }
            }
            tokio::time::sleep(Duration::from_millis(100).mul_f64(1.0 + 2.0 * clock::jitter())).await;
        }
        Err(SecretsError::Conflict)
    }

    /// One try of [`Self::change`]; `None` where the document was changed concurrently.
    async fn change_once(
        &self,
        owner: SecretOwner<'_>,
        shard: Option<u32>,
        change: SecretChange<'_>,
    ) -> Result<Option<(u32, Vec<StoredSecret>)>, SecretsError> {
        let SecretOwner { tenant, holder, id } = owner;
        let pointers = self.pointers.all(tenant, holder).await?;
        let last = pointers.last();
        let (open, next) = match shard {
            Some(shard) => (pointers.iter().find(|pointer| pointer.shard == shard), None),
            // Where the open document accepts no more versions today, the next one does.
            None => (
                last.filter(|last| last.size < full_size(holder)),
                Some((last.map_or(0, |last| last.shard + 1), None)),
            ),
        };
        for (shard, open) in [open.map(|open| (open.shard, Some(open))), next].into_iter().flatten() {
            let name = self.name(owner, shard);
            let mut document = match open {
                None => Document::new(),
                Some(open) => match self.version(&name, &open.version).await? {
                    Some(document) => Document::clone(&document),
                    None => return Ok(None),
                },
            };
            let after = change.apply(&mut document, id)?;
            let now = clock::now();
            for keys in document.values_mut() {
                keys.retain(|key| key.is_active(now));
            }
            let text =
                Zeroizing::new(serde_json::to_string(&document).map_err(Fault::on("writing a secret"))?);
            if text.len() > DOCUMENT_LIMIT {
                return Err(SecretsError::Full);
            }
            let Some(version) = self.write(&name, &text, open.is_none()).await? else { continue };
            let to = Pointer { shard, version, size: text.len() };
            if !self.pointers.move_to(tenant, holder, open, &to).await? {
                return Ok(None);
            }
            self.versions.put(cache_key(&name, &to.version), Arc::new(document));
            return Ok(Some((shard, after)));
        }
        Err(SecretsError::Full)
    }

    /// Writes a version and returns its id; `None` where the secret accepts none for now. Secrets
    /// Manager keeps every version for a day and about a hundred at most
    /// (<https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html>).
    async fn write(&self, name: &str, text: &str, new: bool) -> Result<Option<String>, Fault> {
        // The token makes a call that the client repeats the same version.
        let token = token()?;
        let unnamed = || Fault::new("writing a secret", "its version has no id");
        if new {
            let create =
                self.client.create_secret().name(name).client_request_token(&token).secret_string(text);
            match create.send().await {
                Ok(response) => return response.version_id.ok_or_else(unnamed).map(Some),
                // Left by a change that lost, or that stopped before moving the pointer.
                Err(error)
                    if matches!(
                        error.as_service_error(),
                        Some(CreateSecretError::ResourceExistsException(_))
                    ) => {}
                Err(error) => return Err(Fault::on("creating a secret")(error)),
            }
        }
        let put =
            self.client.put_secret_value().secret_id(name).client_request_token(&token).secret_string(text);
        match put.send().await {
            Ok(response) => response.version_id.ok_or_else(unnamed).map(Some),
            Err(error)
                if matches!(
                    error.as_service_error(),
                    Some(PutSecretValueError::LimitExceededException(_))
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(Fault::on("writing a secret")(error)),
        }
    }

    /// One version of a document; `None` where it no longer exists, because the pointer has moved on
    /// and Secrets Manager has deleted the version.
    async fn version(&self, name: &str, version: &str) -> Result<Option<Arc<Document>>, Fault> {
        let cached = cache_key(name, version);
        if let Some(document) = self.versions.get(&cached) {
            return Ok(Some(document));
        }
        let text = match self.client.get_secret_value().secret_id(name).version_id(version).send().await {
            Ok(response) => response.secret_string.map(Zeroizing::new),
            Err(error)
                if matches!(
                    error.as_service_error(),
                    Some(GetSecretValueError::ResourceNotFoundException(_))
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(Fault::on("reading a secret")(error)),
        };
        let text = text.ok_or_else(|| Fault::new("reading a secret", "it has no text"))?;
        let document: Document = serde_json::from_str(&text)
            // The error could quote the document.
            .map_err(|_| Fault::new("reading a secret", "the document is malformed"))?;
        let document = Arc::new(document);
        self.versions.put(cached, Arc::clone(&document));
        Ok(Some(document))
    }

    fn name(&self, SecretOwner { tenant, holder, .. }: SecretOwner<'_>, shard: u32) -> String {
        format!("{}/{}/{tenant}/{shard}", self.prefix, holder.as_str())
    }
}

fn cache_key(name: &str, version: &str) -> String {
    format!("{name}#{version}")
}

/// A client request token: 32 to 64 characters.
fn token() -> Result<String, Fault> {
    Ok(HEXLOWER.encode(&clock::random::<32>()?))
}
