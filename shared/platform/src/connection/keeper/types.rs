//! What callers ask of connections, and what they get.

use std::{collections::BTreeMap, time::Duration};

use domain::{
    ConnectionId, CredentialId, Secret, TenantId, Timestamp,
    connection::{
        IdpName,
        account::Account,
        record::{LastError, RefreshMode},
        session::Outcome,
        token::Grant,
    },
};
use serde_json::{Map, Value};

use crate::Fault;

/// A request for an access token.
#[derive(Debug, Clone, Default)]
pub struct TokenRequest {
    /// How long the token must be valid at least.
    pub min_valid: Duration,
    /// Scopes without which it is of no use.
    pub scopes: Vec<String>,
    /// The generation of a token that the provider's API has refused.
    pub refused_generation: Option<u64>,
}

/// An access token, as the CRM gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessToken {
    /// The token.
    pub token: Secret,
    /// How it is shown, such as `Bearer`.
    pub token_type: String,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// The granted scopes.
    pub scopes: Vec<String>,
    /// Which one it is.
    pub generation: u64,
    /// Values that the provider's API requires.
    pub extra: Map<String, Value>,
}

/// Why there is no access token.
#[derive(Debug)]
pub enum NoToken {
    /// The connection does not exist.
    NotFound,
    /// The connection was ended.
    Revoked,
    /// The connection waits for its confirmation.
    Pending,
    /// Only the person can give another grant.
    Reauthorize(Option<LastError>),
    /// These scopes are not granted.
    MissingScopes(Vec<String>),
    /// The provider gives none at the moment.
    Unavailable {
        /// When to ask again.
        retry_after: Duration,
    },
    /// It was refreshed a moment ago.
    TooSoon {
        /// When it can be refreshed again.
        retry_after: Duration,
    },
    /// Our failure.
    Fault(Fault),
}

impl From<Fault> for NoToken {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// A grant that becomes a connection.
#[derive(Debug, Clone)]
pub struct NewGrant {
    /// Whose it is.
    pub tenant: TenantId,
    /// At which provider.
    pub idp: IdpName,
    /// Whether provider and credentials are the operator's.
    pub operator_idp: bool,
    /// By which credentials.
    pub credential_id: CredentialId,
    /// The CRM's own id of the person.
    pub user_id: String,
    /// How many connections the tenant may have, if that is limited.
    pub limit: Option<u32>,
    /// The connection that is granted again.
    pub reconnects: Option<ConnectionId>,
    /// Whether another person may have connected the account.
    pub share: bool,
    /// Whether the CRM must confirm who connected.
    pub confirm: bool,
    /// What was asked for.
    pub requested_scopes: Vec<String>,
    /// The CRM's own values; nothing changes where there are none.
    pub metadata: BTreeMap<String, String>,
    /// The CRM's words about it.
    pub label: Option<String>,
    /// When it is refreshed.
    pub refresh: Option<RefreshMode>,
    /// Who granted.
    pub account: Account,
    /// The tokens.
    pub grant: Grant,
}

/// Why a grant does not become a connection.
#[derive(Debug)]
pub enum NotConnected {
    /// A rule forbids it.
    Refused(Outcome),
    /// Our failure.
    Fault(Fault),
}

impl From<Fault> for NotConnected {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}
