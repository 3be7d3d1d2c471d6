//! Changes to the secrets of one endpoint or source, in a document that many share.

use std::{collections::BTreeMap, time::Duration};

use domain::{
    Secret, Timestamp,
    signing::keys::{self, RotationError, StoredSecret},
};

use crate::Fault;

/// One version of one document: secrets by the id of the endpoint or source.
pub(super) type Document = BTreeMap<String, Vec<StoredSecret>>;

/// Why secrets are not changed.
#[derive(Debug)]
pub enum SecretsError {
    /// Concurrent changes to the document; retry later.
    Conflict,
    /// The document has no room until keys in it expire, or had too many changes today.
    Full,
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
    Remove,
    /// Where the document does not know the owner, the keys are those that came from another one.
    Rotate(Rotation<'a>, Option<&'a [StoredSecret]>),
}

impl SecretChange<'_> {
    /// Makes the change in a document; returns what the owner has then.
    pub(super) fn apply(
        self,
        document: &mut Document,
        owner: &str,
    ) -> Result<Vec<StoredSecret>, SecretsError> {
        let after = match self {
            Self::Remove => {
                document.remove(owner);
                return Ok(Vec::new());
            }
            Self::Set(secrets) => secrets.iter().cloned().map(StoredSecret::from).collect(),
            Self::Rotate(Rotation { new, overlap, now }, elsewhere) => {
                let mut before = match (document.get(owner), elsewhere) {
                    (None, None) => return Err(SecretsError::Gone),
                    (here, _) => here.cloned().unwrap_or_default(),
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
        document.insert(owner.to_owned(), Clone::clone(&after));
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
        let elsewhere = [StoredSecret::from(old.clone())];
        // What each document knows of the owner, and the keys that sign after another rotation.
        for (here, expected) in [
            (None, vec![&new, &old]),
            (Some(vec![StoredSecret::from(lost.clone())]), vec![&new, &lost, &old]),
        ] {
            let mut document = Document::new();
            if let Some(here) = here {
                document.insert("ept".into(), here);
            }
            let after =
                SecretChange::Rotate(rotation(&new), Some(&elsewhere)).apply(&mut document, "ept").unwrap();
            let secrets: Vec<_> = after.iter().map(|kept| &kept.secret).collect();
            assert_eq!(secrets, expected);
            let ends: Vec<_> = after.iter().map(|kept| kept.expires_at).collect();
            assert!(ends[0].is_none() && ends[1..].iter().all(|end| *end == Some(now + overlap)));
        }
        let nowhere = SecretChange::Rotate(rotation(&new), None).apply(&mut Document::new(), "ept");
        assert!(matches!(nowhere, Err(SecretsError::Gone)));
    }
}
