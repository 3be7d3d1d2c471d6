//! A secret of its own that is read whole, such as one that the template generates.

use aws_sdk_secretsmanager::{
    Client,
    error::SdkError,
    operation::get_secret_value::{GetSecretValueError, GetSecretValueOutput},
};
use domain::Timestamp;
use zeroize::Zeroizing;

use crate::Fault;

/// Which version of a secret is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretVersion {
    /// The present one.
    Current,
    /// The one that it has replaced.
    Previous,
}

impl SecretVersion {
    /// The stage that Secrets Manager moves from version to version.
    /// Source: <https://docs.aws.amazon.com/secretsmanager/latest/userguide/whats-in-a-secret.html>
    fn stage(self) -> &'static str {
        match self {
            Self::Current => "AWSCURRENT",
            Self::Previous => "AWSPREVIOUS",
        }
    }
}

/// The text of one version, and when that version was put.
pub struct VersionText {
    /// The text.
    pub text: Zeroizing<String>,
    /// When it was put.
    pub created_at: Timestamp,
}

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

    /// One version; `None` where there is none.
    pub async fn find_version(
        &self,
        version: SecretVersion,
        doing: &'static str,
    ) -> Result<Option<VersionText>, Fault> {
        let get = self.client.get_secret_value().secret_id(&self.secret_id).version_stage(version.stage());
        let Some(response) = found(get.send().await, doing)? else { return Ok(None) };
        let created_at = response.created_date.map_or(0, |date| date.secs());
        let text = response.secret_string.map(Zeroizing::new);
        let text = text.ok_or_else(|| Fault::new(doing, "the secret has no text"))?;
        Ok(Some(VersionText { text, created_at: Timestamp::from_secs(created_at) }))
    }
}

/// A response about a secret; `None` where the secret or the version does not exist.
fn found(
    result: Result<GetSecretValueOutput, SdkError<GetSecretValueError>>,
    doing: &'static str,
) -> Result<Option<GetSecretValueOutput>, Fault> {
    match result {
        Ok(response) => Ok(Some(response)),
        Err(error)
            if error.as_service_error().is_some_and(GetSecretValueError::is_resource_not_found_exception) =>
        {
            Ok(None)
        }
        Err(error) => Err(Fault::on(doing)(error)),
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
    let Some(response) = found(get.send().await, doing)? else { return Ok(None) };
    let text = response.secret_string.map(Zeroizing::new);
    text.map(Some).ok_or_else(|| Fault::new(doing, "it has no text"))
}
