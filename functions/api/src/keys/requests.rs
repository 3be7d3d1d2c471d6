//! Bodies about API keys.

use domain::{
    Patch, Timestamp,
    access::{ApiKey, Grant, Network, Role, Scope},
    tenant::limits::{HIGHEST_BURST, HIGHEST_RATE},
};
use platform::lambda::problem::{Kind, Problem};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    http::{
        body::{Name, present, within},
        read_only::ReadOnly,
    },
    tenants::networks,
};

/// An API key to create.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateKey {
    /// Its name.
    name: Name,
    /// Its role, instead of scopes.
    #[serde(default)]
    role: Option<Role>,
    /// Its scopes; by default all scopes of its creator.
    #[serde(default)]
    scopes: Option<Vec<Scope>>,
    /// From when on it is refused; never by default.
    #[serde(default)]
    expires_at: Option<Timestamp>,
    /// The networks from which it may be used, as addresses or CIDR; any by default.
    #[serde(default)]
    #[schemars(length(max = 100))]
    allowed_networks: Vec<Network>,
    /// Requests per second with this key; by default only the tenant's limit applies.
    #[serde(default)]
    #[schemars(range(min = 1, max = 10_000))]
    requests_per_second: Option<u32>,
    /// Requests with this key that may arrive at once; by default twice the rate.
    #[serde(default)]
    #[schemars(range(min = 1, max = 20_000))]
    request_burst: Option<u32>,
}

/// Changes to an API key. A field that is left out does not change, null resets it, and read-only fields are ignored.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateKey {
    /// Its name.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Name")]
    name: Option<Name>,
    /// Its role, instead of scopes.
    #[serde(default)]
    role: Option<Role>,
    /// Its scopes, all of them.
    #[serde(default)]
    scopes: Option<Vec<Scope>>,
    /// From when on it is refused; null for never.
    #[serde(default)]
    expires_at: Patch<Timestamp>,
    /// The networks from which it may be used; they replace all before, and null allows any.
    #[serde(default)]
    #[schemars(length(max = 100))]
    allowed_networks: Patch<Vec<Network>>,
    /// Requests per second with this key; null for no limit but the tenant's.
    #[serde(default)]
    #[schemars(range(min = 1, max = 10_000))]
    requests_per_second: Patch<u32>,
    /// Requests with this key that may arrive at once; null for twice the rate.
    #[serde(default)]
    #[schemars(range(min = 1, max = 20_000))]
    request_burst: Patch<u32>,
    /// Read-only: ignored.
    #[serde(default, rename = "id")]
    _id: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "tenant_id")]
    _tenant_id: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "status")]
    _status: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "hint")]
    _hint: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "previous_valid_until")]
    _previous_valid_until: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "last_used_at")]
    _last_used_at: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "created_by")]
    _created_by: ReadOnly,
    /// Read-only: ignored.
    #[serde(default, rename = "created_at")]
    _created_at: ReadOnly,
}

/// A rotation of an API key.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateKey {
    /// How long the key before stays valid, in seconds; a day by default. 0 ends it within 10 s.
    #[serde(default)]
    #[schemars(range(min = 0, max = 604_800))]
    pub(super) overlap_seconds: Option<u32>,
}

/// A change whose values were checked.
pub(super) struct KeyChange {
    name: Option<String>,
    pub(super) grant: Option<Grant>,
    expires_at: Patch<Timestamp>,
    allowed_networks: Option<Vec<Network>>,
    requests_per_second: Patch<u32>,
    request_burst: Patch<u32>,
}

impl CreateKey {
    pub(super) fn checked(self, now: Timestamp) -> Result<KeyChange, Problem> {
        if let Some(end) = self.expires_at {
            check_future(end, now)?;
        }
        Ok(KeyChange {
            name: Some(self.name.into_inner()),
            grant: grant(self.role, self.scopes)?,
            expires_at: Patch::to(self.expires_at),
            allowed_networks: Some(networks(self.allowed_networks)?),
            requests_per_second: rate(Patch::to(self.requests_per_second))?,
            request_burst: burst(Patch::to(self.request_burst))?,
        })
    }
}

impl UpdateKey {
    pub(super) fn checked(self) -> Result<KeyChange, Problem> {
        Ok(KeyChange {
            name: self.name.map(Name::into_inner),
            grant: grant(self.role, self.scopes)?,
            expires_at: self.expires_at,
            allowed_networks: self.allowed_networks.try_map(networks)?.or_cleared_to(Vec::new),
            requests_per_second: rate(self.requests_per_second)?,
            request_burst: burst(self.request_burst)?,
        })
    }
}

impl KeyChange {
    /// Makes the change.
    pub(super) fn apply(&self, key: &mut ApiKey) {
        if let Some(name) = &self.name {
            key.name.clone_from(name);
        }
        if let Some(grant) = &self.grant {
            key.grant = grant.clone();
        }
        self.expires_at.apply(&mut key.expires_at);
        if let Some(networks) = &self.allowed_networks {
            key.allowed_networks.clone_from(networks);
        }
        self.requests_per_second.apply(&mut key.requests_per_second);
        self.request_burst.apply(&mut key.request_burst);
    }

    /// Refuses another end that has passed: a key is ended by revoking it.
    pub(super) fn check_end(&self, key: &ApiKey, now: Timestamp) -> Result<(), Problem> {
        match self.expires_at.value() {
            Some(end) if Some(*end) != key.expires_at => check_future(*end, now),
            _ => Ok(()),
        }
    }
}

fn rate(requests: Patch<u32>) -> Result<Patch<u32>, Problem> {
    requests.try_map(|requests| within("/requests_per_second", requests, 1..=HIGHEST_RATE).map(|()| requests))
}

fn burst(requests: Patch<u32>) -> Result<Patch<u32>, Problem> {
    requests.try_map(|requests| within("/request_burst", requests, 1..=HIGHEST_BURST).map(|()| requests))
}

fn check_future(end: Timestamp, now: Timestamp) -> Result<(), Problem> {
    if end > now {
        return Ok(());
    }
    Err(Problem::field(Kind::InvalidField, "/expires_at", "must be in the future"))
}

/// What a key is given: the role, or the scopes. Both may be sent where they say the same, as responses do.
fn grant(role: Option<Role>, scopes: Option<Vec<Scope>>) -> Result<Option<Grant>, Problem> {
    let scopes = scopes.map(|mut scopes| {
        scopes.sort_unstable();
        scopes.dedup();
        scopes
    });
    match (role, scopes) {
        (None, None) => Ok(None),
        (_, Some(scopes)) if scopes.is_empty() => {
            Err(Problem::field(Kind::InvalidField, "/scopes", "must have at least one scope"))
        }
        (Some(role), None) => Ok(Some(Grant::Role(role))),
        (Some(role), Some(scopes)) if scopes == role.scopes() => Ok(Some(Grant::Role(role))),
        (Some(role), Some(_)) => {
            let detail = format!("must be left out, or be the scopes of the role {role}");
            Err(Problem::field(Kind::InvalidField, "/scopes", detail))
        }
        (None, Some(scopes)) => Ok(Some(Grant::Scopes(scopes))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_a_role_or_scopes() {
        let viewer = Role::Viewer.scopes();
        let twice = vec![Scope::EventsWrite, Scope::EventsRead, Scope::EventsWrite];
        for (role, scopes, expected) in [
            (None, None, Ok(None)),
            (Some(Role::Admin), None, Ok(Some(Grant::Role(Role::Admin)))),
            (Some(Role::Viewer), Some(viewer.clone()), Ok(Some(Grant::Role(Role::Viewer)))),
            (Some(Role::Owner), Some(viewer.clone()), Err("/scopes")),
            (None, Some(viewer.clone()), Ok(Some(Grant::Scopes(viewer.clone())))),
            (None, Some(twice), Ok(Some(Grant::Scopes(vec![Scope::EventsWrite, Scope::EventsRead])))),
            (None, Some(vec![]), Err("/scopes")),
            (Some(Role::Viewer), Some(vec![]), Err("/scopes")),
        ] {
            let found = grant(role, scopes).map_err(|problem| problem.errors[0].pointer.clone().unwrap());
            assert_eq!(found, expected.map_err(str::to_owned));
        }
    }
}
