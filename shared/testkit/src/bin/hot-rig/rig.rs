//! The scenarios, one after the other.

use std::{
    io::{BufRead, Write},
    time::Instant,
};

use serde_json::{Value, json};

use crate::{aws::Aws, events, function::Function, setup::Setup};

/// The functions that run, and what they have done.
pub(crate) struct Rig {
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
    /// A rig whose AWS is before the stack.
    pub(crate) async fn new(setup: Setup) -> Self {
        Self { aws: Aws::start(&setup.upstream).await, setup, number: 0 }
    }

    /// Runs every scenario.
    pub(crate) async fn run(mut self) {
        for index in 0..self.setup.scenarios.len() {
            self.scenario(index).await;
        }
        say(&json!({ "stage": "end", "forwarded": self.aws.forwarded() }));
    }

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

    async fn scenario(&mut self, index: usize) {
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
