//! Why an endpoint received a webhook again after its 2xx.
//!
//! A dispatcher that is killed between the POST and its record repeats that POST, by design: delivery is at
//! least once. All else that repeats one is a flaw, if it happens often.

use std::collections::{BTreeMap, BTreeSet};

use testkit::{Client, client::TrackedDeliveryView, client::delivery_id, process::Kill, stack::millis_of};

use crate::ledger::{Arrival, Endpoint, Ledger, Repetition};

/// How much earlier than its request an attempt may end by its record: rounding, and two clocks' reading.
const TOLERANCE_MILLIS: u64 = 50;

/// The share of deliveries that may come again without a kill that explains it, in a million.
const ALLOWED_PER_MILLION: u64 = 1000;

/// Why a webhook came again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The process that got the 2xx was killed before it recorded that.
    DispatcherKilled,
    /// The attempt failed for the dispatcher, which did not get the 2xx.
    TooLate,
    /// The sender of its message did not hear that it was sent, and sent a copy.
    SentAgain,
    /// Its client published the event again.
    PublishedAgain,
    /// None of these, and the 2xx is on record.
    OnRecord,
    /// None of these, and it is not.
    NoRecord,
}

impl Cause {
    fn as_str(self) -> &'static str {
        match self {
            Self::DispatcherKilled => "the dispatcher was killed between the POST and its record",
            Self::TooLate => "the 2xx came after the attempt had ended, or its connection broke",
            Self::SentAgain => "a copy of its message was sent, because a response of SQS was lost",
            Self::PublishedAgain => "its event was published again, because a 202 was lost",
            Self::OnRecord => "unknown; the 2xx is on record",
            Self::NoRecord => "unknown; the 2xx is not on record",
        }
    }
}

/// What is known of the disturbances of a run.
pub struct Evidence<'a> {
    pub ledger: &'a Ledger,
    pub kills: &'a [Kill],
    pub unheard: &'a BTreeSet<String>,
}

/// The duplicates of a run.
#[derive(Default)]
pub struct Duplicates {
    by_cause: BTreeMap<Cause, u64>,
    /// Those that no kill explains, in words.
    pub unexplained: Vec<String>,
}

impl Duplicates {
    /// Looks each up in the API.
    pub async fn find(evidence: &Evidence<'_>, tenants: &[Client]) -> Self {
        let mut duplicates = Self::default();
        for repetition in evidence.ledger.repeated() {
            let endpoint = &evidence.ledger.endpoints[repetition.index];
            let attempts = attempts(&tenants[endpoint.tenant], endpoint, &repetition).await;
            let taken: Vec<_> = repetition.arrivals.iter().filter(|one| one.taken).collect();
            for pair in taken.windows(2) {
                let cause = evidence.cause(&repetition.event_id, pair[0], pair[1], &attempts);
                *duplicates.by_cause.entry(cause).or_default() += 1;
                if cause != Cause::DispatcherKilled {
                    let Repetition { event_id, arrivals, .. } = &repetition;
                    let (id, mood) = (&endpoint.id, endpoint.mood);
                    duplicates.unexplained.push(format!(
                        "{event_id} at {id} ({mood}): {}; {arrivals:?}, on record {attempts:?}",
                        cause.as_str()
                    ));
                }
            }
        }
        duplicates
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.by_cause.values().sum()
    }

    /// Whether so many that no kill explains are too many.
    pub fn are_too_many(&self, delivered: u64) -> bool {
        self.unexplained.len() as u64 * 1_000_000 > delivered * ALLOWED_PER_MILLION
    }

    /// How many of each cause.
    pub fn causes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.by_cause.iter().map(|(cause, count)| (cause.as_str(), *count))
    }
}

/// An attempt as it is on record, in milliseconds since 1970.
#[derive(Debug)]
struct RecordedAttempt {
    began: u64,
    ended: u64,
    status_code: Option<u16>,
}

impl RecordedAttempt {
    fn is_of(&self, request: &Arrival) -> bool {
        self.began <= request.at && request.at <= self.ended + TOLERANCE_MILLIS
    }
}

/// The recorded attempts of a delivery.
async fn attempts(tenant: &Client, endpoint: &Endpoint, repetition: &Repetition) -> Vec<RecordedAttempt> {
    let path = format!("/v1/deliveries/{}", delivery_id(&repetition.event_id, &endpoint.id));
    let delivery: TrackedDeliveryView = tenant.get(&path).await.read(200);
    let recorded = delivery.attempts.iter().map(|attempt| {
        let began = millis_of(&attempt.started_at);
        RecordedAttempt { began, ended: began + attempt.duration_ms, status_code: attempt.status_code }
    });
    recorded.collect()
}

impl Evidence<'_> {
    fn cause(&self, event_id: &str, first: &Arrival, again: &Arrival, attempts: &[RecordedAttempt]) -> Cause {
        let recorded = attempts.iter().find(|attempt| attempt.is_of(first));
        // A process that was gone when it was looked up was killed before.
        let until = if first.sender.is_some() { again.at } else { first.looked_up };
        let by_kill = |kill: &Kill| {
            (first.at..=until).contains(&kill.at) && first.sender.is_none_or(|pid| pid == kill.pid)
        };
        if recorded.is_none() && self.kills.iter().any(by_kill) {
            Cause::DispatcherKilled
        } else if recorded.is_some_and(|attempt| attempt.status_code.is_none()) {
            Cause::TooLate
        } else if self.unheard.contains(event_id) {
            Cause::SentAgain
        } else if self.ledger.is_published_again(event_id) {
            Cause::PublishedAgain
        } else if recorded.is_some() {
            Cause::OnRecord
        } else {
            Cause::NoRecord
        }
    }
}
