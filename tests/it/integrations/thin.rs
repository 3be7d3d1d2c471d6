//! A thin event of Stripe: received and published as it is, then its data and its object are fetched by a connection.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use testkit::{Receiver, Reply, Stack, client::SourceView, foreign::stripe_signature, stack::text};

use super::{Vendor, stripe_error};
use crate::SOON;

const SECRET: &str = "whsec_0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn a_thin_event_is_published_at_once_and_its_object_fetched_on_demand() {
    let tenant = Stack::shared().tenant().await;
    let crm = Receiver::start().await;
    let endpoint = tenant.endpoint(&crm.url()).event_types(&["stripe.*"]).create().await;
    let source = json!({ "provider": "stripe", "secrets": [SECRET] });
    let source: SourceView = tenant.post("/v1/sources", &source).await.read(201);
    let thin = json!({
        "id": "evt_test_thin_1", "object": "v2.core.event", "type": "v1.billing.meter.error_report_triggered",
        "created": "2026-11-28T12:00:00.000Z", "livemode": false, "context": "acct_9",
        "related_object": { "id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/mtr_1" },
    });
    let payload = thin.to_string();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let signature = stripe_signature(&payload, SECRET, now).await;
    let sent = testkit::http_client()
        .post(&source.url)
        .header("stripe-signature", signature)
        .header("content-type", "application/json")
        .body(payload);
    assert_eq!(sent.send().await.unwrap().status(), 200);

    // Whether a fetch succeeds or not, the event is not lost: it is delivered unchanged.
    let delivered = crm.wait_for(1, SOON).await[0].json();
    assert_eq!(delivered["type"], "stripe.v1.billing.meter.error_report_triggered");
    assert_eq!(delivered["data"], thin);
    assert!(!endpoint.id.is_empty());

    let full = json!({ "id": "evt_test_thin_1", "object": "v2.core.event", "data": { "reason": "x" } });
    let meter = json!({ "id": "mtr_1", "object": "billing.meter" });
    let replies = vec![Reply::json(200, &full), Reply::json(200, &meter), stripe_error(404, "not_found")];
    let vendor = Vendor::of(&tenant, "stripe", replies).await;
    let data = &delivered["data"];
    let fetch = async |call: &str, parameters: Value| {
        let mut body = vendor.body(parameters);
        body["account"] = data["context"].clone();
        vendor.send(call, &body, None).await
    };
    let event = fetch("events.fetch", json!({ "id": data["id"] })).await.expect(200);
    assert_eq!(event["body"], full);
    let url = text(&data["related_object"], "url");
    let object = fetch("objects.fetch", json!({ "url": url })).await.expect(200);
    assert_eq!(object["body"], meter);
    // It does not exist any more.
    fetch("objects.fetch", json!({ "url": url })).await.expect_problem(422, "third-party-refused");
    let requests = vendor.receiver.requests();
    let paths: Vec<_> = requests.iter().map(|request| request.path.as_str()).collect();
    assert_eq!(
        paths,
        ["/v2/core/events/evt_test_thin_1", "/v1/billing/meters/mtr_1", "/v1/billing/meters/mtr_1"]
    );
    assert!(requests.iter().all(|request| request.header("stripe-context") == "acct_9"));
}
