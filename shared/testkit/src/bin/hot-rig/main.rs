//! `hot-rig < SETUP`: feeds functions back to back, with an AWS that responds at once, and leaves the measuring of their
//! processes to its caller.
//!
//! The set-up is JSON ([`Setup`]). For each scenario the rig prints a line when it is warm and one when it is done,
//! each with the process ids of the functions, and goes on after a line of input: in between nothing runs.

mod aws;
mod events;
mod function;

use std::{
    collections::BTreeMap,
    io::{BufRead, Write},
    path::PathBuf,
    time::Instant,
};

use serde::Deserialize;
use serde_json::{Value, json};

use aws::Aws;
use function::Function;

/// What the rig measures, and with what.
#[derive(Deserialize)]
struct Setup {
    /// The stack: what a function reads comes from there, once.
    upstream: String,
    /// The functions by name.
    functions: BTreeMap<String, FunctionSetup>,
    /// What is measured, in order.
    scenarios: Vec<Scenario>,
}

/// One function's binary and environment.
#[derive(Deserialize)]
struct FunctionSetup {
    binary: PathBuf,
    environment: BTreeMap<String, String>,
}

/// One measurement.
#[derive(Deserialize)]
struct Scenario {
    /// Its name.
    name: String,
    /// The function that is fed.
    function: String,
    /// What it is fed with.
    input: Input,
    /// Invocations of a round before any is counted.
    warm: usize,
    /// Rounds that are counted, each as long as the warm one.
    rounds: usize,
    /// The function that processes the messages which the first one sends, in batches of ten.
    consumer: Option<String>,
}

/// The events of a function.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Input {
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
    fn event(&self, number: usize) -> Value {
        match self {
            Self::Same(event) => event.clone(),
            Self::Request { method, path, headers, body } => {
                events::request(method, path, headers, &body.replace("$N", &number.to_string()))
            }
        }
    }
}

/// The functions that run, and what they have done.
struct Rig {
    aws: Aws,
    setup: Setup,
    number: usize,
}

/// What a part of a scenario came to.
#[derive(Default)]
struct Counts {
    invocations: usize,
    messages: usize,
}

impl Rig {
    async fn start(&self, name: &str) -> Function {
        let setup = self.setup.functions.get(name).unwrap_or_else(|| panic!("no function {name}"));
        Function::start(&setup.binary, &setup.environment, self.aws.url()).await
    }

    /// Feeds one round: the function with its events, and the consumer with all messages that it sends.
    async fn round(&mut self, index: usize, running: &mut (Function, Option<Function>)) -> Counts {
        let mut counts = Counts::default();
        let warm = self.setup.scenarios[index].warm;
        for _ in 0..warm {
            self.number += 1;
            let event = self.setup.scenarios[index].input.event(self.number);
            running.0.invoke(&event).await;
            counts.invocations += 1;
        }
        let messages = self.aws.take_messages();
        counts.messages = messages.len();
        if let Some(consumer) = &mut running.1 {
            for batch in messages.chunks(10) {
                consumer.invoke(&events::queue(batch)).await;
            }
        }
        counts
    }

    async fn run(&mut self, index: usize) {
        let scenario = &self.setup.scenarios[index];
        let (name, rounds) = (scenario.name.clone(), scenario.rounds);
        let function = self.start(&scenario.function).await;
        let consumer = match &scenario.consumer {
            Some(consumer) => Some(self.start(consumer).await),
            None => None,
        };
        let mut running = (function, consumer);
        // Twice: caches that are filled by the first round change what the second one does.
        for _ in 0..2 {
            self.round(index, &mut running).await;
        }
        let pids = [Some(running.0.pid()), running.1.as_ref().map(Function::pid)];
        let line = |stage: &str, counts: &Counts, seconds: f64| {
            json!({
                "scenario": name, "stage": stage, "pids": pids, "seconds": seconds,
                "invocations": counts.invocations, "messages": counts.messages,
            })
        };
        say(&line("warm", &Counts::default(), 0.0));
        let start = Instant::now();
        let mut total = Counts::default();
        for _ in 0..rounds {
            let counts = self.round(index, &mut running).await;
            total.invocations += counts.invocations;
            total.messages += counts.messages;
        }
        say(&line("done", &total, start.elapsed().as_secs_f64()));
    }
}

/// Prints a line, and waits for one.
fn say(line: &Value) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("stdout");
    let mut go = String::new();
    std::io::stdin().lock().read_line(&mut go).expect("stdin");
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut text = String::new();
    std::io::stdin().lock().read_line(&mut text).expect("a set-up");
    let setup: Setup = serde_json::from_str(&text).expect("a set-up");
    let aws = Aws::start(&setup.upstream).await;
    let scenarios = setup.scenarios.len();
    let mut rig = Rig { aws, setup, number: 0 };
    for index in 0..scenarios {
        rig.run(index).await;
    }
    say(&json!({ "stage": "end", "forwarded": rig.aws.forwarded() }));
}
