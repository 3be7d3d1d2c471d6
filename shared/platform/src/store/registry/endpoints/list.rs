//! Several endpoints at once: a tenant's list, the targets of an event. The subscribers of a publish are in
//! `subscribers`.

use std::{collections::HashMap, sync::Arc};

use domain::{
    EndpointId, TenantId,
    endpoint::{Endpoint, Target},
};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::{Endpoints, rows::EndpointRow};
use crate::{
    Fault,
    store::table::{
        keys,
        rows::{Order, Span},
    },
};

/// Endpoints read concurrently.
const TARGET_READS: usize = 16;

impl Endpoints {
    /// Endpoints of a tenant, the newest first: up to `limit` of those before `before`.
    pub async fn list(
        &self,
        tenant: &TenantId,
        before: Option<EndpointId>,
        limit: usize,
    ) -> Result<Vec<Endpoint>, Fault> {
        // `~` sorts behind every id.
        let end = before.map_or_else(|| format!("{}~", keys::ENDPOINTS), |id| keys::endpoint(tenant, id).1);
        let span = Span { pk: tenant.to_string(), first: keys::ENDPOINTS.to_owned(), last: end };
        let doing = "listing endpoints";
        let read = |item| {
            let row: EndpointRow = serde_dynamo::from_item(item).map_err(Fault::on(doing))?;
            Ok(if Some(row.id) == before { None } else { Some(Endpoint::from(row)) })
        };
        self.table.page(span, Order::NewestFirst, limit, doing, read).await
    }

    /// The endpoints of these targets of a tenant's event, deleted ones too; one without even a
    /// tombstone is missing.
    pub async fn of_targets(
        &self,
        tenant: &TenantId,
        targets: &[Target],
    ) -> Result<HashMap<Target, Arc<Endpoint>>, Fault> {
        let operator = TenantId::operator();
        let read = |target: &Target| {
            let (target, owner) = (*target, if target.operator { operator.clone() } else { tenant.clone() });
            async move {
                let endpoint = Box::pin(self.get_now(&owner, target.endpoint)).await?;
                Ok::<_, Fault>(endpoint.map(|endpoint| (target, endpoint)))
            }
        };
        let reads: Vec<_> = targets.iter().map(read).collect();
        let found: Vec<_> = stream::iter(reads).buffer_unordered(TARGET_READS).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }
}
