//! End-to-end journeys on the local stack: deployed functions, real queues, foreign clients.
//! They need the stack that `make test` starts.

mod alerts;
mod attempts;
mod audit;
mod bad_input;
mod catalog;
mod contract;
mod corners;
mod crash;
mod description;
mod documents;
mod drills;
mod endpoints;
mod filters;
mod grants;
mod held;
mod inbound;
mod isolation;
mod journey;
mod keys;
mod publish;
mod replays;
mod retries;
mod routes;
mod stats;
mod tables;
mod tracking;
mod wide;
mod words;

use std::time::Duration;

/// Longer than any delivery takes that nothing stands in the way of.
const SOON: Duration = Duration::from_secs(30);

/// Longer than a message stays hidden after its function was killed (the local lane's 35 s), and
/// than a repeated publish waits for the first one (30 to 40 s), with one retry on top.
const AFTER_A_CRASH: Duration = Duration::from_mins(2);

/// Longer than functions believe what they know of an endpoint, 10 s.
const BELIEVED: Duration = Duration::from_secs(11);
