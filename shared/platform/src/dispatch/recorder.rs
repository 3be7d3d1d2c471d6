//! Collects what the messages of a batch want recorded, and records it together, with the statistics
//! of their endpoints.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use domain::{Timestamp, delivery::engine::change::RecordOutcome};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::{JoinHandle, JoinSet},
};

use crate::{
    Fault,
    store::{
        events::deliveries::DeliveryChange,
        stats::{Counts, Statistics},
    },
};

/// How long a change waits for others: one slow endpoint must not keep the others' status back.
const PATIENCE: Duration = Duration::from_millis(100);

/// Changes that are recorded in one call.
const FULL: usize = 25;

struct Ask {
    change: DeliveryChange,
    result: oneshot::Sender<Result<RecordOutcome, Fault>>,
}

/// How many may still ask for something.
#[derive(Debug, Default)]
struct ExpectedRequests {
    count: AtomicUsize,
    changed: Notify,
}

/// The right to ask; a task that drops it without asking is not waited for.
#[derive(Debug)]
pub(super) struct Ticket(Arc<ExpectedRequests>);

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::AcqRel);
        self.0.changed.notify_one();
    }
}

/// Takes changes to record.
#[derive(Debug, Clone)]
pub(super) struct Recorder {
    sender: mpsc::UnboundedSender<Ask>,
    expected: Arc<ExpectedRequests>,
}

impl Recorder {
    /// Starts one; it ends with its last clone, and leaves what is still to be counted.
    /// Records are tried `until` then, by the machine's clock.
    pub(super) fn start(statistics: Statistics, until: Timestamp) -> (Self, JoinHandle<Counts>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let expected = Arc::<ExpectedRequests>::default();
        let collecting = tokio::spawn(collect(statistics, receiver, Arc::clone(&expected), until));
        (Self { sender, expected }, collecting)
    }

    /// Announces somebody who will ask for something.
    pub(super) fn ticket(&self) -> Ticket {
        self.expected.count.fetch_add(1, Ordering::AcqRel);
        Ticket(Arc::clone(&self.expected))
    }

    /// Records a change, together with others. The ticket of a first request is given back.
    pub(super) async fn record(
        &self,
        change: DeliveryChange,
        ticket: Option<Ticket>,
    ) -> Result<RecordOutcome, Fault> {
        let gone = || Fault::new("recording attempts", "the recorder is gone");
        let (sender, result) = oneshot::channel();
        self.sender.send(Ask { change, result: sender }).map_err(|_| gone())?;
        drop(ticket);
        result.await.map_err(|_| gone())?
    }
}

async fn collect(
    statistics: Statistics,
    mut asked: mpsc::UnboundedReceiver<Ask>,
    expected: Arc<ExpectedRequests>,
    until: Timestamp,
) -> Counts {
    let mut waiting: Vec<Ask> = Vec::new();
    let mut calls: JoinSet<Counts> = JoinSet::new();
    loop {
        if waiting.is_empty() {
            let Some(ask) = asked.recv().await else { break };
            waiting.push(ask);
        }
        let patience = tokio::time::sleep(PATIENCE);
        tokio::pin!(patience);
        loop {
            while let Ok(ask) = asked.try_recv() {
                waiting.push(ask);
            }
            if waiting.len() >= FULL || expected.count.load(Ordering::Acquire) == 0 {
                break;
            }
            tokio::select! {
                () = &mut patience => break,
                () = expected.changed.notified() => {}
                ask = asked.recv() => match ask {
                    Some(ask) => waiting.push(ask),
                    None => break,
                },
            }
        }
        // One call must not name a delivery twice; who comes second finds what the first made.
        let mut named = HashSet::new();
        let (now, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut waiting).into_iter().partition(|ask| named.insert(ask.change.key.clone()));
        waiting = later;
        let (changes, responses): (Vec<_>, Vec<_>) =
            now.into_iter().map(|ask| (ask.change, ask.result)).unzip();
        let statistics = statistics.clone();
        // A task of its own: one that is tried for long must not keep the others' records back.
        calls.spawn(async move {
            let (recorded, uncounted) = statistics.record_and_count(&changes, until).await;
            for (result, sender) in recorded.into_iter().zip(responses) {
                // Who asked may have run out of time.
                let _ = sender.send(result);
            }
            uncounted
        });
    }
    let mut uncounted = Counts::new();
    while let Some(of_call) = calls.join_next().await {
        for (key, stats) in of_call.unwrap_or_default() {
            uncounted.entry(key).or_default().merge(&stats);
        }
    }
    uncounted
}
