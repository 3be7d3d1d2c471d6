//! Which queue gets every entry of every trail.

use std::{fmt, str::FromStr};

/// The name of a queue as AWS writes it: `arn:PARTITION:sqs:REGION:ACCOUNT:NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueArn {
    /// Where it is.
    pub region: String,
    /// Whose it is.
    pub account: String,
    /// Its name.
    pub name: String,
}

impl QueueArn {
    /// Whether it keeps messages of a group in order, and refuses one that it has got within five minutes.
    #[must_use]
    pub fn is_fifo(&self) -> bool {
        self.name.strip_suffix(".fifo").is_some()
    }
}

/// A text that is not the ARN of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidQueueArn;

impl fmt::Display for InvalidQueueArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it must be the ARN of an SQS queue")
    }
}

impl std::error::Error for InvalidQueueArn {}

impl FromStr for QueueArn {
    type Err = InvalidQueueArn;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<_> = text.split(':').collect();
        match parts.as_slice() {
            ["arn", partition, "sqs", region, account, name]
                if [partition, region, account, name].iter().all(|part| !part.is_empty()) =>
            {
                let [region, account, name] = [region, account, name].map(|part| (*part).to_owned());
                Ok(Self { region, account, name })
            }
            _ => Err(InvalidQueueArn),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_arn_of_a_queue_is_read() {
        for (text, expected) in [
            ("arn:aws:sqs:eu-west-1:123456789012:audit", Some(("eu-west-1", "123456789012", "audit", false))),
            ("arn:aws-cn:sqs:cn-north-1:1:audit.fifo", Some(("cn-north-1", "1", "audit.fifo", true))),
            ("arn:aws:sns:eu-west-1:123456789012:audit", None),
            ("arn:aws:sqs:eu-west-1:123456789012:", None),
            ("arn:aws:sqs:eu-west-1:123456789012:a:b", None),
            ("https://sqs.eu-west-1.amazonaws.com/123456789012/audit", None),
            ("", None),
        ] {
            let found = text.parse::<QueueArn>().ok();
            let found = found.as_ref().map(|arn| (&*arn.region, &*arn.account, &*arn.name, arn.is_fifo()));
            assert_eq!(found, expected, "{text}");
        }
    }
}
