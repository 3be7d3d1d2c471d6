//! Replays: which deliveries a job makes again, in which generation, and how fast.
//!
//! A final state is never left: what is delivered again is a new generation of the delivery, with
//! attempts of its own. A job marks the generations that it begins, so that a step which is
//! repeated after a crash finds them and begins none twice.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Timestamp,
    delivery::{self, Delivery, ParkedFor},
    endpoint::Endpoint,
    health::{self, Gate},
};

/// How often one delivery can be delivered again: the store's keys have four digits for it.
pub const GENERATIONS: u32 = 9_999;

/// The deliveries a second that a replay can have.
pub const RATES: std::ops::RangeInclusive<u32> = 1..=100;

/// Deliveries a second of a replay that names no rate.
pub const RATE: u32 = 10;

/// How many replays a tenant can have running at a time.
pub const RUNNING_PER_TENANT: usize = 10;

/// How often a replay goes on, and so how much its rate gives it at a time.
pub const STEP: Duration = Duration::from_mins(1);

/// When a replay is looked at again whose endpoint is disabled.
pub const DISABLED_STEP: Duration = Duration::from_mins(5);

/// An attempt that is due by then needs no other message.
const NEAR: Duration = Duration::from_secs(5);

/// How long ago an attempt was due when nobody may be making it: longer than a due entry's lease.
const MISSED: Duration = Duration::from_mins(15);

/// What a replay delivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The endpoint's deliveries that are exhausted or expired.
    Failed,
    /// Events that the endpoint's filters match now and that have no delivery to it.
    Missing,
    /// All events that the endpoint's filters match now, delivered before or not.
    All,
}

/// Where a replay stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It goes on every minute, or waits; see `paused_for`.
    Running,
    /// It has gone through its whole span.
    Completed,
    /// Somebody stopped it. What it had let go by then stays.
    Cancelled,
    /// It cannot go on; see `error`.
    Failed,
}

/// What a replay that does not go on at present waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PausedFor {
    /// The endpoint is disabled; the replay goes on within five minutes of its being enabled.
    EndpointDisabled,
    /// The endpoint failed so often that it is left alone for a while.
    CircuitOpen,
    /// Others' deliveries go first.
    Traffic,
}

/// One generation of a delivery, as far as a replay asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Which one.
    pub generation: u32,
    /// Where it stands.
    pub status: delivery::Status,
    /// Whether the replay that asks has begun it.
    pub mine: bool,
}

/// What a replay does about one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Begins this generation.
    Begin(u32),
    /// Nothing: it has begun one, in a step that was not kept.
    Begun,
    /// Nothing.
    Leave,
}

/// The generation after a final one; none where a delivery has been delivered again too often.
#[must_use]
pub fn next_generation(latest: u32) -> Option<u32> {
    (latest < GENERATIONS).then(|| latest + 1)
}

/// Decides about one delivery, given its generations in order. `listed` is the generation that led
/// the replay here, where one did; `in_snapshot` is whether its event was published to the endpoint,
/// so that without any generation it is on its way.
#[must_use]
pub fn choose(what: What, listed: Option<u32>, in_snapshot: bool, kept: &[Kept]) -> Choice {
    let begun = kept.iter().any(|one| one.mine);
    let latest = kept.iter().rfind(|one| !one.mine);
    // Of a delivery that failed several times over each generation is listed: the last one counts.
    if what == What::Failed && latest.map(|latest| latest.generation) != listed {
        return Choice::Leave;
    }
    if begun {
        return Choice::Begun;
    }
    let again = |generation| next_generation(generation).map_or(Choice::Leave, Choice::Begin);
    match (what, latest) {
        (What::Failed, Some(latest))
            if matches!(latest.status, delivery::Status::Exhausted | delivery::Status::Expired) =>
        {
            again(latest.generation)
        }
        (What::All, Some(latest)) if latest.status.is_final() => again(latest.generation),
        (What::Missing | What::All, None) if !in_snapshot => Choice::Begin(0),
        _ => Choice::Leave,
    }
}

/// Whether an unfinished delivery's next attempt is about to be made anyway, so that another message
/// could only make it twice. One that was missed for long may have lost its driver.
#[must_use]
pub fn is_on_its_way(delivery: &Delivery, now: Timestamp) -> bool {
    let due = delivery.next_attempt_at;
    let is_near = |due| due <= now + NEAR && now.since(due) < MISSED;
    delivery.status != delivery::Status::Parked && due.is_some_and(is_near)
}

/// How a replay goes on for the next minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// With so many deliveries.
    Go(u32),
    /// Not before then.
    Wait(Timestamp, PausedFor),
    /// Not at all: the endpoint was deleted.
    End,
}

/// Decides how fast a replay of `rate` deliveries a second may go, given how its endpoint fares. An
/// endpoint whose circuit is half open gets one, as its probe: there may be no other.
#[must_use]
pub fn pace(endpoint: &Endpoint, rate: u32, now: Timestamp) -> Pace {
    let minute = u32::try_from(STEP.as_secs()).unwrap_or(60);
    match health::gate(endpoint, now) {
        Gate::Cancel => Pace::End,
        Gate::Hold(ParkedFor::CircuitOpen) => {
            let until = endpoint.health.circuit.map_or(now, |circuit| circuit.until);
            Pace::Wait(until.max(now), PausedFor::CircuitOpen)
        }
        Gate::Hold(_) => Pace::Wait(now + DISABLED_STEP, PausedFor::EndpointDisabled),
        Gate::Probe => Pace::Go(1),
        Gate::Go(own) => Pace::Go(own.map_or(rate, |own| own.get().min(rate)) * minute),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        EndpointId,
        delivery::Status as Of,
        endpoint::{Disabled, DisabledBy, OnDisable, Settings, State},
        health::{Circuit, Health},
    };

    fn kept(generations: &[(Of, bool)]) -> Vec<Kept> {
        let numbered = (0..).zip(generations);
        numbered.map(|(generation, &(status, mine))| Kept { generation, status, mine }).collect()
    }

    #[test]
    fn choices() {
        use Choice::{Begin, Begun, Leave};
        use Of::{Cancelled, Exhausted, Expired, Parked, Retrying, Succeeded};
        use What::{All, Failed, Missing};
        for (what, listed, in_snapshot, generations, expected) in [
            (Failed, Some(0), true, &[(Exhausted, false)][..], Begin(1)),
            (Failed, Some(0), false, &[(Expired, false)], Begin(1)),
            (Failed, Some(0), true, &[(Cancelled, false)], Leave),
            (Failed, Some(0), true, &[(Succeeded, false)], Leave),
            // It was listed as failed and has moved on since.
            (Failed, Some(0), true, &[(Exhausted, false), (Succeeded, false)], Leave),
            (Failed, Some(0), true, &[(Exhausted, false), (Retrying, false)], Leave),
            // Listed twice, and begun once.
            (Failed, Some(0), true, &[(Exhausted, false), (Exhausted, false)], Leave),
            (Failed, Some(1), true, &[(Exhausted, false), (Exhausted, false)], Begin(2)),
            // A step that is repeated.
            (Failed, Some(0), true, &[(Exhausted, false), (Retrying, true)], Begun),
            (Failed, Some(0), true, &[(Exhausted, false), (Exhausted, true)], Begun),
            (Failed, Some(1), true, &[(Exhausted, false), (Exhausted, true)], Leave),
            (Failed, Some(0), true, &[], Leave),
            (Missing, None, false, &[], Begin(0)),
            (Missing, None, true, &[], Leave),
            (Missing, None, false, &[(Exhausted, false)], Leave),
            (Missing, None, false, &[(Retrying, true)], Begun),
            (All, None, false, &[], Begin(0)),
            (All, None, true, &[], Leave),
            (All, None, true, &[(Succeeded, false)], Begin(1)),
            (All, None, true, &[(Cancelled, false)], Begin(1)),
            (All, None, true, &[(Parked, false)], Leave),
            (All, None, true, &[(Succeeded, false), (Retrying, false)], Leave),
            (All, None, true, &[(Succeeded, false), (Succeeded, true)], Begun),
            // A person resent what the job had begun.
            (All, None, true, &[(Succeeded, false), (Exhausted, true), (Succeeded, false)], Begun),
        ] {
            let choice = choose(what, listed, in_snapshot, &kept(generations));
            assert_eq!(choice, expected, "{what:?} {listed:?} {in_snapshot} {generations:?}");
        }
    }

    #[test]
    fn what_is_about_to_be_made_needs_no_other_message() {
        let now = Timestamp::from_secs(10_000);
        for (status, due, expected) in [
            (Of::Pending, Some(10_000), true),
            (Of::Retrying, Some(10_005), true),
            (Of::Retrying, Some(10_006), false),
            (Of::Retrying, Some(9_101), true),
            (Of::Retrying, Some(9_100), false),
            (Of::Parked, None, false),
        ] {
            let delivery = Delivery {
                status,
                generation: 0,
                attempts: Vec::new(),
                next_attempt_at: due.map(Timestamp::from_secs),
                parked_for: None,
                in_due_index: true,
            };
            assert_eq!(is_on_its_way(&delivery, now), expected, "{delivery:?}");
        }
    }

    #[test]
    fn generations_end() {
        assert_eq!((next_generation(0), next_generation(9_998)), (Some(1), Some(9_999)));
        assert_eq!(next_generation(9_999), None);
    }

    #[test]
    fn paces() {
        let now = Timestamp::from_secs(1_000);
        let endpoint = |state, rate_limit, circuit| Endpoint {
            id: EndpointId::new(now, [0; 10]),
            url: "https://example.com/".into(),
            event_types: Vec::new(),
            channels: crate::channel::Channels::new(),
            filter: None,
            metadata: std::collections::BTreeMap::new(),
            description: String::new(),
            created_at: now,
            secret_shard: 0,
            settings: Settings { rate_limit, ..Settings::default() },
            state,
            health: Health { circuit, ..Health::default() },
            health_version: 0,
        };
        let disabled = State::Disabled(Disabled { mode: OnDisable::Skip, by: DisabledBy::Request, at: now });
        let open = |until| Some(Circuit { until: Timestamp::from_secs(until), cooldown: 30, probing: false });
        for (endpoint, expected) in [
            (endpoint(State::Enabled, None, None), Pace::Go(600)),
            (endpoint(State::Enabled, Some(3), None), Pace::Go(180)),
            (endpoint(State::Enabled, Some(30), None), Pace::Go(600)),
            (endpoint(State::Enabled, None, open(999)), Pace::Go(1)),
            (
                endpoint(State::Enabled, None, open(1_030)),
                Pace::Wait(Timestamp::from_secs(1_030), PausedFor::CircuitOpen),
            ),
            (endpoint(disabled, None, None), Pace::Wait(now + DISABLED_STEP, PausedFor::EndpointDisabled)),
            (endpoint(State::Deleted, None, None), Pace::End),
        ] {
            assert_eq!(pace(&endpoint, 10, now), expected, "{endpoint:?}");
        }
    }
}
