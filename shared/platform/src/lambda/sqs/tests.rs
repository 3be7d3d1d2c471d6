use super::*;

#[test]
fn the_batch_response_is_spelled_as_lambda_reads_it() {
    let text = |failed: &[&str]| {
        serde_json::to_string(&response(failed.iter().map(ToString::to_string).collect())).unwrap()
    };
    assert_eq!(text(&[]), r#"{"batchItemFailures":[]}"#);
    assert_eq!(text(&["a"]), r#"{"batchItemFailures":[{"itemIdentifier":"a"}]}"#);
}
