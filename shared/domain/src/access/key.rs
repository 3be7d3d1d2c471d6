//! An API key as it is kept: what it may do, from where, until when, and under which hashes it is found.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    caller::Caller,
    network::{self, Network},
    role::Grant,
};
use crate::{KeyId, TenantId, Timestamp, tenant::limits::RequestRate};

/// Keys of one tenant, at most.
pub const COUNT_LIMIT: u32 = 100;

/// How long the text before may stay valid after a rotation, in seconds: a week.
pub const LONGEST_OVERLAP_SECS: u32 = 7 * 24 * 3600;

/// How long it does unless a rotation says otherwise: a day.
pub const OVERLAP_SECS: u32 = 24 * 3600;

/// Texts of one key that are valid beside the newest, at most. More than one, so that a rotation that is repeated because
/// its response was lost does not end the text that is in use.
pub const PREVIOUS_COUNT_LIMIT: usize = 3;

/// How exact the time of the last use is, in seconds: noting it costs a write.
pub const LAST_USE_SECS: i64 = 3600;

/// An API key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Which one.
    pub id: KeyId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Its name.
    pub name: String,
    /// What it may do.
    pub grant: Grant,
    /// When it was created.
    pub created_at: Timestamp,
    /// Who created it: `operator`, or the id of a key.
    pub created_by: String,
    /// From when on it is refused; never, if there is no time.
    pub expires_at: Option<Timestamp>,
    /// The networks that may use it; any where there are none.
    pub allowed_networks: Vec<Network>,
    /// Requests a second that are accepted with it; without it only the tenant's limit applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
    /// Requests at once that are accepted with it; twice the rate where it is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_burst: Option<u32>,
    /// The hash of its text.
    pub hash: String,
    /// The last characters of its text.
    pub hint: String,
    /// The texts before rotations, the newest first, while they may be valid.
    #[serde(default)]
    pub previous: Vec<PreviousText>,
    /// When it was last used, to the hour.
    #[serde(default)]
    pub last_used_at: Option<Timestamp>,
    /// Counts its changes.
    pub revision: u64,
}

/// The text that a rotation has replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousText {
    /// Its hash.
    pub hash: String,
    /// Until when it is valid.
    pub valid_until: Timestamp,
}

impl ApiKey {
    /// Gives it another text. Those before stay valid for `overlap_secs`, if they do not end earlier. Returns the hashes
    /// that must not be found any more: of texts that have ended, and of the oldest where there are too many.
    pub fn rotate(&mut self, hash: String, hint: String, overlap_secs: u32, now: Timestamp) -> Vec<String> {
        let before = std::mem::replace(&mut self.hash, hash);
        self.hint = hint;
        let valid_until = now + Duration::from_secs(overlap_secs.into());
        self.previous.insert(0, PreviousText { hash: before, valid_until });
        for previous in &mut self.previous {
            previous.valid_until = previous.valid_until.min(valid_until);
        }
        let mut ended = self.previous.split_off(self.previous.len().min(PREVIOUS_COUNT_LIMIT));
        ended.extend(self.previous.extract_if(.., |previous| previous.valid_until <= now));
        ended.into_iter().map(|previous| previous.hash).collect()
    }

    /// Its own rate limit.
    #[must_use]
    pub fn rate(&self) -> Option<RequestRate> {
        RequestRate::of_key(self.requests_per_second, self.request_burst)
    }

    /// The entries by which requests find it: one for each text.
    #[must_use]
    pub fn entries(&self) -> Vec<KeyEntry> {
        let entry = |hash: &str, valid_until| KeyEntry {
            hash: hash.to_owned(),
            tenant: self.tenant.clone(),
            key_id: self.id,
            grant: self.grant.clone(),
            allowed_networks: self.allowed_networks.clone(),
            rate: self.rate(),
            valid_until,
        };
        let previous = self.previous.iter().map(|previous| {
            let until = previous.valid_until;
            entry(&previous.hash, Some(self.expires_at.map_or(until, |end| end.min(until))))
        });
        std::iter::once(entry(&self.hash, self.expires_at)).chain(previous).collect()
    }
}

/// As much of a key as a request requires, found by the hash of its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyEntry {
    /// The hash of the text.
    pub hash: String,
    /// Whose key it is.
    pub tenant: TenantId,
    /// Which one.
    pub key_id: KeyId,
    /// What it may do.
    pub grant: Grant,
    /// The networks that may use it; any where there are none.
    #[serde(default)]
    pub allowed_networks: Vec<Network>,
    /// The key's own rate limit. All its texts share it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<RequestRate>,
    /// From when on this text is refused.
    pub valid_until: Option<Timestamp>,
}

/// Whether a key is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It is, for this caller.
    Accepted(Caller),
    /// It has expired, or was replaced.
    Expired,
    /// Not from this address.
    OtherNetwork,
}

impl KeyEntry {
    /// Whether the key is accepted from this address; `None` is an address that the edge did not report.
    #[must_use]
    pub fn admit(&self, address: Option<&str>, now: Timestamp) -> Admission {
        if self.valid_until.is_some_and(|until| until <= now) {
            Admission::Expired
        } else if !network::allow(&self.allowed_networks, address) {
            Admission::OtherNetwork
        } else {
            Admission::Accepted(Caller::Key {
                tenant: self.tenant.clone(),
                id: self.key_id,
                scopes: self.grant.scopes(),
                rate: self.rate,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Role, Scope};

    fn key() -> ApiKey {
        ApiKey {
            id: KeyId::new(Timestamp::from_secs(0), [0; 10]),
            tenant: "acme".parse().unwrap(),
            name: "back end".to_owned(),
            grant: Grant::Role(Role::Viewer),
            created_at: Timestamp::from_secs(0),
            created_by: "operator".to_owned(),
            expires_at: None,
            allowed_networks: Vec::new(),
            requests_per_second: None,
            request_burst: None,
            hash: "a".to_owned(),
            hint: "aaaa".to_owned(),
            previous: Vec::new(),
            last_used_at: None,
            revision: 0,
        }
    }

    #[test]
    fn a_key_is_accepted_until_its_end_and_from_its_networks() {
        let accepted =
            |address, now, key: &ApiKey| match key.entries()[0].admit(address, Timestamp::from_secs(now)) {
                Admission::Accepted(caller) => Ok(caller.may(Scope::EventsRead)),
                refused => Err(refused),
            };
        let limited = ApiKey { allowed_networks: vec!["192.0.2.0/24".parse().unwrap()], ..key() };
        let ending = ApiKey { expires_at: Some(Timestamp::from_secs(10)), ..limited.clone() };
        for (key, address, now, expected) in [
            (&key(), None, 0, Ok(true)),
            (&limited, Some("192.0.2.1"), 0, Ok(true)),
            (&limited, Some("192.0.3.1"), 0, Err(Admission::OtherNetwork)),
            (&limited, None, 0, Err(Admission::OtherNetwork)),
            (&ending, Some("192.0.2.1"), 9, Ok(true)),
            (&ending, Some("192.0.2.1"), 10, Err(Admission::Expired)),
            (&ending, Some("192.0.3.1"), 10, Err(Admission::Expired)),
        ] {
            assert_eq!(accepted(address, now, key), expected, "{address:?} {now}");
        }
    }

    #[test]
    fn after_a_rotation_both_texts_are_valid_for_a_while() {
        let mut key = key();
        let at = Timestamp::from_secs;
        let rotate = |key: &mut ApiKey, hash: &str, overlap, now| {
            key.rotate(hash.to_owned(), hash.repeat(4), overlap, at(now))
        };
        assert!(rotate(&mut key, "b", 60, 100).is_empty());
        let ends = |key: &ApiKey| -> Vec<_> {
            let entries = key.entries();
            entries.into_iter().map(|entry| (entry.hash, entry.valid_until.map(Timestamp::secs))).collect()
        };
        let entry = |hash: &str, end| (hash.to_owned(), end);
        assert_eq!(ends(&key), [entry("b", None), entry("a", Some(160))]);
        // One that is repeated does not end the text that is in use.
        assert!(rotate(&mut key, "c", 60, 101).is_empty());
        assert_eq!(ends(&key), [entry("c", None), entry("b", Some(161)), entry("a", Some(160))]);
        assert!(rotate(&mut key, "d", 60, 102).is_empty());
        assert_eq!(rotate(&mut key, "e", 60, 103), ["a"], "too many");
        // One without an overlap ends them all.
        assert_eq!(rotate(&mut key, "f", 0, 104), ["b", "e", "d", "c"]);
        assert_eq!(ends(&key), [entry("f", None)]);
        assert!(rotate(&mut key, "g", 60, 105).is_empty());
        // All texts have the rate of the key.
        key.requests_per_second = Some(5);
        let rate = Some(RequestRate { per_second: 5, burst: 10 });
        assert!(key.entries().iter().all(|entry| entry.rate == rate));
        // The end of the key is the end of both.
        key.expires_at = Some(at(106));
        assert_eq!(ends(&key), [entry("g", Some(106)), entry("f", Some(106))]);
    }
}
