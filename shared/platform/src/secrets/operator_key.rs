//! The operator's key, in a secret of its own that the template generates.

use std::time::{Duration, Instant};

use aws_sdk_secretsmanager::Client;
use domain::Secret;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::text::SecretText;
use crate::Fault;

/// How old the operator's key may be before it is read again: a rotated one works after that.
const OPERATOR_KEY_AGE: Duration = Duration::from_mins(1);

/// The operator's key, which the template generates.
#[derive(Debug)]
pub struct OperatorKey {
    secret: SecretText,
    known: Mutex<Option<(Instant, Secret)>>,
}

impl OperatorKey {
    /// The key in this secret.
    #[must_use]
    pub fn new(client: Client, secret_id: String) -> Self {
        Self { secret: SecretText::new(client, secret_id), known: Mutex::default() }
    }

    /// The key, at most a minute old.
    pub async fn get(&self) -> Result<Secret, Fault> {
        const READING: &str = "reading the operator's key";
        #[derive(Deserialize)]
        struct Document {
            key: Secret,
        }
        let mut known = self.known.lock().await;
        if let Some((since, key)) = &*known
            && since.elapsed() < OPERATOR_KEY_AGE
        {
            return Ok(key.clone());
        }
        let text = self.secret.read(READING).await?;
        // The error of the parser could quote the key.
        let document =
            serde_json::from_str(&text).map_err(|_| Fault::new(READING, "the secret is malformed"));
        let Document { key } = document?;
        *known = Some((Instant::now(), key.clone()));
        Ok(key)
    }
}
