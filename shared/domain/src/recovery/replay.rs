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
    delivery::{self, Delivery, ParkedReason},
    endpoint::{
        Endpoint,
        gate::{Gate, gate},
    },
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

/// How long ago an attempt was due when no dispatcher may be making it: longer than a due entry's lease.
const MISSED: Duration = Duration::from_mins(15);

/// What a replay delivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// The endpoint's deliveries that are exhausted or expired.
    Failed,
    /// Events that the endpoint's filters match now and that have no delivery to it.
    Missing,
    /// All events that the endpoint's filters match now, delivered before or not.
    All,
}

/// The status of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ReplayStatus")]
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
pub struct KnownGeneration {
    /// Which one.
    pub generation: u32,
    /// Its status.
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
pub fn choose(
    selection: Selection,
    listed: Option<u32>,
    in_snapshot: bool,
    kept: &[KnownGeneration],
) -> Choice {
    let begun = kept.iter().any(|one| one.mine);
    let latest = kept.iter().rfind(|one| !one.mine);
    // Of a delivery that failed several times over each generation is listed: the last one counts.
    if selection == Selection::Failed && latest.map(|latest| latest.generation) != listed {
        return Choice::Leave;
    }
    if begun {
        return Choice::Begun;
    }
    let again = |generation| next_generation(generation).map_or(Choice::Leave, Choice::Begin);
    match (selection, latest) {
        (Selection::Failed, Some(latest))
            if matches!(latest.status, delivery::Status::Exhausted | delivery::Status::Expired) =>
        {
            again(latest.generation)
        }
        (Selection::All, Some(latest)) if latest.status.is_final() => again(latest.generation),
        (Selection::Missing | Selection::All, None) if !in_snapshot => Choice::Begin(0),
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
    match gate(endpoint, now) {
        Gate::Cancel => Pace::End,
        Gate::Hold(ParkedReason::CircuitOpen) => {
            let until = endpoint.health.circuit.map_or(now, |circuit| circuit.until);
            Pace::Wait(until.max(now), PausedFor::CircuitOpen)
        }
        Gate::Hold(_) => Pace::Wait(now + DISABLED_STEP, PausedFor::EndpointDisabled),
        Gate::Probe => Pace::Go(1),
        Gate::Go(own) => Pace::Go(own.map_or(rate, |own| own.get().min(rate)) * minute),
    }
}

#[cfg(test)]
mod tests;
