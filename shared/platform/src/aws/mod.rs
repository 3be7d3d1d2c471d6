//! AWS services, one file each, and how their clients are set up. Nothing here knows a table's rows or a tenant.

pub mod s3;
pub mod sdk;
pub(crate) mod signed;
pub mod sns;
pub(crate) mod throttles;
