//! From a link to a connection, and everything that can happen on the way.

use serde_json::{Value, json};
use testkit::{
    Stack,
    foreign::oauth::{Browser, BrowserPage},
    stack::text,
};

use super::setup::{Crm, RETURN_URL, apple_row};

/// The outcome of a session, as the CRM reads it.
async fn outcome(crm: &Crm, session: &Value) -> (String, String) {
    let read: Value = crm.tenant.read(&format!("/v1/connect-sessions/{}", text(session, "id"))).await;
    (text(&read, "status"), read["outcome"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_person_connects_and_the_crm_gets_tokens() {
    let crm = Crm::with_oidc("rotating").await;
    let session = crm.session("u_1", json!({ "login_hint": "ada", "metadata": { "team": "west" } })).await;
    let mut browser = Browser::stopping_at(RETURN_URL);
    let page = browser.open(&text(&session, "url")).await;
    // The page names tenant, person and provider before anything leaves for the provider.
    for named in ["A tenant", "u_1", "127.0.0.1"] {
        assert!(page.text.contains(named), "{named}: {}", page.text);
    }
    assert_eq!((page.header("cache-control"), page.header("referrer-policy")), ("no-store", "no-referrer"));
    assert_eq!(outcome(&crm, &session).await, ("open".to_owned(), String::new()));
    let ended = browser.go_on(&page).await;
    assert_eq!(ended.parameter("outcome"), "connected");
    assert_eq!(ended.parameter("session"), text(&session, "id"));
    assert!(!ended.url.contains("code=ey") && !ended.url.contains("token"), "{}", ended.url);
    assert_eq!(outcome(&crm, &session).await, ("connected".to_owned(), "connected".to_owned()));

    let read: Value = crm.tenant.read(&format!("/v1/connect-sessions/{}", text(&session, "id"))).await;
    let connection = crm.connection(&text(&read, "connection_id")).await;
    assert_eq!((text(&connection, "status"), text(&connection, "user_id")), ("active".into(), "u_1".into()));
    assert_eq!(text(&connection["account"], "email"), "ada@example.com");
    assert_eq!(connection["metadata"], json!({ "team": "west" }));
    assert_eq!(
        (connection["generation"].as_u64(), connection["refreshable"].as_bool()),
        (Some(1), Some(true))
    );
    let token = crm.token(&connection, json!({})).await;
    assert_eq!(token.header("cache-control"), "no-store");
    let token = token.expect(200);
    assert!(crm.is_accepted(&token).await);
    assert!(token.get("refresh_token").is_none());

    // The link is used up.
    let page = browser.open(&text(&session, "url")).await;
    assert!(page.text.contains("Connected") || page.status == 410, "{page:?}");
}

#[tokio::test]
async fn f16_a_denial_is_an_outcome_and_the_link_still_works() {
    let crm = Crm::with_oidc("rotating").await;
    crm.provider.control(json!({ "next_authorization": { "error": "access_denied", "times": 1 } })).await;
    let session = crm.session("u_1", json!({ "login_hint": "ada" })).await;
    let ended = crm.walk(&session, &mut Browser::stopping_at(RETURN_URL)).await;
    assert_eq!((ended.parameter("outcome"), ended.parameter("code")), ("denied".into(), "denied".into()));
    assert_eq!(outcome(&crm, &session).await.0, "denied");
    let ended = crm.walk(&session, &mut Browser::stopping_at(RETURN_URL)).await;
    assert_eq!(ended.parameter("outcome"), "connected");
}

/// The address of the callback that a walk would open next.
async fn callback(crm: &Crm, session: &Value, browser: &mut Browser) -> String {
    let prefix = format!("{}/oauth/{}/example/callback", Stack::shared().api_url, crm.tenant.tenant_id());
    browser.stops_at.push(prefix);
    let at_callback = crm.walk(session, browser).await;
    browser.stops_at.pop();
    at_callback.url
}

#[tokio::test]
async fn f2_a_callback_that_arrives_twice_is_one_exchange_and_one_outcome() {
    let crm = Crm::with_oidc("rotating").await;
    let session = crm.session("u_1", json!({ "login_hint": "ada" })).await;
    let mut browser = Browser::stopping_at(RETURN_URL);
    let url = callback(&crm, &session, &mut browser).await;
    let mut second = Browser { cookies: browser.cookies.clone(), stops_at: browser.stops_at.clone() };
    // A prefetch takes nothing.
    let prefetched = testkit::http_client().get(&url).header("sec-purpose", "prefetch").send().await.unwrap();
    assert_eq!(prefetched.status().as_u16(), 204);
    let (first, again) = tokio::join!(browser.open(&url), second.open(&url));
    for ended in [&first, &again, &browser.open(&url).await] {
        assert_eq!(ended.parameter("outcome"), "connected", "{ended:?}");
    }
    assert_eq!(crm.provider.token_requests("authorization_code").await.len(), 1);
    // The tokens of the first exchange live.
    let connections: Vec<Value> = crm.tenant.list("/v1/connections", 10).await;
    let token = crm.token(&connections[0], json!({})).await.expect(200);
    assert!(crm.is_accepted(&token).await);
    assert_eq!(connections.len(), 1);
}

#[tokio::test]
async fn f1_f4_another_browser_redeems_nothing() {
    let crm = Crm::with_oidc("rotating").await;
    let session = crm.session("u_1", json!({ "login_hint": "mallory" })).await;
    let mut attacker = Browser::stopping_at(RETURN_URL);
    let url = callback(&crm, &session, &mut attacker).await;
    // The attacker's response is planted in the victim's browser.
    let mut victim = Browser::stopping_at(RETURN_URL);
    let page = victim.open(&url).await;
    assert_eq!(page.status, 400);
    assert!(page.text.contains("wrong-browser") && page.text.contains("Start again"), "{}", page.text);
    assert_eq!(crm.provider.token_requests("authorization_code").await.len(), 0);
    // Nor can another site press the button of our page.
    victim.open(&text(&session, "url")).await;
    let forged = vec![("proof".to_owned(), "0".repeat(64))];
    let posted = victim.post(&text(&session, "url"), forged, "https://evil.example").await;
    assert!(posted.text.contains("wrong-browser"), "{}", posted.text);
    // The browser that began it can finish.
    assert_eq!(attacker.open(&url).await.parameter("outcome"), "connected");
}

#[tokio::test]
async fn f22_two_tabs_of_one_browser_finish_in_any_order() {
    let crm = Crm::with_oidc("rotating").await;
    let [first, second] = [
        crm.session("u_1", json!({ "login_hint": "ada" })).await,
        crm.session("u_2", json!({ "login_hint": "bob" })).await,
    ];
    let mut browser = Browser::stopping_at(RETURN_URL);
    let tab_1 = callback(&crm, &first, &mut browser).await;
    let cookie = |browser: &Browser| {
        let ours = browser.cookies.iter().filter(|cookie| cookie.name == "__Host-cw-browser");
        ours.map(|cookie| cookie.value.clone()).collect::<Vec<_>>()
    };
    let known = cookie(&browser);
    let tab_2 = callback(&crm, &second, &mut browser).await;
    // The same link once more, in a third tab.
    let tab_3 = callback(&crm, &first, &mut browser).await;
    for tab in [&tab_2, &tab_1] {
        let ended = browser.open(tab).await;
        assert_eq!(ended.parameter("outcome"), "connected", "{ended:?}");
    }
    // One id of the browser, which no start replaces and no callback clears.
    assert_eq!((cookie(&browser), known.len()), (known, 1));
    // A session connects once: the third tab takes nothing from the first one.
    let late = browser.open(&tab_3).await;
    assert_eq!(late.parameter("code"), "session-ended", "{late:?}");
    assert_eq!(outcome(&crm, &first).await, ("connected".to_owned(), "connected".to_owned()));
    assert_eq!(crm.provider.token_requests("authorization_code").await.len(), 2);
    let connections: Vec<Value> = crm.tenant.list("/v1/connections", 10).await;
    assert_eq!(connections.len(), 2);
}

#[tokio::test]
async fn f13_f14_f15_what_cannot_be_verified_connects_nothing() {
    let crm = Crm::with_oidc("rotating").await;
    let token = |claims: Value| json!({ "fault": "id_token", "claims": claims });
    for (order, code) in [
        (json!({ "next_authorization": { "iss": "https://other.example", "times": 1 } }), "wrong-issuer"),
        (json!({ "next_authorization": { "iss": null, "times": 1 } }), "wrong-issuer"),
        (token(json!({ "nonce": "another" })), "wrong-nonce"),
        (token(json!({ "nonce": null })), "wrong-nonce"),
        (token(json!({ "aud": "another" })), "id-token-invalid"),
        (token(json!({ "iss": "https://other.example" })), "id-token-invalid"),
        (token(json!({ "aud": ["rotating", "stranger"], "azp": "stranger" })), "id-token-invalid"),
        (json!({ "fault": "id_token", "shift": { "exp": -7200 } }), "id-token-invalid"),
        (json!({ "fault": "id_token", "shift": { "iat": 600 } }), "id-token-invalid"),
        (json!({ "fault": "id_token", "header": { "alg": "none" } }), "id-token-invalid"),
        (json!({ "fault": "id_token", "header": { "alg": "HS256" } }), "id-token-invalid"),
        (json!({ "fault": "id_token", "key": "other" }), "id-token-invalid"),
        (json!({ "fault": "id_token", "signature": "bad" }), "id-token-invalid"),
    ] {
        crm.provider.control(order.clone()).await;
        let session = crm.session("u_1", json!({ "login_hint": "ada" })).await;
        let ended = crm.walk(&session, &mut Browser::stopping_at(RETURN_URL)).await;
        assert_eq!(
            (ended.parameter("outcome").as_str(), ended.parameter("code").as_str()),
            ("failed", code),
            "{order}"
        );
        crm.provider.control(json!({ "fault": null })).await;
    }
    let connections: Vec<Value> = crm.tenant.list("/v1/connections", 10).await;
    assert_eq!(connections, Vec::<Value>::new());
    // What is unusual but right connects.
    for order in [
        token(json!({ "aud": ["rotating", "stranger"], "azp": "rotating" })),
        json!({ "fault": "id_token", "header": { "kid": null } }),
        json!({ "fault": "id_token", "shift": { "iat": 30 } }),
    ] {
        crm.provider.control(order.clone()).await;
        let session = crm.session("u_1", json!({ "login_hint": "ada" })).await;
        let ended = crm.walk(&session, &mut Browser::stopping_at(RETURN_URL)).await;
        assert_eq!(ended.parameter("outcome"), "connected", "{order}: {ended:?}");
    }
}

#[tokio::test]
async fn f8_f9_token_responses_are_read_as_providers_write_them() {
    let crm = Crm::with_oidc("rotating").await;
    for (fault, expected) in [
        ("form", "connected"),
        ("text_json", "connected"),
        ("created", "connected"),
        ("gzip", "connected"),
        ("no_expires", "connected"),
        ("string_expires", "connected"),
        ("no_token_type", "connected"),
        ("html502", "idp-unavailable"),
        ("drop", "idp-unavailable"),
        ("huge", "idp-unavailable"),
    ] {
        let order = if fault == "huge" {
            json!({ "fault": fault, "bytes": 200_000, "times": 1 })
        } else {
            json!({ "fault": fault, "times": 1 })
        };
        crm.provider.control(order).await;
        let session = crm.session("u_1", json!({ "login_hint": "ada" })).await;
        let ended = crm.walk(&session, &mut Browser::stopping_at(RETURN_URL)).await;
        assert_eq!(ended.parameter("code"), expected, "{fault}: {ended:?}");
    }
}

#[tokio::test]
async fn f17_a_required_scope_that_is_not_granted_connects_nothing() {
    let crm = Crm::with_oidc("rotating").await;
    let scopes =
        json!({ "scopes": ["email", "calendar"], "required_scopes": ["calendar"], "login_hint": "ada" });
    let fewer =
        json!({ "next_authorization": { "scopes": ["openid", "offline_access", "email"], "times": 1 } });
    crm.provider.control(fewer.clone()).await;
    let session = crm.session("u_1", scopes).await;
    let ended = crm.walk(&session, &mut Browser::stopping_at(RETURN_URL)).await;
    assert_eq!(ended.parameter("code"), "insufficient-scope");
    // Where it is not required, the connection says what is missing.
    crm.provider.control(fewer).await;
    let session = crm.session("u_1", json!({ "scopes": ["email", "calendar"], "login_hint": "ada" })).await;
    let ended = crm.walk(&session, &mut Browser::stopping_at(RETURN_URL)).await;
    assert_eq!(ended.parameter("code"), "connected");
    let connections: Vec<Value> = crm.tenant.list("/v1/connections", 10).await;
    assert_eq!(connections[0]["missing_scopes"], json!(["calendar"]));
    let refused = crm.token(&connections[0], json!({ "scopes": ["calendar"] })).await;
    refused.expect_problem(409, "missing-scopes");
}

#[tokio::test]
async fn f20_one_account_and_two_people() {
    let crm = Crm::with_oidc("rotating").await;
    let first = crm.connect("u_1", "ada").await;
    // The same person renews the connection, which keeps its id.
    let again = crm.connect("u_1", "ada").await;
    assert_eq!(first["id"], again["id"]);
    assert_eq!(again["generation"].as_u64(), Some(2));
    // Another person is refused, unless the CRM shares.
    let session = crm.session("u_2", json!({ "login_hint": "ada" })).await;
    let ended = crm.walk(&session, &mut Browser::stopping_at(RETURN_URL)).await;
    assert_eq!(ended.parameter("code"), "account-linked-elsewhere");
    let session = crm.session("u_2", json!({ "login_hint": "ada", "share": true })).await;
    let ended = crm.walk(&session, &mut Browser::stopping_at(RETURN_URL)).await;
    assert_eq!(ended.parameter("code"), "connected");
    // A reconnection is of the same account.
    let path = format!("/v1/connections/{}/reconnect", text(&first, "id"));
    let session =
        crm.tenant.post(&path, &json!({ "return_url": RETURN_URL, "login_hint": "bob" })).await.expect(201);
    let ended = crm.walk(&session, &mut Browser::stopping_at(RETURN_URL)).await;
    assert_eq!(ended.parameter("code"), "other-account");
    let kept = crm.connection(&text(&first, "id")).await;
    assert_eq!(text(&kept["account"], "email"), "ada@example.com");
}

#[tokio::test]
async fn another_tenant_sees_nothing() {
    let crm = Crm::with_oidc("rotating").await;
    let connection = crm.connect("u_1", "ada").await;
    let session = crm.session("u_1", json!({})).await;
    let stranger = Stack::shared().tenant().await;
    let id = text(&connection, "id");
    for path in [
        format!("/v1/connections/{id}"),
        format!("/v1/connect-sessions/{}", text(&session, "id")),
        "/v1/idps/example".to_owned(),
    ] {
        stranger.get(&path).await.expect_problem(404, "not-found");
    }
    let none: Vec<Value> = stranger.list("/v1/connections", 10).await;
    assert_eq!(none, Vec::<Value>::new());
    for (path, body) in [
        (format!("/v1/connections/{id}/token"), json!({})),
        (format!("/v1/connections/{id}/refresh"), json!({})),
        (format!("/v1/connections/{id}/reconnect"), json!({})),
    ] {
        stranger.post(&path, &body).await.expect_problem(404, "not-found");
    }
    stranger.delete(&format!("/v1/connections/{id}")).await.expect_problem(404, "not-found");
    let body = json!({ "user_id": "u", "idp": "example" });
    stranger.post("/v1/connect-sessions", &body).await.expect_invalid_field("/idp");
}

/// The fields of the form that leads to this provider.
fn choice(page: &BrowserPage, idp: &str) -> Vec<(String, String)> {
    let form = page.text.split("<form").find(|form| form.contains(&format!("value=\"{idp}\"")));
    let text = form.unwrap_or_else(|| panic!("no button for {idp} in {page:?}")).to_owned();
    let form = BrowserPage { text, ..page.clone() };
    let fields = ["idp", "proof"].map(|name| (name.to_owned(), form.field(name).unwrap()));
    fields.into()
}

#[tokio::test]
async fn a_person_chooses_among_the_providers_of_a_session() {
    let crm = Crm::with_oidc("rotating").await;
    // Another provider, which responds by a cross-site POST, and one without credentials.
    let mut row = apple_row(&crm.provider.issuer);
    (row["auth"], row["title"]) = (json!("post"), json!("Second"));
    crm.tenant.post("/v1/idps", &json!({ "name": "second", "row": row })).await.expect(201);
    let credentials = json!({ "client_id": "c", "client_secret": "a-secret-of-the-client" });
    crm.tenant.post("/v1/idps/second/credentials", &credentials).await.expect(201);
    crm.tenant.post("/v1/idps", &json!({ "name": "google" })).await.expect(201);
    let create = async |more: Value| {
        let mut body = json!({ "user_id": "u_1", "login_hint": "ada", "return_url": RETURN_URL });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        crm.tenant.post("/v1/connect-sessions", &body).await
    };
    for (pointer, more) in [
        ("/idps", json!({ "idp": "example", "idps": ["example", "second"] })),
        ("/idps", json!({ "idps": [] })),
        ("/idps/1", json!({ "idps": ["example", "example"] })),
        ("/idps/1", json!({ "idps": ["example", "google"] })),
        ("/idps/0", json!({ "idps": ["nothing"] })),
        ("/scopes", json!({ "scopes": ["email"] })),
        ("/required_scopes", json!({ "idps": ["example"], "required_scopes": ["email"] })),
    ] {
        create(more).await.expect_invalid_field(pointer);
    }
    let session = create(json!({})).await.expect(201);
    let read = async || -> Value {
        crm.tenant.read(&format!("/v1/connect-sessions/{}", text(&session, "id"))).await
    };
    let before = read().await;
    // What cannot be used now is not offered.
    assert_eq!((&before["idp"], &before["idps"]), (&Value::Null, &json!(["example", "second"])));
    let link = text(&session, "url");
    let mut browser = Browser::stopping_at(RETURN_URL);
    let page = browser.open(&link).await;
    assert_eq!(page.status, 200, "{page:?}");
    assert!(page.text.contains("Connect an account") && page.text.contains("Continue to Second"), "{page:?}");
    let names: Vec<_> = browser.cookies.iter().map(|cookie| cookie.name.as_str()).collect();
    assert_eq!(names, ["__Host-cw-browser", "__Host-cw-browser-post"]);
    let from = link.split('/').take(3).collect::<Vec<_>>().join("/");
    // One that is not offered, and a button of another browser.
    let mut forged = choice(&page, "example");
    forged[0].1 = "google".to_owned();
    assert_eq!(browser.post(&link, forged, &from).await.status, 410);
    let other = Browser::default().post(&link, choice(&page, "example"), &from).await;
    assert!(other.text.contains("wrong-browser"), "{other:?}");
    let ended = browser.post(&link, choice(&page, "example"), &from).await;
    assert_eq!(ended.parameter("code"), "connected", "{ended:?}");
    let after = read().await;
    assert_eq!((text(&after, "status"), text(&after, "idp")), ("connected".into(), "example".into()));
    let connection = crm.connection(&text(&after, "connection_id")).await;
    assert_eq!(text(&connection, "idp"), "example");
}
