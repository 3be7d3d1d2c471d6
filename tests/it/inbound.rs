//! A Stripe webhook comes in by its URL, is verified, and comes out the same way.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use platform::store::table::keys;
use serde_json::{Value, json};
use testkit::{
    ApiResponse, Client, Receiver, Stack, client::AuditEntryView, eventually, foreign, stack::text,
};

use crate::{
    AFTER_A_CRASH, SOON,
    tables::{self, Table},
};

const SECRET: &str = "whsec_test_key_of_these_tests";

fn seconds_ago(seconds: u64) -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - seconds
}

fn invoice(id: &str) -> String {
    // The spacing and the number are part of what must come out unchanged.
    format!(
        r#"{{"id": "{id}",  "object": "event", "type": "invoice.paid", "created": 1700000000, "data": {{"object": {{"amount": 10.10}}}}}}"#
    )
}

/// The one event of a request that was accepted.
fn event_id(accepted: &Value) -> String {
    let ids = accepted["event_ids"].as_array().expect("a list");
    assert_eq!(ids.len(), 1, "{accepted}");
    ids[0].as_str().expect("an id").to_owned()
}

/// The path of a new source.
async fn source(tenant: &Client, secrets: &[&str]) -> String {
    let body = json!({ "provider": "stripe", "secrets": secrets });
    let source = tenant.post("/v1/sources", &body).await.expect(201);
    let path = format!("/in/stripe/{}", text(&source, "id"));
    assert!(text(&source, "url").ends_with(&path));
    path
}

async fn send(tenant: &Client, path: &str, body: &str, signature: Option<&str>) -> ApiResponse {
    let mut headers = vec![("content-type", "application/json; charset=utf-8")];
    headers.extend(signature.map(|signature| ("stripe-signature", signature)));
    tenant.with_key(None).send(reqwest::Method::POST, path, &headers, Some(body.as_bytes().to_vec())).await
}

#[tokio::test]
async fn stripes_event_comes_out_once_however_often_it_is_sent() {
    let (stack, clock) = Stack::deploy_with_clock("cw-stripe").await;
    let tenant = stack.tenant().await;
    let receiver = Receiver::start().await;
    let secret = tenant.endpoint(&receiver.url()).event_types(&["stripe.*"]).create().await.secret;
    // Two active secrets: the second one is being rolled in.
    let path = source(&tenant, &["whsec_the_old_key_of_these_tests", SECRET]).await;
    let body = invoice("evt_of_stripe");
    let signature = foreign::stripe_signature(&body, SECRET, seconds_ago(0)).await;

    let sending: Vec<_> = (0..50)
        .map(|_| {
            let (tenant, path, body, signature) =
                (tenant.clone(), path.clone(), body.clone(), signature.clone());
            tokio::spawn(async move { send(&tenant, &path, &body, Some(&signature)).await })
        })
        .collect();
    let mut ids = std::collections::HashSet::new();
    for response in sending {
        ids.insert(event_id(&response.await.unwrap().expect(200)));
    }
    assert_eq!(ids.len(), 1, "all fifty are one event");

    let received = receiver.wait_for(1, SOON).await.remove(0);
    assert!(ids.contains(received.id()));
    foreign::verify(&received, &secret).await.expect("the library accepts it");
    let sent = String::from_utf8(received.body.to_vec()).unwrap();
    assert_eq!(
        sent,
        format!(r#"{{"type":"stripe.invoice.paid","timestamp":"2023-11-14T22:13:20.000Z","data":{body}}}"#)
    );
    let event = tenant.get(&format!("/v1/events/{}", received.id())).await.expect(200);
    assert_eq!(event["type"], "stripe.invoice.paid");
    assert!(path.ends_with(&text(&event, "source_id")));

    // Stripe's own retry, later and with a detail changed, is still the same event.
    let retried = body.replace("10.10", "10.10 ");
    let signature = foreign::stripe_signature(&retried, SECRET, seconds_ago(1)).await;
    assert_eq!(event_id(&send(&tenant, &path, &retried, Some(&signature)).await.expect(200)), received.id());

    // A repeat sends messages of its own. They are delayed until 30 to 40 s after the event was accepted, so
    // those of a later repeat are not, and find the delivery finished. A marker shows when they have come.
    tenant.only_delivery(received.id(), "succeeded", SOON).await;
    clock.ahead(Duration::from_secs(41));
    for _ in 0..20 {
        send(&tenant, &path, &retried, Some(&signature)).await.expect(200);
    }
    stack.until_lanes_are_idle(AFTER_A_CRASH).await;
    tenant.publish("stripe.marker", &json!({}), "marker").await;
    let all = receiver.wait_for(2, SOON).await;
    assert_eq!(all.len(), 2, "one invoice and the marker");
    assert_eq!(all[1].json()["type"], "stripe.marker");
}

#[tokio::test]
async fn refused_requests_return_the_reason_and_store_nothing() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let path = source(&tenant, &[SECRET]).await;
    let body = invoice("evt_refused");
    let good = foreign::stripe_signature(&body, SECRET, seconds_ago(0)).await;
    let wrong = foreign::stripe_signature(&body, "whsec_someone_elses_key", seconds_ago(0)).await;
    let stale = foreign::stripe_signature(&body, SECRET, seconds_ago(301)).await;
    let unknown = "/in/stripe/src_0123456789abcdefghjkmnpqrs";
    let nonsense = "no JSON";
    let of_nonsense = foreign::stripe_signature(nonsense, SECRET, seconds_ago(0)).await;
    let no_event = r#"{"object":"event"}"#;
    let of_no_event = foreign::stripe_signature(no_event, SECRET, seconds_ago(0)).await;
    let tampered = body.replace("10.10", "99.10");
    for (path, body, signature, status, problem) in [
        (path.as_str(), body.as_str(), None, 401, "missing-signature"),
        (&path, &body, Some("v1=,t=".to_owned()), 401, "malformed-signature"),
        (&path, &body, Some(wrong), 401, "wrong-signature"),
        (&path, &tampered, Some(good.clone()), 401, "wrong-signature"),
        (&path, &body, Some(stale), 401, "stale-timestamp"),
        // A stranger learns nothing about which sources exist.
        (unknown, &body, Some(good.clone()), 401, "wrong-signature"),
        (unknown, &body, None, 401, "missing-signature"),
        ("/in/stripe/nonsense", &body, Some(good), 401, "wrong-signature"),
        (&path, nonsense, Some(of_nonsense), 400, "invalid-request"),
        (&path, no_event, Some(of_no_event), 400, "invalid-request"),
        (&path, &"x".repeat(1024 * 1024 + 1), Some("t=1,v1=00".to_owned()), 413, "too-large"),
    ] {
        let response = send(&tenant, path, body, signature.as_deref()).await;
        assert_eq!((response.status, response.problem()), (status, problem), "{path} {}", response.json);
    }
    let page = tenant.get("/v1/events").await.expect(200);
    assert_eq!(page["data"], json!([]), "nothing was stored");
    // Each refusal is counted, by provider and reason, with nothing of the request.
    for reason in ["missing-signature", "wrong-signature", "stale-timestamp", "unknown-source"] {
        eventually("the refusal to be counted", AFTER_A_CRASH, || async {
            let logs = stack.logs("inbound-stripe").await;
            logs.lines()
                .any(|line| {
                    line.contains(r#""InboundRefused":1"#)
                        && line.contains(&format!(r#""reason":"{reason}""#))
                })
                .then_some(())
        })
        .await;
    }
    assert!(!stack.logs("inbound-stripe").await.contains(SECRET));
}

#[tokio::test]
async fn thin_events_are_accepted_too() {
    let tenant = Stack::shared().tenant().await;
    let receiver = Receiver::start().await;
    tenant.endpoint(&receiver.url()).event_types(&["stripe.v2.*"]).create().await;
    let path = source(&tenant, &[SECRET]).await;
    let body = r#"{"id":"evt_test_65","object":"v2.core.event","type":"v2.core.account[requirements].updated","created":"2026-01-02T03:04:05.000Z","related_object":null}"#;
    let signature = foreign::stripe_signature(body, SECRET, seconds_ago(0)).await;
    send(&tenant, &path, body, Some(&signature)).await.expect(200);
    let received = receiver.wait_for(1, SOON).await.remove(0).json();
    assert_eq!(received["type"], "stripe.v2.core.account[requirements].updated");
    assert_eq!(received["timestamp"], "2026-01-02T03:04:05.000Z");
}

#[tokio::test]
async fn a_new_source_works_at_once() {
    let tenant = Stack::shared().tenant().await;
    let first = source(&tenant, &[SECRET]).await;
    let body = invoice("evt_first");
    let signature = foreign::stripe_signature(&body, SECRET, seconds_ago(0)).await;
    send(&tenant, &first, &body, Some(&signature)).await.expect(200);
    // The tenant's document of secrets is cached by now, in a version that lacks the second.
    let second = source(&tenant, &["whsec_another_key_of_these_tests"]).await;
    let signature =
        foreign::stripe_signature(&body, "whsec_another_key_of_these_tests", seconds_ago(0)).await;
    send(&tenant, &second, &body, Some(&signature)).await.expect(200);
    // One provider's id at two sources is two events.
    assert_eq!(tenant.get("/v1/events").await.expect(200)["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn the_secrets_of_a_source_can_be_set_later() {
    let stack = Stack::shared();
    let (tenant, stranger) = (stack.tenant().await, stack.tenant().await);
    let path = source(&tenant, &[]).await;
    let secrets = path.replace("/in/stripe/", "/v1/sources/") + "/secrets";
    let body = invoice("evt_once_set");
    let signature = foreign::stripe_signature(&body, SECRET, seconds_ago(0)).await;
    // Without a secret nothing verifies, a signature with an empty key included.
    let of_nothing = foreign::stripe_signature(&body, "", seconds_ago(0)).await;
    for signature in [&signature, &of_nothing] {
        let response = send(&tenant, &path, &body, Some(signature)).await;
        response.expect_problem(401, "wrong-signature");
    }
    let response = stranger.post(&secrets, &json!({ "secrets": [SECRET] })).await;
    response.expect_problem(404, "not-found");
    for (bad, pointer) in [(json!([]), "/secrets"), (json!(["short"]), "/secrets/0")] {
        let response = tenant.post(&secrets, &json!({ "secrets": bad })).await;
        assert_eq!((response.status, response.pointer()), (422, pointer));
    }
    let set = tenant.post(&secrets, &json!({ "secrets": [SECRET] })).await.expect(200);
    assert_eq!(set["secret_count"], 1);
    // A failed verification reads the secrets again where they are more than a second old.
    let response = eventually("the new secret to be known", Duration::from_secs(10), || async {
        let response = send(&tenant, &path, &body, Some(&signature)).await;
        (response.status != 401).then_some(response)
    })
    .await;
    let id = event_id(&response.expect(200));

    // Rolled: both are good, and the event is still the same one.
    let rolled = "whsec_the_next_key_of_these_tests";
    tenant.post(&secrets, &json!({ "secrets": [SECRET, rolled] })).await.expect(200);
    let signature = foreign::stripe_signature(&body, rolled, seconds_ago(0)).await;
    let response = eventually("the rolled secret to be known", Duration::from_secs(10), || async {
        let response = send(&tenant, &path, &body, Some(&signature)).await;
        (response.status != 401).then_some(response)
    })
    .await;
    assert_eq!(event_id(&response.expect(200)), id);
}

/// Stripe Connect sends the events of all connected accounts to one URL of the operator.
#[tokio::test]
async fn an_account_of_connect_is_a_tenant() {
    let stack = Stack::shared();
    let (operator, tenant, other) = (stack.operator(), stack.tenant().await, stack.tenant().await);
    let receiver = Receiver::start().await;
    tenant.endpoint(&receiver.url()).event_types(&["stripe.*"]).create().await;
    let body = json!({ "provider": "stripe", "secrets": [SECRET] });
    let source = operator.post("/v1/sources", &body).await.expect(201);
    let (id, path) = (text(&source, "id"), format!("/in/stripe/{}", text(&source, "id")));
    let account = testkit::unique("acct");
    let event = |id: &str| {
        let id = format!("{id}_{account}");
        format!(
            r#"{{"id":"{id}","type":"payout.paid","account":"{account}","created":1700000000,"data":{{"object":{{}}}}}}"#
        )
    };
    let send_event = async |id: &str| {
        let body = event(id);
        let signature = foreign::stripe_signature(&body, SECRET, seconds_ago(0)).await;
        send(&operator, &path, &body, Some(&signature)).await.expect(200)
    };
    // Not mapped yet: it stays with the operator, where it can be seen.
    let early = send_event("evt_early").await;
    let at_operator = operator.get(&format!("/v1/events/{}", event_id(&early))).await.expect(200);
    assert_eq!(at_operator["source_id"], id.as_str());

    let place = format!("/v1/sources/{id}/accounts/{account}");
    let unknown = operator.put(&place, &json!({ "tenant_id": "a_tenant_that_does_not_exist" })).await;
    unknown.expect_invalid_field("/tenant_id");
    operator.put(&place, &json!({ "tenant_id": tenant.tenant_id() })).await.expect(200);
    let listed = operator.get(&format!("/v1/sources/{id}/accounts")).await.expect(200);
    assert_eq!(listed["data"], json!([{ "account": account, "tenant_id": tenant.tenant_id() }]));
    assert_eq!(tenant.get(&format!("/v1/sources/{id}/accounts")).await.status, 403);

    // A function may know for a second that it is not mapped.
    let late = eventually("the account to be mapped", SOON, || async {
        let sent = send_event(&testkit::unique("evt_late")).await;
        let found = tenant.get(&format!("/v1/events/{}", event_id(&sent))).await;
        (found.status == 200).then_some(sent)
    })
    .await;
    let received = receiver.wait_for(1, SOON).await.remove(0);
    assert_eq!(received.id(), event_id(&late));
    assert_eq!(other.get(&format!("/v1/events/{}", event_id(&late))).await.status, 404);
    let request = format!("/v1/inbound/{}", text(&late, "inbound_request_id"));
    let logged = operator.get(&request).await.expect(200);
    assert_eq!(logged["events"][0]["tenant_id"], tenant.tenant_id());
    // The log is the operator's, since one request can hold events of several tenants.
    assert_eq!(tenant.get(&request).await.status, 404);

    // What came too early is published for its tenant by a replay.
    let early = format!("/v1/inbound/{}/replay", text(&early, "inbound_request_id"));
    let replayed = operator.post(&early, &json!({})).await.expect(200);
    assert_eq!(
        (&replayed["data"][0]["new"], &replayed["data"][0]["tenant_id"]),
        (&json!(true), &json!(tenant.tenant_id()))
    );
    assert_eq!(receiver.wait_for(2, SOON).await.len(), 2);

    // The trail says whose it was.
    let trail = async || {
        let entries: Vec<AuditEntryView> = operator.list("/v1/audit", 250).await;
        let is_own = |entry: &AuditEntryView| entry.subject == id && entry.action.contains("account");
        entries.into_iter().filter(is_own).collect::<Vec<_>>()
    };
    let state = |tenant: &Client| json!({ "account": account, "tenant_id": tenant.tenant_id() });
    let entry_count = trail().await.len();
    for _ in 0..2 {
        operator.put(&place, &json!({ "tenant_id": other.tenant_id() })).await.expect(200);
    }
    let mut entries = trail().await;
    assert_eq!(entries.len(), entry_count + 1, "the same again changes nothing");
    let newest = entries.remove(0);
    assert_eq!((newest.before, newest.after), (state(&tenant), state(&other)));
    for _ in 0..2 {
        operator.delete(&place).await.expect(204);
    }
    let newest = trail().await.remove(0);
    assert_eq!((newest.before, newest.after), (state(&other), Value::Null));
    assert_eq!(operator.get(&format!("/v1/sources/{id}/accounts")).await.expect(200)["data"], json!([]));
    // Of a deleted source none remains.
    for number in 0..30 {
        let place = format!("/v1/sources/{id}/accounts/{account}_{number}");
        operator.put(&place, &json!({ "tenant_id": tenant.tenant_id() })).await.expect(200);
    }
    operator.delete(&format!("/v1/sources/{id}")).await.expect(204);
    let (partition, _) = keys::source_lookup(tables::id(&id));
    let rows = Table::registry(&stack).rows_under(partition, keys::ACCOUNTS).await;
    assert!(rows.is_empty(), "{}", rows.len());
    // A tenant's own source publishes for that tenant, whatever the event says.
    let own = tenant.post("/v1/sources", &body).await.expect(201);
    let headers = [("tenant", tenant.tenant_id()), ("content-type", "application/json")];
    let place = format!("/v1/sources/{}/accounts/{account}", text(&own, "id"));
    let mapping = json!({ "tenant_id": tenant.tenant_id() }).to_string();
    let refused = operator.send(reqwest::Method::PUT, &place, &headers, Some(mapping.into())).await;
    refused.expect_problem(400, "invalid-request");
}
