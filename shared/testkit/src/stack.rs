//! The running local stack, as `dev/stack.py` describes it, and clients of the deployed API.

use std::{
    collections::HashMap,
    env, fs,
    path::PathBuf,
    sync::Mutex,
    time::{Duration, Instant, SystemTime},
};

use reqwest::{Method, header::HeaderMap};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    http_client, process,
    proxy::{Plan, Report, Rule},
};

/// The environment variable that names the stack's state file.
pub const STATE: &str = "CW_STACK_STATE";

/// The deployment that `dev/stack.py` makes where it is given no name.
const SHARED: &str = "core-webhooks";

#[derive(Debug, Clone, Deserialize)]
struct State {
    endpoint_url: String,
    region: String,
    access_key_id: String,
    proxy_control: Option<String>,
    log_dir: PathBuf,
    stacks: HashMap<String, Deployed>,
}

#[derive(Debug, Clone, Deserialize)]
struct Deployed {
    api_url: String,
    operator_key: String,
    outputs: HashMap<String, String>,
    functions: HashMap<String, String>,
}

/// One deployment of the template on the running stack.
#[derive(Debug, Clone)]
pub struct Stack {
    /// Where its API is.
    pub api_url: String,
    /// The operator's key, as the template generated it.
    pub operator_key: String,
    outputs: HashMap<String, String>,
    /// Its functions: name and deployed name.
    pub functions: HashMap<String, String>,
    name: String,
    state: State,
}

/// The checkout's root.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the checkout")
}

#[allow(clippy::disallowed_methods, reason = "tests are told where the stack is, and have no configuration")]
fn state_file() -> String {
    env::var(STATE).unwrap_or_else(|_| panic!("{STATE} is not set: run the tests with `make test`"))
}

fn state() -> State {
    let text = fs::read_to_string(state_file()).expect("the stack's state file");
    serde_json::from_str(&text).expect("the stack's state")
}

fn template() -> String {
    fs::read_to_string(root().join("template.yaml")).expect("the template")
}

impl Stack {
    /// The deployment that all tests share.
    pub fn shared() -> Self {
        Self::named(state(), SHARED)
    }

    fn named(state: State, name: &str) -> Self {
        let Deployed { api_url, operator_key, outputs, functions } =
            state.stacks.get(name).unwrap_or_else(|| panic!("{name} is not deployed")).clone();
        Self { api_url, operator_key, outputs, functions, name: name.to_owned(), state }
    }

    /// Deploys the template once more beside the shared deployment, so that what a test does to
    /// its functions meets no other test.
    pub async fn deploy(name: &str) -> Self {
        Self::deploy_text(name, &template(), &[]).await
    }

    /// The same with parameters of the template.
    pub async fn deploy_with(name: &str, parameters: &[(&str, &str)]) -> Self {
        Self::deploy_text(name, &template(), parameters).await
    }

    /// The same with a clock that the test sets. Everything that waits longer than a few seconds
    /// then waits in the due index, where the clock counts, and not in a queue.
    pub async fn deploy_with_clock(name: &str) -> (Self, Clock) {
        Self::deploy_with_clock_and(name, &[]).await
    }

    /// The same with parameters of the template.
    pub async fn deploy_with_clock_and(name: &str, parameters: &[(&str, &str)]) -> (Self, Clock) {
        let clock = Clock::new(name);
        let file = clock.file.to_str().expect("a path of text").to_owned();
        let clocked = [("ClockFile", file.as_str()), ("LongestLaneWaitSeconds", "2")];
        (Self::deploy_with(name, &[&clocked, parameters].concat()).await, clock)
    }

    /// The same, after `edit` has changed the template's text.
    pub async fn deploy_edited(name: &str, edit: impl FnOnce(&str) -> String) -> Self {
        let original = template();
        let edited = edit(&original);
        assert_ne!(original, edited, "the edit changed nothing");
        Self::deploy_text(name, &edited, &[]).await
    }

    async fn deploy_text(name: &str, text: &str, parameters: &[(&str, &str)]) -> Self {
        let file = env::temp_dir().join(format!("{name}-{}.yaml", std::process::id()));
        fs::write(&file, text).expect("a copy of the template");
        let status = Command::new("python3")
            .arg(root().join("dev/stack.py"))
            .args(["deploy", "--state"])
            .arg(state_file())
            .args(["--stack-name", name, "--template"])
            .arg(&file)
            .args(
                parameters.iter().flat_map(|(name, value)| ["--param".to_owned(), format!("{name}={value}")]),
            )
            .status()
            .await
            .expect("python3 runs");
        assert!(status.success(), "deploying {name} failed");
        fs::remove_file(file).expect("the copy of the template");
        Self::named(state(), name)
    }

    /// Sets how long the lanes hide a message that was received. After a function was killed, its messages
    /// come back that much later. A deployment may not have so short a time: no message of a function that
    /// lives may come back while it works. So this is for tests whose functions work less long than that.
    pub async fn hide_messages_for(&self, seconds: u32) {
        for lane in ["FastLaneUrl", "SlowLaneUrl"] {
            let attributes = json!({ "VisibilityTimeout": seconds.to_string() });
            self.set_queue_attributes(lane, attributes).await;
        }
    }

    /// Waits until the lanes hold no message, be it visible, hidden or delayed.
    pub async fn until_lanes_are_empty(&self, limit: Duration) {
        const COUNTS: [&str; 3] = [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        ];
        for lane in ["FastLaneUrl", "SlowLaneUrl"] {
            crate::eventually(&format!("{lane} to be empty"), limit, || async {
                let attributes = self.queue_attributes(lane, &COUNTS).await;
                COUNTS.iter().all(|count| attributes[count] == "0").then_some(())
            })
            .await;
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

    /// A client with the operator's key.
    pub fn operator(&self) -> Client {
        Client {
            http: http_client(),
            base: self.api_url.clone(),
            key: Some(self.operator_key.clone()),
            tenant: None,
        }
    }

    /// A client without a key.
    pub fn anonymous(&self) -> Client {
        self.operator().with_key(None)
    }

    /// A new tenant, and a client with a key of its own.
    pub async fn tenant(&self) -> Client {
        let id = crate::unique("t");
        let operator = self.operator();
        operator.post("/v1/tenants", &json!({ "id": id, "name": "A tenant" })).await.expect(201);
        let key =
            operator.post(&format!("/v1/tenants/{id}/keys"), &json!({ "name": "test" })).await.expect(201);
        Client { key: Some(text(&key, "key")), tenant: Some(id), ..operator }
    }

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
        let text = response.text().await.expect("a response");
        assert!(status.is_success(), "{service} {headers:?}: {text}");
        text
    }

    /// What the template says of this name: an output.
    pub fn output(&self, name: &str) -> &str {
        self.outputs.get(name).unwrap_or_else(|| panic!("the template has no output {name}"))
    }

    /// What the deployment is called.
    pub fn name(&self) -> &str {
        &self.name
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

    /// Runs one of the checkout's tools against the stack, as its owner; what it prints.
    pub async fn run_tool(&self, script: &str, arguments: &[&str]) -> String {
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
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    /// Asks the scheduler for what is due, as its schedule does every minute.
    pub async fn run_due(&self) {
        self.invoke("SchedulerFunctionName", json!({ "job": "due" })).await;
    }

    /// Asks the scheduler to look for what was lost, as its schedule does every hour.
    pub async fn run_reconcile(&self) {
        self.invoke("SchedulerFunctionName", json!({ "job": "reconcile" })).await;
    }

    /// The functions' processes that run now, of this deployment and its neighbours: process and
    /// deployed name.
    pub fn processes(&self) -> Vec<(u32, String)> {
        let run = self.state.log_dir.parent().expect("the run's own directory");
        process::functions_below(run)
    }

    fn control(&self) -> String {
        self.state.proxy_control.clone().expect("the stack runs behind the proxy")
    }

    /// Begins chaos at the proxy, instead of any that runs there.
    pub async fn begin_chaos(&self, plan: &Plan) {
        let body = serde_json::to_string(plan).expect("a plan");
        let response = http_client().post(format!("{}/chaos", self.control())).body(body).send().await;
        let status = response.expect("the proxy responds").status();
        assert!(status.is_success(), "the proxy refuses the plan with {status}");
    }

    /// Ends it; answers what it has done.
    pub async fn end_chaos(&self) -> Report {
        let response = http_client().delete(format!("{}/chaos", self.control())).send().await;
        let text = response.expect("the proxy responds").text().await.expect("a report");
        serde_json::from_str(&text).expect("a report")
    }

    /// Sets a rule of the proxy between functions and stack; returns a probe for its hits.
    pub async fn rule(&self, rule: &Rule) -> Hits {
        let control = self.control();
        let body = serde_json::to_string(rule).expect("a rule");
        let response = http_client().post(&control).body(body).send().await.expect("the proxy responds");
        let id = response.text().await.expect("the rule's id");
        Hits { url: format!("{control}/{id}") }
    }
}

/// A deployment's clock, which is ahead of the machine's by as much as a test says.
#[derive(Debug)]
pub struct Clock {
    file: PathBuf,
}

impl Clock {
    fn new(name: &str) -> Self {
        let clock = Self { file: env::temp_dir().join(format!("{name}-{}.clock", std::process::id())) };
        clock.ahead(Duration::ZERO);
        clock
    }

    /// Sets how far ahead it is.
    pub fn ahead(&self, by: Duration) {
        let partial = self.file.with_extension("partial");
        fs::write(&partial, by.as_millis().to_string()).expect("the clock's file");
        fs::rename(partial, &self.file).expect("the clock's file");
    }

    /// Moves it to shortly behind this RFC 3339 time, if it is not there yet.
    pub fn move_to(&self, time: &str) {
        let wanted = millis_of(time) + 500;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock after 1970");
        let now = u64::try_from(now.as_millis()).expect("a time of this era");
        self.ahead(Duration::from_millis(wanted.saturating_sub(now)));
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

/// Milliseconds since 1970 of a time as the API writes it.
pub fn millis_of(time: &str) -> u64 {
    let time = time::OffsetDateTime::parse(time, &time::format_description::well_known::Rfc3339);
    let millis = time.expect("an RFC 3339 time").unix_timestamp_nanos() / 1_000_000;
    u64::try_from(millis).expect("a time after 1970")
}

/// How often a rule was applied.
#[derive(Debug)]
pub struct Hits {
    url: String,
}

impl Hits {
    /// Asks the proxy.
    pub async fn count(&self) -> u32 {
        let response = http_client().get(&self.url).send().await.expect("the proxy responds");
        response.text().await.expect("a number").parse().expect("a number")
    }
}

fn json_of(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { serde_json::from_str(text).expect("JSON") }
}

/// The id of an event's delivery to an endpoint.
pub fn delivery_id(event_id: &str, endpoint_id: &str) -> String {
    format!("dlv_{}{}", &event_id[4..], &endpoint_id[4..])
}

/// A text in a JSON object.
pub fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("there is no text {name} in {value}")).to_owned()
}

/// When this process published last. Each test is a process of its own.
static LAST_PUBLISH: Mutex<Option<Instant>> = Mutex::new(None);

/// How long a function that published believes the endpoints that it found.
const LISTED: Duration = Duration::from_millis(1100);

/// A client of the deployed API, with one key.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    /// The API key.
    pub key: Option<String>,
    /// The tenant whose key it is.
    pub tenant: Option<String>,
}

/// A response of the API.
#[derive(Debug, Clone)]
pub struct ApiResponse {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The body as JSON; null where it is none.
    pub json: Value,
}

impl ApiResponse {
    /// The body, if the status is the one expected.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.json);
        self.json
    }

    /// The end of the problem's `type`.
    pub fn problem(&self) -> &str {
        self.json["type"].as_str().and_then(|uri| uri.rsplit(':').next()).unwrap_or_default()
    }

    /// Where the problem's first error points.
    pub fn pointer(&self) -> &str {
        self.json["errors"][0]["pointer"].as_str().unwrap_or_default()
    }
}

impl Client {
    /// Whose key it is.
    pub fn tenant_id(&self) -> &str {
        self.tenant.as_deref().expect("a tenant's client")
    }

    /// The same client with another key, or with none.
    #[must_use]
    pub fn with_key(&self, key: Option<String>) -> Self {
        Self { key, ..self.clone() }
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> ApiResponse {
        self.send(Method::GET, path, &[], None).await
    }

    /// `POST` with JSON.
    pub async fn post(&self, path: &str, body: &Value) -> ApiResponse {
        self.post_with(path, &[], body).await
    }

    /// `POST` with JSON and further headers.
    pub async fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> ApiResponse {
        let mut headers = headers.to_vec();
        headers.push(("content-type", "application/json"));
        self.send(Method::POST, path, &headers, Some(body.to_string().into_bytes())).await
    }

    /// `PUT` with JSON.
    pub async fn put(&self, path: &str, body: &Value) -> ApiResponse {
        let headers = [("content-type", "application/json")];
        self.send(Method::PUT, path, &headers, Some(body.to_string().into_bytes())).await
    }

    /// `PATCH` with JSON.
    pub async fn patch(&self, path: &str, body: &Value) -> ApiResponse {
        let headers = [("content-type", "application/json")];
        self.send(Method::PATCH, path, &headers, Some(body.to_string().into_bytes())).await
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str) -> ApiResponse {
        self.send(Method::DELETE, path, &[], None).await
    }

    /// A new endpoint with settings: its id and its signing key.
    pub async fn endpoint_with(&self, url: &str, mut settings: Value) -> (String, String) {
        settings["url"] = json!(url);
        let endpoint = self.post("/v1/endpoints", &settings).await.expect(201);
        self.until_publishes_know_it().await;
        (text(&endpoint, "id"), endpoint["secret"].as_str().unwrap_or_default().to_owned())
    }

    /// A function that published goes by the endpoints that it found for a second; one that another
    /// function made meanwhile is not among them.
    async fn until_publishes_know_it(&self) {
        let last = *LAST_PUBLISH.lock().expect("a lock");
        if let Some(last) = last {
            tokio::time::sleep_until((last + LISTED).into()).await;
        }
    }

    /// Any request.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> ApiResponse {
        self.try_send(method, path, headers, body).await.expect("the API responds")
    }

    /// Any request, which may stay without a response.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Result<ApiResponse, reqwest::Error> {
        let publishes = method == Method::POST && path.starts_with("/v1/events");
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().await?;
        if publishes {
            *LAST_PUBLISH.lock().expect("a lock") = Some(Instant::now());
        }
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let json = serde_json::from_slice(&response.bytes().await?).unwrap_or_default();
        Ok(ApiResponse { status, headers, json })
    }

    /// A new endpoint: its id and its signing key.
    pub async fn endpoint(&self, url: &str, event_types: &[&str]) -> (String, String) {
        let mut body = json!({ "url": url });
        if !event_types.is_empty() {
            body["event_types"] = json!(event_types);
        }
        let endpoint = self.post("/v1/endpoints", &body).await.expect(201);
        self.until_publishes_know_it().await;
        (text(&endpoint, "id"), text(&endpoint, "secret"))
    }

    /// Publishes under an idempotency key, and returns the event's id.
    pub async fn publish(&self, event_type: &str, data: &Value, idempotency_key: &str) -> String {
        let body = json!({ "type": event_type, "data": data });
        let headers = [("idempotency-key", idempotency_key)];
        text(&self.post_with("/v1/events", &headers, &body).await.expect(202), "id")
    }

    /// Publishes so many events in batches, and returns their ids.
    pub async fn publish_many(&self, event_type: &str, count: usize) -> Vec<String> {
        let events: Vec<_> = (0..count).map(|n| json!({ "type": event_type, "data": { "n": n } })).collect();
        let mut ids = Vec::new();
        for chunk in events.chunks(100) {
            let results = self.post("/v1/events/batch", &json!({ "events": chunk })).await.expect(202);
            let results = results["data"].as_array().expect("results");
            ids.extend(results.iter().map(|result| text(&result["event"], "id")));
        }
        ids
    }

    /// The delivery of an event that has one endpoint, once it has this status.
    pub async fn delivery(&self, event_id: &str, status: &str, limit: std::time::Duration) -> Value {
        let what = format!("the delivery of {event_id} to be {status}");
        let id = crate::eventually(&what, limit, || async {
            let page = self.get(&format!("/v1/events/{event_id}/deliveries")).await.expect(200);
            let delivery = &page["data"][0];
            (delivery["status"] == status).then(|| text(delivery, "id"))
        })
        .await;
        self.get(&format!("/v1/deliveries/{id}")).await.expect(200)
    }
}
