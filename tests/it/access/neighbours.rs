//! The examples of docs/integrating.md: how other services of the CRM use this one.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Client, Receiver, Reply, Stack};

use super::with;
use crate::SOON;

/// The examples of a body in the document, in their order.
fn examples() -> Vec<Value> {
    let text = include_str!("../../../docs/integrating.md");
    let blocks = text.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.map(|block| serde_json::from_str(block).expect("JSON")).collect()
}

/// Communication Notifications.
#[tokio::test]
async fn the_operators_endpoint_gets_the_alerts_of_all_tenants() {
    let stack = Stack::deploy("cw-neighbours").await;
    let notifications = Receiver::start().await;
    let mut body = examples().remove(0);
    body["url"] = json!(notifications.url());
    stack.operator().post("/v1/endpoints", &body).await.expect(201);
    let tenant = stack.tenant().await;
    let gone = Receiver::responding(|_| Reply::status(410)).await;
    tenant.endpoint(&gone.url()).create().await;
    tenant.post("/v1/events", &super::event()).await.expect(202);
    let alert = notifications.wait_for(1, SOON).await.remove(0);
    let event: Value = serde_json::from_slice(&alert.body).unwrap();
    assert_eq!(event["type"], "endpoint.disabled");
    assert!(event["data"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{event}");
    assert_eq!(alert.header("core-webhooks-tenant"), tenant.tenant_id());
}

/// Security Auth RBAC.
#[tokio::test]
async fn a_role_of_the_crm_is_a_role_of_a_session_or_a_key() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let [_, session, key, _] = examples().try_into().expect("four examples");
    let named = [("tenant", tenant.tenant_id()), ("content-type", "application/json")];
    let response = stack
        .operator()
        .send(Method::POST, "/v1/portal-sessions", &named, Some(session.to_string().into_bytes()))
        .await;
    let session = response.expect(201);
    let portal = exchange(&tenant, &session).await;
    portal.get("/v1/endpoints").await.expect(200);
    portal.get("/v1/audit").await.expect_problem(403, "forbidden");
    let listed = tenant.get("/v1/portal-sessions").await.expect(200);
    assert_eq!(listed["data"][0]["user_id"], "u_42");
    // A service.
    let key = super::new_key(&tenant, key).await;
    let service = with(&tenant, &key);
    service.post("/v1/events", &super::event()).await.expect(202);
    service.get("/v1/events").await.expect_problem(403, "forbidden");
}

async fn exchange(tenant: &Client, session: &Value) -> Client {
    let body = json!({ "code": session["code"] });
    let token = tenant.with_key(None).post("/v1/portal-sessions/exchange", &body).await.expect(200);
    tenant.with_key(Some(token["token"].as_str().unwrap().to_owned()))
}

/// Security Audit Logging.
#[tokio::test]
async fn a_job_reads_the_trail_to_its_end_and_continues_there() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    for number in 0..5 {
        super::new_key(&tenant, json!({ "name": format!("key {number}") })).await;
    }
    let read = async |from: u64| {
        let mut lines = Vec::new();
        let mut path = format!("/v1/audit/export?from={from}&limit=2");
        loop {
            let response = tenant.get(&path).await;
            assert_eq!(response.status, 200, "{}", response.text);
            lines.extend(response.text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
            match response.header("next-cursor") {
                "" => return lines,
                cursor => path = format!("/v1/audit/export?cursor={cursor}&limit=2"),
            }
        }
    };
    let first = read(1).await;
    let numbers: Vec<_> = first.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=7).collect::<Vec<_>>(), "the tenant, its first key, and five");
    super::new_key(&tenant, json!({ "name": "one more" })).await;
    let next = read(8).await;
    assert_eq!(next.iter().map(|line| line["action"].clone()).collect::<Vec<_>>(), ["key.created"]);
    assert_eq!(next[0]["prev_hash"], first[6]["hash"], "one chain");
}

/// Frontend State.
#[tokio::test]
async fn a_page_is_sent_what_has_changed() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let session = tenant.post("/v1/portal-sessions", &json!({ "role": "developer" })).await.expect(201);
    let portal = exchange(&tenant, &session).await;
    let first = portal.get("/v1/overview?hours=24").await;
    let tag = first.header("etag").to_owned();
    assert!(first.status == 200 && tag.starts_with('"'), "{}", first.json);
    let polled = [("if-none-match", tag.as_str())];
    let same = portal.send(Method::GET, "/v1/overview?hours=24", &polled, None).await;
    assert_eq!((same.status, same.text.as_str()), (304, ""));
    portal
        .post("/v1/endpoints", &json!({ "url": "https://example.com/w", "event_types": ["*"] }))
        .await
        .expect(201);
    let changed = portal.send(Method::GET, "/v1/overview?hours=24", &polled, None).await;
    assert_eq!((changed.status, &changed.json["endpoints"]["total"]), (200, &json!(1)));
}
