//! Roles: names for sets of scopes, to which a CRM can map its own.

use serde::{Deserialize, Serialize};

use super::scope::Scope;
use crate::text::text_enum;

text_enum! {
    /// A set of scopes with a name. Each role has all scopes of those before it.
    pub enum Role {
        /// Reads everything but keys, tokens and the audit trail.
        Viewer = "viewer",
        /// Publishes, and sets up endpoints, sources, connections and syncs.
        Developer = "developer",
        /// Manages keys, identity providers and the tenant's settings, and reads the audit trail.
        Admin = "admin",
        /// May do everything that a tenant can, reads access tokens, and calls the APIs of third parties.
        Owner = "owner",
    }
}

/// The scopes that each role adds to those of the role before it.
const VIEWER: [Scope; 9] = [
    Scope::EventsRead,
    Scope::EndpointsRead,
    Scope::SourcesRead,
    Scope::ConnectionsRead,
    Scope::IdpsRead,
    Scope::SyncsRead,
    Scope::EventTypesRead,
    Scope::TenantRead,
    Scope::UsageRead,
];
const DEVELOPER: [Scope; 7] = [
    Scope::EventsWrite,
    Scope::EndpointsWrite,
    Scope::EndpointsSecret,
    Scope::SourcesWrite,
    Scope::ConnectionsWrite,
    Scope::SyncsWrite,
    Scope::KeysRead,
];
const ADMIN: [Scope; 5] =
    [Scope::IdpsWrite, Scope::KeysWrite, Scope::TenantWrite, Scope::PortalWrite, Scope::AuditRead];

impl Role {
    /// Its scopes, in the order in which scopes are declared. A scope that a later release adds to a role is one of the
    /// keys that have the role already.
    #[must_use]
    pub fn scopes(self) -> Vec<Scope> {
        let mut scopes = match self {
            Self::Viewer => VIEWER.to_vec(),
            Self::Developer => [&VIEWER[..], &DEVELOPER].concat(),
            Self::Admin => [&VIEWER[..], &DEVELOPER, &ADMIN].concat(),
            Self::Owner => Scope::ALL.to_vec(),
        };
        scopes.sort_unstable();
        scopes
    }
}

/// What a key was given: a role, or scopes of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    /// The scopes of a role.
    Role(Role),
    /// These scopes.
    Scopes(Vec<Scope>),
}

impl Grant {
    /// The scopes.
    #[must_use]
    pub fn scopes(&self) -> Vec<Scope> {
        match self {
            Self::Role(role) => role.scopes(),
            Self::Scopes(scopes) => scopes.clone(),
        }
    }

    /// The role, if it is one.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        match self {
            Self::Role(role) => Some(*role),
            Self::Scopes(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_has_the_scopes_of_those_before_it() {
        let sets: Vec<_> = Role::ALL.iter().map(|role| role.scopes()).collect();
        for (less, more) in sets.iter().zip(&sets[1..]) {
            assert!(less.len() < more.len() && less.iter().all(|scope| more.contains(scope)), "{less:?}");
        }
        assert_eq!(Role::Owner.scopes(), Scope::ALL);
        for scopes in sets {
            assert!(scopes.windows(2).all(|pair| pair[0] < pair[1]), "sorted, and none twice: {scopes:?}");
        }
    }

    #[test]
    fn a_viewer_changes_nothing_and_reads_no_secret() {
        for scope in Role::Viewer.scopes() {
            assert!(scope.as_str().ends_with(":read"), "{scope}");
        }
        for scope in [Scope::ConnectionsToken, Scope::IntegrationsCall, Scope::KeysWrite, Scope::AuditRead] {
            assert!(!Role::Developer.scopes().contains(&scope), "{scope}");
        }
        for scope in [Scope::ConnectionsToken, Scope::IntegrationsCall] {
            assert!(!Role::Admin.scopes().contains(&scope), "{scope}");
        }
    }
}
