//! One message: it is claimed, attempted and recorded as the engine in `domain` decides.

use std::{sync::Arc, time::Duration};

use domain::{
    DeliveryId, TenantId, Timestamp,
    delivery::{
        Attempt, Outcome, Status,
        driver::LaneKind,
        engine::{
            admission::Admission,
            change::{Fate, RecordOutcome},
            message::{Effect, Run},
        },
        lane::{self, Message},
    },
    endpoint::health::{self, Tally},
    event::EventType,
    saturating, usage,
};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    EndpointKey,
    delivery::PendingDelivery,
    measures::FirstAttempt,
    payloads::{Payloads, StoredPayload},
    recorder::{Recorder, Ticket},
    slow_hosts::SlowHosts,
};
use crate::{
    Fault,
    aws::spending,
    lambda::sqs::Record,
    publish::lanes::Lanes,
    quota::Quotas,
    runtime::clock,
    secrets::Secrets,
    store::{
        due::drains::Drains,
        events::{
            deliveries::{Deliveries, DeliveryKey},
            stored::StoredEvents,
        },
        registry::endpoints::Endpoints,
    },
    webhook::{
        egress::{CallOutcome, Egress},
        request::Webhook,
    },
};

/// What must be left of an invocation beside the attempt itself, to record its outcome.
const RECORDING_TIME: Duration = Duration::from_secs(5);

/// The result of claiming a message.
#[derive(Debug)]
pub(super) enum ClaimResult {
    /// Nothing is to be attempted.
    Fate(Fate),
    /// This is.
    Pending(Box<PendingDelivery>),
}

/// The copy of a message for the slow lane.
#[derive(Debug)]
pub(super) struct LaneCopy {
    /// The tenant whose event it is about.
    pub(super) tenant: TenantId,
    pub(super) text: String,
}

/// The result of a message.
#[derive(Debug)]
pub(super) struct MessageResult {
    pub(super) batch_index: usize,
    pub(super) fate: Fate,
    /// The copy for the slow lane, where the message moves there.
    pub(super) copy: Option<LaneCopy>,
    pub(super) endpoint: Option<EndpointKey>,
    pub(super) tally: Tally,
    pub(super) exhausted: Option<DeliveryId>,
    pub(super) first: Option<FirstAttempt>,
}

impl MessageResult {
    pub(super) fn new(batch_index: usize, fate: Fate) -> Self {
        Self {
            batch_index,
            fate,
            copy: None,
            endpoint: None,
            tally: Tally::default(),
            exhausted: None,
            first: None,
        }
    }
}

/// What an attempt needs besides its delivery.
pub(super) struct Turn<'a> {
    /// Attempts under way at the endpoint.
    pub(super) at_once: &'a Semaphore,
    pub(super) recorder: Recorder,
    pub(super) ticket: Ticket,
    /// When the invocation ends, by the machine's clock.
    pub(super) deadline: Timestamp,
}

/// Claims, attempts and records single messages.
#[derive(Debug)]
pub(super) struct MessageDriver {
    pub(super) endpoints: Endpoints,
    pub(super) events: StoredEvents,
    pub(super) deliveries: Deliveries,
    pub(super) drains: Drains,
    pub(super) secrets: Secrets,
    pub(super) egress: Egress,
    pub(super) payloads: Payloads,
    pub(super) slow_hosts: SlowHosts,
    pub(super) lanes: Lanes,
    pub(super) longest_lane_wait: Duration,
    pub(super) quotas: Quotas,
}

impl MessageDriver {
    pub(super) async fn claim(
        &self,
        batch_index: usize,
        record: Arc<Record>,
        lane: LaneKind,
    ) -> Result<ClaimResult, Fault> {
        let message: Message<'_> = match serde_json::from_str(&record.body) {
            Ok(message) => message,
            Err(error) => {
                tracing::error!(%error, "malformed message; it will reach the dead-letter queue");
                return Ok(ClaimResult::Fate(Fate::Keep));
            }
        };
        if message.v != lane::VERSION {
            tracing::error!(v = message.v, "unknown version of message");
            return Ok(ClaimResult::Fate(Fate::Keep));
        }
        let (tenant, id) = (&message.tenant, message.delivery());
        spending::weigh(&message.owner(), 1);
        let received = record.receive_count();
        let origin = message.origin(received);
        let (mut run, mut effect) = Run::start(origin, lane, self.longest_lane_wait, clock::now());
        if effect == Effect::Read {
            // What is not done for each message is boxed, here and below: the SDK's futures are large,
            // and a task is allocated and moved whole.
            let key = DeliveryKey { tenant: tenant.clone(), id, generation: message.generation };
            let stored = Box::pin(self.deliveries.get(&key, message.at)).await?;
            effect = run.claimed(stored.as_ref(), clock::now());
        }
        if let Effect::Finish(fate) = effect {
            return Ok(ClaimResult::Fate(fate));
        }
        let owner = message.owner();
        let endpoint = self.endpoints.get(&owner, id.endpoint).await?;
        let endpoint = endpoint.ok_or_else(|| Fault::new("dispatching", "the endpoint does not exist"))?;
        let (payload, accepted_at, retention) = match message.payload {
            Some(payload) => (Some(payload.get().into()), message.at, message.retention_days),
            None => match Box::pin(self.payloads.get(&self.events, tenant, id.event)).await? {
                Some(StoredPayload { text, accepted_at, retention }) => {
                    (Some(text), Some(accepted_at), retention)
                }
                None => (None, message.at, message.retention_days),
            },
        };
        Ok(ClaimResult::Pending(Box::new(PendingDelivery {
            batch_index,
            received,
            lane,
            owner,
            key: DeliveryKey { tenant: message.tenant, id, generation: message.generation },
            operator: message.operator,
            endpoint,
            event_type: message.event_type,
            payload,
            accepted_at,
            retention,
            span: tracing::Span::current(),
            run,
            record: Arc::clone(&record),
        })))
    }

    /// Carries a delivery's effects out, from its admission to the fate of its message.
    pub(super) async fn drive(
        &self,
        mut delivery: PendingDelivery,
        admission: Admission,
        turn: Turn<'_>,
    ) -> Result<MessageResult, Fault> {
        let Turn { at_once, recorder, ticket, deadline } = turn;
        let mut ticket = Some(ticket);
        let mut result = MessageResult::new(delivery.batch_index, Fate::Keep);
        let mut outcome = None;
        let mut permit = None;
        let mut effect = delivery.run.admitted(admission, delivery.payload.is_some(), clock::now());
        loop {
            effect = match effect {
                Effect::AwaitTurn => {
                    let closed = |_| Fault::new("dispatching", "semaphore closed");
                    permit = Some(at_once.acquire().await.map_err(closed)?);
                    if deadline.since(clock::machine_now()) < delivery.endpoint.timeout() + RECORDING_TIME {
                        tracing::warn!("too little time left for an attempt");
                        delivery.run.out_of_time(clock::now())
                    } else {
                        delivery.run.with_turn(clock::now())
                    }
                }
                Effect::Read => {
                    let reading = self.deliveries.get(&delivery.key, delivery.accepted_at);
                    let stored = Box::pin(reading).await?;
                    delivery.run.claimed(stored.as_ref(), clock::now())
                }
                Effect::Attempt(number) => {
                    let (attempt, ended) = self.attempt(&delivery, number, permit.take()).await?;
                    let now = clock::now();
                    result.tally.add(&ended.outcome, ended.took, now);
                    if health::is_slow(&ended.outcome, ended.took) {
                        self.slow_hosts.add(&delivery.owner, &delivery.endpoint);
                    }
                    let next = delivery.run.attempted(
                        attempt,
                        &ended.outcome,
                        ended.took,
                        &delivery.endpoint,
                        now,
                        clock::jitter(),
                    );
                    outcome = Some(ended.outcome);
                    next
                }
                Effect::Touch(due) => {
                    let (owner, endpoint) = (&delivery.owner, delivery.endpoint.id);
                    Box::pin(self.drains.touch(owner, endpoint, due, clock::now())).await?;
                    delivery.run.touched(clock::now())
                }
                Effect::AskPressure => {
                    let pressure = Box::pin(self.lanes.slow.is_under_pressure()).await;
                    delivery.run.with_pressure(pressure, clock::now())
                }
                Effect::Record(change) => {
                    let now = clock::now();
                    let (status, next_attempt_at) = (change.status, change.next_attempt_at);
                    let recorded = recorder.record(delivery.change(change, now), ticket.take()).await?;
                    if recorded == RecordOutcome::New {
                        self.count(&delivery, status);
                        note(&delivery, outcome.as_ref(), status, next_attempt_at, &mut result);
                    }
                    delivery.run.recorded(&recorded, clock::now())
                }
                Effect::Finish(fate) => {
                    if let Fate::Move { touched, .. } = fate {
                        let text = copy(&delivery.record.body, touched)?;
                        result.copy = Some(LaneCopy { tenant: delivery.tenant().clone(), text });
                    }
                    result.fate = fate;
                    return Ok(result);
                }
                // A claimed message has this behind it.
                Effect::Admit => {
                    return Err(Fault::new("dispatching", "an effect out of order"));
                }
            };
        }
    }

    /// Counts the attempt that is now on record as used by the endpoint's owner.
    fn count(&self, delivery: &PendingDelivery, status: Status) {
        if status == Status::Parked {
            let held = usage::Counts { held: 1, ..usage::Counts::default() };
            self.quotas.count(&delivery.owner, held, clock::now());
        }
        let Some(attempt) = delivery.run.attempt() else { return };
        let is_first = attempt.number == 1;
        let counts = usage::Counts {
            attempts: 1,
            deliveries: is_first.into(),
            retries: (!is_first).into(),
            sent_bytes: saturating(delivery.payload.as_deref().unwrap_or_default().len()),
            ..usage::Counts::default()
        };
        self.quotas.count(&delivery.owner, counts, clock::now());
    }

    async fn attempt(
        &self,
        delivery: &PendingDelivery,
        number: u32,
        permit: Option<SemaphorePermit<'_>>,
    ) -> Result<(Attempt, EndedAttempt), Fault> {
        let started_at = clock::now();
        let payload = delivery.payload.as_deref().unwrap_or_default();
        let webhook = Webhook {
            id: delivery.id().event,
            endpoint: &delivery.endpoint,
            owner: &delivery.owner,
            tenant: delivery.operator.then_some(delivery.tenant()),
            at: started_at,
            payload,
        };
        let headers = webhook.headers(&self.secrets).await?;
        let timeout = delivery.endpoint.timeout();
        let url = &delivery.endpoint.url;
        let response = self.egress.post(url, headers, payload.as_bytes().to_vec(), timeout).await;
        // Recording waits for the others of the batch, who may wait for their turn.
        drop(permit);
        let took_ms = response.took_ms();
        let CallOutcome { outcome, took, details } = response;
        let attempt = Attempt::new(number, started_at, took_ms, &outcome).with_details(details);
        Ok((attempt, EndedAttempt { outcome, took }))
    }
}

/// How an attempt ended.
struct EndedAttempt {
    outcome: Outcome,
    took: Duration,
}

/// Notes what is now on record.
fn note(
    delivery: &PendingDelivery,
    outcome: Option<&Outcome>,
    status: Status,
    next_attempt_at: Option<Timestamp>,
    result: &mut MessageResult,
) {
    let Some((attempt, outcome)) = delivery.run.attempt().zip(outcome) else {
        if status.is_final() {
            tracing::info!(tenant = %delivery.tenant(), delivery_id = %delivery.id(), delivery_status = status.as_str(), "finished");
        }
        return;
    };
    tracing::info!(
        tenant = %delivery.tenant(),
        event_type = delivery.event_type.as_ref().map(EventType::as_str),
        delivery_id = %delivery.id(),
        attempt = attempt.number,
        duration_ms = attempt.duration_ms,
        status_code = attempt.status_code,
        error = attempt.error,
        delivery_status = status.as_str(),
        next_attempt_at = next_attempt_at.map(|at| at.to_string()),
        "attempt"
    );
    result.exhausted = (status == Status::Exhausted).then_some(delivery.id());
    // A replayed delivery shows nothing about how live traffic fares.
    if delivery.key.generation == 0 {
        result.first = FirstAttempt::of(attempt, outcome, delivery.accepted_at);
    }
}

/// The copy of a message for the slow lane.
fn copy(body: &str, touched: bool) -> Result<String, Fault> {
    let message: Message<'_> = serde_json::from_str(body).map_err(Fault::on("moving a message"))?;
    serde_json::to_string(&message.moved(touched)).map_err(Fault::on("moving a message"))
}
