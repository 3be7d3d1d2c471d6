//! Stripe: events of API v1 and thin events of v2.
//!
//! Sources: <https://docs.stripe.com/webhooks#verify-manually> (signature),
//! <https://docs.stripe.com/api/events/object>, <https://docs.stripe.com/event-destinations>.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    adapter::{Adapter, MalformedEvent, ProviderEvent},
    verify::{Layout, Part, Scheme, Verified},
};
use crate::{Timestamp, event::EventData};

/// How Stripe is read.
pub(super) static ADAPTER: Adapter = Adapter {
    scheme: Scheme {
        header: "stripe-signature",
        layout: Layout::Pairs { separator: ',', timestamp: "t", signature: "v1" },
        signed: &[Part::Timestamp, Part::Text("."), Part::Body],
        // The tolerance of Stripe's own libraries.
        tolerance: Duration::from_mins(5),
    },
    check_secret,
    normalise,
};

/// Stripe's key is the whole text, `whsec_` included.
fn check_secret(text: &str) -> Result<(), &'static str> {
    let tail = text.strip_prefix("whsec_").unwrap_or_default();
    if tail.len() >= 16 && tail.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(())
    } else {
        Err("must be the signing secret that Stripe shows, whsec_ and at least 16 characters")
    }
}

#[derive(Deserialize)]
struct Event {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    created: Option<CreationTime>,
}

/// Seconds since 1970 in v1, RFC 3339 in v2.
#[derive(Deserialize)]
#[serde(untagged)]
enum CreationTime {
    Secs(i64),
    Text(Timestamp),
}

fn normalise(verified: Verified<'_>) -> Result<ProviderEvent, MalformedEvent> {
    let said = |error: serde_json::Error| MalformedEvent(format!("not an event of Stripe: {error}"));
    let event: Event = serde_json::from_slice(verified.body()).map_err(said)?;
    let data: Box<RawValue> = serde_json::from_slice(verified.body()).map_err(said)?;
    if event.id.is_empty() {
        return Err(MalformedEvent("not an event of Stripe: its id is empty".into()));
    }
    Ok(ProviderEvent {
        event_type: format!("stripe.{}", event.kind)
            .parse()
            .map_err(|error| MalformedEvent(format!("type {error}")))?,
        event_id: event.id,
        timestamp: event.created.map(|created| match created {
            CreationTime::Secs(secs) => Timestamp::from_secs(secs),
            CreationTime::Text(at) => at,
        }),
        data: EventData::try_from(data).map_err(|error| MalformedEvent(format!("the event {error}")))?,
    })
}

#[cfg(test)]
mod tests;
