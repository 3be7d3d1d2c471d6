//! The endpoints of a run, and the clients that publish to them.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use serde_json::json;
use testkit::{Client, random::Random, stack::text};
use tokio::task::JoinSet;

use crate::{
    clients::{Publisher, Shop},
    ledger::Endpoint,
    receivers::{self, Ward},
};

/// The endpoints of the run: tenant, mood, the one event type that it subscribes to.
pub const ENDPOINTS: [(usize, &str, Option<&str>); 9] = [
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
pub const WIDE_TENANT: usize = 3;
const WIDE: usize = 110;

/// Between two events that go to so many.
const BETWEEN_WIDE: Duration = Duration::from_secs(6);

/// Makes the endpoints. Where the API does not know retry schedules yet, only first tries fail.
pub async fn endpoints(tenants: &[Client], ward: &Arc<Ward>, random: &mut Random) -> Vec<Endpoint> {
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

/// Starts the clients.
pub fn clients(shop: &Arc<Shop>, tenants: &[Client], random: &mut Random) -> JoinSet<()> {
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
