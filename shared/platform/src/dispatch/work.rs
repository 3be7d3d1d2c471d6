//! One message: what it asks for, the attempt, and what becomes of it.

use std::{sync::Arc, time::Duration};

use domain::{
    DeliveryId, EventId, TenantId, Timestamp,
    delivery::{
        self, Attempt, Claim, Lost, Origin, Outcome, ParkedReason, Status,
        driver::{self, LaneKind, Situation, Wait},
        lane::{self, Message},
        retry::{self, Next},
    },
    endpoint::{Endpoint, health},
    event::EventType,
    saturating,
};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    Dispatcher, Fate, RECORDING, Settled,
    endpoints::Admission,
    measures::FirstAttempt,
    recorder::{Recorder, Ticket},
};
use crate::{
    Fault,
    lambda::sqs::Record,
    runtime::clock,
    store::{
        events::deliveries::{DUE_LEASE, DeliveryChange, DuePlace, RecordOutcome},
        table::keys,
    },
    webhook::{egress::Called, request::Webhook},
};

/// What one look at a message says.
#[derive(Debug)]
pub(super) enum Looked {
    /// There is nothing to attempt.
    Fate(Fate),
    /// There is.
    Work(Box<Work>),
}

/// A delivery that is to be attempted, if its endpoint may be called.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) at: usize,
    pub(super) received: u32,
    pub(super) lane: LaneKind,
    pub(super) owner: TenantId,
    pub(super) tenant: TenantId,
    pub(super) id: DeliveryId,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) span: tracing::Span,
    generation: u32,
    operator: bool,
    event_type: Option<EventType>,
    /// The number of the attempt to make.
    n: u32,
    /// Attempts on record; `None` where nothing is, or nobody has looked.
    known: Option<u32>,
    /// Whether the delivery stood in the due index when it was looked at.
    indexed: bool,
    /// The body to sign and send; `None` where the event is no longer kept.
    payload: Option<String>,
    /// When the event was accepted, where the message or the event says so.
    accepted: Option<Timestamp>,
    /// The message as it came.
    body: String,
}

/// Whose event a message is about, if it can be read.
pub(super) fn tenant_of(body: &str) -> Option<TenantId> {
    serde_json::from_str::<Message<'_>>(body).ok().map(|message| message.tenant)
}

fn count(len: usize) -> u32 {
    saturating::<u32>(len)
}

impl Dispatcher {
    pub(super) async fn look(&self, at: usize, record: &Record, lane: LaneKind) -> Result<Looked, Fault> {
        let message: Message<'_> = match serde_json::from_str(&record.body) {
            Ok(message) => message,
            Err(error) => {
                tracing::error!(%error, "a message cannot be read; it will end in the dead-letter queue");
                return Ok(Looked::Fate(Fate::Keep));
            }
        };
        if message.v != lane::VERSION {
            tracing::error!(v = message.v, "a message has a version that this function does not know");
            return Ok(Looked::Fate(Fate::Keep));
        }
        let (tenant, id) = (&message.tenant, message.delivery());
        let origin = Origin {
            generation: message.generation,
            received: record.receive_count(),
            check: message.check,
            again: message.again,
            accepted: message.at,
        };
        let (n, known, indexed) = if delivery::may_skip_reading(origin, clock::now()) {
            (1, None, false)
        } else {
            // What is not done for each message is boxed, here and below: the SDK's futures are large,
            // and a task is allocated and moved whole.
            let stored = Box::pin(self.deliveries.get(tenant, id, message.generation)).await?;
            match delivery::claim(stored.as_ref(), origin, clock::now()) {
                Claim::Attempt(n) => {
                    let indexed = stored.as_ref().is_some_and(|stored| stored.in_due_index);
                    (n, stored.map(|stored| count(stored.attempts.len())), indexed)
                }
                Claim::Drop => return Ok(Looked::Fate(Fate::Delete)),
                Claim::Keep(until) => return Ok(Looked::Fate(Fate::KeepUntil(until))),
            }
        };
        let owner = message.owner();
        let endpoint = self.endpoints.get(&owner, id.endpoint).await?;
        let endpoint = endpoint.ok_or_else(|| Fault::new("dispatching", "the endpoint does not exist"))?;
        let (payload, accepted) = match message.payload {
            Some(payload) => (Some(payload.get().to_owned()), message.at),
            None => match Box::pin(self.payload(tenant, id.event)).await? {
                Some((payload, accepted)) => (Some(payload), Some(accepted)),
                None => (None, message.at),
            },
        };
        Ok(Looked::Work(Box::new(Work {
            at,
            received: record.receive_count(),
            lane,
            owner,
            id,
            endpoint,
            span: tracing::Span::current(),
            generation: message.generation,
            operator: message.operator,
            n,
            known,
            indexed,
            payload,
            accepted,
            event_type: message.event_type,
            tenant: message.tenant,
            body: record.body.clone(),
        })))
    }

    /// The payload of an event, and when that was accepted, if it is still kept.
    async fn payload(&self, tenant: &TenantId, event: EventId) -> Result<Option<(String, Timestamp)>, Fault> {
        let Some(event) = self.events.get(tenant, event).await? else { return Ok(None) };
        let accepted = event.at;
        Ok(Some((self.events.payload(event).await?.get().to_owned(), accepted)))
    }

    /// Does with a delivery what its endpoint allows.
    pub(super) async fn act(
        &self,
        work: &Work,
        admission: Admission,
        at_once: &Semaphore,
        recorder: Recorder,
        ticket: Ticket,
        deadline: Timestamp,
    ) -> Result<Settled, Fault> {
        let settled = |fate| Settled::new(work.at, fate);
        match admission {
            Admission::Attempt => {
                let Some(payload) = &work.payload else {
                    return Box::pin(self.finish(work, Status::Expired, &recorder, ticket))
                        .await
                        .map(settled);
                };
                let closed = |_| Fault::new("dispatching", "attempts are over");
                let turn = at_once.acquire().await.map_err(closed)?;
                if deadline.since(clock::machine_now()) < work.endpoint.timeout() + RECORDING {
                    tracing::warn!("too little time is left for an attempt");
                    // Others were slow, not the delivery: it goes on behind them.
                    return Ok(settled(Fate::Move(moved(&work.body, false)?, clock::now())));
                }
                self.attempt(work, payload, turn, &recorder, ticket).await
            }
            Admission::Move => Ok(settled(Fate::Move(moved(&work.body, false)?, clock::now()))),
            Admission::Wait(wait) => Ok(settled(Fate::KeepUntil(clock::now() + wait))),
            Admission::Park(reason) => {
                Box::pin(self.park(work, reason, &recorder, ticket)).await.map(settled)
            }
            Admission::Cancel => {
                Box::pin(self.finish(work, Status::Cancelled, &recorder, ticket)).await.map(settled)
            }
        }
    }

    async fn attempt(
        &self,
        work: &Work,
        payload: &str,
        turn: SemaphorePermit<'_>,
        recorder: &Recorder,
        ticket: Ticket,
    ) -> Result<Settled, Fault> {
        let at = clock::now();
        let webhook = Webhook {
            id: work.id.event,
            endpoint: &work.endpoint,
            owner: &work.owner,
            tenant: work.operator.then_some(&work.tenant),
            at,
            payload,
        };
        let headers = webhook.headers(&self.secrets).await?;
        let timeout = work.endpoint.timeout();
        let called =
            self.egress.post(&work.endpoint.url, headers, payload.as_bytes().to_vec(), timeout).await;
        // Recording waits for the others of the batch, who may wait for their turn.
        drop(turn);
        let took_ms = called.took_ms();
        let Called { outcome, took, told } = called;
        let attempt = Attempt::new(work.n, at, took_ms, &outcome).telling(told);
        let mut settled = self.settle(work, attempt, &outcome, took, recorder, ticket).await?;
        settled.tally.add(&outcome, took, clock::now());
        Ok(settled)
    }

    /// Records an attempt and decides the message's fate. One whose place is taken looks at who
    /// took it; a success that is not on record yet is recorded as the attempt after those.
    async fn settle(
        &self,
        work: &Work,
        mut attempt: Attempt,
        outcome: &Outcome,
        took: Duration,
        recorder: &Recorder,
        ticket: Ticket,
    ) -> Result<Settled, Fault> {
        let mut ticket = Some(ticket);
        let mut known = work.known;
        let policy = work.endpoint.policy();
        let slow = health::is_slow(outcome, took);
        loop {
            let now = clock::now();
            let next = retry::next(attempt.number, outcome, &policy, now, clock::jitter());
            if let Next::Park = next {
                // Before it is held: whoever stops in between leaves an entry too many, not one too few.
                Box::pin(self.expect_back(&work.owner, &work.endpoint, ParkedReason::Disabled)).await?;
            }
            let (change, fate) = self.follow(work, &attempt, known, next, slow, now).await?;
            let (status, next_at) = (change.status, change.next_at);
            match recorder.record(change, ticket.take()).await? {
                RecordOutcome::New => {
                    log(work, &attempt, status, next_at);
                    let mut settled = Settled::new(work.at, fate);
                    settled.exhausted = (status == Status::Exhausted).then_some(work.id);
                    // What is made again tells nothing of how live traffic fares.
                    if work.generation == 0 {
                        settled.first = FirstAttempt::of(&attempt, outcome, work.accepted);
                    }
                    return Ok(settled);
                }
                RecordOutcome::Lost(stored) => match delivery::lose(&stored, outcome.is_success(), now) {
                    Lost::Drop => return Ok(Settled::new(work.at, Fate::Delete)),
                    Lost::Keep(until) => {
                        return Ok(Settled::new(work.at, Fate::KeepUntil(until)));
                    }
                    // Each round is lost only to one more recorded attempt, and those are bounded.
                    Lost::RecordSuccess => {
                        attempt.number = delivery::next_number(&stored);
                        known = Some(count(stored.attempts.len()));
                    }
                },
            }
        }
    }

    /// What follows an attempt, as a change to record and as the message's fate after that.
    async fn follow(
        &self,
        work: &Work,
        attempt: &Attempt,
        known: Option<u32>,
        next: Next,
        slow: bool,
        now: Timestamp,
    ) -> Result<(DeliveryChange, Fate), Fault> {
        let change =
            |status| DeliveryChange { attempt: Some(attempt.clone()), ..work.change(known, status, now) };
        Ok(match next {
            Next::Done => (change(Status::Succeeded), Fate::Delete),
            Next::GiveUp => (change(Status::Exhausted), Fate::Delete),
            Next::Park => {
                let parked_reason = Some(ParkedReason::Disabled);
                (
                    DeliveryChange { parked_reason, place: Some(work.held(now)), ..change(Status::Parked) },
                    Fate::Delete,
                )
            }
            Next::RetryAt(at) => {
                let due = |at| Some(DuePlace { pk: keys::due(work.id, at), at });
                // Another copy of this message may rely on the place that the delivery had, so it
                // keeps one, behind the message.
                let behind = if work.indexed { due(at + DUE_LEASE) } else { None };
                let (place, fate) = match self.wait_where(work, attempt.number, slow, at.since(now)).await {
                    Wait::Hidden => (behind, Fate::KeepUntil(at)),
                    Wait::SlowLane => (behind, Fate::Move(moved(&work.body, true)?, at)),
                    Wait::DueIndex => (due(at), Fate::Delete),
                };
                (DeliveryChange { next_at: Some(at), place, ..change(Status::Retrying) }, fate)
            }
        })
    }

    async fn wait_where(&self, work: &Work, attempts: u32, slow: bool, wait: Duration) -> Wait {
        // Only a longer wait asks how full the lanes are.
        let pressure = wait > driver::FAST_WAIT && Box::pin(self.lanes.slow.is_under_pressure()).await;
        let (lane, received, longest) = (work.lane, work.received, self.longest_lane_wait);
        driver::wait_where(Situation { lane, received, attempts, slow, pressure, longest }, wait)
    }

    /// Parks a delivery under its endpoint, which has its entry by now.
    async fn park(
        &self,
        work: &Work,
        reason: ParkedReason,
        recorder: &Recorder,
        ticket: Ticket,
    ) -> Result<Fate, Fault> {
        let change = |known, now| {
            let change = work.change(known, Status::Parked, now);
            DeliveryChange { parked_reason: Some(reason), place: Some(work.held(now)), ..change }
        };
        record_unless_finished(work, recorder, ticket, change).await?;
        Ok(Fate::Delete)
    }

    /// Finishes a delivery without an attempt.
    async fn finish(
        &self,
        work: &Work,
        status: Status,
        recorder: &Recorder,
        ticket: Ticket,
    ) -> Result<Fate, Fault> {
        record_unless_finished(work, recorder, ticket, |known, now| work.change(known, status, now)).await?;
        tracing::info!(tenant = %work.tenant, delivery_id = %work.id, delivery_status = status.as_str(), "finished");
        Ok(Fate::Delete)
    }
}

/// Records a change that needs no attempt, unless the delivery is finished, or waits in the due
/// index already.
async fn record_unless_finished(
    work: &Work,
    recorder: &Recorder,
    ticket: Ticket,
    change: impl Fn(Option<u32>, Timestamp) -> DeliveryChange,
) -> Result<(), Fault> {
    let mut ticket = Some(ticket);
    let mut known = work.known;
    loop {
        match recorder.record(change(known, clock::now()), ticket.take()).await? {
            RecordOutcome::New => return Ok(()),
            RecordOutcome::Lost(stored) if stored.status.is_final() || stored.in_due_index => return Ok(()),
            RecordOutcome::Lost(stored) => known = Some(count(stored.attempts.len())),
        }
    }
}

impl Work {
    fn change(&self, known: Option<u32>, status: Status, now: Timestamp) -> DeliveryChange {
        DeliveryChange {
            tenant: self.tenant.clone(),
            id: self.id,
            generation: self.generation,
            operator: self.operator,
            event_type: self.event_type.clone(),
            known,
            attempt: None,
            status,
            next_at: None,
            parked_reason: None,
            place: None,
            now,
        }
    }

    fn held(&self, now: Timestamp) -> DuePlace {
        DuePlace { pk: keys::held(&self.owner, self.id), at: now }
    }
}

/// The message for the slow lane. One whose delivery was touched says so, and is then read before
/// it is acted on; so does a repeat, which by now may be the driver and must not be taken for one
/// too many when it comes for the first time again.
fn moved(body: &str, touched: bool) -> Result<String, Fault> {
    let mut message: Message<'_> = serde_json::from_str(body).map_err(Fault::on("moving a message"))?;
    if touched || message.check {
        (message.again, message.check) = (true, false);
    }
    serde_json::to_string(&message).map_err(Fault::on("moving a message"))
}

fn log(work: &Work, attempt: &Attempt, status: Status, next_at: Option<Timestamp>) {
    tracing::info!(
        tenant = %work.tenant,
        event_type = work.event_type.as_ref().map(EventType::as_str),
        delivery_id = %work.id,
        attempt = attempt.number,
        duration_ms = attempt.duration_ms,
        status_code = attempt.status_code,
        error = attempt.error,
        delivery_status = status.as_str(),
        next_attempt_at = next_at.map(|at| at.to_string()),
        "attempt"
    );
}
