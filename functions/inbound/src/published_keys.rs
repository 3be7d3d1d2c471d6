//! The keys that a provider publishes, fetched through the guarded client and cached.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use domain::inbound::engine::KeySet;
use platform::{Fault, runtime::config, webhook::egress::Egress};

/// How long a set of keys is used.
const MAX_AGE: Duration = Duration::from_hours(1);
/// How long it is used while the provider cannot be reached.
const MAX_AGE_ON_FAULT: Duration = Duration::from_hours(24);
/// How old it must be to be fetched again for a key that it lacks, so that a flood of invented keys costs one request.
pub(crate) const REREAD_AGE: Duration = Duration::from_secs(10);
/// How long a fetch may take. Providers wait a few seconds for a response.
const TIMEOUT: Duration = Duration::from_secs(3);

/// A fetch of a document that will end.
type Fetching<'f> = Pin<Box<dyn Future<Output = Result<Vec<u8>, Fault>> + Send + 'f>>;

/// Fetches the document at a URL. Only the function that has a use for it refers to [`fetch`], so that the client is no
/// part of the others' binaries.
pub type Fetch = for<'f> fn(&'f str) -> Fetching<'f>;

/// Fetches a document through the guarded client.
#[must_use]
pub fn fetch(url: &str) -> Fetching<'_> {
    static EGRESS: OnceLock<Egress> = OnceLock::new();
    Box::pin(async move {
        const DOING: &str = "fetching published keys";
        if EGRESS.get().is_none() {
            let made = Egress::new(config::egress_allow().map_err(Fault::on(DOING))?)?;
            EGRESS.get_or_init(|| made);
        }
        let egress = EGRESS.get().ok_or_else(|| Fault::new(DOING, "there is no client"))?;
        egress.get(url, TIMEOUT).await.map_err(|failure| Fault::new(DOING, failure.to_string()))
    })
}

/// The set of keys of a function's provider.
pub(crate) struct PublishedKeys {
    fetch: Option<Fetch>,
    /// Where to fetch them instead, on the local stack.
    instead: Option<String>,
    fetched: Mutex<Option<(Instant, Arc<KeySet>)>>,
    /// When they were fetched last, with or without success.
    tried: Mutex<Option<Instant>>,
    /// One fetch at a time.
    fetching: tokio::sync::Mutex<()>,
}

impl PublishedKeys {
    pub(crate) fn new(fetch: Option<Fetch>, instead: Option<String>) -> Self {
        Self {
            fetch,
            instead,
            fetched: Mutex::default(),
            tried: Mutex::default(),
            fetching: tokio::sync::Mutex::default(),
        }
    }

    /// The keys at this URL, no older than `age` if they can be fetched.
    pub(crate) async fn get(&self, url: &str, age: Duration) -> Result<Arc<KeySet>, Fault> {
        const DOING: &str = "fetching published keys";
        if let Some(keys) = self.cached(age.min(MAX_AGE)) {
            return Ok(keys);
        }
        let _turn = self.fetching.lock().await;
        if let Some(keys) = self.cached(age.min(MAX_AGE)) {
            return Ok(keys);
        }
        if !self.may_fetch() {
            let older = self.cached(MAX_AGE_ON_FAULT);
            return older.ok_or_else(|| Fault::new(DOING, "they could not be fetched a moment ago"));
        }
        let url = self.instead.as_deref().unwrap_or(url);
        let fetch = self.fetch.ok_or_else(|| Fault::new(DOING, "this function fetches none"))?;
        let keys = fetch(url).await.and_then(|body| serde_json::from_slice(&body).map_err(Fault::on(DOING)));
        match keys {
            Ok(keys) => {
                let keys: Arc<KeySet> = Arc::new(keys);
                let fetched = Some((Instant::now(), Arc::clone(&keys)));
                *self.fetched.lock().unwrap_or_else(PoisonError::into_inner) = fetched;
                Ok(keys)
            }
            Err(fault) => match self.cached(MAX_AGE_ON_FAULT) {
                Some(keys) => {
                    tracing::warn!(%fault, "could not fetch published keys; older ones are used");
                    Ok(keys)
                }
                None => Err(fault),
            },
        }
    }

    /// Whether the last fetch is long enough ago. After a failure too, so that a flood waits for none.
    fn may_fetch(&self) -> bool {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        let may = tried.is_none_or(|at| at.elapsed() >= REREAD_AGE);
        if may {
            *tried = Some(Instant::now());
        }
        may
    }

    fn cached(&self, age: Duration) -> Option<Arc<KeySet>> {
        let fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        fetched.as_ref().filter(|(at, _)| at.elapsed() < age).map(|(_, keys)| Arc::clone(keys))
    }
}
