//! How a row is spelled: keys, attributes, statements, transactions, leases. No subject's rows are here.

pub(crate) mod attributes;
pub mod keys;
pub mod leases;
pub(crate) mod statements;
pub(crate) mod transactions;
