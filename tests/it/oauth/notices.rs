//! Providers say that a grant has ended: Apple by its notifications, Google by its security events.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{
    ApiResponse, Client, Receiver, Reply, Stack, eventually,
    foreign::{self, oauth::OauthProvider},
    proxy::{Fault, Rule},
    stack::text,
    within,
};

use crate::{
    SOON,
    providers::{send, source},
};

const APPLE: &str = "https://appleid.apple.com";
const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type";

/// Serves the keys that both providers publish.
struct Keys {
    receiver: Receiver,
    published: Arc<Mutex<Value>>,
}

impl Keys {
    async fn start() -> Self {
        let published: Arc<Mutex<Value>> = Arc::new(Mutex::new(json!({ "keys": [] })));
        let served = Arc::clone(&published);
        let receiver = Receiver::responding(move |_| {
            let body = served.lock().expect("a lock").to_string().into();
            Reply { body, ..Reply::status(200) }
        })
        .await;
        Self { receiver, published }
    }

    /// Signs claims, and publishes the key. Keys are fetched once, so a test signs all that it sends at once.
    async fn sign(&self, claims: &[Value]) -> Vec<String> {
        let (keys, tokens) = foreign::signed_tokens(claims).await;
        *self.published.lock().expect("a lock") = keys;
        tokens
    }
}

fn seconds_from_now(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(now.as_secs()).expect("a time of this era") + seconds
}

fn apple_notice(client: &str, kind: &str, sub: &str, seconds: i64) -> Value {
    let at = seconds_from_now(seconds);
    let event = json!({ "type": kind, "sub": sub, "event_time": at * 1000 }).to_string();
    json!({ "iss": APPLE, "aud": client, "iat": at, "jti": format!("{kind}-{sub}-{at}"), "events": event })
}

fn google_event(client: &str, kind: &str, sub: &str, seconds: i64) -> Value {
    let at = seconds_from_now(seconds);
    let subject = json!({ "subject_type": "iss-sub", "iss": "https://accounts.google.com/", "sub": sub });
    json!({
        "iss": "https://accounts.google.com/", "aud": client, "iat": at, "jti": format!("{kind}-{sub}-{at}"),
        "events": { format!("{RISC}/{kind}"): { "subject": subject } },
    })
}

/// Says that the refresh token ended that begins so.
fn token_event(client: &str, beginning: &str) -> Value {
    let subject = json!({
        "subject_type": "oauth_token", "token_type": "refresh_token", "token_identifier_alg": "prefix",
        "token": beginning.chars().take(16).collect::<String>(),
    });
    json!({
        "iss": "https://accounts.google.com/", "aud": client, "iat": seconds_from_now(1), "jti": beginning,
        "events": { "https://schemas.openid.net/secevent/oauth/event-type/token-revoked": { "subject": subject } },
    })
}

/// Sets a provider up, for a tenant or as the operator for all.
async fn set_up(client: &Client, name: &str, client_id: &str) {
    let body = if name == "apple" {
        let row = json!({
            "title": "Apple", "authorize_url": format!("{APPLE}/auth/authorize"),
            "token_url": format!("{APPLE}/auth/token"), "base_scopes": ["openid"],
            "openid": { "issuer": APPLE, "jwks_url": format!("{APPLE}/auth/keys") },
        });
        json!({ "name": name, "row": row })
    } else {
        json!({ "name": name })
    };
    client.post("/v1/idps", &body).await.expect(201);
    let credentials = json!({ "client_id": client_id, "client_secret": "a-secret-of-the-client" });
    client.post(&format!("/v1/idps/{name}/credentials"), &credentials).await.expect(201);
}

/// A connection of tokens that were granted elsewhere.
async fn import(tenant: &Client, idp: &str, user: &str, sub: &str) -> String {
    let body = json!({
        "user_id": user, "idp": idp, "account": { "sub": sub }, "refresh_token": format!("refresh-{sub}"),
        "access_token": format!("access-{sub}"), "expires_in": 3600, "scopes": ["openid"],
    });
    text(&tenant.post("/v1/connections", &body).await.expect(201), "id")
}

async fn status(tenant: &Client, id: &str) -> String {
    text(&tenant.read::<Value>(&format!("/v1/connections/{id}")).await, "status")
}

async fn token(tenant: &Client, id: &str) -> ApiResponse {
    tenant.post(&format!("/v1/connections/{id}/token"), &json!({})).await
}

async fn post(tenant: &Client, (provider, id): (&str, &str), token: &str) -> ApiResponse {
    let path = format!("/in/{provider}/{id}");
    if provider == "apple_sign_in" {
        let body = json!({ "payload": token }).to_string();
        send(tenant, Method::POST, &path, &[("content-type", "application/json")], body).await
    } else {
        let headers = [("content-type", "application/secevent+jwt")];
        send(tenant, Method::POST, &path, &headers, token.to_owned()).await
    }
}

async fn until(stack: &Stack, tenant: &Client, id: &str, wanted: &str) -> Value {
    eventually(wanted, SOON, || async {
        stack.run_due().await;
        let connection: Value = tenant.read(&format!("/v1/connections/{id}")).await;
        (text(&connection, "status") == wanted).then_some(connection)
    })
    .await
}

/// Waits until the refresher has acted on a notice of this kind.
async fn acted_on(stack: &Stack, owner: &str, kind: &str, changed: usize) {
    eventually("the notice to be acted on", SOON, || async {
        stack.run_due().await;
        let logs = stack.logs("token-refresher").await;
        let parts = [
            "acted on notice about a grant".to_owned(),
            format!("\"owner\":\"{owner}\""),
            format!("\"kind\":\"{kind}\""),
            format!("\"changed_count\":{changed}"),
        ];
        let is_it = |line: &str| parts.iter().all(|part| line.contains(part));
        logs.lines().any(is_it).then_some(())
    })
    .await;
}

#[tokio::test]
async fn apples_notices_end_the_connections_of_their_account() {
    let keys = Keys::start().await;
    let stack = Stack::deploy_with("cw-oauth-apple", &[("PublishedKeysUrl", &keys.receiver.url())]).await;
    let tenant = stack.tenant().await;
    let events = Receiver::start().await;
    tenant.endpoint(&events.url()).event_types(&["connection.*"]).create().await;
    set_up(&tenant, "apple", "com.example.crm").await;
    let (id, _) =
        source(&tenant, &json!({ "provider": "apple_sign_in", "secrets": ["com.example.crm"] })).await;
    let apple = ("apple_sign_in", id.as_str());
    let withdrawn = import(&tenant, "apple", "u_1", "000.ada").await;
    let deleted = import(&tenant, "apple", "u_2", "000.bob").await;
    let other = import(&tenant, "apple", "u_3", "000.eve").await;
    let client = "com.example.crm";
    let tokens = keys
        .sign(&[
            apple_notice(client, "consent-revoked", "000.ada", 1),
            apple_notice(client, "account-delete", "000.bob", 1),
            apple_notice(client, "email-disabled", "000.eve", 1),
            // From before the consent.
            apple_notice(client, "consent-revoked", "000.eve", -3600),
            apple_notice("com.example.another", "consent-revoked", "000.eve", 1),
        ])
        .await;
    // Nothing is done before a request is verified.
    post(&tenant, apple, &tokens[5]).await.expect_problem(401, "wrong-signature");
    post(&tenant, apple, &tokens[4]).await.expect_problem(401, "wrong-signature");
    for token in &tokens[..4] {
        post(&tenant, apple, token).await.expect(200);
        // As a provider repeats it.
        post(&tenant, apple, token).await.expect(200);
    }
    let ended = until(&stack, &tenant, &withdrawn, "revoked").await;
    assert_eq!(text(&ended, "status_reason"), "the provider, or the person there, ended it");
    until(&stack, &tenant, &deleted, "revoked").await;
    token(&tenant, &withdrawn).await.expect_problem(409, "connection-revoked");
    acted_on(&stack, tenant.tenant_id(), "consent-revoked", 0).await;
    assert_eq!(status(&tenant, &other).await, "active");
    token(&tenant, &other).await.expect(200);
    // Each end is one event, however often it was said.
    let received = events.wait_for(5, SOON).await;
    let mut types: Vec<_> = received.iter().map(|one| text(&one.json(), "type")).collect();
    types.sort();
    assert_eq!(types[3..], ["connection.revoked", "connection.revoked"], "{types:?}");
    assert_eq!(types.len(), 5, "{types:?}");
    // The person comes back: another connection, which the old notice does not end.
    let again = import(&tenant, "apple", "u_1", "000.ada").await;
    assert_ne!(again, withdrawn);
}

#[tokio::test]
async fn googles_events_reach_the_connections_of_all_tenants_by_the_operators_source_alone() {
    let keys = Keys::start().await;
    let stack = Stack::deploy_with("cw-oauth-risc", &[("PublishedKeysUrl", &keys.receiver.url())]).await;
    let (operator, acme, other) = (stack.operator(), stack.tenant().await, stack.tenant().await);
    let client = "1234.apps.googleusercontent.com";
    set_up(&operator, "google", client).await;
    // A tenant with a client of its own.
    let own = stack.tenant().await;
    set_up(&own, "google", "own.apps.googleusercontent.com").await;
    let sub = "110169484474386276334";
    let (first, second) =
        (import(&acme, "google", "u_1", sub).await, import(&other, "google", "u_2", sub).await);
    let of_own = import(&own, "google", "u_3", sub).await;
    let bystander = import(&acme, "google", "u_4", "another-account").await;
    let body = json!({ "provider": "google_risc", "secrets": [client] });
    let (of_operator, _) = source(&operator, &body).await;
    let (of_acme, _) = source(&acme, &body).await;
    let tokens = keys
        .sign(&[
            google_event(client, "account-enabled", sub, 1),
            google_event(client, "tokens-revoked", sub, 1),
            google_event(client, "account-disabled", "another-account", -7200),
            google_event(client, "account-purged", sub, 2),
            token_event(client, "refresh-another-a"),
            token_event(client, "refresh-unknown-"),
            json!({
                "iss": "https://accounts.google.com/", "aud": client, "iat": seconds_from_now(0), "jti": "v",
                "events": { format!("{RISC}/verification"): { "state": "hello" } },
            }),
        ])
        .await;
    assert_eq!(post(&operator, ("google_risc", &of_operator), &tokens[7]).await.status, 400);
    // A tenant's source reaches the tenant's own clients, of which acme has none.
    assert_eq!(post(&acme, ("google_risc", &of_acme), &tokens[1]).await.status, 202);
    acted_on(&stack, acme.tenant_id(), "tokens-revoked", 0).await;
    assert_eq!(status(&acme, &first).await, "active");
    for token in [&tokens[6], &tokens[0], &tokens[2], &tokens[1], &tokens[5]] {
        let response = post(&operator, ("google_risc", &of_operator), token).await;
        assert_eq!((response.status, response.text.as_str()), (202, ""));
    }
    for (tenant, id) in [(&acme, &first), (&other, &second)] {
        let dead = until(&stack, tenant, id, "reauthorize").await;
        let error = &dead["last_error"];
        assert_eq!(
            (text(error, "code"), text(error, "idp_error")),
            ("grant_revoked".into(), "tokens-revoked".into())
        );
        token(tenant, id).await.expect_problem(409, "connection-reauthorize");
    }
    // An event from before the consent, and another client's grant.
    acted_on(&stack, "operator", "account-disabled", 0).await;
    for (tenant, id) in [(&acme, &bystander), (&own, &of_own)] {
        assert_eq!(status(tenant, id).await, "active");
    }
    // One refresh token, by its first 16 characters.
    assert_eq!(post(&operator, ("google_risc", &of_operator), &tokens[4]).await.status, 202);
    let dead = until(&stack, &acme, &bystander, "reauthorize").await;
    assert_eq!(text(&dead["last_error"], "idp_error"), "token-revoked");
    // The account is gone: what waited for another consent ends.
    assert_eq!(post(&operator, ("google_risc", &of_operator), &tokens[3]).await.status, 202);
    until(&stack, &acme, &first, "revoked").await;
    until(&stack, &other, &second, "revoked").await;
}

/// Sessions that ended say nothing about tokens, so the provider is asked.
#[tokio::test]
async fn an_event_that_may_concern_tokens_has_them_refreshed() {
    let keys = Keys::start().await;
    let stack = Stack::deploy_with("cw-oauth-asked", &[("PublishedKeysUrl", &keys.receiver.url())]).await;
    let tenant = stack.tenant().await;
    let provider = OauthProvider::start("oidc", &["http://127.0.0.1:9/unused"]).await;
    let google = "https://accounts.google.com";
    let row = json!({
        "title": "Google", "authorize_url": format!("{}/auth", provider.issuer),
        "token_url": format!("{}/token", provider.issuer), "auth": "post", "base_scopes": ["openid"],
        "openid": { "issuer": google, "jwks_url": format!("{}/jwks", provider.issuer) },
    });
    tenant.post("/v1/idps", &json!({ "name": "gmail", "row": row })).await.expect(201);
    let secret = text(&provider.started["secrets"], "keeping");
    let credentials = json!({ "client_id": "keeping", "client_secret": secret });
    tenant.post("/v1/idps/gmail/credentials", &credentials).await.expect(201);
    let body = json!({ "provider": "google_risc", "secrets": ["keeping"] });
    let (id, _) = source(&tenant, &body).await;
    let connection = import(&tenant, "gmail", "u_1", "12").await;
    let tokens = keys.sign(&[google_event("keeping", "sessions-revoked", "12", 1)]).await;
    assert_eq!(post(&tenant, ("google_risc", &id), &tokens[0]).await.status, 202);
    // The provider does not know the token.
    let dead = until(&stack, &tenant, &connection, "reauthorize").await;
    assert_eq!(text(&dead["last_error"], "code"), "grant_revoked");
    assert_eq!(provider.token_requests("refresh_token").await.len(), 1);
}

#[tokio::test]
async fn a_notice_that_was_acknowledged_is_not_lost_by_crashes() {
    let keys = Keys::start().await;
    let parameters = [("PublishedKeysUrl", keys.receiver.url())];
    let parameters: Vec<_> = parameters.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let (stack, clock) = Stack::deploy_with_clock_and("cw-oauth-notices", &parameters).await;
    let tenant = stack.tenant().await;
    let client = "5678.apps.googleusercontent.com";
    set_up(&tenant, "google", client).await;
    let events = Receiver::start().await;
    tenant.endpoint(&events.url()).event_types(&["connection.reauthorize"]).create().await;
    let body = json!({ "provider": "google_risc", "secrets": [client] });
    let (id, _) = source(&tenant, &body).await;
    let google = ("google_risc", id.as_str());
    // What keeps the notice fails: the provider gets no acknowledgement, and sends it again.
    let steps = ["before-change", "after-change", "before-event", "before-removal"];
    let mut connections = Vec::new();
    for step in steps {
        connections.push(import(&tenant, "google", step, step).await);
    }
    let claims: Vec<_> = steps.iter().map(|step| google_event(client, "tokens-revoked", step, 1)).collect();
    let tokens = keys.sign(&claims).await;
    let entry = format!("{}#connections", tenant.tenant_id());
    let cut = stack.rule(&Rule::new("PutItem", &[&entry, "notice", steps[0]], Fault::Cut, 4)).await;
    assert_eq!(post(&tenant, google, &tokens[0]).await.status, 503);
    assert!(cut.count().await > 0);
    let mut kills = Vec::new();
    for (operation, contains, fault) in [
        ("PutItem", vec![connections[0].as_str(), "grant_revoked"], Fault::KillBefore),
        ("PutItem", vec![connections[1].as_str(), "grant_revoked"], Fault::KillAfter),
        // The connection's entry is still due soon.
        ("PutItem", vec![stack.output("EventsTableName"), connections[2].as_str()], Fault::KillBefore),
        // The notice was acted on, and its entry is still there.
        ("DeleteItem", vec![entry.as_str()], Fault::KillBefore),
    ] {
        kills.push(stack.rule(&Rule::new(operation, &contains, fault, 1)).await);
    }
    for token in &tokens[..steps.len()] {
        eventually("an acknowledgement", SOON, || async {
            (post(&tenant, google, token).await.status == 202).then_some(())
        })
        .await;
    }
    // The message of a killed function comes back late, the entry of the notice ten minutes after it was taken.
    for round in 1..=8 {
        stack.run_due().await;
        let ended = within(Duration::from_secs(4), || async {
            let mut dead = 0;
            for (connection, kill) in connections.iter().zip(&kills) {
                dead += usize::from(status(&tenant, connection).await == "reauthorize");
                dead += usize::from(kill.count().await == 1);
            }
            (dead == 2 * steps.len()).then_some(())
        })
        .await;
        if ended.is_some() {
            break;
        }
        clock.ahead(Duration::from_mins(11) * round);
    }
    for (connection, kill) in connections.iter().zip(&kills) {
        assert_eq!((status(&tenant, connection).await.as_str(), kill.count().await), ("reauthorize", 1));
    }
    // Each end was published, once, whatever the crashes were. The messages of a publish that is repeated are held back
    // for 30 to 40 s.
    clock.ahead(Duration::from_hours(3));
    let received = eventually("the events", SOON * 4, || async {
        stack.run_due().await;
        (events.count() >= steps.len()).then(|| events.requests())
    })
    .await;
    assert_eq!(received.len(), steps.len());
}
