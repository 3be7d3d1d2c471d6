//! Calls of AWS that were refused because there were too many, counted until an invocation ends.
//!
//! The SDK tries such calls again, so most of them never become a fault; they still say that a
//! table or the account is at its limit. AWS itself has no metric of them for Secrets Manager.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;
use strum::VariantArray;

use crate::runtime::{
    clock,
    telemetry::{self, Metric, Unit},
};

/// A service that our clients call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray)]
pub(crate) enum Service {
    /// The tables.
    DynamoDb,
    /// Keys and secrets.
    SecretsManager,
    /// The lanes.
    Sqs,
}

impl Service {
    /// By the `x-amz-target` of a request.
    pub(crate) fn of_target(target: &str) -> Option<Self> {
        match target.split_once('.')?.0 {
            "DynamoDB_20120810" => Some(Self::DynamoDb),
            "secretsmanager" => Some(Self::SecretsManager),
            "AmazonSQS" => Some(Self::Sqs),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::DynamoDb => "dynamodb",
            Self::SecretsManager => "secretsmanager",
            Self::Sqs => "sqs",
        }
    }
}

static COUNTS: [AtomicU64; Service::VARIANTS.len()] = [const { AtomicU64::new(0) }; Service::VARIANTS.len()];

/// Counts a refusal.
pub(crate) fn add(service: Service) {
    COUNTS[service as usize].fetch_add(1, Ordering::Relaxed);
}

/// Counts a response that is an error of throttling, which its body names.
pub(crate) fn count(service: Option<Service>, body: &[u8]) {
    if let Some(service) = service
        && is_throttling(body)
    {
        add(service);
    }
}

/// Writes what was counted, as an invocation ends; nothing as long as nothing was refused.
pub(crate) fn flush() {
    for &service in Service::VARIANTS {
        let count = COUNTS[service as usize].swap(0, Ordering::Relaxed);
        if count > 0 {
            let metric = Metric::one("Throttled", Unit::Count, count);
            telemetry::measure(&[metric], &[("service", service.as_str())], clock::now());
        }
    }
}

fn is_throttling(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct ErrorCode<'a> {
        #[serde(rename = "__type")]
        code: &'a str,
    }
    let Ok(ErrorCode { code }) = serde_json::from_slice(body) else { return false };
    matches!(
        code.rsplit('#').next(),
        Some(
            "ProvisionedThroughputExceededException"
                | "ThrottlingException"
                | "RequestLimitExceeded"
                | "RequestThrottled"
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_distinguished_by_their_code() {
        for (body, throttling) in [
            (r#"{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"}"#, true),
            (r#"{"__type":"ThrottlingException","Message":"Rate exceeded"}"#, true),
            (r#"{"__type":"com.amazonaws.sqs#RequestThrottled"}"#, true),
            (r#"{"__type":"ResourceNotFoundException","Message":"ThrottlingException"}"#, false),
            ("", false),
        ] {
            assert_eq!(is_throttling(body.as_bytes()), throttling, "{body}");
        }
    }

    #[test]
    fn services_are_distinguished_by_the_target() {
        for (target, service) in [
            ("DynamoDB_20120810.PutItem", Some(Service::DynamoDb)),
            ("secretsmanager.GetSecretValue", Some(Service::SecretsManager)),
            ("AmazonSQS.SendMessageBatch", Some(Service::Sqs)),
            ("Logs_20140328.PutLogEvents", None),
            ("", None),
        ] {
            assert_eq!(Service::of_target(target), service, "{target}");
        }
    }
}
