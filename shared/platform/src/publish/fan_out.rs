//! Fanning out: the messages of a wide event, page by page.
//!
//! Pages are all enqueued when the event is published, so they are processed concurrently. A page
//! that comes again, because its function died, sends its messages marked as repeats: each of those
//! reads its delivery before it does anything.

use std::{sync::Arc, time::Duration};

use domain::{
    Timestamp,
    delivery::{
        driver::LaneKind,
        engine::change::fault_backoff,
        lane::{self, PageMessage},
    },
};

use super::lanes::{Body, Lane, Lanes, Outgoing};
use crate::{
    Fault,
    aws::{spending, sqs::Hide},
    lambda::sqs::Record,
    publish,
    runtime::clock,
    store::events::{
        pages::{Snapshot, SnapshotPage, Snapshots},
        stored::StoredEvents,
    },
};

/// What fanning out needs.
#[derive(Debug)]
pub struct FanOut {
    /// Where events are stored.
    pub events: StoredEvents,
    /// Where their pages are stored.
    pub snapshots: Snapshots,
    /// Where the messages go.
    pub lanes: Lanes,
    /// Where the pages come from.
    pub pages: Arc<Lane>,
}

impl FanOut {
    /// Processes pages, and returns the ids of the messages that stay.
    pub async fn batch(&self, records: Vec<Record>, deadline: Timestamp) -> Vec<String> {
        let mut kept = Vec::new();
        let mut hide = Vec::new();
        for record in records {
            let left = deadline.since(clock::machine_now()).saturating_sub(Duration::from_secs(2));
            let result = tokio::time::timeout(left, self.page(&record)).await;
            let result =
                result.unwrap_or_else(|_| Err(Fault::new("fanning out", "the invocation ran out of time")));
            if let Err(fault) = result {
                tracing::error!(%fault, message_id = record.message_id, "could not fan out page; it stays in its queue");
                // Its receives are to outlast an outage, as those of the lanes do.
                let wait = fault_backoff(record.receive_count());
                hide.push(Hide { receipt_handle: record.receipt_handle, wait });
                kept.push(record.message_id);
            }
        }
        self.pages.hide(&hide).await;
        kept
    }

    async fn page(&self, record: &Record) -> Result<(), Fault> {
        const DOING: &str = "fanning out";
        let message: PageMessage = serde_json::from_str(&record.body).map_err(Fault::on(DOING))?;
        if message.v != lane::VERSION {
            return Err(Fault::new(DOING, "the message has an unknown version"));
        }
        let PageMessage { tenant, event_id, page, .. } = &message;
        spending::weigh(tenant, 1);
        let Some(event) = self.events.get(tenant, *event_id).await? else {
            // It was stored before its pages were sent, so its retention has ended.
            tracing::warn!(%tenant, %event_id, "skipped page of an expired event");
            return Ok(());
        };
        let found = match &event.snapshot {
            Snapshot::Pages { id, .. } => {
                let found = self.snapshots.page(tenant, *event_id, id, *page).await?;
                found.ok_or_else(|| Fault::new(DOING, "the page is missing"))?
            }
            // A publish of many events left these to us. Those that are slow move when they are received.
            Snapshot::Inline(targets) => SnapshotPage { targets: targets.clone(), slow: false },
        };
        let now = clock::now();
        let check = message.check || record.receive_count() > 1;
        let delay = if check { publish::repeat_delay(event.at, now) } else { Duration::ZERO };
        let inline = event.fits_inline();
        let event = Arc::new(event);
        let outgoing = |target| Outgoing {
            tenant: tenant.clone(),
            body: Body::First { event: Arc::clone(&event), target, inline, check },
            delay,
        };
        let messages: Vec<_> = found.targets.iter().copied().map(outgoing).collect();
        let lane = if found.slow { LaneKind::Slow } else { LaneKind::Fast };
        self.lanes.get(lane).send(&messages).await?;
        tracing::info!(%tenant, %event_id, page, endpoints = messages.len(), check, "page");
        Ok(())
    }
}
