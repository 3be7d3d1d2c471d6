//! An identity provider as a tenant or the operator has set it up: a row, and our client's credentials there.

use serde::{Deserialize, Serialize};

use super::{Idp, IdpName, presets};
use crate::{CredentialId, TenantId, Timestamp};

/// Credentials at one provider, at most: those in use, and those that replace them.
pub const CREDENTIAL_COUNT_LIMIT: usize = 10;

/// Our client at a provider. Its secret is in Secrets Manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// Which one.
    pub id: CredentialId,
    /// The client's id at the provider.
    pub client_id: String,
    /// The end of the secret, by which people know it.
    pub hint: String,
    /// From when on it is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Which shard of the pool holds its secret.
    pub secret_shard: u32,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A provider of one tenant, or of the operator for all tenants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdpConfig {
    /// Whose it is.
    pub tenant_id: TenantId,
    /// Its name, which is a preset's where it has no row of its own.
    pub name: IdpName,
    /// Its own row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<Box<Idp>>,
    /// The scopes that are asked for where a session names none, in the place of the row's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// The credentials, in the order in which they were added.
    #[serde(default)]
    pub credentials: Vec<Credential>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Counts the changes.
    #[serde(default)]
    pub revision: u64,
}

impl IdpConfig {
    /// The row; nothing where it is named after a preset that no longer ships.
    #[must_use]
    pub fn idp(&self) -> Option<Idp> {
        let mut idp = match &self.row {
            Some(row) => Idp::clone(row),
            None => presets::find(self.name.as_str())?.row.clone(),
        };
        if let Some(scopes) = &self.scopes {
            idp.scopes.clone_from(scopes);
        }
        Some(idp)
    }

    /// The path of the redirect URI. A provider whose addresses a tenant has chosen has one of its own: the code of an
    /// honest provider, which was asked for under the same name, must never arrive there (RFC 9700, section 4.4.2).
    #[must_use]
    pub fn redirect_path(&self) -> String {
        match &self.row {
            Some(_) => format!("/oauth/{}/{}/callback", self.tenant_id, self.name),
            None => format!("/oauth/{}/callback", self.name),
        }
    }

    /// The credentials that a new grant is made with: the newest that may be used.
    #[must_use]
    pub fn newest(&self, now: Timestamp) -> Option<&Credential> {
        self.usable(now).next()
    }

    /// The credentials of one client, the newest first. A grant belongs to the client that it was given to, so another
    /// client's secret is of no use for it; an older secret of the same client may still be valid.
    #[must_use]
    pub fn of_client_of(&self, granted_by: CredentialId, now: Timestamp) -> Vec<&Credential> {
        let known = self.credentials.iter().find(|credential| credential.id == granted_by);
        match known {
            Some(known) => self.usable(now).filter(|one| one.client_id == known.client_id).collect(),
            // Those of the grant were removed: the newest may be of the same client.
            None => self.usable(now).collect(),
        }
    }

    fn usable(&self, now: Timestamp) -> impl Iterator<Item = &Credential> {
        let usable = move |one: &&Credential| one.not_before.is_none_or(|from| from <= now);
        self.credentials.iter().rev().filter(usable)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn start() -> Timestamp {
        Timestamp::from_secs(1_800_000_000)
    }

    fn credential(number: u8, client_id: &str, wait: u64) -> Credential {
        Credential {
            id: CredentialId::new(start(), [number; 10]),
            client_id: client_id.to_owned(),
            hint: "…abcd".to_owned(),
            not_before: Some(start() + Duration::from_secs(wait)),
            secret_shard: 0,
            created_at: start(),
        }
    }

    fn config(credentials: Vec<Credential>) -> IdpConfig {
        IdpConfig {
            tenant_id: TenantId::operator(),
            name: "google".parse().unwrap(),
            row: None,
            scopes: None,
            credentials,
            created_at: start(),
            updated_at: start(),
            revision: 0,
        }
    }

    #[test]
    fn the_newest_secret_is_used_from_its_time_on_and_an_older_one_is_kept_beside_it() {
        let (old, new, other) = (credential(1, "a", 0), credential(2, "a", 60), credential(3, "b", 0));
        let config = config(vec![old.clone(), new.clone(), other.clone()]);
        let ids = |found: Vec<&Credential>| found.iter().map(|one| one.id).collect::<Vec<_>>();
        assert_eq!(ids(config.of_client_of(old.id, start())), [old.id]);
        let later = start() + Duration::from_mins(1);
        assert_eq!(ids(config.of_client_of(old.id, later)), [new.id, old.id]);
        assert_eq!(ids(config.of_client_of(other.id, later)), [other.id]);
        assert_eq!(config.newest(later).map(|one| one.id), Some(other.id));
        let removed = CredentialId::new(start(), [9; 10]);
        assert_eq!(ids(config.of_client_of(removed, later)), [other.id, new.id, old.id]);
    }

    #[test]
    fn a_preset_is_named_and_its_scopes_can_be_replaced() {
        let plain = config(vec![]);
        assert_eq!(plain.idp().unwrap().title, "Google");
        let own = IdpConfig { scopes: Some(vec!["calendar".into()]), ..plain.clone() };
        assert_eq!(own.idp().unwrap().scopes, ["calendar"]);
        assert_eq!(IdpConfig { name: "unknown".parse().unwrap(), ..plain }.idp(), None);
    }
}
