//! `chaos [--seed N] [--seconds N] [--settle N]`, on a stack behind `chaos-proxy`.
//!
//! Clients publish, calls of AWS fail by chance, functions are killed and endpoints have moods,
//! all at once. Then everything heals, and what was accepted must arrive: every event at every
//! endpoint that was subscribed, under one id, with one body, signed. Exit code 1 where it does not, or where
//! more comes twice than killed dispatchers explain.
//!
//! The seed fixes the dice, not the scheduler: a run with the same seed is much like the first,
//! not the same.

mod clients;
mod disturbances;
mod duplicates;
mod ledger;
mod receivers;
mod report;

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clients::{Publisher, Shop};
use disturbances::{kills, switches, weather};
use ledger::{Endpoint, Ledger};
use receivers::Ward;
use serde_json::json;
use testkit::{Client, Stack, random::Random, stack::text, unique};
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
            // The lease of a due entry (10 min) whose message was lost, then two kills (35 s each until the
            // message is back) and two failures of ours (20 s and 40 s).
            settle: Duration::from_mins(13),
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
    let (faults, kills, switched) = tokio::join!(
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
    let run = report::Run {
        stack: &stack,
        ledger: &ledger,
        shop: &shop,
        tenants: &tenants,
        faults,
        kills,
        switched,
        settled,
    };
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

/// Waits until all has arrived, or for this long; returns how long that was.
async fn settle(ledger: &Ledger, limit: Duration) -> Duration {
    let began = Instant::now();
    while ledger.outstanding() > 0 && began.elapsed() < limit {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    began.elapsed()
}
