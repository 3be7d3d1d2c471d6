//! Whether a delivery to an endpoint may be attempted now, and how fast.

use super::{Endpoint, State, limit::Rate};
use crate::{Timestamp, delivery::ParkedReason};

/// Deliveries a second to a throttled endpoint, or a tenth of its own limit where that is more.
const THROTTLED_RATE: u32 = 1;

/// Whether a delivery may be attempted now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Yes, within this rate if there is one.
    Go(Option<Rate>),
    /// Yes, by the one who gets the lease on the probe.
    Probe,
    /// No, it waits for the endpoint.
    Hold(ParkedReason),
    /// No, and never: the endpoint was deleted.
    Cancel,
}

/// Decides whether a delivery to `endpoint` may be attempted `now`.
#[must_use]
pub fn gate(endpoint: &Endpoint, now: Timestamp) -> Gate {
    match endpoint.state {
        State::Deleted => return Gate::Cancel,
        State::Disabled(_) => return Gate::Hold(ParkedReason::Disabled),
        State::Enabled => {}
    }
    match endpoint.health.circuit {
        Some(circuit) if circuit.until > now => Gate::Hold(ParkedReason::CircuitOpen),
        Some(_) => Gate::Probe,
        None => Gate::Go(rate(endpoint, now)),
    }
}

/// The rate that an endpoint takes at present: its own limit, less while it is throttled.
#[must_use]
pub fn rate(endpoint: &Endpoint, now: Timestamp) -> Option<Rate> {
    let limit = endpoint.settings.rate_limit;
    if endpoint.health.throttled_until.is_some_and(|until| until > now) {
        let lowered = limit.map_or(THROTTLED_RATE, |limit| (limit / 10).max(THROTTLED_RATE));
        Some(Rate::per_second(lowered))
    } else {
        limit.map(Rate::per_second)
    }
}
