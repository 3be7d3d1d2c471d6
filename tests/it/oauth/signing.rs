//! Clients that sign in place of a secret, and providers that change the keys that they sign with.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{
    Stack, eventually,
    foreign::oauth::{Browser, OauthProvider},
    stack::text,
};

use super::setup::{Crm, RETURN_URL, allow_return, oidc_row};
use crate::SOON;

/// A tenant whose client has a key, and no credentials yet.
async fn signing(stack: &Stack) -> Crm {
    let tenant = stack.tenant().await;
    let redirect = format!("{}/oauth/{}/example/callback", stack.api_url, tenant.tenant_id());
    let provider = OauthProvider::start("oidc", &[&redirect]).await;
    allow_return(&tenant).await;
    let mut row = oidc_row(&provider.issuer);
    row["auth"] = json!("private_key_jwt");
    row["openid"]["algorithms"] = json!(["ES256"]);
    tenant.post("/v1/idps", &json!({ "name": "example", "row": row })).await.expect(201);
    Crm { tenant, provider, idp: "example" }
}

/// Credentials with the key that a provider made for `asserting`.
fn key_of(provider: &OauthProvider) -> Value {
    let said = |name: &str| text(&provider.started, name);
    json!({ "client_id": "asserting", "key_id": said("key_id"), "private_key": said("private_key") })
}

#[tokio::test]
async fn f24_a_client_that_signs_connects_refreshes_and_revokes_without_a_secret() {
    let crm = signing(&Stack::shared()).await;
    // A key that this provider does not know, under the name of one that it knows.
    let other = OauthProvider::start("oidc", &[]).await;
    let wrong = crm.tenant.post("/v1/idps/example/credentials", &key_of(&other)).await.expect(201);
    let session = crm.session("u_1", json!({ "login_hint": "ada" })).await;
    let ended = crm.walk(&session, &mut Browser::stopping_at(RETURN_URL)).await;
    assert_eq!(ended.parameter("code"), "exchange-failed", "{ended:?}");
    let path = format!("/v1/idps/example/credentials/{}", text(&wrong, "id"));
    assert_eq!(crm.tenant.delete(&path).await.status, 204);

    let made = crm.tenant.post("/v1/idps/example/credentials", &key_of(&crm.provider)).await.expect(201);
    assert!(!made.to_string().contains("PRIVATE KEY"), "{made}");
    // Functions know of it within a second.
    eventually("the other credentials are used", SOON, || async {
        let ended = crm.walk(&session, &mut Browser::stopping_at(RETURN_URL)).await;
        (ended.parameter("code") == "connected").then_some(())
    })
    .await;
    let connections: Vec<Value> = crm.tenant.list("/v1/connections", 10).await;
    let connection = &connections[0];
    let token = crm.token(connection, json!({ "refused_generation": 1 })).await.expect(200);
    assert!(crm.is_accepted(&token).await);
    let path = format!("/v1/connections/{}", text(connection, "id"));
    crm.tenant.delete(&path).await.expect(202);
    assert!(!crm.is_accepted(&token).await);

    let log = crm.provider.log().await;
    let of = |place: &str| log.iter().filter(|one| one["place"] == place).collect::<Vec<_>>();
    let (tokens, revocations) = (of("token"), of("revoke"));
    let statuses: Vec<_> = tokens.iter().map(|one| one["status"].as_u64().unwrap()).collect();
    let refused = statuses.iter().filter(|status| **status == 401).count();
    assert!(refused >= 1 && statuses[refused..] == [200, 200], "{tokens:?}");
    assert_eq!(revocations.len(), 1, "{revocations:?}");
    for one in tokens.iter().chain(&revocations) {
        assert_eq!(one["client_auth"], "private_key_jwt", "{one}");
        assert!(!one["parameters"].to_string().contains("client_secret"), "{one}");
    }
}

/// How often the keys were fetched.
async fn fetches(crm: &Crm) -> usize {
    crm.provider.log().await.iter().filter(|one| one["place"] == "jwks").count()
}

async fn sign_in(crm: &Crm, person: &str) -> String {
    let session = crm.session(person, json!({ "login_hint": person })).await;
    crm.walk(&session, &mut Browser::stopping_at(RETURN_URL)).await.parameter("code")
}

#[tokio::test]
async fn f15_a_provider_that_changes_its_keys_costs_one_fetch_and_a_flood_of_unknown_keys_none() {
    // One function's cache is shown, so it has a deployment of its own, and one browser after the other.
    let (stack, clock) = Stack::deploy_with_clock("cw-oauth-keys").await;
    let crm = Crm::on(&stack, "rotating").await;
    let minutes = Duration::from_mins;
    assert_eq!((sign_in(&crm, "ada").await.as_str(), fetches(&crm).await), ("connected", 1));
    assert_eq!((sign_in(&crm, "bob").await.as_str(), fetches(&crm).await), ("connected", 1));
    // Another key under a name of its own, then another key under the same name.
    for (turn, how, person, again) in [(1, "new_kid", "cy", "dot"), (2, "same_kid", "eve", "fay")] {
        crm.provider.control(json!({ "rotate_keys": how })).await;
        clock.ahead(minutes(turn));
        let known = fetches(&crm).await;
        assert_eq!(
            (sign_in(&crm, person).await.as_str(), fetches(&crm).await),
            ("connected", known + 1),
            "{how}"
        );
        assert_eq!(
            (sign_in(&crm, again).await.as_str(), fetches(&crm).await),
            ("connected", known + 1),
            "{how}"
        );
    }
    // Tokens that no published key signed fetch nothing more within half a minute.
    let known = fetches(&crm).await;
    crm.provider.control(json!({ "fault": "id_token", "key": "other", "times": "all" })).await;
    for _ in 0..4 {
        assert_eq!(sign_in(&crm, "mallory").await, "id-token-invalid");
    }
    clock.ahead(minutes(3));
    for _ in 0..4 {
        assert_eq!(sign_in(&crm, "mallory").await, "id-token-invalid");
    }
    assert_eq!(fetches(&crm).await, known + 1);
    crm.provider.control(json!({ "fault": null })).await;
    assert_eq!(sign_in(&crm, "mallory").await, "connected");
    let connections: Vec<Value> = crm.tenant.list("/v1/connections", 10).await;
    assert_eq!(connections.len(), 7);
}
