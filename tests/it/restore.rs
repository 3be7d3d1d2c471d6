//! The events table is set back to an earlier time, by the tool of the runbook, and deliveries go on.

use std::time::Duration;

use platform::store::table::keys;
use serde_json::{Value, json};
use testkit::{FlakyReceiver, Receiver, Stack, eventually};

use crate::{AFTER_A_CRASH, CACHE_AGE, SOON, tables::Table};

const AT: &str = "%Y-%m-%dT%H:%M:%SZ";

/// A time of this machine's clock, as the tool takes it.
async fn now() -> String {
    let date = tokio::process::Command::new("date").args(["-u", &format!("+{AT}")]).output().await;
    String::from_utf8(date.expect("date runs").stdout).expect("a time").trim().to_owned()
}

/// What a restore leaves out, and the tool sets again.
async fn settings(stack: &Stack) -> Value {
    let call = async |operation: &str, body: Value| {
        stack.aws("dynamodb", &format!("DynamoDB_20120810.{operation}"), body).await
    };
    let name = json!({ "TableName": stack.output("EventsTableName") });
    let table = call("DescribeTable", name.clone()).await["Table"].take();
    let expiry = call("DescribeTimeToLive", name.clone()).await;
    let recovery = call("DescribeContinuousBackups", name).await;
    let tags = call("ListTagsOfResource", json!({ "ResourceArn": table["TableArn"] })).await;
    let own = |tag: &&Value| !tag["Key"].as_str().is_some_and(|key| key.starts_with("aws:"));
    let tags: Vec<_> = tags["Tags"].as_array().into_iter().flatten().filter(own).collect();
    json!({
        "expiry": expiry["TimeToLiveDescription"]["TimeToLiveStatus"],
        "recovery": recovery["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"],
        "writes": table["OnDemandThroughput"]["MaxWriteRequestUnits"],
        "tags": tags,
    })
}

/// The stand-in restores the present rows, whatever the time; so rows are destroyed after the copy was made.
#[tokio::test]
async fn a_destroyed_events_table_is_restored_under_its_name() {
    let (stack, clock) = Stack::deploy_with_clock_and("cw-restored", &[("MaxWriteUnits", "30000")]).await;
    let tool = async |step: &str, more: &[&str]| {
        let arguments = [&[step, "--stack-name", stack.name(), "--wait-seconds", "60"], more].concat();
        stack.run_tool("dev/restore.py", &arguments).await
    };
    // Why the last step is refused.
    let refused = async |at: &str| {
        let arguments = ["swap", "--stack-name", stack.name(), "--table", "events", "--at", at];
        stack.try_tool("dev/restore.py", &arguments).await.expect_err("it is refused")
    };
    let tenant = stack.tenant().await;
    let healthy = Receiver::start().await;
    tenant.endpoint(&healthy.url()).event_types(&["contact.made"]).create().await;
    let down = FlakyReceiver::failing().await;
    tenant.endpoint(&down.url()).event_types(&["contact.due"]).retry_schedule(&[600, 600]).create().await;
    tokio::time::sleep(CACHE_AGE).await;
    let made = tenant.publish("contact.made", &json!({ "n": 1 }), "made").await;
    tenant.only_delivery(&made, "succeeded", SOON).await;
    let due = tenant.publish("contact.due", &json!({ "n": 2 }), "due").await;
    tenant.only_delivery(&due, "retrying", SOON).await;
    stack.until_lanes_are_idle(AFTER_A_CRASH).await;

    // Of these the stand-in's deployment sets the tags alone.
    let tags = settings(&stack).await["tags"].take();
    let expected = json!({ "expiry": "ENABLED", "recovery": "ENABLED", "writes": 30_000, "tags": tags });
    let events = Table::events(&stack);
    let owner = crate::tables::tenant(&tenant);
    let all = async |event: &str| {
        let (partition, _) = keys::event(&owner, crate::tables::id(event));
        let mut rows = events.rows_under(partition.clone(), "event").await;
        rows.extend(events.rows_under(partition.clone(), keys::DELIVERIES).await);
        (partition, rows)
    };
    // The second time, what the first restore has left must not be taken for this one's.
    let mut later = None;
    for round in ["first", "second"] {
        let at = now().await;
        let place = ["--table", "events", "--at", at.as_str()];
        assert!(refused(&at).await.contains("run `copy` first"), "{round}");
        tool("copy", &place).await;
        assert!(refused(&at).await.contains("run `stop` first"), "{round}: functions run");
        tool("stop", &[]).await;
        assert!(stack.is_throttled("ApiFunctionName").await, "the API runs");
        // What is to be undone: an event with its deliveries.
        let destroyed = later.as_ref().unwrap_or(&due);
        let (partition, rows) = all(destroyed).await;
        assert!(rows.len() > 1, "{rows:?}");
        for row in &rows {
            let sort_key = row["sk"]["S"].as_str().expect("a key").to_owned();
            events.delete((partition.clone(), sort_key)).await;
        }
        // The mark has gone ahead since the restored time.
        let far = json!({ "bucket": { "N": "99999999" }, "looked_back": { "N": "99999999" } });
        Table::registry(&stack).put(keys::progress("due"), &far).await;
        tool("swap", &place).await;
        assert_eq!(all(destroyed).await.1.len(), rows.len(), "{round}");
        assert_eq!(settings(&stack).await, expected, "{round}");
        tool("start", &[]).await;
        eventually("the API to run", SOON, || async {
            (!stack.is_throttled("ApiFunctionName").await).then_some(())
        })
        .await;
        if later.is_none() {
            let event = tenant.publish("contact.made", &json!({ "n": 2 }), "later").await;
            tenant.only_delivery(&event, "succeeded", AFTER_A_CRASH).await;
            stack.until_lanes_are_idle(AFTER_A_CRASH).await;
            later = Some(event);
        }
    }
    let checked = tool("check", &[]).await;
    assert!(checked.contains(" 0 versions are gone"), "{checked}");
    tenant.only_delivery(&made, "succeeded", SOON).await;
    down.recover();
    clock.ahead(Duration::from_mins(11));
    stack.run_due().await;
    tenant.only_delivery(&due, "succeeded", SOON).await;
    let next = tenant.publish("contact.made", &json!({ "n": 3 }), "next").await;
    tenant.only_delivery(&next, "succeeded", AFTER_A_CRASH).await;
}
