//! Portal sessions: a person of a tenant uses the API from a browser, for a while and for a few things.
//!
//! The CRM creates a session and gives its page a code that works once; the page exchanges it for a token, and renews the
//! token until the session ends. So no key of the tenant reaches a browser, and what leaks ends soon.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::{
    caller::{Caller, KeyRate},
    origin::Origins,
    scope::Scope,
};
pub use crate::digest::hash;
use crate::{PortalSessionId, Secret, TenantId, Timestamp, digest::is_hex};

/// What a code begins with.
pub const CODE_PREFIX: &str = "cpl_";
/// What a token begins with.
pub const TOKEN_PREFIX: &str = "cps_";
/// How long a code works, in seconds.
pub const CODE_SECS: i64 = 5 * 60;
/// How long a token works until it is renewed, in seconds.
pub const TOKEN_SECS: i64 = 15 * 60;
/// How long a token works beside the one that has replaced it, in seconds.
pub const RENEWED_SECS: i64 = 60;
/// The shortest and the longest session, and the one by default, in seconds.
pub const SHORTEST_SECS: u32 = 60;
/// The longest session, in seconds.
pub const LONGEST_SECS: u32 = 12 * 3600;
/// A session whose length is not set, in seconds.
pub const DEFAULT_SECS: u32 = 3600;
/// Origins of one session, at most.
pub const ORIGIN_COUNT_LIMIT: usize = 10;

/// What no session may do: a thief of a browser's token must not gain more with it, or keep it.
const EXCLUDED: [Scope; 6] = [
    Scope::KeysWrite,
    Scope::TenantWrite,
    Scope::PortalWrite,
    Scope::ConnectionsToken,
    Scope::IntegrationsCall,
    Scope::IdpsWrite,
];

/// Whether a session may have a scope.
#[must_use]
pub fn may_have(scope: Scope) -> bool {
    !EXCLUDED.contains(&scope)
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortalSession {
    /// Which one.
    pub id: PortalSessionId,
    /// Whose portal it is.
    pub tenant: TenantId,
    /// The CRM's id of the person, if it said so.
    pub user_id: Option<String>,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// The origins of the pages that may use it; any where there are none.
    pub origins: Vec<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// Who created it: `operator`, or the id of a key.
    pub created_by: String,
    /// The rate limit of the key that created it, if that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<KeyRate>,
    /// When the code was exchanged.
    pub opened_at: Option<Timestamp>,
    /// When it ends.
    pub ends_at: Timestamp,
    /// The hash of its token, once it has one.
    pub token_hash: Option<String>,
    /// The hash of the token before, which stays valid for a moment: the response of a renewal can be lost.
    pub previous_token_hash: Option<String>,
    /// Counts its changes.
    pub revision: u64,
}

impl PortalSession {
    /// Until when a token works that is made now.
    #[must_use]
    pub fn token_end(&self, now: Timestamp) -> Timestamp {
        Timestamp::from_secs(now.secs() + TOKEN_SECS).min(self.ends_at)
    }

    /// Whether a page of this origin may use it. `None` is a request that is not a browser's.
    #[must_use]
    pub fn allows_origin(&self, origin: Option<&str>) -> bool {
        allow_origin(&self.origins, origin)
    }

    /// What a token of it is found as.
    #[must_use]
    pub fn token(&self, valid_until: Timestamp) -> PortalToken {
        PortalToken {
            tenant: self.tenant.clone(),
            session: self.id,
            scopes: self.scopes.clone(),
            origins: self.origins.clone(),
            rate: self.rate,
            valid_until,
        }
    }
}

fn allow_origin(origins: &[String], origin: Option<&str>) -> bool {
    let parsed = || origins.join(",").parse::<Origins>().unwrap_or_default();
    origins.is_empty() || origin.is_none_or(|origin| parsed().allow(origin))
}

/// As much of a session as a request requires, found by the hash of its token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortalToken {
    /// Whose portal it is.
    pub tenant: TenantId,
    /// The session.
    pub session: PortalSessionId,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// The origins of the pages that may use it; any where there are none.
    #[serde(default)]
    pub origins: Vec<String>,
    /// The rate limit of the key that created the session, if that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<KeyRate>,
    /// From when on it is refused.
    pub valid_until: Timestamp,
}

/// Whether a token is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenAdmission {
    /// It is, for this caller.
    Accepted(Caller),
    /// It has expired.
    Expired,
    /// A page of another origin has sent it.
    OtherOrigin,
}

impl PortalToken {
    /// Whether it is accepted from a page of this origin.
    #[must_use]
    pub fn admit(&self, origin: Option<&str>, now: Timestamp) -> TokenAdmission {
        if self.valid_until <= now {
            TokenAdmission::Expired
        } else if !allow_origin(&self.origins, origin) {
            TokenAdmission::OtherOrigin
        } else {
            TokenAdmission::Accepted(Caller::Portal {
                tenant: self.tenant.clone(),
                id: self.session,
                scopes: self.scopes.clone(),
                rate: self.rate,
            })
        }
    }
}

/// A code or a token from 32 random bytes.
#[must_use]
pub fn from_random(prefix: &str, random: &[u8; 32]) -> Secret {
    Secret::new(format!("{prefix}{}", HEXLOWER.encode(random)))
}

/// Whether a text is written as codes and tokens with this prefix are.
#[must_use]
pub fn is_well_formed(prefix: &str, text: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|digits| is_hex(digits, 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(origins: &[&str]) -> PortalSession {
        PortalSession {
            id: PortalSessionId::new(Timestamp::from_secs(0), [0; 10]),
            tenant: "acme".parse().unwrap(),
            user_id: None,
            scopes: vec![Scope::EventsRead],
            origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
            created_at: Timestamp::from_secs(0),
            created_by: "operator".to_owned(),
            rate: None,
            opened_at: None,
            ends_at: Timestamp::from_secs(3600),
            token_hash: None,
            previous_token_hash: None,
            revision: 0,
        }
    }

    #[test]
    fn a_token_ends_with_its_session() {
        let session = session(&[]);
        for (now, end) in [(0, 900), (2_700, 3_600), (3_000, 3_600)] {
            assert_eq!(session.token_end(Timestamp::from_secs(now)), Timestamp::from_secs(end), "{now}");
        }
    }

    #[test]
    fn a_token_is_accepted_until_its_end_and_from_its_pages() {
        let crm = "https://crm.example.com";
        for (origins, origin, now, expected) in [
            (&[][..], None, 0, Ok(true)),
            (&[], Some("https://any.example"), 899, Ok(true)),
            (&[], None, 900, Err(TokenAdmission::Expired)),
            (&[crm], Some(crm), 0, Ok(true)),
            (&[crm], None, 0, Ok(true)),
            (&[crm], Some("https://evil.example"), 0, Err(TokenAdmission::OtherOrigin)),
            (&[crm], Some("null"), 0, Err(TokenAdmission::OtherOrigin)),
        ] {
            let token = session(origins).token(Timestamp::from_secs(900));
            let found = match token.admit(origin, Timestamp::from_secs(now)) {
                TokenAdmission::Accepted(caller) => Ok(caller.may(Scope::EventsRead)),
                refused => Err(refused),
            };
            assert_eq!(found, expected, "{origins:?} {origin:?} {now}");
        }
    }

    #[test]
    fn a_text_that_is_no_token_is_known_by_its_form() {
        let token = from_random(TOKEN_PREFIX, &[0xab; 32]);
        let text = token.expose();
        assert!(is_well_formed(TOKEN_PREFIX, text) && !is_well_formed(CODE_PREFIX, text));
        for other in ["", "cps_", &text[..67], &format!("{text}0"), &text.to_uppercase(), "cps_ä"] {
            assert!(!is_well_formed(TOKEN_PREFIX, other), "{other}");
        }
    }

    #[test]
    fn no_session_makes_keys_or_reads_tokens() {
        for scope in EXCLUDED {
            assert!(!may_have(scope), "{scope}");
        }
        assert!(may_have(Scope::EndpointsWrite) && may_have(Scope::AuditRead));
    }
}
