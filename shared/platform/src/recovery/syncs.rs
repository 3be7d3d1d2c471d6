//! Syncs that are due: each is taken, and sent to its function as a message.
//!
//! A taken entry is due again when the lease of its message expires, so a message that is lost costs that time. A run
//! moves the entry itself when it ends.

use std::{sync::Arc, time::Duration};

use domain::{Timestamp, sync::kind::Engine};
use futures_util::{StreamExt, stream};

use crate::{
    Fault,
    publish::lanes::{Body, Lane, Outgoing},
    runtime::config,
    setup::{self, Parts},
    store::due::{index::DueSync, syncs::SyncEntries},
    sync::message::SyncMessage,
};

/// For how long a message may be on its way and its run may take, before another one is sent: longer than a function runs.
const MESSAGE_LEASE: Duration = Duration::from_mins(20);

/// Entries that are taken concurrently.
const CONCURRENT_TAKES: usize = 16;

/// What sending due syncs needs.
#[derive(Debug)]
pub(super) struct SyncSender {
    entries: SyncEntries,
    calendars: Arc<Lane>,
    listings: Arc<Lane>,
}

impl SyncSender {
    /// Made of a function's parts.
    pub(super) fn new(parts: &Parts) -> Result<Self, setup::Error> {
        Ok(Self {
            entries: parts.sync_entries.clone(),
            calendars: parts.queue(config::calendar_sync_queue_url()?),
            listings: parts.queue(config::mls_sync_queue_url()?),
        })
    }

    /// Takes due syncs and sends them; how many were taken.
    pub(super) async fn send(&self, due: &[DueSync], now: Timestamp) -> usize {
        let takes =
            due.iter().map(async |found| (found, self.entries.take(found, now + MESSAGE_LEASE).await));
        let mut takes = stream::iter(takes).buffer_unordered(CONCURRENT_TAKES);
        let (mut calendars, mut listings) = (Vec::new(), Vec::new());
        while let Some((found, taken)) = takes.next().await {
            let message = match taken {
                Ok(true) => message(found),
                Ok(false) => continue,
                Err(fault) => Err(fault),
            };
            match (message, found.engine) {
                (Ok(message), Engine::Calendar) => calendars.push(message),
                (Ok(message), Engine::Mls) => listings.push(message),
                (Err(fault), _) => tracing::error!(%fault, "could not take due sync"),
            }
        }
        for (queue, outgoing) in [(&self.calendars, &calendars), (&self.listings, &listings)] {
            let sent = queue.send_each(outgoing).await;
            if let Some(fault) = sent.iter().find_map(|sent| sent.as_ref().err()) {
                tracing::error!(%fault, "could not send due syncs; they are due again when their lease expires");
            }
        }
        calendars.len() + listings.len()
    }
}

fn message(found: &DueSync) -> Result<Outgoing, Fault> {
    let message = SyncMessage { tenant_id: found.tenant.clone(), sync_id: found.sync };
    let text = serde_json::to_string(&message).map_err(Fault::on("writing a message"))?;
    Ok(Outgoing { tenant: found.tenant.clone(), body: Body::Text(text), delay: Duration::ZERO })
}
