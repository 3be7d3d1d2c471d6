use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use domain::connection::{
    idp::ClientAuth,
    token::{IdpError, TokenOutcome},
};
use url::form_urlencoded;

use super::*;

const REDIRECT: &str = "https://api.example/oauth/example/callback";

fn granted() -> Act {
    json_response(
        200,
        &json!({ "access_token": "at-1", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "rt-2" }),
    )
}

async fn redeem(peer: &Peer, idp: &Idp, client: &Client) -> TokenOutcome {
    peer.providers.redeem(idp, client, "c/1", "the-verifier", REDIRECT, now()).await
}

/// An outcome in short.
fn short(outcome: &TokenOutcome) -> String {
    let code = |error: &IdpError| error.code.clone().unwrap_or_default();
    match outcome {
        TokenOutcome::Granted(grant) => format!("granted {}", grant.access_token.expose()),
        TokenOutcome::Dead(error) => format!("dead {}", code(error)),
        TokenOutcome::ClientRefused(error) => format!("client {}", code(error)),
        TokenOutcome::Refused(error) => format!("refused {}", code(error)),
        TokenOutcome::Later { may_have_run, wait, .. } => {
            let wait = wait.map(|wait| format!(" in {} s", wait.as_secs())).unwrap_or_default();
            format!("later{wait}{}", if *may_have_run { ", may have run" } else { "" })
        }
    }
}

#[tokio::test]
async fn f10_a_client_authenticates_as_its_row_says() {
    let redirect = "&redirect_uri=https%3A%2F%2Fapi.example%2Foauth%2Fexample%2Fcallback";
    let code = "grant_type=authorization_code&code=c%2F1&code_verifier=the-verifier";
    let hard = "p%2Ba%25s%3As%2Fw+ord%3D%26";
    let basic = |user: &str, password: &str| {
        Some(format!("Basic {}", BASE64.encode(format!("{user}:{password}").as_bytes())))
    };
    for (row, id, header, body) in [
        // RFC 6749, section 2.3.1: both parts form-encoded, then joined.
        (json!({ "auth": "basic" }), "me & you", basic("me+%26+you", hard), format!("{code}{redirect}")),
        (
            json!({ "auth": "basic_raw" }),
            "me & you",
            basic("me & you", HARD_SECRET),
            format!("{code}{redirect}"),
        ),
        (
            json!({ "auth": "post" }),
            "me & you",
            None,
            format!("{code}&client_id=me+%26+you&client_secret={hard}{redirect}"),
        ),
        (json!({ "auth": "none" }), "app", None, format!("{code}&client_id=app{redirect}")),
        (
            json!({ "auth": "basic", "pkce": false }),
            "app",
            basic("app", hard),
            format!("grant_type=authorization_code&code=c%2F1{redirect}"),
        ),
        (
            json!({ "auth": "basic", "token_parameters": { "audience": "a b" } }),
            "app",
            basic("app", hard),
            format!("{code}{redirect}&audience=a+b"),
        ),
    ] {
        let mut peer = Peer::new(granted()).await;
        let outcome = redeem(&peer, &peer.idp(row.clone()), &text_client(id, HARD_SECRET)).await;
        assert_eq!(short(&outcome), "granted at-1", "{row}");
        let call = peer.one_call().await;
        assert_eq!(call.line, "POST /token HTTP/1.1");
        assert_eq!(call.header("authorization"), header.as_deref(), "{row}");
        assert_eq!(call.header("accept"), Some("application/json"));
        assert_eq!(call.header("content-type"), Some("application/x-www-form-urlencoded"));
        assert_eq!(call.body, body, "{row}");
    }
}

#[tokio::test]
async fn a_refresh_names_no_scope_and_may_have_an_address_of_its_own() {
    let mut peer = Peer::new(granted()).await;
    let idp = peer
        .idp(json!({ "auth": "post", "scopes": ["mail"], "refresh_url": format!("{}/renew", peer.base) }));
    let outcome = peer.providers.refresh(&idp, &text_client("app", "s"), &secret("rt/1"), now()).await;
    let TokenOutcome::Granted(grant) = outcome else { panic!("{outcome:?}") };
    assert_eq!(grant.refresh_token, Some(secret("rt-2")));
    assert_eq!(grant.expires_in, Some(Duration::from_hours(1)));
    let call = peer.one_call().await;
    assert_eq!(call.line, "POST /renew HTTP/1.1");
    assert_eq!(call.body, "grant_type=refresh_token&refresh_token=rt%2F1&client_id=app&client_secret=s");
}

/// The header and the claims of a signed token.
fn decoded(token: &str) -> [Value; 2] {
    let mut parts = token.split('.').map(|part| BASE64URL_NOPAD.decode(part.as_bytes()).unwrap());
    [parts.next(), parts.next()].map(|part| serde_json::from_slice(&part.unwrap()).unwrap())
}

fn field(body: &str, name: &str) -> Option<String> {
    let mut fields = form_urlencoded::parse(body.as_bytes());
    fields.find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}

#[tokio::test]
async fn f24_apples_secret_is_signed_per_call() {
    let mut peer = Peer::new(granted()).await;
    // Apple's audience is its issuer.
    let openid =
        json!({ "issuer": "https://appleid.apple.com", "jwks_url": "https://appleid.apple.com/auth/keys" });
    let idp = peer.idp(json!({ "auth": "signed_secret", "openid": openid }));
    redeem(&peer, &idp, &key_client(ClientAuth::SignedSecret)).await;
    let call = peer.one_call().await;
    assert_eq!(
        (call.header("authorization"), field(&call.body, "client_id").as_deref()),
        (None, Some("app"))
    );
    let [header, claims] = decoded(&field(&call.body, "client_secret").unwrap());
    assert_eq!(header, json!({ "typ": "JWT", "alg": "ES256", "kid": "KEY" }));
    let secs = now().secs();
    assert_eq!(
        claims,
        json!({ "iss": "TEAM", "sub": "app", "aud": "https://appleid.apple.com", "iat": secs, "exp": secs + 300 })
    );
}

#[tokio::test]
async fn an_assertion_is_for_the_token_endpoint_and_new_each_time() {
    let mut peer = Peer::new(granted()).await;
    let idp = peer.idp(json!({ "auth": "private_key_jwt" }));
    let client = key_client(ClientAuth::PrivateKeyJwt);
    let mut ids = Vec::new();
    for _ in 0..2 {
        redeem(&peer, &idp, &client).await;
        let call = peer.one_call().await;
        let kind = field(&call.body, "client_assertion_type");
        assert_eq!(kind.as_deref(), Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer"));
        assert_eq!(field(&call.body, "client_secret"), None);
        let [_, claims] = decoded(&field(&call.body, "client_assertion").unwrap());
        assert_eq!(
            (&claims["iss"], &claims["sub"], &claims["aud"]),
            (&json!("app"), &json!("app"), &json!(idp.token_url))
        );
        ids.push(claims["jti"].as_str().unwrap().to_owned());
    }
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn every_response_is_judged_before_the_library_reads_it() {
    let token = r#"{"access_token":"at-1"}"#;
    let act = |head: &str, body: &str| Act(head.to_owned(), body.as_bytes().to_vec());
    let json = "x\r\ncontent-type: application/json";
    for (name, act, expected) in [
        ("f7 no token_type", act(&format!("200 {json}"), token), "granted at-1"),
        ("f9 no media type", act("200 x", token), "granted at-1"),
        ("f9 another media type", act("200 x\r\ncontent-type: text/javascript", token), "granted at-1"),
        ("f9 created", act(&format!("201 {json}"), token), "granted at-1"),
        (
            "f9 a form",
            act("200 x\r\ncontent-type: application/x-www-form-urlencoded", "access_token=at-1&scope=a"),
            "granted at-1",
        ),
        (
            "r14 a lifetime as text",
            act(&format!("200 {json}"), r#"{"access_token":"at-1","expires_in":"3600"}"#),
            "granted at-1",
        ),
        (
            "a lifetime as a fraction",
            act(&format!("200 {json}"), r#"{"access_token":"at-1","expires_in":3599.5}"#),
            "granted at-1",
        ),
        (
            "r4 an empty refresh token",
            act(&format!("200 {json}"), r#"{"access_token":"at-1","refresh_token":""}"#),
            "granted at-1",
        ),
        (
            "a scope that is a list",
            act(&format!("200 {json}"), r#"{"access_token":"at-1","scope":["a"]}"#),
            "granted at-1",
        ),
        ("r8 dead", act(&format!("400 {json}"), r#"{"error":"invalid_grant"}"#), "dead invalid_grant"),
        (
            "r7 our client",
            act(&format!("401 {json}"), r#"{"error":"invalid_client"}"#),
            "client invalid_client",
        ),
        (
            "f8 an error with 200",
            act(&format!("200 {json}"), r#"{"error":"bad_verification_code"}"#),
            "refused bad_verification_code",
        ),
        ("r6 html", act("502 x\r\ncontent-type: text/html", "<html>"), "later, may have run"),
        ("r6 empty", act("400 x", ""), "later"),
        ("r6 too many", act("429 x\r\nretry-after: 7", ""), "later in 7 s"),
        ("no token", act(&format!("200 {json}"), "{}"), "later, may have run"),
        ("a redirect", act("307 x\r\nlocation: /token", ""), "later, may have run"),
        ("r2 dropped", act("", ""), "later, may have run"),
    ] {
        let mut peer = Peer::new(act).await;
        let idp = peer.idp(json!({}));
        let outcome = redeem(&peer, &idp, &text_client("app", "s")).await;
        assert_eq!(short(&outcome), expected, "{name}");
        // One request, whatever the response.
        peer.one_call().await;
        let shown = format!("{outcome:?}");
        assert!(!shown.contains("at-1") && !shown.contains("html"), "f27 {name}: {shown}");
    }
}

#[tokio::test]
async fn what_is_not_sent_has_not_run() {
    let mut peer = Peer::new(granted()).await;
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    for (name, row, client, expected) in [
        (
            "refused",
            json!({ "token_url": format!("http://idp.example.com:{closed}/token") }),
            text_client("app", "s"),
            "later",
        ),
        (
            "a blocked address",
            json!({ "token_url": "http://10.0.0.1/token" }),
            text_client("app", "s"),
            "later",
        ),
        ("no URL", json!({ "token_url": "token" }), text_client("app", "s"), "later"),
        (
            "no secret",
            json!({}),
            Client { client_id: "app".into(), secret: ClientSecret::None },
            "client unusable_credentials",
        ),
        (
            "a secret where a key is required",
            json!({ "auth": "private_key_jwt" }),
            text_client("app", "s"),
            "client unusable_credentials",
        ),
    ] {
        assert_eq!(short(&redeem(&peer, &peer.idp(row.clone()), &client).await), expected, "{name}");
        let outcome = peer.providers.refresh(&peer.idp(row), &client, &secret("rt"), now()).await;
        assert_eq!(short(&outcome), expected, "{name}");
    }
    let outcome =
        peer.providers.redeem(&peer.idp(json!({})), &text_client("a", "s"), "c", "v", "no URL", now()).await;
    assert_eq!(short(&outcome), "later");
    assert!(peer.requests.try_recv().is_err());
}

/// The functions call it on their own runtime.
#[tokio::test]
async fn calls_can_move_between_threads() {
    fn is_send<T: Send>(_: &T) {}
    let peer = Peer::new(granted()).await;
    let (idp, client, token) = (peer.idp(json!({})), text_client("app", "s"), secret("rt"));
    is_send(&redeem(&peer, &idp, &client));
    is_send(&peer.providers.refresh(&idp, &client, &token, now()));
    is_send(&peer.providers.revoke(&idp, &client, None, None, now()));
    is_send(&peer.providers.discover("https://idp.example"));
}
