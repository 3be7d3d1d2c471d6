//! A source: one inbound URL, what its requests are verified by, and who may call it.

use std::{fmt, str::FromStr, sync::Arc};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{
    Provider,
    engine::{key, scheme::Method},
    presets::SecretRules,
    table::Table,
};
use crate::{
    Secret, SourceId, TenantId, Timestamp,
    access::network::{self, Network},
    pointer::Violation,
};

/// Addresses that the provider calls, at most.
pub const PUBLIC_URL_COUNT_LIMIT: usize = 5;
/// Requests a second that can be set as a source's limit.
pub const HIGHEST_RATE_LIMIT: u32 = 1000;
/// How long a new source accepts the secret that the first request brings.
pub const HANDSHAKE_WINDOW_SECS: i64 = 3600;

/// One inbound URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Which one.
    pub id: SourceId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Who sends to it.
    pub provider: Provider,
    /// The tenant's own words about it.
    pub description: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// Which shard of the pool holds its secrets.
    pub secret_shard: u32,
    /// How many secrets it has.
    pub secret_count: u32,
    /// Until when it accepts the secret that a request brings; nothing where it has one.
    pub awaits_secret_until: Option<Timestamp>,
    /// What the tenant sets.
    pub settings: SourceSettings,
    /// Counts the changes.
    pub revision: u64,
}

/// What a tenant sets of a source.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceSettings {
    /// The table of a custom source.
    pub table: Option<Arc<Table>>,
    /// The addresses that were entered at the provider, where they differ from the source's own URL. A provider that
    /// signs the URL signs one of them.
    pub public_urls: Vec<String>,
    /// The networks that may send; any where there are none.
    pub allowed_networks: Vec<Network>,
    /// Requests a second that are accepted; any number where there is none.
    pub rate_limit: Option<u32>,
    /// What the provider shows when it checks that the URL is the tenant's.
    pub verify_token: Option<VerifyToken>,
}

impl Source {
    /// How it verifies, reads events and responds; nothing where a custom source has no table, which is not stored.
    #[must_use]
    pub fn table(&self) -> Option<&Table> {
        match self.provider.preset() {
            Some(preset) => Some(&preset.table),
            None => self.settings.table.as_deref(),
        }
    }

    /// What its requests are verified with: its own secrets, and after them the provider's public keys.
    #[must_use]
    pub fn secrets(&self, of_source: Vec<Secret>) -> Vec<Secret> {
        match self.provider.preset() {
            Some(preset) => preset.secrets(of_source),
            None => of_source,
        }
    }

    /// Whether it accepts the secret that a request brings.
    #[must_use]
    pub fn awaits_secret(&self, now: Timestamp) -> bool {
        self.awaits_secret_until.is_some_and(|until| now < until)
    }

    /// Whether a client at this address may send. `None` is an address that the edge did not report.
    #[must_use]
    pub fn allows(&self, address: Option<&str>) -> bool {
        network::allow(&self.settings.allowed_networks, address)
    }
}

/// Whether a text can be a secret of a source of this provider.
///
/// # Errors
/// What it must be, without the text.
pub fn check_secret(provider: Provider, table: Option<&Table>, text: &str) -> Result<(), String> {
    match (provider.preset(), table) {
        (Some(preset), _) => preset.check_secret(text),
        (None, Some(table)) => SecretRules::of_custom().check(table, text),
        (None, None) => Err("requires a table".to_owned()),
    }
}

/// Whether the secrets of a custom source remain what they are under another table. A public key is no secret: as one,
/// strangers could sign with it.
///
/// # Errors
/// What is wrong in the new table.
pub fn check_new_table(before: &Table, after: &Table, secrets: &[Secret]) -> Result<(), Violation> {
    let kinds = |table: &Table, secret: &Secret| {
        let is_key = |method: &&Method| key(&method.key, method.algorithm, secret.expose()).is_some();
        let fitting = table.scheme.methods.iter().filter(is_key);
        fitting.fold((false, false), |(public, secret), method| {
            let is_public = method.algorithm.has_public_key();
            (public || is_public, secret || !is_public)
        })
    };
    let has_public =
        |table: &Table| table.scheme.methods.iter().any(|method| method.algorithm.has_public_key());
    let has_secret =
        |table: &Table| table.scheme.methods.iter().any(|method| !method.algorithm.has_public_key());
    let is_swapped = !has_public(before) && !has_secret(after) || !has_secret(before) && !has_public(after);
    let changes = |secret: &Secret| {
        let (was, becomes) = (kinds(before, secret), kinds(after, secret));
        was != (false, false) && (becomes.0 && !was.0 || becomes.1 && !was.1)
    };
    if !secrets.is_empty() && is_swapped || secrets.iter().any(changes) {
        let detail =
            "must not make secrets of public keys, nor public keys of secrets: create another source";
        return Err(Violation::new("/scheme/methods", detail));
    }
    if secrets.iter().any(|secret| kinds(after, secret) == (false, false)) {
        let detail =
            "has no method for one of the source's secrets: set secrets first that are keys of both tables";
        return Err(Violation::new("", detail));
    }
    Ok(())
}

/// The shortest and the longest verify token, in characters.
const VERIFY_TOKEN_LENGTH: std::ops::RangeInclusive<usize> = 16..=256;

/// The hash of the token that a provider shows when it checks a URL. The token itself is not kept, so that
/// a reader of the row does not learn it.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyToken([u8; 32]);

impl VerifyToken {
    /// What is kept of a token.
    ///
    /// # Errors
    /// What it must be.
    pub fn new(token: &Secret) -> Result<Self, &'static str> {
        let text = token.expose();
        if !VERIFY_TOKEN_LENGTH.contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("must be 16 to 256 printable ASCII characters without white space");
        }
        Ok(Self::of(text))
    }

    pub(super) fn of(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }

    /// Whether this is the token, compared in constant time.
    #[must_use]
    pub fn is(&self, given: &str) -> bool {
        self.0.ct_eq(&Self::of(given).0).into()
    }
}

impl fmt::Debug for VerifyToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifyToken")
    }
}

impl fmt::Display for VerifyToken {
    /// Its hash, for the store.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl FromStr for VerifyToken {
    type Err = InvalidHash;

    fn from_str(text: &str) -> Result<Self, InvalidHash> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| InvalidHash)?;
        bytes.try_into().map(Self).map_err(|_| InvalidHash)
    }
}

/// The text is no hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidHash;

#[cfg(test)]
mod tests;
