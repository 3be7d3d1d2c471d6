//! Log lines and metrics, both as JSON on standard output, where Lambda picks them up.

use std::{io::Write, sync::OnceLock};

use domain::Timestamp;
use serde_json::{Map, Value, json};
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

/// The namespace of metrics: the deployment's own, so that two deployments in one account do not mix.
static NAMESPACE: OnceLock<String> = OnceLock::new();

/// Starts logging and metrics: one JSON object a line, span fields beside the event's own.
///
/// The level is that of our own lines. Libraries are limited to warnings: at finer levels the SDK
/// logs whole requests and responses, and with them every secret.
pub fn start(level: tracing::Level, metrics_namespace: String) {
    let _ = NAMESPACE.set(metrics_namespace);
    let ours = [
        "api",
        "dispatcher",
        "fanout",
        "inbound",
        "oauth",
        "platform",
        "rescuer",
        "scheduler",
        "tenant_eraser",
        "token_refresher",
    ]
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

/// The unit of a metric's values.
#[derive(Debug, Clone, Copy)]
pub enum Unit {
    /// A number of things.
    Count,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

impl Unit {
    /// As `CloudWatch` spells it.
    fn as_str(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Seconds => "Seconds",
            Self::Milliseconds => "Milliseconds",
        }
    }
}

/// A metric with its values from one batch, request or run; 100 at most.
#[derive(Debug, Clone)]
pub struct Metric {
    /// The name.
    pub name: &'static str,
    /// The unit of its values.
    pub unit: Unit,
    /// One value for each measurement.
    pub values: Vec<u64>,
}

impl Metric {
    /// A metric with one value.
    #[must_use]
    pub fn one(name: &'static str, unit: Unit, value: u64) -> Self {
        Self { name, unit, values: vec![value] }
    }
}

/// Writes metrics, as one document of `CloudWatch`'s embedded metric format.
///
/// Every value of a dimension costs money, so a tenant is never one. Metrics without values are left
/// out, because an empty list would make the document invalid.
/// Source: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>
pub fn measure(metrics: &[Metric], dimensions: &[(&str, &str)], now: Timestamp) {
    let namespace = NAMESPACE.get().map_or("CoreWebhooks", String::as_str);
    let Some(document) = document(namespace, metrics, dimensions, now) else { return };
    // Without standard output there is no place to report the error.
    let _ = writeln!(std::io::stdout().lock(), "{document}");
}

/// Counts one thing.
pub fn count(metric: &'static str, dimensions: &[(&str, &str)], now: Timestamp) {
    measure(&[Metric::one(metric, Unit::Count, 1)], dimensions, now);
}

fn document(
    namespace: &str,
    metrics: &[Metric],
    dimensions: &[(&str, &str)],
    now: Timestamp,
) -> Option<Value> {
    let metrics: Vec<_> = metrics.iter().filter(|metric| !metric.values.is_empty()).collect();
    if metrics.is_empty() {
        return None;
    }
    let mut document: Map<String, Value> =
        dimensions.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    let mut listed = Vec::with_capacity(metrics.len());
    for Metric { name, unit, values } in metrics {
        let values = if let [one] = values.as_slice() { json!(one) } else { json!(values) };
        document.insert((*name).to_owned(), values);
        listed.push(json!({ "Name": name, "Unit": unit.as_str() }));
    }
    let names: Vec<_> = dimensions.iter().map(|(name, _)| name).collect();
    document.insert(
        "_aws".to_owned(),
        json!({
            "Timestamp": now.millis(),
            "CloudWatchMetrics": [{ "Namespace": namespace, "Dimensions": [names], "Metrics": listed }],
        }),
    );
    Some(Value::Object(document))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_has_the_layout_that_cloudwatch_reads() {
        let metrics = [
            Metric::one("Tries", Unit::Count, 2),
            Metric { name: "Delay", unit: Unit::Milliseconds, values: vec![5, 7] },
            Metric { name: "Nothing", unit: Unit::Seconds, values: Vec::new() },
        ];
        let of = |metrics: &[Metric], dimensions| document("N", metrics, dimensions, Timestamp::from_secs(1));
        assert_eq!(
            of(&metrics, &[("service", "x")]),
            Some(json!({
                "service": "x", "Tries": 2, "Delay": [5, 7],
                "_aws": { "Timestamp": 1000, "CloudWatchMetrics": [{
                    "Namespace": "N", "Dimensions": [["service"]],
                    "Metrics": [{ "Name": "Tries", "Unit": "Count" }, { "Name": "Delay", "Unit": "Milliseconds" }],
                }] },
            }))
        );
        assert_eq!(of(&metrics[2..], &[]), None);
    }
}
