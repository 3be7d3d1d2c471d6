//! What is done with the messages of a batch once their deliveries are recorded.

use std::{sync::Arc, time::Duration};

use domain::{
    Timestamp,
    delivery::{driver::LaneKind, engine::change::Fate, lane::Message},
    recovery::lost,
};
use futures_util::future::join_all;

use super::message::LaneCopy;
use crate::{
    aws::sqs::Hide,
    lambda::sqs::Record,
    publish::lanes::{Body, Lanes, Outgoing},
    runtime::clock,
    store::events::{deliveries::Deliveries, unattempted::StoredDelivery},
};

/// A message's fate, with its copy for the slow lane where it moves there.
type FateAndCopy = (Fate, Option<LaneCopy>);

/// How long it may take to postpone the delivery of a message. It is what is left of an invocation when
/// its time is up.
const POSTPONING_TIME: Duration = Duration::from_secs(1);

/// Does with messages what was decided.
#[derive(Debug)]
pub(super) struct FateKeeper {
    pub(super) lanes: Lanes,
    /// Where deliveries are postponed.
    pub(super) deliveries: Deliveries,
}

impl FateKeeper {
    /// Does with the messages of a batch what was decided, and returns the ids of those that stay.
    pub(super) async fn carry_out(
        &self,
        lane: LaneKind,
        records: &[Arc<Record>],
        fates: Vec<FateAndCopy>,
    ) -> Vec<String> {
        let fates = join_all(records.iter().zip(fates).map(async |(record, (fate, copy))| {
            let Fate::AfterFault { received } = fate else { return (fate, copy) };
            (self.after_fault(record, received).await, None)
        }));
        let fates = fates.await;
        let now = clock::now();
        let fates = move_copies(&self.lanes, fates, now).await;
        let mut hide = Vec::new();
        let mut kept = Vec::new();
        for (record, fate) in records.iter().zip(fates) {
            match fate {
                Fate::Delete => continue,
                Fate::KeepUntil(at) => {
                    hide.push(Hide { receipt_handle: record.receipt_handle.clone(), wait: at.since(now) });
                }
                Fate::Keep | Fate::Move { .. } | Fate::AfterFault { .. } => {}
            }
            kept.push(record.message_id.clone());
        }
        self.lanes.get(lane).hide(&hide).await;
        kept
    }

    /// Postpones the delivery of a message that failed too often in its lane. Where that fails too, the
    /// message stays: then it is the table that fails, and so nothing is published either.
    async fn after_fault(&self, record: &Record, received: u32) -> Fate {
        let hidden = Fate::hidden_after_fault(received, clock::now());
        let Ok(message) = serde_json::from_str::<Message<'_>>(&record.body) else { return hidden };
        if !lost::leaves_lane(message.again, received) {
            return hidden;
        }
        let decide = |stored: StoredDelivery<'_>| lost::postpone(stored.delivery, stored.since, stored.now);
        let changing = self.deliveries.change_of_message(&message, decide);
        match Box::pin(tokio::time::timeout(POSTPONING_TIME, changing)).await {
            Ok(Ok(_)) => {
                tracing::warn!(tenant = %message.tenant, delivery_id = %message.delivery(), received, "postponed delivery after a failure on our side");
                Fate::Delete
            }
            Ok(Err(_)) | Err(_) => hidden,
        }
    }
}

/// Sends the copies of messages that move. One whose copy is not sent stays where it is.
async fn move_copies(lanes: &Lanes, fates: Vec<FateAndCopy>, now: Timestamp) -> Vec<Fate> {
    let mut moved = Vec::new();
    let mut outgoing = Vec::new();
    let mut result = Vec::with_capacity(fates.len());
    for (index, (fate, copy)) in fates.into_iter().enumerate() {
        result.push(fate);
        let (Fate::Move { at, .. }, Some(LaneCopy { tenant, text })) = (fate, copy) else { continue };
        moved.push((index, at));
        outgoing.push(Outgoing { tenant, body: Body::Text(text), delay: at.since(now) });
    }
    if outgoing.is_empty() {
        return result;
    }
    for ((index, at), sent) in moved.into_iter().zip(lanes.slow.send_each(&outgoing).await) {
        if let Err(fault) = &sent {
            tracing::warn!(%fault, "could not move message to the slow lane; it waits in its queue");
        }
        result[index] = Fate::after_move(sent.is_ok(), at);
    }
    result
}
