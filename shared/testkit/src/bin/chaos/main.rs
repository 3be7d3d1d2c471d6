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
mod options;
mod receivers;
mod report;
mod setup;

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clients::Shop;
use disturbances::{kills, switches, weather};
use ledger::Ledger;
use options::Options;
use receivers::Ward;
use setup::{WIDE_TENANT, clients, endpoints};
use testkit::{Stack, random::Random, unique};

/// How long clients go on repeating after the chaos.
const LAST_REPEATS: Duration = Duration::from_mins(1);

/// What the API may need to see new endpoints in each of its processes (docs/api.md: a second).
const SUBSCRIBING: Duration = Duration::from_millis(1500);

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

/// Waits until all has arrived, or for this long; returns how long that was.
async fn settle(ledger: &Ledger, limit: Duration) -> Duration {
    let began = Instant::now();
    while ledger.outstanding() > 0 && began.elapsed() < limit {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    began.elapsed()
}
