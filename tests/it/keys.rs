//! Signing keys: imported, rotated, switched to the other scheme; verified by libraries that are
//! not ours.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Client, Received, Receiver, Stack, foreign, stack::text};

use crate::{CACHE_AGE, SOON};

/// A key that somebody brings along.
const IMPORTED: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

async fn rotate(tenant: &Client, endpoint: &str, body: Value) -> Value {
    tenant.post(&format!("/v1/endpoints/{endpoint}/secret/rotate"), &body).await.expect(200)
}

async fn revealed(tenant: &Client, endpoint: &str) -> Value {
    tenant.get(&format!("/v1/endpoints/{endpoint}/secret")).await.expect(200)
}

/// The webhook of one more event.
async fn next(tenant: &Client, receiver: &Receiver, name: &str) -> Received {
    let id = tenant.publish("contact.created", &json!({}), name).await;
    tenant.only_delivery(&id, "succeeded", SOON).await;
    receiver.requests().into_iter().rev().find(|received| received.id() == id).expect("the webhook")
}

fn signatures(received: &Received) -> usize {
    received.header("webhook-signature").split(' ').count()
}

#[tokio::test]
async fn both_keys_verify_until_the_old_one_ends() {
    let (stack, clock) = Stack::deploy_with_clock("cw-keys").await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    let endpoint = tenant.endpoint(&receiver.url()).settings(&json!({ "secret": IMPORTED })).create().await;
    let (id, old) = (endpoint.id.clone(), endpoint.secret.clone());
    assert_eq!(old, IMPORTED);
    let received = next(&tenant, &receiver, "imported").await;
    foreign::verify(&received, IMPORTED).await.expect("the imported key");
    assert_eq!(signatures(&received), 1);

    // To the other scheme, which the receiver takes up when it likes.
    let new = rotate(&tenant, &id, json!({ "signing": "v1a", "overlap_seconds": 60 })).await;
    assert_eq!(new["secret"], json!(null));
    let public = text(&new, "public_key");
    let shown = revealed(&tenant, &id).await;
    assert_eq!(text(&shown, "public_key"), public);
    assert_eq!(shown["previous"][0]["secret"], IMPORTED);
    assert_eq!(shown["previous"][0]["expires_at"], new["previous_expires_at"]);
    tokio::time::sleep(CACHE_AGE).await;
    let received = next(&tenant, &receiver, "both").await;
    assert_eq!(signatures(&received), 2);
    foreign::verify(&received, IMPORTED).await.expect("the old key");
    foreign::verify_v1a(&received, &public).await.expect("the new key");

    // No function is told that the time is over.
    clock.ahead(Duration::from_secs(61));
    let received = next(&tenant, &receiver, "new").await;
    assert_eq!(signatures(&received), 1);
    foreign::verify_v1a(&received, &public).await.expect("the new key");
    foreign::verify(&received, IMPORTED).await.expect_err("the old key is over");
    assert_eq!(revealed(&tenant, &id).await["previous"], json!([]));
}

#[tokio::test]
async fn a_leaked_key_ends_at_once() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let (receiver, watcher) = (Receiver::start().await, Receiver::start().await);
    let endpoint = tenant.endpoint(&receiver.url()).event_types(&["contact.*"]).create().await;
    let (id, first) = (endpoint.id.clone(), endpoint.secret.clone());
    tenant.endpoint(&watcher.url()).event_types(&["secret.rotated"]).create().await;
    next(&tenant, &receiver, "first").await;
    let second = text(&rotate(&tenant, &id, json!({})).await, "secret");
    tokio::time::sleep(CACHE_AGE).await;
    let received = next(&tenant, &receiver, "second").await;
    for secret in [&first, &second] {
        foreign::verify(&received, secret).await.expect("during the overlap");
    }
    let told = watcher.wait_for(1, SOON).await[0].json();
    assert_eq!(told["type"], "secret.rotated");
    assert_eq!(told["data"]["endpoint_id"], id);
    assert_eq!(told["data"]["fingerprint"], revealed(&tenant, &id).await["fingerprint"]);
    assert_eq!(told["data"]["previous_fingerprints"].as_array().unwrap().len(), 1);
    assert!(!told.to_string().contains("whsec_"));

    let third = text(&rotate(&tenant, &id, json!({ "overlap_seconds": 0 })).await, "secret");
    assert_eq!(document(&stack, &tenant).await[&id].as_array().unwrap().len(), 1);
    tokio::time::sleep(CACHE_AGE).await;
    let received = next(&tenant, &receiver, "third").await;
    assert_eq!(signatures(&received), 1);
    foreign::verify(&received, &third).await.expect("the newest");
    for secret in [&first, &second] {
        foreign::verify(&received, secret).await.expect_err("over");
    }
    tenant.delete(&format!("/v1/endpoints/{id}")).await.expect(204);
    assert_eq!(document(&stack, &tenant).await.get(&id), None, "its keys are gone too");
}

/// What Secrets Manager holds of a tenant's signing keys.
async fn document(stack: &Stack, tenant: &Client) -> Value {
    let name = format!("{}/endpoints/{}/0", stack.name(), tenant.tenant_id());
    let response =
        stack.aws("secretsmanager", "secretsmanager.GetSecretValue", json!({ "SecretId": name })).await;
    serde_json::from_str(&text(&response, "SecretString")).expect("JSON")
}

#[tokio::test]
async fn keys_that_cannot_be_taken() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let endpoint = tenant.endpoint("https://example.com/webhooks").create().await;
    let (id, secret) = (endpoint.id.clone(), endpoint.secret.clone());
    let path = format!("/v1/endpoints/{id}/secret/rotate");
    let create = |body: Value| {
        let mut body = body;
        body["url"] = json!("https://example.com/webhooks");
        ("/v1/endpoints".to_owned(), body)
    };
    for ((path, body), pointer) in [
        (create(json!({ "secret": "whsec_short" })), "/secret"),
        (create(json!({ "secret": "private-text-of-somebody" })), "/secret"),
        (create(json!({ "secret": IMPORTED, "signing": "v1a" })), "/secret"),
        (create(json!({ "secret": 5 })), "/secret"),
        (create(json!({ "signing": "v2" })), "/signing"),
        ((path.clone(), json!({ "secret": "private-text-of-somebody" })), "/secret"),
        ((path.clone(), json!({ "secret": secret })), "/secret"),
        ((path.clone(), json!({ "secret": IMPORTED, "signing": "v1a" })), "/secret"),
        ((path.clone(), json!({ "overlap_seconds": 604_801 })), "/overlap_seconds"),
        ((path.clone(), json!({ "overlap_seconds": -1 })), "/overlap_seconds"),
        ((path.clone(), json!({ "overlap": 5 })), "/overlap"),
    ] {
        let response = tenant.post(&path, &body).await;
        assert_eq!((response.status, response.pointer()), (422, pointer), "{body} {}", response.json);
        let said = response.json.to_string();
        assert!(!said.contains("private-text") && !said.contains(&secret[6..]), "{said}");
    }
    assert_eq!(text(&revealed(&tenant, &id).await, "secret"), secret, "nothing was changed");

    // Three old keys, and no fourth; unless they all end.
    for _ in 0..3 {
        rotate(&tenant, &id, json!({})).await;
    }
    assert_eq!(revealed(&tenant, &id).await["previous"].as_array().unwrap().len(), 3);
    let response = tenant.post(&path, &json!({})).await;
    response.expect_problem(422, "limit-reached");
    // The first one comes back, which makes no new one.
    let back = rotate(&tenant, &id, json!({ "secret": secret })).await;
    assert_eq!(text(&back, "secret"), secret);
    rotate(&tenant, &id, json!({ "overlap_seconds": 0 })).await;
    assert_eq!(revealed(&tenant, &id).await["previous"], json!([]));

    let stranger = stack.tenant().await;
    let response = stranger.post(&path, &json!({})).await;
    response.expect_problem(404, "not-found");
    // Who may change endpoints may not learn or set their keys by that.
    let keys = format!("/v1/tenants/{}/keys", tenant.tenant_id());
    let scopes = json!({ "name": "narrow", "scopes": ["endpoints:write", "endpoints:read"] });
    let narrow = tenant.with_key(Some(text(&tenant.post(&keys, &scopes).await.expect(201), "key")));
    let response = narrow.post(&path, &json!({})).await;
    response.expect_problem(403, "forbidden");
}

#[tokio::test]
async fn rotations_at_once_lose_no_key() {
    let tenant = Stack::shared().tenant().await;
    let endpoint = tenant.endpoint("https://example.com/webhooks").create().await;
    let (id, first) = (endpoint.id.clone(), endpoint.secret.clone());
    let rotating: Vec<_> = (0..3)
        .map(|_| {
            let (tenant, id) = (tenant.clone(), id.clone());
            tokio::spawn(async move { text(&rotate(&tenant, &id, json!({})).await, "secret") })
        })
        .collect();
    let mut made = vec![first];
    for rotation in rotating {
        made.push(rotation.await.unwrap());
    }
    let shown = revealed(&tenant, &id).await;
    let previous = shown["previous"].as_array().unwrap().iter().map(|key| text(key, "secret"));
    let mut valid: Vec<_> = previous.chain([text(&shown, "secret")]).collect();
    made.sort();
    valid.sort();
    assert_eq!(valid, made);
}

#[tokio::test]
async fn a_full_document_does_not_stop_a_rotation() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    let endpoint = tenant.endpoint(&receiver.url()).create().await;
    let (id, old) = (endpoint.id.clone(), endpoint.secret.clone());
    // As if many endpoints beside it were in the middle of a rotation.
    let mut full = document(&stack, &tenant).await;
    full["ept_of_another"] = json!(["x".repeat(65_000)]);
    let name = format!("{}/endpoints/{}/0", stack.name(), tenant.tenant_id());
    let put = json!({ "SecretId": name, "SecretString": full.to_string() });
    let response = stack.aws("secretsmanager", "secretsmanager.PutSecretValue", put).await;
    let pointer = json!({
        "TableName": stack.output("RegistryTableName"),
        "Item": {
            "pk": { "S": tenant.tenant_id() }, "sk": { "S": "secret#endpoints#0000" },
            "shard": { "N": "0" }, "version": { "S": text(&response, "VersionId") }, "size": { "N": "65100" },
        },
    });
    stack.aws("dynamodb", "DynamoDB_20120810.PutItem", pointer).await;
    tokio::time::sleep(CACHE_AGE).await;
    let new = text(&rotate(&tenant, &id, json!({})).await, "secret");
    let shown = revealed(&tenant, &id).await;
    assert_eq!((&shown["secret"], &shown["previous"][0]["secret"]), (&json!(new), &json!(old)));
    // And once more, where they lie now.
    let newest = text(&rotate(&tenant, &id, json!({})).await, "secret");
    tokio::time::sleep(CACHE_AGE).await;
    let received = next(&tenant, &receiver, "moved").await;
    assert_eq!(signatures(&received), 3);
    for secret in [&old, &new, &newest] {
        foreign::verify(&received, secret).await.expect("all are valid");
    }
}
