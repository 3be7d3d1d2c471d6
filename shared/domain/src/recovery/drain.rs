//! How deliveries that are held for an endpoint come back: when its drain entry is due, and what is
//! then done.

use std::time::Duration;

use crate::{
    Timestamp,
    delivery::ParkedReason,
    endpoint::{
        DRAIN_RATE, Endpoint,
        gate::{Gate, gate},
        limit::Rate,
    },
    saturating,
};

/// How often held deliveries are released while their endpoint accepts some: as often as the
/// scheduler runs, and so how much an endpoint's rate gives it at a time.
pub const DRAIN_STEP: Duration = Duration::from_mins(1);

/// How often the held deliveries of a disabled endpoint are looked at; enabling makes them due.
pub const DISABLED_STEP: Duration = Duration::from_hours(1);

/// How long one run has an endpoint's held deliveries for itself.
pub const DRAIN_LEASE: Duration = Duration::from_mins(5);

/// How long ago the last delivery must have been held before a drain entry is removed. An entry is
/// touched before anything is held, within the half minute of a dispatcher's invocation, and the
/// index shows what was held some moments later.
pub const DRAIN_QUIET: Duration = Duration::from_mins(10);

/// How long an entry that was touched need not be touched again by the function that touched it: it ends no
/// earlier than [`DRAIN_QUIET`] after the touch, and what is held within this time is shown by then.
pub const TOUCH_REMEMBERED: Duration = Duration::from_mins(5);

/// The highest rate at which held deliveries are released, a second: 30,000 in a run.
pub const HIGHEST_RATE: u32 = 500;

/// The rate at which they are released for an endpoint that responds slowly, a second. The slow lane is
/// everybody's: with 25 dispatchers it takes some 20 a second of an endpoint that responds in 6 s.
pub const SLOW_ENDPOINT_RATE: u32 = 5;

/// When a drain entry is due that is made for what is about to be held.
#[must_use]
pub fn first_due(endpoint: &Endpoint, reason: ParkedReason, now: Timestamp) -> Timestamp {
    match (reason, endpoint.health.circuit) {
        (ParkedReason::Disabled, _) => now + DISABLED_STEP,
        (ParkedReason::CircuitOpen, Some(circuit)) => circuit.until.max(now),
        (ParkedReason::CircuitOpen | ParkedReason::RateLimit | ParkedReason::SlowEndpoint, _) => {
            now + DRAIN_STEP
        }
    }
}

/// What a run does for an endpoint whose drain entry it has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// First, discard what was held until then. Where that cannot be completed, nothing else is done,
    /// and the entry is due again after [`DRAIN_STEP`].
    pub discard_until: Option<Timestamp>,
    /// Then this.
    pub then: Then,
}

/// What a run does after discarding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Nothing for the deliveries; this for their entry.
    Next(Next),
    /// Release up to so many deliveries, and decide by [`after_release`].
    Release(u32),
}

/// What follows for an endpoint's drain entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing is held any more: the entry ends, if [`may_end`].
    End,
    /// The entry is due again then.
    At(Timestamp),
}

/// Decides what a run that began `now` does. `endpoint` is `None` where its row does not exist.
///
/// While an endpoint is disabled nothing is discarded: what was held may be delivered yet.
#[must_use]
pub fn plan(endpoint: Option<&Endpoint>, now: Timestamp) -> Plan {
    let gate = endpoint.map_or(Gate::Cancel, |endpoint| gate(endpoint, now));
    let (Some(endpoint), false) = (endpoint, gate == Gate::Cancel) else {
        return Plan { discard_until: Some(now), then: Then::Next(Next::End) };
    };
    let then = match gate {
        Gate::Cancel => Then::Next(Next::End),
        Gate::Hold(ParkedReason::CircuitOpen) => {
            let until = endpoint.health.circuit.map_or(now + DRAIN_STEP, |circuit| circuit.until);
            Then::Next(Next::At(until))
        }
        Gate::Hold(_) => Then::Next(Next::At(now + DISABLED_STEP)),
        Gate::Probe => Then::Release(1),
        Gate::Go(rate) => {
            let per_second = chosen_rate(endpoint, rate, now);
            Then::Release(saturating::<u32>(u64::from(per_second) * DRAIN_STEP.as_secs()))
        }
    };
    let disabled = gate == Gate::Hold(ParkedReason::Disabled);
    Plan { discard_until: endpoint.discard_held_until.filter(|_| !disabled), then }
}

/// How many deliveries a second an endpoint gets that accepts as many as `rate`.
fn chosen_rate(endpoint: &Endpoint, rate: Option<Rate>, now: Timestamp) -> u32 {
    let chosen = endpoint.settings.delivery_rate.or(endpoint.settings.rate_limit).unwrap_or(DRAIN_RATE);
    let highest = if endpoint.health.is_slow(now) { SLOW_ENDPOINT_RATE } else { HIGHEST_RATE };
    rate.map_or(chosen, Rate::get).min(chosen).min(highest)
}

/// How many held deliveries a second are released at the moment; `None` while they are held.
#[must_use]
pub fn release_rate(endpoint: &Endpoint, now: Timestamp) -> Option<u32> {
    match gate(endpoint, now) {
        Gate::Go(rate) => Some(chosen_rate(endpoint, rate, now)),
        Gate::Cancel | Gate::Hold(_) | Gate::Probe => None,
    }
}

/// In how many seconds no delivery is held any more, where as many are now and no more are added.
#[must_use]
pub fn seconds_to_empty(held: u64, per_second: u32) -> u64 {
    // Each run releases what the rate gives it for a minute, so what is left takes until the next run.
    let of_a_run = u64::from(per_second.max(1)) * DRAIN_STEP.as_secs();
    held.div_ceil(of_a_run) * DRAIN_STEP.as_secs()
}

/// What follows a release; `found_none` is whether every part of the index was looked at and empty
/// from the start.
#[must_use]
pub fn after_release(found_none: bool, now: Timestamp) -> Next {
    if found_none { Next::End } else { Next::At(now + DRAIN_STEP) }
}

/// Whether an entry can be removed under which nothing was found: not if something may just have
/// been held that the index does not show yet.
#[must_use]
pub fn may_end(touched_at: Timestamp, now: Timestamp) -> bool {
    now.since(touched_at) >= DRAIN_QUIET
}

#[cfg(test)]
mod tests;
