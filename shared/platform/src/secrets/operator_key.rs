//! The operator's key, in a secret of its own that the template generates.

use std::time::{Duration, Instant};

use aws_sdk_secretsmanager::Client;
use domain::Secret;
use serde::Deserialize;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::Fault;

/// How old the operator's key may be before it is read again: a rotated one works after that.
const OPERATOR_KEY_AGE: Duration = Duration::from_mins(1);

/// The operator's key, which the template generates.
#[derive(Debug)]
pub struct OperatorKey {
    client: Client,
    secret_id: String,
    known: Mutex<Option<(Instant, Secret)>>,
}

impl OperatorKey {
    /// The key in this secret.
    #[must_use]
    pub fn new(client: Client, secret_id: String) -> Self {
        Self { client, secret_id, known: Mutex::default() }
    }

    /// The key, at most a minute old.
    pub async fn get(&self) -> Result<Secret, Fault> {
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
        let response = self.client.get_secret_value().secret_id(&self.secret_id).send().await;
        let text =
            response.map_err(Fault::on("reading the operator's key"))?.secret_string.map(Zeroizing::new);
        let document: Option<Document> = text.and_then(|text| serde_json::from_str(&text).ok());
        let key =
            document.ok_or_else(|| Fault::new("reading the operator's key", "the secret is malformed"))?.key;
        *known = Some((Instant::now(), key.clone()));
        Ok(key)
    }
}
