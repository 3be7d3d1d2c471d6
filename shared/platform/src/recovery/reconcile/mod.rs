//! The runs that compare events with their deliveries and repair what was lost.
//! `walk` goes through tenants and their events, `event` examines one, `repair` and `expire` act.
//!
//! A job goes through the events of a span of time in a pass, which begins each hour and goes on in the
//! next run until it is finished. Each run measures how far each job lags.
//!
//! The job `repair` examines each event once, at an age of 15 to 75 minutes and the duration of a pass. It finds deliveries without a driver: without a row, as a publish leaves them that died
//! between storing and sending and was not repeated, or overdue by an hour without a place in the due
//! index. Their messages are sent now. A driver that is lost after this examination is not found.
//!
//! The job `expire` examines each event at an age of 28 days, and where its tenant has another retention than 30 days, two
//! days before its end: a short one ends before, and with a long one a person can begin deliveries later. Unfinished
//! deliveries are marked `expired`, so that none vanishes without a trace. It walks events and not the open deliveries of
//! endpoints, which are fewer: a delivery without an item is found only through its event, and that list
//! is in the order in which items were first written, so an event may be deleted before its delivery is
//! 28 days old there. A query for each event finds all, at the cost that the list would save.
//!
//! The job `entries` looks for connections that would never be due again.
//!
//! What cannot be read or repaired is logged, counted and skipped: it must not block the rest.

mod entries;
mod event;
mod expire;
mod progress;
mod repair;
mod walk;

use std::sync::Arc;

use crate::{
    alert::Alerts,
    publish::Publisher,
    setup::{self, Parts},
    store::{
        due::connections::ConnectionEntries,
        events::{deliveries::Deliveries, pages::Snapshots, stored::StoredEvents, timeline::Timeline},
        registry::{connections::Connections, progress::JobProgress, tenants::Tenants},
    },
};

/// What reconciling needs.
#[derive(Debug)]
pub struct Reconciler {
    /// Where tenants are listed.
    pub(super) tenants: Tenants,
    /// Where the progress is saved.
    pub(super) progress: JobProgress,
    /// Where events are stored.
    pub(super) events: StoredEvents,
    /// Where it is stored which endpoints they go to.
    pub(super) snapshots: Snapshots,
    /// Events in order of time.
    pub(super) timeline: Timeline,
    /// Where deliveries are.
    pub(super) deliveries: Deliveries,
    /// Where connections are.
    pub(super) connections: Connections,
    /// Where their entries are.
    pub(super) connection_entries: ConnectionEntries,
    /// Sends messages again.
    pub(super) publisher: Arc<Publisher>,
    /// Notifies owners.
    pub(super) alerts: Alerts,
}

impl Reconciler {
    /// Made of a function's parts.
    pub fn new(parts: &Parts) -> Result<Self, setup::Error> {
        Ok(Self {
            tenants: parts.tenants.clone(),
            progress: parts.progress.clone(),
            events: parts.events.clone(),
            snapshots: parts.snapshots.clone(),
            timeline: parts.timeline.clone(),
            deliveries: parts.deliveries.clone(),
            connections: parts.connections.clone(),
            connection_entries: parts.connection_entries.clone(),
            publisher: Arc::new(parts.publisher()?),
            alerts: parts.alerts()?,
        })
    }
}
