//! The master keys of sealed values, in a secret of their own that the template generates.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use domain::TenantId;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::seal::{OpenError, SealContext, Seals};
use crate::{Fault, secrets::SecretText};

/// How old the keys may be before they are read again. A key that was removed opens for as long.
const MAX_AGE: Duration = Duration::from_hours(1);
/// How long ago they must have been read to be read again, so that invented key ids, or a fault, cost few calls.
const REREAD_AGE: Duration = Duration::from_secs(30);

/// The keys as they were last read.
#[derive(Debug, Default)]
struct KeyCache {
    seals: Option<(Instant, Arc<Seals>)>,
    /// When they were read last, with or without success.
    tried: Option<Instant>,
}

/// Seals and opens with the keys of a secret, which are cached.
#[derive(Debug)]
pub struct SealKeys {
    secret: SecretText,
    known: Mutex<KeyCache>,
}

impl SealKeys {
    /// The keys in this secret.
    #[must_use]
    pub fn new(secret: SecretText) -> Self {
        Self { secret, known: Mutex::default() }
    }

    /// Seals with the current key: see [`Seals::seal`].
    pub async fn seal(
        &self,
        tenant: &TenantId,
        context: SealContext<'_>,
        plain: &[u8],
    ) -> Result<String, Fault> {
        self.seals(MAX_AGE).await?.seal(tenant, context, plain)
    }

    /// Opens a value: see [`Seals::open`]. Where its key is unknown, the keys are read again, at most every 30 s.
    ///
    /// # Errors
    /// Where the keys cannot be read, or the value cannot be opened.
    pub async fn open(
        &self,
        tenant: &TenantId,
        context: SealContext<'_>,
        sealed: &str,
    ) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let mut opened = self.seals(MAX_AGE).await?.open(tenant, context, sealed);
        if let Err(OpenError::UnknownKey(_)) = opened {
            opened = self.seals(REREAD_AGE).await?.open(tenant, context, sealed);
        }
        opened.map_err(Fault::on("opening a sealed value"))
    }

    async fn seals(&self, age: Duration) -> Result<Arc<Seals>, Fault> {
        let mut known = self.known.lock().await;
        known.get(age, Instant::now(), self.read()).await
    }

    async fn read(&self) -> Result<Seals, Fault> {
        Seals::parse(&self.secret.read("reading the sealing keys").await?)
    }
}

impl KeyCache {
    /// The keys, no older than `age` if `read` is due and gets them; else those that are known.
    async fn get(
        &mut self,
        age: Duration,
        now: Instant,
        read: impl Future<Output = Result<Seals, Fault>>,
    ) -> Result<Arc<Seals>, Fault> {
        let within = |since: &Instant, age| now.saturating_duration_since(*since) < age;
        let was_tried = self.tried.is_some_and(|tried| within(&tried, REREAD_AGE));
        if let Some((since, seals)) = &self.seals
            && (within(since, age) || was_tried)
        {
            return Ok(Arc::clone(seals));
        }
        self.tried = Some(now);
        match (read.await, &self.seals) {
            (Ok(seals), _) => {
                let seals = Arc::new(seals);
                self.seals = Some((now, Arc::clone(&seals)));
                Ok(seals)
            }
            // Keys are added and hardly ever removed, so old ones are right for nearly all values.
            (Err(fault), Some((_, seals))) => {
                tracing::warn!(%fault, "could not read the sealing keys; older ones are used");
                Ok(Arc::clone(seals))
            }
            (Err(fault), None) => Err(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::{
        super::seal::tests::{ONE, TWO},
        *,
    };

    #[tokio::test]
    async fn keys_are_read_again_when_due() {
        let begin = Instant::now();
        let (reads, mut known) = (AtomicUsize::new(0), KeyCache::default());
        // At this second, for this age, the secret has this; reads so far, and whether there are keys.
        for (name, second, age, document, expected, is_ok) in [
            ("a fault without known keys", 0, MAX_AGE, None, 1, false),
            ("read again at once, since there are none", 1, MAX_AGE, Some(ONE), 2, true),
            ("cached", 20, MAX_AGE, Some(TWO), 2, true),
            ("an unknown key too soon", 30, REREAD_AGE, Some(TWO), 2, true),
            ("an unknown key later", 31, REREAD_AGE, Some(TWO), 3, true),
            ("cached for an hour", 3_630, MAX_AGE, Some(ONE), 3, true),
            ("read after an hour, with a fault", 3_631, MAX_AGE, None, 4, true),
            ("not read again within 30 s", 3_650, MAX_AGE, None, 4, true),
            ("then it is", 3_661, MAX_AGE, Some(ONE), 5, true),
        ] {
            let read = async {
                reads.fetch_add(1, Ordering::Relaxed);
                Seals::parse(document.unwrap_or_default())
            };
            let got = known.get(age, begin + Duration::from_secs(second), read).await;
            assert_eq!((reads.load(Ordering::Relaxed), got.is_ok()), (expected, is_ok), "{name}");
        }
    }
}
