//! A connection as it is stored, without its tokens.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    account::Account,
    history::RefreshHistory,
    idp::IdpName,
    token::{Grant, IdpError},
};
use crate::{ConnectionId, CredentialId, TenantId, Timestamp, text::text_enum};

text_enum! {
    /// The status of a connection.
    pub enum Status {
        /// It waits until the CRM confirms who connected.
        Pending = "pending",
        /// Its tokens are refreshed.
        Active = "active",
        /// Refreshing fails for now. Its token may still be valid.
        Failing = "failing",
        /// Its grant is dead: only the person can give another one.
        Reauthorize = "reauthorize",
        /// It was ended.
        Revoked = "revoked",
    }
}

text_enum! {
    /// What is wrong with a connection.
    pub enum ErrorCode {
        /// The person or an administrator ended the grant at the provider.
        GrantRevoked = "grant_revoked",
        /// The grant has reached its end.
        GrantExpired = "grant_expired",
        /// The grant ended as those to a client do that is not published. It is a guess.
        TestingMode = "testing_mode",
        /// The provider refuses our client's credentials.
        CredentialsInvalid = "credentials_invalid",
        /// The provider does not respond as it should.
        IdpUnavailable = "idp_unavailable",
        /// The provider limits our requests.
        IdpRateLimited = "idp_rate_limited",
        /// The provider replaced a refresh token, and its response was lost.
        ResponseLost = "response_lost",
        /// The provider refuses for a reason that is not known.
        UnknownIdpError = "unknown_idp_error",
    }
}

impl ConnectionEvent {
    /// The type of its events.
    #[must_use]
    pub fn event_type(self) -> &'static str {
        match self {
            Self::Created => "connection.created",
            Self::Reauthorized => "connection.reauthorized",
            Self::Reauthorize => "connection.reauthorize",
            Self::Failing => "connection.failing",
            Self::Expiring => "connection.expiring",
            Self::Revoked => "connection.revoked",
            Self::ScopesChanged => "connection.scopes_changed",
            Self::Refreshed => "connection.refreshed",
        }
    }
}

impl ErrorCode {
    /// What happened, for people.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::GrantRevoked => "the provider no longer accepts the grant",
            Self::GrantExpired => "the grant has expired",
            Self::TestingMode => "the grant ended after the time that the provider gives clients in testing",
            Self::CredentialsInvalid => "the provider refused the client's credentials",
            Self::IdpUnavailable => "the provider did not respond as it should",
            Self::IdpRateLimited => "the provider limits requests",
            Self::ResponseLost => "the provider replaced the refresh token, and its response was lost",
            Self::UnknownIdpError => "the provider refused for a reason that is not known",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(self) -> &'static str {
        match self {
            Self::GrantRevoked => {
                "ask the person to connect again; the grant was revoked, a password was changed, or it was not used for too long"
            }
            Self::GrantExpired | Self::ResponseLost => "ask the person to connect again",
            Self::TestingMode => "publish the client at the provider, and ask the person to connect again",
            Self::CredentialsInvalid => {
                "check the client's credentials at the provider and replace them here; the person has nothing to do"
            }
            Self::IdpUnavailable | Self::IdpRateLimited => "nothing: it is retried automatically",
            Self::UnknownIdpError => "see idp_error; it is retried automatically for four days",
        }
    }
}

/// The last thing that went wrong, for as long as it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// What.
    pub code: ErrorCode,
    /// When.
    pub at: Timestamp,
    /// The provider's own code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idp_error: Option<String>,
    /// The status code of its response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
}

impl LastError {
    /// An error that a provider's response is the reason for.
    #[must_use]
    pub fn new(code: ErrorCode, error: &IdpError, at: Timestamp) -> Self {
        let idp_error = error.subcode.as_ref().or(error.code.as_ref()).cloned();
        Self { code, at, idp_error, status_code: error.status }
    }
}

text_enum! {
    /// When a connection is refreshed.
    pub enum RefreshMode {
        /// Before its token expires while the CRM asks for tokens; otherwise once a day.
        Auto = "auto",
        /// Always before its token expires.
        Ahead = "ahead",
        /// When the CRM asks for a token; otherwise once a day.
        OnDemand = "on_demand",
    }
}

text_enum! {
    /// What happened to a connection. The words are the ends of event types.
    pub enum ConnectionEvent {
        /// An account was connected.
        Created = "created",
        /// The person granted again.
        Reauthorized = "reauthorized",
        /// The person must grant again.
        Reauthorize = "reauthorize",
        /// No token could be had for an hour.
        Failing = "failing",
        /// The grant expires soon.
        Expiring = "expiring",
        /// It was ended.
        Revoked = "revoked",
        /// Other scopes are granted than before.
        ScopesChanged = "scopes_changed",
        /// It was refreshed.
        Refreshed = "refreshed",
    }
}

text_enum! {
    /// Who ended a connection.
    pub enum RevokedBy {
        /// The CRM, by a request.
        Request = "request",
        /// The provider, or the person there.
        Idp = "idp",
        /// The CRM did not confirm it in time.
        Timeout = "timeout",
    }
}

/// Something that happened and must become an event. It is stored with what it is about, so that it is not lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// What.
    pub event: ConnectionEvent,
    /// The number of the change, which makes the event's id.
    pub change: u64,
    /// When.
    pub at: Timestamp,
}

/// How long a token is taken to live that can be refreshed, where neither its response nor its row says so.
const UNKNOWN_LIFETIME: Duration = Duration::from_hours(1);

/// How much later the end of a grant must be after a refresh to be one that moves. That of `LinkedIn` is the same to the second.
const SLIDING: Duration = Duration::from_mins(1);

/// Which of the wanted scopes are not granted. Google spells two of `OpenID` Connect's in a form of its own
/// (<https://developers.google.com/identity/protocols/oauth2/scopes#openid-connect>), and `offline_access` is granted by
/// a refresh token, which not all responses repeat.
#[must_use]
pub fn missing_scopes(wanted: &[String], granted: &[String], refreshable: bool) -> Vec<String> {
    let has = |scope: &str| granted.iter().any(|known| known == scope);
    let is_granted = |scope: &str| {
        has(scope)
            || matches!(scope, "email" | "profile")
                && has(&format!("https://www.googleapis.com/auth/userinfo.{scope}"))
            || matches!(scope, "offline_access" | "refresh_token") && refreshable
    };
    wanted.iter().filter(|scope| !is_granted(scope)).cloned().collect()
}

/// One connection.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own, as a row holds it")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    /// Which one.
    pub id: ConnectionId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// At which provider.
    pub idp: IdpName,
    /// Which of our client's credentials granted it.
    pub credential_id: CredentialId,
    /// Whether provider and credentials are the operator's.
    #[serde(default)]
    pub operator_idp: bool,
    /// The CRM's own id of the person.
    pub user_id: String,
    /// Its status.
    pub status: Status,
    /// The account that granted it.
    pub account: Account,
    /// The granted scopes.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// What was asked for.
    #[serde(default)]
    pub requested_scopes: Vec<String>,
    /// Whether there is a refresh token.
    pub refreshable: bool,
    /// When it is refreshed.
    pub refresh: RefreshMode,
    /// Counts the access tokens.
    pub generation: u64,
    /// How the token is shown.
    pub token_type: String,
    /// When the access token was issued.
    pub token_issued_at: Timestamp,
    /// When it expires; nothing where the provider does not say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_expires_at: Option<Timestamp>,
    /// When the grant expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_expires_at: Option<Timestamp>,
    /// Whether a refresh moves that end, so that it is no end for a person to know about.
    #[serde(default)]
    pub grant_slides: bool,
    /// Its last refreshes.
    #[serde(default, skip_serializing_if = "RefreshHistory::is_empty")]
    pub refreshes: RefreshHistory,
    /// When the person last granted.
    pub authorized_at: Timestamp,
    /// When it was last refreshed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_refreshed_at: Option<Timestamp>,
    /// When something is next done about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_refresh_at: Option<Timestamp>,
    /// About when the CRM last asked for a token: to the hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_token_at: Option<Timestamp>,
    /// What is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
    /// Refreshes that failed one after the other.
    #[serde(default)]
    pub failures: u32,
    /// Since when they fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// Since when the provider gives no other response than a refusal that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_since: Option<Timestamp>,
    /// Whether that was announced.
    #[serde(default)]
    pub failing_announced: bool,
    /// When a request that may have replaced the refresh token got no response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_at: Option<Timestamp>,
    /// How many days before the end of the grant were announced last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry_announced_days: Option<u32>,
    /// Who ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_by: Option<RevokedBy>,
    /// The CRM's words about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The CRM's own values.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// Values of the provider that API calls require.
    #[serde(default)]
    pub extra: Map<String, Value>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Counts what is announced.
    #[serde(default)]
    pub changes: u64,
    /// What is not announced yet.
    #[serde(default)]
    pub announcements: Vec<Announcement>,
}

impl Connection {
    /// What was asked for and is not granted.
    #[must_use]
    pub fn missing_scopes(&self) -> Vec<String> {
        self.lacks(&self.requested_scopes)
    }

    /// Which of these scopes are not granted.
    #[must_use]
    pub fn lacks(&self, scopes: &[String]) -> Vec<String> {
        missing_scopes(scopes, &self.scopes, self.refreshable)
    }

    /// Whether its access token is valid for at least this long.
    #[must_use]
    pub fn has_token_until(&self, until: Timestamp) -> bool {
        self.token_expires_at.is_none_or(|end| end > until)
    }

    /// Notes what must become an event.
    pub fn announce(&mut self, event: ConnectionEvent, at: Timestamp) {
        self.changes += 1;
        self.announcements.push(Announcement { event, change: self.changes, at });
    }

    /// Takes over what a token response grants. The generation rises above that of the credential that was used; what
    /// the response leaves out remains.
    pub fn take_grant(&mut self, grant: &Grant, used_generation: u64, now: Timestamp) {
        // A row that was restored from a backup is behind its secret.
        self.generation = self.generation.max(used_generation) + 1;
        self.token_type.clone_from(&grant.token_type);
        self.token_issued_at = now;
        self.refreshable |= grant.refresh_token.is_some();
        let unknown = self.refreshable.then_some(UNKNOWN_LIFETIME);
        self.token_expires_at = grant.expires_in.or(unknown).map(|lifetime| now + lifetime);
        if let Some(lifetime) = grant.refresh_expires_in {
            let end = now + lifetime;
            self.grant_slides |= self.grant_expires_at.is_some_and(|before| end > before + SLIDING);
            self.grant_expires_at = Some(end);
        }
        self.extra.extend(grant.extra.clone());
        self.failures = 0;
        self.failing_since = None;
        self.refused_since = None;
        self.failing_announced = false;
        self.lost_at = None;
        self.last_error = None;
        self.updated_at = now;
        if let Some(scopes) = &grant.scopes {
            let before: std::collections::BTreeSet<_> = self.scopes.iter().collect();
            if before != scopes.iter().collect() && self.generation > 1 {
                self.announce(ConnectionEvent::ScopesChanged, now);
            }
            self.scopes.clone_from(scopes);
        }
    }
}
