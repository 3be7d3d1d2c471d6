//! Failed attempts and their retries: short waits and days, `Retry-After`, the settings of an endpoint.

use std::time::Duration;

use serde_json::json;
use testkit::{
    Receiver, Reply, Stack, eventually, foreign,
    stack::{millis_of, text},
};

use crate::{AFTER_A_CRASH, CACHE_AGE, SOON};

#[tokio::test]
async fn an_endpoint_that_recovers_gets_everything() {
    let tenant = Stack::shared().tenant().await;
    let receiver = Receiver::responding(|n| Reply::status(if n < 12 { 500 } else { 200 })).await;
    let schedule = [1, 1, 1, 2, 2, 2, 2, 2, 2];
    let secret = tenant.endpoint(&receiver.url()).retry_schedule(&schedule).create().await.secret;
    let mut ids = Vec::new();
    for n in 0..4 {
        ids.push(tenant.publish("contact.created", &json!({ "n": n }), &format!("recover-{n}")).await);
    }
    for id in &ids {
        let delivery = tenant.only_delivery(id, "succeeded", AFTER_A_CRASH).await;
        let attempts = &delivery.attempts;
        assert!(attempts.len() >= 2, "{delivery:?}");
        assert!((1..).zip(attempts).all(|(number, attempt)| attempt.number == number), "{delivery:?}");
        assert!(attempts.is_sorted_by_key(|attempt| &attempt.started_at));
    }
    for received in receiver.requests() {
        foreign::verify(&received, &secret).await.expect("every attempt is signed");
    }
}

#[tokio::test]
async fn a_delivery_walks_through_seventy_five_hours() {
    let (stack, clock) = Stack::deploy_with_clock("cw-days").await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::responding(|_| Reply::status(500)).await;
    tenant.endpoint(&receiver.url()).create().await;
    let event_id = tenant.publish("contact.created", &json!({}), "days").await;
    let mut waits = Vec::new();
    for n in 1..10 {
        let delivery = eventually(&format!("attempt {n}"), AFTER_A_CRASH, || async {
            let delivery = tenant.only_delivery(&event_id, "retrying", SOON).await;
            (delivery.attempt_count == n).then_some(delivery)
        })
        .await;
        let due = delivery.next_attempt_at.unwrap();
        let attempt = &delivery.attempts[n - 1];
        waits.push(millis_of(&due) - millis_of(&attempt.started_at) - attempt.duration_ms);
        // Not before its time.
        stack.run_due().await;
        assert_eq!(receiver.requests().len(), n);
        clock.move_to(&due);
        stack.run_due().await;
    }
    let delivery = tenant.only_delivery(&event_id, "exhausted", SOON).await;
    assert_eq!(delivery.attempt_count, 10);
    assert_eq!(receiver.requests().len(), 10);
    let secs = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400];
    for (wait, secs) in waits.iter().zip(secs) {
        // 20 % either way, and the time until the end of the attempt was noted.
        let secs: u64 = secs;
        assert!((790 * secs..1250 * secs).contains(wait), "{wait} ms instead of {secs} s");
    }
    assert!(waits.iter().sum::<u64>() > 50 * 3_600_000);
    assert!(receiver.requests().iter().all(|received| received.id() == event_id));
}

#[tokio::test]
async fn due_deliveries_are_sent_by_the_schedule_within_a_minute() {
    let stack = Stack::deploy_with("cw-schedule", &[("LongestLaneWaitSeconds", "1")]).await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::responding(|n| Reply::status(if n == 0 { 500 } else { 200 })).await;
    tenant.endpoint(&receiver.url()).retry_schedule(&[10]).create().await;
    let event_id = tenant.publish("contact.created", &json!({}), "minute").await;
    let retrying = tenant.only_delivery(&event_id, "retrying", SOON).await;
    let delivery = tenant.only_delivery(&event_id, "succeeded", AFTER_A_CRASH).await;
    let due = millis_of(&retrying.next_attempt_at.unwrap());
    let at = millis_of(&delivery.attempts[1].started_at);
    assert!(at >= due, "not early");
    // A minute, and what a run takes on a machine that other tests keep busy.
    assert!(at - due < 70_000, "{} ms late", at - due);
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let tenant = Stack::shared().tenant().await;
    let receiver = Receiver::responding(|n| {
        let mut reply = Reply::status(if n == 0 { 429 } else { 200 });
        reply.headers.push(("retry-after", "8".to_owned()));
        reply
    })
    .await;
    let endpoint = tenant.endpoint(&receiver.url()).retry_schedule(&[1, 1]).create().await;
    let event_id = tenant.publish("contact.created", &json!({}), "asked").await;
    let delivery = tenant.only_delivery(&event_id, "succeeded", AFTER_A_CRASH).await;
    assert_eq!(delivery.attempts[0].status_code, Some(429));
    let received = receiver.requests();
    assert!(received[1].at - received[0].at >= Duration::from_secs(8));
    // The endpoint gets less for a while, and its health shows that.
    assert!(endpoint.get().await.health.throttled_until.is_some());
}

#[tokio::test]
async fn gone_disables_the_endpoint_and_notifies_its_owner() {
    let (stack, clock) = Stack::deploy_with_clock("cw-gone").await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::responding(|n| Reply::status(if n == 0 { 410 } else { 200 })).await;
    let watcher = Receiver::start().await;
    let endpoint = tenant.endpoint(&receiver.url()).event_types(&["contact.*"]).create().await;
    tenant.endpoint(&watcher.url()).event_types(&["endpoint.disabled"]).create().await;
    let event_id = tenant.publish("contact.created", &json!({}), "gone").await;
    let delivery = tenant.only_delivery(&event_id, "parked", SOON).await;
    assert_eq!(delivery.parked_reason.as_deref(), Some("disabled"));
    assert_eq!(delivery.attempts[0].status_code, Some(410));
    let view = endpoint.get().await;
    assert_eq!((view.status.as_str(), view.disabled.unwrap().by.as_str()), ("disabled", "gone"));
    let alert = watcher.wait_for(1, SOON).await.remove(0).json();
    assert_eq!(
        (&alert["type"], &alert["data"]["endpoint_id"]),
        (&json!("endpoint.disabled"), &json!(endpoint.id))
    );

    // What comes meanwhile is held, and all of it is delivered once the endpoint is back.
    let later = tenant.publish("contact.created", &json!({}), "later").await;
    tenant.only_delivery(&later, "parked", SOON).await;
    assert_eq!(receiver.requests().len(), 1);
    assert_eq!(endpoint.enable().await.status, "enabled");
    tokio::time::sleep(CACHE_AGE).await;
    stack.run_due().await;
    for id in [&event_id, &later] {
        tenant.only_delivery(id, "succeeded", SOON).await;
    }
    assert_eq!(receiver.requests().len(), 3);
    drop(clock);
}

#[tokio::test]
async fn an_endpoints_settings_are_applied() {
    let tenant = Stack::shared().tenant().await;
    let receiver = Receiver::start().await;
    let settings = json!({
        "svix_headers": true, "headers": { "X-Region": "west", "Authorization": "Bearer of-the-receiver" },
    });
    let secret = tenant.endpoint(&receiver.url()).settings(&settings).create().await.secret;
    let event_id = tenant.publish("contact.created", &json!({}), "settings").await;
    let received = receiver.wait_for(1, SOON).await.remove(0);
    foreign::verify(&received, &secret).await.expect("the library accepts it");
    assert_eq!(received.header("x-region"), "west");
    assert_eq!(received.header("authorization"), "Bearer of-the-receiver");
    assert_eq!(received.header("svix-id"), event_id);
    for name in ["id", "timestamp", "signature"] {
        assert_eq!(received.header(&format!("svix-{name}")), received.header(&format!("webhook-{name}")));
    }

    // A timeout of its own.
    let hanging = Receiver::responding(|_| Reply::after(Duration::from_mins(1))).await;
    let hangs = tenant.endpoint(&hanging.url()).timeout_seconds(2).event_types(&["deal.won"]).create().await;
    let event_id = tenant.publish("deal.won", &json!({}), "timeout").await;
    let delivery = tenant.delivery_once(&hangs.delivery_id(&event_id), "retrying", SOON).await;
    assert_eq!(delivery.attempts[0].failure.as_deref(), Some("timeout"));
    let took = delivery.attempts[0].duration_ms;
    assert!((2000..4000).contains(&took), "{took}");
}

#[tokio::test]
async fn ed25519_signatures_verify_with_the_public_key() {
    let tenant = Stack::shared().tenant().await;
    let receiver = Receiver::start().await;
    let endpoint = tenant.endpoint(&receiver.url()).settings(&json!({ "signing": "v1a" })).create().await;
    assert_eq!(endpoint.secret, "", "the private key is never shown");
    let shown = endpoint.secret().await;
    assert_eq!((&shown.secret, &shown.public_key), (&None, &endpoint.public_key));
    let public_key = endpoint.public_key.unwrap();
    tenant.publish("contact.created", &json!({ "id": 1 }), "v1a").await;
    let received = receiver.wait_for(1, SOON).await.remove(0);
    foreign::verify_v1a(&received, &public_key).await.expect("Node's own ed25519 accepts it");
    let mut forged = received.clone();
    forged.body = b"{}".to_vec().into();
    assert!(foreign::verify_v1a(&forged, &public_key).await.is_err());
}

#[tokio::test]
async fn a_rate_limit_holds_deliveries_back() {
    let (stack, clock) = Stack::deploy_with_clock("cw-rate").await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    let endpoint = tenant.endpoint(&receiver.url()).settings(&json!({ "rate_limit": 5 })).create().await;
    let events: Vec<_> = (0..60).map(|n| json!({ "type": "contact.created", "data": { "n": n } })).collect();
    let results = tenant.post("/v1/events/batch", &json!({ "events": events })).await.expect(202);
    let ids: Vec<_> =
        results["data"].as_array().unwrap().iter().map(|result| text(&result["event"], "id")).collect();
    // What has to wait longer than a message can is held, and brought back a minute later; and once more where
    // the limit was met again.
    let mut minutes = 0;
    loop {
        eventually("each to be delivered or held", AFTER_A_CRASH, || async {
            let mut settled = 0;
            for status in ["succeeded", "parked"] {
                settled += endpoint.deliveries(&format!("status={status}&limit=250")).await.data.len();
            }
            (settled == ids.len()).then_some(())
        })
        .await;
        if receiver.requests().len() >= ids.len() {
            break;
        }
        minutes += 1;
        clock.ahead(Duration::from_secs(61 * minutes));
        stack.run_due().await;
    }
    let received = receiver.requests();
    assert_eq!(received.len(), ids.len(), "each once");
    // A bucket of one second's worth goes at once, again after each minute that was skipped, and the rest at the
    // rate.
    assert!((1..=3).contains(&minutes), "{minutes} minutes");
    let took = received[received.len() - 1].at - received[0].at;
    assert!(took >= Duration::from_secs((60 - 10 - 5 * minutes) / 5 - 1), "{took:?} and {minutes} minutes");
    let second = |one: &testkit::ReceivedRequest| (one.at - received[0].at).as_secs();
    for began in 0..took.as_secs() {
        let in_window = received.iter().filter(|one| (began..began + 5).contains(&second(one))).count();
        // A bucket, five seconds' worth, and what a busy machine has kept waiting after its permit.
        assert!(in_window <= 40, "{in_window} in the five seconds from second {began} on");
    }
    for id in &ids {
        tenant.only_delivery(id, "succeeded", SOON).await;
    }
}
