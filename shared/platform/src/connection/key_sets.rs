//! The keys that providers publish, fetched through the guarded client and cached per URL.
//!
//! Providers change their keys without notice, and some publish another key under the old name. So a set is fetched again for
//! a key that it lacks and after a failed signature, but seldom: invented tokens must not become a flood of requests.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use domain::{Timestamp, delivery::Failure};
use http::{Request, StatusCode};
use serde_json::{Map, Value};

use super::jwt::{Jwks, SigningAlgorithm, TokenError, verify_id_token};
use crate::{Fault, runtime::flights::Flights, webhook::egress::Egress};

/// How long a set is used before it is fetched again.
const MAX_AGE: Duration = Duration::from_hours(1);
/// How long it is used while it cannot be fetched: a provider's outage should not stop its users' logins here.
const MAX_AGE_ON_FAULT: Duration = Duration::from_hours(24);
/// How long ago the last fetch must be, successful or not.
const REFETCH_AGE: Duration = Duration::from_secs(30);
/// The time of one fetch: the user waits for it.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How many URLs are known at once. Tenants can name URLs, so there must be a bound.
const CAPACITY: usize = 256;
const FETCHING: &str = "fetching published keys";

/// Why there are no keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoKeys {
    /// The provider could not be reached.
    Unreachable(Failure),
    /// It responded with this status.
    Status(u16),
    /// It responded with something else than a set of keys.
    Malformed,
}

impl fmt::Display for NoKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(failure) => write!(f, "the provider's keys could not be fetched: {failure}"),
            Self::Status(status) => write!(f, "the provider's keys could not be fetched: status {status}"),
            Self::Malformed => f.write_str("the provider published no set of keys"),
        }
    }
}

impl std::error::Error for NoKeys {}

/// Why the claims of a token cannot be used.
#[derive(Debug)]
pub enum VerifyError {
    /// The token is at fault.
    Token(TokenError),
    /// The keys are missing; later they may be there.
    NoKeys(NoKeys),
    /// We are at fault.
    Fault(Fault),
}

/// What is known of one URL.
#[derive(Debug, Clone)]
struct CachedSet {
    keys: Option<(Timestamp, Arc<Jwks>)>,
    /// The last fetch, and why it failed if it did.
    tried: (Timestamp, Option<NoKeys>),
}

/// The sets of keys of all providers.
#[derive(Debug)]
pub struct KeySets {
    egress: Egress,
    known: Arc<Mutex<HashMap<String, CachedSet>>>,
    flights: Flights<String, Result<Arc<Jwks>, NoKeys>>,
}

impl KeySets {
    /// An empty cache, which fetches by `egress`.
    #[must_use]
    pub fn new(egress: Egress) -> Self {
        Self { egress, known: Arc::default(), flights: Flights::default() }
    }

    /// The claims of a token that a key published at `url` signed; **the claims are not checked**, see
    /// [`verify_id_token`]. Where the known keys do not fit, once more with newer ones.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub async fn verify(
        &self,
        url: &str,
        token: &str,
        algorithms: &[SigningAlgorithm],
        now: Timestamp,
    ) -> Result<Map<String, Value>, VerifyError> {
        let keys = self.get(url, MAX_AGE, now).await?;
        let error = match verify_id_token(token, &keys, algorithms) {
            Ok(claims) => return Ok(claims),
            Err(error @ (TokenError::UnknownKey | TokenError::InvalidSignature)) => error,
            Err(error) => return Err(VerifyError::Token(error)),
        };
        let newer = self.get(url, REFETCH_AGE, now).await?;
        if Arc::ptr_eq(&keys, &newer) {
            return Err(VerifyError::Token(error));
        }
        verify_id_token(token, &newer, algorithms).map_err(VerifyError::Token)
    }

    /// The keys published at `url`, no older than `age` if a fetch is due and succeeds.
    async fn get(&self, url: &str, age: Duration, now: Timestamp) -> Result<Arc<Jwks>, VerifyError> {
        if let Some(known) = lock(&self.known).get(url)
            && let Some(result) = known.get(age, now)
        {
            return result.map_err(VerifyError::NoKeys);
        }
        let (egress, known, key) = (self.egress.clone(), Arc::clone(&self.known), url.to_owned());
        let fetching = async move {
            let fetched = fetch(&egress, &key).await;
            Ok(note(&mut lock(&known), key, fetched, now))
        };
        let fetched = self.flights.join(&url.to_owned(), FETCHING, fetching).await;
        fetched.map_err(VerifyError::Fault)?.map_err(VerifyError::NoKeys)
    }
}

impl CachedSet {
    /// The keys, or why there are none; nothing where they are to be fetched.
    fn get(&self, age: Duration, now: Timestamp) -> Option<Result<Arc<Jwks>, NoKeys>> {
        let (tried, failure) = self.tried;
        let may_fetch = !is_within(tried, REFETCH_AGE, now);
        match (&self.keys, failure) {
            (Some((at, keys)), _) if is_within(*at, age, now) => Some(Ok(Arc::clone(keys))),
            _ if may_fetch => None,
            (Some((at, keys)), _) if is_within(*at, MAX_AGE_ON_FAULT, now) => Some(Ok(Arc::clone(keys))),
            (_, failure) => failure.map(Err),
        }
    }
}

/// A clock that was set back makes nothing older.
fn is_within(at: Timestamp, age: Duration, now: Timestamp) -> bool {
    now.since(at) < age
}

/// Records a fetch, and returns the keys to be used after it.
fn note(
    known: &mut HashMap<String, CachedSet>,
    url: String,
    fetched: Result<Jwks, NoKeys>,
    now: Timestamp,
) -> Result<Arc<Jwks>, NoKeys> {
    let before = known.remove(&url).and_then(|known| known.keys);
    if known.len() >= CAPACITY
        && let Some(oldest) = known.iter().min_by_key(|(_, known)| known.tried.0).map(|(url, _)| url.clone())
    {
        known.remove(&oldest);
    }
    let (keys, failure) = match fetched {
        Ok(keys) => (Some((now, Arc::new(keys))), None),
        Err(failure) => {
            tracing::warn!(url, %failure, "could not fetch published keys");
            (before.filter(|(at, _)| is_within(*at, MAX_AGE_ON_FAULT, now)), Some(failure))
        }
    };
    let result = match (&keys, failure) {
        (Some((_, keys)), _) => Ok(Arc::clone(keys)),
        (None, failure) => Err(failure.unwrap_or(NoKeys::Malformed)),
    };
    known.insert(url, CachedSet { keys, tried: (now, failure) });
    result
}

async fn fetch(egress: &Egress, url: &str) -> Result<Jwks, NoKeys> {
    let request = Request::get(url).body(Vec::new());
    let request = request.map_err(|_| NoKeys::Unreachable(Failure::BlockedAddress))?;
    let response = egress.exchange(request, TIMEOUT).await;
    let response = response.map_err(|error| NoKeys::Unreachable(error.failure()))?;
    if response.status() != StatusCode::OK {
        return Err(NoKeys::Status(response.status().as_u16()));
    }
    Jwks::parse(response.body()).map_err(|_| NoKeys::Malformed)
}

/// Each change of the map is one call or two, and at worst a URL is fetched again.
fn lock(known: &Mutex<HashMap<String, CachedSet>>) -> MutexGuard<'_, HashMap<String, CachedSet>> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
