//! Signing keys: imported, rotated, switched to the other scheme; verified by libraries that are
//! not ours.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Client, ReceivedRequest, Receiver, Stack, foreign};

use crate::{CACHE_AGE, SOON, pool};

/// A key that a tenant imports.
const IMPORTED: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The webhook of one more event.
async fn next(tenant: &Client, receiver: &Receiver, name: &str) -> ReceivedRequest {
    let id = tenant.publish("contact.created", &json!({}), name).await;
    tenant.only_delivery(&id, "succeeded", SOON).await;
    receiver.requests().into_iter().rev().find(|received| received.id() == id).expect("the webhook")
}

fn signatures(received: &ReceivedRequest) -> usize {
    received.header("webhook-signature").split(' ').count()
}

#[tokio::test]
async fn both_keys_verify_until_the_old_one_expires() {
    let (stack, clock) = Stack::deploy_with_clock("cw-keys").await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    let endpoint = tenant.endpoint(&receiver.url()).settings(&json!({ "secret": IMPORTED })).create().await;
    assert_eq!(endpoint.secret, IMPORTED);
    let received = next(&tenant, &receiver, "imported").await;
    foreign::verify(&received, IMPORTED).await.expect("the imported key");
    assert_eq!(signatures(&received), 1);

    // To the other scheme, which the receiver can adopt during the overlap.
    let new = endpoint.rotate(json!({ "signing": "v1a", "overlap_seconds": 60 })).await;
    assert_eq!(new.secret, None);
    let shown = endpoint.secret().await;
    assert_eq!(shown.public_key, new.public_key);
    assert_eq!(shown.previous[0].secret.as_deref(), Some(IMPORTED));
    assert_eq!(shown.previous[0].expires_at, new.previous_expires_at);
    let public = new.public_key.unwrap();
    tokio::time::sleep(CACHE_AGE).await;
    let received = next(&tenant, &receiver, "both").await;
    assert_eq!(signatures(&received), 2);
    foreign::verify(&received, IMPORTED).await.expect("the old key");
    foreign::verify_v1a(&received, &public).await.expect("the new key");

    // No function is notified that the old key has expired.
    clock.ahead(Duration::from_secs(61));
    let received = next(&tenant, &receiver, "new").await;
    assert_eq!(signatures(&received), 1);
    foreign::verify_v1a(&received, &public).await.expect("the new key");
    foreign::verify(&received, IMPORTED).await.expect_err("the old key has expired");
    assert_eq!(endpoint.secret().await.previous, []);
}

#[tokio::test]
async fn a_leaked_key_can_be_ended_at_once() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let (receiver, watcher) = (Receiver::start().await, Receiver::start().await);
    let endpoint = tenant.endpoint(&receiver.url()).event_types(&["contact.*"]).create().await;
    let first = endpoint.secret.clone();
    tenant.endpoint(&watcher.url()).event_types(&["secret.rotated"]).create().await;
    next(&tenant, &receiver, "first").await;
    let second = endpoint.rotate(json!({})).await.secret.unwrap();
    tokio::time::sleep(CACHE_AGE).await;
    let received = next(&tenant, &receiver, "second").await;
    for secret in [&first, &second] {
        foreign::verify(&received, secret).await.expect("during the overlap");
    }
    let alert = watcher.wait_for(1, SOON).await[0].json();
    assert_eq!(alert["type"], "secret.rotated");
    assert_eq!(alert["data"]["endpoint_id"], endpoint.id);
    assert_eq!(alert["data"]["fingerprint"], endpoint.secret().await.fingerprint);
    assert_eq!(alert["data"]["previous_fingerprints"].as_array().unwrap().len(), 1);
    assert!(!alert.to_string().contains("whsec_"));

    let third = endpoint.rotate(json!({ "overlap_seconds": 0 })).await.secret.unwrap();
    let kept = pool::kept(&stack, &tenant, &endpoint.id).await.expect("its keys");
    assert_eq!(kept.as_array().unwrap().len(), 1);
    tokio::time::sleep(CACHE_AGE).await;
    let received = next(&tenant, &receiver, "third").await;
    assert_eq!(signatures(&received), 1);
    foreign::verify(&received, &third).await.expect("the newest");
    for secret in [&first, &second] {
        foreign::verify(&received, secret).await.expect_err("expired");
    }
    endpoint.delete().await;
    assert_eq!(pool::kept(&stack, &tenant, &endpoint.id).await, None, "its keys are gone too");
}

#[tokio::test]
async fn keys_that_are_refused() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let endpoint = tenant.endpoint("https://example.com/webhooks").create().await;
    let (path, secret) = (endpoint.path("/secret/rotate"), &endpoint.secret);
    let create = |body: Value| {
        let mut body = body;
        body["url"] = json!("https://example.com/webhooks");
        ("/v1/endpoints".to_owned(), body)
    };
    for ((path, body), pointer) in [
        (create(json!({ "secret": "whsec_short" })), "/secret"),
        (create(json!({ "secret": "private-text-of-a-tenant" })), "/secret"),
        (create(json!({ "secret": IMPORTED, "signing": "v1a" })), "/secret"),
        (create(json!({ "secret": 5 })), "/secret"),
        (create(json!({ "signing": "v2" })), "/signing"),
        ((path.clone(), json!({ "secret": "private-text-of-a-tenant" })), "/secret"),
        ((path.clone(), json!({ "secret": secret })), "/secret"),
        ((path.clone(), json!({ "secret": IMPORTED, "signing": "v1a" })), "/secret"),
        ((path.clone(), json!({ "overlap_seconds": 604_801 })), "/overlap_seconds"),
        ((path.clone(), json!({ "overlap_seconds": -1 })), "/overlap_seconds"),
        ((path.clone(), json!({ "overlap": 5 })), "/overlap"),
    ] {
        let response = tenant.post(&path, &body).await;
        assert_eq!((response.status, response.pointer()), (422, pointer), "{body} {}", response.json);
        let output = response.json.to_string();
        assert!(!output.contains("private-text") && !output.contains(&secret[6..]), "{output}");
    }
    assert_eq!(endpoint.secret().await.secret.as_ref(), Some(secret), "nothing was changed");

    // Three old keys, and no fourth; unless they all end.
    for _ in 0..3 {
        endpoint.rotate(json!({})).await;
    }
    assert_eq!(endpoint.secret().await.previous.len(), 3);
    let response = tenant.post(&path, &json!({})).await;
    response.expect_problem(422, "limit-reached");
    // The first one comes back, which makes no new one.
    let back = endpoint.rotate(json!({ "secret": secret })).await;
    assert_eq!(back.secret.as_ref(), Some(secret));
    endpoint.rotate(json!({ "overlap_seconds": 0 })).await;
    assert_eq!(endpoint.secret().await.previous, []);

    let stranger = stack.tenant().await;
    let response = stranger.post(&path, &json!({})).await;
    response.expect_problem(404, "not-found");
    // The scopes to change endpoints do not include their keys.
    let narrow = tenant.with_scopes(&["endpoints:write", "endpoints:read"]).await;
    let response = narrow.post(&path, &json!({})).await;
    response.expect_problem(403, "forbidden");
}

#[tokio::test]
async fn rotations_at_once_lose_no_key() {
    let tenant = Stack::shared().tenant().await;
    let endpoint = tenant.endpoint("https://example.com/webhooks").create().await;
    let rotating: Vec<_> = (0..3)
        .map(|_| {
            let endpoint = endpoint.clone();
            tokio::spawn(async move { endpoint.rotate(json!({})).await.secret.unwrap() })
        })
        .collect();
    let mut made = vec![endpoint.secret.clone()];
    for rotation in rotating {
        made.push(rotation.await.unwrap());
    }
    let shown = endpoint.secret().await;
    let previous = shown.previous.into_iter().map(|key| key.secret);
    let mut valid: Vec<_> = previous.chain([shown.secret]).flatten().collect();
    made.sort();
    valid.sort();
    assert_eq!(valid, made);
}

#[tokio::test]
async fn a_full_document_does_not_stop_a_rotation() {
    let stack = Stack::deploy("cw-full-document").await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    let endpoint = tenant.endpoint(&receiver.url()).create().await;
    let old = endpoint.secret.clone();
    // As if many endpoints beside it were in the middle of a rotation.
    let mut full = pool::document(&stack, 0).await.expect("the document");
    full["another/ept_of_another"] = json!(["x".repeat(65_000)]);
    pool::replace(&stack, 0, &full).await;
    tokio::time::sleep(CACHE_AGE).await;
    let new = endpoint.rotate(json!({})).await.secret.unwrap();
    let shown = endpoint.secret().await;
    assert_eq!((shown.secret.as_ref(), shown.previous[0].secret.as_ref()), (Some(&new), Some(&old)));
    // And once more, where they lie now.
    let newest = endpoint.rotate(json!({})).await.secret.unwrap();
    tokio::time::sleep(CACHE_AGE).await;
    let received = next(&tenant, &receiver, "moved").await;
    assert_eq!(signatures(&received), 3);
    for secret in [&old, &new, &newest] {
        foreign::verify(&received, secret).await.expect("all are valid");
    }
}
