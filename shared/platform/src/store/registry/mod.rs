//! The registry table, a file for each subject: tenants, their keys, endpoints and sources, the catalog
//! of event types, pointers to secrets, and the progress of jobs. What happened is in `events`.
//!
//! Rows are cached for the age that the deployment sets, so a change made elsewhere is visible after
//! that time. The list that a publish fans out to is compared with the count of its changes each second: who has
//! just made an endpoint expects the next event there.

use std::time::Duration;

use crate::Fault;

pub mod accounts;
pub mod api_keys;
pub mod checkpoint_keys;
pub mod connections;
pub mod endpoints;
pub mod erasures;
pub mod event_types;
pub mod idps;
pub mod pointers;
pub mod progress;
pub mod sources;
pub mod streamed_trails;
pub mod syncs;
pub mod tenants;

/// How long a look at a count of changes may take where what was read before can be used: a publish does not wait for
/// a partition that is too busy.
pub(crate) const COUNT_PATIENCE: Duration = Duration::from_secs(2);

/// How long a list may take there: the longest takes some seconds, and one that never ends would use up the request.
pub(crate) const LIST_PATIENCE: Duration = Duration::from_secs(8);

/// The result of a read; where what was read before is `usable`, a fault if it takes longer than `patience`.
pub(crate) async fn in_time<T>(
    usable: bool,
    patience: Duration,
    reading: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    if !usable {
        return reading.await;
    }
    let late = |_| Err(Fault::new("reading the registry", "it took too long"));
    tokio::time::timeout(patience, reading).await.unwrap_or_else(late)
}

/// Small rows cached per kind, of some hundred bytes each.
const ROW_CAPACITY: usize = 2000;
