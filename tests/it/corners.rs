//! Nothing is lost: publishes that are never repeated, messages that cannot be processed, deliveries that are never finished.

use std::time::Duration;

use platform::store::table::keys;
use serde_json::json;
use testkit::{
    Receiver, Reply, Stack, eventually,
    proxy::{Fault, Rule},
    stack::text,
};

use crate::{AFTER_A_CRASH, CACHE_AGE, HIDDEN, SOON};

#[tokio::test]
async fn a_publish_that_died_and_was_never_repeated_is_completed() {
    let (stack, clock) = Stack::deploy_with_clock("cw-reconcile").await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    tenant.endpoint(&receiver.url()).create().await;
    let hits = stack.rule(&Rule::new("SendMessageBatch", &[tenant.tenant_id()], Fault::KillBefore, 1)).await;
    let crashed = tenant.post("/v1/events", &json!({ "type": "contact.created", "data": {} })).await;
    assert!(crashed.status >= 500, "nothing may be acknowledged");
    assert_eq!(hits.count().await, 1);
    let stored = eventually("the function to be back", SOON, || async {
        let response = tenant.get("/v1/events").await;
        (response.status == 200).then(|| text(&response.json["data"][0], "id"))
    })
    .await;
    // Too young to count as lost.
    stack.run_reconcile().await;
    assert!(receiver.requests().is_empty());
    clock.ahead(Duration::from_mins(80));
    stack.run_reconcile().await;
    tenant.only_delivery(&stored, "succeeded", SOON).await;
    assert_eq!(receiver.requests().len(), 1);
    // What is done is left alone, also by a run that looks at it again.
    clock.ahead(Duration::from_mins(150));
    stack.run_reconcile().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(receiver.requests().len(), 1);
}

#[tokio::test]
async fn a_scheduler_that_died_between_lease_and_send_costs_ten_minutes() {
    let (stack, clock) = Stack::deploy_with_clock("cw-crash-due").await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::responding(|n| Reply::status(if n == 0 { 500 } else { 200 })).await;
    tenant.endpoint(&receiver.url()).retry_schedule(&[60, 60]).create().await;
    let event_id = tenant.publish("contact.created", &json!({}), "taken").await;
    tenant.only_delivery(&event_id, "retrying", SOON).await;
    let hits = stack
        .rule(&Rule::new("SendMessageBatch", &[tenant.tenant_id(), "again"], Fault::KillBefore, 1))
        .await;
    clock.ahead(Duration::from_mins(2));
    let _ = stack.try_invoke("SchedulerFunctionName", json!({ "job": "due" })).await;
    assert_eq!(hits.count().await, 1);
    // Leased and not sent: no other run takes the entry during the lease.
    eventually("the scheduler to be back", SOON, || async {
        stack.try_invoke("SchedulerFunctionName", json!({ "job": "due" })).await.ok()
    })
    .await;
    assert_eq!(receiver.requests().len(), 1);
    clock.ahead(Duration::from_secs(120 + 601));
    stack.run_due().await;
    let delivery = tenant.only_delivery(&event_id, "succeeded", SOON).await;
    assert_eq!(delivery.attempt_count, 2);
    assert_eq!(receiver.requests().len(), 2);
}

#[tokio::test]
async fn a_message_that_kills_its_function_is_quarantined_and_delivered_later() {
    let (stack, clock) = Stack::deploy_with_clock("cw-poison").await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    let watcher = Receiver::start().await;
    tenant.endpoint(&receiver.url()).event_types(&["contact.*"]).create().await;
    tenant.endpoint(&watcher.url()).event_types(&["delivery.quarantined"]).create().await;
    // A lane that gives up after two receives, and a dispatcher that dies of this message.
    for lane in ["FastLaneUrl", "SlowLaneUrl"] {
        let policy = json!({
            "deadLetterTargetArn": stack.queue_arn("DeadLettersUrl"), "maxReceiveCount": "2",
        });
        stack.set_queue_attributes(lane, json!({ "RedrivePolicy": policy.to_string() })).await;
    }
    stack.hide_messages_for(HIDDEN).await;
    let contains = [tenant.tenant_id(), keys::DELIVERIES, "INSERT"];
    let hits = stack.rule(&Rule::new("BatchExecuteStatement", &contains, Fault::KillBefore, 2)).await;
    let event_id = tenant.publish("contact.created", &json!({}), "poison").await;
    let alert = watcher.wait_for(1, Duration::from_mins(4)).await.remove(0).json();
    assert_eq!(hits.count().await, 2);
    assert_eq!(
        (&alert["type"], &alert["data"]["event_id"]),
        (&json!("delivery.quarantined"), &json!(event_id))
    );
    let posted = receiver.requests().len();
    clock.ahead(Duration::from_mins(6));
    stack.run_due().await;
    tenant.only_delivery(&event_id, "succeeded", AFTER_A_CRASH).await;
    let received = receiver.requests();
    assert_eq!(received.len(), posted + 1);
    assert!(received.iter().all(|one| one.id() == event_id));
}

#[tokio::test]
async fn unreadable_messages_are_kept_apart_and_can_be_sent_back() {
    let stack = Stack::deploy("cw-unreadable").await;
    for (index, body) in ["no JSON", r#"{"v":99}"#].into_iter().enumerate() {
        let message = json!({ "QueueUrl": stack.output("DeadLettersUrl"), "MessageBody": body });
        stack.aws("sqs", "AmazonSQS.SendMessage", message).await;
        eventually("the message in the queue of unreadable ones", SOON, || async {
            let counted = json!({
                "QueueUrl": stack.output("UnreadableUrl"), "AttributeNames": ["ApproximateNumberOfMessages"],
            });
            let counted = stack.aws("sqs", "AmazonSQS.GetQueueAttributes", counted).await;
            let count =
                counted["Attributes"]["ApproximateNumberOfMessages"].as_str()?.parse::<usize>().ok()?;
            (count == index + 1).then_some(())
        })
        .await;
    }
    // The stand-in takes a function's last lines when it is called the next time.
    stack.invoke("RescuerFunctionName", json!({ "Records": [] })).await;
    let logs = stack.logs("rescuer").await;
    assert!(logs.contains("moved unreadable message to its own queue"), "{logs}");
}

#[tokio::test]
async fn a_delivery_that_is_not_finished_when_its_event_expires_is_expired() {
    let (stack, clock) = Stack::deploy_with_clock("cw-expire").await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    let watcher = Receiver::start().await;
    let endpoint_id =
        tenant.endpoint(&receiver.url()).disabled().event_types(&["contact.*"]).create().await.id;
    tenant.endpoint(&watcher.url()).event_types(&["delivery.expired"]).create().await;
    let event_id = tenant.publish("contact.created", &json!({}), "forgotten").await;
    tenant.only_delivery(&event_id, "parked", SOON).await;
    clock.ahead(Duration::from_hours(24 * 28 - 1));
    stack.run_reconcile().await;
    assert_eq!(tenant.only_delivery(&event_id, "parked", SOON).await.status, "parked");
    clock.ahead(Duration::from_hours(24 * 28 + 1));
    stack.run_reconcile().await;
    tenant.only_delivery(&event_id, "expired", SOON).await;
    let alert = watcher.wait_for(1, SOON).await.remove(0).json();
    assert_eq!(
        (&alert["type"], &alert["data"]["endpoint_id"]),
        (&json!("delivery.expired"), &json!(endpoint_id))
    );
    // What has ended does not come back.
    tenant.post(&format!("/v1/endpoints/{endpoint_id}/enable"), &json!({})).await.expect(200);
    tokio::time::sleep(CACHE_AGE).await;
    stack.run_due().await;
    tenant.only_delivery(&event_id, "expired", SOON).await;
    assert!(receiver.requests().is_empty());
}

#[tokio::test]
async fn unreadable_messages_go_back_to_their_lane_by_make_redrive() {
    let stack = Stack::deploy("cw-redrive").await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    let endpoint_id = tenant.endpoint(&receiver.url()).create().await.id;
    // Stored and never sent, as if a version that could not read its message had kept it apart.
    let hits = stack.rule(&Rule::new("SendMessageBatch", &[tenant.tenant_id()], Fault::KillBefore, 1)).await;
    let crashed = tenant.post("/v1/events", &json!({ "type": "contact.created", "data": {} })).await;
    assert!(crashed.status >= 500);
    assert_eq!(hits.count().await, 1);
    let event_id = eventually("the function to be back", SOON, || async {
        let response = tenant.get("/v1/events").await;
        (response.status == 200).then(|| text(&response.json["data"][0], "id"))
    })
    .await;
    let body = json!({
        "v": 1, "tenant": tenant.tenant_id(), "event_id": event_id, "endpoint_id": endpoint_id, "gen": 0,
    });
    let message = json!({ "QueueUrl": stack.output("UnreadableUrl"), "MessageBody": body.to_string() });
    stack.aws("sqs", "AmazonSQS.SendMessage", message).await;
    let output = stack.run_tool("dev/redrive.py", &["--stack-name", stack.name()]).await;
    assert!(output.contains("moved 1 messages"), "{output}");
    tenant.only_delivery(&event_id, "succeeded", SOON).await;
    assert_eq!(receiver.requests().len(), 1);
    let output = stack.run_tool("dev/redrive.py", &["--stack-name", stack.name()]).await;
    assert!(output.contains("moved 0 messages"), "{output}");
}
