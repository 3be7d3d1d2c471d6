//! Replays: jobs that deliver many events again, one step each minute.
//!
//! A replay's row is its own entry in the due index, and a run that leases it has it for some minutes. A
//! step goes through a part of the span in order. For each part: generations are started, each with
//! its place in the due index; their messages are sent to the slow lane, spread over the minute;
//! then the progress is saved, on the condition that the entry is still where it was leased. A
//! step that stops in between is repeated from the progress before, and finds the generations that
//! it started by the replay's id, which they carry.
//! `step` makes a step, `candidates` finds what it starts.

mod candidates;
pub(super) mod step;

use std::sync::Arc;

use crate::{
    publish::lanes::Lane,
    setup::Parts,
    store::{
        due::replays::Replays,
        events::{
            generations::Generations, lists::EndpointDeliveries, pages::Snapshots, stored::StoredEvents,
            timeline::Timeline,
        },
        registry::endpoints::Endpoints,
        usage::Usage,
    },
};

/// What continues replays.
#[derive(Debug)]
pub struct Replayer {
    /// Where endpoints are looked up.
    pub(super) endpoints: Endpoints,
    /// Where replays are.
    pub(super) replays: Replays,
    /// Where events are stored.
    pub(super) events: StoredEvents,
    /// Where it is stored which endpoints events go to.
    pub(super) snapshots: Snapshots,
    /// A tenant's events in order of time.
    pub(super) timeline: Timeline,
    /// An endpoint's deliveries in order of time.
    pub(super) endpoint_deliveries: EndpointDeliveries,
    /// Where deliveries are started again.
    pub(super) generations: Generations,
    /// Where their messages go.
    pub(super) slow_lane: Arc<Lane>,
    /// Where it is counted how many there are.
    pub(super) usage: Usage,
}

impl Replayer {
    /// Made of a function's parts.
    #[must_use]
    pub fn new(parts: &Parts) -> Self {
        Self {
            endpoints: parts.endpoints.clone(),
            replays: parts.replays.clone(),
            events: parts.events.clone(),
            snapshots: parts.snapshots.clone(),
            timeline: parts.timeline.clone(),
            endpoint_deliveries: parts.endpoint_deliveries.clone(),
            generations: parts.generations.clone(),
            slow_lane: Arc::clone(&parts.lanes.slow),
            usage: parts.usage.clone(),
        }
    }
}
