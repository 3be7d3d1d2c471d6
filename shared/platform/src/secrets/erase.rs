//! All secrets of one tenant, removed. Documents are read, and not the rows that lead to them: what a change left
//! behind that stopped halfway is found too.

use domain::{TenantId, ids::holder::Holder};

use super::{Secrets, SecretsError, document_of};
use crate::{
    Fault,
    runtime::clock,
    store::registry::pointers::{Departure, Pointer},
};

impl Secrets {
    /// Removes the secrets of a tenant's endpoints, sources, connections and identity providers. Returns how many entries
    /// there were: some are still there where a document accepts no more versions today, so a caller repeats this until
    /// there are none.
    pub async fn remove_tenant(&self, tenant: &TenantId) -> Result<usize, SecretsError> {
        let mut found = 0;
        for holder in [Holder::Endpoints, Holder::Sources, Holder::Connections, Holder::Idps] {
            for pointer in self.pointers.all(holder).await? {
                found += match &pointer.tenant {
                    None => Box::pin(self.remove_from(holder, &pointer, tenant)).await?,
                    Some(owner) if owner == tenant => self.remove_document(holder, &pointer).await?,
                    Some(_) => 0,
                };
            }
            for departure in self.pointers.departures(holder, None).await? {
                if departure.owner.is_of(tenant) && !self.has_entry(holder, &departure).await? {
                    self.pointers.forget(holder, &departure).await?;
                }
            }
        }
        Ok(found)
    }

    /// Removes the tenant's entries from a document of all tenants, with one version of it.
    async fn remove_from(
        &self,
        holder: Holder,
        pointer: &Pointer,
        tenant: &TenantId,
    ) -> Result<usize, SecretsError> {
        let Some(document) = self.documents.get(document_of(holder, pointer), &pointer.version).await? else {
            return Err(Fault::new("removing a tenant's secrets", "a document has changed meanwhile").into());
        };
        let owners: Vec<_> = document.owners().filter(|owner| owner.is_of(tenant)).cloned().collect();
        if owners.is_empty() {
            return Ok(0);
        }
        let (shard, at) = (pointer.shard, clock::now().millis());
        for owner in &owners {
            self.pointers.leave(holder, &Departure { shard, owner: owner.clone(), left: true, at }).await?;
        }
        self.clean(holder, shard).await?;
        Ok(owners.len())
    }

    /// Deletes a document that is the tenant's own.
    async fn remove_document(&self, holder: Holder, pointer: &Pointer) -> Result<usize, SecretsError> {
        // The pointer afterwards: it is what leads here.
        self.documents.delete(document_of(holder, pointer)).await?;
        self.pointers.remove(holder, pointer).await?;
        Ok(1)
    }

    /// Whether the document that an owner leaves still has it.
    async fn has_entry(&self, holder: Holder, departure: &Departure) -> Result<bool, Fault> {
        let Some(pointer) = self.pointers.now(holder, departure.shard).await? else { return Ok(false) };
        let document = self.documents.get(document_of(holder, &pointer), &pointer.version).await?;
        Ok(document.is_none_or(|document| document.get(&departure.owner).is_some()))
    }
}
