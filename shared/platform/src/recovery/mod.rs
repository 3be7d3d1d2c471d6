//! What brings deliveries back: due entries, held work, replays, resends, messages of the dead-letter
//! queue, and reconciliation. The first attempt of a delivery is in `publish` and `dispatch`.

mod budget;
pub mod drain;
pub mod reconcile;
pub mod replay;
pub mod rescue;
pub mod resend;
pub mod schedule;
