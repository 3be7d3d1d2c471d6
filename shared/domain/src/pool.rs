//! Pools of secrets: documents, called shards, that the owners of all tenants share.
//!
//! A secret costs $0.40 a month, so a document per tenant would cost more than everything else
//! (`docs/internals/cost.md`). What limits a shard is AWS: 64 KiB a document, about a hundred
//! versions a day, since Secrets Manager deletes none that is younger than a day, and 50 writes a second
//! for the account (<https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html>).
//! Here is decided which shard a new owner joins; who writes it is the platform's business.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::TenantId;

/// A document of this size, in bytes, accepts no more owners. The rest up to 64 KiB is for rotations: an
/// owner with an old key that still signs takes three times its first room.
pub const NEWCOMER_SIZE: usize = 48 * 1024;

/// The largest document, in bytes: Secrets Manager's limit.
pub const DOCUMENT_SIZE: usize = 64 * 1024;

/// After this many versions in a day (UTC) a shard accepts no more owners on that day. The rest up to
/// [`VERSIONS_A_DAY`] is for changes of those it has.
pub const NEWCOMER_VERSIONS_A_DAY: u32 = 60;

/// After this many versions in a day (UTC) a shard is not changed on that day.
pub const VERSIONS_A_DAY: u32 = 96;

/// Shards that are open for new owners at once, at most. One change after the other takes about 150 ms
/// of a shard, so eight use the 50 writes a second that the account has. Fewer are open
/// while changes do not meet: each shard costs $0.40 a month.
pub const OPEN_SHARDS: usize = 8;

/// The name of an owner in a document: `TENANT/ID`. It begins with the tenant, so no owner of another
/// tenant can have it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EntryKey(String);

impl EntryKey {
    /// The name of this tenant's owner. A tenant's id has no `/`, so the first one ends it, whatever
    /// the owner's id is.
    #[must_use]
    pub fn new(tenant: &TenantId, id: &str) -> Self {
        Self(format!("{tenant}/{id}"))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the owner is this tenant's.
    #[must_use]
    pub fn is_of(&self, tenant: &TenantId) -> bool {
        self.0.split_once('/').is_some_and(|(owner, _)| owner == tenant.as_str())
    }

    fn hash(&self) -> usize {
        let digest = Sha256::digest(&self.0);
        usize::from(u16::from_be_bytes([digest[0], digest[1]]))
    }
}

impl fmt::Display for EntryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the choice of a shard depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which one.
    pub number: u32,
    /// The size of its document, in bytes.
    pub size: usize,
    /// The day (UTC, since 1970) that `versions` counts.
    pub day: i64,
    /// Versions of its document that were committed on that day.
    pub versions: u32,
}

impl Shard {
    /// Versions committed on this day. A clock that is behind counts on for the later day.
    #[must_use]
    pub fn versions_on(&self, day: i64) -> u32 {
        if self.day >= day { self.versions } else { 0 }
    }

    /// Whether a new owner may join.
    #[must_use]
    pub fn admits_newcomer(&self, day: i64) -> bool {
        self.size < NEWCOMER_SIZE && self.versions_on(day) < NEWCOMER_VERSIONS_A_DAY
    }

    /// Whether an owner that it has may change. Whether the document can grow is known only when it is
    /// written.
    #[must_use]
    pub fn admits_change(&self, day: i64) -> bool {
        self.versions_on(day) < VERSIONS_A_DAY
    }

    /// The shard after one more version of this size.
    #[must_use]
    pub fn changed(self, size: usize, day: i64) -> Self {
        Self { size, day: self.day.max(day), versions: self.versions_on(day) + 1, ..self }
    }

    /// A shard that has no document yet.
    #[must_use]
    pub fn new(number: u32) -> Self {
        Self { number, size: 0, day: 0, versions: 0 }
    }
}

/// The shards that a new owner tries, in this order, until one is neither busy nor full.
///
/// First the open ones, the lowest numbers, beginning at one chosen by the owner's hash; then, while fewer
/// than [`OPEN_SHARDS`] are open, a new one. `refused` are those that were tried and proved to be full.
/// There is always at least one.
#[must_use]
pub fn for_newcomer(shards: &[Shard], refused: &BTreeSet<u32>, owner: &EntryKey, day: i64) -> Vec<u32> {
    let open = shards.iter().filter(|shard| shard.admits_newcomer(day) && !refused.contains(&shard.number));
    let open: BTreeSet<u32> = open.map(|shard| shard.number).collect();
    let mut order: Vec<u32> = open.into_iter().take(OPEN_SHARDS).collect();
    if !order.is_empty() {
        let first = owner.hash() % order.len();
        order.rotate_left(first);
    }
    if order.len() < OPEN_SHARDS {
        let known = shards.iter().map(|shard| shard.number).chain(refused.iter().copied());
        order.push(known.max().map_or(0, |last| last + 1));
    }
    order
}

#[cfg(test)]
mod tests;
