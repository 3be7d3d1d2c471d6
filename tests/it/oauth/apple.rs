//! Sign in with Apple: a client secret that is signed for each call, a cross-site POST, and a name that is said once.

use serde_json::{Value, json};
use testkit::{
    Stack,
    foreign::oauth::{Browser, OauthProvider},
    stack::text,
};

use super::setup::{Crm, RETURN_URL, allow_return, apple_row};

async fn crm() -> Crm {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let redirect = format!("{}/oauth/{}/example/callback", stack.api_url, tenant.tenant_id());
    let provider = OauthProvider::start("apple", &[&redirect]).await;
    allow_return(&tenant).await;
    let body = json!({ "name": "example", "row": apple_row(&provider.issuer) });
    tenant.post("/v1/idps", &body).await.expect(201);
    let said = |name: &str| text(&provider.started, name);
    let credentials = json!({
        "client_id": said("client"), "team_id": said("team"), "key_id": said("key_id"),
        "private_key": said("private_key"),
    });
    let made = tenant.post("/v1/idps/example/credentials", &credentials).await.expect(201);
    assert!(!made.to_string().contains("PRIVATE KEY"), "{made}");
    Crm { tenant, provider, idp: "example" }
}

#[tokio::test]
async fn f3_f5_f24_apple_posts_names_once_and_requires_a_signed_secret() {
    let crm = crm().await;
    let scopes = json!({ "scopes": ["name", "email"], "login_hint": "ada" });
    let session = crm.session("u_1", scopes.clone()).await;
    let mut browser = Browser::stopping_at(RETURN_URL);
    let ended = crm.walk(&session, &mut browser).await;
    assert_eq!(ended.parameter("code"), "connected", "{ended:?}");
    // The cookie goes with a POST of another site, or the flow would end as that of another browser.
    let ours = browser.cookies.iter().find(|cookie| cookie.name == "__Host-cw-browser-post").unwrap();
    assert_eq!((ours.same_site.as_str(), ours.path.as_str()), ("None", "/"));
    let connections: Vec<Value> = crm.tenant.list("/v1/connections", 10).await;
    let first = &connections[0];
    let name = text(&first["account"], "name");
    assert!(name.starts_with("Ada"), "{first}");
    // The second consent has no name, and erases none.
    let session = crm.session("u_1", scopes).await;
    let ended = crm.walk(&session, &mut Browser::stopping_at(RETURN_URL)).await;
    assert_eq!(ended.parameter("code"), "connected", "{ended:?}");
    let again = crm.connection(&text(first, "id")).await;
    assert_eq!((text(&again["account"], "name"), again["generation"].as_u64()), (name, Some(2)));
    // A refresh gives no refresh token, and the one that is held remains.
    let token = crm.token(&again, json!({ "refused_generation": 2 })).await.expect(200);
    assert_eq!(token["generation"], 3);
    let requests = crm.provider.token_requests("refresh_token").await;
    assert_eq!(requests.len(), 1);
    assert_eq!(text(&requests[0], "client_auth"), "post");
    let session = crm.session("u_2", json!({ "login_hint": "bob" })).await;
    crm.provider
        .control(json!({ "next_authorization": { "error": "user_cancelled_authorize", "times": 1 } }))
        .await;
    let ended = crm.walk(&session, &mut Browser::stopping_at(RETURN_URL)).await;
    assert_eq!(ended.parameter("outcome"), "denied", "{ended:?}");
}
