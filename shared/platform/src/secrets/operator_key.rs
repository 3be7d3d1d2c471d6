//! The operator's key, in a secret of its own that the template generates.
//!
//! It is replaced by another version of the secret. The version before it stays valid for a day, so that callers can
//! change to the new one without a gap; a second replacement ends it at once.

use std::time::{Duration, Instant};

use aws_sdk_secretsmanager::Client;
use domain::{Secret, Timestamp};
use serde::Deserialize;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::text::{SecretText, SecretVersion};
use crate::Fault;

/// How old the operator's key may be before it is read again: a rotated one works after that.
const OPERATOR_KEY_AGE: Duration = Duration::from_mins(1);

/// How long the key before stays valid.
const OVERLAP: Duration = Duration::from_hours(24);

const READING: &str = "reading the operator's key";

/// The operator's key, which the template generates.
#[derive(Debug)]
pub struct OperatorKey {
    secret: SecretText,
    known: Mutex<Option<KnownKey>>,
}

#[derive(Debug, Clone)]
struct KnownKey {
    read_at: Instant,
    key: Secret,
    replaced_at: Timestamp,
    before: KeyBefore,
}

/// The key before the present one.
#[derive(Debug, Clone)]
enum KeyBefore {
    /// No other key than the present one was shown.
    NotRead,
    /// It is this one.
    Key(Secret),
    /// There is none.
    None,
}

impl OperatorKey {
    /// The key in this secret.
    #[must_use]
    pub fn new(client: Client, secret_id: String) -> Self {
        Self { secret: SecretText::new(client, secret_id), known: Mutex::default() }
    }

    /// Whether this is the key, or the one before it while that is valid. What is known is at most a minute old.
    pub async fn is(&self, shown: &Secret, now: Timestamp) -> Result<bool, Fault> {
        let mut cached = self.known.lock().await;
        let is_fresh = cached.as_ref().is_some_and(|known| known.read_at.elapsed() < OPERATOR_KEY_AGE);
        if !is_fresh {
            *cached = Some(self.read().await?);
        }
        let missing = || Fault::new(READING, "it was not read");
        let known = cached.as_mut().ok_or_else(missing)?;
        if known.key == *shown {
            return Ok(true);
        }
        if now.since(known.replaced_at) >= OVERLAP {
            return Ok(false);
        }
        if matches!(known.before, KeyBefore::NotRead) {
            // A read a minute, however many wrong keys are shown, and whatever is found.
            known.before = self.read_before().await.map_or(KeyBefore::None, KeyBefore::Key);
        }
        Ok(matches!(&known.before, KeyBefore::Key(before) if before == shown))
    }

    /// The key before; nothing where there was none, or what was put there is no key.
    async fn read_before(&self) -> Option<Secret> {
        let found = self.secret.find_version(SecretVersion::Previous, READING).await;
        match found.and_then(|found| found.map(|found| key_in(&found.text)).transpose()) {
            Ok(before) => before,
            Err(fault) => {
                tracing::warn!(%fault, "could not read the operator's key before; it is not accepted");
                None
            }
        }
    }

    async fn read(&self) -> Result<KnownKey, Fault> {
        let found = self.secret.find_version(SecretVersion::Current, READING).await?;
        let found = found.ok_or_else(|| Fault::new(READING, "the secret does not exist"))?;
        let key = key_in(&found.text)?;
        Ok(KnownKey {
            read_at: Instant::now(),
            key,
            replaced_at: found.created_at,
            before: KeyBefore::NotRead,
        })
    }
}

fn key_in(text: &Zeroizing<String>) -> Result<Secret, Fault> {
    #[derive(Deserialize)]
    struct Document {
        key: Secret,
    }
    // The error of the parser could quote the key.
    let document: Document =
        serde_json::from_str(text).map_err(|_| Fault::new(READING, "the secret is malformed"))?;
    Ok(document.key)
}
