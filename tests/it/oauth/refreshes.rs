//! Tokens that stay fresh: by one request, however many ask, and whatever the provider responds.

use serde_json::{Value, json};
use testkit::{eventually, foreign::oauth::Browser, stack::text};
use tokio::task::JoinSet;

use super::setup::{Crm, RETURN_URL};
use crate::SOON;

fn generation(token: &Value) -> u64 {
    token["generation"].as_u64().expect("a generation")
}

#[tokio::test]
async fn r1_fifty_callers_with_one_refused_token_make_one_refresh() {
    let crm = Crm::with_oidc("rotating").await;
    let connection = crm.connect("u_1", "ada").await;
    let first = crm.token(&connection, json!({})).await.expect(200);
    let body = json!({ "refused_generation": generation(&first) });
    let mut calls = JoinSet::new();
    for _ in 0..50 {
        let (tenant, path) =
            (crm.tenant.clone(), format!("/v1/connections/{}/token", text(&connection, "id")));
        let body = body.clone();
        calls.spawn(async move { tenant.post(&path, &body).await.expect(200) });
    }
    let tokens = calls.join_all().await;
    let generations: Vec<u64> = tokens.iter().map(generation).collect();
    assert_eq!(generations, vec![2; 50]);
    assert_eq!(crm.provider.token_requests("refresh_token").await.len(), 1);
    assert!(crm.is_accepted(&tokens[0]).await);
    // A late worker with the token of before gets the new one without a refresh.
    let late = crm.token(&connection, body).await.expect(200);
    assert_eq!(generation(&late), 2);
    // An API that refuses a token of a moment ago refuses it for another reason: providers count refreshes.
    let refused = crm.token(&connection, json!({ "refused_generation": 2 })).await;
    refused.expect_problem(429, "too-many-requests");
    assert!(refused.header("retry-after").parse::<u32>().is_ok_and(|secs| (1..=30).contains(&secs)));
    assert_eq!(crm.provider.token_requests("refresh_token").await.len(), 1);
}

#[tokio::test]
async fn r6_r7_a_fault_of_the_provider_is_failing_and_never_reauthorize() {
    for (order, code) in [
        (json!({ "fault": "html502", "times": 1 }), "idp_unavailable"),
        (
            json!({ "fault": "status", "status": 429, "headers": { "retry-after": "3" }, "body": "", "times": 1 }),
            "idp_rate_limited",
        ),
        (
            json!({ "fault": "json_error", "status": 401, "body": { "error": "invalid_client" }, "times": 1 }),
            "credentials_invalid",
        ),
        (
            json!({ "fault": "json_error", "status": 400, "body": { "error": "invalid_scope" }, "times": 1 }),
            "unknown_idp_error",
        ),
        (json!({ "fault": "empty", "status": 401, "times": 1 }), "idp_unavailable"),
    ] {
        let crm = Crm::with_oidc("rotating").await;
        let connection = crm.connect("u_1", "ada").await;
        crm.provider.control(order.clone()).await;
        let refused = crm.token(&connection, json!({ "refused_generation": 1 })).await;
        refused.expect_problem(503, "idp-unavailable");
        assert!(
            refused.header("retry-after").parse::<u32>().is_ok_and(|secs| (1..=30).contains(&secs)),
            "{order}"
        );
        let failing = crm.connection(&text(&connection, "id")).await;
        assert_eq!(text(&failing, "status"), "failing", "{order}");
        assert_eq!(text(&failing["last_error"], "code"), code, "{order}");
        // The present token is still handed out to who does not say that it was refused.
        let token = crm.token(&connection, json!({})).await.expect(200);
        assert_eq!(generation(&token), 1);
    }
}

#[tokio::test]
async fn r8_a_dead_grant_asks_for_the_person_and_a_reconnection_keeps_the_id() {
    let crm = Crm::with_oidc("rotating").await;
    let connection = crm.connect("u_1", "ada").await;
    crm.provider.control(json!({ "revoke": { "account": "ada" } })).await;
    let refused = crm.token(&connection, json!({ "refused_generation": 1 })).await;
    refused.expect_problem(409, "connection-reauthorize");
    let dead = crm.connection(&text(&connection, "id")).await;
    assert_eq!(
        (text(&dead, "status"), text(&dead["last_error"], "code")),
        ("reauthorize".into(), "grant_revoked".into())
    );
    assert!(!text(&dead["last_error"], "hint").is_empty());
    let again = crm.connect("u_1", "ada").await;
    assert_eq!(again["id"], connection["id"]);
    assert_eq!((text(&again, "status"), &again["last_error"]), ("active".into(), &Value::Null));
    let token = crm.token(&again, json!({})).await.expect(200);
    assert!(crm.is_accepted(&token).await);
}

#[tokio::test]
async fn r3_no_request_with_a_code_or_a_refresh_token_is_repeated_below_us() {
    let crm = Crm::with_oidc("rotating").await;
    // The connection breaks before the response or in the middle of it, after the provider has done its work.
    for fault in ["drop", "truncate"] {
        let before = crm.provider.token_requests("authorization_code").await.len();
        crm.provider.fault(fault, 1).await;
        let session = crm.session("u_1", json!({ "login_hint": "ada" })).await;
        let ended = crm.walk(&session, &mut Browser::stopping_at(RETURN_URL)).await;
        assert_eq!(ended.parameter("code"), "idp-unavailable", "{fault}: {ended:?}");
        let after = crm.provider.token_requests("authorization_code").await.len();
        assert_eq!(after, before + 1, "{fault}");
    }
    for fault in ["drop", "truncate"] {
        let crm = Crm::with_oidc("keeping").await;
        let connection = crm.connect("u_1", "ada").await;
        crm.provider.fault(fault, 1).await;
        let refused = crm.token(&connection, json!({ "refused_generation": 1 })).await;
        refused.expect_problem(503, "idp-unavailable");
        assert_eq!(crm.provider.token_requests("refresh_token").await.len(), 1, "{fault}");
    }
}

#[tokio::test]
async fn r2_a_lost_response_of_a_rotating_token_is_said_so() {
    let crm = Crm::with_oidc("rotating").await;
    let connection = crm.connect("u_1", "ada").await;
    crm.provider.fault("drop", 1).await;
    crm.token(&connection, json!({ "refused_generation": 1 })).await.expect_problem(503, "idp-unavailable");
    // Its retry follows within 15 s, by a refresher or by the next caller.
    let ended = eventually("the connection ends", SOON * 3, || async {
        let _ = crm.token(&connection, json!({ "refused_generation": 1 })).await;
        let read = crm.connection(&text(&connection, "id")).await;
        (text(&read, "status") == "reauthorize").then_some(read)
    })
    .await;
    assert_eq!(text(&ended["last_error"], "code"), "response_lost");
    // Twice and no more: the lost one, and one retry.
    assert_eq!(crm.provider.token_requests("refresh_token").await.len(), 2);
}

#[tokio::test]
async fn r2_a_provider_that_keeps_its_tokens_loses_nothing() {
    let crm = Crm::with_oidc("keeping").await;
    let connection = crm.connect("u_1", "ada").await;
    crm.provider.fault("drop", 1).await;
    crm.token(&connection, json!({ "refused_generation": 1 })).await.expect_problem(503, "idp-unavailable");
    let token = eventually("a token", SOON * 10, || async {
        let response = crm.token(&connection, json!({ "refused_generation": 1 })).await;
        (response.status == 200).then(|| response.expect(200))
    })
    .await;
    assert!(crm.is_accepted(&token).await);
    let healthy = crm.connection(&text(&connection, "id")).await;
    assert_eq!(text(&healthy, "status"), "active");
}

#[tokio::test]
async fn f26_a_deleted_connection_is_revoked_at_the_provider_and_hands_nothing_out() {
    let crm = Crm::with_oidc("rotating").await;
    let connection = crm.connect("u_1", "ada").await;
    let token = crm.token(&connection, json!({})).await.expect(200);
    let path = format!("/v1/connections/{}", text(&connection, "id"));
    let deleted = crm.tenant.delete(&path).await;
    assert!((200..300).contains(&deleted.status), "{deleted:?}");
    crm.token(&connection, json!({})).await.expect_problem(409, "connection-revoked");
    let revocations = crm.provider.log().await.into_iter().filter(|one| one["place"] == "revoke").count();
    assert_eq!(revocations, 1);
    eventually("the token ends", SOON, || async { (!crm.is_accepted(&token).await).then_some(()) }).await;
    // The account can be connected again, by another person too.
    let next = crm.connect("u_2", "ada").await;
    assert_ne!(next["id"], connection["id"]);
}

#[tokio::test]
async fn the_last_refreshes_of_a_connection_are_listed() {
    let crm = Crm::with_oidc("rotating").await;
    let connection = crm.connect("u_1", "ada").await;
    let path = format!("/v1/connections/{}/refreshes", text(&connection, "id"));
    let listed = async || crm.tenant.get(&path).await.expect(200)["data"].as_array().unwrap().clone();
    assert_eq!(listed().await, Vec::<Value>::new());
    crm.token(&connection, json!({ "refused_generation": 1 })).await.expect(200);
    let refreshed = listed().await;
    assert_eq!(refreshed.len(), 1);
    let first = &refreshed[0];
    assert_eq!((text(first, "outcome").as_str(), first["generation"].as_u64()), ("refreshed", Some(2)));
    assert_eq!((first["rotated"].as_bool(), &first["code"]), (Some(true), &Value::Null));
    assert!(first["took_ms"].as_u64().is_some_and(|took| (1..10_000).contains(&took)), "{first}");
    // The grant ends at the provider, and a refresh finds it.
    let other = crm.connect("u_2", "bob").await;
    crm.provider.control(json!({ "revoke": { "account": "bob" } })).await;
    crm.token(&other, json!({ "refused_generation": 1 })).await.expect_problem(409, "connection-reauthorize");
    let path = format!("/v1/connections/{}/refreshes", text(&other, "id"));
    let ended = crm.tenant.get(&path).await.expect(200);
    let ended = &ended["data"][0];
    assert_eq!(
        (text(ended, "outcome"), text(ended, "code")),
        ("ended".to_owned(), "grant_revoked".to_owned())
    );
    assert_eq!(ended["generation"], 1);
    crm.tenant.with_scopes(&["connections:token"]).await.get(&path).await.expect_problem(403, "forbidden");
}
