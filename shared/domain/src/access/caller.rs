//! Who is calling the API.

use serde::{Deserialize, Serialize};

use super::scope::Scope;
use crate::{KeyId, PortalSessionId, TenantId, tenant::limits::RequestRate};

/// The rate limit of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRate {
    /// Whose it is.
    pub key: KeyId,
    /// The limit.
    pub rate: RequestRate,
}

/// Who is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// The CRM itself, above its tenants.
    Operator,
    /// One tenant's key.
    Key {
        /// Whose key it is.
        tenant: TenantId,
        /// Which one.
        id: KeyId,
        /// What it may do.
        scopes: Vec<Scope>,
        /// Its own rate limit, beside the tenant's.
        rate: Option<RequestRate>,
    },
    /// A person in a portal.
    Portal {
        /// Whose portal it is.
        tenant: TenantId,
        /// Which session.
        id: PortalSessionId,
        /// What it may do.
        scopes: Vec<Scope>,
        /// The rate limit of the key that created the session, which they share.
        rate: Option<KeyRate>,
    },
}

impl Caller {
    /// Whether the caller may do what `scope` names.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        match self {
            Self::Operator => true,
            Self::Key { scopes, .. } | Self::Portal { scopes, .. } => scopes.contains(&scope),
        }
    }

    /// The tenant that it belongs to; the operator belongs to none.
    #[must_use]
    pub fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::Operator => None,
            Self::Key { tenant, .. } | Self::Portal { tenant, .. } => Some(tenant),
        }
    }

    /// The rate limit that it has beside its tenant's: its key's, or that of the key that created its session.
    #[must_use]
    pub fn key_rate(&self) -> Option<KeyRate> {
        match self {
            Self::Operator => None,
            Self::Key { id, rate, .. } => rate.map(|rate| KeyRate { key: *id, rate }),
            Self::Portal { rate, .. } => *rate,
        }
    }

    /// Its name in the audit trail: `operator`, or the id of the key or the portal session.
    #[must_use]
    pub fn actor(&self) -> String {
        match self {
            Self::Operator => TenantId::OPERATOR.to_owned(),
            Self::Key { id, .. } => id.to_string(),
            Self::Portal { id, .. } => id.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_may_only_what_it_was_given() {
        let key = Caller::Key {
            tenant: "acme".parse().unwrap(),
            id: KeyId::new(crate::Timestamp::from_millis(0), [0; 10]),
            scopes: vec![Scope::EventsRead],
            rate: None,
        };
        for &scope in Scope::ALL {
            assert!(Caller::Operator.may(scope));
            assert_eq!(key.may(scope), scope == Scope::EventsRead);
        }
    }
}
