//! What is refused, lost, repeated or limited: nothing is done twice, and nothing is repeated that cannot succeed.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{
    Reply, Stack,
    client::ApiResponse,
    proxy::{Fault, Rule},
    stack::text,
};
use tokio::task::JoinSet;

use super::{KEY, Vendor, import, stripe_error};

/// The responses to so many copies of a call at once.
async fn at_once(vendor: &Vendor, count: usize, call: &'static str, parameters: &Value) -> Vec<ApiResponse> {
    let mut calls = JoinSet::new();
    for _ in 0..count {
        let (client, body) = (vendor.tenant.clone(), vendor.body(parameters.clone()));
        let path = format!("/v1/integrations/{}/calls/{call}", vendor.name);
        calls.spawn(async move { client.post(&path, &body).await });
    }
    calls.join_all().await
}

fn ok() -> Reply {
    Reply::json(200, &json!({ "id": "cus_1" }))
}

async fn stripe(replies: Vec<Reply>) -> Vendor {
    Vendor::of(&Stack::shared().tenant().await, "stripe", replies).await
}

async fn brevo(replies: Vec<Reply>) -> Vendor {
    Vendor::of(&Stack::shared().tenant().await, "brevo", replies).await
}

#[tokio::test]
async fn what_can_be_repeated_is_with_the_same_key() {
    let locked = || stripe_error(429, "lock_timeout").with("stripe-should-retry", "true");
    for (name, replies) in [
        ("S1: 503 twice", vec![Reply::status(503), Reply::status(503), ok()]),
        ("S4: a cut response", vec![Reply::cut(), ok()]),
        ("a locked object", vec![locked(), ok()]),
        ("Stripe says so", vec![stripe_error(500, "x").with("stripe-should-retry", "true"), ok()]),
    ] {
        let count = replies.len();
        let vendor = stripe(replies).await;
        let made = vendor.call("customers.create", json!({ "name": "Ada" }), None).await.expect(200);
        assert_eq!((&made["status"], &made["body"]["id"]), (&json!(200), &json!("cus_1")), "{name}");
        let keys = vendor.keys();
        assert_eq!(keys.len(), count, "{name}");
        assert!(keys.iter().all(|key| *key == keys[0] && key.len() == 36), "{name}: {keys:?}");
    }
}

#[tokio::test]
async fn a_repeat_of_a_lost_call_has_the_key_of_the_first() {
    let vendor = stripe(vec![Reply::cut(), Reply::cut(), Reply::cut(), ok()]).await;
    let refund = json!({ "payment_intent": "pi_1" });
    let lost = vendor.call("refunds.create", refund.clone(), Some("refund-1")).await;
    lost.expect_problem(502, "effect-unknown");
    let made = vendor.call("refunds.create", refund.clone(), Some("refund-1")).await.expect(200);
    let again = vendor.call("refunds.create", refund.clone(), Some("refund-1")).await;
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(again.expect(200), made);
    let keys = vendor.keys();
    assert_eq!(keys.len(), 4, "a response that is kept is not asked for again");
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    let other = vendor.call("refunds.create", json!({ "payment_intent": "pi_2" }), Some("refund-1")).await;
    other.expect_problem(409, "idempotency-conflict");
    vendor.call("refunds.create", refund, Some("refund-2")).await.expect(200);
    let keys = vendor.keys();
    assert!(keys.len() == 5 && keys[4] != keys[0]);
}

#[tokio::test]
async fn a_call_whose_function_was_killed_is_made_again_while_the_vendor_knows_its_key() {
    let (stack, clock) = Stack::deploy_with_clock("cw-calls-killed").await;
    let sent = Reply::json(201, &json!({ "messageId": "m_1" }));
    let vendor = Vendor::of(&stack.tenant().await, "brevo", vec![sent]).await;
    let mail = json!({ "to": [{ "email": "ada@example.com" }], "templateId": 7 });
    let contains = [vendor.tenant.tenant_id(), "#idempotency#", "SET sealed_response"];
    let minute = Duration::from_secs(61);
    for (key, later) in [("mail-1", minute), ("mail-2", minute + Duration::from_mins(16))] {
        let killed = stack.rule(&Rule::new("UpdateItem", &contains, Fault::KillBefore, 1)).await;
        let crashed = vendor.call("smtp.send", mail.clone(), Some(key)).await;
        assert!(crashed.status >= 500, "{}", crashed.status);
        assert_eq!(killed.count().await, 1);
        clock.ahead(later);
        let again = vendor.call("smtp.send", mail.clone(), Some(key)).await;
        if key == "mail-1" {
            // Brevo says that it has it, and no more.
            assert_eq!(again.expect(200)["body"], Value::Null);
        } else {
            // Brevo would send it again.
            again.expect_problem(502, "effect-unknown");
        }
    }
    let bodies: Vec<_> = vendor.receiver.requests().iter().map(testkit::ReceivedRequest::json).collect();
    assert_eq!(bodies.len(), 3);
    assert!(bodies[0] == bodies[1] && bodies[1] != bodies[2], "{bodies:?}");
}

#[tokio::test]
async fn what_takes_no_key_is_never_made_twice() {
    let vendor = brevo(vec![Reply::cut(), ok()]).await;
    let webhook = json!({ "url": "https://crm.example/in", "events": ["delivered"] });
    for _ in 0..2 {
        let lost = vendor.call("webhooks.create", webhook.clone(), Some("webhook-1")).await;
        lost.expect_problem(502, "effect-unknown");
        assert!(text(&lost.json, "detail").contains("takes no idempotency key"), "{}", lost.json);
    }
    assert_eq!(vendor.receiver.count(), 1);
    vendor.call("webhooks.create", webhook, Some("webhook-2")).await.expect(200);

    // A contact that exists is updated, so it can be.
    let vendor = brevo(vec![Reply::cut(), Reply::status(204)]).await;
    let contact = json!({ "email": "ada@example.com" });
    let made = vendor.call("contacts.upsert", contact, None).await.expect(200);
    assert_eq!((&made["status"], &made["body"]), (&json!(204), &Value::Null));
    // A mail has its key in its body.
    let vendor = brevo(vec![Reply::cut(), Reply::json(201, &json!({ "messageId": "m_1" }))]).await;
    let mail = json!({ "to": [{ "email": "ada@example.com" }], "templateId": 7 });
    let sent = vendor.call("smtp.send", mail.clone(), Some("mail")).await.expect(200);
    assert_eq!(
        sent,
        json!({ "status": 200, "body": null, "request_id": null }),
        "the first was lost, and sent"
    );
    let again = vendor.call("smtp.send", mail, Some("mail")).await;
    assert_eq!(again.header("idempotent-replayed"), "true");
    let bodies: Vec<_> = vendor.receiver.requests().iter().map(testkit::ReceivedRequest::json).collect();
    assert!(bodies.len() == 2 && bodies[0] == bodies[1], "{bodies:?}");
    assert_eq!(text(&bodies[0]["headers"], "idempotencyKey").len(), 36);
}

#[tokio::test]
async fn what_a_vendor_refuses_is_not_repeated() {
    let declined =
        json!({ "error": { "code": "card_declined", "message": "Declined.", "param": "items[0][price]" } });
    let subscription = json!({ "customer": "cus_1", "items": [{ "price": "price_1" }] });
    for (name, reply, status, problem, words) in [
        (
            "S2",
            stripe_error(500, "x").with("stripe-should-retry", "false"),
            502,
            "effect-unknown",
            "Idempotency-Key",
        ),
        (
            "declined",
            Reply::json(402, &declined),
            422,
            "third-party-refused",
            "status 402: card_declined: Declined.",
        ),
        (
            "a key for another body",
            stripe_error(400, "idempotency_error"),
            422,
            "third-party-refused",
            "idempotency_error",
        ),
        (
            "missing",
            stripe_error(404, "resource_missing"),
            422,
            "third-party-refused",
            "Because of [redacted]. (request req_1)",
        ),
        ("a right", stripe_error(403, "permission"), 422, "third-party-refused", "status 403"),
        ("no JSON", Reply::status(200), 502, "effect-unknown", "Idempotency-Key"),
    ] {
        let vendor = stripe(vec![reply]).await;
        let response = vendor.call("subscriptions.create", subscription.clone(), None).await;
        response.expect_problem(status, problem);
        assert_eq!(vendor.receiver.count(), 1, "{name}");
        assert!(text(&response.json, "detail").contains(words), "{name}: {}", response.json);
        if name == "declined" {
            assert_eq!(response.json["errors"][0]["pointer"], "/parameters/items/0/price");
        }
    }
    // B4.
    let in_use = json!({ "code": "duplicate_parameter", "message": "ext_id is in use." });
    let vendor = brevo(vec![Reply::json(400, &in_use), ok()]).await;
    let contact = json!({ "email": "ada@example.com", "ext_id": "con_1" });
    let refused = vendor.call("contacts.upsert", contact, None).await;
    refused.expect_problem(422, "third-party-refused");
    assert_eq!(vendor.receiver.count(), 1);
    let by_id =
        json!({ "identifier": "con_1", "identifierType": "ext_id", "attributes": { "FIRSTNAME": "Ada" } });
    vendor.call("contacts.update", by_id, None).await.expect(200);
}

#[tokio::test]
async fn what_follows_a_lost_copy_does_not_say_that_nothing_was_done() {
    let refund = json!({ "payment_intent": "pi_1" });
    let in_use = || stripe_error(409, "idempotency_key_in_use");
    let rate = stripe_error(429, "rate_limit").with("retry-after", "30");
    let slow = Reply { delay: Duration::from_millis(8500), ..Reply::status(500) };
    for (name, replies, status, problem, wait) in [
        ("a limit", vec![Reply::cut(), rate], 502, "effect-unknown", Some(20..=40)),
        (
            "its copy in progress",
            vec![Reply::cut(), in_use(), in_use(), ok()],
            502,
            "effect-unknown",
            Some(1..=4),
        ),
        (
            "the key's end",
            vec![Reply::cut(), stripe_error(401, "api_key_expired")],
            502,
            "effect-unknown",
            None,
        ),
        ("a right", vec![Reply::cut(), stripe_error(403, "permission")], 502, "effect-unknown", None),
        ("no more time", vec![slow], 502, "effect-unknown", None),
        // Stripe replays what the first copy came to.
        (
            "declined",
            vec![Reply::cut(), stripe_error(402, "card_declined")],
            422,
            "third-party-refused",
            None,
        ),
    ] {
        let vendor = stripe(replies).await;
        // Without a key a repeat is not safe, so no time is named for one.
        let key = wait.as_ref().map(|_| "one");
        let response = vendor.call("refunds.create", refund.clone(), key).await;
        assert_eq!(response.status, status, "{name}: {}", response.json);
        assert!(wait.is_some() || response.header("retry-after").is_empty(), "{name}");
        response.expect_problem(status, problem);
        if let Some(secs) = wait {
            let wait: u64 = response.header("retry-after").parse().unwrap();
            assert!(secs.contains(&wait), "{name}: {wait}");
        }
        assert!(vendor.receiver.count() >= 2, "{name}");
        if status == 502 {
            let trail = vendor.tenant.get("/v1/audit").await;
            assert!(trail.text.contains("integration.called.unknown"), "{name}: {}", trail.text);
        }
    }
}

#[tokio::test]
async fn what_was_deleted_by_a_lost_copy_is_deleted() {
    let gone = || stripe_error(404, "resource_missing");
    let subscription = json!({ "id": "sub_1" });
    let vendor = stripe(vec![Reply::cut(), gone()]).await;
    let made = vendor.call("subscriptions.cancel", subscription.clone(), None).await.expect(200);
    assert_eq!((&made["status"], &made["body"]), (&json!(200), &Value::Null));
    // No copy of it was sent before.
    let refused = vendor.call("subscriptions.cancel", subscription.clone(), None).await;
    refused.expect_problem(422, "third-party-refused");
    // The repeat of a request whose copies were all lost.
    let vendor = stripe(vec![Reply::cut(), Reply::cut(), Reply::cut(), gone()]).await;
    let lost = vendor.call("subscriptions.cancel", subscription.clone(), Some("cancel-1")).await;
    lost.expect_problem(502, "effect-unknown");
    vendor.call("subscriptions.cancel", subscription, Some("cancel-1")).await.expect(200);
    let missing = json!({ "code": "document_not_found", "message": "Webhook not found" });
    let vendor = brevo(vec![Reply::cut(), Reply::json(404, &missing)]).await;
    vendor.call("webhooks.delete", json!({ "id": "5" }), None).await.expect(200);
}

#[tokio::test]
async fn a_locked_object_holds_no_other_call_back() {
    let locked = || stripe_error(429, "lock_timeout");
    let vendor = stripe(vec![locked(), locked(), locked(), ok()]).await;
    let refused = vendor.call("invoices.finalize", json!({ "id": "in_1" }), None).await;
    refused.expect_problem(429, "too-many-requests");
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=4).contains(&wait), "{wait}");
    vendor.call("refunds.create", json!({ "payment_intent": "pi_1" }), None).await.expect(200);
}

#[tokio::test]
async fn a_request_of_which_nothing_was_sent_leaves_its_key_free() {
    let vendor = brevo(vec![ok()]).await;
    let mut body = vendor.body(json!({ "url": "https://crm.example/in", "events": ["delivered"] }));
    // Nothing listens there.
    body["base_url"] = json!("http://127.0.0.1:1");
    for _ in 0..2 {
        let failed = vendor.send("webhooks.create", &body, Some("webhook-1")).await;
        failed.expect_problem(503, "third-party-unavailable");
    }
    // The key of a mail is derived: one of the caller's own would not hold for its copies.
    let mail = json!({
        "to": [{ "email": "ada@example.com" }], "templateId": 7, "headers": { "idempotencykey": "own" },
    });
    let refused = vendor.call("smtp.send", mail, None).await;
    assert_eq!((refused.status, refused.pointer()), (422, "/parameters/headers/idempotencyKey"));
    assert_eq!(vendor.receiver.count(), 0);
}

#[tokio::test]
async fn limits_of_a_vendor_hold_before_and_after_it_says_so() {
    let customer = json!({ "id": "cus_1" });
    // A limit of rate is not repeated, and holds for the next call of the connection.
    let rate = stripe_error(429, "rate_limit").with("retry-after", "30");
    let vendor = stripe(vec![rate, ok()]).await;
    for _ in 0..2 {
        let refused = vendor.call("customers.get", customer.clone(), None).await;
        refused.expect_problem(429, "too-many-requests");
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert!((10..=40).contains(&wait), "{wait}");
    }
    assert_eq!(vendor.receiver.count(), 1);

    // B1: 3 s, not 1.
    let throttled =
        Reply::json(429, &json!({ "code": "too_many_requests" })).with("x-sib-ratelimit-reset", "3");
    let vendor = brevo(vec![throttled, ok()]).await;
    let refused = vendor.call("contacts.get", json!({ "identifier": "a@b.c" }), None).await;
    refused.expect_problem(429, "too-many-requests");
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((3..=5).contains(&wait), "{wait}");
    // Its other groups go on.
    vendor.call("webhooks.list", json!({}), None).await.expect(200);

    // B2: 20 at once of 100 an hour, and one more each 45 s; none gets a 429 of Brevo.
    let vendor = brevo(vec![ok()]).await;
    let mut responses = Vec::new();
    for _ in 0..6 {
        responses.extend(at_once(&vendor, 4, "webhooks.list", &json!({})).await);
    }
    let made = responses.iter().filter(|response| response.status == 200).count();
    assert!((20..=21).contains(&made), "{made}");
    for refused in responses.iter().filter(|response| response.status != 200) {
        refused.expect_problem(429, "too-many-requests");
    }
    assert_eq!(vendor.receiver.count(), made);
}

#[tokio::test]
async fn calls_of_one_connection_do_not_wait_for_each_other() {
    let delay = Duration::from_secs(5);
    let vendor = stripe(vec![Reply { delay, ..ok() }]).await;
    let customer = json!({ "id": "cus_1" });
    let responses = at_once(&vendor, 4, "customers.get", &customer).await;
    let requests = vendor.receiver.requests();
    assert!(
        requests[3].at - requests[0].at < delay,
        "the fourth was received before the first had its response"
    );
    for response in responses {
        response.expect(200);
    }
}

#[tokio::test]
async fn a_refused_key_ends_its_connection_alone() {
    let vendor = stripe(vec![stripe_error(401, "api_key_expired"), ok()]).await;
    let other = import(&vendor.tenant, "stripe", "another-account").await;
    let customer = json!({ "id": "cus_1" });
    for _ in 0..2 {
        let refused = vendor.call("customers.get", customer.clone(), None).await;
        refused.expect_problem(409, "connection-reauthorize");
    }
    assert_eq!(vendor.receiver.count(), 1, "it is not sent again");
    let connection: Value = vendor.tenant.read(&format!("/v1/connections/{}", vendor.connection)).await;
    assert_eq!(connection["status"], "reauthorize");
    let mut body = vendor.body(customer.clone());
    body["connection_id"] = json!(other);
    vendor.send("customers.get", &body, None).await.expect(200);
    // The new key of the account.
    assert_eq!(import(&vendor.tenant, "stripe", "our-account").await, vendor.connection);
    vendor.call("customers.get", customer, None).await.expect(200);
}

#[tokio::test]
async fn bad_input_is_named_and_nothing_is_sent() {
    let vendor = stripe(vec![ok()]).await;
    let stack = Stack::shared();
    let neighbour = Vendor::of(&stack.tenant().await, "stripe", vec![ok()]).await;
    let ours = crate::syncs::connect(stack.clone(), "of-google").await;
    let with = |name: &str, value: Value| {
        let mut body = vendor.body(json!({ "id": "cus_1" }));
        body[name] = value;
        body
    };
    for (body, pointer) in [
        (with("connection_id", json!(neighbour.connection)), "/connection_id"),
        (with("connection_id", json!("x")), "/connection_id"),
        (with("base_url", json!("https://evil.example")), "/base_url"),
        (with("base_url", json!("http://127.0.0.1:1/?x=1")), "/base_url"),
        (with("account", json!("a b")), "/account"),
        (with("account", json!("a\r\nx: y")), "/account"),
        (with("version", json!("")), "/version"),
        (with("parameters", json!([])), "/parameters"),
        (with("parameters", json!({})), "/parameters/id"),
        (with("parameters", json!({ "id": "../x/.." , "ids": 1 })), "/parameters/ids"),
        (with("parameters", json!({ "id": ".." })), "/parameters/id"),
        (with("extra", json!({ "expand": [] })), "/extra/expand"),
        (with("unknown", json!(1)), "/unknown"),
    ] {
        let refused = vendor.send("customers.get", &body, None).await;
        assert_eq!(refused.status, 422, "{body}: {}", refused.json);
        assert_eq!(refused.pointer(), pointer, "{body}");
    }
    // The token of another provider is not for Stripe.
    let mut google = vendor.body(json!({ "id": "cus_1" }));
    google["connection_id"] = json!(ours.connection);
    let path = "/v1/integrations/stripe/calls/customers.get";
    ours.tenant.post(path, &google).await.expect_invalid_field("/connection_id");
    for path in [
        "/v1/integrations/unknown/calls/customers.get",
        "/v1/integrations/stripe/calls/customers.find",
        "/v1/integrations/brevo/calls/customers.get",
        "/v1/integrations/stripe/calls/x",
    ] {
        vendor.tenant.post(path, &vendor.body(json!({}))).await.expect_problem(404, "not-found");
    }
    let lesser = vendor.tenant.with_scopes(&["connections:token", "syncs:write"]).await;
    lesser.post(path, &vendor.body(json!({ "id": "cus_1" }))).await.expect_problem(403, "forbidden");
    assert_eq!((vendor.receiver.count(), neighbour.receiver.count()), (0, 0));

    // Writes are in the trail, reads are not, and the key is in neither.
    vendor.call("customers.get", json!({ "id": "cus_1" }), None).await.expect(200);
    vendor.call("customers.create", json!({ "name": "Ada Secret" }), None).await.expect(200);
    let trail = vendor.tenant.get("/v1/audit").await;
    assert_eq!(trail.text.matches("integration.called").count(), 1, "{}", trail.text);
    assert!(!trail.text.contains(KEY) && !trail.text.contains("Ada Secret"), "{}", trail.text);
}
