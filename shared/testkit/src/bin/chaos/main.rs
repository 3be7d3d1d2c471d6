//! `chaos [--seed N] [--seconds N] [--settle N]`, on a stack behind `chaos-proxy`.
//!
//! Clients publish, calls of AWS fail by chance, functions are killed and endpoints have moods,
//! all at once. Then everything heals, and what was accepted must arrive: every event at every
//! endpoint that was subscribed, under one id, with one body, signed. Exit code 1 where it does not.
//!
//! The seed fixes the dice, not the scheduler: a run with the same seed is much like the first,
//! not the same.

mod clients;
mod ledger;
mod receivers;
mod report;

use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clients::{Publisher, Shop};
use ledger::{Endpoint, Ledger};
use receivers::Ward;
use serde_json::{Value, json};
use testkit::{
    Client, Stack, process,
    proxy::{PerMille, Plan},
    random::Random,
    stack::text,
    unique,
};
use tokio::task::JoinSet;

/// The endpoints of the run: tenant, mood, the one event type that it subscribes to.
const ENDPOINTS: [(usize, &str, Option<&str>); 9] = [
    (0, "well", None),
    (0, "failing", None),
    (1, "well", None),
    (1, "slow", None),
    (1, "cutting", Some("contact.created")),
    (2, "well", Some("deal.won")),
    (2, "failing", Some("contact.created")),
    (2, "cutting", None),
    (2, "crawling", Some("deal.won")),
];

/// The tenant whose events go to many endpoints, and how many: more than an event's own item holds.
const WIDE_TENANT: usize = 3;
const WIDE: usize = 110;

/// Between two events that go to so many.
const BETWEEN_WIDE: Duration = Duration::from_secs(6);

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

/// How long clients go on repeating after the chaos.
const LAST_REPEATS: Duration = Duration::from_mins(1);

/// What the API may need to see new endpoints in each of its processes (docs/api.md: a second).
const SUBSCRIBING: Duration = Duration::from_millis(1500);

struct Options {
    seed: u64,
    lasts: Duration,
    settle: Duration,
}

impl Options {
    fn read() -> Result<Self, String> {
        let mut options = Self {
            seed: Random::fresh_seed(),
            lasts: Duration::from_mins(1),
            // Two kills (35 s each until the message is back) and two failures of ours (20 s and 40 s).
            settle: Duration::from_mins(4),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let value = arguments.next().and_then(|value| value.parse().ok());
            let value: u64 = value.ok_or_else(|| format!("{name} requires a number"))?;
            match name.as_str() {
                "--seed" => options.seed = value,
                "--seconds" => options.lasts = Duration::from_secs(value),
                "--settle" => options.settle = Duration::from_secs(value),
                _ => return Err(format!("{name} is not known")),
            }
        }
        Ok(options)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::read() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}; chaos [--seed N] [--seconds N] [--settle N]");
            return ExitCode::from(2);
        }
    };
    println!("seed {} (again: make chaos SEED={0})", options.seed);
    let mut random = Random::new(options.seed);
    let stack = Stack::shared();
    let ward = Arc::new(Ward::default());
    let mut tenants = Vec::new();
    for _ in 0..=WIDE_TENANT {
        tenants.push(stack.tenant().await);
    }
    let ledger = Arc::new(Ledger::new(endpoints(&tenants, &ward, &mut random).await));
    assert!(ward.ledger.set(Arc::clone(&ledger)).is_ok(), "it is set once");
    tokio::time::sleep(SUBSCRIBING).await;

    let stop = Instant::now() + options.lasts;
    let shop = Arc::new(Shop {
        ledger: Arc::clone(&ledger),
        run: unique("chaos"),
        stop,
        give_up: stop + LAST_REPEATS,
        repeated: AtomicU64::default(),
        without_response: AtomicU64::default(),
    });
    let clients = clients(&shop, &tenants, &mut random);
    println!("{} s of chaos", options.lasts.as_secs());
    let (faults, killed, switched) = tokio::join!(
        weather(&stack, stop, random.fork()),
        kills(&stack, stop, random.fork()),
        switches(&ledger, &tenants, stop, random.fork()),
    );
    ward.healed.store(true, Ordering::Relaxed);
    clients.join_all().await;
    println!(
        "{} deliveries are still to come; waiting up to {} s",
        ledger.outstanding(),
        options.settle.as_secs()
    );
    let settled = settle(&ledger, options.settle).await;
    let run =
        report::Run { ledger: &ledger, shop: &shop, tenants: &tenants, faults, killed, switched, settled };
    run.print().await
}

/// Makes the endpoints. Where the API does not know retry schedules yet, only first tries fail.
async fn endpoints(tenants: &[Client], ward: &Arc<Ward>, random: &mut Random) -> Vec<Endpoint> {
    let mut made = Vec::new();
    let wide = std::iter::repeat_n((WIDE_TENANT, "well", None), WIDE);
    for (index, (tenant, mood, only)) in ENDPOINTS.into_iter().chain(wide).enumerate() {
        let url = receivers::start(Arc::clone(ward), index, random.fork()).await;
        let mut body = json!({ "url": url });
        if let Some(only) = only {
            body["event_types"] = json!([only]);
        }
        let mut short = body.clone();
        short["retry_schedule_seconds"] = json!([1, 1, 2, 2, 5, 5, 5, 10, 10, 10, 10, 10, 20]);
        let mut response = tenants[tenant].post("/v1/endpoints", &short).await;
        if response.status == 422 {
            ward.gentle.store(true, Ordering::Relaxed);
            response = tenants[tenant].post("/v1/endpoints", &body).await;
        }
        let response = response.expect(201);
        let (id, secret) = (text(&response, "id"), text(&response, "secret"));
        made.push(Endpoint { tenant, id, secret, only, mood });
    }
    if ward.gentle.load(Ordering::Relaxed) {
        println!("the API knows no retry_schedule: each delivery fails at its first try only");
    }
    made
}

fn clients(shop: &Arc<Shop>, tenants: &[Client], random: &mut Random) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    let kinds = |tenant: (usize, _)| match tenant.0 {
        WIDE_TENANT => vec![(tenant, 1, BETWEEN_WIDE)],
        _ => [1, 1, 20, 100].map(|batch| (tenant, batch, Duration::ZERO)).to_vec(),
    };
    let kinds = tenants.iter().enumerate().flat_map(kinds);
    for (name, ((tenant, client), batch, pause)) in kinds.enumerate() {
        let publisher = Publisher {
            shop: Arc::clone(shop),
            client: client.clone(),
            tenant,
            name,
            batch,
            pause,
            random: random.fork(),
        };
        clients.spawn(publisher.run());
    }
    clients
}

/// Faults of AWS by chance, in waves; returns how many there were of each.
async fn weather(stack: &Stack, stop: Instant, mut random: Random) -> BTreeMap<String, u64> {
    let mut sum = BTreeMap::new();
    let mut add = |report: testkit::proxy::Report| {
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
async fn switches(ledger: &Ledger, tenants: &[Client], stop: Instant, mut random: Random) -> u64 {
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

/// Kills functions at random times, each function as often as any other; returns how often.
async fn kills(stack: &Stack, stop: Instant, mut random: Random) -> BTreeMap<String, u64> {
    let mut killed = BTreeMap::new();
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
        if process::try_kill(pids[pick(pids.len())]) {
            *killed.entry((*function).to_owned()).or_default() += 1;
        }
    }
    killed
}

/// Waits until all has arrived, or for this long; returns how long that was.
async fn settle(ledger: &Ledger, limit: Duration) -> Duration {
    let began = Instant::now();
    while ledger.outstanding() > 0 && began.elapsed() < limit {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    began.elapsed()
}
