//! The events of an inbound request: each as its provider sent it, and the normalised ones beside them, published for the
//! tenant whose they are.

use domain::{
    InboundRequestId, TenantId, Timestamp,
    event::channel::Channels,
    inbound::{
        ProviderAccount, Source,
        extraction::{Extraction, ProviderEvent},
        record::RecordedEvent,
    },
};

use super::{Identity, NewEvent, PublishError, Publisher};
use crate::{Fault, store::registry::accounts::SourceAccounts};

/// Events that are published in one call.
const EVENTS_AT_ONCE: usize = 100;

/// An event of an inbound request.
#[derive(Debug, Clone)]
pub struct InboundEvent {
    /// What to publish.
    pub event: NewEvent,
    /// Whose it is, in the provider's terms.
    pub account: Option<String>,
}

/// The outcome of publishing the events of a request.
#[derive(Debug, Default)]
pub struct PublishedRequest {
    /// The events that are stored now, in their order.
    pub events: Vec<RecordedEvent>,
    /// How many exceed the limit of a webhook.
    pub too_large_count: usize,
    /// Why the rest was not published. Publishing the request again completes it.
    pub fault: Option<Fault>,
}

/// What to publish of a request. `forced` makes new events of those that were published before.
pub fn new_events(
    source: &Source,
    request: InboundRequestId,
    extraction: Extraction,
    forced: bool,
) -> Result<Vec<InboundEvent>, Fault> {
    let source = source.id;
    let identity = |event_id: String| {
        if forced {
            Identity::InboundReplay { source, request }
        } else {
            Identity::ProviderEvent { source, event_id, request }
        }
    };
    let mut events = Vec::new();
    for event in extraction.events {
        let (id, normal_id) = (event.identity().to_owned(), event.normal_identity());
        let ProviderEvent { event_type, timestamp, data, normal, account, .. } = event;
        let new = |event_type, data, identity| NewEvent {
            event_type,
            timestamp,
            data,
            channels: Channels::new(),
            identity,
        };
        events.push(InboundEvent { event: new(event_type, data, identity(id)), account: account.clone() });
        if let Some(normal) = normal {
            let event_type = normal.event_type.as_str().parse();
            let event_type = event_type.map_err(Fault::on("naming a normalised event"))?;
            let event = new(event_type, normal.data, identity(normal_id));
            events.push(InboundEvent { event, account });
        }
    }
    Ok(events)
}

/// Publishes the events of a request at `source`. Those of the operator's sources go to the tenant of their account, and
/// stay with the operator where it is mapped to none.
pub async fn publish(
    (publisher, accounts): (&Publisher, &SourceAccounts),
    source: &Source,
    events: Vec<InboundEvent>,
    now: Timestamp,
) -> PublishedRequest {
    let mut published = PublishedRequest::default();
    let mut run: Vec<NewEvent> = Vec::new();
    let mut owner = source.tenant.clone();
    for InboundEvent { event, account } in events {
        let tenant = match tenant_of(accounts, source, account.as_deref()).await {
            Ok(tenant) => tenant,
            Err(fault) => {
                published.fault = Some(fault);
                return published;
            }
        };
        if !run.is_empty() && (tenant != owner || run.len() >= EVENTS_AT_ONCE) {
            publish_run(publisher, source, &owner, std::mem::take(&mut run), now, &mut published).await;
            if published.fault.is_some() {
                return published;
            }
        }
        owner = tenant;
        run.push(event);
    }
    if !run.is_empty() {
        publish_run(publisher, source, &owner, run, now, &mut published).await;
    }
    published
}

async fn tenant_of(
    accounts: &SourceAccounts,
    source: &Source,
    account: Option<&str>,
) -> Result<TenantId, Fault> {
    // A text that cannot be an account is mapped to none.
    let account: Option<ProviderAccount> = account.and_then(|account| account.parse().ok());
    let mapped = match &account {
        Some(account) if source.tenant.is_operator() => accounts.tenant(source.id, account).await?,
        _ => None,
    };
    Ok(mapped.unwrap_or_else(|| source.tenant.clone()))
}

/// Publishes consecutive events of one tenant.
async fn publish_run(
    publisher: &Publisher,
    source: &Source,
    tenant: &TenantId,
    events: Vec<NewEvent>,
    now: Timestamp,
    published: &mut PublishedRequest,
) {
    for result in publisher.publish_all(tenant, events, now).await {
        match result {
            Ok(event) => published.events.push(RecordedEvent {
                id: event.id,
                event_type: event.event_type,
                new: event.new,
                tenant: Some(tenant.clone()).filter(|tenant| *tenant != source.tenant),
            }),
            Err(PublishError::TooLarge) => published.too_large_count += 1,
            Err(PublishError::Conflict) => {
                published.fault = Some(Fault::new("publishing", "the id of a provider's event conflicts"));
            }
            Err(PublishError::Fault(fault)) => published.fault = Some(fault),
        }
    }
}
