//! The operation that calls endpoints: a batch of messages, all at once, each on its own.
//!
//! The driver rule above all: a delivery that is not finished keeps a driver. So a message is given
//! back to SQS for deletion only when the delivery is finished, or when another driver is known to
//! exist: a message that was sent, or an entry in the due index. Every failure on our side keeps the
//! message. The state machine that upholds this is `domain::delivery::engine`; its effects are
//! carried out here, and nothing is decided about a delivery.
//!
//! A batch goes in steps: claim each message; ask each endpoint once which of its messages are
//! attempted; attempt and record them; then write what was seen of each endpoint.

mod admission;
mod delivery;
mod failing;
mod fates;
mod health;
mod measures;
mod message;
mod payloads;
mod recorder;
mod slow_hosts;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use domain::{
    EndpointId, TenantId, Timestamp,
    delivery::{
        driver::LaneKind,
        engine::{change::Fate, claim},
    },
    endpoint::Endpoint,
};
use futures_util::future::join_all;
use tokio::{sync::Semaphore, task::JoinHandle};
use tracing::Instrument;

use self::{
    admission::Admitter,
    delivery::PendingDelivery,
    failing::FailureWatch,
    fates::FateKeeper,
    health::HealthKeeper,
    message::{ClaimResult, MessageDriver, MessageResult, Turn},
    payloads::Payloads,
    recorder::{Recorder, Ticket},
    slow_hosts::SlowHosts,
};
use crate::{
    Fault,
    lambda::sqs::Record,
    publish::lanes::Lanes,
    runtime::clock,
    setup::{self, Parts},
    store::stats::{Counts, Statistics},
    webhook::egress::Egress,
};

/// What must be left of an invocation at its end, to hide messages and to respond.
const RESPONSE_TIME: Duration = Duration::from_secs(2);

/// Attempts under way at one endpoint from one batch. A batch that is all for one hanging endpoint
/// then ends in two rounds, and a healthy one does not receive ten requests at once.
const ATTEMPTS_AT_ONCE: usize = 5;

/// What identifies an endpoint of a batch.
type EndpointKey = (TenantId, EndpointId);

/// The results of a batch's attempts.
struct BatchResult {
    messages: Vec<MessageResult>,
    /// The endpoints as they were read.
    endpoints: HashMap<EndpointKey, Arc<Endpoint>>,
    /// What is not counted yet.
    recording: JoinHandle<Counts>,
}

/// How a deployment dispatches.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest wait that is left in lanes.
    pub longest_lane_wait: Duration,
    /// Days of nothing but failure that disable an endpoint; 0 for never.
    pub disable_after_days: u32,
}

/// Dispatches batches of messages.
#[derive(Debug)]
pub struct Dispatcher {
    messages: MessageDriver,
    admitter: Admitter,
    health: HealthKeeper,
    statistics: Statistics,
    fates: FateKeeper,
    lanes: Lanes,
}

impl Dispatcher {
    /// Made of a function's parts.
    pub fn new(parts: &Parts, egress: Egress, limits: Limits) -> Result<Self, setup::Error> {
        let alerts = Arc::new(parts.alerts()?);
        Ok(Self {
            messages: MessageDriver {
                endpoints: parts.endpoints.clone(),
                events: parts.events.clone(),
                deliveries: parts.deliveries.clone(),
                drains: parts.drains.clone(),
                secrets: parts.secrets()?,
                egress,
                payloads: Payloads::new(),
                slow_hosts: SlowHosts::new(),
                lanes: parts.lanes.clone(),
                longest_lane_wait: limits.longest_lane_wait,
                quotas: parts.quotas()?,
            },
            admitter: Admitter {
                endpoints: parts.endpoints.clone(),
                leases: parts.leases()?,
                drains: parts.drains.clone(),
            },
            health: HealthKeeper {
                endpoints: parts.endpoints.clone(),
                drains: parts.drains.clone(),
                watch: FailureWatch::new(parts.statistics.clone(), Arc::clone(&alerts)),
                alerts,
                disable_after_days: limits.disable_after_days,
            },
            statistics: parts.statistics.clone(),
            fates: FateKeeper { lanes: parts.lanes.clone(), deliveries: parts.deliveries.clone() },
            lanes: parts.lanes.clone(),
        })
    }

    /// Dispatches a batch, and returns the ids of the messages that stay in the lane.
    /// `deadline` is when the invocation ends, by the machine's clock.
    pub async fn batch(self: &Arc<Self>, records: Vec<Record>, deadline: Timestamp) -> Vec<String> {
        let Some(lane) = records.first().map(|record| self.lanes.kind_of(&record.source_arn)) else {
            return Vec::new();
        };
        let records: Vec<_> = records.into_iter().map(Arc::new).collect();
        let mut fates: Vec<_> = records.iter().map(|_| (Fate::Keep, None)).collect();
        let mut pending = Vec::new();
        let mut named = HashSet::new();
        for (index, claimed) in self.claim_all(&records, lane, deadline).await.into_iter().enumerate() {
            match claimed {
                Some(ClaimResult::Fate(fate)) => fates[index] = (fate, None),
                Some(ClaimResult::Pending(delivery)) if named.insert(delivery.key.clone()) => {
                    pending.push(*delivery);
                }
                // Both copies have found the attempt due. The second finds it made.
                Some(ClaimResult::Pending(_)) => {
                    fates[index] = (Fate::KeepUntil(claim::behind_copy(clock::now())), None);
                }
                None => {}
            }
        }
        let BatchResult { mut messages, endpoints, recording } = self.attempt_all(pending, deadline).await;
        measures::write(messages.iter().filter_map(|message| message.first.as_ref()), clock::now());
        for message in &mut messages {
            fates[message.batch_index] = (message.fate, message.copy.take());
        }
        // First of all: nothing that follows is worth a message's time.
        let kept = self.fates.carry_out(lane, &records, fates).await;
        let updating = async {
            self.count(recording.await.unwrap_or_default()).await;
            self.health.update_all(&endpoints, &messages).await;
            self.messages.quotas.flush(clock::now()).await;
            Ok(())
        };
        if let Err(fault) = within(deadline, updating).await {
            tracing::error!(%fault, "could not save outcomes of endpoints");
        }
        kept
    }

    async fn claim_all(
        self: &Arc<Self>,
        records: &[Arc<Record>],
        lane: LaneKind,
        deadline: Timestamp,
    ) -> Vec<Option<ClaimResult>> {
        // Each in a task of its own, so that a panic in one fails alone.
        let tasks = records.iter().enumerate().map(|(index, record)| {
            let (dispatcher, record) = (Arc::clone(self), Arc::clone(record));
            let span = span(&record);
            let task = async move {
                let received = record.receive_count();
                let claiming = dispatcher.messages.claim(index, record, lane);
                within(deadline, claiming).await.unwrap_or_else(|fault| {
                    tracing::error!(%fault, "could not process delivery");
                    ClaimResult::Fate(Fate::AfterFault { received })
                })
            };
            tokio::spawn(task.instrument(span))
        });
        let claimed = join_all(tasks).await.into_iter();
        claimed
            .map(|claimed| {
                claimed.map_err(|error| tracing::error!(%error, "handling of message panicked")).ok()
            })
            .collect()
    }

    /// Attempts what may be attempted, and records the rest.
    async fn attempt_all(
        self: &Arc<Self>,
        pending: Vec<PendingDelivery>,
        deadline: Timestamp,
    ) -> BatchResult {
        let (recorder, recording) = Recorder::start(self.statistics.clone(), deadline - RESPONSE_TIME);
        let mut endpoints: HashMap<EndpointKey, Arc<Endpoint>> = HashMap::new();
        let groups: Vec<_> = group(pending)
            .into_iter()
            .map(|(key, deliveries)| {
                endpoints.insert(key.clone(), Arc::clone(&deliveries[0].endpoint));
                // Announced before any of them begins, so that all are waited for.
                let deliveries =
                    deliveries.into_iter().map(|delivery| (delivery, recorder.ticket())).collect();
                tokio::spawn(Arc::clone(self).attempt_group(key, deliveries, recorder.clone(), deadline))
            })
            .collect();
        drop(recorder);
        let mut messages = Vec::new();
        for group in join_all(groups).await {
            // Whose messages return when the lane's own visibility timeout ends.
            messages.extend(group.unwrap_or_else(|error| {
                tracing::error!(%error, "dispatch to endpoint panicked");
                Vec::new()
            }));
        }
        BatchResult { messages, endpoints, recording }
    }

    /// The deliveries of one endpoint; no other endpoint waits for them.
    async fn attempt_group(
        self: Arc<Self>,
        key: EndpointKey,
        deliveries: Vec<(PendingDelivery, Ticket)>,
        recorder: Recorder,
        deadline: Timestamp,
    ) -> Vec<MessageResult> {
        let now = clock::now();
        let candidates: Vec<_> = deliveries.iter().map(|(delivery, _)| delivery.run.candidate(now)).collect();
        let Some((first, _)) = deliveries.first() else { return Vec::new() };
        let slow_host = self.messages.slow_hosts.has(&key.0, &first.endpoint);
        let admitting = self.admitter.admit(&key, &first.endpoint, first.lane, &candidates, slow_host);
        let admissions = match within(deadline, admitting).await {
            Ok(admissions) => admissions,
            Err(fault) => {
                tracing::error!(%fault, tenant = %key.0, endpoint_id = %key.1, "could not admit deliveries of endpoint; their messages stay");
                let stays = |(delivery, _): &(PendingDelivery, Ticket)| {
                    MessageResult::new(delivery.batch_index, Fate::AfterFault { received: delivery.received })
                };
                return deliveries.iter().map(stays).collect();
            }
        };
        let at_once = Arc::new(Semaphore::new(ATTEMPTS_AT_ONCE));
        let tasks = deliveries.into_iter().zip(admissions).map(|((delivery, ticket), admission)| {
            let (dispatcher, recorder, at_once) = (Arc::clone(&self), recorder.clone(), Arc::clone(&at_once));
            let (index, received, span) = (delivery.batch_index, delivery.received, delivery.span.clone());
            let task = async move {
                let (tenant, delivery_id) = (delivery.tenant().clone(), delivery.id());
                let turn = Turn { at_once: &at_once, recorder, ticket, deadline };
                let driving = dispatcher.messages.drive(delivery, admission, turn);
                within(deadline, driving).await.unwrap_or_else(|fault| {
                    tracing::error!(%fault, %tenant, %delivery_id, "could not process delivery");
                    MessageResult::new(index, Fate::AfterFault { received })
                })
            };
            // Each in a task of its own, so that a panic in one fails alone.
            (index, tokio::spawn(task.instrument(span)))
        });
        let tasks: Vec<_> = tasks.collect();
        let mut results = Vec::with_capacity(tasks.len());
        for (index, task) in tasks {
            let mut result = task.await.unwrap_or_else(|error| {
                tracing::error!(%error, "dispatch of message panicked");
                MessageResult::new(index, Fate::Keep)
            });
            result.endpoint = Some(key.clone());
            results.push(result);
        }
        results
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
}

/// What takes too long must not take the response for the whole batch with it.
async fn within<T>(deadline: Timestamp, doing: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let limit = deadline.since(clock::machine_now()).saturating_sub(RESPONSE_TIME);
    tokio::time::timeout(limit, doing)
        .await
        .unwrap_or_else(|_| Err(Fault::new("dispatching", "the invocation's time is up")))
}

fn span(record: &Record) -> tracing::Span {
    tracing::info_span!("message", message_id = %record.message_id, received = record.receive_count())
}

/// Deliveries by endpoint, in the order in which they were received.
fn group(pending: Vec<PendingDelivery>) -> Vec<(EndpointKey, Vec<PendingDelivery>)> {
    let mut groups: Vec<(EndpointKey, Vec<PendingDelivery>)> = Vec::new();
    for delivery in pending {
        let key = delivery.endpoint_key();
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, deliveries)) => deliveries.push(delivery),
            None => groups.push((key, vec![delivery])),
        }
    }
    groups
}
