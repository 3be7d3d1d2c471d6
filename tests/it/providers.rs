//! Every provider at the deployed functions: what its own library signs becomes events, and what it expects as a response
//! is what it gets.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use domain::inbound::{Provider, presets};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{
    ApiResponse, Client, Receiver, Reply, Stack, eventually,
    foreign::{self, SignedRequest},
    proxy::{Fault, Rule},
    stack::text,
};

use crate::SOON;

/// Those that are signed alone, because what they sign expires, or is verified with keys that are fetched.
const ALONE: [&str; 3] = ["apple_sign_in", "google_risc", "paddle"];

/// Those that sign with keys that they publish, and that a deployment of its own fetches from us.
const WITH_PUBLISHED_KEYS: [&str; 2] = ["apple_sign_in", "google_risc"];

/// A new source: its id and its URL.
pub(crate) async fn source(tenant: &Client, body: &Value) -> (String, String) {
    let source = tenant.post("/v1/sources", body).await.expect(201);
    (text(&source, "id"), text(&source, "url"))
}

/// Sends a request as a provider does.
pub(crate) async fn send(
    tenant: &Client,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Vec<u8>>,
) -> ApiResponse {
    tenant.with_key(None).send(method, path, headers, Some(body.into())).await
}

async fn send_signed(tenant: &Client, source: &str, request: &SignedRequest) -> ApiResponse {
    let behind = request.path.as_ref().map_or_else(String::new, |path| format!("/{path}"));
    let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
    let path = format!("/in/{}/{source}{behind}{query}", request.preset);
    let headers: Vec<_> =
        request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    send(tenant, request.method.parse().expect("a method"), &path, &headers, request.body.clone()).await
}

/// Sets all secrets of the requests at their sources, sends each, and expects what its provider does.
async fn accept(tenant: &Client, sources: &BTreeMap<String, String>, requests: &[SignedRequest]) {
    for (preset, source) in sources {
        let of_source = requests.iter().filter(|request| request.preset == *preset);
        let mut secrets: Vec<_> = of_source.flat_map(|request| request.secrets.clone()).collect();
        secrets.dedup();
        assert!(!secrets.is_empty(), "{preset} has no signer");
        let path = format!("/v1/sources/{source}/secrets");
        tenant.post(&path, &json!({ "secrets": secrets })).await.expect(200);
    }
    for request in requests {
        let source = &sources[&request.preset];
        // Secrets that were set a moment ago are read again after a second.
        let response = eventually("the secrets to be known", SOON, || async {
            let response = send_signed(tenant, source, request).await;
            (response.status != 401).then_some(response)
        })
        .await;
        let expected = &presets::get(&request.preset).expect("a preset").table.responses.accepted;
        let case = format!("{} {}: {}", request.preset, request.case, response.text);
        assert_eq!(response.status, expected.status, "{case}");
        if let Some(body) = &expected.body {
            assert_eq!(response.text, *body, "{case}");
        }
        let log = tenant.get(&format!("/v1/inbound?source_id={source}&status=accepted")).await.expect(200);
        let events = log["data"][0]["events"].as_array().expect("events");
        assert!(!events.is_empty(), "{case}");
        let first = tenant.get(&format!("/v1/events/{}", text(&events[0], "id"))).await.expect(200);
        assert_eq!(
            (first["source_id"].as_str(), &first["type"]),
            (Some(source.as_str()), &events[0]["type"])
        );
        // Some signers send the same event in several ways.
        let is_first = events[0]["new"] == true;
        assert_eq!(first["inbound_request_id"] == log["data"][0]["id"], is_first, "{case}");
    }
}

#[tokio::test]
async fn what_every_providers_library_signs_becomes_events() {
    let tenant = Stack::shared().tenant().await;
    let mut urls = BTreeMap::new();
    let mut sources = BTreeMap::new();
    for provider in presets::names().filter(|name| !WITH_PUBLISHED_KEYS.contains(name)) {
        let (id, url) = source(&tenant, &json!({ "provider": provider })).await;
        assert!(url.ends_with(&format!("/in/{provider}/{id}")), "{url}");
        urls.insert(provider, url);
        sources.insert(provider.to_owned(), id);
    }
    let (alone, together): (BTreeMap<_, _>, BTreeMap<_, _>) =
        sources.into_iter().partition(|(provider, _)| ALONE.contains(&provider.as_str()));
    for sources in [together, alone] {
        let to_sign: Vec<_> =
            sources.keys().map(|name| (name.as_str(), urls[name.as_str()].as_str())).collect();
        accept(&tenant, &sources, &foreign::signed_requests(&to_sign).await).await;
    }
}

/// Apple signs with keys that it publishes, and changes them.
#[tokio::test]
async fn apples_keys_are_fetched_and_rotated_ones_are_fetched_again() {
    let published: Arc<Mutex<Value>> = Arc::new(Mutex::new(json!({ "keys": [] })));
    let served = Arc::clone(&published);
    let apple = Receiver::responding(move |_| {
        let body = served.lock().expect("a lock").to_string().into();
        Reply { body, ..Reply::status(200) }
    })
    .await;
    let stack = Stack::deploy_with("cw-apple", &[("PublishedKeysUrl", &apple.url())]).await;
    let tenant = stack.tenant().await;
    let (id, url) = source(&tenant, &json!({ "provider": "apple_sign_in" })).await;
    let sources = BTreeMap::from([("apple_sign_in".to_owned(), id.clone())]);
    let first = foreign::signed_requests(&[("apple_sign_in", &url)]).await;
    *published.lock().expect("a lock") = first[0].published_keys.clone().expect("keys");
    accept(&tenant, &sources, &first).await;
    let fetched = apple.count();
    assert_eq!(fetched, 1, "the keys are kept");

    // Another key: refused while it is not published, and a flood of such requests fetches the keys once in ten seconds.
    let second = foreign::signed_requests(&[("apple_sign_in", &url)]).await;
    let secrets: Vec<_> = [&first, &second].iter().flat_map(|requests| requests[0].secrets.clone()).collect();
    tenant.post(&format!("/v1/sources/{id}/secrets"), &json!({ "secrets": secrets })).await.expect(200);
    for _ in 0..10 {
        let response = send_signed(&tenant, &id, &second[0]).await;
        response.expect_problem(401, "wrong-signature");
    }
    assert!(apple.count() <= fetched + 1, "{}", apple.count());
    *published.lock().expect("a lock") = second[0].published_keys.clone().expect("keys");
    eventually("the new key to be fetched", Duration::from_secs(20), || async {
        (send_signed(&tenant, &id, &second[0]).await.status == 200).then_some(())
    })
    .await;
}

/// Google's security events have no JSON document as a body, and get the response of RFC 8935.
#[tokio::test]
async fn googles_security_events_are_a_jws_as_a_whole() {
    let published: Arc<Mutex<Value>> = Arc::new(Mutex::new(json!({ "keys": [] })));
    let served = Arc::clone(&published);
    let google = Receiver::responding(move |_| {
        let body = served.lock().expect("a lock").to_string().into();
        Reply { body, ..Reply::status(200) }
    })
    .await;
    let stack = Stack::deploy_with("cw-risc", &[("PublishedKeysUrl", &google.url())]).await;
    let tenant = stack.tenant().await;
    let (id, url) = source(&tenant, &json!({ "provider": "google_risc" })).await;
    let signed = foreign::signed_requests(&[("google_risc", &url)]).await;
    *published.lock().expect("a lock") = signed[0].published_keys.clone().expect("keys");
    let path = format!("/v1/sources/{id}/secrets");
    tenant.post(&path, &json!({ "secrets": signed[0].secrets })).await.expect(200);
    let accepted = eventually("the secrets to be known", SOON, || async {
        let response = send_signed(&tenant, &id, &signed[0]).await;
        (response.status != 400).then_some(response)
    })
    .await;
    assert_eq!((accepted.status, accepted.text.as_str()), (202, ""));
    let mut forged = signed[0].clone();
    let last = forged.body.len() - 10;
    forged.body[last] = if forged.body[last] == b'A' { b'B' } else { b'A' };
    let refused = send_signed(&tenant, &id, &forged).await;
    assert_eq!((refused.status, &refused.json["err"]), (400, &json!("authentication_failed")));
}

/// Brevo discards an event after any 5xx, and after any 4xx but 429 (case 29).
#[tokio::test]
async fn brevo_gets_429_for_what_is_our_fault() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let secret = "brevo_test_token_0123456789";
    let (id, _) = source(&tenant, &json!({ "provider": "brevo", "secrets": [secret] })).await;
    let path = format!("/in/brevo/{id}");
    let bearer = format!("Bearer {secret}");
    let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
    let event = |link: &str| json!({"event": "click", "email": "a@example.com", "message-id": "<1>", "ts_epoch": 1_795_464_000_000_i64, "link": link});
    // Two events, its own and the normalised one, are stored by one call, which is repeated a few times.
    let hits = stack.rule(&Rule::new("BatchExecuteStatement", &[tenant.tenant_id()], Fault::Cut, 12)).await;
    let response = send(&tenant, Method::POST, &path, &headers, event("https://a.example").to_string()).await;
    assert_eq!((response.status, response.header("retry-after")), (429, "600"), "{}", response.text);
    assert!(hits.count().await > 0);
    let wrong = [("content-type", "application/json"), ("authorization", "Bearer another_token_0123456789")];
    send(&tenant, Method::POST, &path, &wrong, event("https://a.example").to_string()).await.expect(401);

    // Two clicks on two links within a second are two events, and a repeat is none (case 30).
    let mut ids = std::collections::BTreeSet::new();
    for link in ["https://a.example", "https://b.example", "https://a.example"] {
        let sent = eventually("the table to be back", SOON, || async {
            let sent = send(&tenant, Method::POST, &path, &headers, event(link).to_string()).await;
            (sent.status == 200).then_some(sent.json)
        })
        .await;
        ids.extend(sent["event_ids"].as_array().expect("ids").iter().map(ToString::to_string));
    }
    assert_eq!(ids.len(), 4, "two clicks, and the same in the form that all providers share");
}

#[tokio::test]
async fn a_batch_of_five_hundred_keeps_all_but_the_malformed_item() {
    let tenant = Stack::shared().tenant().await;
    let secret = "brevo_test_token_0123456789";
    let (id, _) = source(&tenant, &json!({ "provider": "brevo", "secrets": [secret] })).await;
    let items: Vec<_> = (0..500)
        .map(|number| {
            let event = if number == 250 { json!({"not": "a type"}) } else { json!("request") };
            json!({"event": event, "email": "a@example.com", "message-id": format!("<{number}>"), "ts_epoch": 1_795_464_000_000_i64})
        })
        .collect();
    let bearer = format!("Bearer {secret}");
    let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
    let path = format!("/in/brevo/{id}");
    let sent = send(&tenant, Method::POST, &path, &headers, json!(items).to_string()).await.expect(200);
    assert_eq!(sent["event_ids"].as_array().expect("ids").len(), 499);
    let request = tenant.get(&format!("/v1/inbound/{}", text(&sent, "inbound_request_id"))).await.expect(200);
    assert_eq!(request["malformed_item_count"], 1);
    assert_eq!(request["malformed_items"][0]["index"], 250);
    // The provider got no response, and sends it again: the same events, and in no more time.
    let again = send(&tenant, Method::POST, &path, &headers, json!(items).to_string()).await.expect(200);
    assert_eq!(again["event_ids"], sent["event_ids"]);
    // An event that is twice in a batch is one.
    let twice = json!([items[0], items[1], items[0]]).to_string();
    let twice = send(&tenant, Method::POST, &path, &headers, twice).await.expect(200);
    assert_eq!(twice["event_ids"].as_array().expect("ids").len(), 2);
}

/// Two providers report a bounce, and one endpoint reads both alike.
#[tokio::test]
async fn normalised_events_have_one_shape() {
    let tenant = Stack::shared().tenant().await;
    let receiver = Receiver::start().await;
    tenant.endpoint(&receiver.url()).event_types(&["email.bounced"]).create().await;
    let secret = "user:a_test_password_of_ours";
    let basic = "Basic dXNlcjphX3Rlc3RfcGFzc3dvcmRfb2Zfb3Vycw==";
    let headers = [("content-type", "application/json"), ("authorization", basic)];
    for (provider, body) in [
        (
            "brevo",
            json!({"event": "hard_bounce", "email": "a@example.com", "message-id": "<7>", "ts_epoch": 1_795_464_000_000_i64, "reason": "no such user"}),
        ),
        (
            "postmark",
            json!({"RecordType": "Bounce", "Email": "a@example.com", "MessageID": "7", "BouncedAt": "2026-11-23T20:00:00Z", "Type": "HardBounce", "Description": "no such user"}),
        ),
    ] {
        let (id, _) = source(&tenant, &json!({ "provider": provider, "secrets": [secret] })).await;
        let path = format!("/in/{provider}/{id}");
        let sent = send(&tenant, Method::POST, &path, &headers, body.to_string()).await.expect(200);
        assert_eq!(sent["event_ids"].as_array().expect("ids").len(), 2, "{provider}: {sent}");
    }
    let received = receiver.wait_for(2, SOON).await;
    let mut shapes = std::collections::BTreeSet::new();
    for request in &received {
        let body = request.json();
        assert_eq!(
            (&body["type"], &body["data"]["email"]),
            (&json!("email.bounced"), &json!("a@example.com"))
        );
        shapes.insert(body["data"].as_object().expect("an object").keys().cloned().collect::<Vec<_>>());
    }
    assert_eq!(shapes.len(), 1, "{shapes:?}");
    // The catalog has the shape, unless the operator replaces it.
    let listed = tenant.get("/v1/event-types/email.bounced").await.expect(200);
    let required: std::collections::BTreeSet<_> = listed["schema"]["required"]
        .as_array()
        .expect("names")
        .iter()
        .map(|name| text(&json!({ "n": name }), "n"))
        .collect();
    assert_eq!(required, shapes.pop_first().expect("a shape").into_iter().collect());
}

/// The functions that the template deploys are those that the providers name.
#[test]
fn every_provider_has_its_function_and_route() {
    let root = testkit::stack::root();
    let template = std::fs::read_to_string(root.join("template.yaml")).expect("a template");
    let pages = ["docs/providers.md", "docs/custom-sources.md"]
        .map(|page| std::fs::read_to_string(root.join(page)).expect("a page"))
        .concat();
    for provider in Provider::all() {
        let title = provider.preset().map_or("Custom sources", |preset| preset.title.as_str());
        assert!(pages.contains(&format!("# {title}")), "docs/providers.md has no section {title}");
        let function = provider.function();
        let main = root.join(format!("functions/inbound/src/bin/{function}.rs"));
        assert!(main.exists(), "{} is missing", main.display());
        assert!(
            template.contains(&format!("Binary: {function} }}")),
            "template.yaml has no function {function}"
        );
        let path = match function {
            "inbound-custom" => "/in/{provider}/{source_id}".to_owned(),
            _ => format!("/in/{provider}/{{source_id}}"),
        };
        assert!(template.contains(&format!("Path: \"{path}\"")), "template.yaml has no route for {provider}");
    }
}
