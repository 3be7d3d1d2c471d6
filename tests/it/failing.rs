//! The deliveries of all of a tenant's endpoints whose last attempt failed.

use serde_json::{Value, json};
use testkit::{Client, FlakyReceiver, Receiver, Stack, eventually, proxy::Rule};

use crate::SOON;

async fn listed(tenant: &Client, query: &str) -> Vec<Value> {
    tenant.list(&format!("/v1/deliveries?{query}"), 1).await
}

/// The endpoints of a list, sorted.
fn endpoints(deliveries: &[Value]) -> Vec<&str> {
    let mut ids: Vec<_> =
        deliveries.iter().map(|delivery| delivery["endpoint_id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn what_failed_at_any_endpoint_is_in_one_list() {
    let stack = Stack::shared();
    let (tenant, other) = (stack.tenant().await, stack.tenant().await);
    let (well, failing, unreachable) =
        (Receiver::start().await, FlakyReceiver::failing().await, Receiver::start().await.url());
    let fine = tenant.endpoint(&well.url()).create().await;
    let exhausted = tenant.endpoint(&failing.url()).retry_schedule(&[]).create().await;
    let retrying = tenant.endpoint(&failing.url()).retry_schedule(&[600]).create().await;
    let closed = tenant.endpoint(&unreachable).retry_schedule(&[]).event_types(&["deal.*"]).create().await;
    let event = tenant.publish("contact.created", &json!({}), "failing").await;
    tenant.publish("deal.won", &json!({}), "closed").await;
    eventually("all failures to be listed", SOON, || async {
        (listed(&tenant, "").await.len() == 5).then_some(())
    })
    .await;
    well.wait_for(2, SOON).await;
    for (query, expected) in [
        ("", vec![&exhausted.id, &exhausted.id, &retrying.id, &retrying.id, &closed.id]),
        ("status=exhausted,retrying&event_type=contact.created", vec![&exhausted.id, &retrying.id]),
        ("status=retrying", vec![&retrying.id, &retrying.id]),
        ("status=exhausted", vec![&exhausted.id, &exhausted.id, &closed.id]),
        ("status=parked,cancelled,expired", vec![]),
        ("failure=connect", vec![&closed.id]),
        ("failure=http_status,timeout&status=exhausted", vec![&exhausted.id, &exhausted.id]),
        ("failure=dns", vec![]),
        ("since=2126-11-01T00:00:00Z", vec![]),
        ("until=2026-01-01T00:00:00Z", vec![]),
        ("since=2026-01-01T00:00:00Z&until=2126-11-01T00:00:00Z&failure=connect", vec![&closed.id]),
        (&*format!("endpoint_id={}", retrying.id), vec![&retrying.id, &retrying.id]),
        (&*format!("endpoint_id={}", fine.id), vec![]),
    ] {
        let found = listed(&tenant, query).await;
        let mut expected: Vec<&str> = expected.into_iter().map(String::as_str).collect();
        expected.sort_unstable();
        assert_eq!(endpoints(&found), expected, "{query}");
    }
    let first =
        &listed(&tenant, &format!("endpoint_id={}&event_type=contact.created", exhausted.id)).await[0];
    assert_eq!((&first["event_id"], &first["failure"]), (&json!(event), &json!("http_status")));
    assert_eq!((&first["status"], &first["attempt_count"]), (&json!("exhausted"), &json!(1)));
    assert!(listed(&other, "").await.is_empty());
    for (query, parameter) in [
        ("status=succeeded", "status"),
        ("status=exhausted,", "status"),
        ("failure=often", "failure"),
        ("endpoint_id=x", "endpoint_id"),
        ("event_type=a%20b", "event_type"),
        ("since=x", "since"),
        ("since=2026-11-02T00:00:00Z&until=2026-11-01T00:00:00Z", "since"),
        ("cursor=x", "cursor"),
    ] {
        tenant.get(&format!("/v1/deliveries?{query}")).await.expect_invalid_parameter(parameter);
    }
    // A page is a query of each shard, whatever the filter and the number of endpoints.
    let queries =
        stack.rule(&Rule::counting("Query,Scan", &[&format!("failing#{}", tenant.tenant_id())])).await;
    tenant
        .get("/v1/deliveries?status=exhausted,retrying&failure=http_status&since=2026-01-01T00:00:00Z")
        .await
        .expect(200);
    assert_eq!(queries.count().await, 8);
}

#[tokio::test]
async fn what_succeeds_after_all_leaves_the_list() {
    let tenant = Stack::shared().tenant().await;
    let receiver = FlakyReceiver::failing().await;
    let endpoint = tenant.endpoint(&receiver.url()).retry_schedule(&[2, 2, 2, 2, 2, 2]).create().await;
    let event = tenant.publish("contact.created", &json!({}), "recovers").await;
    eventually("the failure to be listed", SOON, || async {
        (listed(&tenant, "status=retrying").await.len() == 1).then_some(())
    })
    .await;
    receiver.recover();
    tenant.delivery_once(&endpoint.delivery_id(&event), "succeeded", SOON).await;
    eventually("the list to be empty", SOON, || async { listed(&tenant, "").await.is_empty().then_some(()) })
        .await;
}
