//! Portal sessions.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Client, Stack, eventually};

use super::{actions, event, new_key, with};
use crate::SOON;

const SESSIONS: &str = "/v1/portal-sessions";
const EXCHANGE: &str = "/v1/portal-sessions/exchange";
const RENEW: &str = "/v1/portal-sessions/renew";
const CRM: &str = "https://crm.example.com";

async fn create(tenant: &Client, body: Value) -> Value {
    tenant.post(SESSIONS, &body).await.expect(201)
}

/// A client with the token that a session's code is exchanged for.
async fn open(tenant: &Client, session: &Value) -> Client {
    let body = json!({ "code": session["code"] });
    let token = tenant.with_key(None).post(EXCHANGE, &body).await.expect(200);
    tenant.with_key(Some(token["token"].as_str().unwrap().to_owned()))
}

/// A session shares the rate of the key that created it; other sessions have the tenant's alone.
#[tokio::test]
async fn a_session_has_the_rate_of_its_key() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let body = json!({ "name": "back end", "role": "admin", "requests_per_second": 5, "request_burst": 10 });
    let key = new_key(&tenant, body).await;
    let body = json!({ "scopes": ["events:read"] });
    for (creator, expected) in [(&with(&tenant, &key), true), (&tenant, false)] {
        let portal = open(&tenant, &create(creator, body.clone()).await).await;
        let response = portal.get("/v1/events").await;
        let policy = response.header("ratelimit-policy").to_owned();
        assert_eq!(policy.contains("\"key-requests\";q=10;w=2"), expected, "{policy}");
        // Also by the token after it.
        let renewed = portal.post(RENEW, &json!({})).await.expect(200);
        let renewed = tenant.with_key(Some(renewed["token"].as_str().unwrap().to_owned()));
        let policy = renewed.get("/v1/events").await.header("ratelimit-policy").to_owned();
        assert_eq!(policy.contains("key-requests"), expected, "{policy}");
    }
}

#[tokio::test]
async fn a_code_works_once_and_its_token_as_far_as_its_scopes() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let session =
        create(&tenant, json!({ "scopes": ["events:read", "events:write"], "user_id": "u_42" })).await;
    let portal = open(&tenant, &session).await;
    let again = tenant.with_key(None).post(EXCHANGE, &json!({ "code": session["code"] })).await;
    again.expect_invalid_field("/code");
    portal.post("/v1/events", &event()).await.expect(202);
    portal.get("/v1/events").await.expect(200);
    portal.get("/v1/endpoints").await.expect_problem(403, "forbidden");
    let me = portal.get("/v1/me").await.expect(200);
    assert_eq!((&me["portal_session_id"], &me["key_id"]), (&session["id"], &Value::Null));
    assert_eq!(me["scopes"], json!(["events:write", "events:read"]));
    // Of its own tenant alone.
    let stranger = stack.tenant().await;
    let named = [("tenant", stranger.tenant_id())];
    portal.send(Method::GET, "/v1/events", &named, None).await.expect_problem(403, "forbidden");
    let listed = tenant.get(SESSIONS).await.expect(200);
    assert_eq!((&listed["data"][0]["id"], &listed["data"][0]["user_id"]), (&session["id"], &json!("u_42")));
    assert!(listed["data"][0]["opened_at"].is_string(), "{listed}");
    assert_eq!(actions(&tenant).await[..2], ["portal_session.opened", "portal_session.created"]);
    // Another tenant does not find it.
    let path = format!("{SESSIONS}/{}", session["id"].as_str().unwrap());
    stranger.delete(&path).await.expect_problem(404, "not-found");
    tenant.delete(&path).await.expect(204);
    eventually("the token to be refused", SOON, || async {
        (portal.get("/v1/events").await.status == 401).then_some(())
    })
    .await;
    portal.post(RENEW, &json!({})).await.expect_problem(401, "unauthorized");
}

/// Of concurrent exchanges of one code, one gets a token.
#[tokio::test]
async fn a_code_is_not_exchanged_twice_at_once() {
    let tenant = Stack::shared().tenant().await;
    let session = create(&tenant, json!({})).await;
    let body = json!({ "code": session["code"] });
    let mut tries = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (client, body) = (tenant.with_key(None), body.clone());
        tries.spawn(async move { client.post(EXCHANGE, &body).await.status });
    }
    let mut statuses = tries.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses, [&[200][..], &[422; 9]].concat());
}

/// A session ends with the key that has created it: who had the key could have opened it.
#[tokio::test]
async fn a_session_ends_with_its_key() {
    let tenant = Stack::shared().tenant().await;
    let end = "2099-01-01T00:00:00.000Z";
    let key = super::new_key(&tenant, json!({ "name": "leaked", "role": "admin", "expires_at": end })).await;
    let thief = super::with(&tenant, &key);
    let portal = open(&thief, &create(&thief, json!({ "scopes": ["events:read"] })).await).await;
    let other = open(&tenant, &create(&tenant, json!({})).await).await;
    portal.get("/v1/events").await.expect(200);
    tenant.delete(&format!("{}/{}", super::keys_of(&tenant), key["id"].as_str().unwrap())).await.expect(204);
    eventually("the session to end", SOON, || async {
        (portal.get("/v1/events").await.status == 401).then_some(())
    })
    .await;
    other.get("/v1/events").await.expect(200);
}

/// A page that renews all the time does not outrun the revocation.
#[tokio::test]
async fn a_revoked_session_stays_revoked_whatever_its_page_does() {
    let tenant = Stack::shared().tenant().await;
    for _ in 0..5 {
        let session = create(&tenant, json!({})).await;
        let mut token = open(&tenant, &session).await;
        let renewing = tokio::spawn(async move {
            loop {
                let renewed = token.post(RENEW, &json!({})).await;
                match renewed.status {
                    200 => token = token.with_key(Some(renewed.json["token"].as_str().unwrap().to_owned())),
                    409 => {}
                    _ => return token,
                }
            }
        });
        let path = format!("{SESSIONS}/{}", session["id"].as_str().unwrap());
        tenant.delete(&path).await.expect(204);
        let last = renewing.await.unwrap();
        eventually("the last token to be refused", SOON, || async {
            (last.get("/v1/events").await.status == 401).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_token_is_renewed_until_its_session_ends() {
    let (stack, clock) = Stack::deploy_with_clock("cw-portal").await;
    let tenant = stack.tenant().await;
    let session = create(&tenant, json!({ "expires_in": 1800 })).await;
    let first = open(&tenant, &session).await;
    first.get("/v1/events").await.expect(200);
    clock.ahead(Duration::from_mins(10));
    let renewed = first.post(RENEW, &json!({})).await.expect(200);
    let second = tenant.with_key(Some(renewed["token"].as_str().unwrap().to_owned()));
    second.get("/v1/events").await.expect(200);
    // The response could have been lost: the token before works for a minute more.
    first.get("/v1/events").await.expect(200);
    clock.ahead(Duration::from_secs(662));
    eventually("the token before to be refused", SOON, || async {
        (first.get("/v1/events").await.status == 401).then_some(())
    })
    .await;
    second.get("/v1/events").await.expect(200);
    // Not renewed in time.
    clock.ahead(Duration::from_mins(26));
    second.post(RENEW, &json!({})).await.expect_problem(401, "unauthorized");
    // A code that was not used in time.
    let late = create(&tenant, json!({})).await;
    clock.ahead(Duration::from_mins(32));
    tenant
        .with_key(None)
        .post(EXCHANGE, &json!({ "code": late["code"] }))
        .await
        .expect_invalid_field("/code");
    // A token ends with its session, however late it was made.
    let short = create(&tenant, json!({ "expires_in": 60 })).await;
    let short = open(&tenant, &short).await;
    short.get("/v1/events").await.expect(200);
    clock.ahead(Duration::from_mins(34));
    short.get("/v1/events").await.expect_problem(401, "unauthorized");
}

#[tokio::test]
async fn a_session_is_used_by_its_pages_only() {
    let tenant = Stack::shared().tenant().await;
    let session = create(&tenant, json!({ "origins": [CRM] })).await;
    let body = json!({ "code": session["code"] }).to_string().into_bytes();
    let anonymous = tenant.with_key(None);
    let evil = [("origin", "https://evil.example"), ("content-type", "application/json")];
    let response = anonymous.send(Method::POST, EXCHANGE, &evil, Some(body.clone())).await;
    response.expect_problem(403, "forbidden");
    // The code is used up: a page that got it by mistake gains nothing, and it is lost.
    let crm = [("origin", CRM), ("content-type", "application/json")];
    anonymous.send(Method::POST, EXCHANGE, &crm, Some(body)).await.expect_invalid_field("/code");
    let session = create(&tenant, json!({ "origins": [CRM] })).await;
    let portal = open(&tenant, &session).await;
    portal.send(Method::GET, "/v1/events", &[("origin", CRM)], None).await.expect(200);
    let response = portal.send(Method::GET, "/v1/events", &[("origin", "null")], None).await;
    response.expect_problem(403, "forbidden");
}

#[tokio::test]
async fn no_portal_may_do_more_than_its_creator_or_make_keys() {
    let tenant = Stack::shared().tenant().await;
    let narrow = tenant.with_scopes(&["portal:write", "events:read"]).await;
    for (client, body, status, pointer) in [
        (&tenant, json!({ "scopes": ["events:read", "keys:write"] }), 422, "/scopes/1"),
        (&tenant, json!({ "scopes": ["connections:token"] }), 422, "/scopes/0"),
        (&tenant, json!({ "scopes": [] }), 422, "/scopes"),
        (&tenant, json!({ "scopes": ["events:read"], "role": "viewer" }), 422, "/scopes"),
        (&tenant, json!({ "role": "king" }), 422, "/role"),
        (&tenant, json!({ "expires_in": 59 }), 422, "/expires_in"),
        (&tenant, json!({ "expires_in": 43_201 }), 422, "/expires_in"),
        (&tenant, json!({ "origins": ["*"] }), 422, "/origins/0"),
        (&tenant, json!({ "origins": [CRM, "https://crm.example.com/page"] }), 422, "/origins/1"),
        (&tenant, json!({ "origins": [""] }), 422, "/origins/0"),
        (&tenant, json!({ "user_id": "" }), 422, "/user_id"),
        (&tenant, json!({ "endpoint_ids": [] }), 422, "/endpoint_ids"),
        (&narrow, json!({ "scopes": ["events:write"] }), 403, "/scopes"),
        (&narrow, json!({ "role": "developer" }), 403, "/role"),
    ] {
        let response = client.post(SESSIONS, &body).await;
        assert_eq!((response.status, response.pointer()), (status, pointer), "{body}: {}", response.json);
    }
    let session = create(&tenant, json!({ "role": "owner" })).await;
    let portal = open(&tenant, &session).await;
    let keys = format!("/v1/tenants/{}/keys", tenant.tenant_id());
    portal.post(&keys, &json!({ "name": "mine" })).await.expect_problem(403, "forbidden");
    portal.post(SESSIONS, &json!({})).await.expect_problem(403, "forbidden");
    // A key is no token of a portal.
    tenant.post(RENEW, &json!({})).await.expect_problem(403, "forbidden");
    for code in ["", "cpl_", "cpl_0", "cps_0", "x"] {
        let response = tenant.with_key(None).post(EXCHANGE, &json!({ "code": code })).await;
        response.expect_invalid_field("/code");
    }
}
