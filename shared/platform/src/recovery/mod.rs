//! What brings deliveries back: due entries, drains, replays, resends, quarantined messages, reconciliation.
//! The first attempt of a delivery is in `publish` and `dispatch`.

pub mod reconcile;
pub mod replay;
pub mod rescue;
pub mod resend;
pub mod schedule;
