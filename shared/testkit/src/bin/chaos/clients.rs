//! Clients that publish as the API's documentation asks: again under the same key, until
//! they get a 202.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{ApiResponse, Client, random::Random, stack::text};

use crate::ledger::{Ledger, PublishedEvent};

/// Clients rest while more than this is on its way, so that what waits in the lane is a
/// minute's work.
const OUTSTANDING: u64 = 3000;

/// Longer than the API takes.
const PATIENCE: Duration = Duration::from_secs(35);

/// One publish in this many is larger than a lane's message may be.
const LARGE_ONE_IN: u32 = 200;
const LARGE: u32 = 70_000;

/// So many in a thousand clients did not hear their 202, or so they think.
const AGAIN: u32 = 20;

/// What all clients share.
pub struct Shop {
    pub ledger: Arc<Ledger>,
    /// Distinguishes this run's keys.
    pub run: String,
    /// When they stop beginning publishes, and when they give those up that were begun.
    pub stop: Instant,
    pub give_up: Instant,
    /// Requests beyond the first for the same events.
    pub repeated: AtomicU64,
    /// Events whose publish was given up.
    pub without_response: AtomicU64,
}

/// One client of one tenant.
pub struct Publisher {
    pub shop: Arc<Shop>,
    pub client: Client,
    pub tenant: usize,
    pub name: usize,
    /// Events per request; 1 for single publishes.
    pub batch: u32,
    /// Between two requests.
    pub pause: Duration,
    pub random: Random,
}

struct Order {
    key: String,
    /// Whether an earlier request for it got no 202.
    repeated: bool,
    event: PublishedEvent,
}

impl Publisher {
    /// Publishes until it is time to stop.
    pub async fn run(mut self) {
        let mut n = 0;
        while Instant::now() < self.shop.stop {
            if self.shop.ledger.outstanding() > OUTSTANDING {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            let count = if self.batch == 1 { 1 } else { 1 + self.random.below(self.batch) };
            let orders = (0..count).map(|index| self.order(n + index)).collect();
            n += count;
            self.publish(orders).await;
            tokio::time::sleep(self.pause).await;
        }
    }

    fn order(&mut self, n: u32) -> Order {
        let size = if self.random.below(LARGE_ONE_IN) == 0 { LARGE } else { self.random.below(2000) };
        let event = PublishedEvent {
            tenant: self.tenant,
            event_type: if self.random.per_mille(500) { "contact.created" } else { "deal.won" },
            data: json!({ "client": self.name, "n": n, "pad": "x".repeat(size as usize) }),
        };
        Order { key: format!("{}-{}-{n}", self.shop.run, self.name), repeated: false, event }
    }

    async fn publish(&mut self, mut orders: Vec<Order>) {
        let mut tries = 0;
        while !orders.is_empty() {
            if Instant::now() > self.shop.give_up {
                self.shop.without_response.fetch_add(orders.len() as u64, Ordering::Relaxed);
                return;
            }
            if tries > 0 {
                self.shop.repeated.fetch_add(1, Ordering::Relaxed);
                let most = Duration::from_millis(100 << tries.min(5));
                tokio::time::sleep(self.random.up_to(most)).await;
            }
            tries += 1;
            for order in &mut orders {
                order.repeated = tries > 1;
            }
            orders = if self.batch == 1 {
                self.publish_one(orders.remove(0)).await.into_iter().collect()
            } else {
                self.publish_batch(orders).await
            };
        }
    }

    /// Gives back what must be published again.
    async fn publish_one(&mut self, mut order: Order) -> Option<Order> {
        let body = json!({ "type": order.event.event_type, "data": order.event.data });
        let headers = [("idempotency-key", order.key.as_str())];
        let Some(response) = self.post("/v1/events", &headers, &body).await else { return Some(order) };
        if response.status == 202 && self.random.per_mille(AGAIN) {
            order.repeated = true;
            let again = self.post("/v1/events", &headers, &body).await;
            let other = again.filter(|again| again.status == 202 && again.json["id"] != response.json["id"]);
            if let Some(other) = other {
                self.shop.ledger.wrong(format!("{} made two events: {}", order.key, other.json));
            }
        }
        self.settle(order, response.status, &response.json)
    }

    async fn publish_batch(&mut self, orders: Vec<Order>) -> Vec<Order> {
        let event = |Order { key, event, .. }: &Order| json!({ "type": event.event_type, "data": event.data, "idempotency_key": key });
        let body = json!({ "events": orders.iter().map(event).collect::<Vec<_>>() });
        let Some(response) = self.post("/v1/events/batch", &[], &body).await else { return orders };
        if response.status != 202 {
            let whole = |order| self.settle(order, response.status, &response.json);
            return orders.into_iter().filter_map(whole).collect();
        }
        let results = response.json["data"].as_array().cloned().unwrap_or_default();
        if results.len() != orders.len() {
            self.shop.ledger.wrong(format!("{} results for {} events", results.len(), orders.len()));
        }
        let each = orders.into_iter().zip(results).filter_map(|(order, result)| {
            let status = result["status"].as_u64().and_then(|status| u16::try_from(status).ok());
            self.settle(order, status.unwrap_or_default(), &result["event"])
        });
        each.collect()
    }

    fn settle(&self, order: Order, status: u16, event: &Value) -> Option<Order> {
        match status {
            202 => {
                self.shop.ledger.accept(&text(event, "id"), &order.event, order.repeated);
                None
            }
            429 | 500.. => Some(order),
            _ => {
                self.shop.ledger.wrong(format!("{} was refused with {status}: {event}", order.key));
                None
            }
        }
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Option<ApiResponse> {
        let headers = [headers, &[("content-type", "application/json")]].concat();
        let body = Some(body.to_string().into_bytes());
        let sent = self.client.try_send(Method::POST, path, &headers, body);
        tokio::time::timeout(PATIENCE, sent).await.ok()?.ok()
    }
}
