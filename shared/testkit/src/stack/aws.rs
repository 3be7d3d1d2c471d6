//! Calls of AWS's services on the stand-in, as the owner of the account: queues, logs, invocations.

use std::{collections::HashMap, time::Duration};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{Stack, State, root, text};
use crate::{eventually, http_client};

impl Stack {
    /// What a function has logged, the newest last.
    pub async fn logs(&self, function: &str) -> String {
        let group = format!("/aws/lambda/{}/{function}", self.name);
        let events =
            self.logs_call("FilterLogEvents", json!({ "logGroupName": group, "limit": 10_000 })).await;
        let events = events["events"].as_array().cloned().unwrap_or_default();
        events.iter().filter_map(|event| event["message"].as_str()).collect::<Vec<_>>().join("\n")
    }

    async fn logs_call(&self, operation: &str, body: Value) -> Value {
        self.aws("logs", &format!("Logs_20140328.{operation}"), body).await
    }

    /// A call of one of AWS's JSON services, as the account's owner.
    pub async fn aws(&self, service: &str, target: &str, body: Value) -> Value {
        let headers = [("x-amz-target", target), ("content-type", "application/x-amz-json-1.1")];
        self.owner_call(service, "/", &headers, body).await
    }

    /// A call of one of AWS's REST services, as the account's owner.
    pub async fn rest(&self, method: Method, service: &str, path: &str, body: Value) -> Value {
        json_of(&self.call(method, service, path, &[], body.to_string()).await)
    }

    /// A call of one of AWS's services that take forms, as the account's owner; the response is XML.
    pub async fn query(&self, service: &str, version: &str, parameters: &[(&str, &str)]) -> String {
        let mut form = reqwest::Url::parse("http://form").expect("a URL");
        form.query_pairs_mut().append_pair("Version", version).extend_pairs(parameters);
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let body = form.query().unwrap_or_default().to_owned();
        self.call(Method::POST, service, "/", &headers, body).await
    }

    /// The keys of the objects in the bucket that begin with `prefix`.
    pub async fn objects(&self, prefix: &str) -> Vec<String> {
        let path = format!("/{}?list-type=2&prefix={prefix}", self.output("PayloadsBucketName"));
        let listed = self.call(Method::GET, "s3", &path, &[], String::new()).await;
        let entries = listed.split("<Key>").skip(1).filter_map(|entry| entry.split_once("</Key>"));
        entries.map(|(key, _)| key.to_owned()).collect()
    }

    async fn owner_call(&self, service: &str, path: &str, headers: &[(&str, &str)], body: Value) -> Value {
        json_of(&self.call(Method::POST, service, path, headers, body.to_string()).await)
    }

    async fn call(
        &self,
        method: Method,
        service: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> String {
        let (status, text) = self.send(method, service, path, headers, body).await;
        assert!(status.is_success(), "{service} {headers:?}: {text}");
        text
    }

    /// The same, whatever the status.
    async fn send(
        &self,
        method: Method,
        service: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> (StatusCode, String) {
        let State { endpoint_url, region, access_key_id, .. } = &self.state;
        // The stack looks at who calls, not at the signature.
        let credential = format!(
            "AWS4-HMAC-SHA256 Credential={access_key_id}/20260101/{region}/{service}/aws4_request, SignedHeaders=host, Signature=0"
        );
        let mut request = http_client()
            .request(method, format!("{endpoint_url}{path}"))
            .header("authorization", credential);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.body(body).send().await.expect("the stack responds");
        let status = response.status();
        (status, response.text().await.expect("a response"))
    }

    /// Sets how long the lanes and the queue of fan-outs hide a message that was received. After a function was killed, its messages
    /// come back that much later. A deployment may not have so short a time: no message of a function that
    /// lives may come back while it works. So this is for tests whose functions work less long than that.
    pub async fn hide_messages_for(&self, seconds: u32) {
        for queue in ["FastLaneUrl", "SlowLaneUrl"] {
            self.hide_messages_of(queue, seconds).await;
        }
        self.hide_pages_for(seconds).await;
    }

    /// The same for the pages of fan-outs only.
    pub async fn hide_pages_for(&self, seconds: u32) {
        self.hide_messages_of("FanOutPagesUrl", seconds).await;
    }

    async fn hide_messages_of(&self, queue: &str, seconds: u32) {
        let attributes = json!({ "VisibilityTimeout": seconds.to_string() });
        self.set_queue_attributes(queue, attributes).await;
    }

    /// Waits until the lanes hold no message but those that were sent with a delay.
    pub async fn until_lanes_are_idle(&self, limit: Duration) {
        for lane in ["FastLaneUrl", "SlowLaneUrl"] {
            let what = format!("{lane} to be idle");
            eventually(&what, limit, || async { self.is_idle(lane).await.then_some(()) }).await;
        }
    }

    /// Whether a queue has no message, received or not, by the output that names its URL.
    pub async fn is_idle(&self, output: &str) -> bool {
        const COUNTS: [&str; 2] = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"];
        let attributes = self.queue_attributes(output, &COUNTS).await;
        COUNTS.iter().all(|count| attributes[count] == "0")
    }

    /// Lets a function take messages from its queues, or nothing more; `output` names it.
    pub async fn read_queues(&self, output: &str, enabled: bool) {
        const MAPPINGS: &str = "/2015-03-31/event-source-mappings/";
        let path = format!("{MAPPINGS}?FunctionName={}", self.output(output));
        let listed = self.rest(Method::GET, "lambda", &path, Value::Null).await;
        for mapping in listed["EventSourceMappings"].as_array().expect("mappings") {
            let path = format!("{MAPPINGS}{}", text(mapping, "UUID"));
            self.rest(Method::PUT, "lambda", &path, json!({ "Enabled": enabled })).await;
        }
        if !enabled {
            // A poll that had begun has ended by then.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Attributes of a queue, by the output that names its URL.
    pub async fn queue_attributes(&self, output: &str, names: &[&str]) -> Value {
        let body = json!({ "QueueUrl": self.output(output), "AttributeNames": names });
        self.aws("sqs", "AmazonSQS.GetQueueAttributes", body).await["Attributes"].take()
    }

    /// Sets attributes of a queue, by the output that names its URL.
    pub async fn set_queue_attributes(&self, output: &str, attributes: Value) {
        let body = json!({ "QueueUrl": self.output(output), "Attributes": attributes });
        self.aws("sqs", "AmazonSQS.SetQueueAttributes", body).await;
    }

    /// The ARN of a queue, by the output that names its URL.
    pub fn queue_arn(&self, output: &str) -> String {
        self.queue_arn_of(self.output(output))
    }

    /// The ARN of a queue, by its URL.
    pub fn queue_arn_of(&self, url: &str) -> String {
        let name = url.rsplit('/').next().expect("a URL ends in a name");
        format!("arn:aws:sqs:{}:000000000000:{name}", self.state.region)
    }

    /// The variables of a function, by the output that names it, with the credentials of the account's owner
    /// in place of its role's.
    pub async fn variables(&self, output: &str) -> HashMap<String, String> {
        let State { endpoint_url, region, access_key_id, .. } = &self.state;
        let path = format!("/2015-03-31/functions/{}/configuration", self.output(output));
        let configuration = self.rest(Method::GET, "lambda", &path, Value::Null).await;
        let mut variables: HashMap<String, String> =
            serde_json::from_value(configuration["Environment"]["Variables"].clone()).expect("variables");
        for (name, value) in [
            ("AWS_REGION", region),
            ("AWS_ACCESS_KEY_ID", access_key_id),
            ("AWS_SECRET_ACCESS_KEY", access_key_id),
            ("AWS_ENDPOINT_URL", endpoint_url),
        ] {
            variables.insert(name.to_owned(), value.clone());
        }
        variables
    }

    /// Runs a function once and waits for its response; `output` names it.
    pub async fn invoke(&self, output: &str, event: Value) -> Value {
        self.try_invoke(output, event).await.unwrap_or_else(|error| panic!("{output}: {error}"))
    }

    /// The same, where the function may die of it.
    pub async fn try_invoke(&self, output: &str, event: Value) -> Result<Value, Value> {
        let path = format!("/2015-03-31/functions/{}/invocations", self.output(output));
        let response = self.owner_call("lambda", &path, &[], event).await;
        if response.get("errorType").is_some() || response.get("errorMessage").is_some() {
            return Err(response);
        }
        Ok(response)
    }

    /// Lets a function run so many times at once, as a reservation does; without a number, as often as the account allows.
    pub async fn reserve(&self, output: &str, executions: Option<u32>) {
        let path = format!("/2017-10-31/functions/{}/concurrency", self.output(output));
        let (method, body) = match executions {
            Some(executions) => (Method::PUT, json!({ "ReservedConcurrentExecutions": executions })),
            None => (Method::DELETE, Value::Null),
        };
        self.rest(method, "lambda", &path, body).await;
    }

    /// Whether Lambda refuses to run a function now.
    pub async fn is_throttled(&self, output: &str) -> bool {
        let path = format!("/2015-03-31/functions/{}/invocations", self.output(output));
        let (status, _) = self.send(Method::POST, "lambda", &path, &[], "{}".to_owned()).await;
        status == StatusCode::TOO_MANY_REQUESTS
    }

    /// Runs one of the checkout's tools against the stack, as its owner; what it prints.
    pub async fn run_tool(&self, script: &str, arguments: &[&str]) -> String {
        self.try_tool(script, arguments).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same, where the tool may refuse; then what it printed until then, and why.
    pub async fn try_tool(&self, script: &str, arguments: &[&str]) -> Result<String, String> {
        let State { endpoint_url, region, access_key_id, .. } = &self.state;
        let output = Command::new(root().join(".local/sam/bin/python"))
            .arg(root().join(script))
            .args(arguments)
            .env("AWS_ENDPOINT_URL", endpoint_url)
            .env("AWS_REGION", region)
            .env("AWS_DEFAULT_REGION", region)
            .env("AWS_ACCESS_KEY_ID", access_key_id)
            .env("AWS_SECRET_ACCESS_KEY", access_key_id)
            .output()
            .await
            .expect("the tool runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let is_done = output.status.success();
        if is_done { Ok(text) } else { Err(format!("{text}{}", String::from_utf8_lossy(&output.stderr))) }
    }

    /// Asks the scheduler for what is due, as its schedule does every minute.
    pub async fn run_due(&self) {
        self.invoke("SchedulerFunctionName", json!({ "job": "due" })).await;
    }

    /// Asks the eraser to go on with what is to be deleted, as its schedule does every five minutes. It may be killed.
    pub async fn run_eraser(&self) -> Result<Value, Value> {
        self.try_invoke("TenantEraserFunctionName", json!({ "job": "erase" })).await
    }

    /// Asks for what is left of exports to be made, as a schedule does every five minutes. It may be killed.
    pub async fn run_exporter(&self) -> Result<Value, Value> {
        self.try_invoke("TenantExporterFunctionName", json!({ "job": "export" })).await
    }

    /// Asks the scheduler to sign audit trails, if that is due.
    pub async fn run_checkpoints(&self) {
        self.invoke("SchedulerFunctionName", json!({ "job": "checkpoints" })).await;
    }

    /// Asks the scheduler to send the entries of audit trails to the stream, as its schedule does every minute. It may be killed.
    pub async fn run_audit_stream(&self) -> Result<Value, Value> {
        self.try_invoke("SchedulerFunctionName", json!({ "job": "audit_stream" })).await
    }

    /// Asks the scheduler to look for what was lost, as its schedule does every two minutes.
    pub async fn run_reconcile(&self) {
        self.invoke("SchedulerFunctionName", json!({ "job": "reconcile" })).await;
    }
}

fn json_of(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { serde_json::from_str(text).expect("JSON") }
}
