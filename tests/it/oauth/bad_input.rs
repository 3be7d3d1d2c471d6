//! Bad input at every route about connections, and at every page: what is refused, as which problem, and which field,
//! parameter or outcome is named. No response repeats a secret.

use std::fmt::Write;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{ApiResponse, Client, Stack, foreign::oauth::Browser, stack::text};

use super::setup::{Crm, RETURN_URL, oidc_row};

/// A text that is a secret in every body that has it.
const SECRET: &str = "private-secret-0123456789";

/// Method, path, body, status, problem, and what is named: a pointer, or `?` and a parameter.
type Row<'a> = (&'a str, &'a str, Value, u16, &'a str, &'a str);

/// Places in the paths, and their values.
type Names = [(&'static str, String)];

fn filled(text: &str, names: &Names) -> String {
    names.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
}

/// What is wrong with a response, or nothing.
fn difference(row: &Row<'_>, response: &ApiResponse) -> Option<String> {
    let (_, _, _, status, problem, named) = row;
    let found = match named.strip_prefix('?') {
        Some(_) => format!("?{}", response.json["errors"][0]["parameter"].as_str().unwrap_or_default()),
        None => response.pointer().to_owned(),
    };
    let is_as_expected = (response.status, response.problem()) == (*status, *problem) && found == *named;
    let is_silent = !response.text.contains(SECRET);
    let has_id = response.json["request_id"].as_str().is_some_and(|id| !id.is_empty());
    (!is_as_expected || !is_silent || !has_id)
        .then(|| format!("{} {} at {found:?}: {}", response.status, response.problem(), response.text))
}

/// Sends all rows, and shows all that differ.
async fn refuse_all(client: &Client, names: &Names, rows: &[Row<'_>]) {
    let mut differences = String::new();
    for row in rows {
        let (method, path, body, ..) = row;
        let method: Method = method.parse().unwrap();
        let (headers, body) = match body {
            Value::Null => (vec![], None),
            // A text is sent as it is, so that it can be no JSON at all.
            Value::String(text) => (vec![("content-type", "application/json")], Some(text.clone())),
            body => (vec![("content-type", "application/json")], Some(body.to_string())),
        };
        let path = filled(path, names);
        let response =
            client.send(method.clone(), &path, &headers, body.clone().map(String::into_bytes)).await;
        if let Some(difference) = difference(row, &response) {
            writeln!(differences, "{method} {path} {}\n  {difference}", body.unwrap_or_default()).unwrap();
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

const INVALID: (u16, &str) = (422, "invalid-field");

fn invalid<'a>(method: &'a str, path: &'a str, body: Value, pointer: &'a str) -> Row<'a> {
    (method, path, body, INVALID.0, INVALID.1, pointer)
}

fn missing<'a>(method: &'a str, path: &'a str, body: Value) -> Row<'a> {
    (method, path, body, 404, "not-found", "")
}

fn parameter<'a>(method: &'a str, path: &'a str, name: &'a str) -> Row<'a> {
    (method, path, Value::Null, 400, "invalid-request", name)
}

/// A body with these members besides.
fn with(body: &Value, more: Value) -> Value {
    let (mut body, Value::Object(more)) = (body.clone(), more) else { panic!("no object") };
    body.as_object_mut().unwrap().extend(more);
    body
}

#[tokio::test]
async fn bad_connect_sessions_are_refused() {
    const PATH: &str = "/v1/connect-sessions";
    let crm = Crm::with_oidc("rotating").await;
    crm.tenant.post("/v1/idps", &json!({ "name": "google" })).await.expect(201);
    let session = crm.session("u_1", json!({})).await;
    let names = [("{cns}", text(&session, "id"))];
    let good = json!({ "user_id": "u_1", "idp": "example" });
    let many: Vec<String> = (0..101).map(|number| format!("s{number}")).collect();
    let long = "x".repeat(256);
    let mut rows = vec![
        (PATH, json!("{"), 400, "invalid-request", ""),
        (PATH, json!(""), 400, "invalid-request", ""),
        (PATH, json!({}), 422, "invalid-field", ""),
        (PATH, json!([]), 422, "invalid-field", ""),
    ]
    .into_iter()
    .map(|(path, body, status, problem, named)| ("POST", path, body, status, problem, named))
    .collect::<Vec<Row<'_>>>();
    rows.extend(
        [
            (json!({ "user_id": "" }), "/user_id"),
            (json!({ "user_id": "  " }), "/user_id"),
            (json!({ "user_id": "a\nb" }), "/user_id"),
            (json!({ "user_id": long }), "/user_id"),
            (json!({ "user_id": 5 }), "/user_id"),
            (json!({ "idp": "No Such" }), "/idp"),
            (json!({ "idp": "nothing" }), "/idp"),
            // A preset without credentials.
            (json!({ "idp": "google" }), "/idp"),
            (json!({ "scopes": "calendar" }), "/scopes"),
            (json!({ "scopes": ["a", "b c"] }), "/scopes/1"),
            (json!({ "scopes": many }), "/scopes"),
            (json!({ "required_scopes": [""] }), "/required_scopes/0"),
            (json!({ "return_url": "nonsense" }), "/return_url"),
            (json!({ "return_url": "https://evil.example/" }), "/return_url"),
            (json!({ "return_url": "javascript:alert(1)" }), "/return_url"),
            (json!({ "login_hint": "" }), "/login_hint"),
            (json!({ "metadata": { "": "x" } }), "/metadata/"),
            (json!({ "metadata": { "a": 5 } }), "/metadata/a"),
            (json!({ "metadata": [] }), "/metadata"),
            (json!({ "confirm": "yes" }), "/confirm"),
            (json!({ "share": 1 }), "/share"),
            (json!({ "tenant": "other" }), "/tenant"),
            (json!({ "connection_id": "con_x" }), "/connection_id"),
        ]
        .map(|(more, pointer)| invalid("POST", PATH, with(&good, more), pointer)),
    );
    rows.extend([
        missing("GET", "/v1/connect-sessions/nonsense", Value::Null),
        missing("GET", "/v1/connect-sessions/cns_0123456789abcdefghjkmnpqrs", Value::Null),
        missing("GET", "/v1/connect-sessions/con_0123456789abcdefghjkmnpqrs", Value::Null),
        parameter("GET", "/v1/connect-sessions/{cns}?x=1", "?x"),
        missing("POST", "/v1/connect-sessions/nonsense/confirm", json!({ "user_id": "u_1" })),
        invalid("POST", "/v1/connect-sessions/{cns}/confirm", json!({}), ""),
        invalid("POST", "/v1/connect-sessions/{cns}/confirm", json!({ "user_id": "" }), "/user_id"),
        invalid("POST", "/v1/connect-sessions/{cns}/confirm", json!({ "user_id": "u_2" }), "/user_id"),
        invalid("POST", "/v1/connect-sessions/{cns}/confirm", json!({ "user_id": "u_1", "id": 1 }), "/id"),
        (
            "POST",
            "/v1/connect-sessions/{cns}/confirm",
            json!({ "user_id": "u_1" }),
            409,
            "connection-pending",
            "",
        ),
    ]);
    refuse_all(&crm.tenant, &names, &rows).await;
}

#[tokio::test]
async fn bad_requests_about_connections_are_refused() {
    const PATH: &str = "/v1/connections";
    let crm = Crm::with_oidc("rotating").await;
    let gone = text(&crm.connect("u_2", "bob").await, "id");
    crm.tenant.delete(&format!("{PATH}/{gone}")).await.expect(202);
    let connection = text(&crm.connect("u_1", "ada").await, "id");
    let names = [("{con}", connection), ("{gone}", gone)];
    let mut rows = vec![
        parameter("GET", "/v1/connections?limit=0", "?limit"),
        parameter("GET", "/v1/connections?limit=251", "?limit"),
        parameter("GET", "/v1/connections?limit=x", "?limit"),
        parameter("GET", "/v1/connections?cursor=!", "?cursor"),
        parameter("GET", "/v1/connections?user_id=", "?user_id"),
        parameter("GET", "/v1/connections?idp=No", "?idp"),
        parameter("GET", "/v1/connections?status=dead", "?status"),
        parameter("GET", "/v1/connections?status=active&status=failing", "?status"),
        parameter("GET", "/v1/connections?email=", "?email"),
        parameter("GET", "/v1/connections?page=2", "?page"),
        parameter("GET", "/v1/connections/{con}?x=1", "?x"),
        parameter("DELETE", "/v1/connections/{con}?revoke=maybe", "?revoke"),
        parameter("DELETE", "/v1/connections/{con}?force=true", "?force"),
    ];
    for (method, path, body) in [
        ("GET", "/v1/connections/nonsense", Value::Null),
        ("GET", "/v1/connections/%00", Value::Null),
        ("GET", "/v1/connections/cns_0123456789abcdefghjkmnpqrs", Value::Null),
        ("GET", "/v1/connections/con_0123456789abcdefghjkmnpqrs", Value::Null),
        ("PATCH", "/v1/connections/nonsense", json!({})),
        ("DELETE", "/v1/connections/nonsense", Value::Null),
        ("POST", "/v1/connections/nonsense/token", json!({})),
        ("POST", "/v1/connections/nonsense/refresh", json!({})),
        ("POST", "/v1/connections/nonsense/reconnect", json!({})),
    ] {
        rows.push(missing(method, path, body));
    }
    let one = "/v1/connections/{con}";
    for (body, pointer) in [
        (json!([]), ""),
        (json!({ "label": "" }), "/label"),
        (json!({ "label": 5 }), "/label"),
        (json!({ "metadata": [] }), "/metadata"),
        (json!({ "metadata": { "a": null } }), "/metadata/a"),
        (json!({ "refresh": "never" }), "/refresh"),
        (json!({ "access_token": SECRET }), "/access_token"),
    ] {
        rows.push(invalid("PATCH", one, body, pointer));
    }
    for (body, pointer) in [
        (json!([]), ""),
        (json!({ "min_valid_seconds": 3601 }), "/min_valid_seconds"),
        (json!({ "min_valid_seconds": -1 }), "/min_valid_seconds"),
        (json!({ "min_valid_seconds": "60" }), "/min_valid_seconds"),
        (json!({ "scopes": [""] }), "/scopes/0"),
        (json!({ "refused_generation": -1 }), "/refused_generation"),
        (json!({ "refused_generation": "1" }), "/refused_generation"),
        (json!({ "refresh_token": SECRET }), "/refresh_token"),
    ] {
        rows.push(invalid("POST", "/v1/connections/{con}/token", body, pointer));
    }
    for (body, pointer) in [
        (json!({ "scopes": ["a b"] }), "/scopes/0"),
        (json!({ "required_scopes": 5 }), "/required_scopes"),
        (json!({ "return_url": "https://evil.example/" }), "/return_url"),
        (json!({ "login_hint": " " }), "/login_hint"),
        (json!({ "idp": "example" }), "/idp"),
        (json!({ "user_id": "u_2" }), "/user_id"),
    ] {
        rows.push(invalid("POST", "/v1/connections/{con}/reconnect", body, pointer));
    }
    rows.push(invalid("POST", "/v1/connections/{con}/refresh", json!({ "force": true }), "/force"));
    rows.push((
        "POST",
        "/v1/connections/{con}/token",
        json!({ "scopes": ["calendar"] }),
        409,
        "missing-scopes",
        "",
    ));
    for path in ["token", "refresh", "reconnect"].map(|name| format!("/v1/connections/{{gone}}/{name}")) {
        let row: Row<'_> = ("POST", &path, json!({}), 409, "connection-revoked", "");
        refuse_all(&crm.tenant, &names, &[row]).await;
    }
    refuse_all(&crm.tenant, &names, &rows).await;
    // Nothing of this has changed or used the connection.
    let read = crm.connection(&names[0].1).await;
    assert_eq!((text(&read, "status").as_str(), read["generation"].as_u64()), ("active", Some(1)));
    assert_eq!(crm.provider.token_requests("refresh_token").await.len(), 0);
}

#[tokio::test]
async fn bad_imports_of_tokens_are_refused() {
    const PATH: &str = "/v1/connections";
    let crm = Crm::with_oidc("rotating").await;
    let mut rows = Vec::new();
    let good =
        json!({ "user_id": "u_9", "idp": "example", "account": { "sub": "9" }, "refresh_token": SECRET });
    rows.extend([
        ("POST", PATH, json!("{\"idp\""), 400, "invalid-request", ""),
        invalid("POST", PATH, json!({}), ""),
        invalid("POST", PATH, json!({ "user_id": "u", "idp": "example", "account": { "sub": "s" } }), ""),
    ]);
    rows.extend(
        [
            (json!({ "user_id": "" }), "/user_id"),
            (json!({ "idp": "nothing" }), "/idp"),
            (json!({ "account": { "sub": "" } }), "/account/sub"),
            (json!({ "account": {} }), "/account"),
            (json!({ "account": { "sub": "9", "email": "" } }), "/account/email"),
            (json!({ "account": { "sub": "9", "name": "a\u{0}b" } }), "/account/name"),
            (json!({ "account": { "sub": "9", "phone": "1" } }), "/account/phone"),
            (json!({ "refresh_token": format!("{SECRET} {SECRET}") }), "/refresh_token"),
            (json!({ "refresh_token": [SECRET] }), "/refresh_token"),
            (json!({ "access_token": "" }), "/access_token"),
            (json!({ "access_token": SECRET.repeat(700) }), "/access_token"),
            (json!({ "expires_in": 60 }), "/expires_in"),
            (json!({ "access_token": SECRET, "expires_in": 0 }), "/expires_in"),
            (json!({ "access_token": SECRET, "expires_in": -1 }), "/expires_in"),
            (json!({ "scopes": ["a,b"] }), "/scopes/0"),
            (json!({ "metadata": { "a": "x".repeat(501) } }), "/metadata/a"),
            (json!({ "label": "" }), "/label"),
            (json!({ "id_token": SECRET }), "/id_token"),
        ]
        .map(|(more, pointer)| invalid("POST", PATH, with(&good, more), pointer)),
    );
    refuse_all(&crm.tenant, &[], &rows).await;
    let none: Vec<Value> = crm.tenant.list(PATH, 10).await;
    assert_eq!(none, Vec::<Value>::new());
}

#[tokio::test]
async fn bad_identity_providers_are_refused() {
    const IDPS: &str = "/v1/idps";
    let crm = Crm::with_oidc("rotating").await;
    let row = oidc_row(&crm.provider.issuer);
    let mut rows: Vec<Row<'_>> = vec![
        ("POST", IDPS, json!("nonsense"), 400, "invalid-request", ""),
        ("POST", IDPS, json!({ "name": "example", "row": row }), 409, "already-exists", "/name"),
        parameter("GET", "/v1/idps?limit=1", "?limit"),
        parameter("GET", "/v1/connect-settings?x=1", "?x"),
    ];
    for (body, pointer) in [
        (json!({}), ""),
        (json!({ "name": "No Such" }), "/name"),
        (json!({ "name": "nothing" }), "/name"),
        (json!({ "name": 5 }), "/name"),
        (json!({ "name": "google", "scopes": ["a b"] }), "/scopes/0"),
        (json!({ "name": "google", "client_secret": SECRET }), "/client_secret"),
        (json!({ "name": "new", "issuer": "nonsense" }), "/issuer"),
        (json!({ "name": "new", "issuer": "http://10.0.0.1:8080/" }), "/issuer"),
        (json!({ "name": "new", "issuer": "http://169.254.169.254/latest" }), "/issuer"),
        (json!({ "name": "new", "issuer": format!("{}/nowhere", crm.provider.issuer) }), "/issuer"),
        (json!({ "name": "new", "issuer": crm.provider.issuer, "row": row }), "/issuer"),
        (json!({ "name": "new", "row": {} }), "/row"),
        (json!({ "name": "new", "row": [] }), "/row"),
    ] {
        rows.push(invalid("POST", IDPS, body, pointer));
    }
    for (change, pointer) in [
        (json!({ "title": "" }), "/row/title"),
        (json!({ "authorize_url": "ftp://example.com/" }), "/row/authorize_url"),
        (json!({ "token_url": "http://169.254.169.254:8080/" }), "/row/token_url"),
        (json!({ "token_url": "https://user:password@example.com/" }), "/row/token_url"),
        (json!({ "refresh_url": "nonsense" }), "/row/refresh_url"),
        (json!({ "auth": "magic" }), "/row/auth"),
        (json!({ "auth": "none", "pkce": false }), "/row/pkce"),
        (json!({ "response_mode": "fragment" }), "/row/response_mode"),
        (json!({ "rotation": "sometimes" }), "/row/rotation"),
        (json!({ "authorize_parameters": { "state": "fixed" } }), "/row/authorize_parameters"),
        (json!({ "token_parameters": { "code_verifier": "fixed" } }), "/row/token_parameters"),
        (json!({ "openid": null }), "/row/profile"),
        (json!({ "openid": { "issuer": "x", "jwks_url": "nonsense" } }), "/row/openid/jwks_url"),
        (
            json!({ "openid": { "issuer": "x", "jwks_url": "https://a.example/", "algorithms": [] } }),
            "/row/openid/algorithms",
        ),
        (
            json!({ "openid": { "issuer": "x", "jwks_url": "https://a.example/", "algorithms": ["HS256"] } }),
            "/row/openid/algorithms/0",
        ),
        (json!({ "profile": { "sub": ["id"] } }), "/row/profile"),
        (json!({ "lifetime_secs": 5 }), "/row/lifetime_secs"),
        (json!({ "keep": ["access_token"] }), "/row/keep"),
        (json!({ "revocation": { "url": "https://{token}.example/" } }), "/row/revocation/url"),
        (json!({ "revocation": { "url": "https://a.example/", "form": "carrier" } }), "/row/revocation/form"),
        (json!({ "client_secret": SECRET }), "/row/client_secret"),
    ] {
        let body = json!({ "name": "new", "row": with(&row, change.clone()) });
        rows.push(invalid("POST", IDPS, body, pointer));
        if change != json!({ "auth": "none", "pkce": false }) {
            rows.push(invalid("PATCH", "/v1/idps/example", json!({ "row": with(&row, change) }), pointer));
        }
    }
    for (body, pointer) in [
        (json!({ "row": null }), "/row"),
        (json!({ "row": with(&row, json!({ "auth": "none" })) }), "/row/auth"),
        (json!({ "scopes": [""] }), "/scopes/0"),
        (json!({ "issuer": "https://a.example" }), "/issuer"),
    ] {
        rows.push(invalid("PATCH", "/v1/idps/example", body, pointer));
    }
    for (method, path, body) in [
        ("GET", "/v1/idps/nothing", Value::Null),
        ("GET", "/v1/idps/No%20Such", Value::Null),
        ("PATCH", "/v1/idps/nothing", json!({})),
        ("DELETE", "/v1/idps/nothing", Value::Null),
        ("POST", "/v1/idps/nothing/credentials", json!({ "client_id": "c", "client_secret": SECRET })),
        ("DELETE", "/v1/idps/example/credentials/nonsense", Value::Null),
        ("DELETE", "/v1/idps/example/credentials/crd_0123456789abcdefghjkmnpqrs", Value::Null),
    ] {
        rows.push(missing(method, path, body));
    }
    refuse_all(&crm.tenant, &[], &rows).await;
    let media =
        crm.tenant.send(Method::POST, IDPS, &[("content-type", "text/plain")], Some(b"{}".to_vec())).await;
    media.expect_problem(415, "unsupported-media-type");
}

#[tokio::test]
async fn bad_credentials_and_settings_are_refused() {
    const CREDENTIALS: &str = "/v1/idps/example/credentials";
    let crm = Crm::with_oidc("rotating").await;
    let row = oidc_row(&crm.provider.issuer);
    let signing = json!({ "name": "signing", "row": with(&row, json!({ "auth": "private_key_jwt" })) });
    crm.tenant.post("/v1/idps", &signing).await.expect(201);
    let mut rows = Vec::new();
    for (body, pointer) in [
        (json!({}), ""),
        (json!({ "client_id": "", "client_secret": SECRET }), "/client_id"),
        (json!({ "client_id": "c" }), "/client_secret"),
        (json!({ "client_id": "c", "client_secret": "" }), "/client_secret"),
        (json!({ "client_id": "c", "client_secret": format!(" {SECRET}") }), "/client_secret"),
        (json!({ "client_id": "c", "client_secret": SECRET.repeat(200) }), "/client_secret"),
        (json!({ "client_id": "c", "client_secret": 5 }), "/client_secret"),
        (json!({ "client_id": "c", "client_secret": SECRET, "key_id": "k" }), "/key_id"),
        (json!({ "client_id": "c", "client_secret": SECRET, "team_id": "t" }), "/team_id"),
        (json!({ "client_id": "c", "client_secret": SECRET, "not_before": "tomorrow" }), "/not_before"),
        (json!({ "client_id": "c", "client_secret": SECRET, "scopes": [] }), "/scopes"),
    ] {
        rows.push(invalid("POST", CREDENTIALS, body, pointer));
    }
    for (body, pointer) in [
        (json!({ "client_id": "c" }), "/private_key"),
        (json!({ "client_id": "c", "client_secret": SECRET }), "/client_secret"),
        (json!({ "client_id": "c", "key_id": "k", "private_key": SECRET }), "/private_key"),
    ] {
        rows.push(invalid("POST", "/v1/idps/signing/credentials", body, pointer));
    }
    let many: Vec<String> = (0..21).map(|number| format!("https://a.example/{number}")).collect();
    for (body, pointer) in [
        (json!([]), ""),
        (json!({ "return_urls": "https://a.example/" }), "/return_urls"),
        (json!({ "return_urls": ["https://a.example/", "nonsense"] }), "/return_urls/1"),
        (json!({ "return_urls": ["https://a.example/?q=1"] }), "/return_urls/0"),
        (json!({ "return_urls": ["https://user:password@a.example/"] }), "/return_urls/0"),
        (json!({ "return_urls": many }), "/return_urls"),
        (json!({ "return_url": "https://a.example/" }), "/return_url"),
    ] {
        rows.push(invalid("PATCH", "/v1/connect-settings", body, pointer));
    }
    refuse_all(&crm.tenant, &[], &rows).await;
}

/// Method, path, form, status, and the outcome that the page names.
type PageRow<'a> = (&'a str, &'a str, &'a str, u16, &'a str);

#[tokio::test]
async fn bad_requests_of_browsers_get_a_page_that_repeats_nothing() {
    const EVIL: &str = "%3Cscript%3Ealert(1)";
    let stack = Stack::shared();
    let crm = Crm::with_oidc("rotating").await;
    let session = crm.session("u_1", json!({ "login_hint": "ada" })).await;
    let link = text(&session, "url").rsplit('/').next().unwrap().to_owned();
    let callback = format!("/oauth/{}/example/callback", crm.tenant.tenant_id());
    let mut browser = Browser::stopping_at(RETURN_URL);
    browser.stops_at.push(format!("{}{callback}", stack.api_url));
    let state = crm.walk(&session, &mut browser).await.parameter("state");
    let long = "x".repeat(6000);
    let names = [
        ("{link}", link),
        ("{callback}", callback),
        ("{state}", state),
        ("{long}", long),
        ("{evil}", EVIL.into()),
    ];
    let rows: &[PageRow<'_>] = &[
        ("GET", "/oauth/connect/nonsense", "", 410, "session-ended"),
        ("GET", "/oauth/connect/{evil}", "", 410, "session-ended"),
        ("GET", "/oauth/connect/{long}", "", 410, "session-ended"),
        ("POST", "/oauth/connect/nonsense", "proof=x", 410, "session-ended"),
        ("POST", "/oauth/connect/{link}", "", 400, "wrong-browser"),
        ("POST", "/oauth/connect/{link}", "proof=", 400, "wrong-browser"),
        ("POST", "/oauth/connect/{link}", "proof={evil}", 400, "wrong-browser"),
        ("GET", "{callback}", "", 404, "state-unknown"),
        ("GET", "{callback}?state=", "", 404, "state-unknown"),
        ("GET", "{callback}?code=x", "", 404, "state-unknown"),
        ("GET", "{callback}?state={evil}&code={evil}", "", 404, "state-unknown"),
        ("GET", "{callback}?state={long}&code=x", "", 404, "state-unknown"),
        ("GET", "{callback}?error={evil}&error_description={evil}", "", 404, "state-unknown"),
        ("GET", "{callback}?state={state}&state={state}&code=x", "", 404, "state-unknown"),
        ("GET", "{callback}?state={state}&code=x&code=y", "", 404, "state-unknown"),
        ("POST", "{callback}", "state={evil}&code=x", 404, "state-unknown"),
        ("POST", "{callback}", "\u{0}\u{1}%zz&&==", 404, "state-unknown"),
        // The state of a flow at the callback of another tenant or provider.
        ("GET", "/oauth/other/example/callback?state={state}&code=x", "", 404, "state-unknown"),
        ("GET", "/oauth/example/callback?state={state}&code=x", "", 404, "state-unknown"),
        // In another browser, with a code and without.
        ("GET", "{callback}?state={state}&code=x", "", 400, "wrong-browser"),
        ("GET", "{callback}?state={state}&error=access_denied", "", 400, "wrong-browser"),
        ("POST", "{callback}", "state={state}&code=x", 400, "wrong-browser"),
    ];
    let client = stack.anonymous();
    let mut differences = String::new();
    for (method, path, form, status, outcome) in rows {
        let (path, form) = (filled(path, &names), filled(&filled(form, &names), &names));
        let path = filled(&path, &names);
        let body = (*method == "POST").then(|| form.clone().into_bytes());
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let response = client.send(method.parse().unwrap(), &path, &headers, body).await;
        let is_page = response.text.contains(&format!("<small>{outcome}</small>"));
        let is_safe = response.header("cache-control") == "no-store"
            && response.header("content-security-policy").contains("default-src 'none'")
            && !response.text.contains("<script")
            && !response.text.contains("alert(1)");
        if (response.status, is_page, is_safe) != (*status, true, true) {
            writeln!(differences, "{method} {path:.200} {form:.200}: {} {}", response.status, response.text)
                .unwrap();
        }
    }
    assert!(differences.is_empty(), "{differences}");
    // Other methods and paths are no pages.
    for (method, path) in
        [("PUT", "/oauth/connect/x"), ("DELETE", "{callback}"), ("GET", "/oauth/a/b/c/callback")]
    {
        let response = client.send(method.parse().unwrap(), &filled(path, &names), &[], None).await;
        assert_eq!(response.status, 404, "{method} {path}: {}", response.text);
    }
    // None of it took the flow: the browser that began it finishes.
    assert_eq!(crm.provider.token_requests("authorization_code").await.len(), 0);
    browser.stops_at.pop();
    let ended = crm.walk(&session, &mut browser).await;
    assert_eq!(ended.parameter("code"), "connected", "{ended:?}");
}
