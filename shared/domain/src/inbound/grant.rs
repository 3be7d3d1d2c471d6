//! What a verified request says about a grant of an OAuth connection: that the person or the provider has ended it, or that
//! it is to be checked.
//!
//! Only what is signed is read: the claims of a JWS. What a notice does to a connection is decided in
//! [`crate::connection::notice`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    engine::Verified,
    extraction::EventTime,
    reading::{Facts, Place},
};
use crate::{
    Timestamp,
    connection::notice::{GrantNotice, NoticeEffect, NoticeSubject, token_identifier},
};

/// Bytes of a subject or a client's id; a longer one is no account's.
const ID_LENGTH_LIMIT: usize = 512;

/// Where a provider's requests name a grant, and what their kinds do to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantRules {
    /// The issuer of the identity providers whose connections are meant.
    pub issuer: String,
    /// The client that the grant was given to.
    pub client: Place,
    /// The account that gave it.
    pub subject: Place,
    /// Where a refresh token is named, which counts instead of the account: by which algorithm, and the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<[Place; 2]>,
    /// The provider's word for what happened.
    pub kind: Place,
    /// When it happened.
    pub at: EventTime,
    /// What each kind does. Others do nothing.
    pub effects: BTreeMap<String, NoticeEffect>,
}

impl GrantRules {
    /// What a verified request says about a grant; nothing where it is about something else, or names no account.
    #[must_use]
    pub fn read(&self, verified: &Verified<'_>, now: Timestamp) -> Option<GrantNotice> {
        let facts = Facts::new(verified.request, None);
        facts.set_claims(verified.claims.clone()?);
        let id = |place: &Place| {
            place.read(&facts, None).filter(|text| (1..=ID_LENGTH_LIMIT).contains(&text.len()))
        };
        let kind = id(&self.kind)?;
        let effect = *self.effects.get(&kind)?;
        let token = self.token.as_ref().and_then(|[algorithm, text]| {
            Some(NoticeSubject::Token(token_identifier(&id(algorithm)?, &id(text)?)))
        });
        let account = || id(&self.subject).map(NoticeSubject::Account);
        let at = self.at.from.read(&facts, None).and_then(|text| self.at.parse(&text));
        Some(GrantNotice {
            issuer: self.issuer.clone(),
            client_id: id(&self.client)?,
            subject: token.or_else(account)?,
            kind,
            effect,
            // A clock that is ahead must not reach a grant that is given after it.
            at: at.map_or(now, |at| at.min(now)),
        })
    }

    /// Whether it reads nothing but claims.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        use super::reading::Origin;
        let places = [&self.client, &self.subject, &self.kind, &self.at.from];
        let places = places.into_iter().chain(self.token.iter().flatten());
        let is_claim =
            |origin: &Origin| matches!(origin, Origin::Claim(_) | Origin::Member(_) | Origin::MemberName(_));
        places.into_iter().all(|place: &Place| place.origins().all(is_claim))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::inbound::{presets, reading::Request};

    fn read(provider: &str, claims: &Value, now: Timestamp) -> Option<GrantNotice> {
        let request = Request {
            method: "POST",
            public_urls: &[],
            path_secret: None,
            query: "",
            headers: &[],
            body: b"",
        };
        let record = json!({ "claims": claims.to_string() });
        let verified = Verified::recorded(request, serde_json::from_value(record).unwrap());
        presets::get(provider).unwrap().grants.as_ref().unwrap().read(&verified, now)
    }

    #[test]
    fn apples_notices_are_read_with_both_spellings() {
        let now = Timestamp::from_secs(1_800_000_000);
        for (kind, effect) in [
            ("consent-revoked", Some(NoticeEffect::Revoke)),
            ("account-delete", Some(NoticeEffect::Revoke)),
            ("account-deleted", Some(NoticeEffect::Revoke)),
            ("email-disabled", None),
            ("email-enabled", None),
        ] {
            let events = json!({ "type": kind, "sub": "000.a.0", "event_time": 1_799_999_000_123_i64 });
            // As a text, which Apple sends, and as an object, which its documents show.
            for events in [json!(events.to_string()), events] {
                let claims =
                    json!({ "iss": "https://appleid.apple.com", "aud": "com.example", "events": events });
                let found = read("apple_sign_in", &claims, now);
                assert_eq!(found.as_ref().map(|found| found.effect), effect, "{kind}");
                if let Some(found) = found {
                    assert_eq!(found.subject, NoticeSubject::Account("000.a.0".into()));
                    assert_eq!(found.client_id, "com.example");
                    assert_eq!(found.at, Timestamp::from_millis(1_799_999_000_123));
                }
            }
        }
    }

    #[test]
    fn googles_events_are_read_by_the_end_of_their_names() {
        let now = Timestamp::from_secs(1_800_000_000);
        let risc = "https://schemas.openid.net/secevent/risc/event-type";
        let subject =
            json!({ "subject_type": "iss-sub", "iss": "https://accounts.google.com/", "sub": "11" });
        let oauth = "https://schemas.openid.net/secevent/oauth/event-type";
        let token = json!({
            "subject_type": "oauth_token", "token_type": "refresh_token", "token_identifier_alg": "prefix",
            "token": "1//0abcdefghijkl",
        });
        for (name, subject, effect) in [
            (format!("{risc}/tokens-revoked"), &subject, Some(NoticeEffect::Reauthorize)),
            (format!("{risc}/account-disabled"), &subject, Some(NoticeEffect::Reauthorize)),
            (format!("{risc}/account-purged"), &subject, Some(NoticeEffect::Revoke)),
            (format!("{risc}/sessions-revoked"), &subject, Some(NoticeEffect::Refresh)),
            (format!("{risc}/account-enabled"), &subject, None),
            (format!("{oauth}/token-revoked"), &token, Some(NoticeEffect::Reauthorize)),
            (format!("{oauth}/token-revoked"), &json!({ "subject_type": "oauth_token" }), None),
            (format!("{oauth}/tokens-revoked"), &subject, Some(NoticeEffect::Reauthorize)),
            (format!("{risc}/verification"), &json!({}), None),
        ] {
            let claims = json!({
                "iss": "https://accounts.google.com/", "aud": "client", "iat": 1_799_999_000, "jti": "j",
                "events": { &name: { "subject": subject } },
            });
            let found = read("google_risc", &claims, now);
            assert_eq!(found.as_ref().map(|found| found.effect), effect, "{name}");
            if let Some(found) = found {
                let named = if *subject == token {
                    NoticeSubject::Token(token_identifier("prefix", "1//0abcdefghijkl"))
                } else {
                    NoticeSubject::Account("11".into())
                };
                assert_eq!((found.subject, found.at.millis()), (named, 1_799_999_000_000), "{name}");
            }
        }
    }

    #[test]
    fn what_names_no_account_and_a_time_to_come_are_no_danger() {
        let now = Timestamp::from_secs(1_800_000_000);
        let claims = |sub: Value, at: i64| {
            let events = json!({ "type": "consent-revoked", "sub": sub, "event_time": at });
            json!({ "iss": "https://appleid.apple.com", "aud": "com.example", "events": events })
        };
        let long = "a".repeat(ID_LENGTH_LIMIT + 1);
        for sub in [json!(null), json!(""), json!(long)] {
            assert_eq!(read("apple_sign_in", &claims(sub, 1), now), None);
        }
        let late = read("apple_sign_in", &claims(json!("1"), now.millis() + 60_000), now).unwrap();
        assert_eq!(late.at, now);
    }
}
