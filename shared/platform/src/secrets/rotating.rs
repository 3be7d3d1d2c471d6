//! Refresh tokens that each use replaces: a secret each, since a document takes about a hundred versions a day.
//!
//! A version that no row names may hold the only token that is valid, so the current version counts, with the
//! generation that is in it.

use aws_sdk_secretsmanager::{
    Client,
    operation::{
        create_secret::CreateSecretError, delete_secret::DeleteSecretError,
        put_secret_value::PutSecretValueError,
    },
    types::{Filter, FilterNameStringType, Tag},
};
use data_encoding::HEXLOWER;
use domain::{ConnectionId, Secret, TenantId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{documents::STACK_TAG, text::find};
use crate::Fault;

/// A durable credential, and the generation that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DurableCredential {
    /// The generation of the access token that it was granted with.
    pub generation: u64,
    /// The refresh token, or the access token where there is none.
    pub token: Secret,
}

/// The refresh tokens that rotate.
#[derive(Debug, Clone)]
pub struct RotatingSecrets {
    client: Client,
    prefix: String,
}

impl RotatingSecrets {
    /// The secrets whose names begin with `prefix`.
    #[must_use]
    pub fn new(client: Client, prefix: String) -> Self {
        Self { client, prefix }
    }

    fn name(&self, tenant: &TenantId, id: ConnectionId) -> String {
        format!("{}/connections/{tenant}/{id}", self.prefix)
    }

    /// The credential of a connection, as it is now.
    pub async fn get(&self, tenant: &TenantId, id: ConnectionId) -> Result<Option<DurableCredential>, Fault> {
        const READING: &str = "reading a refresh token";
        let text = find(&self.client, &self.name(tenant, id), None, READING).await?;
        let Some(text) = text else { return Ok(None) };
        // The error could quote the token.
        serde_json::from_str(&text).map(Some).map_err(|_| Fault::new(READING, "the document is malformed"))
    }

    /// Stores the credential of a connection. A repeat makes no second version: the request's token is derived from
    /// connection and generation.
    pub async fn put(
        &self,
        tenant: &TenantId,
        id: ConnectionId,
        credential: &DurableCredential,
    ) -> Result<(), Fault> {
        const WRITING: &str = "writing a refresh token";
        let name = self.name(tenant, id);
        let text = serde_json::to_string(credential).map(Zeroizing::new).map_err(Fault::on(WRITING))?;
        let digest = Sha256::digest(format!("{name}#{}", credential.generation));
        let token = HEXLOWER.encode(&digest);
        let put = self.client.put_secret_value().secret_id(&name).client_request_token(&token);
        let Err(missing) = put.secret_string(text.as_str()).send().await else { return Ok(()) };
        let is_missing = missing.as_service_error();
        if !is_missing.is_some_and(PutSecretValueError::is_resource_not_found_exception) {
            return Err(Fault::on(WRITING)(missing));
        }
        let tag = Tag::builder().key(STACK_TAG).value(&self.prefix).build();
        let create = self.client.create_secret().name(&name).tags(tag).client_request_token(&token);
        match create.secret_string(text.as_str()).send().await {
            Ok(_) => Ok(()),
            // Another request has made it since.
            Err(error)
                if matches!(
                    error.as_service_error(),
                    Some(CreateSecretError::ResourceExistsException(_))
                ) =>
            {
                let put = self.client.put_secret_value().secret_id(&name).client_request_token(&token);
                put.secret_string(text.as_str()).send().await.map(|_| ()).map_err(Fault::on(WRITING))
            }
            Err(error) => Err(Fault::on(WRITING)(error)),
        }
    }

    /// Deletes all secrets for good whose names say that they are this tenant's: its documents and its credentials, also
    /// those that no row refers to. Returns how many there were.
    pub async fn remove_all_of(&self, tenant: &TenantId) -> Result<usize, Fault> {
        const DOING: &str = "listing a tenant's secrets";
        let prefix = format!("{}/connections/{tenant}/", self.prefix);
        let named = Filter::builder().key(FilterNameStringType::Name).values(&prefix).build();
        let (mut names, mut next) = (Vec::new(), None);
        loop {
            let list = self.client.list_secrets().filters(named.clone()).set_next_token(next);
            let page = list.send().await.map_err(Fault::on(DOING))?;
            // The filter ignores what is between words, and a tenant can have the name of the pool.
            let found = page.secret_list.unwrap_or_default().into_iter().filter_map(|secret| secret.name);
            names.extend(found.filter(|name| {
                let rest = name.strip_prefix(&prefix);
                rest.is_some_and(|rest| rest.starts_with("con_") || rest.starts_with("shard-"))
            }));
            next = page.next_token;
            if next.is_none() {
                break;
            }
        }
        for name in &names {
            self.delete(name).await?;
        }
        Ok(names.len())
    }

    /// Deletes the credential of a connection for good.
    pub async fn remove(&self, tenant: &TenantId, id: ConnectionId) -> Result<(), Fault> {
        self.delete(&self.name(tenant, id)).await
    }

    async fn delete(&self, name: &str) -> Result<(), Fault> {
        let delete = self.client.delete_secret().secret_id(name);
        match delete.force_delete_without_recovery(true).send().await {
            Ok(_) => Ok(()),
            Err(error)
                if matches!(
                    error.as_service_error(),
                    Some(DeleteSecretError::ResourceNotFoundException(_))
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(Fault::on("deleting a refresh token")(error)),
        }
    }
}
