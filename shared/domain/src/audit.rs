//! The audit trail of a tenant as a chain: each entry holds the hash of the one before it, so that
//! a change, removal or move of one shows in every later hash.
//!
//! The chain alone does not show that its newest entries were cut off, or that all of it was rewritten
//! by someone with access to the table: for that, compare a [`Link`] that was noted elsewhere, or a
//! [checkpoint] that was signed before.
//! Reading, writing and showing the trail belong to `platform` and the API.

pub mod checkpoint;
pub mod filter;
pub mod line;
pub mod stream;

use std::{fmt, str::FromStr};

use data_encoding::HEXLOWER;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::{TenantId, Timestamp, digest::is_hex};

/// One action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number in its tenant's trail, from 1.
    pub seq: u64,
    /// When it happened.
    pub at: Timestamp,
    /// Who did it: `operator`, or the id of an API key.
    pub actor: String,
    /// What was done, such as `endpoint.updated`.
    pub action: String,
    /// The id of its object.
    pub subject: String,
    /// The address that it came from.
    pub source_ip: Option<String>,
    /// The request, by its id in the logs.
    pub request_id: String,
    /// What it changed, before: JSON without secrets.
    pub before: Option<String>,
    /// The same, after.
    pub after: Option<String>,
}

/// An entry with its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainedEntry {
    /// What was done.
    pub entry: Entry,
    /// The hash of the entry before.
    pub prev: String,
    /// The hash of this one.
    pub hash: String,
}

/// The end of a chain up to some entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The number of that entry; 0 before the first.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
}

impl Link {
    /// The beginning of every chain.
    #[must_use]
    pub fn start() -> Self {
        Self { seq: 0, hash: "0".repeat(64) }
    }
}

/// `SEQ-HASH`.
impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.seq, self.hash)
    }
}

impl FromStr for Link {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (seq, hash) = text.split_once('-').ok_or(())?;
        let is_hash = is_hex(hash, 64);
        let link = Self { seq: seq.parse().map_err(|_| ())?, hash: hash.to_owned() };
        if is_hash && (link.seq > 0 || link == Self::start()) { Ok(link) } else { Err(()) }
    }
}

impl Entry {
    /// SHA-256 over the hash before and every field, each with its length before it, so that no two
    /// entries run together to the same bytes. The tenant is one of the fields: an entry of another
    /// trail does not fit.
    fn hash(&self, tenant: &TenantId, prev: &str) -> String {
        let mut hash = Sha256::new();
        let mut add = |part: Option<&str>| match part {
            Some(text) => {
                hash.update([1]);
                hash.update((text.len() as u64).to_be_bytes());
                hash.update(text);
            }
            None => hash.update([0]),
        };
        let numbers = [self.seq.to_string(), self.at.millis().to_string()];
        for part in [prev, "core-webhooks audit 1", tenant.as_str(), &numbers[0], &numbers[1]] {
            add(Some(part));
        }
        for part in [&self.actor, &self.action, &self.subject, &self.request_id] {
            add(Some(part));
        }
        for part in [&self.source_ip, &self.before, &self.after] {
            add(part.as_deref());
        }
        HEXLOWER.encode(&hash.finalize())
    }

    /// The entry as the one behind `head`.
    #[must_use]
    pub fn seal(mut self, tenant: &TenantId, head: &Link) -> ChainedEntry {
        self.seq = head.seq + 1;
        let hash = self.hash(tenant, &head.hash);
        ChainedEntry { entry: self, prev: head.hash.clone(), hash }
    }
}

impl ChainedEntry {
    /// The end of the chain that this entry is.
    #[must_use]
    pub fn link(&self) -> Link {
        Link { seq: self.entry.seq, hash: self.hash.clone() }
    }
}

/// How a chain is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// There is no entry with this number.
    Missing,
    /// The entry does not hold the hash of the one before.
    Unlinked,
    /// The entry is not what its hash was made of.
    Changed,
    /// A checkpoint was signed for another entry with this number.
    Rewritten,
    /// The trail ends before a checkpoint.
    CutOff,
    /// The checkpoint of this entry has no valid signature of a known key.
    Forged,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "there is no entry with this number",
            Self::Unlinked => "the entry does not hold the hash of the one before it",
            Self::Changed => "the entry is not the one that its hash was made of",
            Self::Rewritten => "a checkpoint was signed for another entry with this number",
            Self::CutOff => "the trail ends before this entry, for which a checkpoint was signed",
            Self::Forged => "the checkpoint of this entry has no valid signature of a known key",
        })
    }
}

/// The first place at which a chain is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainBreak {
    /// The number of the entry.
    pub seq: u64,
    /// How it is broken there.
    pub flaw: Flaw,
}

/// Whether these entries, in order, continue the chain behind `from`; its end then.
///
/// # Errors
/// [`ChainBreak`] at the first entry that does not.
pub fn verify<'a>(
    tenant: &TenantId,
    from: Link,
    entries: impl IntoIterator<Item = &'a ChainedEntry>,
) -> Result<Link, ChainBreak> {
    entries.into_iter().try_fold(from, |head, sealed| {
        let seq = head.seq + 1;
        let broken = |flaw| Err(ChainBreak { seq, flaw });
        if sealed.entry.seq != seq {
            return broken(Flaw::Missing);
        }
        if sealed.prev != head.hash {
            return broken(Flaw::Unlinked);
        }
        if sealed.hash != sealed.entry.hash(tenant, &sealed.prev) {
            return broken(Flaw::Changed);
        }
        Ok(sealed.link())
    })
}

/// Of two states, the fields that differ: as they were, and as they are. A field that one of them
/// lacks is missing there.
#[must_use]
pub fn differences(before: &Value, after: &Value) -> (Value, Value) {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        return (before.clone(), after.clone());
    };
    let differing = |these: &Map<String, Value>, those: &Map<String, Value>| {
        let fields = these.iter().filter(|(name, value)| those.get(*name) != Some(*value));
        Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect())
    };
    (differing(old, new), differing(new, old))
}

#[cfg(test)]
mod tests;
