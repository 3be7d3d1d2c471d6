//! How long a call waits until it is tried again that the SDK does not retry.

use std::time::Duration;

use crate::runtime::clock;

/// Retries of a write that conflicts with a transaction, or of a transaction that was throttled: some three seconds.
pub(super) const CONFLICT_RETRIES: u32 = 7;

/// Waits until a write is tried again that conflicted with a transaction: up to 100 ms, doubling up to a second.
pub(crate) async fn after_conflict(retry: u32) {
    let longest = Duration::from_millis(100 << retry.min(4)).min(Duration::from_secs(1));
    tokio::time::sleep(longest.mul_f64(clock::jitter())).await;
}
