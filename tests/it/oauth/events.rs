//! What a tenant gets to know: events, confirmation, tokens that are brought along.

use serde_json::{Value, json};
use testkit::{Receiver, foreign::oauth::Browser, stack::text};

use super::setup::{Crm, RETURN_URL};
use crate::SOON;

#[tokio::test]
async fn a_connections_life_is_events_and_only_who_names_refreshed_gets_that() {
    let crm = Crm::with_oidc("rotating").await;
    let (all, exact, crm_events) =
        (Receiver::start().await, Receiver::start().await, Receiver::start().await);
    crm.tenant.endpoint(&all.url()).event_types(&["connection.*"]).create().await;
    crm.tenant.endpoint(&exact.url()).event_types(&["connection.refreshed"]).create().await;
    crm.tenant.endpoint(&crm_events.url()).create().await;
    let metadata = json!({ "login_hint": "ada", "metadata": { "team": "west" } });
    let session = crm.session("u_1", metadata).await;
    crm.walk(&session, &mut Browser::stopping_at(RETURN_URL)).await;
    let connections: Vec<Value> = crm.tenant.list("/v1/connections", 10).await;
    let id = text(&connections[0], "id");
    crm.token(&connections[0], json!({ "refused_generation": 1 })).await.expect(200);
    crm.connect("u_1", "ada").await;
    crm.tenant.delete(&format!("/v1/connections/{id}")).await;

    let received = all.wait_for(3, SOON).await;
    let mut types: Vec<_> = received.iter().map(|one| text(&one.json(), "type")).collect();
    types.sort();
    assert_eq!(types, ["connection.created", "connection.reauthorized", "connection.revoked"]);
    for one in &received {
        let data = &one.json()["data"];
        assert_eq!((text(data, "connection_id"), text(data, "user_id")), (id.clone(), "u_1".to_owned()));
        assert_eq!(data["metadata"], json!({ "team": "west" }));
        assert!(!one.json().to_string().contains("token\""), "{}", one.json());
    }
    let refreshed = exact.wait_for(1, SOON).await;
    assert_eq!(text(&refreshed[0].json(), "type"), "connection.refreshed");
    // An endpoint without filters subscribes to the CRM's own events.
    assert_eq!(crm_events.count(), 0);
}

#[tokio::test]
async fn f1_a_session_that_is_confirmed_names_its_person() {
    let crm = Crm::with_oidc("rotating").await;
    let session = crm.session("u_1", json!({ "login_hint": "ada", "confirm": true })).await;
    let path = format!("/v1/connect-sessions/{}/confirm", text(&session, "id"));
    let confirm = |user: &str| json!({ "user_id": user });
    crm.tenant.post(&path, &confirm("u_1")).await.expect_problem(409, "connection-pending");
    let ended = crm.walk(&session, &mut Browser::stopping_at(RETURN_URL)).await;
    assert_eq!(ended.parameter("outcome"), "connected");
    crm.tenant.post(&path, &confirm("u_2")).await.expect_invalid_field("/user_id");
    let confirmed = crm.tenant.post(&path, &confirm("u_1")).await.expect(200);
    assert_eq!(text(&confirmed, "status"), "active");
    let token = crm.token(&confirmed, json!({})).await.expect(200);
    assert!(crm.is_accepted(&token).await);
    assert_eq!(crm.tenant.post(&path, &confirm("u_1")).await.expect(200)["id"], confirmed["id"]);
}

#[tokio::test]
async fn tokens_that_a_tenant_has_are_brought_along_and_refreshed() {
    let crm = Crm::with_oidc("keeping").await;
    // Tokens of this client, as a tenant would have them from another service.
    let connection = crm.connect("u_1", "ada").await;
    let first = crm.token(&connection, json!({})).await.expect(200);
    let other = Crm::with_oidc("keeping").await;
    let body = json!({
        "user_id": "u_9", "idp": "example", "access_token": text(&first, "access_token"), "expires_in": 3600,
        "account": { "sub": "eve", "email": "eve@example.com" }, "label": "moved",
    });
    let made = other.tenant.post("/v1/connections", &body).await.expect(201);
    assert_eq!((text(&made, "status"), made["refreshable"].as_bool()), ("active".to_owned(), Some(false)));
    let token = other.token(&made, json!({})).await.expect(200);
    assert_eq!(text(&token, "access_token"), text(&first, "access_token"));
    // Without a refresh token only the person can help when it is refused.
    let refused = other.token(&made, json!({ "refused_generation": 1 })).await;
    refused.expect_problem(409, "connection-reauthorize");
    let dead = other.connection(&text(&made, "id")).await;
    assert_eq!(text(&dead, "status"), "reauthorize");
    for (field, body) in [
        ("", json!({ "user_id": "u", "idp": "example", "account": { "sub": "s" } })),
        ("/idp", json!({ "user_id": "u", "idp": "nothing", "access_token": "a", "account": { "sub": "s" } })),
        (
            "/account/sub",
            json!({ "user_id": "u", "idp": "example", "access_token": "a", "account": { "sub": "" } }),
        ),
    ] {
        other.tenant.post("/v1/connections", &body).await.expect_invalid_field(field);
    }
}
