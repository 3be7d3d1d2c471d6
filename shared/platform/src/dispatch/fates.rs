//! What is done with the messages of a batch once their deliveries are recorded.

use domain::{
    Timestamp,
    delivery::{driver::LaneKind, engine::change::Fate},
};

use super::message::LaneCopy;
use crate::{
    aws::sqs::Hide,
    publish::lanes::{Body, Lanes, Outgoing},
    runtime::clock,
};

/// A message's fate, with its copy for the slow lane where it moves there.
type FateAndCopy = (Fate, Option<LaneCopy>);

/// Does with the messages what was decided, and returns the ids of those that stay. `handles` are
/// their ids and receipt handles.
pub(super) async fn carry_out(
    lanes: &Lanes,
    lane: LaneKind,
    handles: Vec<(String, String)>,
    fates: Vec<FateAndCopy>,
) -> Vec<String> {
    let now = clock::now();
    let fates = move_copies(lanes, fates, now).await;
    let mut hide = Vec::new();
    let mut kept = Vec::new();
    for ((message_id, receipt_handle), fate) in handles.into_iter().zip(fates) {
        match fate {
            Fate::Delete => continue,
            Fate::KeepUntil(at) => hide.push(Hide { receipt_handle, wait: at.since(now) }),
            Fate::Keep | Fate::Move { .. } => {}
        }
        kept.push(message_id);
    }
    lanes.get(lane).hide(&hide).await;
    kept
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
