//! Reading the events of a stored request again, by the table that its source has now.

use std::sync::Arc;

use domain::inbound::{
    Source,
    engine::Verified,
    extraction::extract,
    reading,
    record::{REDACTED, RequestRecord},
};
use platform::{
    Fault,
    lambda::problem::{Kind, Problem},
    publish::{
        PAYLOAD_LIMIT,
        inbound::{InboundEvents, new_events, publish},
    },
    quota::QuotaUse,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    find,
    view::{InboundEvent, MalformedItem},
};
use crate::{http::call::Call, limits, state::Api};

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
    let new = events.events.iter().map(|event| &event.event);
    limits::check_events(&api, &call, events.events.len(), new).await?;
    let what = json!({ "source_id": source.id, "force": body.force, "event_count": events.events.len() });
    call.record(&api, record.id, None, Some(what)).await?;
    let mut replayed = ReplayedInboundRequest { data: Vec::new(), malformed_items };
    let too_large_count = events.too_large_count;
    let published = publish((&api.publisher, &api.accounts), &source, events.events, call.now).await;
    // Also where a later part failed: these events exist.
    let new: Vec<_> = published.events.iter().filter(|event| event.new).cloned().collect();
    for event in &new {
        let tenant = event.tenant.as_ref().unwrap_or(&source.tenant);
        limits::count_events(&api, tenant, QuotaUse { events: 1, deliveries: 0 }, 0, call.now);
    }
    for (tenant, deliveries) in &published.planned_deliveries {
        let accepted = QuotaUse { events: 0, deliveries: *deliveries };
        limits::count_events(&api, tenant, accepted, 0, call.now);
    }
    if !new.is_empty() {
        // A client that got an error would repeat the replay, and these events with it.
        if let Err(fault) = api.inbound_requests.add_events(call.tenant()?, record.id, &new).await {
            tracing::error!(%fault, "could not log the events of a replay");
        }
    }
    replayed.data = published.events.into_iter().map(InboundEvent::from).collect();
    replayed.malformed_items.extend((0..too_large_count).map(|_| MalformedItem {
        index: None,
        detail: format!("an event exceeds the {PAYLOAD_LIMIT}-byte limit of a webhook"),
    }));
    published.fault.map_or(Ok(replayed), |fault| Err(fault.into()))
}

/// The events of a stored request, and its items that hold none.
fn events(
    source: &Source,
    record: &RequestRecord,
    body: &[u8],
    force: bool,
) -> Result<(InboundEvents, Vec<MalformedItem>), Fault> {
    let no_table = || Fault::new("replaying an inbound request", "the source has no table");
    let table = source.table().ok_or_else(no_table)?;
    // What is not kept is missing, and not a text that many requests share.
    let kept = record.headers.iter().filter(|(_, value)| *value != REDACTED);
    let headers: Vec<_> = kept.map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let kept: Vec<_> = record.query.split('&').filter(|pair| !pair.ends_with(REDACTED)).collect();
    let query = kept.join("&");
    let request = reading::Request {
        method: &record.method,
        public_urls: &source.settings.public_urls,
        // A secret, which is not kept.
        path_secret: None,
        query: &query,
        headers: &headers,
        body,
    };
    let verified = Verified::recorded(request, record.verified.clone().unwrap_or_default());
    let form = table.scheme.form.as_ref();
    match extract(&table.events, source.provider.as_str(), form, verified) {
        Ok(mut extraction) => {
            let malformed = std::mem::take(&mut extraction.malformed);
            let malformed = malformed.into_iter().map(MalformedItem::from).collect();
            Ok((new_events(source, record.id, extraction, force)?, malformed))
        }
        Err(malformed) => {
            Ok((InboundEvents::default(), vec![MalformedItem { index: None, detail: malformed.to_string() }]))
        }
    }
}
