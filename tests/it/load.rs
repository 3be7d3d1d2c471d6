//! Much work at once: a large backlog that drains beside healthy tenants, and many endpoints that fail.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use domain::{DeliveryId, EventId, TenantId, delivery::Status};
use platform::store::table::keys;
use serde_json::{Value, json};
use testkit::{Client, ReceivedRequest, Receiver, Reply, Stack, client::Endpoint, eventually};

use crate::{
    AFTER_A_CRASH, CACHE_AGE, SOON,
    seed::copies_of_endpoint,
    tables::{self, Table},
};

/// Between two publishes of the healthy tenants.
const BETWEEN_PUBLISHES: Duration = Duration::from_millis(100);

/// The first of the shards that hold the keys of seeded endpoints: one for each tenant.
const SEEDED_SHARD: u32 = 900;

/// The header that has the id of an endpoint.
const ID_HEADER: &str = "x-endpoint";

fn string(text: &str) -> Value {
    json!({ "S": text })
}

/// Holds more deliveries for an endpoint, in the table itself: copies of this one, each of an event of its
/// own, which is a copy too. Through the API they would take minutes.
async fn hold_copies(stack: &Stack, tenant: &Client, endpoint: &Endpoint, event_id: &str, count: usize) {
    let (owner, events) = (tables::tenant(tenant), Table::events(stack));
    let of = |event| DeliveryId { event, endpoint: tables::id(&endpoint.id) };
    let held = of(tables::id(event_id));
    let event = events.get(keys::event(&owner, held.event)).await;
    let delivery = events.get(keys::delivery(&owner, held, 0)).await;
    let accepted = event["created_at"]["N"].as_str().and_then(|millis| millis.parse().ok()).expect("a time");
    let at = domain::Timestamp::from_millis(accepted);
    let list_sk = delivery["list_sk"]["S"].as_str().expect("its place in the list");
    let (listed_at, ..) = keys::parse_list_place(list_sk).expect("its place in the list");
    let copies = |n: usize| {
        let mut random = [0; 10];
        random[2..].copy_from_slice(&(n as u64).to_be_bytes());
        let id = EventId::new(at, random);
        let (mut event, mut delivery) = (event.clone(), delivery.clone());
        let (pk, _) = keys::event(&owner, id);
        let (timeline_pk, timeline_sk) = keys::timeline(&owner, id, at);
        event["pk"] = string(&pk);
        event["timeline_pk"] = string(&timeline_pk);
        event["timeline_sk"] = string(&timeline_sk);
        delivery["pk"] = string(&pk);
        delivery["due_pk"] = string(&keys::held(&owner, of(id)));
        delivery["list_pk"] = string(&keys::list(&owner, of(id), Status::Parked.group()));
        delivery["list_sk"] = string(&keys::list_place(listed_at, id, 0));
        [event, delivery]
    };
    events.put_all(&(1..=count).flat_map(copies).collect::<Vec<_>>()).await;
}

/// How many deliveries are held for an endpoint.
async fn held_count(stack: &Stack, owner: &TenantId, endpoint: &Endpoint) -> u64 {
    let mut held = 0;
    for shard in 0..keys::HELD_SHARDS {
        let partition = keys::held_partition(owner, tables::id(&endpoint.id), shard);
        held += Table::events(stack).count_due(partition).await;
    }
    held
}

/// Tenants whose one endpoint is healthy.
struct HealthyTenants<'a> {
    tenants: Vec<Client>,
    receiver: Receiver,
    registry: Table<'a>,
}

/// What publishing took.
struct PublishTimes {
    /// From each event's acceptance to its arrival: its time in the lanes and at the dispatcher.
    in_lanes: Latencies,
    /// From the request to the arrival.
    in_all: Latencies,
    /// One read from a table meanwhile, without any function.
    one_read: Latencies,
}

impl std::fmt::Display for PublishTimes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "in lanes: {}; in all: {}; one read: {}", self.in_lanes, self.in_all, self.one_read)
    }
}

struct Latencies(Vec<Duration>);

impl Latencies {
    fn new(times: impl Iterator<Item = Duration>) -> Self {
        let mut times: Vec<_> = times.collect();
        times.sort();
        Self(times)
    }

    fn percentile(&self, percent: usize) -> Duration {
        self.0[(self.0.len() * percent / 100).min(self.0.len() - 1)]
    }
}

impl std::fmt::Display for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [p50, p90, p99, most] = [50, 90, 99, 100].map(|percent| self.percentile(percent));
        write!(f, "p50 {p50:?}, p90 {p90:?}, p99 {p99:?}, longest {most:?} of {}", self.0.len())
    }
}

impl<'a> HealthyTenants<'a> {
    async fn new(stack: &'a Stack, count: usize) -> Self {
        let receiver = Receiver::start().await;
        let mut tenants = Vec::new();
        for _ in 0..count {
            let tenant = stack.tenant().await;
            tenant.endpoint(&receiver.url()).create().await;
            tenants.push(tenant);
        }
        Self { tenants, receiver, registry: Table::registry(stack) }
    }

    /// Publishes at a steady pace, whatever has arrived meanwhile, and reads a row at the same pace.
    async fn publish(&self, count: usize) -> PublishTimes {
        let ((in_lanes, in_all), one_read) = tokio::join!(self.publish_all(count), self.read_all(count));
        PublishTimes { in_lanes, in_all, one_read }
    }

    async fn read_all(&self, count: usize) -> Latencies {
        let key = keys::tenant(&tables::tenant(&self.tenants[0]));
        let mut pace = tokio::time::interval(BETWEEN_PUBLISHES);
        let mut times = Vec::new();
        for _ in 0..count {
            pace.tick().await;
            let began = Instant::now();
            self.registry.get(key.clone()).await;
            times.push(began.elapsed());
        }
        Latencies::new(times.into_iter())
    }

    /// The times that events took behind their acceptance, and in all.
    async fn publish_all(&self, count: usize) -> (Latencies, Latencies) {
        let before = self.receiver.count();
        let mut pace = tokio::time::interval(BETWEEN_PUBLISHES);
        let mut published = Vec::new();
        for n in 0..count {
            pace.tick().await;
            let tenant = self.tenants[n % self.tenants.len()].clone();
            published.push(tokio::spawn(async move {
                let began = Instant::now();
                let key = testkit::unique("healthy");
                let id = tenant.publish("contact.created", &json!({ "n": n }), &key).await;
                (id, (began, Instant::now()))
            }));
        }
        let mut accepted = HashMap::new();
        for one in published {
            let (id, times) = one.await.expect("it is accepted");
            accepted.insert(id, times);
        }
        let received = self.receiver.wait_for(before + count, AFTER_A_CRASH).await;
        let times: Vec<_> = received[before..]
            .iter()
            .filter_map(|one| {
                let (began, at) = accepted.get(one.id())?;
                Some((one.at.saturating_duration_since(*at), one.at - *began))
            })
            .collect();
        let in_lanes = times.iter().map(|(in_lanes, _)| *in_lanes);
        (Latencies::new(in_lanes), Latencies::new(times.iter().map(|(_, in_all)| *in_all)))
    }
}

/// An endpoint that responds in 6 s, which counts as slow, has 20,000 held deliveries, and is enabled.
/// While it is slow they drain at 5 a second, so what drains here is the beginning of the backlog: the first
/// minutes, which are the worst, because at first it is not known to be slow. The longest 1 % of the times that
/// events of healthy tenants spend behind their acceptance may grow by half.
/// Their acceptance itself waits for no lane.
///
/// The stack is a single process, so each call waits while the scheduler's burst of writes keeps it busy. How long,
/// one read without any function shows: what that takes longer beside the drain is the stack's, and is added.
#[tokio::test]
async fn healthy_tenants_do_not_wait_for_a_drain_of_twenty_thousand() {
    const BACKLOG: usize = 20_000;
    const PUBLISHED: usize = 900;
    // What else the machine does delays one round, and the drain would delay each.
    const ROUNDS: usize = 3;
    let stack = Stack::deploy("cw-backlog").await;
    let healthy = HealthyTenants::new(&stack, 4).await;
    let tenant = stack.tenant().await;
    let owner = tables::tenant(&tenant);
    let slow = Receiver::responding(|_| Reply::after(Duration::from_secs(6))).await;
    let endpoint = tenant.endpoint(&slow.url()).disabled().create().await;
    let held = tenant.publish("contact.created", &json!({ "held": true }), "held").await;
    tenant.only_delivery(&held, "parked", SOON).await;
    hold_copies(&stack, &tenant, &endpoint, &held, BACKLOG - 1).await;
    assert_eq!(held_count(&stack, &owner, &endpoint).await, BACKLOG as u64);

    // The functions start.
    healthy.publish(100).await;
    let alone = healthy.publish(PUBLISHED).await;
    endpoint.enable().await;
    tokio::time::sleep(CACHE_AGE).await;
    stack.run_due().await;
    slow.wait_for(1, SOON).await;
    let began = Instant::now();
    println!("alone: {alone}");
    let is_within = |beside: &PublishTimes| {
        let of_stack = beside.one_read.percentile(99).saturating_sub(alone.one_read.percentile(99));
        beside.in_lanes.percentile(99) <= alone.in_lanes.percentile(99) * 3 / 2 + of_stack
    };
    let mut rounds: Vec<PublishTimes> = Vec::new();
    while rounds.len() < ROUNDS && !rounds.last().is_some_and(is_within) {
        let beside = healthy.publish(PUBLISHED).await;
        println!("beside: {beside}");
        rounds.push(beside);
    }
    let (drained, left) = (slow.requests(), held_count(&stack, &owner, &endpoint).await);
    println!("{} of the backlog in {:?}, {left} are still held", drained.len(), began.elapsed());
    let ids: std::collections::HashSet<_> = drained.iter().map(ReceivedRequest::id).collect();
    assert_eq!(ids.len(), drained.len(), "each once");
    assert!(drained.len() > 100, "it drains");
    assert!(rounds.last().is_some_and(is_within), "beside it takes longer in each round");
}

#[tokio::test]
async fn endpoints_that_fail_get_no_more_than_what_is_due() {
    failing_endpoints_get_what_is_due("cw-failing", 2, 15).await;
}

/// As many as the stand-in can carry in some minutes on 2 cores: with 20,000 messages in a queue it takes
/// seconds for each call.
#[tokio::test]
async fn five_hundred_endpoints_that_fail_get_no_more_than_what_is_due() {
    failing_endpoints_get_what_is_due("cw-failing-load", 5, 100).await;
}

/// Endpoints that respond with 500 get 10 events, with two attempts each. After more than half a minute of
/// failures their circuits open, so a part of the deliveries is held; in the end the rows of all endpoints are
/// removed, so nothing more is attempted.
async fn failing_endpoints_get_what_is_due(stack_name: &str, tenants: u32, each: usize) {
    const EVENTS: usize = 10;
    let stack = Stack::deploy(stack_name).await;
    let registry = Table::registry(&stack);
    let receiver = Receiver::responding(|_| Reply::status(500)).await;
    let mut endpoints = Vec::new();
    let mut clients = Vec::new();
    for n in 0..tenants {
        let tenant = stack.tenant().await;
        let owner = tables::tenant(&tenant);
        let made = tenant.endpoint(&receiver.url()).retry_schedule(&[1]).create().await;
        made.patch(&json!({ "headers": { ID_HEADER: made.id } })).await.expect(200);
        let ids = copies_of_endpoint(&stack, &tenant, &made, SEEDED_SHARD + n, each).await;
        registry.delete(keys::endpoint(&owner, tables::id(&made.id))).await;
        endpoints.extend(ids.into_iter().map(|id| keys::endpoint(&owner, tables::id(&id))));
        clients.push(tenant);
    }
    tokio::time::sleep(CACHE_AGE).await;
    let began = Instant::now();
    let mut events = Vec::new();
    for tenant in &clients {
        let ids = tenant.publish_many("contact.created", EVENTS).await;
        events.extend(ids.into_iter().map(|id| (tables::tenant(tenant), id)));
    }
    let count = events.len() * each;
    let limit = Duration::from_mins(1) + Duration::from_millis(40) * u32::try_from(count).unwrap();
    eventually("the first attempts", limit, || async {
        // The probes of open circuits come through the slow lane.
        let idle = stack.is_idle("FanOutPagesUrl").await && stack.is_idle("FastLaneUrl").await;
        (idle && receiver.count() >= endpoints.len()).then_some(())
    })
    .await;
    println!("{} requests after {:?}", receiver.count(), began.elapsed());
    for key in endpoints {
        registry.delete(key).await;
    }
    tokio::time::sleep(CACHE_AGE).await;
    stack.until_lanes_are_idle(limit).await;

    let mut posted: HashMap<(String, String), u64> = HashMap::new();
    for one in receiver.requests() {
        *posted.entry((one.id().to_owned(), one.header(ID_HEADER).to_owned())).or_default() += 1;
    }
    let (mut due, mut states) = (0, HashMap::new());
    for (owner, event_id) in &events {
        let partition = keys::event_partition(owner, tables::id(event_id));
        let rows = Table::events(&stack).rows_under(partition, keys::DELIVERIES).await;
        assert_eq!(rows.len(), each, "each delivery has a row");
        for row in rows {
            let attempts: u64 =
                row["attempt_count"]["N"].as_str().and_then(|count| count.parse().ok()).expect("a number");
            *states.entry((row["status"]["S"].to_string(), attempts)).or_insert(0) += 1;
            let sk = row["sk"]["S"].as_str().expect("a key");
            let (endpoint, _) = keys::parse_delivery(sk).expect("a delivery's key");
            let posted = posted.remove(&(event_id.clone(), endpoint.to_string())).unwrap_or_default();
            assert!(
                attempts <= posted,
                "{attempts} attempts of {event_id} are on record, {posted} were made"
            );
            due += attempts;
        }
    }
    let posts = receiver.count() as u64;
    println!("{posts} requests for {due} attempts after {:?}: {states:?}", began.elapsed());
    assert!(posted.is_empty(), "requests without a delivery");
    assert!(due > count as u64 / 2);
    assert!(posts * 100 <= due * 102, "{posts} requests for {due} attempts");
}
