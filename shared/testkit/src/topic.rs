//! A queue that is subscribed to a topic: what a deployment reports to its operators.

use std::sync::Mutex;

use serde_json::{Value, json};

use crate::{Stack, unique};

/// The subscription of one tenant's messages.
#[derive(Debug)]
pub struct Subscription {
    stack: Stack,
    queue_url: String,
    received: Mutex<Vec<Value>>,
}

impl Subscription {
    /// Subscribes a new queue to the topic whose ARN this output of the template names, as far as its
    /// messages are about this tenant.
    pub async fn to(stack: &Stack, output: &str, tenant: &str) -> Self {
        let topic = stack.output(output);
        let name = unique("alerts");
        let policy = json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Principal": { "Service": "sns.amazonaws.com" },
                "Action": "sqs:SendMessage",
                "Resource": "*",
                "Condition": { "ArnEquals": { "aws:SourceArn": topic } },
            }],
        });
        let queue = json!({ "QueueName": name, "Attributes": { "Policy": policy.to_string() } });
        let queue = stack.aws("sqs", "AmazonSQS.CreateQueue", queue).await;
        let queue_url = crate::stack::text(&queue, "QueueUrl");
        let filter = json!({ "tenant": [tenant] }).to_string();
        let arn = stack.queue_arn_of(&queue_url);
        let subscription = [
            ("Action", "Subscribe"),
            ("TopicArn", topic),
            ("Protocol", "sqs"),
            ("Endpoint", &arn),
            ("Attributes.entry.1.key", "FilterPolicy"),
            ("Attributes.entry.1.value", &filter),
        ];
        stack.query("sns", "2010-03-31", &subscription).await;
        Self { stack: stack.clone(), queue_url, received: Mutex::default() }
    }

    /// The messages that have come so far, read as JSON.
    pub async fn messages(&self) -> Vec<Value> {
        loop {
            let ask =
                json!({ "QueueUrl": self.queue_url, "MaxNumberOfMessages": 10, "VisibilityTimeout": 600 });
            let response = self.stack.aws("sqs", "AmazonSQS.ReceiveMessage", ask).await;
            let messages = response["Messages"].as_array().cloned().unwrap_or_default();
            if messages.is_empty() {
                return self.received.lock().expect("no test panicked with it").clone();
            }
            let read = |text: &Value| -> Value {
                serde_json::from_str(text.as_str().expect("a text")).expect("JSON")
            };
            for message in messages {
                let envelope = read(&message["Body"]);
                let message = read(&envelope["Message"]);
                for name in ["type", "tenant"] {
                    assert_eq!(envelope["MessageAttributes"][name]["Value"], message[name], "{envelope}");
                }
                self.received.lock().expect("no test panicked with it").push(message);
            }
        }
    }
}
