//! What is outside of the tables: objects in the bucket, and secrets.

use domain::tenant::{erasure::Erasure, export::Export};
use futures_util::future::try_join_all;

use super::{End, Eraser, StopTime};
use crate::{Fault, aws::s3::payload_prefixes, secrets::SecretsError};

/// Objects that are deleted concurrently.
const CONCURRENT: usize = 16;

impl Eraser {
    /// Deletes the objects, found by their prefix: those too that no row refers to.
    pub(super) async fn remove_objects(&self, erasure: &mut Erasure, stop: StopTime) -> Result<End, Fault> {
        let tenant = erasure.tenant_id.clone();
        for prefix in payload_prefixes(&tenant).chain([Export::prefix(&tenant)]) {
            loop {
                let keys = self.objects.list(&prefix).await?;
                if keys.is_empty() {
                    break;
                }
                for some in keys.chunks(CONCURRENT) {
                    try_join_all(some.iter().map(|key| self.objects.delete(key))).await?;
                    erasure.count("objects", some.len());
                }
                if stop.has_passed() {
                    return Ok(End::OutOfTime);
                }
            }
        }
        Ok(End::Done)
    }

    /// Removes the secrets. What a document has no version left for today is found by the next pass.
    pub(super) async fn remove_secrets(&self, erasure: &mut Erasure) -> Result<End, Fault> {
        const DOING: &str = "removing a tenant's secrets";
        match Box::pin(self.secrets.remove_tenant(&erasure.tenant_id)).await {
            Ok(found) => {
                erasure.count("secrets", found);
                // A function that died may have left one to which no row leads.
                erasure.count("secrets", self.rotating.remove_all_of(&erasure.tenant_id).await?);
                Ok(End::Done)
            }
            Err(SecretsError::Fault(fault)) => Err(fault),
            Err(error) => Err(Fault::new(DOING, format!("a document cannot be changed now: {error:?}"))),
        }
    }
}
