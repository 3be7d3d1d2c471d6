//! Secrets Manager: where every signing key and source secret lies.
//!
//! A tenant's secrets of one kind share a document, several when it grows large, since each
//! costs $0.40 a month. A document's version is immutable and cached by its id; the registry's
//! pointer says which version counts. `PutSecretValue` has no condition, so a change is
//! committed by moving the pointer from the version it was made of; the loser does it again. A
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
use domain::{
    Secret, TenantId, Timestamp,
    ids::{holder::Holder, key},
    signing::{SigningKey, keys::Kept},
};
use zeroize::Zeroizing;

use change::{Change, Document};

pub use change::{Rotation, SetError};
pub use operator_key::OperatorKey;

use crate::{
    Fault,
    runtime::{cache::Cache, clock},
    store::registry::{Pointer, Registry},
};

/// Secrets Manager's limit, in bytes.
const LIMIT: usize = 64 * 1024;

/// How long a change is tried when others change the same document: whoever calls must still be
/// answered within the function's time.
const PATIENCE: Duration = Duration::from_secs(10);

/// A document that grew this large, in bytes, takes no more owners.
/// While an old key is still valid, an endpoint takes three times the room that it took at first, and every
/// endpoint of a tenant may be rotated on one day.
fn full_size(holder: Holder) -> usize {
    match holder {
        Holder::Endpoints => LIMIT / 3,
        Holder::Sources => 48 * 1024,
    }
}

/// A signing key, decoded, and when it ends.
type Decoded = (Arc<SigningKey>, Option<Timestamp>);

/// Secrets Manager, with its cache.
#[derive(Debug)]
pub struct Secrets {
    client: Client,
    prefix: String,
    versions: Cache<String, Arc<Document>>,
    signing_keys: Cache<(String, String), Arc<Vec<Decoded>>>,
}

impl Secrets {
    /// The secrets whose names begin with `prefix`.
    #[must_use]
    pub fn new(client: Client, prefix: String) -> Self {
        // Versions never change, so age is a matter of memory alone: 64 documents of 64 KiB
        // stay within 4 MiB.
        let age = Duration::from_hours(1);
        Self { client, prefix, versions: Cache::new(age, 64), signing_keys: Cache::new(age, 2000) }
    }

    /// The secrets of one endpoint or source. A pointer younger than `age` is believed; where it
    /// does not know the owner it is read again, since the owner may be newer.
    pub async fn of(
        &self,
        registry: &Registry,
        tenant: &TenantId,
        holder: Holder,
        shard: u32,
        owner: &str,
        age: Duration,
    ) -> Result<Vec<Secret>, Fault> {
        let (_, document) = self.current(registry, tenant, holder, shard, owner, age).await?;
        let kept = document.get(owner);
        let kept = kept.ok_or_else(|| Fault::new("reading a secret", "there is none of this owner"))?;
        Ok(kept.iter().map(|kept| kept.secret.clone()).collect())
    }

    /// The keys of an endpoint that are valid now, newest first, as the document that counts at
    /// this moment holds them; none where the endpoint is being deleted.
    pub async fn keys_now(
        &self,
        registry: &Registry,
        tenant: &TenantId,
        shard: u32,
        endpoint: &str,
        now: Timestamp,
    ) -> Result<Vec<Kept>, Fault> {
        let (holder, age) = (Holder::Endpoints, Duration::ZERO);
        let (_, document) = self.current(registry, tenant, holder, shard, endpoint, age).await?;
        let kept = document.get(endpoint).into_iter().flatten();
        Ok(kept.filter(|kept| kept.is_active(now)).cloned().collect())
    }

    /// The signing keys of one endpoint that are valid at `at`, newest first, decoded.
    ///
    /// Which keys there are is believed for as long as a pointer is, 10 s; which of them are over
    /// is judged anew each time.
    pub async fn signing_keys(
        &self,
        registry: &Registry,
        tenant: &TenantId,
        shard: u32,
        endpoint: &str,
        at: Timestamp,
    ) -> Result<Vec<Arc<SigningKey>>, Fault> {
        let keys = self.decoded_keys(registry, tenant, shard, endpoint).await?;
        let active = |end: &Option<Timestamp>| end.is_none_or(|end| at < end);
        let keys: Vec<_> =
            keys.iter().filter(|(_, end)| active(end)).map(|(key, _)| Arc::clone(key)).collect();
        if keys.is_empty() {
            return Err(Fault::new("reading a signing key", "the endpoint has none"));
        }
        Ok(keys)
    }

    async fn decoded_keys(
        &self,
        registry: &Registry,
        tenant: &TenantId,
        shard: u32,
        endpoint: &str,
    ) -> Result<Arc<Vec<Decoded>>, Fault> {
        let age = Duration::MAX;
        let holder = Holder::Endpoints;
        if let Some(pointer) = registry.pointer(tenant, holder, shard, age).await?
            && let Some(keys) = self.signing_keys.get(&(pointer.version, endpoint.to_owned()))
        {
            return Ok(keys);
        }
        let current = self.current(registry, tenant, holder, shard, endpoint, age);
        let (version, document) = Box::pin(current).await?;
        let kept = document.get(endpoint).map(Vec::as_slice).unwrap_or_default();
        let decode =
            |kept: &Kept| SigningKey::parse(kept.secret.expose()).map(|key| (Arc::new(key), kept.expires_at));
        let keys = kept.iter().map(decode).collect::<Result<Vec<_>, _>>();
        let keys = Arc::new(keys.map_err(Fault::on("reading a signing key"))?);
        if !keys.is_empty() {
            self.signing_keys.put((version, endpoint.to_owned()), Arc::clone(&keys));
        }
        Ok(keys)
    }

    async fn current(
        &self,
        registry: &Registry,
        tenant: &TenantId,
        holder: Holder,
        shard: u32,
        owner: &str,
        age: Duration,
    ) -> Result<(String, Arc<Document>), Fault> {
        let gone = || Fault::new("reading a secret", "there is no pointer to it");
        let name = self.name(tenant, holder, shard);
        let pointer = registry.pointer(tenant, holder, shard, age).await?.ok_or_else(gone)?;
        if let Some(document) = self.version(&name, &pointer.version).await?
            && document.contains_key(owner)
        {
            return Ok((pointer.version, document));
        }
        let newest = registry.pointer(tenant, holder, shard, Duration::ZERO).await?.ok_or_else(gone)?;
        let document = self.version(&name, &newest.version).await?;
        Ok((newest.version, document.ok_or_else(|| Fault::new("reading a secret", "its version is gone"))?))
    }

    /// Sets all secrets of an owner, and says in which shard they lie: in `shard` where they were
    /// before, or in the one that is open for new owners.
    pub async fn set(
        &self,
        registry: &Registry,
        tenant: &TenantId,
        holder: Holder,
        owner: &str,
        shard: Option<u32>,
        secrets: &[Secret],
    ) -> Result<u32, SetError> {
        let change = Change::Set(secrets);
        self.change(registry, tenant, holder, owner, shard, change).await.map(|(shard, _)| shard)
    }

    /// Gives an endpoint a new key beside those before, which lie in `shard`; answers all that are
    /// valid then, newest first, and where they lie. That is another shard where the old one takes
    /// no more changes; they count there once the endpoint's row says so.
    pub async fn rotate(
        &self,
        registry: &Registry,
        tenant: &TenantId,
        endpoint: &str,
        shard: u32,
        rotation: Rotation<'_>,
    ) -> Result<(u32, Vec<Kept>), SetError> {
        let holder = Holder::Endpoints;
        let change = Change::Rotate(rotation, None);
        match self.change(registry, tenant, holder, endpoint, Some(shard), change).await {
            Err(SetError::Full) => {}
            done => return done,
        }
        let before = self.keys_now(registry, tenant, shard, endpoint, rotation.now).await?;
        let change = Change::Rotate(rotation, Some(&before));
        Box::pin(self.change(registry, tenant, holder, endpoint, None, change)).await
    }

    /// Removes all secrets of an owner, which lie in `shard`.
    pub async fn remove(
        &self,
        registry: &Registry,
        tenant: &TenantId,
        holder: Holder,
        owner: &str,
        shard: u32,
    ) -> Result<(), SetError> {
        self.change(registry, tenant, holder, owner, Some(shard), Change::Remove).await.map(|_| ())
    }

    async fn change(
        &self,
        registry: &Registry,
        tenant: &TenantId,
        holder: Holder,
        owner: &str,
        shard: Option<u32>,
        change: Change<'_>,
    ) -> Result<(u32, Vec<Kept>), SetError> {
        let lease = token()?;
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if registry.take_secrets_lease(tenant, holder, &lease, clock::now()).await? {
                let set = self.change_once(registry, tenant, holder, owner, shard, change).await;
                // Where this fails the lease runs out by itself.
                if let Err(fault) = registry.drop_secrets_lease(tenant, holder, &lease).await {
                    tracing::warn!(%fault, "a lease is held until it runs out");
                }
                if let Some(done) = set? {
                    return Ok(done);
                }
            }
            tokio::time::sleep(Duration::from_millis(100).mul_f64(1.0 + 2.0 * clock::jitter())).await;
        }
        Err(SetError::Conflict)
    }

    /// One try of [`Self::change`]; `None` where the document was changed by others meanwhile.
    async fn change_once(
        &self,
        registry: &Registry,
        tenant: &TenantId,
        holder: Holder,
        owner: &str,
        shard: Option<u32>,
        change: Change<'_>,
    ) -> Result<Option<(u32, Vec<Kept>)>, SetError> {
        let pointers = registry.pointers(tenant, holder).await?;
        let last = pointers.last();
        let (open, next) = match shard {
            Some(shard) => (pointers.iter().find(|pointer| pointer.shard == shard), None),
            // Where the open document takes no more versions today, the next one does.
            None => (
                last.filter(|last| last.size < full_size(holder)),
                Some((last.map_or(0, |last| last.shard + 1), None)),
            ),
        };
        for (shard, open) in [open.map(|open| (open.shard, Some(open))), next].into_iter().flatten() {
            let name = self.name(tenant, holder, shard);
            let mut document = match open {
                None => Document::new(),
                Some(open) => match self.version(&name, &open.version).await? {
                    Some(document) => Document::clone(&document),
                    None => return Ok(None),
                },
            };
            let after = change.apply(&mut document, owner)?;
            let now = clock::now();
            for kept in document.values_mut() {
                kept.retain(|kept| kept.is_active(now));
            }
            let text =
                Zeroizing::new(serde_json::to_string(&document).map_err(Fault::on("writing a secret"))?);
            if text.len() > LIMIT {
                return Err(SetError::Full);
            }
            let Some(version) = self.write(&name, &text, open.is_none()).await? else { continue };
            let to = Pointer { shard, version, size: text.len() };
            if !registry.move_pointer(tenant, holder, open, &to).await? {
                return Ok(None);
            }
            self.versions.put(cache_key(&name, &to.version), Arc::new(document));
            return Ok(Some((shard, after)));
        }
        Err(SetError::Full)
    }

    /// Writes a version and returns its id; `None` where the secret takes none for now. Secrets
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
                Ok(answer) => return answer.version_id.ok_or_else(unnamed).map(Some),
                // Left by one who lost, or stopped before moving the pointer.
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
            Ok(answer) => answer.version_id.ok_or_else(unnamed).map(Some),
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

    /// One version of a document; `None` where it is there no more, because the pointer has moved
    /// on and the version was cleared away.
    async fn version(&self, name: &str, version: &str) -> Result<Option<Arc<Document>>, Fault> {
        let cached = cache_key(name, version);
        if let Some(document) = self.versions.get(&cached) {
            return Ok(Some(document));
        }
        let text = match self.client.get_secret_value().secret_id(name).version_id(version).send().await {
            Ok(answer) => answer.secret_string.map(Zeroizing::new),
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
        let text = text.ok_or_else(|| Fault::new("reading a secret", "it holds no text"))?;
        let document: Document = serde_json::from_str(&text)
            // The error could quote the document.
            .map_err(|_| Fault::new("reading a secret", "it is not the document it should be"))?;
        let document = Arc::new(document);
        self.versions.put(cached, Arc::clone(&document));
        Ok(Some(document))
    }

    fn name(&self, tenant: &TenantId, holder: Holder, shard: u32) -> String {
        format!("{}/{}/{tenant}/{shard}", self.prefix, holder.as_str())
    }
}

fn cache_key(name: &str, version: &str) -> String {
    format!("{name}#{version}")
}

/// A client request token: 32 to 64 characters.
fn token() -> Result<String, Fault> {
    Ok(key::hex(&clock::random::<32>()?))
}
