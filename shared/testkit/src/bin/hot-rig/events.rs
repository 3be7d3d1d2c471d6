//! The events that Lambda hands to functions.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::aws::SentMessage;

/// A request as an HTTP API hands it on, payload 2.0.
/// Source: <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>.
pub(crate) fn request(method: &str, path: &str, headers: &BTreeMap<String, String>, body: &str) -> Value {
    let mut headers = headers.clone();
    headers.insert("host".to_owned(), "bench.example.com".to_owned());
    headers.insert("content-length".to_owned(), body.len().to_string());
    json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "", "headers": headers,
        "requestContext": {
            "accountId": "000000000000", "apiId": "bench", "domainName": "bench.example.com",
            "domainPrefix": "bench", "requestId": "bench", "routeKey": "$default", "stage": "$default",
            "time": "01/Jan/2026:00:00:00 +0000", "timeEpoch": 1_767_225_600_000_u64,
            "http": {
                "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1",
                "userAgent": "bench",
            },
        },
        "body": STANDARD.encode(body), "isBase64Encoded": true,
    })
}

/// A batch of messages as an event source mapping hands it on.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html>.
pub(crate) fn queue(messages: &[SentMessage]) -> Value {
    let record = |(index, message): (usize, &SentMessage)| {
        let name = message.queue_url.rsplit('/').next().unwrap_or_default();
        json!({
            "messageId": format!("00000000-0000-0000-0000-{index:012}"), "receiptHandle": format!("r{index}"),
            "body": message.body, "md5OfBody": "", "messageAttributes": {}, "eventSource": "aws:sqs",
            "attributes": {
                "ApproximateReceiveCount": "1", "SentTimestamp": message.sent_at.to_string(),
                "ApproximateFirstReceiveTimestamp": message.sent_at.to_string(), "SenderId": "bench",
                "MessageGroupId": message.group,
            },
            "eventSourceARN": format!("arn:aws:sqs:us-east-1:000000000000:{name}"), "awsRegion": "us-east-1",
        })
    };
    json!({ "Records": messages.iter().enumerate().map(record).collect::<Vec<_>>() })
}
