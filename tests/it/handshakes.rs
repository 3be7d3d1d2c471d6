//! Challenges, probes and the limits of a source, at the deployed functions.

use reqwest::Method;
use serde_json::json;
use testkit::{Client, Stack, eventually};

use crate::{
    SOON,
    providers::{send, source},
};

const SECRET: &str = "a_secret_of_the_handshake_tests";

/// The URL of a new source, from its path on.
async fn path(tenant: &Client, provider: &str, more: serde_json::Value) -> String {
    let mut body = json!({ "provider": provider, "secrets": [SECRET] });
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    format!("/in/{provider}/{}", source(tenant, &body).await.0)
}

#[tokio::test]
async fn challenges_get_the_responses_that_their_providers_expect() {
    let tenant = Stack::shared().tenant().await;
    let token = "a_verify_token_of_this_test";
    let meta = path(&tenant, "meta", json!({ "verify_token": token })).await;
    let zoom = path(&tenant, "zoom", json!({})).await;
    let linkedin = path(&tenant, "linkedin", json!({})).await;
    let graph = path(&tenant, "microsoft_graph", json!({})).await;
    let mailchimp = path(&tenant, "mailchimp", json!({})).await;
    let slack = path(&tenant, "slack", json!({})).await;
    let get = |path: &str, query: &str| format!("{path}?{query}");
    let validation =
        json!({"event": "endpoint.url_validation", "payload": {"plainToken": "abc-DEF_123"}}).to_string();
    let forged =
        json!({"event": "endpoint.url_validation", "payload": {"plainToken": "v0:1:{}"}}).to_string();
    let json_type = [("content-type", "application/json")];
    let form = [("content-type", "application/x-www-form-urlencoded")];
    for (method, path, headers, body, status, begins) in [
        // Case 5.
        (
            Method::GET,
            get(&meta, &format!("hub.mode=subscribe&hub.verify_token={token}&hub.challenge=PROBE123")),
            &[][..],
            "",
            200,
            "PROBE123",
        ),
        (
            Method::GET,
            get(&meta, "hub.mode=subscribe&hub.verify_token=wrong&hub.challenge=PROBE123"),
            &[],
            "",
            403,
            "",
        ),
        (Method::GET, get(&meta, "hub.mode=unsubscribe"), &[], "", 400, ""),
        // Case 2: neither of them is signed, and the second one would sign an event.
        (
            Method::POST,
            zoom.clone(),
            &json_type,
            &validation,
            200,
            r#"{"plainToken":"abc-DEF_123","encryptedToken":""#,
        ),
        (Method::POST, zoom.clone(), &json_type, &forged, 400, ""),
        // Case 1.
        (
            Method::GET,
            get(&linkedin, "challengeCode=890e4665-4dfe-4ab1-b689-ed553bceeed0"),
            &[],
            "",
            200,
            r#"{"challengeCode":"890e4665"#,
        ),
        (Method::GET, get(&linkedin, "challengeCode=hmacsha256%3D%7B%7D"), &[], "", 400, ""),
        // Case 6.
        (
            Method::POST,
            get(&graph, "validationToken=Validation%3A+Testing+%3Cb%3E"),
            &[],
            "",
            200,
            "Validation: Testing <b>",
        ),
        // Case 10.
        (Method::GET, format!("{mailchimp}/{SECRET}"), &[], "", 200, ""),
        // Case 8.
        (Method::POST, slack.clone(), &form, "ssl_check=1&token=x", 200, ""),
        (Method::POST, slack, &json_type, r#"{"type":"url_verification","challenge":"c"}"#, 401, ""),
    ] {
        let response = send(&tenant, method.clone(), &path, headers, body).await;
        assert_eq!(response.status, status, "{method} {path} {body}: {}", response.text);
        assert!(response.text.starts_with(begins), "{path}: {}", response.text);
        if status == 200 {
            assert_eq!(response.header("x-content-type-options"), "nosniff", "{path}");
        }
    }
    let plain = send(&tenant, Method::POST, &get(&graph, "validationToken=x"), &[], "").await;
    assert_eq!(plain.header("content-type"), "text/plain; charset=utf-8");
    // A stranger who does not know the source gets the same from one that does not exist.
    let unknown = "/in/meta/src_0123456789abcdefghjkmnpqrs";
    let query = "hub.mode=subscribe&hub.verify_token=wrong&hub.challenge=PROBE123";
    let [known, unknown] = [&meta, unknown].map(|path| get(path, query));
    let [known, unknown] = [
        send(&tenant, Method::GET, &known, &[], "").await,
        send(&tenant, Method::GET, &unknown, &[], "").await,
    ];
    assert_eq!((known.status, &known.json["detail"]), (unknown.status, &unknown.json["detail"]));
    assert_eq!(tenant.get("/v1/events").await.expect(200)["data"], json!([]), "none of them is an event");
}

/// Xero tests a URL with right and wrong signatures, and both responses must be empty (case 7).
#[tokio::test]
async fn xeros_intent_to_receive() {
    let tenant = Stack::shared().tenant().await;
    let key = "LR+QgKlbRciIPYpi65tTKLaZ3FzLLofCNEQWrRXqWXJeDFrfexzfVI9SmnVuCWDJ4jnjHB9ECtOyxZSofRxwWw==";
    let (id, _) = source(&tenant, &json!({ "provider": "xero", "secrets": [key] })).await;
    let body =
        r#"{"events":[],"firstEventSequence": 0,"lastEventSequence": 0, "entropy": "LUWDSUDGSWNZVALZXBEV"}"#;
    for (signature, status) in [
        ("BjzNbYUfrzg4g8wxm+dKHaZVrKxr2m75E296fUbD1E4=", 200),
        ("/jzNbYUfrzg4g8wxm+dKHaZVrKxr2m75E296fUbD1E4=", 401),
    ] {
        let headers = [("content-type", "application/json"), ("x-xero-signature", signature)];
        let response = send(&tenant, Method::POST, &format!("/in/xero/{id}"), &headers, body).await;
        assert_eq!((response.status, response.text.as_str()), (status, ""));
    }
}

/// Asana's first request brings the secret. Only the first one counts, and only while the source waits (case 4).
#[tokio::test]
async fn asanas_handshake_counts_once() {
    let tenant = Stack::shared().tenant().await;
    let (id, _) = source(&tenant, &json!({ "provider": "asana" })).await;
    let path = format!("/in/asana/{id}");
    let (first, attacker) = ("b537207f20cbfa02357cf448134da559", "0123456789abcdef0123456789abcdef");
    let handshake = async |secret: &str| {
        let headers = [("x-hook-secret", secret), ("content-type", "application/json")];
        send(&tenant, Method::POST, &path, &headers, "{}").await
    };
    let response = handshake(first).await;
    assert_eq!((response.status, response.header("x-hook-secret")), (200, first), "{}", response.text);
    let late = eventually("the handshake to be over", SOON, || async {
        let response = handshake(attacker).await;
        (response.status == 401).then_some(response)
    })
    .await;
    assert_eq!(late.header("x-hook-secret"), "");
    let shown = tenant.get(&format!("/v1/sources/{id}")).await.expect(200);
    assert_eq!((&shown["secret_count"], &shown["awaits_secret_until"]), (&json!(1), &json!(null)));
    // The tenant can read it, and another source's secret it cannot.
    let shown = tenant.get(&format!("/v1/sources/{id}/handshake")).await.expect(200);
    assert_eq!(shown["secrets"], json!([first]));
    let (other, _) =
        source(&tenant, &json!({ "provider": "stripe", "secrets": ["whsec_a_key_of_these_tests"] })).await;
    let refused = tenant.get(&format!("/v1/sources/{other}/handshake")).await;
    refused.expect_problem(400, "invalid-request");
    assert!(!refused.text.contains("whsec_"));
    // What is signed with the first secret is accepted.
    let body = r#"{"events":[]}"#;
    let signature = testkit::sign::hmac_sha256_hex(first, body);
    let headers = [("x-hook-signature", signature.as_str()), ("content-type", "application/json")];
    eventually("the secret to be known", SOON, || async {
        (send(&tenant, Method::POST, &path, &headers, body).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_source_has_an_allowlist_a_rate_limit_and_bounds() {
    let tenant = Stack::shared().tenant().await;
    let basic = "Basic dXNlcjphX3Rlc3RfcGFzc3dvcmRfb2Zfb3Vycw==";
    let secret = json!({ "secrets": ["user:a_test_password_of_ours"] });
    let with = |settings: serde_json::Value| {
        let mut body = secret.clone();
        body.as_object_mut().expect("an object").extend(settings.as_object().expect("an object").clone());
        body
    };
    let elsewhere = path(&tenant, "pipedrive", with(json!({ "allowed_networks": ["203.0.113.0/24"] }))).await;
    let here = path(&tenant, "pipedrive", with(json!({ "allowed_networks": ["127.0.0.0/8", "::1"] }))).await;
    let limited = path(&tenant, "pipedrive", with(json!({ "rate_limit": 2 }))).await;
    let headers = [("content-type", "application/json"), ("authorization", basic)];
    let event = |id: &str| json!({ "meta": { "id": id, "entity": "deal", "action": "create" } }).to_string();

    // Refused in the words of a wrong secret, but the log has the reason.
    let refused = send(&tenant, Method::POST, &elsewhere, &headers, event("1")).await;
    refused.expect_problem(401, "wrong-signature");
    send(&tenant, Method::POST, &here, &headers, event("1")).await.expect(200);
    let id = elsewhere.rsplit('/').next().expect("an id");
    let log = tenant.get(&format!("/v1/inbound?source_id={id}&status=refused")).await.expect(200);
    assert_eq!(log["data"][0]["reason"], "address-not-allowed");
    assert_eq!(log["data"][0]["headers"]["authorization"], "[redacted]");

    let mut limited_at = None;
    for number in 0..40 {
        let response = send(&tenant, Method::POST, &limited, &headers, event(&number.to_string())).await;
        if response.status == 429 {
            limited_at = Some((number, response.header("retry-after").to_owned()));
            break;
        }
        assert_eq!(response.status, 200, "{}", response.text);
    }
    let (number, retry_after) = limited_at.expect("the limit is reached");
    assert!(number >= 2, "a second's requests may come at once");
    assert_eq!(retry_after, "1");

    let gzip = [("content-type", "application/json"), ("authorization", basic), ("content-encoding", "gzip")];
    let response = send(&tenant, Method::POST, &here, &gzip, event("2")).await;
    response.expect_problem(415, "unsupported-media-type");
    let response = send(&tenant, Method::POST, &here, &headers, vec![b' '; 1024 * 1024 + 1]).await;
    response.expect_problem(413, "too-large");
    // Deep JSON, keys that are given twice, and a body that is no text are refused, and nothing dies.
    for (body, status) in [
        ([vec![b'['; 100_000], vec![b']'; 100_000]].concat(), 400),
        (br#"{"meta":{"id":"a","id":"b","entity":"deal","action":"create"}}"#.to_vec(), 200),
        (vec![0xff, 0xfe], 400),
        (Vec::new(), 400),
    ] {
        let response = send(&tenant, Method::POST, &here, &headers, body.clone()).await;
        assert_eq!(response.status, status, "{:?}: {}", body.get(..20), response.text);
    }
}

/// A custom source is a table that the tenant writes.
#[tokio::test]
async fn a_custom_source_verifies_by_its_own_table() {
    let tenant = Stack::shared().tenant().await;
    let table = json!({
        "scheme": { "methods": [{
            "signature": { "from": "header:x-acme-signature", "layout": { "plain": { "prefixes": ["sha256="] } } },
            "algorithm": "hmac-sha256", "signed": "{body}",
        }] },
        "events": { "event_type": ["json:/kind"], "dedupe": [["json:/id"]] },
        "responses": { "accepted": { "status": 202, "content_type": "text/plain", "body": "thanks" } },
    });
    let custom = path(&tenant, "custom", json!({ "table": table })).await;
    let body = r#"{"id":"1","kind":"order.placed"}"#;
    let signature = format!("sha256={}", testkit::sign::hmac_sha256_hex(SECRET, body));
    let headers = [("content-type", "application/json"), ("x-acme-signature", signature.as_str())];
    let response = send(&tenant, Method::POST, &custom, &headers, body).await;
    assert_eq!((response.status, response.text.as_str()), (202, "thanks"), "{}", response.text);
    let tampered = send(&tenant, Method::POST, &custom, &headers, body.replace('1', "2")).await;
    tampered.expect_problem(401, "wrong-signature");
    let events = tenant.get("/v1/events").await.expect(200);
    assert_eq!(events["data"][0]["type"], "custom.order.placed");
}
