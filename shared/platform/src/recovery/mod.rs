//! What brings deliveries back: due entries, held work, replays, resends, messages of the dead-letter
//! queue, and reconciliation. Due connections are sent here, too, because they are in the same index. The
//! jobs that sign audit trails and send them to a stream are here for their walks through all tenants. The first attempt of a delivery is in `publish` and `dispatch`.

pub mod audit_stream;
mod budget;
pub mod checkpoints;
pub mod connections;
pub mod drain;
pub mod reconcile;
pub mod replay;
pub mod rescue;
pub mod resend;
pub mod schedule;
mod syncs;
