//! Each alarm of the template fires when its condition really occurs.
//!
//! A drill does harm to a deployment of its own until the alarm's own definition, as it is
//! deployed, is breached by what was measured. `meter.rs` says how each metric is measured.

mod backups;
mod connections;
mod executions;
mod meter;

use std::{
    collections::BTreeSet,
    sync::Mutex,
    time::{Duration, Instant},
};

use platform::store::table::keys;
use serde_json::{Value, json};
use testkit::{
    Client, Receiver, Reply, Stack,
    alarms::Alarm,
    eventually,
    proxy::{Fault, Rule},
    stack::{Clock, root, text},
};

use crate::{
    SOON,
    tables::{self, Table},
};
use meter::Meter;

/// Alarms whose drills leave the deployment at work.
const AT_WORK: [&str; 42] = [
    "backups-fail",
    "jobs-dropped",
    "jobs-dead-letters-not-empty",
    "live-fails",
    "http-throttled",
    "consumers-throttled",
    "concurrency-claimed",
    "first-attempts-fail",
    "inbound-fails",
    "sources-refuse",
    "errors-inbound-apple",
    "errors-inbound-brevo",
    "errors-inbound-custom",
    "errors-inbound-google-calendar",
    "errors-inbound-zapier",
    "tables-throttled",
    "secrets-throttled",
    "api-fails",
    "errors-api",
    "errors-inbound-stripe",
    "errors-dispatcher",
    "errors-fanout",
    "errors-rescuer",
    "errors-scheduler",
    "errors-oauth",
    "errors-tenant-eraser",
    "errors-tenant-exporter",
    "errors-calendar-sync",
    "errors-mls-sync",
    "syncs-dead-letters-not-empty",
    "errors-token-refresher",
    "deliveries-rescued",
    "unreadable-not-empty",
    "connections-dead-letters-not-empty",
    "connections-to-reauthorize",
    "idp-credentials-refused",
    "due-late",
    "repair-late",
    "expire-late",
    "checkpoints-late",
    "audit-trails-broken",
    "audit-stream-late",
];

/// Alarms whose drills need functions that take nothing from their queues, in this order: what is
/// in flight cannot be asked for its age.
const AT_REST: [&str; 8] = [
    "fast-lane-late",
    "quiet-tenants-late",
    "slow-lane-late",
    "pages-late",
    "dead-letters-stay",
    "connections-late",
    "fast-lane-in-flight",
    "slow-lane-in-flight",
];

/// The queue of the audit stream, which the drill takes away.
const STREAM: &str = "cw-drills-audit-entries";

/// Entries of the runbook about what a person does without an alarm.
const WITHOUT_ALARM: [&str; 1] = ["restore"];

/// First attempts of the drill, above the 20 below which the alarm says nothing.
const ATTEMPTS: usize = 25;

/// More than the deployment's `AlarmInFlight`.
const IN_FLIGHT: usize = 5;

fn rule(operation: &str, tenant: &Client, fault: Fault, times: u32) -> Rule {
    Rule::new(operation, &[tenant.tenant_id()], fault, times)
}

/// The alarms of these names; all of the deployment notify its topic.
async fn find(stack: &Stack, names: &[&str]) -> Vec<Alarm> {
    let alarms = stack.alarms().await;
    assert!(alarms.iter().all(|alarm| alarm.notifies(stack.output("AlertsTopicArn"))));
    let named = |name: &&str| alarms.iter().find(|alarm| alarm.name == *name).cloned();
    names.iter().map(|name| named(name).unwrap_or_else(|| panic!("no alarm {name}"))).collect()
}

async fn quiet(meter: &Meter, alarms: &[Alarm]) {
    for alarm in alarms {
        let what = format!("{} to be quiet", alarm.name);
        eventually(&what, SOON, || async {
            let result = alarm.result(&meter.measure(alarm).await);
            if alarm.is_breached_by(result) {
                assert_eq!(result, None, "{} fires without a cause", alarm.name);
                meter.flush().await;
                return None;
            }
            Some(())
        })
        .await;
    }
}

async fn fires(meter: &Meter, alarm: &Alarm) {
    let began = Instant::now();
    loop {
        let measured = meter.measure(alarm).await;
        let result = alarm.result(&measured);
        if result.is_some() && alarm.is_breached_by(result) {
            return;
        }
        assert!(began.elapsed() < SOON, "{} does not fire, at {result:?} of {measured:?}", alarm.name);
        meter.flush().await;
    }
}

#[tokio::test]
async fn alarms_fire_when_their_condition_occurs() {
    let stream = Stack::shared().queue_arn_of(&make_queue(&Stack::shared(), STREAM).await);
    let parameters = [("AuditStream", stream.as_str()), ("AccountConcurrency", "10")];
    let (stack, clock) = Stack::deploy_with_clock_and("cw-drills", &parameters).await;
    let meter = Meter::new(stack.clone());
    let alarms = find(&stack, &AT_WORK).await;
    stack.run_due().await;
    stack.run_reconcile().await;
    stack.run_checkpoints().await;
    stack.run_audit_stream().await.expect("it runs");
    quiet(&meter, &alarms).await;
    let inbox = inbox(&stack).await;
    tokio::join!(
        first_attempts_fail(&stack),
        a_table_throttles(&stack),
        secrets_manager_throttles(&stack),
        the_api_fails(&stack, &meter),
        inbound_requests_fail(&stack, &meter),
        a_source_refuses(&stack),
        functions_die(&stack),
        a_delivery_is_rescued(&stack),
        a_message_cannot_be_read(&stack),
        a_delivery_is_due(&stack),
        connections::grants_are_revoked(&stack),
        connections::a_provider_refuses_credentials(&stack),
    );
    executions::are_throttled(&stack, &meter).await;
    executions::are_claimed(&stack, &meter).await;
    backups::fail(&meter);
    let url = make_queue(&stack, STREAM).await;
    stack.aws("sqs", "AmazonSQS.DeleteQueue", json!({ "QueueUrl": url })).await;
    stack.tenant().await;
    clock.ahead(Duration::from_mins(30));
    stack.run_due().await;
    stack.run_audit_stream().await.expect("it runs");
    a_trail_is_cut(&stack, &clock).await;
    the_jobs_cannot_go_on(&stack, &clock).await;
    for alarm in &alarms {
        fires(&meter, alarm).await;
        // What functions measured reaches the stand-in's alarms as CloudWatch would take it there.
        if alarm.is_plain() && alarm.watched()[0].namespace.starts_with("CoreWebhooks/") {
            meter.relay(alarm).await;
            notified(&stack, &inbox, alarm).await;
        }
    }
    the_dashboard_can_be_read(&stack).await;
}

#[tokio::test]
async fn alarms_fire_when_the_queues_are_not_read() {
    let parameters = [
        ("AlarmLateSeconds", "2"),
        ("AlarmSlowLateSeconds", "3"),
        ("AlarmConnectionsLateSeconds", "2"),
        ("AlarmInFlight", "4"),
        // What the drill takes stays in flight.
        ("LaneVisibilitySeconds", "120"),
    ];
    let stack = Stack::deploy_with("cw-drills-rest", &parameters).await;
    let meter = Meter::new(stack.clone());
    executions::of_jobs_are_missing(&stack, &meter).await;
    backups::are_missing(&stack, &meter).await;
    let alarms = find(&stack, &AT_REST).await;
    quiet(&meter, &alarms).await;
    for output in
        ["DispatcherFunctionName", "FanOutFunctionName", "RescuerFunctionName", "TokenRefresherFunctionName"]
    {
        stack.read_queues(output, false).await;
    }
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    tenant.endpoint(&receiver.url()).create().await;
    for n in 0..IN_FLIGHT {
        tenant.publish("contact.created", &json!({}), &format!("late {n}")).await;
        send(&stack, "SlowLaneUrl", "{}").await;
    }
    send(&stack, "FanOutPagesUrl", "{}").await;
    send(&stack, "DeadLettersUrl", "{}").await;
    send(&stack, "ConnectionsQueueUrl", "{}").await;
    for alarm in &alarms {
        if alarm.name.ends_with("-in-flight") {
            meter.take(alarm, IN_FLIGHT).await;
        }
        fires(&meter, alarm).await;
    }
    assert!(receiver.requests().is_empty());
}

/// Alarms, their entries in the runbook and their drills are the same, by name.
#[test]
fn every_alarm_has_a_drill_and_an_entry_in_the_runbook() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let (template, runbook) = (read("template.yaml"), read("docs/runbook.md"));
    let after = |text: &str, mark: &str| -> Vec<String> {
        let found = text.lines().filter_map(|line| line.split_once(mark));
        found.map(|(_, rest)| rest.split_whitespace().next().unwrap_or_default().to_owned()).collect()
    };
    let alarms = after(&template, "AlarmName: !Sub ${AWS::StackName}-");
    assert_eq!(alarms.len(), template.matches("Type: AWS::CloudWatch::Alarm").count());
    let silent = executions::HEARTBEATS.map(|(alarm, _)| alarm);
    let silent = silent.into_iter().chain(backups::SILENT.map(|(alarm, _)| alarm));
    let drills: BTreeSet<_> =
        AT_WORK.into_iter().chain(AT_REST).chain(silent).map(ToOwned::to_owned).collect();
    assert_eq!(alarms.iter().cloned().collect::<BTreeSet<_>>(), drills);
    let named = after(&template, "See docs/runbook.md#");
    assert_eq!(named.len(), alarms.len(), "an alarm does not say where to read on");
    for (alarm, entry) in alarms.iter().zip(&named) {
        let expected = if alarm.starts_with("errors-") { "function-errors" } else { alarm };
        assert_eq!(entry, expected);
    }
    let entries = runbook.lines().filter_map(|line| line.strip_prefix("## ")).map(ToOwned::to_owned);
    let mut expected: BTreeSet<_> = named.into_iter().collect();
    expected.extend(WITHOUT_ALARM.map(ToOwned::to_owned));
    assert_eq!(entries.collect::<BTreeSet<_>>(), expected);
}

async fn first_attempts_fail(stack: &Stack) {
    let tenant = stack.tenant().await;
    let receiver = Receiver::responding(|_| Reply::status(500)).await;
    tenant.endpoint(&receiver.url()).retry_schedule(&[86_400]).create().await;
    let events: Vec<_> = (0..ATTEMPTS).map(|_| json!({ "type": "contact.created", "data": {} })).collect();
    tenant.post("/v1/events/batch", &json!({ "events": events })).await.expect(202);
    receiver.wait_for(ATTEMPTS, SOON).await;
}

async fn a_table_throttles(stack: &Stack) {
    let tenant = stack.tenant().await;
    let hits = stack.rule(&rule("PutItem", &tenant, Fault::Throttle, 1)).await;
    tenant.publish("contact.created", &json!({}), "throttled").await;
    assert_eq!(hits.count().await, 1);
}

async fn secrets_manager_throttles(stack: &Stack) {
    let tenant = stack.tenant().await;
    // The first key of a pool creates a secret, another one is a version of it.
    let create = stack.rule(&rule("CreateSecret", &tenant, Fault::Throttle, 1)).await;
    let put = stack.rule(&rule("PutSecretValue", &tenant, Fault::Throttle, 1)).await;
    let receiver = Receiver::start().await;
    tenant.endpoint(&receiver.url()).create().await;
    assert!(create.count().await + put.count().await > 0);
}

/// Requests that do not reach their table, beside some that do.
async fn the_api_fails(stack: &Stack, meter: &Meter) {
    let tenant = stack.tenant().await;
    // Of events alone: jobs note the tenants that they have visited.
    let events = [stack.output("EventsTableName"), tenant.tenant_id()];
    stack.rule(&Rule::new("PutItem", &events, Fault::Cut, 1_000)).await;
    let event = json!({ "type": "contact.created", "data": {} });
    for _ in 0..5 {
        meter.record_response(tenant.post("/v1/events", &event).await.status);
        meter.record_response(tenant.get("/v1/events").await.status);
    }
}

/// Events of a provider that cannot be stored.
async fn inbound_requests_fail(stack: &Stack, meter: &Meter) {
    let tenant = stack.tenant().await;
    let body = json!({ "provider": "pipedrive", "secrets": ["user:a_test_password_of_ours"] });
    let source = tenant.post("/v1/sources", &body).await.expect(201);
    // Of events alone: jobs note the tenants that they have visited.
    let events = [stack.output("EventsTableName"), tenant.tenant_id()];
    stack.rule(&Rule::new("PutItem", &events, Fault::Cut, 1_000)).await;
    let path = format!("/in/pipedrive/{}", text(&source, "id"));
    let basic = "Basic dXNlcjphX3Rlc3RfcGFzc3dvcmRfb2Zfb3Vycw==";
    let headers = [("content-type", "application/json"), ("authorization", basic)];
    let event = json!({ "meta": { "id": "1", "entity": "deal", "action": "create" } }).to_string();
    let anonymous = tenant.with_key(None);
    let response = anonymous.send(reqwest::Method::POST, &path, &headers, Some(event.into())).await;
    assert_eq!(response.status, 503, "{}", response.json);
    meter.record_response_of("/in/{provider}/{source_id}", response.status);
}

/// A provider signs with a secret that its source does not have.
async fn a_source_refuses(stack: &Stack) {
    let tenant = stack.tenant().await;
    let source = tenant.post("/v1/sources", &json!({ "provider": "stripe" })).await.expect(201);
    let path = format!("/in/stripe/{}", text(&source, "id"));
    let anonymous = tenant.with_key(None);
    for _ in 0..50 {
        let headers = [("stripe-signature", "t=1,v1=00")];
        anonymous.send(reqwest::Method::POST, &path, &headers, Some(b"{}".to_vec())).await.expect(401);
    }
}

/// What no function can read makes it fail, as `aws lambda invoke` can do anywhere.
async fn functions_die(stack: &Stack) {
    for output in [
        "ApiFunctionName",
        "InboundStripeFunctionName",
        "InboundBrevoFunctionName",
        "InboundZapierFunctionName",
        "InboundGoogleCalendarFunctionName",
        "InboundAppleFunctionName",
        "InboundCustomFunctionName",
        "DispatcherFunctionName",
        "FanOutFunctionName",
        "RescuerFunctionName",
        "SchedulerFunctionName",
        "OauthFunctionName",
        "TenantEraserFunctionName",
        "TenantExporterFunctionName",
        "CalendarSyncFunctionName",
        "MlsSyncFunctionName",
        "TokenRefresherFunctionName",
    ] {
        for _ in 0..3 {
            stack.try_invoke(output, json!({})).await.expect_err("it fails");
        }
    }
}

/// A message as it would be after 50 receives, of a delivery that was made meanwhile.
async fn a_delivery_is_rescued(stack: &Stack) {
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    let endpoint_id = tenant.endpoint(&receiver.url()).create().await.id;
    let event_id = tenant.publish("contact.created", &json!({}), "rescued").await;
    tenant.only_delivery(&event_id, "succeeded", SOON).await;
    let body = json!({
        "v": 1, "tenant": tenant.tenant_id(), "event_id": event_id, "endpoint_id": endpoint_id, "gen": 0,
    });
    send(stack, "DeadLettersUrl", &body.to_string()).await;
}

async fn a_message_cannot_be_read(stack: &Stack) {
    send(stack, "DeadLettersUrl", "no JSON").await;
    send(stack, "ConnectionsDeadLettersUrl", "no JSON").await;
    send(stack, "SyncsDeadLettersUrl", "no JSON").await;
    send(stack, "JobsDeadLettersUrl", "no JSON").await;
}

async fn a_delivery_is_due(stack: &Stack) {
    let tenant = stack.tenant().await;
    let receiver = Receiver::responding(|n| Reply::status(if n == 0 { 500 } else { 200 })).await;
    tenant.endpoint(&receiver.url()).retry_schedule(&[60]).create().await;
    let event_id = tenant.publish("contact.created", &json!({}), "due").await;
    tenant.only_delivery(&event_id, "retrying", SOON).await;
}

/// An entry that was signed is removed, which the next day's pass finds.
async fn a_trail_is_cut(stack: &Stack, clock: &Clock) {
    let tenant = stack.tenant().await;
    clock.ahead(Duration::from_hours(25));
    stack.run_checkpoints().await;
    Table::audit(stack).delete(keys::audit_entry(&tables::tenant(&tenant), 2)).await;
    clock.ahead(Duration::from_hours(50));
    stack.run_checkpoints().await;
}

/// The list of tenants cannot be read for days, so no pass ends.
async fn the_jobs_cannot_go_on(stack: &Stack, clock: &Clock) {
    stack
        .rule(&Rule::new("Query", &[stack.output("RegistryTableName"), keys::TENANTS], Fault::Cut, 1_000))
        .await;
    clock.ahead(Duration::from_hours(90));
    for job in ["reconcile", "checkpoints"] {
        stack.try_invoke("SchedulerFunctionName", json!({ "job": job })).await.expect_err("it fails");
    }
}

async fn send(stack: &Stack, output: &str, body: &str) {
    let message = json!({ "QueueUrl": stack.output(output), "MessageBody": body });
    stack.aws("sqs", "AmazonSQS.SendMessage", message).await;
}

/// Makes a queue, unless there is one of this name; its URL.
async fn make_queue(stack: &Stack, name: &str) -> String {
    text(&stack.aws("sqs", "AmazonSQS.CreateQueue", json!({ "QueueName": name })).await, "QueueUrl")
}

/// A queue that receives the messages of the alarms' topic.
async fn inbox(stack: &Stack) -> Inbox {
    let url = make_queue(stack, &format!("{}-inbox", stack.name())).await;
    let asked = json!({ "QueueUrl": url, "AttributeNames": ["QueueArn"] });
    let asked = stack.aws("sqs", "AmazonSQS.GetQueueAttributes", asked).await;
    let arn = text(&asked["Attributes"], "QueueArn");
    let topic = stack.output("AlertsTopicArn");
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow", "Principal": { "Service": "sns.amazonaws.com" }, "Action": "sqs:SendMessage",
            "Resource": arn, "Condition": { "ArnEquals": { "aws:SourceArn": topic } },
        }],
    });
    let allowed = json!({ "QueueUrl": url, "Attributes": { "Policy": policy.to_string() } });
    stack.aws("sqs", "AmazonSQS.SetQueueAttributes", allowed).await;
    let parameters = [("Action", "Subscribe"), ("TopicArn", topic), ("Protocol", "sqs"), ("Endpoint", &arn)];
    stack.query("sns", "2010-03-31", &parameters).await;
    Inbox { url, received: Mutex::default() }
}

/// The messages of the topic, operational events too.
struct Inbox {
    url: String,
    received: Mutex<Vec<Value>>,
}

impl Inbox {
    /// Receives what came since, and searches all that ever came.
    async fn find<T>(&self, stack: &Stack, wanted: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let asked = json!({ "QueueUrl": self.url, "MaxNumberOfMessages": 10, "VisibilityTimeout": 600 });
        let response = stack.aws("sqs", "AmazonSQS.ReceiveMessage", asked).await;
        let mut received = self.received.lock().expect("a lock");
        received.extend(response["Messages"].as_array().cloned().unwrap_or_default());
        received.iter().find_map(wanted)
    }
}

/// Waits until the topic got this alarm, with the link to its entry in the runbook.
async fn notified(stack: &Stack, inbox: &Inbox, alarm: &Alarm) {
    let what = format!("{} at the topic", alarm.name);
    eventually(&what, SOON, || async {
        let named = |message: &Value| {
            let envelope: Value = serde_json::from_str(message["Body"].as_str()?).ok()?;
            let said: Value = serde_json::from_str(envelope["Message"].as_str()?).ok()?;
            let alarm_name = format!("{}-{}", stack.name(), alarm.name);
            (said["AlarmName"] == alarm_name && said["NewStateValue"] == "ALARM").then_some(said)
        };
        let said = inbox.find(stack, named).await?;
        (said["AlarmDescription"] == alarm.description()).then_some(())
    })
    .await;
}

async fn the_dashboard_can_be_read(stack: &Stack) {
    let name = json!({ "DashboardName": stack.name() });
    let found = stack.aws("monitoring", "GraniteServiceVersion20100801.GetDashboard", name).await;
    let body: Value = serde_json::from_str(&text(&found, "DashboardBody")).expect("the dashboard is JSON");
    assert!(!body.to_string().contains("${"), "a reference is left in {body}");
    assert!(body["widgets"].as_array().is_some_and(|widgets| widgets.len() > 10));
}
