//! The subscribers of a publish: a tenant's list of endpoints, kept as long as it does not change.
//!
//! Ten thousand endpoints are some megabytes, so the list is not read for each publish. The tenant's row counts
//! the changes to it, and one small read a second shows whether the list that is known is still the latest.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::types::{AttributeValue, Update};
use domain::{TenantId, endpoint::Subscriber, saturating};

use super::{Endpoints, rows::SubscriberRow};
use crate::{
    Fault,
    runtime::{cache::Cache, flights::Flights},
    store::{
        registry::{COUNT_PATIENCE, LIST_PATIENCE, in_time, tenants::Tenant},
        table::{Item, keys},
    },
};

/// How long a list is used without a look at the count of its changes.
const UNCHECKED: Duration = Duration::from_secs(1);

/// How long a list is used while that count cannot be read. The registry and the events are different tables, so
/// a publish that could be stored is not refused for one hot partition of the registry.
const UNCHECKED_ON_FAULT: Duration = Duration::from_mins(1);

/// After how long a list is read again, changed or not, for each thousand endpoints. The count leaves out how
/// endpoints fare, which decides the first lane of a message.
const READ_AGAIN: Duration = Duration::from_mins(1);

/// Longer than any list is used.
const LONGEST: Duration = Duration::from_hours(1);

/// Bytes of all lists that a function keeps.
const CAPACITY: usize = 16 * 1024 * 1024;

/// Bytes in memory of a subscriber without a filter.
const SUBSCRIBER_SIZE: usize = 200;

/// How many times its text a filter takes in memory.
const FILTER_FACTOR: usize = 3;

const DOING: &str = "reading the subscribers of a tenant";

/// Lists of subscribers, as this function knows them.
pub(super) struct SubscriberLists {
    known: Cache<TenantId, Arc<SubscriberList>>,
    reads: Flights<TenantId, Arc<SubscriberList>>,
}

/// One list, as it was read.
#[derive(Debug)]
struct SubscriberList {
    subscribers: Arc<Vec<Subscriber>>,
    /// Its size in memory, in bytes.
    size: usize,
    /// How many changes there were before it was read, if that was looked at. A tenant that publishes rarely has
    /// its list read once, without a read of the count.
    revision: Option<u64>,
    /// When it was read.
    read_at: Instant,
    /// When it was known to be the latest.
    confirmed_at: Instant,
}

impl std::fmt::Debug for SubscriberLists {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SubscriberLists")
    }
}

impl SubscriberLists {
    pub(super) fn new() -> Self {
        Self { known: Cache::new(LONGEST, CAPACITY), reads: Flights::default() }
    }

    /// Makes the next publish read the tenant's list.
    pub(super) fn forget(&self, tenant: &TenantId) {
        self.known.forget(tenant);
    }

    fn keep(&self, tenant: &TenantId, list: &Arc<SubscriberList>) {
        self.known.put_weighing(tenant.clone(), Arc::clone(list), list.size);
    }
}

impl SubscriberList {
    /// When it is read again, although no change was counted.
    fn is_outdated(&self, now: Instant) -> bool {
        let thousands = saturating::<u32>(self.subscribers.len() / 1_000).saturating_add(1);
        now.duration_since(self.read_at) >= READ_AGAIN.saturating_mul(thousands)
    }

    /// Whether it may be used while the registry cannot be read.
    fn is_usable_on_fault(&self, now: Instant) -> bool {
        now.duration_since(self.confirmed_at) < UNCHECKED_ON_FAULT
    }

    /// The same list, confirmed at `now`.
    fn confirmed(&self, now: Instant) -> Self {
        Self { subscribers: Arc::clone(&self.subscribers), confirmed_at: now, ..*self }
    }
}

impl Endpoints {
    /// The endpoints of a tenant that could get an event, in the order of their ids: at most a second old, or a
    /// minute while the registry cannot be read.
    pub async fn subscribers(&self, tenant: &TenantId) -> Result<Arc<Vec<Subscriber>>, Fault> {
        let lists = &self.cache.subscribers;
        if let Some(list) = lists.known.get_within(tenant, UNCHECKED) {
            return Ok(Arc::clone(&list.subscribers));
        }
        let known = lists.known.get(tenant);
        // A batch raises ten alerts at once, and each is published.
        let read = {
            let (endpoints, tenant, known) = (self.clone(), tenant.clone(), known.clone());
            // Boxed: the SDK's futures are large, and two of these are a part of every publish's.
            Box::pin(async move { endpoints.latest(&tenant, known).await })
        };
        let list = match (lists.reads.join(tenant, DOING, read).await, known) {
            (Ok(list), _) => list,
            (Err(fault), Some(known)) if known.is_usable_on_fault(Instant::now()) => {
                tracing::warn!(%fault, %tenant, "could not read the subscribers of a tenant; the list read before is used");
                known
            }
            (Err(fault), _) => return Err(fault),
        };
        lists.keep(tenant, &list);
        Ok(Arc::clone(&list.subscribers))
    }

    /// The latest list: the known one, where nothing was changed since it was read.
    async fn latest(
        &self,
        tenant: &TenantId,
        known: Option<Arc<SubscriberList>>,
    ) -> Result<Arc<SubscriberList>, Fault> {
        let now = Instant::now();
        let Some(known) = known else { return self.read_subscribers(tenant, None, now).await };
        let usable = known.is_usable_on_fault(now);
        // Before the list: the next look detects a change in between.
        let revision = Some(in_time(usable, COUNT_PATIENCE, self.subscribers_revision(tenant)).await?);
        if known.revision == revision && !known.is_outdated(now) {
            return Ok(Arc::new(known.confirmed(now)));
        }
        in_time(usable, LIST_PATIENCE, self.read_subscribers(tenant, revision, now)).await
    }

    async fn subscribers_revision(&self, tenant: &TenantId) -> Result<u64, Fault> {
        let row = self.table.get_row::<Tenant>(keys::tenant(tenant), true).await?;
        Ok(row.map_or(0, |row| row.subscribers_revision))
    }

    async fn read_subscribers(
        &self,
        tenant: &TenantId,
        revision: Option<u64>,
        now: Instant,
    ) -> Result<Arc<SubscriberList>, Fault> {
        let prefix = keys::ENDPOINTS;
        let mut subscribers = Vec::new();
        let mut size = 0;
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
                .map_err(Fault::on(DOING))?;
            for item in response.items.unwrap_or_default() {
                size += size_of_subscriber(&item);
                let row: SubscriberRow = serde_dynamo::from_item(item).map_err(Fault::on(DOING))?;
                subscribers.push(row.into());
            }
            from = response.last_evaluated_key;
            if from.is_none() {
                break;
            }
        }
        let subscribers = Arc::new(subscribers);
        Ok(Arc::new(SubscriberList { subscribers, size, revision, read_at: now, confirmed_at: now }))
    }

    /// What counts a change to a tenant's list, in the transaction that makes the change.
    pub(super) fn counting_change(&self, tenant: &TenantId) -> Result<Update, Fault> {
        self.table
            .change(keys::tenant(tenant))
            .update_expression("ADD subscribers_revision :one")
            .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
            .build()
            .map_err(Fault::on("counting a change to the subscribers of a tenant"))
    }
}

/// About how much memory the subscriber of this row takes.
fn size_of_subscriber(item: &Item) -> usize {
    let text = |name| item.get(name).and_then(|value| value.as_s().ok()).map_or(0, String::len);
    let names = |name| item.get(name).and_then(|value| value.as_l().ok()).map_or(0, Vec::len);
    SUBSCRIBER_SIZE + FILTER_FACTOR * text("filter") + 64 * (names("event_types") + names("channels"))
}

#[cfg(test)]
mod tests {
    use domain::{
        EndpointId, Timestamp,
        endpoint::{State, health::Health},
        event::channel::Channels,
    };

    use super::*;

    fn list(endpoints: usize, age: Duration) -> SubscriberList {
        let now = Instant::now();
        let subscriber = Subscriber {
            id: EndpointId::new(Timestamp::from_millis(0), [0; 10]),
            event_types: Vec::new(),
            channels: Channels::new(),
            filter: None,
            state: State::Enabled,
            health: Health::default(),
        };
        SubscriberList {
            subscribers: Arc::new(vec![subscriber; endpoints]),
            size: 0,
            revision: Some(1),
            read_at: now.checked_sub(age).unwrap(),
            confirmed_at: now,
        }
    }

    #[test]
    fn a_long_list_is_read_again_more_rarely() {
        let minutes = Duration::from_mins;
        for (endpoints, age, outdated) in [
            (0, minutes(0), false),
            (999, Duration::from_secs(59), false),
            (999, minutes(1), true),
            (1_000, minutes(1), false),
            (10_000, minutes(10), false),
            (10_000, minutes(11), true),
        ] {
            assert_eq!(list(endpoints, age).is_outdated(Instant::now()), outdated, "{endpoints} {age:?}");
        }
    }
}
