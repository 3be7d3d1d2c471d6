//! The events of an inbound request: each as its provider sent it, and the normalised ones beside them, published for the
//! tenant whose they are.

use std::collections::{BTreeMap, HashMap, HashSet};

use domain::{
    EventId, InboundRequestId, TenantId, Timestamp,
    event::{self, channel::Channels},
    inbound::{
        ProviderAccount, Source,
        extraction::{Extraction, ProviderEvent},
        record::RecordedEvent,
    },
};
use futures_util::{StreamExt, stream};

use super::{Identity, NewEvent, PAYLOAD_LIMIT, PublishError, Publisher};
use crate::{Fault, store::registry::accounts::SourceAccounts};

/// Events that are published in one call.
const EVENTS_AT_ONCE: usize = 100;

/// Calls under way at once.
const CALLS_AT_ONCE: usize = 4;

/// Accounts that are read at once.
const ACCOUNTS_AT_ONCE: usize = 16;

/// Bytes of a payload besides its data, at most.
const PAYLOAD_OVERHEAD: usize = 512;

/// An event of an inbound request.
#[derive(Debug, Clone)]
pub struct InboundEvent {
    /// What to publish.
    pub event: NewEvent,
    /// Whose it is, in the provider's terms.
    pub account: Option<String>,
}

/// What to publish of an inbound request.
#[derive(Debug, Default)]
pub struct InboundEvents {
    /// The events, each once.
    pub events: Vec<InboundEvent>,
    /// How many exceed the limit of a webhook. Neither they nor their normalised forms are published.
    pub too_large_count: usize,
}

/// The outcome of publishing the events of a request.
#[derive(Debug, Default)]
pub struct PublishedRequest {
    /// The events that are stored now, in their order.
    pub events: Vec<RecordedEvent>,
    /// The deliveries that the new ones lead to, at the endpoints of each tenant.
    pub planned_deliveries: BTreeMap<TenantId, u64>,
    /// Why the rest was not published. Publishing the request again completes it.
    pub fault: Option<Fault>,
}

/// What to publish of a request. `forced` makes new events of those that were published before.
pub fn new_events(
    source: &Source,
    request: InboundRequestId,
    extraction: Extraction,
    forced: bool,
) -> Result<InboundEvents, Fault> {
    let source = source.id;
    let identity = |event_id: String| {
        if forced {
            Identity::InboundReplay { source, request }
        } else {
            Identity::ProviderEvent { source, event_id, request }
        }
    };
    let mut found = InboundEvents::default();
    // A sender can name one event twice in a batch, and two writes of one call must not be of the same item.
    let mut seen = HashSet::new();
    for event in extraction.events {
        let (id, normal_id) = (event.identity().to_owned(), event.normal_identity());
        if !seen.insert((id.clone(), event.account.clone())) {
            continue;
        }
        if is_too_large(&event) {
            found.too_large_count += 1;
            continue;
        }
        let ProviderEvent { event_type, timestamp, data, normal, account, .. } = event;
        let new = |event_type, data, identity| NewEvent {
            event_type,
            timestamp,
            data,
            channels: Channels::new(),
            identity,
        };
        let event = new(event_type, data, identity(id));
        found.events.push(InboundEvent { event, account: account.clone() });
        if let Some(normal) = normal {
            let event_type = normal.event_type.as_str().parse();
            let event_type = event_type.map_err(Fault::on("naming a normalised event"))?;
            let event = new(event_type, normal.data, identity(normal_id));
            found.events.push(InboundEvent { event, account });
        }
    }
    Ok(found)
}

/// Whether an event exceeds the limit of a webhook.
fn is_too_large(event: &ProviderEvent) -> bool {
    // The payload is made for those alone that are near the limit.
    event.data.as_str().len() + PAYLOAD_OVERHEAD > PAYLOAD_LIMIT && {
        let timestamp = event.timestamp.unwrap_or(Timestamp::from_secs(0));
        event::payload(&event.event_type, timestamp, &event.data).len() > PAYLOAD_LIMIT
    }
}

/// Publishes the events of a request at `source`. Those of the operator's sources go to the tenant of their account, and
/// stay with the operator where it is mapped to none.
pub async fn publish(
    (publisher, accounts): (&Publisher, &SourceAccounts),
    source: &Source,
    events: Vec<InboundEvent>,
    now: Timestamp,
) -> PublishedRequest {
    let tenants = match mapped(accounts, source, &events).await {
        Ok(tenants) => tenants,
        Err(fault) => return PublishedRequest { fault: Some(fault), ..PublishedRequest::default() },
    };
    let mut by_tenant: BTreeMap<TenantId, Vec<(usize, NewEvent)>> = BTreeMap::new();
    for (index, InboundEvent { event, account }) in events.into_iter().enumerate() {
        let tenant = account.and_then(|account| tenants.get(&account).cloned());
        let tenant = tenant.unwrap_or_else(|| source.tenant.clone());
        by_tenant.entry(tenant).or_default().push((index, event));
    }
    let mut calls = Vec::new();
    for (tenant, mut events) in by_tenant {
        while !events.is_empty() {
            let rest = events.split_off(events.len().min(EVENTS_AT_ONCE));
            calls.push((tenant.clone(), std::mem::replace(&mut events, rest)));
        }
    }
    let calls = calls.into_iter().map(|(tenant, events)| async move {
        let (indexes, events): (Vec<_>, Vec<_>) = events.into_iter().unzip();
        let results = publisher.publish_all(&tenant, events, now).await;
        (tenant, indexes.into_iter().zip(results).collect::<Vec<_>>())
    });
    let mut published = BTreeMap::new();
    let mut planned_deliveries = BTreeMap::new();
    let mut fault = None;
    let mut calls = stream::iter(calls).buffer_unordered(CALLS_AT_ONCE);
    while let Some((tenant, results)) = calls.next().await {
        for (index, result) in results {
            match result {
                Ok(event) => {
                    *planned_deliveries.entry(tenant.clone()).or_default() += event.planned_deliveries;
                    published.insert(
                        index,
                        RecordedEvent {
                            id: event.id,
                            event_type: event.event_type,
                            new: event.new,
                            tenant: Some(tenant.clone()).filter(|tenant| *tenant != source.tenant),
                        },
                    );
                }
                Err(PublishError::Fault(found)) => fault = Some(found),
                Err(PublishError::TooLarge) => {
                    fault = Some(Fault::new("publishing", "an event is larger than it was"));
                }
                Err(PublishError::Conflict) => {
                    fault = Some(Fault::new("publishing", "the id of a provider's event conflicts"));
                }
            }
        }
    }
    PublishedRequest { events: published.into_values().collect(), planned_deliveries, fault }
}

impl Publisher {
    /// Whether all these events of a tenant's own source, some at least, were accepted before.
    pub async fn were_accepted<'e>(
        &self,
        tenant: &TenantId,
        events: impl IntoIterator<Item = &'e NewEvent>,
    ) -> Result<bool, Fault> {
        let mut found = false;
        for event in events {
            let Identity::ProviderEvent { source, event_id, .. } = &event.identity else { return Ok(false) };
            let id = EventId::from_provider_event(tenant, *source, event_id);
            // One after the other: most requests are refused after the first.
            if self.events.get(tenant, id).await?.is_none() {
                return Ok(false);
            }
            found = true;
        }
        Ok(found)
    }
}

/// The tenants of the accounts that are mapped; nothing at a tenant's own source.
async fn mapped(
    accounts: &SourceAccounts,
    source: &Source,
    events: &[InboundEvent],
) -> Result<HashMap<String, TenantId>, Fault> {
    if !source.tenant.is_operator() {
        return Ok(HashMap::new());
    }
    let named: HashSet<_> = events.iter().filter_map(|event| event.account.clone()).collect();
    let reads = named.into_iter().map(|text| async move {
        // A text that cannot be an account is mapped to none.
        let Ok(account) = text.parse::<ProviderAccount>() else { return Ok(None) };
        Ok::<_, Fault>(accounts.tenant(source.id, &account).await?.map(|tenant| (text, tenant)))
    });
    let found: Vec<_> = stream::iter(reads).buffer_unordered(ACCOUNTS_AT_ONCE).collect().await;
    found.into_iter().filter_map(Result::transpose).collect()
}
