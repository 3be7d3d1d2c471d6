//! The events of an inbound request, ready to be published: each as its provider sent it, and the normalised ones
//! beside them.

use domain::{
    InboundRequestId, SourceId,
    event::channel::Channels,
    inbound::extraction::{Extraction, ProviderEvent},
};

use super::{Identity, NewEvent};
use crate::Fault;

/// What to publish of a request. `forced` makes new events of those that were published before.
pub fn new_events(
    source: SourceId,
    request: InboundRequestId,
    extraction: Extraction,
    forced: bool,
) -> Result<Vec<NewEvent>, Fault> {
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
        let ProviderEvent { event_type, timestamp, data, normal, .. } = event;
        events.push(NewEvent {
            event_type,
            timestamp,
            data,
            channels: Channels::new(),
            identity: identity(id),
        });
        if let Some(normal) = normal {
            let event_type = normal.event_type.as_str().parse();
            events.push(NewEvent {
                event_type: event_type.map_err(Fault::on("naming a normalised event"))?,
                timestamp,
                data: normal.data,
                channels: Channels::new(),
                identity: identity(normal_id),
            });
        }
    }
    Ok(events)
}
