//! How drills measure what alarms watch.
//!
//! | namespace | measured by |
//! |---|---|
//! | `CoreWebhooks/STACK` | the metrics that the functions wrote into their logs |
//! | `AWS/Lambda` | the stand-in's own metrics; what it does not count, by what the drill ran |
//! | `AWS/SQS` | the queue's attributes; its oldest message's age by the message |
//! | `AWS/ApiGateway` | the responses that the drill received, since the stand-in counts none |
//! | `AWS/Backup` | what the drill counted, since the stand-in makes no copies |

use std::{
    sync::Mutex,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use testkit::{
    Stack,
    alarms::{Alarm, WatchedMetric, embedded},
    stack::QUEUES,
};
use tokio::task::JoinSet;

const CLOUDWATCH: &str = "GraniteServiceVersion20100801";

/// The executions of the whole account.
pub(super) const CLAIMED: &str = "ClaimedAccountConcurrency";

/// Asynchronous invocations that were given up.
pub(super) const DROPPED: &str = "AsyncEventsDropped";

/// The log groups of functions that measure.
const FUNCTIONS: [&str; 13] = [
    "api",
    "inbound-stripe",
    "inbound-custom",
    "dispatcher",
    "fanout",
    "scheduler",
    "rescuer",
    "oauth",
    "tenant-eraser",
    "tenant-exporter",
    "calendar-sync",
    "mls-sync",
    "token-refresher",
];

/// The meter of one deployment.
pub(super) struct Meter {
    stack: Stack,
    /// Responses of the API, by route where the drill is about one.
    statuses: Mutex<Vec<(Option<&'static str>, u16)>>,
    /// What the drill counted itself, by the metric's name.
    counted: Mutex<Vec<(&'static str, f64)>>,
}

impl Meter {
    pub(super) fn new(stack: Stack) -> Self {
        Self { stack, statuses: Mutex::default(), counted: Mutex::default() }
    }

    /// Keeps the status of a response of the API.
    pub(super) fn record_response(&self, status: u16) {
        self.statuses.lock().unwrap().push((None, status));
    }

    /// The same of a route, by the name that its metrics have.
    pub(super) fn record_response_of(&self, route: &'static str, status: u16) {
        self.statuses.lock().unwrap().push((Some(route), status));
    }

    /// Keeps a value of a metric that the stand-in does not have.
    pub(super) fn record(&self, metric: &'static str, value: f64) {
        self.counted.lock().unwrap().push((metric, value));
    }

    fn recorded(&self, metric: &str) -> Vec<f64> {
        let counted = self.counted.lock().unwrap();
        counted.iter().filter(|(name, _)| *name == metric).map(|(_, value)| *value).collect()
    }

    /// The values of each metric that an alarm watches.
    pub(super) async fn measure(&self, alarm: &Alarm) -> Vec<(WatchedMetric, Vec<f64>)> {
        let mut measured = Vec::new();
        for watched in alarm.watched() {
            let values = match watched.namespace.as_str() {
                "AWS/SQS" => vec![self.of_queue(&watched).await],
                "AWS/Lambda" if [CLAIMED, DROPPED].contains(&watched.metric.as_str()) => {
                    self.recorded(&watched.metric)
                }
                "AWS/Lambda" => self.of_function(&watched).await,
                "AWS/ApiGateway" => self.of_api(&watched),
                "AWS/Backup" => self.recorded(&watched.metric),
                _ => self.of_logs(&watched).await,
            };
            measured.push((watched, values));
        }
        measured
    }

    /// Lets the functions write what is left. On a busy machine the stand-in takes the last lines of
    /// an invocation only with the next one of the same process.
    pub(super) async fn flush(&self) {
        let mut flushing = JoinSet::new();
        // Side by side, so that they reach as many processes as lanes have begun.
        for output in ["DispatcherFunctionName", "RescuerFunctionName"].repeat(4) {
            let stack = self.stack.clone();
            flushing.spawn(async move { stack.invoke(output, json!({ "Records": [] })).await });
        }
        self.stack.run_due().await;
        self.stack.anonymous().get("/v1/openapi.json").await.expect(200);
        flushing.join_all().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    /// Takes messages from the alarm's queue and keeps them.
    pub(super) async fn take(&self, alarm: &Alarm, count: usize) {
        let url = self.url(&alarm.watched()[0]);
        for _ in 0..count {
            self.receive(&url, json!({})).await;
        }
    }

    /// Puts what was measured for an alarm, as `CloudWatch` does with what is in the logs.
    pub(super) async fn relay(&self, alarm: &Alarm) {
        for (watched, values) in self.measure(alarm).await {
            let dimensions: Vec<_> = watched
                .dimensions
                .iter()
                .map(|(name, value)| json!({ "Name": name, "Value": value }))
                .collect();
            let datum = json!({ "MetricName": watched.metric, "Dimensions": dimensions, "Values": values });
            let put = json!({ "Namespace": watched.namespace, "MetricData": [datum] });
            self.stack.aws("monitoring", &format!("{CLOUDWATCH}.PutMetricData"), put).await;
        }
    }

    fn url(&self, watched: &WatchedMetric) -> String {
        let name = &watched.dimensions["QueueName"];
        let urls = QUEUES.map(|output| self.stack.output(output));
        let url = urls.into_iter().find(|url| url.rsplit('/').next() == Some(name.as_str()));
        url.unwrap_or_else(|| panic!("no queue {name}")).to_owned()
    }

    async fn of_queue(&self, watched: &WatchedMetric) -> f64 {
        let url = self.url(watched);
        let attribute = match watched.metric.as_str() {
            // The stand-in has no groups, so all are quiet.
            "ApproximateAgeOfOldestMessage" | "ApproximateAgeOfOldestMessageInQuietGroups" => {
                return self.age(&url).await;
            }
            "ApproximateNumberOfMessagesVisible" => "ApproximateNumberOfMessages",
            other => other,
        };
        let asked = json!({ "QueueUrl": url, "AttributeNames": [attribute] });
        let response = self.stack.aws("sqs", "AmazonSQS.GetQueueAttributes", asked).await;
        response["Attributes"][attribute].as_str().and_then(|text| text.parse().ok()).expect("a number")
    }

    async fn age(&self, url: &str) -> f64 {
        let seen = json!({ "VisibilityTimeout": 0, "AttributeNames": ["SentTimestamp"] });
        let messages = self.receive(url, seen).await;
        let sent = messages.iter().filter_map(|message| message["Attributes"]["SentTimestamp"].as_str());
        let oldest = sent.filter_map(|text| text.parse::<f64>().ok()).reduce(f64::min);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        oldest.map_or(0.0, |oldest| now - oldest / 1000.0)
    }

    async fn receive(&self, url: &str, mut asked: Value) -> Vec<Value> {
        asked["QueueUrl"] = json!(url);
        let received = self.stack.aws("sqs", "AmazonSQS.ReceiveMessage", asked).await;
        received["Messages"].as_array().cloned().unwrap_or_default()
    }

    async fn of_function(&self, watched: &WatchedMetric) -> Vec<f64> {
        // The stand-in counts a function's invocations together, by whichever version or alias.
        let dimensions = watched.dimensions.iter().filter(|(name, _)| *name != "Resource");
        let dimensions: Vec<_> =
            dimensions.map(|(name, value)| json!({ "Name": name, "Value": value })).collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let asked = json!({
            "Namespace": watched.namespace, "MetricName": watched.metric, "Dimensions": dimensions,
            "Statistics": [watched.statistic], "Period": 86_400, "StartTime": now - 3600, "EndTime": now + 60,
        });
        let response =
            self.stack.aws("monitoring", &format!("{CLOUDWATCH}.GetMetricStatistics"), asked).await;
        let points = response["Datapoints"].as_array().cloned().unwrap_or_default();
        points.iter().filter_map(|point| point[&watched.statistic].as_f64()).collect()
    }

    fn of_api(&self, watched: &WatchedMetric) -> Vec<f64> {
        let counts = |status: u16| match watched.metric.as_str() {
            "5xx" => f64::from(u8::from(status >= 500)),
            "Count" => 1.0,
            other => panic!("no drill knows the metric {other}"),
        };
        let of_route = watched.dimensions.get("Resource").map(String::as_str);
        let statuses = self.statuses.lock().unwrap();
        let statuses = statuses.iter().filter(|(route, _)| of_route.is_none() || *route == of_route);
        // CloudWatch's FILL counts a route without requests as 0.
        let counts: Vec<_> = statuses.map(|(_, status)| counts(*status)).collect();
        if counts.is_empty() && of_route.is_some() { vec![0.0] } else { counts }
    }

    async fn of_logs(&self, watched: &WatchedMetric) -> Vec<f64> {
        let mut values = Vec::new();
        for function in FUNCTIONS {
            values.extend(embedded(&self.stack.logs(function).await, watched));
        }
        values
    }
}
