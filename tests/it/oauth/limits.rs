//! What providers limit: how long a refresh may take, how often there may be one, and how many grants live.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Client, Stack, eventually, foreign::oauth::Browser, stack::text};
use tokio::task::JoinSet;

use super::setup::{Crm, RETURN_URL};
use crate::SOON;

/// The gateway cuts a request off after 30 s.
const BEFORE_THE_GATEWAY: Duration = Duration::from_secs(25);

fn generation(token: &Value) -> u64 {
    token["generation"].as_u64().expect("a generation")
}

/// A token call with the generation 1. None is measured: one that a busy machine keeps waiting gets `Retry-After`, and asks
/// again.
async fn ask(tenant: &Client, path: &str) -> Value {
    eventually("a token", SOON * 6, || async {
        let response = tenant.post(path, &json!({ "refused_generation": 1 })).await;
        if response.status == 503 {
            assert!(response.header("retry-after").parse::<u64>().is_ok_and(|secs| secs <= 30));
            return None;
        }
        Some(response.expect(200))
    })
    .await
}

#[tokio::test]
async fn r1_a_thousand_token_calls_with_one_refused_generation_make_one_refresh() {
    let crm = Crm::with_oidc("rotating").await;
    let connection = crm.connect("u_1", "ada").await;
    let (path, mut workers) = (format!("/v1/connections/{}/token", text(&connection, "id")), JoinSet::new());
    for _ in 0..25 {
        let (tenant, path) = (crm.tenant.clone(), path.clone());
        workers.spawn(async move {
            let mut tokens = Vec::new();
            while tokens.len() < 40 {
                tokens.push(ask(&tenant, &path).await);
            }
            tokens
        });
    }
    let tokens = workers.join_all().await.concat();
    assert_eq!(tokens.len(), 1000);
    assert!(tokens.iter().all(|token| *token == tokens[0] && generation(token) == 2));
    assert_eq!(crm.provider.token_requests("refresh_token").await.len(), 1);
    assert!(crm.is_accepted(&tokens[0]).await);
    // One entry in the audit trail says that this key read this token.
    let entries: Vec<Value> = crm.tenant.list("/v1/audit", 100).await;
    let read = entries.iter().filter(|one| one["action"] == "connection.token").count();
    assert_eq!(read, 1, "{entries:?}");
}

#[tokio::test]
async fn r5_a_refresher_whose_lease_ran_out_writes_nothing_over_a_newer_token() {
    let (stack, clock) = Stack::deploy_with_clock("cw-oauth-slow").await;
    let crm = Crm::on(&stack, "keeping").await;
    let connection = crm.connect("u_1", "ada").await;
    crm.provider.control(json!({ "fault": "slow", "ms": 6000, "times": 1 })).await;
    let body = json!({ "refused_generation": 1 });
    let slow = crm.token(&connection, body.clone());
    let fast = async {
        eventually("the first POST", SOON, || async {
            (crm.provider.token_requests("refresh_token").await.len() == 1).then_some(())
        })
        .await;
        // A lease outlives a call by far; this one expires because the clock says so.
        clock.ahead(Duration::from_secs(70));
        crm.token(&connection, body.clone()).await.expect(200)
    };
    let (slow, fast) = tokio::join!(slow, fast);
    assert_eq!(crm.provider.token_requests("refresh_token").await.len(), 2);
    // Both callers have the token of the second one, which is the one that is kept.
    assert_eq!((slow.expect(200), generation(&fast)), (fast.clone(), 2));
    let kept = crm.token(&connection, json!({})).await.expect(200);
    assert_eq!(kept, fast);
    assert!(crm.is_accepted(&kept).await);
    let read = crm.connection(&text(&connection, "id")).await;
    assert_eq!((text(&read, "status").as_str(), &read["last_error"]), ("active", &Value::Null));
}

#[tokio::test]
async fn r17_a_provider_that_limits_grants_ends_the_oldest_and_a_reconnection_holds_the_newest() {
    let crm = Crm::with_oidc("rotating").await;
    crm.provider.control(json!({ "grant_limit": 5 })).await;
    let first = crm.connect("u_1", "ada").await;
    for _ in 0..6 {
        assert_eq!(crm.connect("u_1", "ada").await["id"], first["id"]);
    }
    let connections: Vec<Value> = crm.tenant.list("/v1/connections", 10).await;
    assert_eq!(connections.len(), 1);
    // The grants of before are dead by now, and nothing of ours uses one.
    let token = crm.token(&connections[0], json!({ "refused_generation": 7 })).await.expect(200);
    assert!(crm.is_accepted(&token).await);
    // Other connections of the same account push this one out. It says so, and what to do.
    for number in 0..5 {
        let session =
            crm.session(&format!("u_{number}x"), json!({ "login_hint": "ada", "share": true })).await;
        let ended = crm.walk(&session, &mut Browser::stopping_at(RETURN_URL)).await;
        assert_eq!(ended.parameter("outcome"), "connected", "{ended:?}");
    }
    assert!(!crm.is_accepted(&token).await);
    let dead = eventually("the cool-down ends", SOON * 2, || async {
        let response = crm.token(&connections[0], json!({ "refused_generation": 8 })).await;
        (response.status != 429).then_some(response)
    })
    .await;
    dead.expect_problem(409, "connection-reauthorize");
    let read = crm.connection(&text(&first, "id")).await;
    assert_eq!(text(&read["last_error"], "code"), "grant_revoked");
    assert!(!text(&read["last_error"], "hint").is_empty());
}

#[tokio::test]
async fn r19_a_token_endpoint_that_hangs_holds_a_caller_for_seconds_and_no_other_at_all() {
    let crm = Crm::with_oidc("keeping").await;
    let connection = crm.connect("u_1", "ada").await;
    crm.provider.control(json!({ "fault": "hang", "times": "all" })).await;
    let began = Instant::now();
    let hanging = crm.token(&connection, json!({ "refused_generation": 1 }));
    let others = async {
        eventually("the POST", SOON, || async {
            (crm.provider.token_requests("refresh_token").await.len() == 1).then_some(())
        })
        .await;
        // A caller that can use the present token gets it while the other one waits.
        let token = crm.token(&connection, json!({})).await.expect(200);
        (token, crm.token(&connection, json!({ "refused_generation": 1 })).await)
    };
    let (refused, (token, waited)) = tokio::join!(hanging, others);
    for response in [&refused, &waited] {
        response.expect_problem(503, "idp-unavailable");
        assert!(response.header("retry-after").parse::<u64>().is_ok_and(|secs| (1..=30).contains(&secs)));
    }
    assert!(began.elapsed() < BEFORE_THE_GATEWAY, "{:?}", began.elapsed());
    assert_eq!(generation(&token), 1);
    let failing = crm.connection(&text(&connection, "id")).await;
    assert_eq!(text(&failing, "status"), "failing");
    assert_eq!(text(&failing["last_error"], "code"), "idp_unavailable");
    assert_eq!(crm.provider.token_requests("refresh_token").await.len(), 1);
}
