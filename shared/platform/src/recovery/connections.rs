//! Connections that are due: each is taken, and sent to `token-refresher` as a message.
//!
//! A taken entry is due again when the lease of its message expires. So a message that is lost or not sent costs ten
//! minutes, and only a refresh moves the entry further.

use std::{sync::Arc, time::Duration};

use domain::Timestamp;
use futures_util::{StreamExt, stream};

use crate::{
    Fault,
    connection::message::ConnectionMessage,
    publish::lanes::{Body, Lane, Outgoing},
    runtime::config,
    setup::{self, Parts},
    store::due::{connections::ConnectionEntries, index::DueConnection},
};

/// For how long a message may be on its way, before another one is sent.
const MESSAGE_LEASE: Duration = Duration::from_mins(10);

/// Entries that are taken concurrently.
const CONCURRENT_TAKES: usize = 16;

/// What sending due connections needs.
#[derive(Debug)]
pub struct ConnectionSender {
    entries: ConnectionEntries,
    queue: Arc<Lane>,
}

impl ConnectionSender {
    /// Made of a function's parts.
    pub fn new(parts: &Parts) -> Result<Self, setup::Error> {
        Ok(Self {
            entries: parts.connection_entries.clone(),
            queue: parts.queue(config::connections_queue_url()?),
        })
    }

    /// Takes due connections and sends them; how many were taken.
    pub(super) async fn send(&self, due: &[DueConnection], now: Timestamp) -> usize {
        let takes =
            due.iter().map(async |found| (found, self.entries.take(found, now + MESSAGE_LEASE).await));
        let mut takes = stream::iter(takes).buffer_unordered(CONCURRENT_TAKES);
        let mut outgoing = Vec::with_capacity(due.len());
        while let Some((found, taken)) = takes.next().await {
            let message = match taken {
                Ok(true) => message(found),
                Ok(false) => continue,
                Err(fault) => Err(fault),
            };
            match message {
                Ok(message) => outgoing.push(message),
                Err(fault) => tracing::error!(%fault, "could not take due connection"),
            }
        }
        let sent = self.queue.send_each(&outgoing).await;
        if let Some(fault) = sent.iter().find_map(|sent| sent.as_ref().err()) {
            tracing::error!(%fault, "could not send due connections; they are due again when their lease expires");
        }
        outgoing.len()
    }
}

fn message(found: &DueConnection) -> Result<Outgoing, Fault> {
    let message = ConnectionMessage { tenant_id: found.tenant.clone(), connection_id: found.connection };
    let text = serde_json::to_string(&message).map_err(Fault::on("writing a message"))?;
    Ok(Outgoing { tenant: found.tenant.clone(), body: Body::Text(text), delay: Duration::ZERO })
}
