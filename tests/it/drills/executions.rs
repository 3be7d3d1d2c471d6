//! Drills about the executions of functions: too few of them, too many, and none.

use serde_json::json;
use testkit::Stack;
use tokio::task::JoinSet;

use super::{
    find,
    meter::{self, Meter},
};

/// Alarms on jobs that do not run. They fire as long as nothing was measured.
pub(super) const HEARTBEATS: [(&str, &str); 2] = [
    ("tenant-eraser-silent", "TenantEraserFunctionName"),
    ("tenant-exporter-silent", "TenantExporterFunctionName"),
];

/// Functions that have no executions left, one for requests and one of a schedule.
pub(super) async fn are_throttled(stack: &Stack, meter: &Meter) {
    for output in ["InboundZapierFunctionName", "TenantExporterFunctionName"] {
        stack.reserve(output, Some(0)).await;
        for _ in 0..5 {
            assert!(stack.is_throttled(output).await, "{output} runs");
            // What a schedule sends meanwhile is dropped after a minute.
            meter.record(meter::DROPPED, 1.0);
        }
        stack.reserve(output, None).await;
    }
}

/// Nine of the ten executions that the deployment takes for the account's limit.
pub(super) async fn are_claimed(stack: &Stack, meter: &Meter) {
    let mut running = JoinSet::new();
    for _ in 0..9 {
        let stack = stack.clone();
        running.spawn(async move { stack.invoke("RescuerFunctionName", json!({ "Records": [] })).await });
    }
    meter.record(meter::CLAIMED, 9.0);
    running.join_all().await;
}

/// A new deployment has run none of its jobs of every five minutes.
pub(super) async fn of_jobs_are_missing(stack: &Stack, meter: &Meter) {
    for (name, function) in HEARTBEATS {
        let alarm = find(stack, &[name]).await.remove(0);
        let before = alarm.result(&meter.measure(&alarm).await);
        assert!(before.is_none() && alarm.is_breached_by(before), "{name} is quiet at {before:?}");
        let job = if name.contains("eraser") { "erase" } else { "export" };
        stack.invoke(function, json!({ "job": job })).await;
        let after = alarm.result(&meter.measure(&alarm).await);
        assert!(after.is_some() && !alarm.is_breached_by(after), "{name} fires at {after:?}");
    }
}
