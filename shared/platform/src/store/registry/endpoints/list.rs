//! Several endpoints at once: a tenant's list, the subscribers of a publish, the targets of an event.

use std::{collections::HashMap, sync::Arc};

use domain::{
    EndpointId, TenantId,
    endpoint::{Endpoint, Subscriber, Target},
    saturating,
};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::{
    Endpoints,
    rows::{EndpointRow, SubscriberRow},
};
use crate::{Fault, store::table::keys};

/// Endpoints read concurrently.
const TARGET_READS: usize = 16;

/// The longest list of subscribers that is cached, of some 150 bytes each as a rule.
const CACHED_SUBSCRIBERS: usize = 1000;

/// As many subscribers without a content filter take the memory of one with it, which is about a
/// kilobyte: 20 conditions of 100 bytes are rare.
const FILTER_WEIGHT: usize = 7;

impl Endpoints {
    /// The endpoints of a tenant that could get an event, in the order of their ids, at most a second
    /// old. A long list is read each time: it would take the memory of all others.
    pub async fn subscribers(&self, tenant: &TenantId) -> Result<Arc<Vec<Subscriber>>, Fault> {
        if let Some(subscribers) = self.cache.fan_outs.get(tenant) {
            return Ok(subscribers);
        }
        let doing = "reading who is subscribed";
        let prefix = keys::ENDPOINTS;
        let mut subscribers = Vec::new();
        let mut from = None;
        loop {
            let response = self
                .table
                .between(tenant.to_string(), prefix.to_owned(), format!("{prefix}~"))
                .projection_expression("id, event_types, disabled, health, channels, #filter")
                .expression_attribute_names("#filter", "filter")
                .consistent_read(true)
                .set_exclusive_start_key(from)
                .send()
                .await
                .map_err(Fault::on(doing))?;
            for item in response.items.unwrap_or_default() {
                let row: SubscriberRow = serde_dynamo::from_item(item).map_err(Fault::on(doing))?;
                subscribers.push(row.into());
            }
            from = response.last_evaluated_key;
            if from.is_none() {
                break;
            }
        }
        let subscribers = Arc::new(subscribers);
        let filters =
            subscribers.iter().filter(|subscriber: &&Subscriber| subscriber.filter.is_some()).count();
        if subscribers.len() + filters * FILTER_WEIGHT <= CACHED_SUBSCRIBERS {
            self.cache.fan_outs.put(tenant.clone(), Arc::clone(&subscribers));
        }
        Ok(subscribers)
    }

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
