//! Several endpoints at once, as they are now.

use std::{collections::HashMap, sync::Arc};

use domain::{
    TenantId,
    endpoint::{Endpoint, Target},
};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::Registry;
use crate::Fault;

/// Rows read side by side.
const CONCURRENCY: usize = 16;

impl Registry {
    /// The endpoints of these targets of a tenant's event, deleted ones too; those are missing of
    /// which nothing is left.
    pub async fn endpoints_of(
        &self,
        tenant: &TenantId,
        targets: &[Target],
    ) -> Result<HashMap<Target, Arc<Endpoint>>, Fault> {
        let operator = TenantId::operator();
        let read = |target: &Target| {
            let (target, owner) = (*target, if target.operator { operator.clone() } else { tenant.clone() });
            async move {
                let endpoint = Box::pin(self.endpoint_now(&owner, target.endpoint)).await?;
                Ok::<_, Fault>(endpoint.map(|endpoint| (target, endpoint)))
            }
        };
        let reads: Vec<_> = targets.iter().map(read).collect();
        let found: Vec<_> = stream::iter(reads).buffer_unordered(CONCURRENCY).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }
}
