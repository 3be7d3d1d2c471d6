//! Alarms, judged by their own definition on values that a drill has measured.
//!
//! The stand-in evaluates alarms only when a metric is put, does not distinguish one dimension from
//! another, and has no alarms over several metrics; so drills read what is deployed and judge it
//! here. One period is judged: that the condition lasts as long as the alarm asks is not waited for.

mod math;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::Stack;

/// One alarm of a deployment, as `DescribeAlarms` has it.
#[derive(Debug, Clone)]
pub struct Alarm {
    /// What it is called behind the stack's name.
    pub name: String,
    json: Value,
}

/// A metric that an alarm watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedMetric {
    /// What expressions call it.
    id: String,
    /// Such as `AWS/SQS`.
    pub namespace: String,
    /// Its name.
    pub metric: String,
    /// Which one of that name.
    pub dimensions: BTreeMap<String, String>,
    /// What is made of a period's values.
    pub statistic: String,
}

impl WatchedMetric {
    fn of(id: &str, metric: &Value, statistic: &Value) -> Self {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let dimensions = metric["Dimensions"].as_array().cloned().unwrap_or_default();
        Self {
            id: id.to_owned(),
            namespace: text(&metric["Namespace"]),
            metric: text(&metric["MetricName"]),
            dimensions: dimensions.iter().map(|one| (text(&one["Name"]), text(&one["Value"]))).collect(),
            statistic: text(statistic),
        }
    }

    fn reduce(&self, values: &[f64]) -> Option<f64> {
        if values.is_empty() {
            return None;
        }
        match self.statistic.as_str() {
            "Sum" => Some(values.iter().sum()),
            "Maximum" => values.iter().copied().reduce(f64::max),
            other => panic!("no drill knows the statistic {other}"),
        }
    }
}

impl Alarm {
    fn of(stack: &str, json: Value) -> Self {
        let name = json["AlarmName"].as_str().expect("an alarm has a name");
        let name = name.strip_prefix(&format!("{stack}-")).expect("named after its stack").to_owned();
        Self { name, json }
    }

    /// Its description, for the person on call.
    pub fn description(&self) -> &str {
        self.json["AlarmDescription"].as_str().unwrap_or_default()
    }

    /// Whether it notifies this topic when it fires, and when its condition ends.
    pub fn notifies(&self, topic: &str) -> bool {
        // What is read from the template may name the topic by a reference.
        let is = |value: &Value| value[0] == topic || value[0]["Ref"] == "AlertsTopic";
        is(&self.json["AlarmActions"]) && is(&self.json["OKActions"])
    }

    /// Whether it goes by one metric and no expression.
    pub fn is_plain(&self) -> bool {
        self.json["Metrics"].as_array().is_none_or(Vec::is_empty)
    }

    /// The metrics that it watches.
    pub fn watched(&self) -> Vec<WatchedMetric> {
        if self.is_plain() {
            return vec![WatchedMetric::of("", &self.json, &self.json["Statistic"])];
        }
        let metrics = self.json["Metrics"].as_array().expect("metrics");
        let stats = metrics.iter().filter(|one| one["MetricStat"].is_object());
        stats
            .map(|one| {
                let id = one["Id"].as_str().expect("an id");
                WatchedMetric::of(id, &one["MetricStat"]["Metric"], &one["MetricStat"]["Stat"])
            })
            .collect()
    }

    /// What a period comes to with these values of each watched metric, if to anything.
    pub fn result(&self, measured: &[(WatchedMetric, Vec<f64>)]) -> Option<f64> {
        if self.is_plain() {
            return measured.first().and_then(|(watched, values)| watched.reduce(values));
        }
        let metrics = self.json["Metrics"].as_array().expect("metrics");
        let expression = metrics.iter().find_map(|one| one["Expression"].as_str()).expect("an expression");
        math::evaluate(expression, &|id| {
            let (watched, values) = measured.iter().find(|(watched, _)| watched.id == id)?;
            watched.reduce(values)
        })
    }

    /// Whether such a period is one that the alarm is about.
    pub fn is_breached_by(&self, result: Option<f64>) -> bool {
        let Some(value) = result else { return self.json["TreatMissingData"] == "breaching" };
        let threshold = &self.json["Threshold"];
        // A number that the template takes from a parameter is a text in what is read from there.
        let threshold = threshold.as_f64().or_else(|| threshold.as_str()?.parse().ok()).expect("a threshold");
        match self.json["ComparisonOperator"].as_str() {
            Some("GreaterThanThreshold") => value > threshold,
            Some("GreaterThanOrEqualToThreshold") => value >= threshold,
            Some("LessThanThreshold") => value < threshold,
            other => panic!("no drill knows the comparison {other:?}"),
        }
    }
}

impl Stack {
    /// The alarms of this deployment.
    pub async fn alarms(&self) -> Vec<Alarm> {
        let printed = self.run_tool("dev/alarms.py", &["--stack-name", self.name()]).await;
        let alarms: Vec<Value> = serde_json::from_str(&printed).expect("JSON");
        alarms.into_iter().map(|json| Alarm::of(self.name(), json)).collect()
    }
}

/// The values that log lines hold for a metric, in `CloudWatch`'s embedded metric format.
pub fn embedded(logs: &str, watched: &WatchedMetric) -> Vec<f64> {
    let mut values = Vec::new();
    for line in logs.lines().filter(|line| line.contains("\"_aws\"")) {
        let Ok(document) = serde_json::from_str::<Value>(line) else { continue };
        let listings = document["_aws"]["CloudWatchMetrics"].as_array().cloned().unwrap_or_default();
        let listed = listings.iter().any(|listing| {
            let names = |list: &Value| list.as_array().cloned().unwrap_or_default();
            listing["Namespace"] == watched.namespace
                && names(&listing["Metrics"]).iter().any(|one| one["Name"] == watched.metric)
                && names(&listing["Dimensions"]).iter().any(|set| {
                    names(set).len() == watched.dimensions.len()
                        && watched.dimensions.iter().all(|(name, value)| document[name] == *value)
                })
        });
        if listed {
            match &document[&watched.metric] {
                Value::Array(many) => values.extend(many.iter().filter_map(Value::as_f64)),
                one => values.extend(one.as_f64()),
            }
        }
    }
    values
}

#[cfg(test)]
mod tests;
