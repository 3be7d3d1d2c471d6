//! A CRM event goes in by HTTP and comes out as a signed webhook.

use serde_json::json;
use testkit::{Receiver, Reply, Stack, foreign, stack::text};

use crate::SOON;

#[tokio::test]
async fn an_event_arrives_signed_and_its_delivery_tells_so() {
    let tenant = Stack::shared().tenant().await;
    let receiver = Receiver::start().await;
    let (endpoint_id, secret) = tenant.endpoint(&receiver.url(), &["contact.*"]).await;
    let ignored = tenant.publish("deal.won", &json!({}), "ignored").await;
    let event_id = tenant.publish("contact.created", &json!({ "id": "c_1", "n": 1.5 }), "first").await;

    let received = receiver.wait_for(1, SOON).await.remove(0);
    assert_eq!(received.id(), event_id);
    assert_eq!(received.header("content-type"), "application/json");
    let payload = foreign::verify(&received, &secret).await.expect("the library accepts it");
    assert_eq!(payload["type"], "contact.created");
    assert_eq!(payload["data"], json!({ "id": "c_1", "n": 1.5 }));
    let event = tenant.get(&format!("/v1/events/{event_id}")).await.expect(200);
    assert_eq!(payload["timestamp"], event["timestamp"]);
    assert_eq!(payload["data"], event["data"]);

    let mut forged = received.clone();
    forged.body = String::from_utf8(received.body.to_vec()).unwrap().replace("c_1", "c_2").into();
    assert!(foreign::verify(&forged, &secret).await.is_err());
    let other = tenant.endpoint(&receiver.url(), &["nothing.happens"]).await.1;
    assert!(foreign::verify(&received, &other).await.is_err());

    let delivery = tenant.delivery(&event_id, "succeeded", SOON).await;
    assert_eq!(delivery["endpoint_id"], endpoint_id.as_str());
    assert_eq!(delivery["attempt_count"], 1);
    assert_eq!(delivery["next_attempt_at"], json!(null));
    assert_eq!(delivery["attempts"][0]["number"], 1);
    assert_eq!(delivery["attempts"][0]["status_code"], 200);
    assert_eq!(delivery["attempts"][0]["failure"], json!(null));
    assert_eq!(delivery["attempts"][0]["response_excerpt"], "noted");

    // Nobody listens to the other type.
    let page = tenant.get(&format!("/v1/events/{ignored}/deliveries")).await.expect(200);
    assert_eq!(page, json!({ "data": [], "next_cursor": null }));
    assert_eq!(receiver.requests().len(), 1);
}

#[tokio::test]
async fn a_failed_attempt_is_retried_with_the_same_id() {
    let tenant = Stack::shared().tenant().await;
    let receiver = Receiver::responding(|n| Reply::status(if n == 0 { 500 } else { 204 })).await;
    let (_, secret) = tenant.endpoint(&receiver.url(), &[]).await;
    let event_id = tenant.publish("contact.created", &json!({}), "retried").await;

    let retrying = tenant.delivery(&event_id, "retrying", SOON).await;
    assert_eq!(retrying["attempts"][0]["status_code"], 500);
    assert_eq!(retrying["attempts"][0]["failure"], "http_status");
    assert_eq!(retrying["attempts"][0]["error"], "the endpoint answered 500");
    assert!(text(&retrying, "next_attempt_at") > text(&retrying["attempts"][0], "started_at"));

    let succeeded = tenant.delivery(&event_id, "succeeded", SOON).await;
    assert_eq!(succeeded["attempt_count"], 2);
    assert_eq!(succeeded["attempts"][1]["status_code"], 204);
    let received = receiver.requests();
    assert_eq!(received.len(), 2);
    assert_eq!(received[0].id(), received[1].id());
    assert_eq!(received[0].body, received[1].body);
    // Each attempt is signed for its own time: the default schedule waits 4 to 6 s.
    assert_ne!(received[0].header("webhook-timestamp"), received[1].header("webhook-timestamp"));
    assert!(received[1].at - received[0].at >= std::time::Duration::from_secs(4));
    for received in &received {
        foreign::verify(received, &secret).await.expect("the library accepts both");
    }
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_named_as_such() {
    let tenant = Stack::shared().tenant().await;
    // A port that was free a moment ago.
    // Held and not listened on: nobody else gets the port.
    let held = tokio::net::TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = held.local_addr().unwrap();
    tenant.endpoint(&format!("http://{closed}/"), &[]).await;
    let event_id = tenant.publish("contact.created", &json!({}), "nobody").await;
    let delivery = tenant.delivery(&event_id, "retrying", SOON).await;
    assert_eq!(delivery["attempts"][0]["failure"], "connect");
    assert_eq!(delivery["attempts"][0]["status_code"], json!(null));
}

#[tokio::test]
async fn a_hanging_endpoint_ends_at_the_time_out() {
    let tenant = Stack::shared().tenant().await;
    let receiver = Receiver::responding(|_| Reply::after(std::time::Duration::from_mins(1))).await;
    tenant.endpoint(&receiver.url(), &[]).await;
    let event_id = tenant.publish("contact.created", &json!({}), "hanging").await;
    let delivery = tenant.delivery(&event_id, "retrying", SOON).await;
    assert_eq!(delivery["attempts"][0]["failure"], "timeout");
    let took = delivery["attempts"][0]["duration_ms"].as_u64().unwrap();
    assert!((15_000..17_000).contains(&took), "{took}");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let tenant = Stack::shared().tenant().await;
    let target = Receiver::start().await;
    let url = target.url();
    let receiver = Receiver::responding(move |_| {
        let mut reply = Reply::status(307);
        reply.headers.push(("location", url.clone()));
        reply
    })
    .await;
    tenant.endpoint(&receiver.url(), &[]).await;
    let event_id = tenant.publish("contact.created", &json!({}), "redirected").await;
    let delivery = tenant.delivery(&event_id, "retrying", SOON).await;
    assert_eq!(delivery["attempts"][0]["error"], "the endpoint answered 307; redirects are not followed");
    assert!(target.requests().is_empty());
}

#[tokio::test]
async fn every_endpoint_of_a_tenant_gets_its_own_signature() {
    let tenant = Stack::shared().tenant().await;
    let receivers = [Receiver::start().await, Receiver::start().await, Receiver::start().await];
    let mut secrets = Vec::new();
    for receiver in &receivers {
        secrets.push(tenant.endpoint(&receiver.url(), &[]).await.1);
    }
    let event_id = tenant.publish("contact.created", &json!({ "id": "c_1" }), "fan-out").await;
    for (receiver, secret) in receivers.iter().zip(&secrets) {
        let received = receiver.wait_for(1, SOON).await.remove(0);
        assert_eq!(received.id(), event_id);
        foreign::verify(&received, secret).await.expect("its own key fits");
    }
    let page = tenant.get(&format!("/v1/events/{event_id}/deliveries?limit=2")).await.expect(200);
    assert_eq!(page["data"].as_array().unwrap().len(), 2);
    let cursor = text(&page, "next_cursor");
    let rest =
        tenant.get(&format!("/v1/events/{event_id}/deliveries?limit=2&cursor={cursor}")).await.expect(200);
    assert_eq!(rest["data"].as_array().unwrap().len(), 1);
    assert_eq!(rest["next_cursor"], json!(null));
}
