//! The registry table, a file for each subject: tenants, their keys, endpoints and sources, the catalog
//! of event types, pointers to secrets, and the progress of jobs. What happened is in `events`.
//!
//! Rows are cached for the age that the deployment sets, so a change made elsewhere is visible after
//! that time. The list that a publish fans out to is compared with the count of its changes each second: who has
//! just made an endpoint expects the next event there.

use std::time::Duration;

use crate::Fault;

pub mod api_keys;
pub mod endpoints;
pub mod event_types;
pub mod pointers;
pub mod progress;
pub mod sources;
pub mod tenants;

/// How long a read may take where what was read before can be used: a publish does not wait for a partition that is
/// too busy.
const REFRESH_PATIENCE: Duration = Duration::from_secs(2);

/// The result of a read, or a fault where it takes too long.
pub(crate) async fn in_time<T>(reading: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let late = |_| Err(Fault::new("reading the registry", "it took too long"));
    tokio::time::timeout(REFRESH_PATIENCE, reading).await.unwrap_or_else(late)
}

/// Small rows cached per kind, of some hundred bytes each.
const ROW_CAPACITY: usize = 2000;
