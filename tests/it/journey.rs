//! A CRM event goes in by HTTP and comes out as a signed webhook.

use serde_json::json;
use testkit::{
    Receiver, Reply, Stack,
    client::{DeliveryView, EventWithDataView},
    foreign,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::SOON;

#[tokio::test]
async fn an_event_arrives_signed_and_its_delivery_is_recorded() {
    let tenant = Stack::shared().tenant().await;
    let receiver = Receiver::start().await;
    let endpoint = tenant.endpoint(&receiver.url()).event_types(&["contact.*"]).create().await;
    let ignored = tenant.publish("deal.won", &json!({}), "ignored").await;
    let event_id = tenant.publish("contact.created", &json!({ "id": "c_1", "n": 1.5 }), "first").await;

    let received = receiver.wait_for(1, SOON).await.remove(0);
    assert_eq!(received.id(), event_id);
    assert_eq!(received.header("content-type"), "application/json");
    let payload = foreign::verify(&received, &endpoint.secret).await.expect("the library accepts it");
    assert_eq!(payload["type"], "contact.created");
    assert_eq!(payload["data"], json!({ "id": "c_1", "n": 1.5 }));
    let event: EventWithDataView = tenant.read(&format!("/v1/events/{event_id}")).await;
    assert_eq!(payload["timestamp"], event.timestamp);
    assert_eq!(payload["data"], event.data);

    let mut forged = received.clone();
    forged.body = String::from_utf8(received.body.to_vec()).unwrap().replace("c_1", "c_2").into();
    assert!(foreign::verify(&forged, &endpoint.secret).await.is_err());
    let other = tenant.endpoint(&receiver.url()).event_types(&["nothing.happens"]).create().await.secret;
    assert!(foreign::verify(&received, &other).await.is_err());

    let delivery = tenant.only_delivery(&event_id, "succeeded", SOON).await;
    assert_eq!(delivery.endpoint_id, endpoint.id);
    assert_eq!(delivery.attempt_count, 1);
    assert_eq!(delivery.next_attempt_at, None);
    assert_eq!(delivery.attempts[0].number, 1);
    assert_eq!(delivery.attempts[0].status_code, Some(200));
    assert_eq!(delivery.attempts[0].failure, None);
    assert_eq!(delivery.attempts[0].response_excerpt.as_deref(), Some("noted"));

    // No endpoint subscribes to the other type.
    let page = tenant.deliveries(&ignored).await;
    assert_eq!((page.data, page.next_cursor), (vec![], None));
    assert_eq!(receiver.requests().len(), 1);
}

#[tokio::test]
async fn a_failed_attempt_is_retried_with_the_same_id() {
    let tenant = Stack::shared().tenant().await;
    let receiver = Receiver::responding(|n| Reply::status(if n == 0 { 500 } else { 204 })).await;
    let secret = tenant.endpoint(&receiver.url()).create().await.secret;
    let event_id = tenant.publish("contact.created", &json!({}), "retried").await;

    let retrying = tenant.only_delivery(&event_id, "retrying", SOON).await;
    assert_eq!(retrying.attempts[0].status_code, Some(500));
    assert_eq!(retrying.attempts[0].failure.as_deref(), Some("http_status"));
    assert!(retrying.attempts[0].error.as_ref().is_some_and(|error| error.ends_with(" 500")));
    assert!(retrying.next_attempt_at.as_ref() > Some(&retrying.attempts[0].started_at));

    let succeeded = tenant.only_delivery(&event_id, "succeeded", SOON).await;
    assert_eq!(succeeded.attempt_count, 2);
    assert_eq!(succeeded.attempts[1].status_code, Some(204));
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
async fn an_endpoint_that_does_not_listen_is_a_connection_failure() {
    let tenant = Stack::shared().tenant().await;
    // Bound and not listened on, so that no other receiver gets the port.
    let held = tokio::net::TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = held.local_addr().unwrap();
    tenant.endpoint(&format!("http://{closed}/")).create().await;
    let event_id = tenant.publish("contact.created", &json!({}), "unheard").await;
    let delivery = tenant.only_delivery(&event_id, "retrying", SOON).await;
    let attempt = &delivery.attempts[0];
    assert_eq!((attempt.failure.as_deref(), attempt.status_code), (Some("connect"), None));
    assert!(!attempt.sent && attempt.error.as_deref().unwrap().ends_with("; the request was never sent"));
}

#[tokio::test]
async fn a_receiver_with_an_unusual_response_has_the_webhook_and_gets_it_once() {
    let tenant = Stack::shared().tenant().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (sender, mut received) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let sender = sender.clone();
            tokio::spawn(async move {
                let mut request = Vec::new();
                // The payload ends so, and nothing before it does.
                while !request.ends_with(b"\"data\":{}}") {
                    if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                sender.send(()).unwrap();
                let response = "HTTP/1.1 200 O\x01K\r\nSet-Cookie: a=x\x01y\r\nName : value\r\nnonsense\r\nX A: b\r\n c\r\n"
                    .to_owned()
                    + &"x: y\r\n".repeat(150)
                    + "content-length: 2\r\n\r\nok";
                stream.write_all(response.as_bytes()).await.unwrap();
            });
        }
    });
    tenant.endpoint(&url).create().await;
    let event_id = tenant.publish("contact.created", &json!({}), "unusual").await;
    let delivery = tenant.only_delivery(&event_id, "succeeded", SOON).await;
    assert_eq!((delivery.attempts.len(), delivery.attempts[0].status_code), (1, Some(200)));
    assert_eq!(delivery.attempts[0].response_excerpt.as_deref(), Some("ok"));
    received.recv().await.unwrap();
    assert!(received.try_recv().is_err(), "it got the webhook twice");
}

#[tokio::test]
async fn an_attempt_at_a_hanging_endpoint_ends_at_the_timeout() {
    let tenant = Stack::shared().tenant().await;
    let receiver = Receiver::responding(|_| Reply::after(std::time::Duration::from_mins(1))).await;
    tenant.endpoint(&receiver.url()).create().await;
    let event_id = tenant.publish("contact.created", &json!({}), "hanging").await;
    let delivery = tenant.only_delivery(&event_id, "retrying", SOON).await;
    assert_eq!(delivery.attempts[0].failure.as_deref(), Some("timeout"));
    assert!(delivery.attempts[0].sent);
    let took = delivery.attempts[0].duration_ms;
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
    tenant.endpoint(&receiver.url()).create().await;
    let event_id = tenant.publish("contact.created", &json!({}), "redirected").await;
    let delivery = tenant.only_delivery(&event_id, "retrying", SOON).await;
    let error = delivery.attempts[0].error.as_deref().unwrap();
    assert!(error.ends_with(" 307; redirects are not followed"), "{error}");
    assert!(target.requests().is_empty());
}

#[tokio::test]
async fn every_endpoint_of_a_tenant_gets_its_own_signature() {
    let tenant = Stack::shared().tenant().await;
    let receivers = [Receiver::start().await, Receiver::start().await, Receiver::start().await];
    let mut secrets = Vec::new();
    for receiver in &receivers {
        secrets.push(tenant.endpoint(&receiver.url()).create().await.secret);
    }
    let event_id = tenant.publish("contact.created", &json!({ "id": "c_1" }), "fan-out").await;
    for (receiver, secret) in receivers.iter().zip(&secrets) {
        let received = receiver.wait_for(1, SOON).await.remove(0);
        assert_eq!(received.id(), event_id);
        foreign::verify(&received, secret).await.expect("its own key fits");
    }
    let pages: Vec<Vec<DeliveryView>> = tenant.pages(&format!("/v1/events/{event_id}/deliveries"), 2).await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
}
