//! AWS services, one file each, and how their clients are set up. The meaning of a row, a message or an
//! object belongs elsewhere. DynamoDB and Secrets Manager are called in `store` and `secrets`, by the SDK; the calls that
//! are made for each event are `json`'s.

mod connector;
pub(crate) mod json;
mod region;
pub mod s3;
pub mod sdk;
pub(crate) mod signed;
mod sigv4;
pub mod sns;
pub(crate) mod spending;
pub mod sqs;
pub(crate) mod throttles;
