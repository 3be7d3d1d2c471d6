//! Functions die at the worst moments, and nothing is lost. Each test has a deployment of its own,
//! so that what it kills holds no other test's messages.

use std::{collections::HashSet, time::Duration};

use domain::ids::holder::Holder;
use platform::store::table::keys;
use serde_json::json;
use testkit::{
    Receiver, Reply, Stack,
    client::SourceView,
    eventually, foreign, process,
    proxy::{Fault, Rule},
    stack::text,
};

use crate::{AFTER_A_CRASH, CACHE_AGE, HIDDEN, SOON, pool};

#[tokio::test]
async fn the_dispatcher_dies_in_the_middle_of_a_batch() {
    let stack = Stack::deploy("cw-crash-batch").await;
    stack.hide_messages_for(HIDDEN).await;
    let tenant = stack.tenant().await;
    // Slow at first, so that the batch is under way when its function is killed.
    let receiver =
        Receiver::responding(|n| Reply::after(Duration::from_secs(if n < 10 { 5 } else { 0 }))).await;
    tenant.endpoint(&receiver.url()).create().await;
    let ids: HashSet<_> = tenant.publish_many("contact.created", 10).await.into_iter().collect();

    let victim = receiver.wait_for(1, AFTER_A_CRASH).await.remove(0);
    process::kill(
        process::of_peer(victim.peer, receiver.address())
            .expect("the dispatcher is still waiting for a response"),
    );

    for id in &ids {
        tenant.only_delivery(id, "succeeded", AFTER_A_CRASH).await;
    }
    let received = receiver.requests();
    assert_eq!(received.iter().map(|received| received.id().to_owned()).collect::<HashSet<_>>(), ids);
    let again = received.iter().filter(|other| other.id() == victim.id()).count();
    assert!(again >= 2, "what was in flight came again under its id");
}

#[tokio::test]
async fn a_publish_that_died_between_put_and_send_is_completed_by_its_retry() {
    let stack = Stack::deploy("cw-crash-publish").await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    tenant.endpoint(&receiver.url()).create().await;
    let hits = stack.rule(&Rule::new("SendMessageBatch", &[tenant.tenant_id()], Fault::KillBefore, 1)).await;
    let body = json!({ "type": "contact.created", "data": { "id": 1 } });
    let publish = || tenant.post_with("/v1/events", &[("idempotency-key", "crashed")], &body);

    let crashed = publish().await;
    assert_eq!(hits.count().await, 1);
    assert!(crashed.status >= 500, "nothing may be acknowledged: {} {}", crashed.status, crashed.json);
    // The event is stored, and its delivery waits.
    let stored = text(&tenant.get("/v1/events").await.expect(200)["data"][0], "id");
    assert_eq!(tenant.deliveries(&stored).await.data[0].status, "pending");

    let event = eventually("the function to be back", SOON, || async {
        let response = publish().await;
        (response.status < 500).then_some(response)
    })
    .await
    .expect(202);
    assert_eq!(text(&event, "id"), stored);
    let delivery = tenant.only_delivery(&stored, "succeeded", AFTER_A_CRASH).await;
    assert_eq!(delivery.attempt_count, 1);
    let received = receiver.requests();
    assert_eq!((received.len(), received[0].id()), (1, stored.as_str()));
}

#[tokio::test]
async fn a_dispatcher_that_died_between_post_and_record_posts_again_under_the_same_id() {
    let stack = Stack::deploy("cw-crash-record").await;
    stack.hide_messages_for(HIDDEN).await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    tenant.endpoint(&receiver.url()).create().await;
    let contains = [tenant.tenant_id(), keys::DELIVERIES];
    let hits = stack.rule(&Rule::new("BatchExecuteStatement", &contains, Fault::KillBefore, 1)).await;
    let event_id = tenant.publish("contact.created", &json!({}), "unrecorded").await;

    let delivery = tenant.only_delivery(&event_id, "succeeded", AFTER_A_CRASH).await;
    assert_eq!(hits.count().await, 1);
    // The attempt whose record was lost is not known; the one that is known succeeded.
    assert_eq!(delivery.attempt_count, 1);
    let received = receiver.requests();
    assert_eq!(received.len(), 2);
    assert!(received.iter().all(|received| received.id() == event_id));
}

#[tokio::test]
async fn a_record_whose_response_was_lost_is_not_written_twice() {
    let stack = Stack::deploy("cw-crash-response").await;
    stack.hide_messages_for(HIDDEN).await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::responding(|n| Reply::status(if n == 0 { 503 } else { 200 })).await;
    tenant.endpoint(&receiver.url()).create().await;
    let first = [tenant.tenant_id(), keys::DELIVERIES, "INSERT"];
    let second = [tenant.tenant_id(), keys::DELIVERIES, "UPDATE"];
    let first = stack.rule(&Rule::new("BatchExecuteStatement", &first, Fault::LoseResponse, 1)).await;
    let second = stack.rule(&Rule::new("BatchExecuteStatement", &second, Fault::KillAfter, 1)).await;
    let event_id = tenant.publish("contact.created", &json!({}), "unheard").await;
    let delivery = tenant.only_delivery(&event_id, "succeeded", AFTER_A_CRASH).await;
    assert_eq!((first.count().await, second.count().await), (1, 1));
    assert_eq!(delivery.attempt_count, 2);
    // The message of the killed function comes back once more, finds the delivery finished, and
    // is dropped without another request.
    stack.until_lanes_are_idle(AFTER_A_CRASH).await;
    assert_eq!(receiver.requests().len(), 2);

    // A last attempt is the occasion of an alert and a line of the log, although its record got no response.
    let tenant = stack.tenant().await;
    let failing = Receiver::responding(|_| Reply::status(500)).await;
    let endpoint =
        tenant.endpoint(&failing.url()).event_types(&["contact.*"]).retry_schedule(&[]).create().await;
    let watcher = Receiver::start().await;
    tenant.endpoint(&watcher.url()).event_types(&["delivery.exhausted"]).create().await;
    let only = [tenant.tenant_id(), "delivery#", "INSERT"];
    let only = stack.rule(&Rule::new("BatchExecuteStatement", &only, Fault::LoseResponse, 1)).await;
    let event_id = tenant.publish("contact.created", &json!({}), "exhausted unheard").await;
    let alert = watcher.wait_for(1, AFTER_A_CRASH).await.remove(0).json();
    let delivery_id = endpoint.delivery_id(&event_id);
    assert_eq!(alert["data"]["delivery_id"], delivery_id.as_str());
    assert_eq!((only.count().await, failing.requests().len()), (1, 1));
    let logs = stack.logs("dispatcher").await;
    let lines = logs.lines().filter(|line| line.contains(&delivery_id) && line.contains("\"attempt\""));
    assert_eq!(lines.count(), 1, "{logs}");
}

#[tokio::test]
async fn an_inbound_request_whose_function_died_is_accepted_at_the_providers_retry() {
    const SECRET: &str = "whsec_test_key_of_the_crash_tests";
    let stack = Stack::deploy("cw-crash-inbound").await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    tenant.endpoint(&receiver.url()).create().await;
    let source = json!({ "provider": "stripe", "secrets": [SECRET] });
    let source: SourceView = tenant.post("/v1/sources", &source).await.read(201);
    let path = format!("/in/stripe/{}", source.id);
    let hits = stack.rule(&Rule::new("SendMessageBatch", &[tenant.tenant_id()], Fault::KillBefore, 1)).await;
    let body = r#"{"id":"evt_crashed","type":"invoice.paid","created":1700000000}"#;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let signature = foreign::stripe_signature(body, SECRET, now).await;
    let headers = [("stripe-signature", signature.as_str())];
    let send = || tenant.send(reqwest::Method::POST, &path, &headers, Some(body.as_bytes().to_vec()));
    assert!(send().await.status >= 500);
    assert_eq!(hits.count().await, 1);
    let response = eventually("the function to be back", SOON, || async {
        let response = send().await;
        (response.status < 500).then_some(response)
    })
    .await;
    let event_id = response.expect(200)["event_ids"][0].as_str().expect("an id").to_owned();
    tenant.only_delivery(&event_id, "succeeded", AFTER_A_CRASH).await;
    assert_eq!(receiver.requests().len(), 1);
}

/// Two tenants' keys are in one document when a change of it stops before or after its commit.
#[tokio::test]
async fn a_rotation_that_died_loses_no_key_of_any_tenant() {
    let stack = Stack::deploy("cw-crash-secrets").await;
    let tenants = [stack.tenant().await, stack.tenant().await];
    let receivers = [Receiver::start().await, Receiver::start().await];
    let mut endpoints = Vec::new();
    for (tenant, receiver) in tenants.iter().zip(&receivers) {
        endpoints.push(tenant.endpoint(&receiver.url()).create().await);
    }
    assert_eq!(pool::pointers(&stack).await.len(), 1, "they share a shard");
    let (path, old) = (endpoints[0].path("/secret/rotate"), endpoints[0].secret.clone());
    // Before the pointer moves the new version does not count; afterwards it does, though no response shows it.
    for (fault, committed) in [(Fault::KillBefore, false), (Fault::KillAfter, true)] {
        let before = endpoints[0].secret().await;
        let stops = Rule::new(
            "PutItem",
            &[stack.output("RegistryTableName"), &keys::secrets_partition(Holder::Endpoints), keys::SECRETS],
            fault,
            1,
        );
        let hits = stack.rule(&stops).await;
        assert!(tenants[0].post(&path, &json!({})).await.status >= 500);
        assert_eq!(hits.count().await, 1);
        let after = eventually("the function to be back", SOON, || async {
            let response = tenants[0].get(&endpoints[0].path("/secret")).await;
            (response.status < 500).then_some(response)
        })
        .await
        .expect(200);
        assert_eq!(after["fingerprint"] != json!(before.fingerprint), committed, "{after}");
        tokio::time::sleep(CACHE_AGE).await;
        for ((tenant, receiver), endpoint) in tenants.iter().zip(&receivers).zip(&endpoints) {
            let id = tenant.publish("contact.created", &json!({}), &format!("{committed}")).await;
            tenant.only_delivery(&id, "succeeded", AFTER_A_CRASH).await;
            let received = receiver.requests().into_iter().rev().find(|one| one.id() == id).unwrap();
            foreign::verify(&received, &endpoint.secret).await.expect("the key of its creation still signs");
        }
        // The other tenant changes the same document: once the lease of the dead function has expired.
        let other = endpoints[1].path("/secret/rotate");
        eventually("the other tenant's rotation", AFTER_A_CRASH, || async {
            let response = tenants[1].post(&other, &json!({ "overlap_seconds": 600 })).await;
            (response.status == 200).then_some(())
        })
        .await;
    }
    let new = endpoints[0].rotate(json!({})).await.secret.unwrap();
    let shown = endpoints[0].secret().await;
    let previous: Vec<_> = shown.previous.iter().filter_map(|key| key.secret.clone()).collect();
    assert_eq!(shown.secret, Some(new));
    // The key of the creation, and the one that was committed and never shown.
    assert!(previous.len() == 2 && previous.contains(&old), "{}", previous.len());
}
