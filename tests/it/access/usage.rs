//! What tenants have used.

use serde_json::{Value, json};
use testkit::{Client, Receiver, Stack, eventually};

use super::event;
use crate::SOON;

async fn usage(tenant: &Client) -> Value {
    tenant.get("/v1/usage").await.expect(200)["total"].clone()
}

#[tokio::test]
async fn what_a_tenant_uses_is_counted() {
    // Counted at once, and not when there are many or they are old.
    let stack = Stack::deploy_with("cw-usage", &[("UsageFlushSeconds", "0")]).await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    tenant.endpoint(&receiver.url()).create().await;
    for number in 0..20 {
        let id = tenant.publish("contact.created", &json!({ "n": number }), &format!("used-{number}")).await;
        tenant.only_delivery(&id, "succeeded", SOON).await;
    }
    // A repeat is no event.
    tenant.publish("contact.created", &json!({ "n": 0 }), "used-0").await;
    // The last attempt is counted after it was recorded.
    let counted = eventually("all to be counted", SOON, || async {
        let counted = usage(&tenant).await;
        (counted["events"] == 20 && counted["attempts"] == 20).then_some(counted)
    })
    .await;
    assert_eq!((&counted["deliveries"], &counted["retries"]), (&json!(20), &json!(0)));
    assert!(counted["requests"].as_u64().unwrap() >= 40, "{counted}");
    assert!(counted["event_bytes"].as_u64().unwrap() >= 20 * 7, "{counted}");
    assert!(counted["sent_bytes"].as_u64() > counted["event_bytes"].as_u64(), "{counted}");
    tenant.endpoint(&receiver.url()).disabled().event_types(&["contact.held"]).create().await;
    tenant.publish("contact.held", &json!({}), "held").await;
    eventually("the held delivery to be counted", SOON, || async {
        (usage(&tenant).await["held"] == 1).then_some(())
    })
    .await;
    // The operator sees all tenants, the most expensive first.
    let all = stack.operator().get("/v1/usage/tenants?limit=250").await.expect(200);
    let mut last = f64::MAX;
    for entry in all["data"].as_array().unwrap() {
        let cost: f64 = entry["cost"]["dollars"].as_str().unwrap().parse().unwrap();
        assert!(cost <= last, "{all}");
        last = cost;
    }
    assert!(all["total"]["events"].as_u64().unwrap() >= 20);
    tenant.get("/v1/usage/tenants").await.expect_problem(403, "forbidden");
}

/// What a tenant does once is not kept in memory until something else happens.
#[tokio::test]
async fn the_first_use_of_a_tenant_is_written_at_once() {
    let tenant = Stack::shared().tenant().await;
    tenant.post("/v1/events", &event()).await.expect(202);
    let counted = usage(&tenant).await;
    assert!(counted["requests"].as_u64().unwrap() >= 1, "{counted}");
}

#[tokio::test]
async fn a_span_of_days_is_checked() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    tenant.post("/v1/events", &event()).await.expect(202);
    for (query, parameter) in [
        ("since=yesterday", "since"),
        ("since=2026-02-30", "since"),
        ("until=2026-11-01T00:00:00Z", "until"),
        ("since=2026-11-02&until=2026-11-01", "since"),
        ("since=2026-01-01&until=2026-04-01", "since"),
        ("day=2026-11-01", "day"),
    ] {
        let response = tenant.get(&format!("/v1/usage?{query}")).await;
        response.expect_problem(400, "invalid-request");
        assert_eq!(response.json["errors"][0]["parameter"], parameter, "{query}");
    }
    let past = tenant.get("/v1/usage?since=2026-01-01&until=2026-03-31").await.expect(200);
    assert_eq!((&past["data"], &past["total"]["events"]), (&json!([]), &json!(0)));
}
