//! Versions of documents, read and written. A version is immutable, so it is cached by its id for
//! as long as there is room.

use std::{sync::Arc, time::Duration};

use aws_sdk_secretsmanager::{
    Client,
    operation::{
        create_secret::CreateSecretError, delete_secret::DeleteSecretError,
        put_secret_value::PutSecretValueError,
    },
    types::Tag,
};
use data_encoding::HEXLOWER;
use domain::{TenantId, ids::holder::Holder};

use super::{change::Document, text::find};
use crate::{
    Fault,
    runtime::{cache::Cache, clock, flights::Flights},
};

/// What the cached documents take together, in bytes: about 50,000 signing keys, in a function of 128 MB.
const CACHED_BYTES: usize = 16 * 1024 * 1024;

/// The tag by which the secrets of a deployment are found. The template gives it to the operator's key.
pub(super) const STACK_TAG: &str = "core-webhooks:stack";

const READING: &str = "reading a secret";

/// The name of a secret, and the id of a version.
type Version = (String, String);

/// Which document.
#[derive(Debug, Clone, Copy)]
pub(super) struct DocumentRef<'a> {
    /// The kind of its owners.
    pub(super) holder: Holder,
    /// Its number, which no other document of this kind has, whosever it is.
    pub(super) shard: u32,
    /// Whose it is, where it is not of all tenants.
    pub(super) tenant: Option<&'a TenantId>,
}

impl DocumentRef<'_> {
    /// Its name behind the prefix.
    fn path(self) -> String {
        let Self { holder, shard, tenant } = self;
        match tenant {
            None => format!("{}/pool/{shard}", holder.as_str()),
            // No shard of the pool has such a name, even if a tenant is called pool.
            Some(tenant) => format!("{}/{tenant}/shard-{shard}", holder.as_str()),
        }
    }
}

/// The documents of a deployment.
#[derive(Debug)]
pub(super) struct Documents {
    client: Client,
    prefix: String,
    versions: Arc<Cache<Version, Arc<Document>>>,
    flights: Flights<Version, Option<Arc<Document>>>,
}

impl Documents {
    /// The documents whose names begin with `prefix`, which is the stack's name.
    pub(super) fn new(client: Client, prefix: String) -> Self {
        // Versions never change, so age is only a matter of how long a key stays in memory.
        let versions = Arc::new(Cache::new(Duration::from_hours(1), CACHED_BYTES));
        Self { client, prefix, versions, flights: Flights::default() }
    }

    fn name(&self, document: DocumentRef<'_>) -> String {
        format!("{}/{}", self.prefix, document.path())
    }

    /// One version of a shard; `None` where it no longer exists, because the pointer has moved on
    /// and Secrets Manager has deleted the version. Several that miss it at once read it once.
    pub(super) async fn get(
        &self,
        document: DocumentRef<'_>,
        version: &str,
    ) -> Result<Option<Arc<Document>>, Fault> {
        let key = (self.name(document), version.to_owned());
        if let Some(document) = self.versions.get(&key) {
            return Ok(Some(document));
        }
        let (client, versions, flight) = (self.client.clone(), Arc::clone(&self.versions), key.clone());
        let read = async move {
            // It may have been read since it was missed.
            if let Some(document) = versions.get(&flight) {
                return Ok(Some(document));
            }
            let document = read(&client, &flight).await?.map(Arc::new);
            if let Some(document) = &document {
                versions.put_weighing(flight, Arc::clone(document), document.weight());
            }
            Ok(document)
        };
        Box::pin(self.flights.join(&key, READING, read)).await
    }

    /// Deletes a document for good. Nothing happens where there is none.
    pub(super) async fn delete(&self, document: DocumentRef<'_>) -> Result<(), Fault> {
        let delete = self.client.delete_secret().secret_id(self.name(document));
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
            Err(error) => Err(Fault::on("deleting a secret")(error)),
        }
    }

    /// Caches a version that was committed.
    pub(super) fn put(&self, place: DocumentRef<'_>, version: String, document: Document) {
        let weight = document.weight();
        self.versions.put_weighing((self.name(place), version), Arc::new(document), weight);
    }

    /// Writes a version and returns its id; `None` where the secret accepts none for now. Secrets
    /// Manager keeps every version for a day and about a hundred at most
    /// (<https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html>).
    pub(super) async fn write(
        &self,
        document: DocumentRef<'_>,
        text: &str,
        new: bool,
    ) -> Result<Option<String>, Fault> {
        let name = self.name(document);
        // The token makes a call that the client repeats the same version.
        let token = token()?;
        let unnamed = || Fault::new("writing a secret", "its version has no id");
        if new {
            let tag = Tag::builder().key(STACK_TAG).value(&self.prefix).build();
            let create = self.client.create_secret().name(&name).tags(tag).client_request_token(&token);
            match create.secret_string(text).send().await {
                Ok(response) => return response.version_id.ok_or_else(unnamed).map(Some),
                // Left by a change that lost, or that stopped before moving the pointer.
                Err(error)
                    if matches!(
                        error.as_service_error(),
                        Some(CreateSecretError::ResourceExistsException(_))
                    ) => {}
                Err(error) => return Err(Fault::on("creating a secret")(error)),
            }
        }
        let put = self.client.put_secret_value().secret_id(&name).client_request_token(&token);
        match put.secret_string(text).send().await {
            Ok(response) => response.version_id.ok_or_else(unnamed).map(Some),
            Err(error)
                if matches!(
                    error.as_service_error(),
                    Some(PutSecretValueError::LimitExceededException(_))
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(Fault::on("writing a secret")(error)),
        }
    }
}

async fn read(client: &Client, (name, version): &Version) -> Result<Option<Document>, Fault> {
    let Some(text) = find(client, name, Some(version), READING).await? else { return Ok(None) };
    // The error could quote the document.
    let document =
        serde_json::from_str(&text).map_err(|_| Fault::new(READING, "the document is malformed"))?;
    Ok(Some(document))
}

/// A client request token: 32 to 64 characters.
pub(super) fn token() -> Result<String, Fault> {
    Ok(HEXLOWER.encode(&clock::random::<32>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_of_one_tenant_is_named_after_it() {
        let holder = Holder::Connections;
        let (acme, pool): (TenantId, TenantId) = ("acme".parse().unwrap(), "pool".parse().unwrap());
        let path = |shard, tenant| DocumentRef { holder, shard, tenant }.path();
        assert_eq!(path(3, None), "connections/pool/3");
        assert_eq!(path(3, Some(&acme)), "connections/acme/shard-3");
        assert_ne!(path(3, None), path(3, Some(&pool)));
    }
}
