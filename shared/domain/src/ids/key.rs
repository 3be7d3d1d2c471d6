//! API keys: what a key may do, and how it is recognised without being kept.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::{KeyId, Secret, TenantId, text::text_enum};

/// What a tenant's key begins with, so that a leaked one is recognised by scanners.
pub const PREFIX: &str = "cwk_";

text_enum! {
    /// One permission of an API key.
    pub enum Scope {
        /// Publish events.
        EventsWrite = "events:write",
        /// Read events, deliveries and attempts.
        EventsRead = "events:read",
        /// Create and change endpoints.
        EndpointsWrite = "endpoints:write",
        /// Read endpoints, without their secrets.
        EndpointsRead = "endpoints:read",
        /// Reveal and rotate the signing keys of endpoints.
        EndpointsSecret = "endpoints:secret",
        /// Create and change sources, and try requests at them.
        SourcesWrite = "sources:write",
        /// Read sources, the providers, and the log of inbound requests.
        SourcesRead = "sources:read",
        /// Let people connect accounts, and change and disconnect connections.
        ConnectionsWrite = "connections:write",
        /// Read connections and connect sessions, without tokens.
        ConnectionsRead = "connections:read",
        /// Read the access tokens of connections.
        ConnectionsToken = "connections:token",
        /// Create and change identity providers and client credentials.
        IdpsWrite = "idps:write",
        /// Read identity providers and client credentials, without their secrets.
        IdpsRead = "idps:read",
        /// Read the catalog of event types.
        EventTypesRead = "event_types:read",
        /// Create API keys with at most the scopes of this one.
        KeysWrite = "keys:write",
        /// Read and verify the audit trail.
        AuditRead = "audit:read",
    }
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
    },
}

impl Caller {
    /// Whether the caller may do what `scope` names.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        match self {
            Self::Operator => true,
            Self::Key { scopes, .. } => scopes.contains(&scope),
        }
    }
}

/// A fresh key from 32 random bytes.
#[must_use]
pub fn from_random(random: &[u8; 32]) -> Secret {
    let mut text = String::with_capacity(PREFIX.len() + 64);
    text.push_str(PREFIX);
    HEXLOWER.encode_append(random, &mut text);
    Secret::new(text)
}

/// What is kept of a key. A plain SHA-256 serves, since a key holds 256 random bits: there is
/// no dictionary to try.
#[must_use]
pub fn hash(key: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_recognised_by_their_hash() {
        let key = from_random(&[0xab; 32]);
        assert_eq!(key.expose(), format!("cwk_{}", "ab".repeat(32)));
        assert_eq!(hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn a_key_may_only_what_it_was_given() {
        let key = Caller::Key {
            tenant: "acme".parse().unwrap(),
            id: KeyId::new(crate::Timestamp::from_millis(0), [0; 10]),
            scopes: vec![Scope::EventsRead],
        };
        for &scope in Scope::ALL {
            assert!(Caller::Operator.may(scope));
            assert_eq!(key.may(scope), scope == Scope::EventsRead);
        }
    }
}
