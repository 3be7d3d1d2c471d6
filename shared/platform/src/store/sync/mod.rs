//! What a sync knows of its records, its push channels, and the lease under which it makes calls.

pub mod callers;
pub mod channels;
pub mod records;
pub mod seen;
