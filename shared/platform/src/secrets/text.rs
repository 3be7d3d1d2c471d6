//! A secret of its own that is read whole, such as one that the template generates.

use aws_sdk_secretsmanager::{Client, operation::get_secret_value::GetSecretValueError};
use zeroize::Zeroizing;

use crate::Fault;

/// The text of one secret. Nothing is cached here.
#[derive(Debug)]
pub struct SecretText {
    client: Client,
    secret_id: String,
}

impl SecretText {
    /// The text of this secret.
    #[must_use]
    pub fn new(client: Client, secret_id: String) -> Self {
        Self { client, secret_id }
    }

    /// The current text.
    pub async fn read(&self, doing: &'static str) -> Result<Zeroizing<String>, Fault> {
        let response = self.client.get_secret_value().secret_id(&self.secret_id).send().await;
        let text = response.map_err(Fault::on(doing))?.secret_string.map(Zeroizing::new);
        text.ok_or_else(|| Fault::new(doing, "the secret has no text"))
    }
}

/// The text of a secret, of this version or of the current one; `None` where there is none (any more).
pub(super) async fn find(
    client: &Client,
    name: &str,
    version: Option<&str>,
    doing: &'static str,
) -> Result<Option<Zeroizing<String>>, Fault> {
    let get = client.get_secret_value().secret_id(name).set_version_id(version.map(str::to_owned));
    match get.send().await {
        Ok(response) => {
            let text = response.secret_string.map(Zeroizing::new);
            text.map(Some).ok_or_else(|| Fault::new(doing, "it has no text"))
        }
        Err(error)
            if matches!(
                error.as_service_error(),
                Some(GetSecretValueError::ResourceNotFoundException(_))
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(Fault::on(doing)(error)),
    }
}
