//! Log lines and metrics, both as JSON on standard output, where Lambda picks them up.

use std::{io::Write, sync::OnceLock};

use domain::Timestamp;
use serde_json::{Map, Value, json};
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

/// What metrics are filed under: the deployment's own, so that two in one account do not mix.
static NAMESPACE: OnceLock<String> = OnceLock::new();

/// Starts logging and metrics: one JSON object a line, span fields beside the event's own.
///
/// The level is that of our own lines. Libraries get to warn and no more: at finer levels the
/// SDK writes out whole requests and answers, and with them every secret.
pub fn start(level: tracing::Level, metrics_namespace: String) {
    let _ = NAMESPACE.set(metrics_namespace);
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

/// What a metric's values are.
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

/// A metric with what was seen of it in one batch, request or run; 100 values at most.
#[derive(Debug, Clone)]
pub struct Metric {
    /// What it is called.
    pub name: &'static str,
    /// What its values are.
    pub unit: Unit,
    /// One value, or one for each thing that was measured.
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
/// `dimensions` cost money for every value they take, so a tenant is never one. What has no
/// value is left out, since a list without any would void the document.
/// Source: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>
pub fn measure(metrics: &[Metric], dimensions: &[(&str, &str)], now: Timestamp) {
    let namespace = NAMESPACE.get().map_or("CoreWebhooks", String::as_str);
    let Some(document) = document(namespace, metrics, dimensions, now) else { return };
    // Nobody is left to tell when standard output is gone.
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
    fn a_document_is_laid_out_as_cloudwatch_reads_it() {
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
