//! AWS services, one file each, and how their clients are set up. The meaning of a row, a message or an
//! object belongs elsewhere. DynamoDB and Secrets Manager are called in `store` and `secrets`, by the SDK.

mod connector;
pub mod s3;
pub mod sdk;
pub(crate) mod signed;
pub mod sns;
pub mod sqs;
pub(crate) mod throttles;
