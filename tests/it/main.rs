//! End-to-end journeys on the local stack: deployed functions, real queues, foreign clients.
//! They need the stack that `make test` starts.

mod access;
mod alerts;
mod attempts;
mod audit;
mod bad_input;
mod catalog;
mod conditional;
mod contract;
mod corners;
mod counterparts;
mod crash;
mod deployable;
mod description;
mod documents;
mod drills;
mod dry_runs;
mod due_connections;
mod endpoints;
mod explain;
mod failing;
mod filters;
mod front;
mod grants;
mod handshakes;
mod held;
mod idempotency;
mod inbound;
mod inbound_log;
mod integrations;
mod isolation;
mod isolation_walk;
mod journey;
mod keys;
mod listings;
mod load;
mod local_run;
mod oauth;
mod overview;
mod pool;
mod posted_once;
mod providers;
mod publish;
mod reconcile;
mod releases;
mod replays;
mod restore;
mod retries;
mod round_trip;
mod routes;
mod seed;
mod signers;
mod sources;
mod stats;
mod subscribers;
mod syncs;
mod tables;
mod tracking;
mod wide;
mod words;
mod zapier;

use std::time::Duration;

/// Longer than any delivery takes that meets no obstacle.
const SOON: Duration = Duration::from_secs(30);

/// Longer than a message stays hidden after its function was killed (the local lane's 35 s), and
/// than a repeated publish waits for the first one (30 to 40 s), with one retry on top.
const AFTER_A_CRASH: Duration = Duration::from_mins(2);

/// How long messages stay hidden in tests that kill the function that received them, in seconds. None of
/// these tests' functions works that long.
const HIDDEN: u32 = 8;

/// Longer than functions use a cached row: the local stack has `CacheSeconds=1`, and publishes use a
/// tenant's list of endpoints for a second too.
const CACHE_AGE: Duration = Duration::from_millis(1300);
