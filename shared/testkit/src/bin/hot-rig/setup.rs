//! What the rig measures, as its caller describes it.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::events;

/// What the rig measures, and with what.
#[derive(Deserialize)]
pub(crate) struct Setup {
    /// The stack: what a function reads comes from there, once.
    pub(crate) upstream: String,
    /// The functions by name.
    pub(crate) functions: BTreeMap<String, FunctionSetup>,
    /// What is measured, in order.
    pub(crate) scenarios: Vec<Scenario>,
}

/// One function's binary and environment.
#[derive(Deserialize)]
pub(crate) struct FunctionSetup {
    pub(crate) binary: PathBuf,
    pub(crate) environment: BTreeMap<String, String>,
}

/// One measurement.
#[derive(Deserialize)]
pub(crate) struct Scenario {
    /// Its name.
    pub(crate) name: String,
    /// The function that is fed.
    pub(crate) function: String,
    /// What it is fed with.
    pub(crate) input: Input,
    /// Invocations of a round before any is counted.
    pub(crate) warm: usize,
    /// Rounds that are counted, each as long as the warm one.
    pub(crate) rounds: usize,
    /// The function that processes the messages which the first one sends, in batches of ten.
    pub(crate) consumer: Option<String>,
}

/// The events of a function.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Input {
    /// The same event every time.
    Same(Value),
    /// A request at the API Gateway.
    Request {
        /// Its method.
        method: String,
        /// Its path.
        path: String,
        /// Its headers.
        headers: BTreeMap<String, String>,
        /// Its body, in which `$N` is replaced by the number of the request.
        body: String,
    },
}

impl Input {
    /// The event of this number.
    pub(crate) fn event(&self, number: usize) -> Value {
        match self {
            Self::Same(event) => event.clone(),
            Self::Request { method, path, headers, body } => {
                events::request(method, path, headers, &body.replace("$N", &number.to_string()))
            }
        }
    }
}
