use std::cell::RefCell;

use serde_json::{Value, json};

use super::*;

/// Runs a batch through the loop's own function, with a handler that keeps the messages of these ids.
/// Returns the records that the handler got, and the response as Lambda reads it.
async fn run(records: &[Value], kept: &[&str]) -> (Vec<Record>, String) {
    let got = RefCell::new(Vec::new());
    let handle = |records, _| {
        got.replace(records);
        std::future::ready(kept.iter().map(ToString::to_string).collect())
    };
    let event = serde_json::from_value(json!({ "Records": records })).unwrap();
    let response = respond(event, Timestamp::EPOCH, &handle).await;
    (got.take(), serde_json::to_string(&response).unwrap())
}

fn record(id: &str) -> Value {
    let sample = include_str!("../../../../../events/sqs/dispatch.json");
    let mut record = serde_json::from_str::<Value>(sample).unwrap()["Records"][0].take();
    record["messageId"] = json!(id);
    record
}

#[tokio::test]
async fn the_batch_response_is_spelled_as_lambda_reads_it() {
    assert_eq!(run(&[record("a")], &[]).await.1, r#"{"batchItemFailures":[]}"#);
    let one = r#"{"batchItemFailures":[{"itemIdentifier":"a"}]}"#;
    assert_eq!(run(&[record("a")], &["a"]).await.1, one);
    assert_eq!(run(&[], &[]).await.1, r#"{"batchItemFailures":[]}"#);
}

#[tokio::test]
async fn a_record_is_read() {
    let (records, _) = run(&[record("a")], &[]).await;
    let [record] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!(record.message_id, "a");
    assert_eq!(record.receipt_handle, "sample");
    assert!(record.body.starts_with("{\"v\":1"));
    assert_eq!(record.source_arn, "arn:aws:sqs:us-east-1:000000000000:fast-lane");
    assert_eq!(record.receive_count(), 1);
}

#[tokio::test]
async fn a_malformed_record_fails_alone() {
    // The field, and what is in its place; nothing for a missing field.
    let table = [
        ("receiptHandle", None),
        ("receiptHandle", Some(json!(7))),
        ("body", None),
        ("body", Some(Value::Null)),
        ("body", Some(json!({ "v": 1 }))),
        ("attributes", Some(json!({ "ApproximateReceiveCount": 1 }))),
        ("attributes", Some(json!("none"))),
        ("messageAttributes", Some(json!([]))),
        ("messageAttributes", Some(json!({ "a": { "dataType": "Binary", "binaryValue": "%" } }))),
        ("eventSourceARN", Some(json!(["arn"]))),
    ];
    for (field, value) in table {
        let mut malformed = record("b");
        match &value {
            Some(value) => malformed[field] = value.clone(),
            None => drop(malformed.as_object_mut().unwrap().remove(field)),
        }
        let (records, response) = run(&[record("a"), malformed, record("c")], &["c"]).await;
        let ids: Vec<_> = records.iter().map(|record| record.message_id.as_str()).collect();
        assert_eq!(ids, ["a", "c"], "{field} {value:?}");
        let failures = r#"{"batchItemFailures":[{"itemIdentifier":"b"},{"itemIdentifier":"c"}]}"#;
        assert_eq!(response, failures, "{field} {value:?}");
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_named_does_not_keep_its_batch() {
    for nameless in [json!({}), json!({ "messageId": 7 }), record(""), json!("text"), Value::Null] {
        let (records, response) = run(&[nameless.clone(), record("a")], &[]).await;
        assert_eq!(records.len(), 1, "{nameless}");
        assert_eq!(response, r#"{"batchItemFailures":[]}"#, "{nameless}");
    }
}

#[tokio::test]
async fn an_unknown_receive_count_is_more_than_one() {
    for attributes in [json!({}), json!({ "ApproximateReceiveCount": "many" }), Value::Null] {
        let mut unknown = record("a");
        unknown["attributes"] = attributes;
        let (records, _) = run(&[unknown], &[]).await;
        assert_eq!(records.first().map(Record::receive_count), Some(2));
    }
}
