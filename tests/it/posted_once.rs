//! What could post a webhook twice, or not at all, although nothing was lost: copies of a message, records
//! that are not written at once, ids that come again, and faults that last for one tenant.

use std::time::Duration;

use domain::{EventId, Timestamp, delivery::lane};
use platform::{runtime::clock, store::table::keys};
use serde_json::json;
use testkit::{
    Client, Receiver, Reply, Stack, eventually,
    proxy::{Fault, Rule},
};

use crate::{
    AFTER_A_CRASH, CACHE_AGE, SOON,
    grants::without,
    tables::{self, Table},
};

/// After this the copies of messages that may have been sent have been received, which are held back.
const COPIES_COME: Duration = Duration::from_secs(8);

/// The message of a delivery, as it is in a lane.
fn message(tenant: &Client, event_id: &str, endpoint_id: &str, again: bool) -> String {
    let payload = serde_json::value::RawValue::from_string(r#"{"sent":"directly"}"#.to_owned()).unwrap();
    let message = lane::Message {
        v: lane::VERSION,
        tenant: tables::tenant(tenant),
        event_id: tables::id(event_id),
        endpoint_id: tables::id(endpoint_id),
        generation: 0,
        operator: false,
        check: false,
        again,
        event_type: Some(tables::id("contact.created")),
        at: (!again).then(clock::machine_now),
        retention_days: domain::delivery::Retention::DEFAULT,
        payload: (!again).then_some(&payload),
    };
    serde_json::to_string(&message).unwrap()
}

#[tokio::test]
async fn two_copies_in_one_batch_are_one_attempt() {
    let stack = Stack::deploy("cw-copies").await;
    let tenant = stack.tenant().await;
    // Slow enough for both to be under way.
    let receiver = Receiver::responding(|_| Reply::after(Duration::from_secs(1))).await;
    let endpoint = tenant.endpoint(&receiver.url()).create().await;
    let event_id = EventId::new(Timestamp::from_secs(1_700_000_000), [7; 10]).to_string();
    let body = message(&tenant, &event_id, &endpoint.id, false);
    let copies: Vec<_> = ["one", "other"].iter().map(|id| json!({ "Id": id, "MessageBody": body })).collect();
    let batch = json!({ "QueueUrl": stack.output("FastLaneUrl"), "Entries": copies });
    // A poll between the two would make two batches of them.
    stack.read_queues("DispatcherFunctionName", false).await;
    stack.aws("sqs", "AmazonSQS.SendMessageBatch", batch).await;
    stack.read_queues("DispatcherFunctionName", true).await;
    receiver.wait_for(1, SOON).await;
    // The other copy finds the attempt on record.
    stack.until_lanes_are_idle(AFTER_A_CRASH).await;
    assert_eq!(receiver.requests().len(), 1);
}

#[tokio::test]
async fn messages_that_are_sent_twice_because_a_response_was_lost_are_one_attempt() {
    let stack = Stack::deploy("cw-sent-twice").await;
    let tenant = stack.tenant().await;
    // Slow enough for the copies to be received meanwhile, if nothing held them back.
    let receiver = Receiver::responding(|_| Reply::after(Duration::from_secs(1))).await;
    tenant.endpoint(&receiver.url()).create().await;
    let lost = Rule::new("SendMessageBatch", &[tenant.tenant_id()], Fault::LoseResponse, 1);
    let hits = stack.rule(&lost).await;
    tenant.publish_many("contact.created", 5).await;
    assert_eq!(hits.count().await, 1);
    receiver.wait_for(5, SOON).await;
    tokio::time::sleep(COPIES_COME).await;
    stack.until_lanes_are_idle(AFTER_A_CRASH).await;
    assert_eq!(receiver.requests().len(), 5);
}

#[tokio::test]
async fn messages_that_were_not_sent_are_sent_again() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    tenant.endpoint(&receiver.url()).create().await;
    let cut = Rule::new("SendMessageBatch", &[tenant.tenant_id()], Fault::Cut, 2);
    let hits = stack.rule(&cut).await;
    let ids = tenant.publish_many("contact.created", 5).await;
    assert_eq!(hits.count().await, 2, "the third call was heard");
    for id in &ids {
        tenant.only_delivery(id, "succeeded", AFTER_A_CRASH).await;
    }
    assert_eq!(receiver.requests().len(), 5);
}

#[tokio::test]
async fn a_record_that_the_table_has_no_capacity_for_is_written_later() {
    let stack = Stack::deploy("cw-throttled-record").await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    tenant.endpoint(&receiver.url()).create().await;
    // More often than the SDK repeats one call.
    let contains = [tenant.tenant_id(), keys::DELIVERIES, "INSERT"];
    let hits = stack.rule(&Rule::new("BatchExecuteStatement", &contains, Fault::Throttle, 8)).await;
    let event_id = tenant.publish("contact.created", &json!({}), "throttled").await;
    tenant.only_delivery(&event_id, "succeeded", SOON).await;
    assert_eq!(hits.count().await, 8);
    stack.until_lanes_are_idle(AFTER_A_CRASH).await;
    assert_eq!(receiver.requests().len(), 1, "it was not posted again");
}

#[tokio::test]
async fn an_idempotency_key_that_is_used_again_after_the_retention_is_delivered() {
    let (stack, clock) = Stack::deploy_with_clock("cw-key-again").await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    tenant.endpoint(&receiver.url()).create().await;
    let event_id = tenant.publish("contact.created", &json!({ "n": 1 }), "again").await;
    tenant.only_delivery(&event_id, "succeeded", SOON).await;
    // DynamoDB removes expired rows one by one, so the event can be gone before its delivery.
    let forget = async || {
        let key = keys::event(&tables::tenant(&tenant), tables::id(&event_id));
        Table::events(&stack).delete(key).await;
        tokio::time::sleep(CACHE_AGE).await;
    };
    let publish = async |n: usize| {
        let again = tenant.publish("contact.created", &json!({ "n": n }), "again").await;
        assert_eq!(again, event_id, "the id follows from the key");
        let accepted = tenant.get(&format!("/v1/events/{event_id}")).await.expect(200)["created_at"].clone();
        let accepted = accepted.as_str().expect("a time").to_owned();
        let received = receiver.wait_for(n, SOON).await;
        assert_eq!(received[n - 1].json()["data"]["n"], json!(n));
        eventually("its attempt to replace the earlier ones", SOON, || async {
            let delivery = tenant.only_delivery(&event_id, "succeeded", SOON).await;
            let [attempt] = &delivery.attempts[..] else { panic!("{delivery:?}") };
            (attempt.started_at > accepted).then_some(())
        })
        .await;
    };
    clock.ahead(Duration::from_hours(24 * 31));
    forget().await;
    publish(2).await;
    // The same where the message comes so late that the row is read before the attempt.
    clock.ahead(Duration::from_hours(24 * 62));
    forget().await;
    let late = Rule::new("SendMessageBatch", &[tenant.tenant_id()], Fault::Delay { ms: 11_000 }, 1);
    stack.rule(&late).await;
    publish(3).await;
}

#[tokio::test]
async fn a_fault_that_lasts_for_one_tenant_leaves_the_lanes() {
    let stack = Stack::deploy_edited("cw-postponed", |template| {
        without(template, "DispatcherRole", "ReadSigningKeys")
    })
    .await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    let endpoint = tenant.endpoint(&receiver.url()).create().await;
    let event_id = tenant.publish("contact.created", &json!({}), "postponed").await;
    let body = message(&tenant, &event_id, &endpoint.id, true);
    let sent = json!({ "QueueUrl": stack.output("SlowLaneUrl"), "MessageBody": body });
    stack.aws("sqs", "AmazonSQS.SendMessage", sent).await;
    let delivery = eventually("the delivery to be postponed", SOON, || async {
        let delivery = tenant.deliveries(&event_id).await.data.into_iter().next()?;
        delivery.next_attempt_at.is_some().then_some(delivery)
    })
    .await;
    assert_eq!((delivery.status.as_str(), delivery.attempt_count), ("pending", 0));
    // Its message is gone, and the due index is its driver.
    let slow = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"];
    eventually("the slow lane to be empty", SOON, || async {
        let counts = stack.queue_attributes("SlowLaneUrl", &slow).await;
        slow.iter().all(|name| counts[name] == "0").then_some(())
    })
    .await;
    assert!(receiver.requests().is_empty());
}
