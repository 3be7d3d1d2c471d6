//! AWS services, one file each, and how their clients are set up. What a row, a message or an object
//! means is not known here. DynamoDB and Secrets Manager are called in `store` and `secrets`, by the SDK.

pub mod s3;
pub mod sdk;
pub(crate) mod signed;
pub mod sns;
pub mod sqs;
pub(crate) mod throttles;
