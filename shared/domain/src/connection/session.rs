//! Connect sessions: the CRM asks that one person connects an account, and a link leads a browser through it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    idp::IdpName,
    record::{Connection, Status},
};
pub use crate::digest::hash;
use crate::{ConnectSessionId, ConnectionId, TenantId, Timestamp, text::text_enum};

/// How long a link works, in seconds.
pub const SESSION_SECS: i64 = 30 * 60;
/// How long the outcome of a session can be read, in seconds after its end.
pub const SESSION_KEPT_SECS: i64 = 24 * 3600;
/// Providers among which a person chooses, at most.
pub const CHOICE_COUNT_LIMIT: usize = 20;
/// How long a person may take at the provider, in seconds.
pub const FLOW_SECS: i64 = 10 * 60;
/// How long the outcome of a flow is known to a second callback, in seconds.
pub const FLOW_KEPT_SECS: i64 = 3600;

text_enum! {
    /// How far a session has got.
    pub enum SessionStatus {
        /// Its link was not used yet.
        Open = "open",
        /// A browser was sent to the provider.
        Started = "started",
        /// An account is connected.
        Connected = "connected",
        /// The person declined.
        Denied = "denied",
        /// It failed; the link can be used again until it expires.
        Failed = "failed",
        /// Its link has expired.
        Expired = "expired",
    }
}

text_enum! {
    /// What a callback led to. The words are codes of pages and of `return_url`.
    pub enum Outcome {
        /// An account is connected.
        Connected = "connected",
        /// The person declined.
        Denied = "denied",
        /// The flow took too long.
        StateExpired = "state-expired",
        /// The flow is not known.
        StateUnknown = "state-unknown",
        /// Another request is at work on the same response.
        StateUsed = "state-used",
        /// Another browser began the flow.
        WrongBrowser = "wrong-browser",
        /// Another server responds.
        WrongIssuer = "wrong-issuer",
        /// The `id_token` is of another flow.
        WrongNonce = "wrong-nonce",
        /// The `id_token` cannot be trusted.
        IdTokenInvalid = "id-token-invalid",
        /// The provider refused the code.
        ExchangeFailed = "exchange-failed",
        /// The provider does not respond as it should.
        IdpUnavailable = "idp-unavailable",
        /// A required scope was not granted.
        InsufficientScope = "insufficient-scope",
        /// The provider gave no refresh token, and none is held.
        NoRefreshToken = "no-refresh-token",
        /// The connection is of another account.
        OtherAccount = "other-account",
        /// The account is connected to another person.
        AccountLinkedElsewhere = "account-linked-elsewhere",
        /// The provider does not say which account granted.
        AccountUnknown = "account-unknown",
        /// The tenant has as many connections as it may have.
        LimitReached = "limit-reached",
        /// The session was used or has expired.
        SessionEnded = "session-ended",
        /// Our failure.
        InternalError = "internal-error",
    }
}

impl Outcome {
    /// The word for `return_url` that says the same to all programs: connected, denied or failed.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Denied => "denied",
            _ => "failed",
        }
    }

    /// The session's status after it.
    #[must_use]
    pub fn status(self) -> SessionStatus {
        match self {
            Self::Connected => SessionStatus::Connected,
            Self::Denied => SessionStatus::Denied,
            _ => SessionStatus::Failed,
        }
    }

    /// A heading and an explanation for the person.
    #[must_use]
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Connected => ("Connected", "You can close this page."),
            Self::Denied => ("Not connected", "You declined, so nothing was connected."),
            Self::StateExpired => ("This took too long", "Please start again."),
            Self::StateUnknown => ("Link not found", "This link does not exist. Please start again."),
            Self::StateUsed => {
                ("Please wait", "Your account is being connected. Reload this page in a moment.")
            }
            Self::WrongBrowser => {
                ("Another browser", "You started in another browser. Please start again in this one.")
            }
            Self::WrongIssuer | Self::WrongNonce | Self::IdTokenInvalid => (
                "Not connected",
                "The response could not be verified, so nothing was connected. Please start again.",
            ),
            Self::ExchangeFailed => {
                ("Not connected", "The provider refused the request. Please start again.")
            }
            Self::IdpUnavailable => (
                "Provider unavailable",
                "The provider does not respond at the moment. Please try again later.",
            ),
            Self::InsufficientScope => (
                "Permission missing",
                "A required permission was not granted. Please start again and grant it.",
            ),
            Self::NoRefreshToken => {
                ("Not connected", "The provider granted no lasting access. Please start again.")
            }
            Self::OtherAccount => (
                "Another account",
                "This connection is of another account. Please sign in with the same account.",
            ),
            Self::AccountLinkedElsewhere => {
                ("Already connected", "This account is connected to another person.")
            }
            Self::LimitReached => (
                "Not connected",
                "No more accounts can be connected here. Please ask who sent you this link.",
            ),
            Self::AccountUnknown => {
                ("Not connected", "The provider did not say which account this is. Please start again.")
            }
            Self::InternalError => ("Not connected", "Something went wrong on our side. Please start again."),
            Self::SessionEnded => {
                ("Link expired", "This link was used or has expired. Please ask for a new one.")
            }
        }
    }

    /// Whether the person can start again by the same link.
    #[must_use]
    pub fn can_start_again(self) -> bool {
        !matches!(
            self,
            Self::Connected
                | Self::StateUnknown
                | Self::StateUsed
                | Self::SessionEnded
                | Self::AccountLinkedElsewhere
                | Self::LimitReached
        )
    }
}

/// What the CRM asks of a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectSession {
    /// Which one.
    pub id: ConnectSessionId,
    /// For which tenant.
    pub tenant_id: TenantId,
    /// At which provider; of a session that lets the person choose, the one that the last visit was at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idp: Option<IdpName>,
    /// The providers among which the person chooses; none where the CRM has named one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub idps: Vec<IdpName>,
    /// The CRM's own id of the person.
    pub user_id: String,
    /// What is asked for; the row's own where it is empty.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Without which nothing is connected.
    #[serde(default)]
    pub required_scopes: Vec<String>,
    /// Where the browser goes in the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_url: Option<String>,
    /// Which account is suggested at the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_hint: Option<String>,
    /// The connection that is granted again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconnects: Option<ConnectionId>,
    /// The CRM's own values.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// Whether the CRM confirms who connected before the connection can be used.
    #[serde(default)]
    pub confirm: bool,
    /// Whether an account may be connected that another person has connected.
    #[serde(default)]
    pub share: bool,
    /// How far it has got.
    pub status: SessionStatus,
    /// What its last flow led to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The connection that it led to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_id: Option<ConnectionId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when its link works.
    pub expires_at: Timestamp,
}

impl ConnectSession {
    /// Its status now: one that was not finished in time has expired.
    #[must_use]
    pub fn status_at(&self, now: Timestamp) -> SessionStatus {
        match self.status {
            SessionStatus::Connected => SessionStatus::Connected,
            _ if now >= self.expires_at => SessionStatus::Expired,
            status => status,
        }
    }

    /// Whether its link can be used now.
    #[must_use]
    pub fn is_usable(&self, now: Timestamp) -> bool {
        !matches!(self.status_at(now), SessionStatus::Connected | SessionStatus::Expired)
    }

    /// The providers that its page offers.
    #[must_use]
    pub fn offered(&self) -> &[IdpName] {
        if self.idps.is_empty() { self.idp.as_slice() } else { &self.idps }
    }

    /// Whether the person chooses among providers.
    #[must_use]
    pub fn is_choice(&self) -> bool {
        !self.idps.is_empty()
    }

    /// Where the browser goes after an outcome, without a token or a claim.
    #[must_use]
    pub fn return_to(&self, outcome: Outcome) -> Option<String> {
        let mut url = url::Url::parse(self.return_url.as_deref()?).ok()?;
        url.query_pairs_mut()
            .append_pair("session", &self.id.to_string())
            .append_pair("outcome", outcome.kind())
            .append_pair("code", outcome.as_str());
        Some(url.into())
    }
}

/// One try of a person at a provider: what belongs to one `state`. Its verifier is sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// For which tenant.
    pub tenant_id: TenantId,
    /// Of which session.
    pub session_id: ConnectSessionId,
    /// The secret of the session's link, sealed, to start again by.
    pub link: String,
    /// At which provider.
    pub idp: IdpName,
    /// Whether provider and credentials are the operator's.
    pub operator_idp: bool,
    /// Which credentials.
    pub credential_id: crate::CredentialId,
    /// The redirect URI that was sent.
    pub redirect_uri: String,
    /// The hash of the browser's id.
    pub browser: String,
    /// The nonce.
    pub nonce: String,
    /// The verifier of PKCE, sealed.
    pub verifier: String,
    /// What was asked for.
    pub scopes: Vec<String>,
    /// When it began.
    pub created_at: Timestamp,
}

/// How a new grant relates to what is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// A new connection.
    New,
    /// The same connection, granted again.
    Renew(ConnectionId),
}

/// The rule for an account that is connected twice. `same_account` are the live connections of the account in this
/// tenant; `target` is the connection that is granted again; `share` is whether another person may have the account.
///
/// # Errors
/// Why nothing is connected.
pub fn link(
    user_id: &str,
    share: bool,
    sub: &str,
    target: Option<&Connection>,
    same_account: &[(ConnectionId, String)],
) -> Result<Link, Outcome> {
    if let Some(target) = target {
        return if target.user_id != user_id {
            Err(Outcome::AccountLinkedElsewhere)
        } else if target.status == Status::Revoked {
            Err(Outcome::SessionEnded)
        } else if target.account.sub == sub {
            Ok(Link::Renew(target.id))
        } else {
            Err(Outcome::OtherAccount)
        };
    }
    if let Some((id, _)) = same_account.iter().find(|(_, user)| user == user_id) {
        return Ok(Link::Renew(*id));
    }
    if same_account.is_empty() || share { Ok(Link::New) } else { Err(Outcome::AccountLinkedElsewhere) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> ConnectSession {
        ConnectSession {
            id: ConnectSessionId::new(Timestamp::from_secs(0), [1; 10]),
            tenant_id: "acme".parse().unwrap(),
            idp: Some("google".parse().unwrap()),
            idps: vec![],
            user_id: "u_1".into(),
            scopes: vec![],
            required_scopes: vec![],
            return_url: Some("https://crm.example/done?tab=1".into()),
            login_hint: None,
            reconnects: None,
            metadata: BTreeMap::new(),
            confirm: false,
            share: false,
            status: SessionStatus::Open,
            outcome: None,
            connection_id: None,
            created_at: Timestamp::from_secs(0),
            expires_at: Timestamp::from_secs(SESSION_SECS),
        }
    }

    #[test]
    fn f20_one_account_and_two_people() {
        let id = |byte| ConnectionId::new(Timestamp::from_secs(0), [byte; 10]);
        let mine = (id(1), "u_1".to_owned());
        let theirs = (id(2), "u_2".to_owned());
        for (share, same, expected) in [
            (false, vec![], Ok(Link::New)),
            (false, vec![mine.clone()], Ok(Link::Renew(id(1)))),
            (false, vec![theirs.clone()], Err(Outcome::AccountLinkedElsewhere)),
            (true, vec![theirs.clone()], Ok(Link::New)),
            (true, vec![theirs.clone(), mine.clone()], Ok(Link::Renew(id(1)))),
            (false, vec![theirs, mine], Ok(Link::Renew(id(1)))),
        ] {
            assert_eq!(link("u_1", share, "s", None, &same), expected, "{share} {same:?}");
        }
    }

    #[test]
    fn a_link_works_until_it_has_led_to_a_connection_or_expires() {
        for (status, at, expected) in [
            (SessionStatus::Open, 0, SessionStatus::Open),
            (SessionStatus::Failed, SESSION_SECS - 1, SessionStatus::Failed),
            (SessionStatus::Denied, SESSION_SECS, SessionStatus::Expired),
            (SessionStatus::Connected, SESSION_SECS * 2, SessionStatus::Connected),
        ] {
            let session = ConnectSession { status, ..session() };
            let now = Timestamp::from_secs(at);
            assert_eq!(session.status_at(now), expected);
            let usable = !matches!(expected, SessionStatus::Connected | SessionStatus::Expired);
            assert_eq!(session.is_usable(now), usable);
        }
    }

    #[test]
    fn a_browser_returns_with_an_outcome_and_nothing_else() {
        let to = session().return_to(Outcome::WrongIssuer).unwrap();
        let expected = format!(
            "https://crm.example/done?tab=1&session={}&outcome=failed&code=wrong-issuer",
            session().id
        );
        assert_eq!(to, expected);
        for outcome in Outcome::ALL {
            let (heading, text) = outcome.words();
            assert!(!heading.is_empty() && text.ends_with('.'), "{outcome}");
        }
    }

    #[test]
    fn a_session_offers_its_provider_or_those_that_the_person_chooses_among() {
        let named = session();
        assert_eq!((named.is_choice(), named.offered().len()), (false, 1));
        let idps = vec!["apple".parse().unwrap(), "google".parse().unwrap()];
        // The last visit was at one of them, and the person may still choose another.
        for idp in [None, Some("apple".parse().unwrap())] {
            let choice = ConnectSession { idp, idps: idps.clone(), ..session() };
            assert_eq!((choice.is_choice(), choice.offered()), (true, idps.as_slice()));
        }
    }
}
