//! The running local stack, as `dev/stack.py` describes it. What a test does to it is here and in the files
//! beside; what it asks of the API is in `client`.

mod aws;
mod clock;
mod deploy;

use std::{
    collections::{BTreeSet, HashMap},
    env, fs,
    io::Write,
    path::PathBuf,
};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

pub use self::clock::Clock;

use crate::{
    http_client,
    process::{self, Kill},
    proxy::{Count, Plan, Report, Rule},
};

/// The outputs that name the URLs of all queues.
pub const QUEUES: [&str; 11] = [
    "FastLaneUrl",
    "SlowLaneUrl",
    "FanOutPagesUrl",
    "DeadLettersUrl",
    "UnreadableUrl",
    "ConnectionsQueueUrl",
    "ConnectionsDeadLettersUrl",
    "CalendarSyncQueueUrl",
    "MlsSyncQueueUrl",
    "SyncsDeadLettersUrl",
    "JobsDeadLettersUrl",
];

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
    stacks: HashMap<String, Deployment>,
}

#[derive(Debug, Clone, Deserialize)]
struct Deployment {
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

/// The file with the state of the stack, whose folder is of this run.
#[allow(clippy::disallowed_methods, reason = "tests get the place of the stack, and have no configuration")]
pub fn state_file() -> String {
    env::var(STATE).unwrap_or_else(|_| panic!("{STATE} is not set: run the tests with `make test`"))
}

/// Keeps a problem for the sweep that ends a run: a secret in it would be in the logs of every integration.
#[allow(clippy::disallowed_methods, reason = "tests get the place of the stack, and have no configuration")]
pub(crate) fn keep_problem(text: &str) {
    let Some(run) = env::var(STATE).ok().and_then(|state| Some(PathBuf::from(state).parent()?.to_owned()))
    else {
        return;
    };
    let file = fs::OpenOptions::new().create(true).append(true).open(run.join("problems.txt"));
    // One write of a whole line, because tests run beside each other.
    file.and_then(|mut file| file.write_all(format!("{}\n", text.replace('\n', " ")).as_bytes()))
        .expect("the file of problems");
}

fn state() -> State {
    let text = fs::read_to_string(state_file()).expect("the stack's state file");
    serde_json::from_str(&text).expect("the stack's state")
}

impl Stack {
    /// The deployment that all tests share.
    pub fn shared() -> Self {
        Self::named(state(), SHARED)
    }

    fn named(state: State, name: &str) -> Self {
        let Deployment { api_url, operator_key, outputs, functions } =
            state.stacks.get(name).unwrap_or_else(|| panic!("{name} is not deployed")).clone();
        Self { api_url, operator_key, outputs, functions, name: name.to_owned(), state }
    }

    /// What the template says of this name: an output.
    pub fn output(&self, name: &str) -> &str {
        self.outputs.get(name).unwrap_or_else(|| panic!("the template has no output {name}"))
    }

    /// What the deployment is called.
    pub fn name(&self) -> &str {
        &self.name
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

    /// Ends it; returns what it has done.
    pub async fn end_chaos(&self) -> Report {
        let response = http_client().delete(format!("{}/chaos", self.control())).send().await;
        let text = response.expect("the proxy responds").text().await.expect("a report");
        serde_json::from_str(&text).expect("a report")
    }

    /// Has the proxy count calls of AWS from now on, of all deployments.
    pub async fn begin_call_counts(&self) {
        let url = format!("{}/counts/reset", self.control());
        let response = http_client().post(url).send().await.expect("the proxy responds");
        assert!(response.status().is_success());
    }

    /// The calls that were counted.
    pub async fn call_counts(&self) -> Vec<Count> {
        self.ask_proxy("/counts").await
    }

    /// The processes that the proxy has killed, and when.
    pub async fn kills(&self) -> Vec<Kill> {
        self.ask_proxy("/kills").await
    }

    /// The events in messages whose sender got no response, although they were sent.
    pub async fn unheard_events(&self) -> BTreeSet<String> {
        self.ask_proxy("/unheard").await
    }

    async fn ask_proxy<T: DeserializeOwned>(&self, path: &str) -> T {
        let response = http_client().get(format!("{}{path}", self.control())).send().await;
        let text = response.expect("the proxy responds").text().await.expect("a text");
        serde_json::from_str(&text).expect("what was asked for")
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

/// A text in a JSON object.
pub fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("there is no text {name} in {value}")).to_owned()
}
