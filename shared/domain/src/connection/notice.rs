//! What a provider's notice about a grant does to the connections of it.
//!
//! A notice is verified before it comes here, and it can come late, twice, or behind the person's next consent.

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha512};

use super::{
    record::{Connection, ErrorCode, RevokedBy, Status},
    session::hash,
    token::IdpError,
};
use crate::{Secret, Timestamp, text::text_enum};

/// Characters of a token that name it.
const PREFIX_LENGTH: usize = 16;

text_enum! {
    /// What a notice does to a connection.
    pub enum NoticeEffect {
        /// It ends: the person withdrew the consent, or the account is gone.
        Revoke = "revoke",
        /// Its tokens are dead: the person must grant again.
        Reauthorize = "reauthorize",
        /// Its grant may be dead: it is refreshed now, which shows it.
        Refresh = "refresh",
    }
}

/// What a provider names a grant by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeSubject {
    /// The account that gave it: all grants of the account to the client.
    Account(String),
    /// Its refresh token, by one of [`token_identifiers`].
    Token(String),
}

/// By what providers name a refresh token without showing it, as Google does: its first characters, or a hash of a hash
/// (<https://developers.google.com/identity/protocols/risc>, OAuth token identifiers). Each is hashed once more, so that
/// no part of a token is stored.
#[must_use]
pub fn token_identifiers(token: &Secret) -> [String; 2] {
    let token = token.expose();
    let beginning: String = token.chars().take(PREFIX_LENGTH).collect();
    let twice = Sha512::digest(Sha512::digest(token));
    [
        token_identifier("prefix", &beginning),
        token_identifier("hash_base64_sha512_sha512", &BASE64.encode(&twice)),
    ]
}

/// What is stored of the text that names a token by this algorithm.
#[must_use]
pub fn token_identifier(algorithm: &str, text: &str) -> String {
    hash(&format!("{algorithm}:{text}"))
}

/// What a provider says about the grant that an account gave to a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantNotice {
    /// The issuer of the identity provider.
    pub issuer: String,
    /// The client.
    pub client_id: String,
    /// Which of the grants to it.
    pub subject: NoticeSubject,
    /// The provider's word for what happened.
    pub kind: String,
    /// What that does.
    pub effect: NoticeEffect,
    /// When it happened, by the provider's clock.
    pub at: Timestamp,
}

impl GrantNotice {
    /// Whether it is older than a consent. Some providers give the time to the second only: in the same second the
    /// notice counts, since a refresh would find the same.
    fn is_older_than(&self, consent: Timestamp) -> bool {
        self.at.millis() / 1000 < consent.millis() / 1000
    }
}

impl Connection {
    /// Takes over what a notice says. False where it changes nothing: it is older than the last consent, or was taken
    /// over before.
    pub fn take_notice(&mut self, notice: &GrantNotice, now: Timestamp) -> bool {
        if self.status == Status::Revoked || notice.is_older_than(self.authorized_at) {
            return false;
        }
        match notice.effect {
            NoticeEffect::Revoke => {
                self.revoke(RevokedBy::Idp, now);
                true
            }
            // It was never active, and a new session is as easy as a new consent.
            NoticeEffect::Reauthorize if self.status == Status::Pending => {
                self.revoke(RevokedBy::Idp, now);
                true
            }
            NoticeEffect::Reauthorize => {
                if self.status == Status::Reauthorize {
                    return false;
                }
                let error = IdpError { code: Some(notice.kind.clone()), ..IdpError::default() };
                self.end(ErrorCode::GrantRevoked, &error, now);
                // A refresh that is under way commits to the generation that it began with.
                self.generation += 1;
                let is_later = self.token_expires_at.is_none_or(|end| end > now);
                if is_later {
                    self.token_expires_at = Some(now);
                }
                true
            }
            NoticeEffect::Refresh => {
                let is_refreshed =
                    self.refreshable && matches!(self.status, Status::Active | Status::Failing);
                let is_due = self.next_refresh_at.is_some_and(|at| at <= now);
                if is_refreshed && !is_due {
                    self.next_refresh_at = Some(now);
                }
                is_refreshed && !is_due
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::{ConnectionId, CredentialId, connection::record::ConnectionEvent};

    fn start() -> Timestamp {
        Timestamp::from_secs(1_800_000_000)
    }

    fn connection(status: Status) -> Connection {
        let row = json!({
            "id": ConnectionId::new(start(), [1; 10]), "tenant_id": "acme", "idp": "google",
            "credential_id": CredentialId::new(start(), [2; 10]), "user_id": "u_1", "status": status,
            "account": { "sub": "1" }, "refreshable": true, "refresh": "auto", "generation": 3,
            "token_type": "Bearer", "token_issued_at": start(), "token_expires_at": start() + Duration::from_hours(1),
            "authorized_at": start() + Duration::from_millis(700), "created_at": start(), "updated_at": start(),
            "next_refresh_at": start() + Duration::from_mins(50),
        });
        serde_json::from_value(row).unwrap()
    }

    fn notice(effect: NoticeEffect, at: Timestamp) -> GrantNotice {
        GrantNotice {
            issuer: "https://accounts.google.com".into(),
            client_id: "client".into(),
            subject: NoticeSubject::Account("1".into()),
            kind: "tokens-revoked".into(),
            effect,
            at,
        }
    }

    #[test]
    fn what_a_notice_does_depends_on_the_status() {
        use NoticeEffect::{Reauthorize, Refresh, Revoke};
        let now = start() + Duration::from_mins(10);
        for (before, effect, after, takes) in [
            (Status::Active, Revoke, Status::Revoked, true),
            (Status::Failing, Revoke, Status::Revoked, true),
            (Status::Pending, Revoke, Status::Revoked, true),
            (Status::Reauthorize, Revoke, Status::Revoked, true),
            (Status::Revoked, Revoke, Status::Revoked, false),
            (Status::Active, Reauthorize, Status::Reauthorize, true),
            (Status::Failing, Reauthorize, Status::Reauthorize, true),
            (Status::Pending, Reauthorize, Status::Revoked, true),
            (Status::Reauthorize, Reauthorize, Status::Reauthorize, false),
            (Status::Revoked, Reauthorize, Status::Revoked, false),
            (Status::Active, Refresh, Status::Active, true),
            (Status::Failing, Refresh, Status::Failing, true),
            (Status::Pending, Refresh, Status::Pending, false),
            (Status::Reauthorize, Refresh, Status::Reauthorize, false),
        ] {
            let mut connection = connection(before);
            assert_eq!(connection.take_notice(&notice(effect, now), now), takes, "{before} {effect}");
            assert_eq!(connection.status, after, "{before} {effect}");
            // Again, it changes nothing.
            let once = connection.clone();
            assert!(!connection.take_notice(&notice(effect, now), now), "{before} {effect}");
            assert_eq!(connection, once, "{before} {effect}");
        }
    }

    #[test]
    fn no_token_is_valid_after_a_notice_that_the_grant_is_dead() {
        let now = start() + Duration::from_mins(10);
        let mut connection = connection(Status::Active);
        assert!(connection.take_notice(&notice(NoticeEffect::Reauthorize, now), now));
        assert!(!connection.has_token_until(now));
        assert_eq!(connection.generation, 4);
        let error = connection.last_error.unwrap();
        assert_eq!(
            (error.code, error.idp_error.as_deref()),
            (ErrorCode::GrantRevoked, Some("tokens-revoked"))
        );
        assert_eq!(connection.announcements.last().unwrap().event, ConnectionEvent::Reauthorize);
    }

    #[test]
    fn a_notice_that_is_older_than_the_consent_changes_nothing() {
        let now = start() + Duration::from_mins(10);
        let consent = connection(Status::Active).authorized_at;
        for (at, takes) in [
            (consent - Duration::from_hours(1), false),
            (consent - Duration::from_secs(1), false),
            // The second of the consent, from a provider whose times have no fractions.
            (start(), true),
            (consent, true),
            (now, true),
        ] {
            for effect in NoticeEffect::ALL {
                let mut connection = connection(Status::Active);
                assert_eq!(connection.take_notice(&notice(*effect, at), now), takes, "{effect} {at}");
            }
        }
    }

    #[test]
    fn a_refresh_that_a_notice_asks_for_is_due_at_once() {
        let now = start() + Duration::from_mins(10);
        let mut connection = connection(Status::Active);
        assert!(connection.take_notice(&notice(NoticeEffect::Refresh, now), now));
        assert_eq!(connection.next_refresh_at, Some(now));
        let mut only_token = Connection { refreshable: false, ..super::tests::connection(Status::Active) };
        assert!(!only_token.take_notice(&notice(NoticeEffect::Refresh, now), now));
    }

    #[test]
    fn a_token_is_named_by_its_beginning_or_by_a_hash_of_its_hash() {
        let token = Secret::new("1//0abcdefghijklmnopqrstuvwxyz".into());
        let [beginning, hashed] = token_identifiers(&token);
        assert_eq!(beginning, token_identifier("prefix", "1//0abcdefghijkl"));
        // By `openssl dgst -sha512 -binary | openssl dgst -sha512 -binary | base64 -w0`.
        let twice =
            "EOiK4/AZqIs/aeU1dL/hnZm7+cSA4HDViXLJx+aIi/Gcq+olzAApjCYGdi6LRKGAypPGxAyYda5kB10sQGJuqg==";
        assert_eq!(hashed, token_identifier("hash_base64_sha512_sha512", twice));
        assert_ne!(beginning, token_identifier("hash_base64_sha512_sha512", "1//0abcdefghijkl"));
        assert!(!beginning.contains("1//0"));
    }
}
