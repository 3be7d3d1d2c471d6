//! Our Zapier app under Zapier's own platform, which runs its functions as Zapier does.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::stack::root;

/// Where the app is, from the root.
pub const ZAPIER_APP: &str = "shared/integrations/zapier-app";

/// The app with one connection; its process ends with this value.
#[derive(Debug)]
pub struct ZapierApp {
    _process: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    connection: Value,
}

/// An error that a function of the app has thrown, as a user of Zapier sees it.
#[derive(Debug)]
pub struct ZapierError {
    /// What Zapier does about it depends on its name.
    pub name: String,
    /// What the user reads.
    pub message: String,
}

impl ZapierApp {
    /// Starts the app with a connection to the API at this address, without `/v1`, with this key.
    pub fn start(api_url: &str, key: &str) -> Self {
        let mut command = Command::new("node");
        command
            .arg(root().join(ZAPIER_APP).join("test/driver.js"))
            .env("ZAPIER_APP_ALLOWS_LOOPBACK", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{command:?} does not run: {error}"));
        Self {
            stdin: process.stdin.take().expect("piped"),
            lines: BufReader::new(process.stdout.take().expect("piped")).lines(),
            _process: process,
            connection: json!({ "base_url": api_url, "api_key": key }),
        }
    }

    /// Connects with another key from now on.
    pub fn connect(&mut self, key: &str) {
        self.connection["api_key"] = json!(key);
    }

    /// Calls a function of the definition, such as `triggers.new_event.operation.perform`, with this bundle and the
    /// connection.
    pub async fn call(&mut self, method: &str, bundle: Value) -> Result<Value, ZapierError> {
        let mut bundle = bundle;
        bundle["authData"] = self.connection.clone();
        let line = format!("{}\n", json!({ "method": method, "bundle": bundle }));
        self.stdin.write_all(line.as_bytes()).await.expect("the app reads");
        let outcome = loop {
            let line = self.lines.next_line().await.expect("the app writes").expect("the app runs");
            // The platform writes lines of its own.
            if let Ok(outcome @ Value::Object(_)) = serde_json::from_str(&line) {
                break outcome;
            }
        };
        let text = |name: &str| outcome["error"][name].as_str().unwrap_or_default().to_owned();
        match outcome.get("result") {
            Some(result) => Ok(result.clone()),
            None => Err(ZapierError { name: text("name"), message: text("message") }),
        }
    }
}
