//! The calls to identity providers: tokens are redeemed and refreshed, accounts identified, grants revoked, and rows
//! discovered.
//!
//! No table and no secrets manager is used here: the callers store what is returned. Each call is sent once, through
//! the guarded [`Egress`], and no redirect is followed. What a response means is decided in `domain`.
//!
//! | file | subject |
//! |---|---|
//! | `client` | our client at a provider, and what its stored secret must be |
//! | `proof` | how a request shows that it is from our client |
//! | `token_call` | the token endpoint |
//! | `identity` | who granted: `id_token` or profile |
//! | `revoke` | the end of a grant |
//! | `discovery` | the row of a provider that publishes its metadata |

mod client;
mod discovery;
mod identity;
mod proof;
mod revoke;
mod token_call;

use domain::Secret;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::key_sets::KeySets;
use crate::webhook::egress::Egress;

pub use self::{
    client::{Client, ClientSecret},
    discovery::DiscoveryError,
    identity::{IdTokenError, Identity, IdentityError},
    revoke::RevokeOutcome,
};

/// Calls identity providers.
#[derive(Debug)]
pub struct Providers {
    egress: Egress,
    key_sets: KeySets,
}

impl Providers {
    /// Calls by `egress`; the keys that providers publish are cached.
    #[must_use]
    pub fn new(egress: Egress) -> Self {
        Self { key_sets: KeySets::new(egress.clone()), egress }
    }
}

/// A header's value as text.
fn text_of(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// The value of `Authorization`, which no `Debug` shows; `None` where the token has characters that no header has.
fn authorization(scheme: &str, token: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("{scheme} {}", token.expose())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests;
