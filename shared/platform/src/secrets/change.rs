//! Documents, and changes to the secrets of one endpoint or source in them.

use std::{collections::BTreeMap, time::Duration};

use domain::{
    Secret, Timestamp,
    pool::EntryKey,
    signing::keys::{self, RotationError, StoredSecret},
};
use serde::{Deserialize, Serialize};

use crate::Fault;

/// One version of one shard: secrets by tenant and id of the endpoint or source. The secrets are wiped when
/// it is dropped, and its `Debug` shows none.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Document(BTreeMap<EntryKey, Vec<StoredSecret>>);

impl Document {
    /// The secrets of one owner.
    pub(super) fn get(&self, owner: &EntryKey) -> Option<&[StoredSecret]> {
        self.0.get(owner).map(Vec::as_slice)
    }

    /// All owners.
    pub(super) fn owners(&self) -> impl Iterator<Item = &EntryKey> {
        self.0.keys()
    }

    /// Removes an owner. False where it has none.
    pub(super) fn remove(&mut self, owner: &EntryKey) -> bool {
        self.0.remove(owner).is_some()
    }

    /// Removes the keys of all owners that have expired.
    pub(super) fn expire(&mut self, now: Timestamp) {
        for keys in self.0.values_mut() {
            keys.retain(|key| key.is_active(now));
        }
    }

    /// About what it takes in memory, in bytes.
    pub(super) fn weight(&self) -> usize {
        const OWNER: usize = 128;
        const SECRET: usize = size_of::<StoredSecret>() + 16;
        let owners = self.0.iter().map(|(owner, secrets)| {
            let secrets = secrets.iter().map(|kept| SECRET + kept.secret.expose().len());
            OWNER + owner.as_str().len() + secrets.sum::<usize>()
        });
        OWNER + owners.sum::<usize>()
    }
}

/// Why secrets are not changed.
#[derive(Debug)]
pub enum SecretsError {
    /// Concurrent changes to the same secrets or the same shards; retry later.
    Conflict,
    /// The endpoint has no keys: it was deleted.
    Gone,
    /// Its keys cannot be rotated like this.
    Refused(RotationError),
    /// Our failure.
    Fault(Fault),
}

impl From<Fault> for SecretsError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// A new key for an endpoint.
#[derive(Debug, Clone, Copy)]
pub struct Rotation<'a> {
    /// The key.
    pub new: &'a Secret,
    /// How long the previous keys still sign.
    pub overlap: Duration,
    /// When.
    pub now: Timestamp,
}

/// A change to the secrets of one owner.
#[derive(Debug, Clone, Copy)]
pub(super) enum SecretChange<'a> {
    Set(&'a [Secret]),
    /// Nothing but removing who left the shard.
    Clean,
    /// Where the document does not know the owner, the keys are those that came from another one.
    Rotate(Rotation<'a>, Option<&'a [StoredSecret]>),
}

impl SecretChange<'_> {
    /// Makes the change in a document; returns what the owner has then.
    pub(super) fn apply(
        self,
        document: &mut Document,
        owner: &EntryKey,
    ) -> Result<Vec<StoredSecret>, SecretsError> {
        let after = match self {
            Self::Clean => return Ok(Vec::new()),
            Self::Set(secrets) => secrets.iter().cloned().map(StoredSecret::from).collect(),
            Self::Rotate(Rotation { new, overlap, now }, elsewhere) => {
                let mut before = match (document.get(owner), elsewhere) {
                    (None, None) => return Err(SecretsError::Gone),
                    (here, _) => here.unwrap_or_default().to_vec(),
                };
                // A rotation that stopped halfway left its key here, and what signs is still there.
                for kept in elsewhere.unwrap_or_default() {
                    if before.iter().all(|known| known.secret != kept.secret) {
                        before.push(kept.clone());
                    }
                }
                keys::rotate(&before, new, overlap, now).map_err(SecretsError::Refused)?
            }
        };
        document.0.insert(owner.clone(), Clone::clone(&after));
        Ok(after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_that_stopped_halfway_costs_no_key_that_signs() {
        let now = Timestamp::from_secs(1_000);
        let secret = |text: &str| Secret::new(text.to_owned());
        let (old, lost, new) = (secret("old"), secret("lost"), secret("new"));
        let overlap = Duration::from_mins(1);
        let rotation = |new| Rotation { new, overlap, now };
        let owner = EntryKey::new(&"acme".parse().unwrap(), "ept");
        let elsewhere = [StoredSecret::from(old.clone())];
        // What each document knows of the owner, and the keys that sign after another rotation.
        for (here, expected) in [
            (None, vec![&new, &old]),
            (Some(vec![StoredSecret::from(lost.clone())]), vec![&new, &lost, &old]),
        ] {
            let mut document = Document::default();
            if let Some(here) = here {
                document.0.insert(owner.clone(), here);
            }
            let after =
                SecretChange::Rotate(rotation(&new), Some(&elsewhere)).apply(&mut document, &owner).unwrap();
            let secrets: Vec<_> = after.iter().map(|kept| &kept.secret).collect();
            assert_eq!(secrets, expected);
            let ends: Vec<_> = after.iter().map(|kept| kept.expires_at).collect();
            assert!(ends[0].is_none() && ends[1..].iter().all(|end| *end == Some(now + overlap)));
        }
        let nowhere = SecretChange::Rotate(rotation(&new), None).apply(&mut Document::default(), &owner);
        assert!(matches!(nowhere, Err(SecretsError::Gone)));
    }

    /// Two tenants with owners of the same id, and ids that contain what separates: each gets its own.
    #[test]
    fn each_tenant_reads_and_changes_its_own_secrets() {
        let mut document = Document::default();
        let secret = |text: &str| [Secret::new(text.to_owned())];
        let owners = [("a", "ept"), ("b", "ept"), ("a", "b/ept"), ("a.b", "ept"), ("a", "/ept"), ("a", "")];
        let key = |(tenant, id): (&str, &str)| EntryKey::new(&tenant.parse().unwrap(), id);
        for owner in owners {
            let own = secret(&format!("{owner:?}"));
            SecretChange::Set(&own).apply(&mut document, &key(owner)).unwrap();
        }
        let text = serde_json::to_string(&document).unwrap();
        let mut document: Document = serde_json::from_str(&text).unwrap();
        for owner in owners {
            let kept = document.get(&key(owner)).unwrap();
            assert_eq!((kept.len(), kept[0].secret.expose()), (1, format!("{owner:?}").as_str()));
        }
        assert!(document.get(&key(("b", "b/ept"))).is_none());
        assert!(document.remove(&key(owners[0])) && !document.remove(&key(owners[0])));
        assert_eq!(owners.iter().filter(|owner| document.get(&key(**owner)).is_some()).count(), 5);
        assert!(!format!("{document:?}").contains("(\"a\""), "{document:?}");
    }
}
