//! Log lines and metrics, both as JSON on standard output, where Lambda picks them up.

use std::io::Write;

use domain::Timestamp;
use serde_json::{Map, Value, json};
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

/// Starts logging: one JSON object a line, span fields beside the event's own.
///
/// The level is that of our own lines. Libraries get to warn and no more: at finer levels the
/// SDK writes out whole requests and answers, and with them every secret.
pub fn start(level: tracing::Level) {
    let ours = ["api", "dispatcher", "fanout", "inbound", "platform", "rescuer", "scheduler"]
        .map(|target| (target, level));
    let filter = Targets::new().with_default(level.min(tracing::Level::WARN)).with_targets(ours);
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .with_current_span(true)
        .with_span_list(false)
        .with_target(false)
        .flatten_event(true);
    tracing_subscriber::registry().with(lines).with(filter).init();
}

/// Counts something, as one document of `CloudWatch`'s embedded metric format.
///
/// `dimensions` cost money for every value they take, so a tenant is never one; it is a
/// `property`, which costs nothing and can still be searched for.
/// Source: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>
pub fn count(
    namespace: &str,
    metric: &str,
    dimensions: &[(&str, &str)],
    properties: &[(&str, &str)],
    now: Timestamp,
) {
    let mut document: Map<String, Value> =
        dimensions.iter().chain(properties).map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    let names: Vec<_> = dimensions.iter().map(|(name, _)| name).collect();
    document.insert(metric.to_owned(), json!(1));
    document.insert(
        "_aws".to_owned(),
        json!({
            "Timestamp": now.millis(),
            "CloudWatchMetrics": [{
                "Namespace": namespace,
                "Dimensions": [names],
                "Metrics": [{ "Name": metric, "Unit": "Count" }],
            }],
        }),
    );
    // Nobody is left to tell when standard output is gone.
    let _ = writeln!(std::io::stdout().lock(), "{}", Value::Object(document));
}
