//! Several endpoints at once: a tenant's list, the targets of an event. The subscribers of a publish are in
//! `subscribers`.

use std::{collections::HashMap, sync::Arc};

use domain::{
    EndpointId, TenantId,
    endpoint::{Endpoint, Target},
    saturating,
};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::{Endpoints, rows::EndpointRow};
use crate::{Fault, store::table::keys};

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
        let doing = "listing endpoints";
        // `~` sorts behind every id.
        let end = before.map_or_else(|| format!("{}~", keys::ENDPOINTS), |id| keys::endpoint(tenant, id).1);
        let mut found = Vec::new();
        let mut from = None;
        loop {
            let response = self
                .table
                .between(tenant.to_string(), keys::ENDPOINTS.to_owned(), end.clone())
                .scan_index_forward(false)
                .consistent_read(true)
                // One more, since the bound itself is among them.
                .limit(saturating::<i32>(limit).saturating_add(1))
                .set_exclusive_start_key(from)
                .send()
                .await
                .map_err(Fault::on(doing))?;
            let rows: Vec<EndpointRow> =
                serde_dynamo::from_items(response.items.unwrap_or_default()).map_err(Fault::on(doing))?;
            found.extend(rows.into_iter().filter(|row| Some(row.id) != before).map(Endpoint::from));
            from = response.last_evaluated_key;
            if from.is_none() || found.len() >= limit {
                found.truncate(limit);
                return Ok(found);
            }
        }
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
