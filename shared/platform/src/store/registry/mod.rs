//! The registry table, a file for each subject: tenants, their keys, endpoints and sources, the catalog
//! of event types, pointers to secrets, and the progress of jobs. What happened is in `events`.
//!
//! Rows are cached for the age that the deployment sets, so a change made elsewhere is visible after
//! that time. The list that a publish fans out to is cached for one second only: who has just made an endpoint
//! expects the next event there.

pub mod api_keys;
pub mod endpoints;
pub mod event_types;
pub mod pointers;
pub mod progress;
pub mod sources;
pub mod tenants;

/// Small rows cached per kind, of some hundred bytes each.
const ROW_CAPACITY: usize = 2000;
