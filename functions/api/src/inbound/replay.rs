//! Reading the events of a stored request again, by the table that its source has now.

use std::sync::Arc;

use domain::inbound::{
    Source,
    engine::Verified,
    extraction::extract,
    reading,
    record::{RecordedEvent, RequestRecord},
};
use platform::{
    Fault,
    lambda::problem::{Kind, Problem},
    publish::{NewEvent, PAYLOAD_LIMIT, PublishError, inbound::new_events},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    find,
    view::{InboundEvent, MalformedItem},
};
use crate::{http::call::Call, state::Api};

/// Events that are published in one call.
const EVENTS_AT_ONCE: usize = 100;

/// A replay of an inbound request.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplayInboundRequest {
    /// Whether events that exist are published again, as new events. By default only those are published that could not
    /// be read before.
    #[serde(default)]
    force: bool,
}

/// The events of a replayed request.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ReplayedInboundRequest {
    /// Its events, in their order.
    data: Vec<InboundEvent>,
    /// The items that hold no event.
    malformed_items: Vec<MalformedItem>,
}

pub(crate) async fn replay(
    api: Arc<Api>,
    call: Call,
    body: ReplayInboundRequest,
) -> Result<ReplayedInboundRequest, Problem> {
    let refuse = |detail: &str| Problem::new(Kind::NotReplayable, detail);
    let (record, kept) = find(&api, &call).await?;
    let kept = kept.ok_or_else(|| refuse("the request was refused, so its body is not kept"))?;
    let source = api.sources.of_tenant(call.tenant()?, record.source_id).await?;
    let source = source.ok_or_else(|| refuse("the source of the request was deleted"))?;
    let (events, malformed_items) = events(&source, &record, &kept, body.force)?;
    let what = json!({ "source_id": source.id, "force": body.force, "event_count": events.len() });
    call.record(&api, record.id, None, Some(what)).await?;
    let mut replayed = ReplayedInboundRequest { data: Vec::new(), malformed_items };
    let published = publish(&api, &call, events, &mut replayed).await;
    // Also where a later part failed: these events exist.
    let new = replayed.data.iter().filter(|event| event.new);
    let new: Vec<_> = new
        .map(|event| RecordedEvent { id: event.id, event_type: event.r#type.clone(), new: true })
        .collect();
    if !new.is_empty() {
        api.inbound_requests.add_events(call.tenant()?, record.id, &new).await?;
    }
    published.map(|()| replayed)
}

/// The events of a stored request, and its items that hold none.
fn events(
    source: &Source,
    record: &RequestRecord,
    body: &[u8],
    force: bool,
) -> Result<(Vec<NewEvent>, Vec<MalformedItem>), Fault> {
    let no_table = || Fault::new("replaying an inbound request", "the source has no table");
    let table = source.table().ok_or_else(no_table)?;
    let headers: Vec<_> =
        record.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let request = reading::Request {
        method: &record.method,
        public_urls: &source.settings.public_urls,
        // A secret, which is not kept.
        path_secret: None,
        query: &record.query,
        headers: &headers,
        body,
    };
    let verified = Verified::recorded(request, record.verified.clone().unwrap_or_default());
    let form = table.scheme.form.as_ref();
    match extract(&table.events, source.provider.as_str(), form, verified) {
        Ok(mut extraction) => {
            let malformed = std::mem::take(&mut extraction.malformed);
            let malformed = malformed.into_iter().map(MalformedItem::from).collect();
            Ok((new_events(source.id, record.id, extraction, force)?, malformed))
        }
        Err(malformed) => {
            Ok((Vec::new(), vec![MalformedItem { index: None, detail: malformed.to_string() }]))
        }
    }
}

async fn publish(
    api: &Api,
    call: &Call,
    events: Vec<NewEvent>,
    replayed: &mut ReplayedInboundRequest,
) -> Result<(), Problem> {
    let mut events = events.into_iter().peekable();
    while events.peek().is_some() {
        let chunk: Vec<NewEvent> = events.by_ref().take(EVENTS_AT_ONCE).collect();
        let mut fault = None;
        for published in api.publisher.publish_all(call.tenant()?, chunk, call.now).await {
            match published {
                Ok(event) => replayed.data.push(InboundEvent {
                    id: event.id,
                    r#type: event.event_type,
                    new: event.new,
                }),
                Err(PublishError::TooLarge) => replayed.malformed_items.push(MalformedItem {
                    index: None,
                    detail: format!("an event exceeds the {PAYLOAD_LIMIT}-byte limit of a webhook"),
                }),
                Err(PublishError::Conflict) => {
                    fault = Some(Fault::new("publishing", "the id of a provider's event conflicts"));
                }
                Err(PublishError::Fault(found)) => fault = Some(found),
            }
        }
        if let Some(fault) = fault {
            return Err(fault.into());
        }
    }
    Ok(())
}
