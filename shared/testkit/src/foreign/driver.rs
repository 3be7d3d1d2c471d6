//! Programs around clients that we did not write: they take an order per line, as JSON, and respond with a line.

use std::{net::SocketAddr, process::Stdio};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::stack::root;

/// A program that runs; it ends with this value.
#[derive(Debug)]
pub struct Driver {
    _process: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Driver {
    /// Google's own SDK, for the API at this root with this access token.
    pub async fn google_sdk(root_url: &str, token: &str) -> Self {
        let mut command = Command::new("node");
        command.arg(root().join("tests/it/clients/google/sdk.mjs"));
        Self::start(command, json!({ "root": root_url, "token": token })).await
    }

    /// Stripe's or Brevo's own SDK, for the API at this address with this key.
    pub async fn vendor_sdk(vendor: &str, address: SocketAddr, key: &str) -> Self {
        let mut command = Command::new("node");
        command.arg(root().join("tests/it/clients/vendors/sdk.mjs"));
        let settings = json!({
            "vendor": vendor, "host": address.ip().to_string(), "port": address.port(), "key": key,
        });
        Self::start(command, settings).await
    }

    /// Home Assistant's client of Google Calendar, for the API at this base; nothing where it is not installed, because
    /// it requires Python 3.13.
    pub async fn gcal_sync(base_url: &str, token: &str, calendar: &str) -> Option<Self> {
        let python = root().join(".local/gcal/bin/python");
        if !python.exists() {
            return None;
        }
        let mut command = Command::new(python);
        command.arg(root().join("tests/it/clients/google/sync.py"));
        Some(Self::start(command, json!({ "base": base_url, "token": token, "calendar": calendar })).await)
    }

    /// Starts a program and sends it its settings as the first line.
    async fn start(mut command: Command, settings: Value) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{command:?} does not run: {error}"));
        let stdin = process.stdin.take().expect("piped");
        let lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let mut driver = Self { _process: process, stdin, lines };
        assert_eq!(driver.order(settings).await["ok"], true, "the program is ready");
        driver
    }

    /// Sends an order; returns what it responds.
    pub async fn order(&mut self, order: Value) -> Value {
        self.stdin.write_all(format!("{order}\n").as_bytes()).await.expect("the program reads");
        let line = self.lines.next_line().await.expect("it writes").expect("it runs");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }
}
