//! The log of inbound requests: what is kept of them, the events that each brought, and reading them again.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{
    ApiResponse, Client, Receiver, Stack,
    client::{EventView, EventWithDataView, InboundRequestView, ReplayedRequestView, SourceView},
    eventually,
};

use crate::{CACHE_AGE, SOON};

/// The token of the sources of these tests.
pub(crate) const TOKEN: &str = "a-token-of-these-tests";

/// A table by which a sender shows a token in a header, and whose type is at this place of the body.
fn token_table(event_type: &str) -> Value {
    json!({
        "scheme": { "methods": [{ "signature": { "from": "header:x-hook-token" }, "algorithm": "token" }] },
        "events": {
            "items": ["json:/items/*"],
            "event_type": [format!("item:{event_type}")],
            "dedupe": [["item:/id"]],
        },
    })
}

/// A custom source with such a table.
pub(crate) async fn token_source(tenant: &Client, event_type: &str) -> SourceView {
    let body = json!({ "provider": "custom", "secrets": [TOKEN], "table": token_table(event_type) });
    tenant.post("/v1/sources", &body).await.read(201)
}

pub(crate) async fn send_with(tenant: &Client, source: &SourceView, token: &str, body: &str) -> ApiResponse {
    let path = format!("/in/{}/{}?b=2&token=in-the-query", source.provider, source.id);
    let headers = [("content-type", "application/json"), ("x-hook-token", token), ("x-region", "west")];
    tenant.with_key(None).send(Method::POST, &path, &headers, Some(body.as_bytes().to_vec())).await
}

/// Sends a request with one item that the source accepts; returns its id in the log.
pub(crate) async fn send(tenant: &Client, source: &SourceView, item: &Value) -> String {
    let response = send_with(tenant, source, TOKEN, &json!({ "items": [item] }).to_string()).await;
    let response = response.expect(200);
    response["inbound_request_id"].as_str().expect("the id of the request").to_owned()
}

#[tokio::test]
async fn the_log_shows_the_outcome_of_each_request_and_no_secret() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let source = token_source(&tenant, "/type").await;
    let other = token_source(&tenant, "/type").await;
    let accepted = send(&tenant, &source, &json!({ "id": "1", "type": "made" })).await;
    send_with(&tenant, &source, TOKEN, r#"{"items":[]}"#).await.expect(200);
    send_with(&tenant, &source, TOKEN, r#"{"items":[{"id":"2"}]}"#).await.expect(400);
    send_with(&tenant, &source, "another-token-of-these", r#"{"items":[]}"#).await.expect(401);
    let elsewhere = send(&tenant, &other, &json!({ "id": "1", "type": "made" })).await;

    let all: Vec<InboundRequestView> = tenant.list("/v1/inbound", 2).await;
    let statuses: Vec<_> = all.iter().map(|request| request.status.as_str()).collect();
    assert_eq!(statuses, ["accepted", "refused", "malformed", "ignored", "accepted"], "newest first");
    assert_eq!((&all[0].id, &all[4].id), (&elsewhere, &accepted));
    assert_eq!(all[1].reason.as_deref(), Some("wrong-signature"));
    assert!(all[2].reason.as_ref().is_some_and(|reason| reason.contains("type")), "{:?}", all[2].reason);
    assert_eq!((all[2].malformed_item_count, &all[2].malformed_items[0]["index"]), (1, &json!(0)));
    for (query, expected) in [
        (format!("source_id={}", source.id), 4),
        (format!("source_id={}", other.id), 1),
        ("status=accepted".to_owned(), 2),
        (format!("source_id={}&status=refused", source.id), 1),
        ("source_id=src_01kavg7r8e6mt4xw2z5v9b3csq".to_owned(), 0),
    ] {
        let found: Vec<InboundRequestView> = tenant.list(&format!("/v1/inbound?{query}"), 250).await;
        assert_eq!(found.len(), expected, "{query}");
    }

    let kept = tenant.get(&format!("/v1/inbound/{accepted}")).await.expect(200);
    assert_eq!(kept["body"], r#"{"items":[{"id":"1","type":"made"}]}"#);
    assert_eq!((&kept["body_base64"], &kept["source_id"]), (&Value::Null, &json!(source.id)));
    assert_eq!((&kept["query"], &kept["method"]), (&json!("b=2&token=[redacted]"), &json!("POST")));
    assert_eq!(kept["headers"]["x-region"], "west");
    assert_eq!(kept["headers"]["x-hook-token"], "[redacted]");
    assert_eq!(kept["secret_index"], 0);
    // Of a refused one the body is not kept.
    let refused = tenant.get(&format!("/v1/inbound/{}", all[1].id)).await.expect(200);
    assert_eq!((&refused["body"], &refused["body_base64"]), (&Value::Null, &Value::Null));
    for secret in [TOKEN, "another-token-of-these", "in-the-query"] {
        assert!(!kept.to_string().contains(secret) && !refused.to_string().contains(secret));
    }
    for (query, parameter) in [
        ("status=lost", "status"),
        ("source_id=ept_1", "source_id"),
        ("cursor=evt_1", "cursor"),
        ("limit=0", "limit"),
    ] {
        tenant.get(&format!("/v1/inbound?{query}")).await.expect_invalid_parameter(parameter);
    }
}

#[tokio::test]
async fn a_body_that_is_no_text_is_shown_in_base64() {
    let tenant = Stack::shared().tenant().await;
    let source = token_source(&tenant, "/type").await;
    let path = format!("/in/custom/{}", source.id);
    let headers = [("x-hook-token", TOKEN)];
    let sent = tenant.with_key(None).send(Method::POST, &path, &headers, Some(vec![0xff, 0xfe])).await;
    sent.expect(400);
    let all: Vec<InboundRequestView> = tenant.list("/v1/inbound", 250).await;
    let kept = tenant.get(&format!("/v1/inbound/{}", all[0].id)).await.expect(200);
    assert_eq!((&kept["body"], &kept["body_base64"]), (&Value::Null, &json!("//4=")));
}

#[tokio::test]
async fn an_event_names_the_request_that_it_came_with() {
    let tenant = Stack::shared().tenant().await;
    let source = token_source(&tenant, "/type").await;
    let request = send(&tenant, &source, &json!({ "id": "1", "type": "made" })).await;
    let kept = tenant.get(&format!("/v1/inbound/{request}")).await.expect(200);
    let event = kept["events"][0]["id"].as_str().unwrap();
    let read: EventWithDataView = tenant.read(&format!("/v1/events/{event}")).await;
    assert_eq!((read.source_id, read.inbound_request_id), (Some(source.id), Some(request.clone())));
    assert_eq!((read.r#type.as_str(), read.data), ("custom.made", json!({ "id": "1", "type": "made" })));

    let path = format!("/v1/events/{event}?expand=inbound");
    let expanded = tenant.get(&path).await.expect(200);
    assert_eq!(expanded["inbound_request"]["id"], json!(request));
    assert!(expanded["inbound_request"].get("body").is_none() && expanded.get("deliveries").is_none());
    let both = tenant.get(&format!("/v1/events/{event}?expand=deliveries,inbound")).await.expect(200);
    assert_eq!((&both["deliveries"], &both["inbound_request"]["id"]), (&json!([]), &json!(request)));
    tenant.get(&format!("/v1/events/{event}?expand=nothing")).await.expect_invalid_parameter("expand");
    // The request is shown to keys that may read the log.
    let narrow = tenant.with_scopes(&["events:read"]).await;
    narrow.get(&format!("/v1/events/{event}")).await.expect(200);
    narrow.get(&path).await.expect_problem(403, "forbidden");
    // An event that was published has no request.
    let own = tenant.publish("contact.created", &json!({}), "own").await;
    let own = tenant.get(&format!("/v1/events/{own}?expand=inbound")).await.expect(200);
    assert_eq!((&own["inbound_request_id"], &own["inbound_request"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn after_its_table_is_corrected_a_request_is_read_again() {
    let tenant = Stack::shared().tenant().await;
    let receiver = Receiver::start().await;
    tenant.endpoint(&receiver.url()).event_types(&["custom.*"]).create().await;
    // The type is elsewhere.
    let source = token_source(&tenant, "/kind").await;
    let body = json!({ "items": [
        { "id": "1", "type": "made", "kind": "early" }, { "id": "2", "type": "made" }, { "type": "lost" },
    ] });
    let sent = send_with(&tenant, &source, TOKEN, &body.to_string()).await.expect(200);
    let path = format!("/v1/inbound/{}/replay", sent["inbound_request_id"].as_str().unwrap());
    let replay = async |force: bool| -> ReplayedRequestView {
        tenant.post(&path, &json!({ "force": force })).await.read(200)
    };
    // Nothing has changed yet, so nothing is new.
    let same = replay(false).await;
    assert_eq!(same.data.iter().map(|event| event.new).collect::<Vec<_>>(), [false]);
    assert_eq!(same.malformed_items.len(), 2);

    let source_path = format!("/v1/sources/{}", source.id);
    tenant.patch(&source_path, &json!({ "table": token_table("/type") })).await.expect(200);
    let corrected = replay(false).await;
    let types: Vec<_> = corrected.data.iter().map(|event| (event.r#type.as_str(), event.new)).collect();
    // The first one keeps what it was.
    assert_eq!(types, [("custom.early", false), ("custom.made", true)]);
    assert_eq!(corrected.malformed_items[0]["index"], 2);
    assert_eq!(replay(false).await.data.iter().filter(|event| event.new).count(), 0);

    let forced = replay(true).await;
    assert!(forced.data.iter().all(|event| event.new) && forced.data.len() == 2);
    assert!(forced.data.iter().all(|event| corrected.data.iter().all(|before| before.id != event.id)));
    assert_eq!(receiver.wait_for(4, SOON).await.len(), 4);
    let kept: Value = tenant.get(path.strip_suffix("/replay").unwrap()).await.expect(200);
    assert_eq!(kept["events"].as_array().unwrap().len(), 4, "one at first, one corrected, two forced");
    // Every event names the request, the forced ones too.
    let event: EventWithDataView = tenant.read(&format!("/v1/events/{}", forced.data[0].id)).await;
    assert_eq!(event.inbound_request_id.as_deref(), kept["id"].as_str());
    let trail = tenant.get("/v1/audit").await.expect(200);
    assert_eq!(trail["data"][0]["action"], "inbound.replayed");
    assert_eq!(trail["data"][0]["after"]["force"], true);
    eventually("the events in the list", SOON, || async {
        let events: Vec<EventView> = tenant.list("/v1/events", 250).await;
        (events.len() == 4).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_normalised_event_is_replayed_beside_its_own() {
    let tenant = Stack::shared().tenant().await;
    let mut table = token_table("/type");
    table["events"]["normal"] = json!([{
        "kind": "item:/type",
        "types": { "bounce": "email.bounced" },
        "fields": { "email": "item:/email" },
    }]);
    let body = json!({ "provider": "custom", "secrets": [TOKEN], "table": token_table("/type") });
    let source: SourceView = tenant.post("/v1/sources", &body).await.read(201);
    let item = json!({ "id": "1", "type": "bounce", "email": "ada@example.com" });
    let request = send(&tenant, &source, &item).await;
    tenant.patch(&format!("/v1/sources/{}", source.id), &json!({ "table": table })).await.expect(200);
    let replayed = tenant.post(&format!("/v1/inbound/{request}/replay"), &json!({})).await;
    let replayed: ReplayedRequestView = replayed.read(200);
    let events: Vec<_> = replayed.data.iter().map(|event| (event.r#type.as_str(), event.new)).collect();
    assert_eq!(events, [("custom.bounce", false), ("email.bounced", true)]);
    let normal = tenant.get(&format!("/v1/events/{}", replayed.data[1].id)).await.expect(200);
    assert_eq!(normal["data"]["email"], "ada@example.com");
}

#[tokio::test]
async fn what_was_refused_or_whose_source_is_gone_cannot_be_replayed() {
    let tenant = Stack::shared().tenant().await;
    let source = token_source(&tenant, "/type").await;
    let accepted = send(&tenant, &source, &json!({ "id": "1", "type": "made" })).await;
    send_with(&tenant, &source, "another-token-of-these", "{}").await.expect(401);
    let refused: Vec<InboundRequestView> = tenant.list("/v1/inbound?status=refused", 250).await;
    let replay = |id: &str| format!("/v1/inbound/{id}/replay");
    tenant.post(&replay(&refused[0].id), &json!({})).await.expect_problem(409, "not-replayable");
    tenant.delete(&format!("/v1/sources/{}", source.id)).await.expect(204);
    tenant.post(&replay(&accepted), &json!({})).await.expect_problem(409, "not-replayable");
    // The log outlives its source.
    tenant.get(&format!("/v1/inbound/{accepted}")).await.expect(200);
    for id in ["inb_01kavg7r8e6mt4xw2z5v9b3csq", "nonsense"] {
        tenant.post(&replay(id), &json!({})).await.expect_problem(404, "not-found");
    }
    // The URL is unknown once the cached row has expired.
    tokio::time::sleep(CACHE_AGE).await;
    send_with(&tenant, &source, TOKEN, r#"{"items":[]}"#).await.expect(401);
}

#[tokio::test]
async fn another_tenants_requests_are_not_found() {
    let stack = Stack::shared();
    let (owner, stranger) = (stack.tenant().await, stack.tenant().await);
    let source = token_source(&owner, "/type").await;
    let request = send(&owner, &source, &json!({ "id": "1", "type": "made" })).await;
    let path = format!("/v1/inbound/{request}");
    owner.get(&path).await.expect(200);
    let theirs = stranger.get(&path).await;
    theirs.expect_problem(404, "not-found");
    let unknown = stranger.get("/v1/inbound/inb_01kavg7r8e6mt4xw2z5v9b3csq").await;
    assert_eq!(theirs.json["detail"], unknown.json["detail"]);
    let replay = stranger.post(&format!("{path}/replay"), &json!({ "force": true })).await;
    replay.expect_problem(404, "not-found");
    let listed: Vec<InboundRequestView> =
        stranger.list(&format!("/v1/inbound?source_id={}", source.id), 250).await;
    assert_eq!(listed, []);
}
