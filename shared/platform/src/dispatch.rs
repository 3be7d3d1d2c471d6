//! The verb that calls endpoints: a batch of messages, all at once, each on its own.
//!
//! The rule above all: a delivery that is not finished keeps a live message. So a message is
//! given back to SQS for deletion only when the delivery is finished, or when another message is
//! known to drive it; everything that goes wrong on our side keeps it.

use std::{sync::Arc, time::Duration};

use domain::{
    Timestamp,
    delivery::{self, Attempt, Claim, Lost, Outcome, Status},
    endpoint::Endpoint,
    lane::{self, Message},
    retry::{self, Next, Policy},
    sign,
};
use futures_util::future::join_all;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tracing::Instrument;

use crate::{
    Fault, clock,
    http::{self, Egress},
    lambda::Record,
    lanes::{Hide, Lane},
    secrets::Secrets,
    store::{
        events::{Events, Recorded},
        registry::Registry,
    },
};

/// What must be left of an invocation beside the attempt itself, to record what came of it.
const RECORDING: Duration = Duration::from_secs(5);

/// What must be left of an invocation at its end, to hide messages and to answer.
const ANSWERING: Duration = Duration::from_secs(2);

/// How long a message stays hidden after a failure of ours: from 20 s, doubling to 6 hours, so
/// that its receives outlast any outage that its lane's retention does.
fn fault_backoff(received: u32) -> Duration {
    Duration::from_secs(10).saturating_mul(1 << received.min(12)).min(Duration::from_hours(6))
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is deleted.
    Delete,
    /// It stays, and is hidden until then.
    KeepUntil(Timestamp),
    /// It stays, and comes back when the lane's own visibility timeout is over.
    Keep,
}

/// What dispatching needs.
#[derive(Debug)]
pub struct Dispatcher {
    /// Where endpoints are looked up.
    pub registry: Arc<Registry>,
    /// Where attempts are recorded.
    pub events: Events,
    /// Where signing keys lie.
    pub secrets: Secrets,
    /// Where the messages came from.
    pub fast_lane: Lane,
    /// How endpoints are called.
    pub egress: Egress,
}

impl Dispatcher {
    /// Dispatches a batch, and returns the ids of the messages that stay in the lane.
    /// `deadline` is when the invocation ends.
    pub async fn batch(self: &Arc<Self>, records: Vec<Record>, deadline: Timestamp) -> Vec<String> {
        let handles: Vec<_> =
            records.iter().map(|record| (record.message_id.clone(), record.receipt_handle.clone())).collect();
        // Each in a task of its own, so that a panic in one fails alone.
        let tasks = records.into_iter().map(|record| {
            let dispatcher = Arc::clone(self);
            let span =
                tracing::info_span!("message", message_id = %record.message_id, received = record.received());
            tokio::spawn(async move { dispatcher.record(&record, deadline).await }.instrument(span))
        });
        let fates = join_all(tasks).await;
        let now = clock::now();
        let mut hide = Vec::new();
        let mut kept = Vec::new();
        for ((message_id, receipt_handle), fate) in handles.into_iter().zip(fates) {
            let fate = fate.unwrap_or_else(|error| {
                tracing::error!(%error, message_id, "dispatching a message panicked");
                Fate::Keep
            });
            match fate {
                Fate::Delete => continue,
                Fate::KeepUntil(at) => hide.push(Hide { receipt_handle, wait: at.since(now) }),
                Fate::Keep => {}
            }
            kept.push(message_id);
        }
        self.fast_lane.hide(&hide).await;
        kept
    }

    async fn record(&self, record: &Record, deadline: Timestamp) -> Fate {
        let message: Message<'_> = match serde_json::from_str(&record.body) {
            Ok(message) => message,
            Err(error) => {
                tracing::error!(%error, "a message cannot be read; it will end in the dead-letter queue");
                return Fate::Keep;
            }
        };
        if message.v != lane::VERSION {
            tracing::error!(v = message.v, "a message has a version that this function does not know");
            return Fate::Keep;
        }
        // What takes too long must not take the answer for the whole batch with it.
        let limit = deadline.since(clock::now()).saturating_sub(ANSWERING);
        let result = tokio::time::timeout(limit, self.message(&message, record.received(), deadline)).await;
        let fault = match result {
            Ok(Ok(fate)) => return fate,
            Ok(Err(fault)) => fault,
            Err(_) => Fault::new("dispatching", "the invocation's time was over"),
        };
        let (tenant, delivery_id) = (&message.tenant, message.delivery());
        tracing::error!(%fault, %tenant, %delivery_id, "a delivery failed on our side");
        Fate::KeepUntil(clock::now() + fault_backoff(record.received()))
    }

    async fn message(
        &self,
        message: &Message<'_>,
        received: u32,
        deadline: Timestamp,
    ) -> Result<Fate, Fault> {
        let Message { tenant, generation, check, .. } = message;
        let id = message.delivery();
        let n = if delivery::may_skip_reading(*generation, received, *check, message.at, clock::now()) {
            1
        } else {
            let stored = self.events.delivery(tenant, id, *generation).await?;
            match delivery::claim(stored.as_ref(), *check, received, clock::now()) {
                Claim::Attempt(n) => n,
                Claim::Drop => return Ok(Fate::Delete),
                Claim::Keep(until) => return Ok(Fate::KeepUntil(until)),
            }
        };
        let endpoint = self
            .registry
            .endpoint(tenant, id.endpoint)
            .await?
            .ok_or_else(|| Fault::new("dispatching", "the endpoint does not exist"))?;
        let payload = if let Some(payload) = message.payload {
            payload.get().to_owned()
        } else {
            let event = self.events.get(tenant, id.event).await?;
            event
                .ok_or_else(|| Fault::new("dispatching", "the event does not exist"))?
                .payload
                .get()
                .to_owned()
        };
        let at = clock::now();
        let headers = self.headers(message, &endpoint, at, &payload).await?;
        if deadline.since(clock::now()) < http::TIMEOUT + RECORDING {
            tracing::warn!("too little time is left for an attempt");
            return Ok(Fate::KeepUntil(clock::now() + fault_backoff(received)));
        }
        let (outcome, took) = self.egress.post(&endpoint.url, headers, payload).await;
        let took_ms = u32::try_from(took.as_millis()).unwrap_or(u32::MAX);
        let attempt = Attempt::new(n, at, took_ms, &outcome);
        self.settle(message, attempt, &outcome).await
    }

    async fn headers(
        &self,
        message: &Message<'_>,
        endpoint: &Endpoint,
        at: Timestamp,
        payload: &str,
    ) -> Result<HeaderMap, Fault> {
        let id = message.event_id;
        let keys = self
            .secrets
            .signing_keys(&self.registry, &message.tenant, endpoint.secret_shard, &endpoint.id.to_string())
            .await?;
        let signatures: Vec<_> = keys.iter().map(|key| key.sign(id, at, payload.as_bytes())).collect();
        let value = |text: String| HeaderValue::from_str(&text).map_err(Fault::on("making a header"));
        let name = HeaderName::from_static;
        Ok(HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (name(sign::HEADER_ID), value(id.to_string())?),
            (name(sign::HEADER_TIMESTAMP), value(at.secs().to_string())?),
            (name(sign::HEADER_SIGNATURE), value(signatures.join(" "))?),
        ]))
    }

    /// Records an attempt and decides the message's fate. One whose place is taken looks at who
    /// took it; a success that is not on record yet is recorded as the attempt after those.
    async fn settle(
        &self,
        message: &Message<'_>,
        mut attempt: Attempt,
        outcome: &Outcome,
    ) -> Result<Fate, Fault> {
        let id = message.delivery();
        loop {
            let now = clock::now();
            let (status, next_at) =
                match retry::next(attempt.n, outcome, &Policy::default(), now, clock::jitter()) {
                    Next::Done => (Status::Succeeded, None),
                    Next::RetryAt(at) => (Status::Retrying, Some(at)),
                    Next::GiveUp => (Status::Exhausted, None),
                };
            let recorded = self
                .events
                .record(&message.tenant, id, message.generation, &attempt, status, next_at)
                .await?;
            match recorded {
                Recorded::New => {
                    tracing::info!(
                        tenant = %message.tenant,
                        event_type = %message.event_type,
                        delivery_id = %id,
                        attempt = attempt.n,
                        duration_ms = attempt.duration_ms,
                        status_code = attempt.status_code,
                        error = attempt.error,
                        delivery_status = status.as_str(),
                        next_attempt_at = next_at.map(|at| at.to_string()),
                        "attempt"
                    );
                    return Ok(next_at.map_or(Fate::Delete, Fate::KeepUntil));
                }
                Recorded::Lost(stored) => match delivery::lose(&stored, outcome.is_success(), now) {
                    Lost::Drop => return Ok(Fate::Delete),
                    Lost::Keep(until) => return Ok(Fate::KeepUntil(until)),
                    // Each round is lost only to one more recorded attempt, and those are bounded.
                    Lost::RecordSuccess => attempt.n = delivery::next_number(&stored),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_ours_wait_longer_each_time() {
        let secs = [1, 2, 3, 11, 12, 50].map(|received| fault_backoff(received).as_secs());
        assert_eq!(secs, [20, 40, 80, 20_480, 21_600, 21_600]);
        // Ordinary attempts and long waits take some 25 of the 50 receives; the others last for
        // most of a week.
        let total: Duration = (25..50).map(fault_backoff).sum();
        assert!(total > Duration::from_hours(6 * 24));
    }
}
