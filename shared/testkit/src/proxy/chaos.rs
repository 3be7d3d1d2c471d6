//! Faults by chance. The seed fixes the dice; which call meets which of them is up to timing.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Call, Fault, listed};
use crate::{process::Peer, random::Random};

/// How many calls in a thousand meet which fault.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "named as the faults")]
pub struct PerMille {
    pub kill_before: u32,
    pub kill_after: u32,
    pub lose_response: u32,
    pub throttle: u32,
    pub cut: u32,
    pub delay: u32,
}

/// What chance may do.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Where the dice begin.
    pub seed: u64,
    /// How often it may do what.
    pub per_mille: PerMille,
    /// The longest delay.
    #[serde(default = "default_delay")]
    pub delay_ms: u64,
    /// The operations that it may hit; all where it is empty.
    #[serde(default)]
    pub operations: Vec<String>,
    /// The functions that it may hit, by their deployed names; all where it is empty.
    #[serde(default)]
    pub only_functions: Vec<String>,
}

fn default_delay() -> u64 {
    300
}

impl Plan {
    fn faults(&self) -> [(&'static str, u32, Fault); 6] {
        let PerMille { kill_before, kill_after, lose_response, throttle, cut, delay } = self.per_mille;
        [
            ("kill_before", kill_before, Fault::KillBefore),
            ("kill_after", kill_after, Fault::KillAfter),
            ("lose_response", lose_response, Fault::LoseResponse),
            ("throttle", throttle, Fault::Throttle),
            ("cut", cut, Fault::Cut),
            ("delay", delay, Fault::Delay { ms: self.delay_ms }),
        ]
    }

    fn aims_at(&self, call: &Call, peer: &Peer) -> bool {
        let in_list =
            |list: &[String], name: &str| list.is_empty() || listed(list.iter().map(String::as_str), name);
        in_list(&self.operations, &call.operation)
            && (self.only_functions.is_empty()
                || peer.function().is_some_and(|name| in_list(&self.only_functions, name)))
    }
}

/// What chance has done.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// Calls that it could have hit.
    pub calls: u64,
    /// Those that it hit, by fault.
    pub hits: BTreeMap<String, u64>,
}

#[derive(Default)]
struct State {
    running: Option<(Plan, Random)>,
    report: Report,
}

/// Chance itself; it rests until it is given a plan.
#[derive(Default)]
pub struct Chaos(Mutex<State>);

impl Chaos {
    /// Begins anew. `false` where the plan asks for more than all calls.
    pub fn begin(&self, plan: Plan) -> bool {
        if plan.faults().iter().map(|(_, share, _)| u64::from(*share)).sum::<u64>() > 1000 {
            return false;
        }
        let random = Random::new(plan.seed);
        *self.0.lock().expect("no panic with it") =
            State { running: Some((plan, random)), report: Report::default() };
        true
    }

    /// Ends, if it was running.
    pub fn end(&self) -> Report {
        let mut state = self.0.lock().expect("no panic with it");
        state.running = None;
        state.report.clone()
    }

    /// What it has done since it began.
    pub fn report(&self) -> Report {
        self.0.lock().expect("no panic with it").report.clone()
    }

    /// The fault for this call, if it meets one.
    pub fn draw(&self, call: &Call, peer: &Peer) -> Option<Fault> {
        let mut state = self.0.lock().expect("no panic with it");
        let State { running, report } = &mut *state;
        let (plan, random) = running.as_mut()?;
        if !plan.aims_at(call, peer) {
            return None;
        }
        report.calls += 1;
        let mut n = random.below(1000);
        for (name, share, fault) in plan.faults() {
            if n < share {
                *report.hits.entry(name.to_owned()).or_default() += 1;
                return Some(match fault {
                    Fault::Delay { ms } => {
                        let wait = random.up_to(Duration::from_millis(ms));
                        Fault::Delay { ms: u64::try_from(wait.as_millis()).unwrap_or(ms) }
                    }
                    fault => fault,
                });
            }
            n -= share;
        }
        None
    }
}

#[cfg(test)]
mod tests;
