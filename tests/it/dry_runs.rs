//! Dry runs: what a request would become, why it would be refused, and that no response shows a secret.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use testkit::{Client, Stack, client::DryRunView, foreign, stack::text};

use crate::sources::{SECRET, TOKEN, create, custom, token_table};

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub(crate) async fn verify(tenant: &Client, path: &str, request: &Value) -> DryRunView {
    tenant.post(&format!("{path}/verify"), request).await.read(200)
}

pub(crate) async fn signed(body: &str, secret: &str, at: u64) -> Value {
    json!({ "headers": { "Stripe-Signature": foreign::stripe_signature(body, secret, at).await }, "body": body })
}

pub(crate) const INVOICE: &str = r#"{"id":"evt_dry","object":"event","type":"invoice.paid","created":1700000000,"data":{"object":{"id":"in_1","amount_paid":10}}}"#;

#[tokio::test]
async fn a_dry_run_shows_what_a_request_becomes_or_a_remedy() {
    let tenant = Stack::shared().tenant().await;
    let source = create(&tenant, json!({ "provider": "stripe", "secrets": [SECRET] })).await;
    let other = "whsec_of_another_source";
    create(&tenant, json!({ "provider": "stripe", "secrets": [other] })).await;
    let path = format!("/v1/sources/{}", source.id);

    let at = now();
    let found = verify(&tenant, &path, &signed(INVOICE, SECRET, at).await).await;
    assert_eq!((found.outcome.as_str(), found.reason, found.remedy), ("accepted", None, None));
    assert_eq!((found.secret_index, found.signed), (Some(0), Some(format!("{at}.{INVOICE}"))));
    assert!(found.age_ms.is_some_and(|age| (0..60_000).contains(&age)), "{:?}", found.age_ms);
    assert_eq!(found.response["status"], 200);
    assert!(found.checks.iter().all(|check| check["verdict"] != "fail"), "{:?}", found.checks);
    let event = &found.events[0];
    assert_eq!((&event["type"], &event["event_id"]), (&json!("stripe.invoice.paid"), &json!("evt_dry")));
    assert_eq!(event["timestamp"], "2023-11-14T22:13:20.000Z");
    assert_eq!(event["data"]["data"]["object"]["amount_paid"], 10);
    assert!(text(event, "id").starts_with("evt_"));
    // Nothing was published or logged.
    assert_eq!(tenant.get("/v1/inbound").await.expect(200)["data"], json!([]));
    assert_eq!(tenant.get(&format!("/v1/events/{}", text(event, "id"))).await.status, 404);

    let spaced = INVOICE.replace(':', ": ").replace(',', ", ");
    let mut rewritten = signed(INVOICE, SECRET, at).await;
    rewritten["body"] = json!(spaced);
    let mut recorded = signed(INVOICE, SECRET, 1_700_000_000).await;
    let stale = recorded.clone();
    recorded["at"] = json!("2023-11-14T22:13:30Z");
    let mut compressed = signed(INVOICE, SECRET, at).await;
    compressed["headers"]["Content-Encoding"] = json!("gzip");
    let unsigned = json!({ "body": INVOICE });
    for (request, outcome, reason, words) in [
        (signed(INVOICE, "whsec_of_no_source_at_all", at).await, "refused", Some("wrong-signature"), ""),
        (signed(INVOICE, other, at).await, "refused", Some("wrong-signature"), "another source"),
        (rewritten, "refused", Some("wrong-signature"), "parsed and written again"),
        (stale, "refused", Some("stale-timestamp"), "which is too long"),
        (unsigned, "refused", Some("missing-signature"), "stripe-signature"),
        (compressed, "refused", Some("content-encoding"), ""),
        (signed("{}", SECRET, at).await, "malformed", Some("malformed"), ""),
        (recorded, "accepted", None, ""),
    ] {
        let found = verify(&tenant, &path, &request).await;
        assert_eq!((found.outcome.as_str(), found.reason.as_deref()), (outcome, reason), "{request}");
        let remedy = found.remedy.unwrap_or_default();
        assert!(remedy.contains(words) && (words.is_empty() == remedy.is_empty()), "{request}: {remedy}");
        let status = found.response["status"].as_u64().unwrap();
        assert_eq!(status < 300, outcome == "accepted", "{request}");
        for secret in [SECRET, other] {
            let all = tenant.post(&format!("{path}/verify"), &request).await.json.to_string();
            assert!(!all.contains(secret), "{all}");
        }
    }
}

#[tokio::test]
async fn a_dry_run_shows_no_token() {
    let tenant = Stack::shared().tenant().await;
    let source = create(&tenant, custom(&json!({ "secrets": [TOKEN] }))).await;
    let path = format!("/v1/sources/{}/verify", source.id);
    let body = r#"{"id":"1","type":"made"}"#;
    for (token, outcome) in [(TOKEN, "accepted"), ("another-token-of-these", "refused")] {
        let response =
            tenant.post(&path, &json!({ "headers": { "Authorization": token }, "body": body })).await;
        let response = response.expect(200);
        assert_eq!(response["outcome"], outcome);
        let shown = response.to_string();
        assert!(!shown.contains(TOKEN) && !shown.contains("another-token-of-these"), "{shown}");
    }
    // A hash of a text with the secret shows its place.
    let mut table = token_table();
    table["scheme"]["methods"][0] = json!({ "signature": { "from": "header:x-hash" }, "algorithm": "sha256",
        "signed": "{secret}:{body}" });
    let hashing = create(&tenant, json!({ "provider": "custom", "table": table, "secrets": [TOKEN] })).await;
    let request = json!({ "headers": { "X-Hash": ["00".repeat(32)] }, "body_base64": "/w==" });
    let found = verify(&tenant, &format!("/v1/sources/{}", hashing.id), &request).await;
    // `{secret}:` and the byte, which is not UTF-8.
    assert_eq!((found.signed, found.signed_base64.as_deref()), (None, Some("e3NlY3JldH06/w==")));
    let long = json!({ "headers": { "X-Hash": "00".repeat(32) }, "body": "ä".repeat(10_000) });
    let found = verify(&tenant, &format!("/v1/sources/{}", hashing.id), &long).await;
    assert!(found.signed_truncated && found.signed.is_some_and(|signed| signed.len() <= 16 * 1024));
}

/// The envelope of an event counts, so the largest body is refused as an event.
#[tokio::test]
async fn a_dry_run_knows_the_limit_of_an_event() {
    let tenant = Stack::shared().tenant().await;
    let source = create(&tenant, custom(&json!({ "secrets": [TOKEN] }))).await;
    let event = |length: usize| {
        let body = |text: &str| format!(r#"{{"id":"1","type":"made","text":"{text}"}}"#);
        body(&"x".repeat(length - body("").len()))
    };
    let envelope = r#"{"type":"custom.made","timestamp":"2026-01-02T03:04:05.000Z","data":}"#.len();
    let limit = 1024 * 1024;
    for (length, outcome, status) in [
        (limit - envelope, "accepted", 200),
        (limit - envelope + 1, "malformed", 413),
        (limit, "malformed", 413),
    ] {
        let body = event(length);
        let request = json!({ "headers": { "Authorization": TOKEN }, "body": body });
        let found = verify(&tenant, &format!("/v1/sources/{}", source.id), &request).await;
        assert_eq!(
            (found.outcome.as_str(), &found.response["status"]),
            (outcome, &json!(status)),
            "{length}"
        );
        let headers = [("authorization", TOKEN)];
        let url = format!("/in/custom/{}", source.id);
        let sent = tenant.with_key(None).send(reqwest::Method::POST, &url, &headers, Some(body.into())).await;
        assert_eq!(sent.status, status, "{length}: the same as the source itself");
    }
}

#[tokio::test]
async fn a_dry_run_needs_no_source() {
    let tenant = Stack::shared().tenant().await;
    let mut request = signed(INVOICE, SECRET, now()).await;
    request["secrets"] = json!(["whsec_the_old_key_of_these_tests", SECRET]);
    let found = verify(&tenant, "/v1/providers/stripe", &request).await;
    assert_eq!((found.outcome.as_str(), found.secret_index), ("accepted", Some(1)));
    assert_eq!((found.event_count, &found.events[0]["id"]), (1, &Value::Null));
    let mut custom =
        custom(&json!({ "secrets": [TOKEN], "headers": { "authorization": TOKEN }, "body": "{}" }));
    custom.as_object_mut().unwrap().remove("provider");
    assert_eq!(verify(&tenant, "/v1/providers/custom", &custom).await.outcome, "malformed");
    // The secret at the end of the path.
    let mailchimp = json!({ "secrets": [TOKEN], "url": format!("https://acme.example/in/mailchimp/src_1/{TOKEN}"),
        "headers": { "content-type": "application/x-www-form-urlencoded" },
        "body": "type=subscribe&fired_at=2026-01-02+03%3A04%3A05&data%5Bid%5D=1&data%5Bemail%5D=ada%40example.com" });
    assert_eq!(verify(&tenant, "/v1/providers/mailchimp", &mailchimp).await.outcome, "accepted");
    // A challenge with a verify token.
    let mut meta = json!({ "method": "GET", "verify_token": "a-verify-token-of-ours",
        "query": "hub.mode=subscribe&hub.challenge=1158&hub.verify_token=a-verify-token-of-ours" });
    let found = verify(&tenant, "/v1/providers/meta", &meta).await;
    assert_eq!((found.outcome.as_str(), &found.response["body"]), ("challenge", &json!("1158")));
    meta["verify_token"] = json!("another-token-of-ours");
    let found = verify(&tenant, "/v1/providers/meta", &meta).await;
    assert_eq!(
        (found.reason.as_deref(), &found.response["status"]),
        (Some("challenge-refused"), &json!(403))
    );
    // Apple's keys are not fetched.
    let apple = foreign::signed_requests(&[("apple_sign_in", "https://acme.example/")]).await;
    let apple = apple.first().expect("a request of Apple");
    let body = String::from_utf8(apple.body.clone()).unwrap();
    let mut request = json!({ "secrets": apple.secrets, "headers": apple.headers, "body": body });
    let found = verify(&tenant, "/v1/providers/apple_sign_in", &request).await;
    assert!(found.remedy.is_some_and(|remedy| remedy.contains("published_keys")));
    request["published_keys"] = apple.published_keys.clone().unwrap();
    let found = verify(&tenant, "/v1/providers/apple_sign_in", &request).await;
    assert_eq!(found.outcome, "accepted", "{:?}", found.detail);
}

#[tokio::test]
async fn an_invalid_dry_run_names_its_field() {
    let tenant = Stack::shared().tenant().await;
    let many: serde_json::Map<_, _> = (0..101).map(|number| (format!("x-{number}"), json!("a"))).collect();
    for (path, body, pointer) in [
        ("stripe", json!({ "method": "post" }), "/method"),
        ("stripe", json!({ "url": "https://acme.example/", "query": "a=b" }), "/query"),
        ("stripe", json!({ "url": "x".repeat(8193) }), "/url"),
        ("stripe", json!({ "query": "x".repeat(8193) }), "/query"),
        ("stripe", json!({ "headers": { "a b": "c" } }), "/headers/a b"),
        ("stripe", json!({ "headers": { "a": "b\r\nc: d" } }), "/headers/a"),
        ("stripe", json!({ "headers": { "a": 1 } }), "/headers/a"),
        ("stripe", json!({ "headers": many }), "/headers"),
        ("stripe", json!({ "body": "a", "body_base64": "YQ==" }), "/body_base64"),
        ("stripe", json!({ "body_base64": "a" }), "/body_base64"),
        ("stripe", json!({ "body": "x".repeat(1024 * 1024 + 1) }), "/body"),
        ("stripe", json!({ "at": "yesterday" }), "/at"),
        ("stripe", json!({ "published_keys": [] }), "/published_keys"),
        ("stripe", json!({ "secrets": ["short"] }), "/secrets/0"),
        ("stripe", json!({ "table": token_table() }), "/table"),
        ("stripe", json!({ "public_urls": ["nonsense"] }), "/public_urls/0"),
        ("meta", json!({ "verify_token": "short" }), "/verify_token"),
        ("custom", json!({}), "/table"),
    ] {
        // Dry runs are limited, to twenty at once.
        let response = tenant.post(&format!("/v1/providers/{path}/verify"), &body).await;
        let found = (response.status, response.problem(), response.pointer());
        assert_eq!(found, (422, "invalid-field", pointer), "{} {}", body.to_string().len(), response.json);
    }
    tenant.post("/v1/providers/nonsense/verify", &json!({})).await.expect_problem(404, "not-found");
}

#[tokio::test]
async fn dry_runs_of_a_tenant_are_limited() {
    let stack = Stack::shared();
    let (busy, other) = (stack.tenant().await, stack.tenant().await);
    let runs = (0..60).map(|_| {
        let busy = busy.clone();
        tokio::spawn(async move { busy.post("/v1/providers/stripe/verify", &json!({})).await })
    });
    let mut limited = 0;
    for run in runs.collect::<Vec<_>>() {
        let response = run.await.unwrap();
        if response.status != 200 {
            response.expect_problem(429, "too-many-requests");
            assert!(response.headers.contains_key("retry-after"));
            limited += 1;
        }
    }
    assert!((1..60).contains(&limited), "{limited} of 60");
    other.post("/v1/providers/stripe/verify", &json!({})).await.expect(200);
}

#[tokio::test]
async fn a_test_request_is_one_that_the_source_accepts() {
    let tenant = Stack::shared().tenant().await;
    let random = "0123456789abcdef0123456789abcdef";
    for (provider, secret, body, event_type) in [
        ("stripe", SECRET, INVOICE, "stripe.invoice.paid"),
        ("github", random, r#"{"action":"opened","id":1}"#, "github.test.opened"),
        (
            "standard_webhooks",
            "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
            r#"{"type":"made"}"#,
            "standard_webhooks.made",
        ),
    ] {
        let source = create(&tenant, json!({ "provider": provider, "secrets": [secret] })).await;
        let path = format!("/v1/sources/{}/test", source.id);
        let built =
            tenant.post(&path, &json!({ "body": body, "headers": { "X-Region": "west" } })).await.expect(200);
        assert_eq!(
            (&built["result"]["outcome"], &built["url"]),
            (&json!("accepted"), &json!(source.url)),
            "{built}"
        );
        assert_eq!(built["result"]["events"][0]["type"], event_type);
        assert_eq!(built["headers"]["x-region"], "west");
        assert!(!built.to_string().contains(secret), "{built}");
        // The source itself accepts it.
        let headers = built["headers"].as_object().unwrap();
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect();
        let url = format!("/in/{provider}/{}", source.id);
        let body = text(&built, "body").into_bytes();
        let sent = tenant.with_key(None).send(reqwest::Method::POST, &url, &headers, Some(body)).await;
        assert_eq!(sent.status, 200, "{provider}: {}", sent.json);
    }
    // By default the body has an id and a type of its own.
    let source = create(&tenant, custom(&json!({ "secrets": [TOKEN] }))).await;
    let path = format!("/v1/sources/{}/test", source.id);
    let built = tenant.post(&path, &json!({})).await.expect(200);
    assert_eq!(built["result"]["events"][0]["type"], "custom.test");
    // A token is the secret.
    assert_eq!(built["headers"]["authorization"], "{secret}");
    assert!(!built.to_string().contains(TOKEN), "{built}");
    // Nor can events be read from it.
    let mut reading = token_table();
    reading["events"]["normal"] = json!([{ "kind": "text:a", "types": { "a": "lead.created" },
        "fields": { "id": "json:/id", "name": "header:authorization" } }]);
    let reading = json!({ "provider": "custom", "table": reading, "secrets": [TOKEN] });
    let refused = tenant.post("/v1/sources", &reading).await;
    refused.expect_invalid_field("/table/events/normal/0/fields/name");
    let trail = tenant.get("/v1/audit").await.expect(200);
    assert_eq!(
        (&trail["data"][0]["action"], &trail["data"][0]["subject"]),
        (&json!("source.tested"), &json!(source.id))
    );
    let mailchimp = create(&tenant, json!({ "provider": "mailchimp", "secrets": [TOKEN] })).await;
    let built = tenant.post(&format!("/v1/sources/{}/test", mailchimp.id), &json!({})).await.expect(200);
    assert_eq!(built["url"], json!(format!("{}?secret={{secret}}", mailchimp.url)));
    for (body, pointer) in [
        (json!({ "method": "post" }), "/method"),
        (json!({ "headers": { "a": 1 } }), "/headers/a"),
        (json!({ "body": {} }), "/body"),
        (json!({ "query": "a=b" }), "/query"),
    ] {
        tenant.post(&path, &body).await.expect_invalid_field(pointer);
    }
    let without = create(&tenant, json!({ "provider": "stripe" })).await;
    let response = tenant.post(&format!("/v1/sources/{}/test", without.id), &json!({})).await;
    response.expect_problem(409, "unsignable");
}
