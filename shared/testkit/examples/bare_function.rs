//! A function that does nothing but post each message's body to the URL in it: how long the stack
//! itself takes from a queue to an endpoint, which `make bench` takes for granted.
//!
//! Message: `{"url": …, "id": …}`. The Runtime API is spoken as it is, two requests a batch:
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::env;

use serde_json::Value;
use testkit::http_client;

#[tokio::main(flavor = "current_thread")]
#[allow(clippy::disallowed_methods, reason = "the Runtime API's address is given in no other way")]
async fn main() {
    let api = env::var("AWS_LAMBDA_RUNTIME_API").expect("Lambda sets it");
    let client = http_client();
    loop {
        let next = client.get(format!("http://{api}/2018-06-01/runtime/invocation/next")).send().await;
        let next = next.expect("an invocation");
        let id = next.headers()["lambda-runtime-aws-request-id"].to_str().expect("an id").to_owned();
        let event: Value = serde_json::from_slice(&next.bytes().await.expect("an event")).expect("JSON");
        for record in event["Records"].as_array().into_iter().flatten() {
            let message: Value =
                serde_json::from_str(record["body"].as_str().unwrap_or_default()).expect("JSON");
            let (url, id) = (message["url"].as_str().expect("a URL"), message["id"].as_str().expect("an id"));
            client.post(url).header("webhook-id", id).body("{}").send().await.expect("the receiver responds");
        }
        // The stand-in waits for output that does not come, 50 ms after each invocation.
        println!("{{}}");
        let response = client
            .post(format!("http://{api}/2018-06-01/runtime/invocation/{id}/response"))
            .body(r#"{"batchItemFailures":[]}"#)
            .send()
            .await;
        response.expect("the response is accepted");
    }
}
