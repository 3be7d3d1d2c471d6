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
    store::{
        due::replays::Replays,
        events::{
            generations::Generations, lists::EndpointDeliveries, pages::Snapshots, stored::StoredEvents,
            timeline::Timeline,
        },
        registry::endpoints::Endpoints,
    },
};

/// What continues replays.
#[derive(Debug)]
pub struct Replayer {
    /// Where endpoints are looked up.
    pub endpoints: Endpoints,
    /// Where replays are.
    pub replays: Replays,
    /// Where events are stored.
    pub events: StoredEvents,
    /// Where it is stored which endpoints events go to.
    pub snapshots: Snapshots,
    /// A tenant's events in order of time.
    pub timeline: Timeline,
    /// An endpoint's deliveries in order of time.
    pub endpoint_deliveries: EndpointDeliveries,
    /// Where deliveries are started again.
    pub generations: Generations,
    /// Where their messages go.
    pub slow_lane: Arc<Lane>,
}
