//! Changes in one shard, and which shard a change is made in.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use domain::{
    TenantId, Timestamp,
    connection::storage::CredentialShards,
    ids::holder::Holder,
    pool::{self, EntryKey, Shard},
    signing::keys::StoredSecret,
};
use zeroize::Zeroizing;

use super::{
    SecretOwner, SecretRef, Secrets, SecretsError,
    change::{Document, SecretChange},
    document_of,
    documents::{DocumentRef, token},
};
use crate::{
    Fault,
    runtime::clock,
    store::registry::pointers::{Departure, Pointer},
};

/// How long a change is retried while others change the same shard: the response must still be
/// sent within the function's time.
const CHANGE_PATIENCE: Duration = Duration::from_secs(10);

/// How long a removal is retried: what cannot be removed now is removed by a later change of the shard.
const CLEAN_PATIENCE: Duration = Duration::from_secs(2);

/// How long an owner may take to move: longer than a function runs.
const MOVE_TIME: Duration = Duration::from_mins(1);

/// An entry that should have been removed this long ago is removed by any change of the pool.
const OVERDUE: Duration = Duration::from_hours(1);

/// A try of a change in one shard.
enum Try {
    /// The change is committed; what the owner has then.
    Done(Vec<StoredSecret>),
    /// Others change the shard.
    Busy,
    /// The shard accepts no such change now.
    Refused,
}

/// The result of writing a version.
enum Commit {
    /// It counts.
    Done,
    /// Another one counts.
    Raced,
    /// The secret has no room for it, or accepts none for now.
    Full,
}

/// How an owner comes to a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Membership {
    /// Its row names no shard yet, or another one.
    New,
    /// Its row names this shard.
    Present,
}

impl Secrets {
    /// Records that an owner moves to another shard. A change of its entry that is under way finds this after its
    /// commit, and is then not confirmed, or it is committed before this and moves along.
    pub(super) async fn start_move(
        &self,
        secret: SecretRef<'_>,
        now: Timestamp,
    ) -> Result<Departure, SecretsError> {
        let SecretRef { holder, shard, .. } = secret;
        let owner = secret.entry();
        if let Some(departure) = self.pointers.departure(holder, shard, &owner).await?
            && departure.bars_changes(now)
        {
            return Err(SecretsError::Conflict);
        }
        let departure = Departure { shard, owner, left: false, at: (now + MOVE_TIME).millis() };
        self.pointers.leave(holder, &departure).await?;
        Ok(departure)
    }

    /// Makes a change in the shard that the owner's row names; `None` where that accepts none today, or has no room.
    pub(super) async fn change_present(
        &self,
        secret: SecretRef<'_>,
        change: SecretChange<'_>,
    ) -> Result<Option<Vec<StoredSecret>>, SecretsError> {
        let began = Instant::now();
        while began.elapsed() < CHANGE_PATIENCE {
            match self.try_shard(secret, Membership::Present, change).await? {
                Try::Done(after) => return Ok(Some(after)),
                Try::Refused => return Ok(None),
                Try::Busy => pause().await,
            }
        }
        Err(SecretsError::Conflict)
    }

    /// Makes a change in an open shard, and not in `from`; returns the shard and what the owner has then.
    pub(super) async fn join(
        &self,
        owner: SecretOwner<'_>,
        from: Option<u32>,
        change: SecretChange<'_>,
    ) -> Result<(u32, Vec<StoredSecret>), SecretsError> {
        let entry = EntryKey::new(owner.tenant, owner.id);
        let mut refused: BTreeSet<u32> = from.into_iter().collect();
        let tenant = self.tenant_of_new(owner.holder, owner.tenant);
        let began = Instant::now();
        while began.elapsed() < CHANGE_PATIENCE {
            let pointers = self.pointers.all(owner.holder).await?;
            // Those of others have no room, and their numbers are taken.
            refused.extend(pointers.iter().filter(|one| one.tenant.as_ref() != tenant).map(|one| one.shard));
            let shards: Vec<Shard> = pointers.iter().map(Pointer::shard).collect();
            for shard in pool::for_newcomer(&shards, &refused, &entry, clock::now().day()) {
                match self.try_shard(owner.in_shard(shard), Membership::New, change).await? {
                    Try::Done(after) => return Ok((shard, after)),
                    Try::Refused => _ = refused.insert(shard),
                    Try::Busy => {}
                }
            }
            pause().await;
        }
        Err(SecretsError::Conflict)
    }

    /// Whose a new document is; nothing where it is of all tenants.
    fn tenant_of_new<'t>(&self, holder: Holder, tenant: &'t TenantId) -> Option<&'t TenantId> {
        let is_own = holder == Holder::Connections && self.connections_in == CredentialShards::PerTenant;
        is_own.then_some(tenant)
    }

    /// Removes who left a shard, if it can be changed now.
    pub(super) async fn clean(&self, holder: Holder, shard: u32) -> Result<(), SecretsError> {
        let tenant = TenantId::operator();
        let no_owner = SecretRef { tenant: &tenant, holder, shard, id: "" };
        let began = Instant::now();
        while began.elapsed() < CLEAN_PATIENCE {
            match self.try_shard(no_owner, Membership::Present, SecretChange::Clean).await? {
                Try::Done(_) | Try::Refused => break,
                Try::Busy => pause().await,
            }
        }
        Ok(())
    }

    /// Removes who should have been removed from another shard long ago, from one shard at a time.
    pub(super) async fn remove_overdue(&self, holder: Holder, but: u32) {
        let now = clock::now();
        let overdue = |one: &Departure| one.shard != but && one.is_due(now - OVERDUE);
        let cleaned = async {
            let departures = self.pointers.departures(holder, None).await?;
            match departures.iter().find(|one| overdue(one)) {
                Some(departure) => self.clean(holder, departure.shard).await,
                None => Ok(()),
            }
        };
        if let Err(error) = cleaned.await {
            tracing::warn!(?error, "could not remove left secrets; a later change does");
        }
    }

    /// One try of a change in one shard.
    async fn try_shard(
        &self,
        secret: SecretRef<'_>,
        membership: Membership,
        change: SecretChange<'_>,
    ) -> Result<Try, SecretsError> {
        let SecretRef { holder, shard, .. } = secret;
        let lease = token()?;
        if !self.pointers.take_lease(holder, shard, &lease, clock::now()).await? {
            return Ok(Try::Busy);
        }
        let tried = Box::pin(self.change_shard(secret, membership, change)).await;
        // Where this fails the lease expires.
        if let Err(fault) = self.pointers.release_lease(holder, shard, &lease).await {
            tracing::warn!(%fault, "could not release lease on secrets; it will expire");
        }
        tried
    }

    async fn change_shard(
        &self,
        secret: SecretRef<'_>,
        membership: Membership,
        change: SecretChange<'_>,
    ) -> Result<Try, SecretsError> {
        let SecretRef { holder, shard: number, .. } = secret;
        let (owner, now, present) = (secret.entry(), clock::now(), membership == Membership::Present);
        let open = self.pointers.now(holder, number).await?;
        let wanted = self.tenant_of_new(holder, secret.tenant);
        if !present && open.as_ref().is_some_and(|open| open.tenant.as_ref() != wanted) {
            // Another tenant has taken the number since the pointers were read.
            return Ok(Try::Refused);
        }
        let shard = open.as_ref().map_or_else(|| Shard::new(number), Pointer::shard);
        let admits = if present { shard.admits_change(now.day()) } else { shard.admits_newcomer(now.day()) };
        if !admits {
            return Ok(Try::Refused);
        }
        let mut document = match &open {
            None if present => {
                return Err(Fault::new("changing a secret", "there is no pointer to it").into());
            }
            None => Document::default(),
            Some(open) => match self.documents.get(document_of(holder, open), &open.version).await? {
                Some(document) => Document::clone(&document),
                None => return Ok(Try::Busy),
            },
        };
        // Read after the pointer: an owner that is back since then has moved it.
        let departures = self.pointers.departures(holder, Some(number)).await?;
        let own = departures.iter().find(|departure| departure.owner == owner);
        if present && own.is_some_and(|own| own.bars_changes(now)) {
            return Err(SecretsError::Conflict);
        }
        let gone =
            departures.iter().filter(|one| one.is_due(now) || one.owner == owner && (one.left || !present));
        let gone: Vec<_> = gone.collect();
        let removed = gone.iter().filter(|gone| document.remove(&gone.owner)).count();
        let cleans = matches!(change, SecretChange::Clean);
        let after = change.apply(&mut document, &owner)?;
        if removed > 0 || !cleans {
            document.expire(now);
            match Box::pin(self.commit(secret, open.as_ref(), document, own)).await? {
                Commit::Done => {}
                Commit::Raced => return Ok(Try::Busy),
                Commit::Full => return Ok(Try::Refused),
            }
        }
        for gone in gone {
            if let Err(fault) = self.pointers.forget(holder, gone).await {
                tracing::warn!(%fault, "could not forget removed secrets; a later change does");
            }
        }
        // A move that began meanwhile may not have seen this change.
        if present && !cleans {
            let own = self.pointers.departure(holder, number, &owner).await?;
            if own.is_some_and(|own| own.bars_changes(now)) {
                return Err(SecretsError::Conflict);
            }
        }
        Ok(Try::Done(after))
    }

    /// Writes a version of a shard and makes it count; `own` where the owner left the shard before.
    async fn commit(
        &self,
        secret: SecretRef<'_>,
        open: Option<&Pointer>,
        document: Document,
        own: Option<&Departure>,
    ) -> Result<Commit, Fault> {
        let SecretRef { holder, shard: number, .. } = secret;
        let tenant = match open {
            Some(open) => open.tenant.clone(),
            None => self.tenant_of_new(holder, secret.tenant).cloned(),
        };
        let place = DocumentRef { holder, shard: number, tenant: tenant.as_ref() };
        let text = Zeroizing::new(serde_json::to_string(&document).map_err(Fault::on("writing a secret"))?);
        if text.len() > pool::DOCUMENT_SIZE {
            return Ok(Commit::Full);
        }
        if let Some(own) = own {
            // Before the commit: from then on its entry is not to be removed.
            self.pointers.forget(holder, own).await?;
        }
        let Some(version) = self.documents.write(place, &text, open.is_none()).await? else {
            return Ok(Commit::Full);
        };
        let shard = open.map_or_else(|| Shard::new(number), Pointer::shard);
        let to = Pointer::new(shard.changed(text.len(), clock::now().day()), tenant.clone(), version);
        if !self.pointers.move_to(holder, open, &to).await? {
            // Of a move whose response was lost, the repeat fails.
            let now = self.pointers.now(holder, number).await?;
            if now.is_none_or(|now| now.version != to.version) {
                return Ok(Commit::Raced);
            }
        }
        self.documents.put(place, to.version, document);
        Ok(Commit::Done)
    }
}

async fn pause() {
    tokio::time::sleep(Duration::from_millis(100).mul_f64(1.0 + 2.0 * clock::jitter())).await;
}
