//! The lists of endpoints that publishes go to: how often they are read, how soon a change counts, and what happens
//! while they cannot be read.

use std::time::Duration;

use domain::TenantId;
use platform::store::table::keys;
use serde_json::json;
use testkit::{
    Client, Receiver, Stack,
    proxy::{Fault, Rule},
};
use tokio::time::{Instant, sleep};

use crate::{
    CACHE_AGE, SOON,
    seed::copies_of_endpoint,
    tables::{self, Table},
};

/// The shards that hold the keys of seeded endpoints.
const SEEDED_SHARD: u32 = 999;
const SLOWLY_READ_SHARD: u32 = 998;

/// Publishes `times` events, each after the time for which a list is used without a look.
async fn publish_slowly(tenant: &Client, round: &str, times: usize) {
    for n in 0..times {
        sleep(CACHE_AGE).await;
        tenant.publish("contact.created", &json!({ "n": n }), &format!("{round} {n}")).await;
    }
}

/// Reads of this tenant's list of endpoints.
fn list_reads(tenant: &Client) -> [&str; 3] {
    [tenant.tenant_id(), keys::ENDPOINTS, "event_types"]
}

#[tokio::test]
async fn a_long_list_is_read_when_it_changes_and_used_for_a_minute_when_it_cannot_be_read() {
    // One function of each kind, as nothing else publishes here.
    let stack = Stack::deploy("cw-subscribers").await;
    let tenant = stack.tenant().await;
    let other = tenant.endpoint("https://example.com/").event_types(&["other.event"]).create().await;
    copies_of_endpoint(&stack, &tenant, &other, SEEDED_SHARD, 1_100).await;
    let receiver = Receiver::start().await;
    let endpoint = tenant.endpoint(&receiver.url()).event_types(&["contact.created"]).create().await;
    let reads = stack.rule(&Rule::counting("Query", &list_reads(&tenant))).await;
    publish_slowly(&tenant, "first", 2).await;
    assert_eq!(reads.count().await, 2, "one without the count of changes, and one with it");
    let start = Instant::now();
    publish_slowly(&tenant, "unchanged", 3).await;
    // This is no change to its subscription.
    endpoint.patch(&json!({ "description": "another" })).await.expect(200);
    publish_slowly(&tenant, "described", 1).await;
    // Read again after a minute for each thousand endpoints in any case.
    if start.elapsed() < Duration::from_secs(90) {
        assert_eq!(reads.count().await, 2, "reads of a list that did not change");
    }
    receiver.wait_for(6, SOON).await;
    a_change_counts_however_long_reading_takes(&stack).await;

    // The partition of the operator and that of the catalog, which all tenants' publishes read. The proxy serves the
    // stacks of other tests too.
    let operator = format!("\"{}\"", TenantId::operator());
    let table = stack.output("RegistryTableName");
    let throttled = [
        Rule::new("GetItem", &[table, &operator, "\"tenant\""], Fault::Throttle, 1_000),
        Rule::new("Query", &[table, &operator, keys::ENDPOINTS], Fault::Throttle, 1_000),
        Rule::new("GetItem,Query", &[table, "catalog#"], Fault::Throttle, 1_000),
    ];
    for rule in &throttled {
        stack.rule(rule).await;
    }
    publish_slowly(&tenant, "throttled", 2).await;
    receiver.wait_for(8, SOON).await;
    let logs = stack.logs("api").await;
    for message in ["the list read before is used", "what was read before is used"] {
        assert!(logs.contains(message), "{message}: {logs}");
    }
}

/// The lists take longer to read than a look at the counts of their changes may. The test writes the changes into the table,
/// since a function that makes one itself reads the list anew in any case.
async fn a_change_counts_however_long_reading_takes(stack: &Stack) {
    let tenant = stack.tenant().await;
    let (owner, registry) = (tables::tenant(&tenant), Table::registry(stack));
    let receiver = Receiver::start().await;
    let endpoint = tenant.endpoint(&receiver.url()).create().await;
    publish_slowly(&tenant, "known", 2).await;
    let slow = |contains: &[&str]| Rule::new("Query", contains, Fault::Delay { ms: 3_000 }, 1);
    stack.rule(&slow(&list_reads(&tenant))).await;
    copies_of_endpoint(stack, &tenant, &endpoint, SLOWLY_READ_SHARD, 1).await;
    registry.set(keys::tenant(&owner), "subscribers_revision", json!({ "N": "1000" })).await;
    publish_slowly(&tenant, "read slowly", 1).await;
    receiver.wait_for(4, SOON).await;

    let (path, body) = ("/v1/event-types/deal.archived", json!({ "description": "no longer published" }));
    stack.operator().put(path, &body).await.expect(200);
    let event = json!({ "type": "deal.archived", "data": {} });
    sleep(CACHE_AGE).await;
    tenant.post("/v1/events", &event).await.expect(202);
    stack.rule(&slow(&[stack.output("RegistryTableName"), "catalog#"])).await;
    let event_type = "deal.archived".parse().unwrap();
    registry.set(keys::event_type(&event_type), "archived", json!({ "BOOL": true })).await;
    registry.set(keys::catalog(), "revision", json!({ "N": "1000" })).await;
    sleep(CACHE_AGE).await;
    tenant.post("/v1/events", &event).await.expect_problem(422, "invalid-field");
}

/// What an endpoint gets after each change to it, where each publish is made by a function that knows the list
/// from before the change.
#[tokio::test]
async fn every_change_to_a_subscription_counts_a_second_later() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    let endpoint = tenant.endpoint(&receiver.url()).create().await;
    publish_slowly(&tenant, "before", 3).await;
    receiver.wait_for(3, SOON).await;
    let changes = [
        (json!({ "event_types": ["deal.*"] }), false),
        (json!({ "event_types": ["contact.*"] }), true),
        (json!({ "channels": ["team"] }), false),
        (json!({ "channels": [] }), true),
        (json!({ "filter": { "/n": { "gt": 100 } } }), false),
        (json!({ "filter": null }), true),
    ];
    let mut expected = Vec::new();
    for (change, gets) in changes {
        endpoint.patch(&change).await.expect(200);
        expected.push((publish_after(&tenant, &change.to_string()).await, usize::from(gets)));
    }
    endpoint.disable("skip").await;
    expected.push((publish_after(&tenant, "disabled").await, 0));
    endpoint.enable().await;
    expected.push((publish_after(&tenant, "enabled").await, 1));
    let second = tenant.endpoint(&receiver.url()).create().await;
    expected.push((publish_after(&tenant, "a second").await, 2));
    receiver.wait_for(9, SOON).await;
    second.delete().await;
    expected.push((publish_after(&tenant, "the second deleted").await, 1));
    receiver.wait_for(10, SOON).await;
    for ((case, event_id), endpoints) in expected {
        assert_eq!(tenant.deliveries(&event_id).await.data.len(), endpoints, "{case}");
    }
}

/// Publishes after the change that `case` names, as soon as that counts. Returns the case and the event's id.
async fn publish_after(tenant: &Client, case: &str) -> (String, String) {
    sleep(CACHE_AGE).await;
    (case.to_owned(), tenant.publish("contact.created", &json!({ "n": 1 }), case).await)
}
