//! Where a delivery waits for its next attempt: hidden in its lane, in the slow lane, or in the
//! due index.
//!
//! SQS holds 120,000 messages in flight per queue, and a hidden message counts as one
//! (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>).
//! So a lane carries short waits only, and fewer of them when it is under pressure.

use std::time::Duration;

/// A queue that drives deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LaneKind {
    /// First attempts to endpoints that respond in time.
    Fast,
    /// Everything else.
    Slow,
}

/// The longest wait hidden in the fast lane.
pub const FAST_WAIT: Duration = Duration::from_mins(1);

/// The longest wait in the slow lane: SQS delays a message by 15 minutes at most.
pub const SLOW_WAIT: Duration = Duration::from_mins(15);

/// Receives of one message after which a waiting delivery gets a fresh one by way of the due
/// index. A lane's messages end in the dead-letter queue after 50.
pub const RECEIVES: u32 = 30;

/// Messages of one queue in flight from which it is under pressure: 30 % of what SQS holds.
pub const PRESSURE: u32 = 36_000;

/// Where a delivery waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// In its lane, hidden.
    Hidden,
    /// In the slow lane, as a message that is sent now and delayed.
    SlowLane,
    /// In the due index.
    DueIndex,
}

/// What a choice depends on.
#[derive(Debug, Clone, Copy)]
pub struct Situation {
    /// The lane that the message came by.
    pub lane: LaneKind,
    /// How often the message was received, this time included.
    pub received: u32,
    /// Attempts made so far.
    pub attempts: u32,
    /// Whether the last of them took long: another must not hold up the fast lane again.
    pub slow: bool,
    /// Whether the lane is under pressure.
    pub pressure: bool,
    /// The longest wait that this deployment leaves in lanes; at most [`SLOW_WAIT`].
    pub longest: Duration,
}

/// Decides where a delivery waits for `wait`.
///
/// The first failure of a delivery may be a hiccup and stays in the fast lane for a short wait;
/// a second one moves it out of the way of first attempts.
#[must_use]
pub fn wait_where(situation: Situation, wait: Duration) -> Wait {
    let Situation { lane, received, attempts, slow, pressure, longest } = situation;
    let limit = longest.min(if pressure { FAST_WAIT } else { SLOW_WAIT });
    if wait > limit || received >= RECEIVES {
        return Wait::DueIndex;
    }
    match lane {
        LaneKind::Slow => Wait::Hidden,
        LaneKind::Fast if attempts <= 1 && !slow && wait <= FAST_WAIT => Wait::Hidden,
        LaneKind::Fast => Wait::SlowLane,
    }
}

#[cfg(test)]
mod tests;
