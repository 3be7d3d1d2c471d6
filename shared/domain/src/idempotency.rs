//! Idempotency keys of requests that create something: what a repeat gets.
//!
//! A request claims its key, and stores its response under it. The claim ends after a while, so that a function that
//! died does not block the key. Ids of what the request creates are derived from the record, so a repeat of one whose
//! outcome is unknown finds what that has created. Publishing has keys of its own: its event is the record.

use std::{borrow::Cow, time::Duration};

use data_encoding::HEXLOWER;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::{Timestamp, saturating};

/// How long a response is kept under its key.
pub const KEPT: Duration = Duration::from_hours(24);

/// How long the record of a request is kept whose effect at a third party is unknown: a repeat days later must not be
/// taken for the first.
pub const KEPT_UNKNOWN: Duration = Duration::from_hours(7 * 24);

/// The longest response that is kept whole, in bytes: sealed and as text, it must fit into an item of DynamoDB.
pub const WHOLE_LIMIT: usize = 256 * 1024;

/// How long a request can take under its claim: twice as long as a function runs.
pub const CLAIM: Duration = Duration::from_mins(1);

/// What a key must be.
pub const KEY_RULE: &str = "must be 1 to 255 printable ASCII characters";

/// After how many seconds a repeat at the same time as the first request is sent again at the earliest and latest.
const WAIT_SECS: (u16, u16) = (1, 3);

/// Whether a text is a key.
#[must_use]
pub fn is_key(text: &str) -> bool {
    (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

/// The name of a key's record. Each caller has its own keys, and each route. A tenant that was deleted and created again is
/// another one, so the name has the time when it was created (in milliseconds); the operator has none.
#[must_use]
pub fn record_name(caller: &str, route: &str, key: &str, tenant_created_at: Option<i64>) -> String {
    let created_at = tenant_created_at.map(|millis| millis.to_string()).unwrap_or_default();
    digest(&[caller, route, key, &created_at].map(str::as_bytes))
}

/// Where the ids of what a request creates come from: the same in all its repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Random, of the first request.
    pub seed: String,
    /// When that arrived.
    pub first_at: Timestamp,
    /// Whether this is a repeat of a request whose outcome is unknown.
    pub is_repeat: bool,
    /// When a request with this key was first about to be sent to a third party, where it may have been carried out.
    pub sent_at: Option<Timestamp>,
}

impl Origin {
    /// The random part of the id. Who knows the key alone cannot guess it, since the seed is random.
    #[must_use]
    pub fn random(&self) -> [u8; 10] {
        let hash = Sha256::digest(format!("id of {}", self.seed));
        std::array::from_fn(|place| hash[place])
    }
}

/// What must be the same in a repeat: the path and the bytes of the body.
#[must_use]
pub fn fingerprint(path: &str, body: &[u8]) -> String {
    digest(&[path.as_bytes(), body])
}

/// A response as it is kept for repeats. One that is too long is kept without its longest field, which is null then: a
/// repeat reports that the request was carried out.
#[must_use]
pub fn kept_form(body: &[u8]) -> Cow<'_, [u8]> {
    if body.len() <= WHOLE_LIMIT {
        return Cow::Borrowed(body);
    }
    let mut fields: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    if let Some((_, longest)) = fields.iter_mut().max_by_key(|(_, value)| value.to_string().len()) {
        *longest = Value::Null;
    }
    Cow::Owned(Value::Object(fields).to_string().into_bytes())
}

/// A hash in which each part has its length, so that no two lists have the same bytes.
fn digest(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    HEXLOWER.encode(&hash.finalize())
}

/// What is known of a key, where it could not be claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The request's [`fingerprint`].
    pub fingerprint: String,
    /// Until when the request that claimed it may take.
    pub claimed_until: Timestamp,
    /// The response, sealed, if the request has succeeded.
    pub sealed_response: Option<String>,
}

/// What a request gets that could not claim its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repeat {
    /// The response of the first request.
    Same(String),
    /// The first request is in progress: again after as many seconds.
    InProgress(u16),
    /// The key was used for another request.
    OtherRequest,
}

impl Record {
    /// What a request with this fingerprint gets.
    #[must_use]
    pub fn repeat(self, fingerprint: &str, now: Timestamp) -> Repeat {
        if self.fingerprint != fingerprint {
            return Repeat::OtherRequest;
        }
        if let Some(sealed) = self.sealed_response {
            return Repeat::Same(sealed);
        }
        let (least, most) = WAIT_SECS;
        let left = (self.claimed_until.millis() - now.millis()).max(0) / 1000;
        Repeat::InProgress(saturating::<u16>(left).clamp(least, most))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_repeat_gets_what_the_first_request_got() {
        let now = Timestamp::from_secs(2_000_000_000);
        let response = || Some("sealed".to_owned());
        for (name, asked, until, stored, expected) in [
            ("done", "a", 0, response(), Repeat::Same("sealed".to_owned())),
            ("done, another body", "b", 0, response(), Repeat::OtherRequest),
            ("in progress", "a", 50, None, Repeat::InProgress(3)),
            ("about to end", "a", 2, None, Repeat::InProgress(2)),
            // Another repeat has claimed it since the condition was checked.
            ("ended just now", "a", -5, None, Repeat::InProgress(1)),
            ("in progress, another body", "b", 50, None, Repeat::OtherRequest),
        ] {
            let claimed_until = Timestamp::from_secs(now.secs() + until);
            let record = Record { fingerprint: "a".to_owned(), claimed_until, sealed_response: stored };
            assert_eq!(record.repeat(asked, now), expected, "{name}");
        }
    }

    #[test]
    fn each_caller_and_route_has_keys_of_its_own() {
        let names = [
            record_name("operator", "create_endpoint", "k", None),
            record_name("operator", "create_endpoint", "k", Some(1)),
            record_name("operator", "create_endpoint", "k", Some(2)),
            record_name("key_1", "create_endpoint", "k", None),
            record_name("operator", "create_source", "k", None),
            record_name("operator", "create_endpoint", "K", None),
            record_name("operator", "create_endpointk", "", None),
            fingerprint("/v1/endpoints", b"{}"),
            fingerprint("/v1/endpoints", b"{ }"),
            fingerprint("/v1/endpoints{", b"}"),
        ];
        let distinct: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
        assert_eq!(record_name("a", "b", "c", Some(1)), record_name("a", "b", "c", Some(1)));
    }

    #[test]
    fn an_id_is_of_its_seed() {
        let origin = |seed: &str, is_repeat| Origin {
            seed: seed.to_owned(),
            first_at: Timestamp::from_secs(1),
            is_repeat,
            sent_at: None,
        };
        assert_eq!(origin("a", false).random(), origin("a", true).random());
        assert_ne!(origin("a", false).random(), origin("b", false).random());
    }

    #[test]
    fn a_long_response_is_kept_without_its_longest_field() {
        let response =
            |length: usize| json!({ "status": 200, "body": { "id": "x".repeat(length) }, "request_id": "r" });
        let short = response(100).to_string();
        assert_eq!(kept_form(short.as_bytes()), short.as_bytes());
        let long = response(WHOLE_LIMIT).to_string();
        let kept: Value = serde_json::from_slice(&kept_form(long.as_bytes())).unwrap();
        assert_eq!(kept, json!({ "status": 200, "body": null, "request_id": "r" }));
    }

    #[test]
    fn a_key_is_printable_ascii() {
        for (text, expected) in [
            ("k", true),
            ("a b ~", true),
            (&*"k".repeat(255), true),
            (&*"k".repeat(256), false),
            ("", false),
            ("é", false),
            ("a\tb", false),
        ] {
            assert_eq!(is_key(text), expected, "{text}");
        }
    }
}
