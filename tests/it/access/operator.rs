//! The operator's key is replaced with an overlap.

use std::time::Duration;

use serde_json::json;
use testkit::{Client, Stack, eventually};

use crate::SOON;

async fn put(stack: &Stack, key: &str) {
    let body = json!({
        "SecretId": stack.output("OperatorKeySecretArn"),
        "SecretString": json!({ "key": key }).to_string(),
    });
    stack.aws("secretsmanager", "secretsmanager.PutSecretValue", body).await;
}

#[tokio::test]
async fn the_operators_key_before_is_valid_for_a_day() {
    let (stack, clock) = Stack::deploy_with_clock("cw-operator-key").await;
    let first = stack.operator();
    // Before any call: a running function would read the new key within a minute.
    put(&stack, "the-second-key-of-this-test").await;
    let second = first.with_key(Some("the-second-key-of-this-test".to_owned()));
    works(&second).await;
    works(&first).await;
    first
        .with_key(Some("none-of-them".to_owned()))
        .get("/v1/tenants")
        .await
        .expect_problem(401, "unauthorized");
    clock.ahead(Duration::from_hours(25));
    first.get("/v1/tenants").await.expect_problem(401, "unauthorized");
    works(&second).await;
}

async fn works(client: &Client) {
    eventually("the key to work", SOON, || async {
        (client.get("/v1/tenants").await.status == 200).then_some(())
    })
    .await;
}
