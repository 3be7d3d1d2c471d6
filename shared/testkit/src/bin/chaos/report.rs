//! What a run comes to, in words and as an exit code.

use std::{collections::BTreeMap, process::ExitCode, sync::atomic::Ordering, time::Duration};

use serde_json::{Value, json};
use testkit::{Client, Stack};

use crate::{
    clients::Shop,
    disturbances::Kills,
    duplicates::{Duplicates, Evidence},
    ledger::Ledger,
};

/// Missing deliveries are listed up to here.
const LISTED: usize = 20;

/// Events whose deliveries' records are looked at: one call each.
const LOOKED_AT: usize = 200;

/// A run that has ended.
pub struct Run<'a> {
    pub stack: &'a Stack,
    pub ledger: &'a Ledger,
    pub shop: &'a Shop,
    pub tenants: &'a [Client],
    pub faults: BTreeMap<String, u64>,
    pub kills: Kills,
    /// How often an endpoint was disabled or enabled.
    pub switched: u64,
    pub settled: Duration,
}

impl Run<'_> {
    /// Prints it.
    pub async fn print(mut self) -> ExitCode {
        let without_response = self.shop.without_response.load(Ordering::Relaxed);
        let totals = self.ledger.close(without_response);
        let lost = totals.expected - totals.delivered;
        let line = |name: &str, text: String| println!("{name:<12}{text}");
        line(
            "accepted",
            format!(
                "{} events; {} requests repeated, {without_response} events without a response",
                totals.accepted,
                self.shop.repeated.load(Ordering::Relaxed),
            ),
        );
        let (endpoints, settled) = (self.ledger.endpoints.len(), self.settled.as_secs());
        line("due", format!("{} deliveries at {endpoints} endpoints", totals.expected));
        line("delivered", format!("{}, until {settled} s after the clients' last 202", totals.delivered));
        line("lost", lost.to_string());
        let mut kills = self.kills.list.clone();
        kills.extend(self.stack.kills().await);
        let unheard = self.stack.unheard_events().await;
        let evidence = Evidence { ledger: self.ledger, kills: &kills, unheard: &unheard };
        let duplicates = Duplicates::find(&evidence, self.tenants).await;
        let share =
            |count| format!("{count}, {:.3} % of what was delivered", percent(count, totals.delivered));
        line("refused", format!("{} requests refused or cut on purpose", totals.refused));
        line("duplicates", format!("{} came again after a 2xx", share(duplicates.count())));
        for (cause, count) in duplicates.causes() {
            println!("  {count}: {cause}");
        }
        let too_many = duplicates.are_too_many(totals.delivered);
        let unexplained = share(duplicates.unexplained.len() as u64);
        let verdict = if too_many { "too many" } else { "at most 0.1 % is allowed" };
        line("of these", format!("{unexplained} without a kill that explains it; {verdict}"));
        for duplicate in duplicates.unexplained.iter().take(LISTED) {
            println!("  again: {duplicate}");
        }
        line("wrong", totals.wrong.len().to_string());
        let calls = self.faults.remove("calls").unwrap_or_default();
        line("proxy", format!("{calls} calls of AWS in the chaos: {}", listing(&self.faults)));
        line("killed", format!("{}; the proxy killed more", listing(&self.kills.by_function)));
        line("switched", format!("{} times an endpoint was disabled or enabled", self.switched));
        line("on record", self.on_record().await);
        for what in &totals.wrong {
            println!("  wrong: {what}");
        }
        for (id, index) in self.ledger.missing().iter().take(LISTED) {
            let endpoint = &self.ledger.endpoints[*index];
            let state = self.state(endpoint.tenant, id, &endpoint.id).await;
            let rows = self.rows(id, &endpoint.id).await;
            println!("  lost: {id} at {} ({}): {state}; {rows}", endpoint.id, endpoint.mood);
        }
        if lost > 0 {
            println!("  lanes: {}", self.lanes().await);
        }
        if totals.accepted == 0 {
            println!("nothing was accepted, so nothing was shown");
        }
        let good = lost == 0 && totals.wrong.is_empty() && totals.accepted > 0 && !too_many;
        ExitCode::from(u8::from(!good))
    }

    async fn deliveries(&self, tenant: usize, event_id: &str) -> Vec<Value> {
        let response = self.tenants[tenant].get(&format!("/v1/events/{event_id}/deliveries?limit=250")).await;
        response.json["data"].as_array().cloned().unwrap_or_default()
    }

    async fn state(&self, tenant: usize, event_id: &str, endpoint_id: &str) -> String {
        let deliveries = self.deliveries(tenant, event_id).await;
        let delivery = deliveries.iter().find(|delivery| delivery["endpoint_id"] == endpoint_id);
        let Some(delivery) = delivery else { return "the API shows no such delivery".to_owned() };
        let (status, count) = (&delivery["status"], &delivery["attempt_count"]);
        format!("{status} after {count} attempts, the next at {}", delivery["next_attempt_at"])
    }

    /// The rows of a delivery, for what drives it.
    async fn rows(&self, event_id: &str, endpoint_id: &str) -> Value {
        let scan = json!({
            "TableName": self.stack.output("EventsTableName"),
            "FilterExpression": "contains(pk, :event) AND contains(sk, :endpoint)",
            "ExpressionAttributeValues": { ":event": { "S": event_id }, ":endpoint": { "S": endpoint_id } },
            "ProjectionExpression": "sk, n, next_at, due_pk, due_at, parked_reason",
        });
        self.stack.aws("dynamodb", "DynamoDB_20120810.Scan", scan).await["Items"].take()
    }

    /// How many messages each queue holds.
    async fn lanes(&self) -> String {
        let mut counts = BTreeMap::new();
        for queue in ["FastLaneUrl", "SlowLaneUrl", "FanOutPagesUrl", "DeadLettersUrl"] {
            counts.insert(queue, self.stack.queue_attributes(queue, &["All"]).await);
        }
        let text = |name: &str, attributes: &Value| {
            let count = |state: &str| attributes[format!("ApproximateNumberOfMessages{state}")].clone();
            format!(
                "{name} {} visible, {} hidden, {} delayed",
                count(""),
                count("NotVisible"),
                count("Delayed")
            )
        };
        counts.iter().map(|(name, attributes)| text(name, attributes)).collect::<Vec<_>>().join("; ")
    }

    /// What the API says of some events. A delivery that arrived and is not on record as succeeded
    /// still has its message and will be made again: not lost, but worth seeing.
    async fn on_record(&self) -> String {
        let accepted = self.ledger.accepted();
        let every = accepted.len().div_ceil(LOOKED_AT).max(1);
        let mut states: BTreeMap<String, u64> = BTreeMap::new();
        for (id, tenant) in accepted.iter().step_by(every) {
            for delivery in self.deliveries(*tenant, id).await {
                *states.entry(delivery["status"].as_str().unwrap_or("?").to_owned()).or_default() += 1;
            }
        }
        format!("{} (a sample)", listing(&states))
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts of a run are small")]
fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

fn listing(counts: &BTreeMap<String, u64>) -> String {
    let parts: Vec<_> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}
