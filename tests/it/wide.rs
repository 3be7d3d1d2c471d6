//! Many endpoints, large payloads, and one slow endpoint among healthy ones.

use std::{collections::HashMap, time::Duration};

use serde_json::json;
use testkit::{
    Client, ReceivedRequest, Receiver, Reply, Stack,
    client::{DeliveryView, delivery_id},
    eventually, foreign,
    proxy::{Fault, Rule},
};

use crate::{AFTER_A_CRASH, CACHE_AGE, HIDDEN, SOON, seed::copies_of_endpoint};

/// The shard that holds the keys of seeded endpoints.
const SEEDED_SHARD: u32 = 999;

fn count_by_id(received: &[ReceivedRequest]) -> HashMap<String, usize> {
    received.iter().fold(HashMap::new(), |mut counts, one| {
        *counts.entry(one.id().to_owned()).or_default() += 1;
        counts
    })
}

#[tokio::test]
async fn one_event_reaches_many_endpoints_once_each() {
    // Two pages of a fan-out.
    reaches_each_endpoint_once("cw-wide", 550).await;
}

#[tokio::test]
async fn one_event_reaches_ten_thousand_endpoints_once_each() {
    reaches_each_endpoint_once("cw-ten-thousand", 10_000).await;
}

async fn reaches_each_endpoint_once(stack_name: &str, wide: usize) {
    let stack = Stack::deploy(stack_name).await;
    // Pages only: a dispatcher that has a batch for longer would have it twice.
    stack.hide_pages_for(HIDDEN).await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    let endpoint = tenant.endpoint(&receiver.url()).create().await;
    let operators = Receiver::start().await;
    stack.operator().endpoint(&operators.url()).event_types(&["contact.*"]).create().await;
    copies_of_endpoint(&stack, &tenant, &endpoint, SEEDED_SHARD, wide - 2).await;
    tokio::time::sleep(CACHE_AGE).await;
    // A fan-out dies in the middle of a page, which then comes again.
    let dies = Rule::new(
        "SendMessageBatch",
        &[tenant.tenant_id(), "ept_01m80000000000000000000300"],
        Fault::KillAfter,
        1,
    );
    let hits = stack.rule(&dies).await;
    let event_id = tenant.publish("contact.created", &json!({ "wide": true }), "wide").await;
    let received = receiver.wait_for(wide - 1, Duration::from_mins(4)).await;
    assert_eq!(hits.count().await, 1, "a page was interrupted");
    let of_operator = operators.wait_for(1, SOON).await.remove(0);
    assert_eq!(of_operator.header("core-webhooks-tenant"), tenant.tenant_id());
    assert!(received.iter().all(|one| one.id() == event_id && one.body == received[0].body));
    foreign::verify(&received[0], &endpoint.secret).await.expect("signed");
    let path = format!("/v1/events/{event_id}/deliveries");
    let listed: Vec<DeliveryView> = tenant.list(&path, 250).await;
    assert_eq!(listed.len(), wide - 1, "the tenant does not see the operator's");
    eventually("all to be recorded", AFTER_A_CRASH, || async {
        let listed: Vec<DeliveryView> = tenant.list(&path, 250).await;
        listed.iter().all(|delivery| delivery.status == "succeeded").then_some(())
    })
    .await;
    // Nothing more follows from the page that was sent twice.
    assert_eq!(receiver.requests().len(), wide - 1, "each once");
    assert_eq!(operators.requests().len(), 1);
}

#[tokio::test]
async fn the_operators_endpoints_get_every_tenants_events_and_tenants_do_not_see_them() {
    let stack = Stack::deploy("cw-operator").await;
    let (one, other) = (stack.tenant().await, stack.tenant().await);
    let receiver = Receiver::start().await;
    let operator = stack.operator();
    let endpoint = operator.endpoint(&receiver.url()).event_types(&["contact.*"]).create().await;
    let (endpoint_id, secret) = (endpoint.id.clone(), endpoint.secret.clone());
    for tenant in [&one, &other] {
        let event_id = tenant.publish("contact.created", &json!({}), "seen").await;
        let delivery_id = delivery_id(&event_id, &endpoint_id);
        let named = [("tenant", tenant.tenant_id())];
        let path = format!("/v1/deliveries/{delivery_id}");
        eventually("the delivery", SOON, || async {
            let delivery = operator.send(reqwest::Method::GET, &path, &named, None).await.expect(200);
            (delivery["status"] == "succeeded").then_some(())
        })
        .await;
        tenant.get(&path).await.expect(404);
        assert_eq!(tenant.deliveries(&event_id).await.data, []);
        let received = receiver.requests().into_iter().find(|one| one.id() == event_id).unwrap();
        assert_eq!(received.header("core-webhooks-tenant"), tenant.tenant_id());
        foreign::verify(&received, &secret).await.expect("signed with the operator's key");
    }
    assert_eq!(count_by_id(&receiver.requests()).len(), 2);
}

#[tokio::test]
async fn a_megabyte_arrives_as_it_was_published() {
    let tenant = Stack::shared().tenant().await;
    let receiver = Receiver::responding(|n| Reply::status(if n % 2 == 0 { 500 } else { 200 })).await;
    let secret = tenant.endpoint(&receiver.url()).retry_schedule(&[1, 1]).create().await.secret;
    // One that can be compressed and one that cannot, which goes to a bucket.
    let mut state = 1u64;
    let noise: String = (0..1_000_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'!' + u8::try_from((state >> 33) % 90).unwrap())
        })
        .filter(|c| !matches!(c, '"' | '\\'))
        .collect();
    for (index, value) in ["ü".repeat(500_000), noise].into_iter().enumerate() {
        let data = json!({ "value": value });
        let event_id = tenant.publish("contact.created", &data, &format!("megabyte-{index}")).await;
        tenant.only_delivery(&event_id, "succeeded", AFTER_A_CRASH).await;
        let received = receiver.requests();
        let both = &received[index * 2..index * 2 + 2];
        assert_eq!(both[0].body, both[1].body, "the same bytes again");
        for one in both {
            assert_eq!(one.id(), event_id);
            assert_eq!(foreign::verify(one, &secret).await.expect("the library accepts it")["data"], data);
        }
        assert_eq!(tenant.get(&format!("/v1/events/{event_id}")).await.expect(200)["data"], data);
    }
}

#[tokio::test]
async fn a_few_endpoints_do_not_wait_for_one_that_hangs() {
    // A hanging endpoint is known to be slow after one timeout.
    let load = Load { healthy: 3, events: 10, timeout_seconds: 2 };
    load.is_not_delayed_by_a_hanging_endpoint("cw-hanging", Duration::from_secs(2)).await;
}

#[tokio::test]
async fn healthy_endpoints_do_not_wait_for_one_that_hangs() {
    // A tenth of the endpoints hangs for 15 s each time, until it is known to be slow. The bar is twice the
    // time; a busy machine of two cores gets a second on top.
    let load = Load { healthy: 9, events: 20, timeout_seconds: 15 };
    load.is_not_delayed_by_a_hanging_endpoint("cw-hanging-load", Duration::from_secs(1)).await;
}

/// Events that go to healthy endpoints, with and without a hanging one beside them.
struct Load {
    healthy: usize,
    events: usize,
    timeout_seconds: u32,
}

impl Load {
    async fn is_not_delayed_by_a_hanging_endpoint(&self, stack_name: &str, slack: Duration) {
        let stack = Stack::deploy(stack_name).await;
        let tenant = stack.tenant().await;
        let hanging = Receiver::responding(|_| Reply::after(Duration::from_mins(1))).await;
        let healthy = Receiver::start().await;
        for _ in 0..self.healthy {
            tenant.endpoint(&healthy.url()).create().await;
        }
        let (alone, _) = self.latencies(&tenant, &healthy, "alone").await;
        let settings = json!({ "timeout_seconds": self.timeout_seconds });
        let hanging_id = tenant.endpoint(&hanging.url()).settings(&settings).create().await.id;
        let (_, last) = self.latencies(&tenant, &healthy, "warm").await;
        let path = format!("/v1/deliveries/{}", delivery_id(&last, &hanging_id));
        eventually("the hanging endpoint to be known as slow", AFTER_A_CRASH, || async {
            let delivery = tenant.get(&path).await.expect(200);
            (delivery["status"] != "pending").then_some(())
        })
        .await;
        tokio::time::sleep(CACHE_AGE).await;
        let (beside, _) = self.latencies(&tenant, &healthy, "beside").await;
        let p99 = |times: &[Duration]| times[times.len() * 99 / 100];
        println!("healthy p99: alone {:?}, beside a hanging endpoint {:?}", p99(&alone), p99(&beside));
        let bar = p99(&alone) * 2 + slack;
        assert!(p99(&beside) <= bar, "{:?} against {:?}", p99(&beside), p99(&alone));
        assert!(!hanging.requests().is_empty());
    }

    /// The times from publishing to arrival, in order, and the last event.
    async fn latencies(&self, tenant: &Client, healthy: &Receiver, round: &str) -> (Vec<Duration>, String) {
        let before = healthy.requests().len();
        let mut began = HashMap::new();
        let mut last = String::new();
        for n in 0..self.events {
            let at = std::time::Instant::now();
            last = tenant.publish("contact.created", &json!({}), &format!("{round}-{n}")).await;
            began.insert(last.clone(), at);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let received = healthy.wait_for(before + self.events * self.healthy, AFTER_A_CRASH).await;
        let times = received[before..].iter().filter_map(|one| Some(one.at - *began.get(one.id())?));
        let mut times: Vec<_> = times.collect();
        times.sort();
        (times, last)
    }
}
