//! The verb that calls endpoints: a batch of messages, all at once, each on its own.
//!
//! The rule above all: a delivery that is not finished keeps a driver. So a message is given back
//! to SQS for deletion only when the delivery is finished, or when another driver is known to be
//! there: a message that was sent, or an entry in the due index. Everything that goes wrong on our
//! side keeps the message.
//!
//! A batch goes in steps: look at each message; ask each endpoint once whether it may be called;
//! call; then write what was learnt, endpoint by endpoint. What is decided stands in `domain`.

mod endpoints;
mod failing;
mod measures;
mod recorder;
mod work;

use std::{collections::HashMap, sync::Arc, time::Duration};

use domain::{
    DeliveryId, EndpointId, TenantId, Timestamp,
    delivery::driver::LaneKind,
    endpoint::{Endpoint, health::Tally},
};
use futures_util::future::join_all;
use tokio::{sync::Semaphore, task::JoinHandle};
use tracing::Instrument;

pub use self::failing::Watch;
use self::{
    endpoints::Admission,
    measures::FirstAttempt,
    recorder::{Recorder, Ticket},
    work::{Looked, Work},
};
use crate::{
    Fault,
    alert::{Alert, Alerts},
    aws::sqs::Hide,
    lambda::sqs::Record,
    publish::lanes::{Body, Lanes, Outgoing, fault_backoff},
    runtime::clock,
    secrets::Secrets,
    store::{
        due::drains::Drains,
        events::{deliveries::Deliveries, stored::StoredEvents},
        leases::Leases,
        registry::endpoints::Endpoints,
        stats::{Counts, Statistics},
    },
    webhook::egress::Egress,
};

/// What must be left of an invocation beside the attempt itself, to record what came of it.
const RECORDING: Duration = Duration::from_secs(5);

/// What must be left of an invocation at its end, to hide messages and to answer.
const ANSWERING: Duration = Duration::from_secs(2);

/// Attempts under way at one endpoint from one batch. A batch that is all for one hanging endpoint
/// is then over in two rounds, and a healthy one is not met by ten requests at once.
const AT_ONCE: usize = 5;

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// It is deleted.
    Delete,
    /// It stays, and is hidden until then.
    KeepUntil(Timestamp),
    /// It stays, and comes back when the lane's own visibility timeout is over.
    Keep,
    /// It is deleted once this text is in the slow lane, to come out of it then.
    Move(String, Timestamp),
}

impl Fate {
    /// After a failure of ours.
    fn after_fault(received: u32) -> Self {
        Self::KeepUntil(clock::now() + fault_backoff(received))
    }
}

/// What an endpoint of a batch is called by.
type EndpointKey = (TenantId, EndpointId);

/// A delivery, its right to ask the recorder, and what it may do.
type Admitted = (Work, Ticket, Admission);

/// What came of the messages of a batch.
struct Worked {
    settled: Vec<Settled>,
    /// The endpoints as they were found.
    known: HashMap<EndpointKey, Arc<Endpoint>>,
    /// What is not counted yet.
    recording: JoinHandle<Counts>,
}

/// What came of one message.
#[derive(Debug)]
struct Settled {
    at: usize,
    fate: Fate,
    endpoint: Option<EndpointKey>,
    tally: Tally,
    exhausted: Option<DeliveryId>,
    first: Option<FirstAttempt>,
}

impl Settled {
    fn new(at: usize, fate: Fate) -> Self {
        Self { at, fate, endpoint: None, tally: Tally::default(), exhausted: None, first: None }
    }
}

/// What dispatching needs.
#[derive(Debug)]
pub struct Dispatcher {
    /// Where endpoints are looked up.
    pub endpoints: Endpoints,
    /// Where events are stored.
    pub events: StoredEvents,
    /// Where deliveries are looked up.
    pub deliveries: Deliveries,
    /// Where attempts are recorded and counted.
    pub statistics: Statistics,
    /// Where held work has its entries.
    pub drains: Drains,
    /// Where rate limits are counted.
    pub leases: Leases,
    /// Where signing keys lie.
    pub secrets: Secrets,
    /// Where the messages came from.
    pub lanes: Lanes,
    /// How endpoints are called.
    pub egress: Egress,
    /// Who tells owners.
    pub alerts: Alerts,
    /// The longest wait that is left in lanes.
    pub longest_lane_wait: Duration,
    /// Days of nothing but failure that disable an endpoint; 0 for never.
    pub disable_after_days: u32,
    /// Which endpoints fail often.
    pub watch: Watch,
}

impl Dispatcher {
    /// Dispatches a batch, and returns the ids of the messages that stay in the lane.
    /// `deadline` is when the invocation ends, by the machine's clock.
    pub async fn batch(self: &Arc<Self>, records: Vec<Record>, deadline: Timestamp) -> Vec<String> {
        let Some(lane) = records.first().map(|record| self.lanes.kind_of(&record.source_arn)) else {
            return Vec::new();
        };
        let handles: Vec<_> =
            records.iter().map(|record| (record.message_id.clone(), record.receipt_handle.clone())).collect();
        let mut fates: Vec<Fate> = records.iter().map(|_| Fate::Keep).collect();
        let mut works = Vec::new();
        for (at, looked) in self.look_at_all(records, lane, deadline).await.into_iter().enumerate() {
            match looked {
                Some(Looked::Fate(fate)) => fates[at] = fate,
                Some(Looked::Work(work)) => works.push(*work),
                None => {}
            }
        }
        let Worked { mut settled, known, recording } = self.work_off(works, deadline).await;
        measures::write(settled.iter().filter_map(|settled| settled.first.as_ref()), clock::now());
        for settled in &mut settled {
            fates[settled.at] = std::mem::replace(&mut settled.fate, Fate::Keep);
        }
        // First of all: nothing that follows is worth a message's time.
        let kept = self.carry_out(lane, handles, fates).await;
        let seeing = async {
            self.count(recording.await.unwrap_or_default()).await;
            self.see_to_endpoints(&known, &settled).await;
            Ok(())
        };
        if let Err(fault) = self.within(deadline, seeing).await {
            tracing::error!(%fault, "could not save outcomes of endpoints");
        }
        kept
    }

    async fn look_at_all(
        self: &Arc<Self>,
        records: Vec<Record>,
        lane: LaneKind,
        deadline: Timestamp,
    ) -> Vec<Option<Looked>> {
        // Each in a task of its own, so that a panic in one fails alone.
        let tasks = records.into_iter().enumerate().map(|(at, record)| {
            let dispatcher = Arc::clone(self);
            let span = span(&record);
            let task = async move {
                let received = record.receive_count();
                let looked = dispatcher.within(deadline, dispatcher.look(at, &record, lane)).await;
                looked.unwrap_or_else(|fault| {
                    tracing::error!(%fault, "could not process delivery");
                    Looked::Fate(Fate::after_fault(received))
                })
            };
            tokio::spawn(task.instrument(span))
        });
        let looked = join_all(tasks).await.into_iter();
        looked
            .map(|looked| {
                looked.map_err(|error| tracing::error!(%error, "handling of message panicked")).ok()
            })
            .collect()
    }

    /// Attempts what may be attempted, and parks the rest.
    async fn work_off(self: &Arc<Self>, works: Vec<Work>, deadline: Timestamp) -> Worked {
        let (recorder, recording) = Recorder::start(self.statistics.clone());
        let mut known: HashMap<EndpointKey, Arc<Endpoint>> = HashMap::new();
        let groups: Vec<_> = group(works)
            .into_iter()
            .map(|(key, works)| {
                known.insert(key.clone(), Arc::clone(&works[0].endpoint));
                // Announced before any of them begins, so that all are waited for.
                let works = works.into_iter().map(|work| (work, recorder.ticket())).collect();
                tokio::spawn(Arc::clone(self).of_endpoint(key, works, recorder.clone(), deadline))
            })
            .collect();
        drop(recorder);
        let mut settled = Vec::new();
        for group in join_all(groups).await {
            // Whose messages come back when the lane's own visibility timeout is over.
            settled.extend(group.unwrap_or_else(|error| {
                tracing::error!(%error, "dispatch to endpoint panicked");
                Vec::new()
            }));
        }
        Worked { settled, known, recording }
    }

    /// The works of one endpoint; no other endpoint waits for them.
    async fn of_endpoint(
        self: Arc<Self>,
        key: EndpointKey,
        works: Vec<(Work, Ticket)>,
        recorder: Recorder,
        deadline: Timestamp,
    ) -> Vec<Settled> {
        let places: Vec<_> = works.iter().map(|(work, _)| (work.at, work.received)).collect();
        let admitting = async {
            let admitted = self.admit(&key, works).await;
            self.expect_held_back(&key, &admitted).await?;
            Ok(admitted)
        };
        let admitted = match self.within(deadline, admitting).await {
            Ok(admitted) => admitted,
            Err(fault) => {
                tracing::error!(%fault, tenant = %key.0, endpoint_id = %key.1, "could not admit deliveries of endpoint; their messages stay");
                let stays = |(at, received)| Settled::new(at, Fate::after_fault(received));
                return places.into_iter().map(stays).collect();
            }
        };
        let at_once = Arc::new(Semaphore::new(AT_ONCE));
        let tasks = admitted.into_iter().map(|(work, ticket, admission)| {
            let (dispatcher, recorder, at_once) = (Arc::clone(&self), recorder.clone(), Arc::clone(&at_once));
            let (at, received, span) = (work.at, work.received, work.span.clone());
            let task = async move {
                let acting = dispatcher.act(&work, admission, &at_once, recorder, ticket, deadline);
                let settled = dispatcher.within(deadline, acting).await;
                settled.unwrap_or_else(|fault| {
                    let (tenant, delivery_id) = (&work.tenant, work.id);
                    tracing::error!(%fault, %tenant, %delivery_id, "could not process delivery");
                    Settled::new(at, Fate::after_fault(received))
                })
            };
            // Each in a task of its own, so that a panic in one fails alone.
            (at, tokio::spawn(task.instrument(span)))
        });
        let tasks: Vec<_> = tasks.collect();
        let mut settled = Vec::with_capacity(tasks.len());
        for (at, task) in tasks {
            let mut one = task.await.unwrap_or_else(|error| {
                tracing::error!(%error, "dispatch of message panicked");
                Settled::new(at, Fate::Keep)
            });
            one.endpoint = Some(key.clone());
            settled.push(one);
        }
        settled
    }

    /// Sees to it that the endpoint has its entry before anything is held for it. Whoever stops in
    /// between leaves an entry too many, which ends by itself.
    async fn expect_held_back(&self, key: &EndpointKey, admitted: &[Admitted]) -> Result<(), Fault> {
        let parked = admitted.iter().find_map(|(work, _, admission)| match admission {
            Admission::Park(reason) => Some((&work.endpoint, *reason)),
            _ => None,
        });
        match parked {
            Some((endpoint, reason)) => Box::pin(self.expect_back(&key.0, endpoint, reason)).await,
            None => Ok(()),
        }
    }

    /// What takes too long must not take the answer for the whole batch with it.
    async fn within<T>(
        &self,
        deadline: Timestamp,
        doing: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let limit = deadline.since(clock::machine_now()).saturating_sub(ANSWERING);
        tokio::time::timeout(limit, doing)
            .await
            .unwrap_or_else(|_| Err(Fault::new("dispatching", "the invocation's time was over")))
    }

    /// Does with the messages what was decided; the ids of those that stay.
    async fn carry_out(
        &self,
        lane: LaneKind,
        handles: Vec<(String, String)>,
        mut fates: Vec<Fate>,
    ) -> Vec<String> {
        let now = clock::now();
        let mut moved = Vec::new();
        for (at, fate) in fates.iter_mut().enumerate() {
            let Fate::Move(text, until) = fate else { continue };
            let Some(tenant) = work::tenant_of(text) else { continue };
            let delay = until.since(now);
            moved.push((at, *until, Outgoing { tenant, body: Body::Text(std::mem::take(text)), delay }));
        }
        if !moved.is_empty() {
            let outgoing: Vec<_> = moved.iter().map(|(_, _, outgoing)| outgoing.clone()).collect();
            let sent = self.lanes.slow.send_each(&outgoing).await;
            for ((at, until, _), sent) in moved.into_iter().zip(sent) {
                fates[at] = match sent {
                    Ok(()) => Fate::Delete,
                    Err(fault) => {
                        tracing::warn!(%fault, "could not move message to the slow lane; it waits in its queue");
                        Fate::KeepUntil(until)
                    }
                };
            }
        }
        let mut hide = Vec::new();
        let mut kept = Vec::new();
        for ((message_id, receipt_handle), fate) in handles.into_iter().zip(fates) {
            match fate {
                Fate::Delete => continue,
                Fate::KeepUntil(at) => hide.push(Hide { receipt_handle, wait: at.since(now) }),
                Fate::Keep | Fate::Move(..) => {}
            }
            kept.push(message_id);
        }
        self.lanes.get(lane).hide(&hide).await;
        kept
    }

    /// Counts what was not counted along with its record: the first attempts of an hour.
    async fn count(&self, counts: Counts) {
        let counting = counts.iter().map(async |(key, stats)| {
            if let Err(fault) = self.statistics.add(key, stats).await {
                tracing::warn!(%fault, tenant = %key.0, endpoint_id = %key.1, "attempts are missing from the statistics");
            }
        });
        join_all(counting).await;
    }

    /// Writes what a batch taught about its endpoints, and tells their owners.
    async fn see_to_endpoints(
        self: &Arc<Self>,
        known: &HashMap<EndpointKey, Arc<Endpoint>>,
        settled: &[Settled],
    ) {
        // Side by side: one whose owner cannot be told at once must not cost the others their health.
        let seeing = known.iter().map(async |(key, endpoint)| {
            let (owner, id) = key;
            let mut tally = Tally::default();
            let mut exhausted = None;
            for one in settled.iter().filter(|one| one.endpoint.as_ref() == Some(key)) {
                tally.merge(&one.tally);
                exhausted = exhausted.or(one.exhausted);
            }
            // Most batches teach nothing.
            let now = clock::now();
            let teaches =
                tally.gone || tally.failed > 0 || endpoint.health.after(&tally, now) != endpoint.health;
            if teaches && let Err(fault) = Box::pin(self.learn(owner, endpoint, &tally)).await {
                tracing::error!(%fault, tenant = %owner, endpoint_id = %id, "could not save endpoint health");
            }
            if tally.failed > 0
                && let Err(fault) = Box::pin(self.watch(owner, endpoint, tally.failed)).await
            {
                tracing::warn!(%fault, tenant = %owner, endpoint_id = %id, "could not evaluate failure rate of endpoint");
            }
            if let Some(delivery) = exhausted {
                Box::pin(self.alerts.raise(owner, *id, &Alert::Exhausted(delivery))).await;
            }
        });
        join_all(seeing).await;
    }
}

fn span(record: &Record) -> tracing::Span {
    tracing::info_span!("message", message_id = %record.message_id, received = record.receive_count())
}

/// Works by endpoint, in the order in which they came.
fn group(works: Vec<Work>) -> Vec<(EndpointKey, Vec<Work>)> {
    let mut groups: Vec<(EndpointKey, Vec<Work>)> = Vec::new();
    for work in works {
        let key = (work.owner.clone(), work.id.endpoint);
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, works)) => works.push(work),
            None => groups.push((key, vec![work])),
        }
    }
    groups
}
