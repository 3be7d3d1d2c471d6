//! What a run of the scheduler has left of its time, and the counts of what it did.

use std::time::Duration;

use domain::Timestamp;

use crate::runtime::clock;

/// How much of a run the held work of one endpoint, or one replay, can take, so that a large backlog of
/// one tenant does not keep the others' waiting.
const SLICE: Duration = Duration::from_secs(10);

/// When a run starts nothing more, by the machine's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct StopTime(pub(super) Timestamp);

impl StopTime {
    pub(super) fn has_passed(self) -> bool {
        clock::machine_now() >= self.0
    }

    /// The stop time of one slice of the run, which begins now.
    pub(super) fn slice(self) -> Self {
        Self(self.0.min(clock::machine_now() + SLICE))
    }
}

/// The counts of a run, or of a part of it.
#[derive(Debug, Default)]
pub(super) struct RunTotals {
    pub(super) sent: usize,
    pub(super) discarded: usize,
    pub(super) endpoints: usize,
    pub(super) connections: usize,
    /// Syncs that were sent to their functions.
    pub(super) syncs: usize,
    /// How late the longest due entry was.
    pub(super) lag: Duration,
}

impl RunTotals {
    pub(super) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.discarded += other.discarded;
        self.endpoints += other.endpoints;
        self.connections += other.connections;
        self.syncs += other.syncs;
        self.lag = self.lag.max(other.lag);
    }
}
