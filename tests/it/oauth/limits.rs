//! What providers limit: how long a refresh may take, how often there may be one, and how many grants live.

use std::time::{Duration, Instant};

use platform::store::table::keys;
use serde_json::{Value, json};
use testkit::{Client, Stack, eventually, foreign::oauth::Browser, stack::text};
use tokio::task::JoinSet;

use super::setup::{Crm, RETURN_URL};
use crate::{
    SOON,
    tables::{self, Table},
};

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

/// What the operator grants is what can be connected, by whichever way, also at once; what ends makes room.
#[tokio::test]
async fn a_tenant_has_no_more_connections_than_it_may_have() {
    let crm = Crm::with_oidc("rotating").await;
    let path = format!("/v1/tenants/{}", crm.tenant.tenant_id());
    let limit = async |connections: Value| {
        let limits = json!({ "limits": { "connections": connections } });
        Stack::shared().operator().patch(&path, &limits).await.expect(200);
    };
    let import = async |tenant: Client, user: String| {
        let body = json!({
            "user_id": user, "idp": "example", "account": { "sub": format!("sub of {user}") },
            "access_token": "access-token-of-a-test", "expires_in": 3600, "scopes": ["openid"],
        });
        tenant.post("/v1/connections", &body).await
    };
    let first = crm.connect("u_1", "ada").await;
    let imported = import(crm.tenant.clone(), "u_2".to_owned()).await.expect(201);
    // As of a tenant that connected before there was a count.
    let count = keys::connect::connection_count(&tables::tenant(&crm.tenant));
    let stack = Stack::shared();
    let table = Table::registry(&stack);
    assert_eq!(table.get(count.clone()).await["connections"]["N"], "2");
    table.delete(count.clone()).await;
    limit(json!(2)).await;
    eventually("the limit to be in force", SOON, || async {
        let response = import(crm.tenant.clone(), "u_3".to_owned()).await;
        if response.status == 201 {
            // It was made by what was cached before.
            crm.tenant.delete(&format!("/v1/connections/{}", text(&response.json, "id"))).await;
            return None;
        }
        response.expect_problem(422, "limit-reached");
        Some(())
    })
    .await;
    // A person sees a page that says so, and the CRM the code.
    let session = crm.session("u_4", json!({ "login_hint": "bob" })).await;
    let ended = crm.walk(&session, &mut Browser::stopping_at(RETURN_URL)).await;
    assert_eq!(ended.parameter("outcome"), "failed", "{ended:?}");
    assert_eq!(ended.parameter("code"), "limit-reached", "{ended:?}");
    // Renewing is no new connection.
    let session = crm.session("u_1", json!({ "login_hint": "ada" })).await;
    let ended = crm.walk(&session, &mut Browser::stopping_at(RETURN_URL)).await;
    assert_eq!(ended.parameter("code"), "connected", "{ended:?}");
    // One that ends makes room, for one of several at once.
    crm.tenant.delete(&format!("/v1/connections/{}", text(&imported, "id"))).await;
    eventually("room for one", SOON, || async {
        (table.get(count.clone()).await["connections"]["N"] == "1").then_some(())
    })
    .await;
    let mut imports = JoinSet::new();
    for n in 5..11 {
        imports.spawn(import(crm.tenant.clone(), format!("u_{n}")));
    }
    let made = imports.join_all().await;
    assert_eq!(made.iter().filter(|response| response.status == 201).count(), 1, "{made:?}");
    for refused in made.iter().filter(|response| response.status != 201) {
        refused.expect_problem(422, "limit-reached");
    }
    assert_eq!(table.get(count).await["connections"]["N"], "2");
    assert_eq!(text(&crm.connection(&text(&first, "id")).await, "status"), "active");
    limit(Value::Null).await;
}
