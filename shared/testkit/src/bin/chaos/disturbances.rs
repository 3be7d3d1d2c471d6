//! What happens to the stack during the chaos: faults of AWS, killed functions, endpoints that are disabled
//! and enabled.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use testkit::{
    Client, Stack,
    process::Kill,
    proxy::{PerMille, Plan, Report},
    random::Random,
};

use crate::{
    ledger::{Endpoint, Ledger},
    setup::ENDPOINTS,
};

/// Between two requests that disable or enable an endpoint, at most.
const BETWEEN_SWITCHES: Duration = Duration::from_secs(2);

/// What a call meets most of the time; the SDK's own retries hide most of it. Deaths are rarer than
/// they could be: after each, the stand-in leaves the lane alone for a second.
const WEATHER: PerMille =
    PerMille { kill_before: 2, kill_after: 2, lose_response: 8, throttle: 20, cut: 10, delay: 30 };

/// What it meets now and then: three tries in a row fail often enough.
const STORM: PerMille =
    PerMille { kill_before: 3, kill_after: 3, lose_response: 100, throttle: 300, cut: 150, delay: 100 };

const BETWEEN_STORMS: Duration = Duration::from_secs(8);
const STORM_LASTS: Duration = Duration::from_secs(2);

/// Between two functions' deaths, at most.
const BETWEEN_KILLS: Duration = Duration::from_secs(3);

/// Faults of AWS by chance, in waves; returns how many there were of each.
pub async fn weather(stack: &Stack, stop: Instant, mut random: Random) -> BTreeMap<String, u64> {
    let mut sum = BTreeMap::new();
    let mut add = |report: Report| {
        for (fault, hits) in report.hits {
            *sum.entry(fault).or_default() += hits;
        }
        *sum.entry("calls".to_owned()).or_default() += report.calls;
    };
    let waves = [(WEATHER, BETWEEN_STORMS), (STORM, STORM_LASTS)].into_iter().cycle();
    for (per_mille, lasts) in waves {
        let left = stop.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let seed = u64::from(random.below(u32::MAX));
        let plan =
            Plan { seed, per_mille, delay_ms: 300, operations: Vec::new(), only_functions: Vec::new() };
        stack.begin_chaos(&plan).await;
        tokio::time::sleep(lasts.min(left)).await;
        add(stack.end_chaos().await);
    }
    sum
}

/// Disables and enables endpoints at random times, holding what comes meanwhile; returns how often. In the
/// end all are enabled.
pub async fn switches(ledger: &Ledger, tenants: &[Client], stop: Instant, mut random: Random) -> u64 {
    let mut switched = 0;
    let mut disabled = BTreeSet::new();
    let switch = async |index: usize, action: &str, body: Value| {
        let Endpoint { tenant, id, .. } = &ledger.endpoints[index];
        tenants[*tenant].post(&format!("/v1/endpoints/{id}/{action}"), &body).await.status == 200
    };
    while Instant::now() < stop {
        tokio::time::sleep(random.up_to(BETWEEN_SWITCHES)).await;
        let index = random.below(u32::try_from(ENDPOINTS.len()).expect("few")) as usize;
        // A request that failed may have been carried out.
        let done = if disabled.insert(index) {
            switch(index, "disable", json!({ "mode": "hold" })).await
        } else {
            let done = switch(index, "enable", json!({ "delivery_rate": 500 })).await;
            if done {
                disabled.remove(&index);
            }
            done
        };
        switched += u64::from(done);
    }
    for index in disabled {
        while !switch(index, "enable", json!({ "delivery_rate": 500 })).await {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
    switched
}

/// The functions that were killed at random times.
#[derive(Default)]
pub struct Kills {
    /// How often each function was.
    pub by_function: BTreeMap<String, u64>,
    pub list: Vec<Kill>,
}

/// Kills functions at random times, each function as often as any other.
pub async fn kills(stack: &Stack, stop: Instant, mut random: Random) -> Kills {
    let mut kills = Kills::default();
    while Instant::now() < stop {
        tokio::time::sleep(random.up_to(BETWEEN_KILLS)).await;
        let mut alive: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for (pid, deployed) in stack.processes() {
            let function = stack.functions.iter().find(|(_, name)| **name == deployed);
            if let Some((function, _)) = function {
                alive.entry(function).or_default().push(pid);
            }
        }
        let mut pick = |count: usize| random.below(u32::try_from(count).expect("few")) as usize;
        if alive.is_empty() {
            continue;
        }
        let (function, pids) = alive.iter().nth(pick(alive.len())).expect("one of them");
        if let Some(kill) = Kill::now(pids[pick(pids.len())]) {
            *kills.by_function.entry((*function).to_owned()).or_default() += 1;
            kills.list.push(kill);
        }
    }
    kills
}
