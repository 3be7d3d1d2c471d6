//! Alerts to owners and operators: one for each condition, however often it happens.

use std::time::{Duration, SystemTime};

use serde_json::json;
use testkit::{
    FlakyReceiver, Receiver, Reply, Stack, Subscription, eventually, process, stack::text, within,
};

use crate::{AFTER_A_CRASH, CACHE_AGE, SOON};

/// Time in which a second alert would have come.
const QUIET: Duration = Duration::from_secs(4);

fn types(received: &[testkit::Received]) -> Vec<String> {
    let mut types: Vec<_> = received.iter().map(|one| text(&one.json(), "type")).collect();
    types.sort_unstable();
    types
}

#[tokio::test]
async fn a_storm_of_failures_is_one_alert() {
    storm_is_one_alert("cw-storm", 60).await;
}

#[tokio::test]
async fn a_storm_of_a_thousand_failures_is_one_alert() {
    storm_is_one_alert("cw-storm-load", 1100).await;
}

async fn storm_is_one_alert(stack_name: &str, events: usize) {
    let stack = Stack::deploy(stack_name).await;
    let tenant = stack.tenant().await;
    // One success now and then, so that the circuit stays closed on a slow machine, too.
    let receiver = Receiver::responding(|n| Reply::status(if n % 21 == 20 { 200 } else { 500 })).await;
    let single = json!({ "retry_schedule_seconds": [], "event_types": ["contact.*"] });
    let endpoint = tenant.endpoint(&receiver.url()).settings(&single).create().await;
    let watcher = Receiver::start().await;
    tenant.endpoint(&watcher.url()).event_types(&["delivery.*", "endpoint.*"]).create().await;
    let topic = Subscription::to(&stack, "AlertsTopicArn", tenant.tenant_id()).await;
    tenant.publish_many("contact.created", events).await;
    let stats = eventually("all deliveries to be finished", AFTER_A_CRASH, || async {
        let stats = endpoint.stats().await;
        (stats.deliveries_succeeded + stats.deliveries_exhausted >= events as u64).then_some(stats)
    })
    .await;
    assert!(stats.deliveries_exhausted >= events as u64 * 9 / 10, "{stats:?}");
    assert!(receiver.requests().len() >= events);
    let expected = ["delivery.exhausted", "endpoint.failing"];
    watcher.wait_for(2, SOON).await;
    tokio::time::sleep(QUIET).await;
    let received = watcher.requests();
    assert_eq!(types(&received), expected);
    let messages = topic.messages().await;
    let mut kinds: Vec<_> = messages.iter().map(|message| text(message, "type")).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, expected, "{messages:?}");
    for message in &messages {
        assert_eq!(
            (&message["tenant"], &message["endpoint_id"]),
            (&json!(tenant.tenant_id()), &json!(endpoint.id))
        );
        assert!(message["message"].is_string() && message["time"].is_string(), "{message}");
    }
    let failing = received.iter().map(testkit::Received::json).find(|one| one["type"] == "endpoint.failing");
    let data = &failing.unwrap()["data"];
    assert_eq!((&data["reason"], &data["endpoint_id"]), (&json!("rate"), &json!(endpoint.id)));
    assert!(
        data["failure_rate"].as_f64().unwrap() >= 0.5 && data["attempts"].as_u64().unwrap() >= 20,
        "{data}"
    );
    assert!(data["window"]["from"].is_string() && data["disabled_at"].is_null(), "{data}");
    // Not a put for each failure: each of the functions that ran side by side tried once, or twice if it was
    // already trying.
    let logs = stack.logs("dispatcher").await;
    let tried = logs.lines().filter(|line| line.contains(r#""alert":"delivery.exhausted""#)).count();
    assert!((1..=24).contains(&tried), "{tried} tries for {events} failures");
}

#[tokio::test]
async fn an_alert_is_not_repeated_because_an_hour_ends() {
    let (stack, clock) = Stack::deploy_with_clock("cw-alert-hour").await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::responding(|_| Reply::status(500)).await;
    let single = json!({ "retry_schedule_seconds": [], "event_types": ["contact.*"] });
    let endpoint_id = tenant.endpoint(&receiver.url()).settings(&single).create().await.id;
    let watcher = Receiver::start().await;
    tenant.endpoint(&watcher.url()).event_types(&["delivery.*"]).create().await;
    // A minute before a full hour.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let hour = Duration::from_hours(1);
    let into = Duration::from_secs(now.as_secs() % hour.as_secs());
    let mut ahead = (hour * 2).saturating_sub(Duration::from_mins(1) + into);
    clock.ahead(ahead);
    let first = tenant.publish("contact.created", &json!({}), "before").await;
    tenant.only_delivery(&first, "exhausted", SOON).await;
    watcher.wait_for(1, SOON).await;
    // The functions that start then remember nothing.
    for (pid, name) in stack.processes() {
        if name == stack.functions["dispatcher"] {
            process::kill(pid);
        }
    }
    ahead += Duration::from_mins(3);
    clock.ahead(ahead);
    let second = tenant.publish("contact.created", &json!({}), "after").await;
    tenant.only_delivery(&second, "exhausted", AFTER_A_CRASH).await;
    tokio::time::sleep(QUIET).await;
    assert_eq!(watcher.requests().len(), 1, "3 minutes later");
    ahead += hour;
    clock.ahead(ahead);
    let third = tenant.publish("contact.created", &json!({}), "much later").await;
    tenant.only_delivery(&third, "exhausted", AFTER_A_CRASH).await;
    let alerts = watcher.wait_for(2, SOON).await;
    assert_eq!(types(&alerts), ["delivery.exhausted"; 2]);
    for (alert, event_id) in alerts.iter().zip([first, third]) {
        let data = &alert.json()["data"];
        assert_eq!((&data["event_id"], &data["endpoint_id"]), (&json!(event_id), &json!(endpoint_id)));
    }
}

#[tokio::test]
async fn a_topic_that_refuses_messages_does_not_stop_the_notification_of_owners() {
    let stack = Stack::deploy_edited("cw-no-topic", |template| {
        let nowhere = "ALERTS_TOPIC_ARN: arn:aws:sns:us-east-1:000000000000:nowhere";
        template.replace("ALERTS_TOPIC_ARN: !Ref AlertsTopic", nowhere)
    })
    .await;
    let tenant = stack.tenant().await;
    let (receiver, watcher) = (Receiver::responding(|_| Reply::status(500)).await, Receiver::start().await);
    let single = json!({ "retry_schedule_seconds": [], "event_types": ["contact.*"] });
    tenant.endpoint(&receiver.url()).settings(&single).create().await;
    tenant.endpoint(&watcher.url()).event_types(&["delivery.exhausted"]).create().await;
    let event_id = tenant.publish("contact.created", &json!({}), "no topic").await;
    tenant.only_delivery(&event_id, "exhausted", SOON).await;
    watcher.wait_for(1, SOON).await;
    let refused = "could not publish alert to topic";
    eventually("the refusal in the dispatcher's log", SOON, || async {
        // The stand-in takes a function's last lines when it is called the next time.
        stack.invoke("DispatcherFunctionName", json!({ "Records": [] })).await;
        let logs = stack.logs("dispatcher").await;
        logs.lines().any(|line| line.contains(refused) && line.contains("SNS responded with 4")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_that_seldom_fails_raises_no_alert() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let receiver = Receiver::responding(|n| Reply::status(if n % 3 == 0 { 500 } else { 200 })).await;
    let schedule = json!({ "retry_schedule_seconds": [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], "event_types": ["contact.*"] });
    let endpoint = tenant.endpoint(&receiver.url()).settings(&schedule).create().await;
    let watcher = Receiver::start().await;
    tenant.endpoint(&watcher.url()).event_types(&["endpoint.*"]).create().await;
    tenant.publish_many("contact.created", 40).await;
    eventually("all to arrive", AFTER_A_CRASH, || async {
        (endpoint.stats().await.deliveries_succeeded == 40).then_some(())
    })
    .await;
    assert!(watcher.requests().is_empty(), "{:?}", types(&watcher.requests()));
}

#[tokio::test]
async fn an_endpoint_that_recovers_raises_an_alert() {
    let (stack, clock) = Stack::deploy_with_clock("cw-recover").await;
    let tenant = stack.tenant().await;
    let receiver = FlakyReceiver::failing().await;
    let schedule = json!({ "retry_schedule_seconds": [40, 600, 600], "event_types": ["contact.*"] });
    let endpoint = tenant.endpoint(&receiver.url()).settings(&schedule).create().await;
    let watcher = Receiver::start().await;
    tenant.endpoint(&watcher.url()).event_types(&["endpoint.*"]).create().await;
    let topic = Subscription::to(&stack, "AlertsTopicArn", tenant.tenant_id()).await;
    // Many failures, and some more a minute later: the circuit opens.
    tenant.publish_many("contact.created", 40).await;
    receiver.wait_for(40, SOON).await;
    eventually("the failures to be known", SOON, || async {
        (endpoint.get().await.health.failures >= 10).then_some(())
    })
    .await;
    let mut ahead = Duration::from_mins(1);
    clock.ahead(ahead);
    stack.run_due().await;
    eventually("the circuit to open", SOON, || async { endpoint.get().await.health.circuit_open_until })
        .await;
    tokio::time::sleep(CACHE_AGE).await;
    tenant.publish_many("contact.created", 5).await;
    receiver.recover();
    let recovered = || async {
        watcher.requests().iter().map(testkit::Received::json).find(|one| one["type"] == "endpoint.recovered")
    };
    let mut alert = None;
    for _ in 0..20 {
        ahead += Duration::from_secs(61);
        clock.ahead(ahead);
        stack.run_due().await;
        alert = within(Duration::from_secs(2), recovered).await;
        if alert.is_some() {
            break;
        }
    }
    let alert = alert.unwrap_or_else(|| panic!("no alert was raised: {:?}", types(&watcher.requests())));
    assert_eq!(alert["data"]["endpoint_id"], json!(endpoint.id));
    assert_eq!(endpoint.get().await.health.circuit_open_until, None);
    tokio::time::sleep(QUIET).await;
    let of_kind = |kind: &str| types(&watcher.requests()).iter().filter(|one| *one == kind).count();
    assert_eq!((of_kind("endpoint.recovered"), of_kind("endpoint.failing")), (1, 1));
    let messages = topic.messages().await;
    let count = messages.iter().filter(|message| message["type"] == "endpoint.recovered").count();
    assert_eq!(count, 1, "{messages:?}");
}
