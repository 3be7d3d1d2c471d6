//! The tables: `registry` (who and where), `events` (what happened and how it went), `leases` (what
//! saves work) and `audit` (who changed what). A type is here for each subject, over the table that
//! holds it. What is done with rows belongs to the folders above this one.

pub mod audit;
pub mod connect;
pub mod due;
pub mod events;
pub mod exports;
pub mod idempotency;
pub mod inbound;
pub mod leases;
pub mod portal;
pub mod registry;
pub mod stats;
pub mod sync;
pub mod table;
pub mod tenant_rows;
pub mod usage;
