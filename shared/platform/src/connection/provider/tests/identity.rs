use domain::connection::{
    account::Account,
    id_token::ClaimError,
    token::{Grant, TokenOutcome, TokenResponse},
};

use super::*;
use crate::connection::jwt::{TokenError, tests::TokenKey};

/// The grant of a token response.
fn grant(idp: &Idp, response: &Value) -> Grant {
    let body = response.to_string();
    let response =
        TokenResponse { status: 200, content_type: None, retry_after: None, body: body.as_bytes() };
    let TokenOutcome::Granted(grant) = response.outcome(idp, now()) else { panic!() };
    *grant
}

/// A provider with keys and a profile.
async fn peer(key: &TokenKey, profile: Act) -> Peer {
    let keys = json_response(200, &json!({ "keys": [key.public()] }));
    Peer::by_path(move |path, _| if path == "/jwks" { keys.clone() } else { profile.clone() }).await
}

fn openid(peer: &Peer, nonce: &str) -> Value {
    json!({
        "issuer": "https://idp.example", "jwks_url": format!("{}/jwks", peer.base),
        "algorithms": ["ES256"], "nonce": nonce,
    })
}

fn claims(more: &Value) -> Value {
    let secs = now().secs();
    let mut claims = json!({
        "iss": "https://idp.example", "aud": "app", "sub": "u1", "exp": secs + 300, "iat": secs, "nonce": "n",
        "email": "a@example.com",
    });
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    claims
}

#[tokio::test]
async fn an_id_token_names_the_account_and_the_flow() {
    let (key, other) = (TokenKey::new("k1"), TokenKey::new("k1"));
    let peer = peer(&key, json_response(500, &json!({}))).await;
    let idp = peer.idp(json!({ "openid": openid(&peer, "required") }));
    let claim = |error| Err(IdentityError::IdToken(IdTokenError::Claim(error)));
    let signature = |error| Err(IdentityError::IdToken(IdTokenError::Signature(error)));
    for (name, token, expected) in [
        ("valid", Some(key.token_of(&claims(&json!({})))), Ok("u1")),
        (
            "another nonce",
            Some(key.token_of(&claims(&json!({ "nonce": "m" })))),
            Err(IdentityError::WrongNonce),
        ),
        ("another client", Some(key.token_of(&claims(&json!({ "aud": "x" })))), claim(ClaimError::Audience)),
        (
            "another access token",
            Some(key.token_of(&claims(&json!({ "at_hash": "x" })))),
            claim(ClaimError::TokenHash),
        ),
        ("another key", Some(other.token_of(&claims(&json!({})))), signature(TokenError::InvalidSignature)),
        ("no token", Some("x".to_owned()), signature(TokenError::Malformed)),
        ("none", None, Err(IdentityError::NoIdToken)),
    ] {
        let grant = grant(&idp, &json!({ "access_token": "at-1", "id_token": token }));
        let identity = peer.providers.identify(&idp, "app", &grant, "n", now()).await;
        assert_eq!(
            identity.as_ref().map(|identity| identity.account.sub.as_str()),
            expected.as_ref().copied(),
            "{name}"
        );
        if let Err(error) = identity {
            let shown = format!("{error:?} {error}");
            assert!(!shown.contains("at-1") && !shown.contains("eyJ"), "f27 {shown}");
        }
    }
}

#[tokio::test]
async fn a_profile_is_read_only_where_no_nonce_is_required() {
    let key = TokenKey::new("k1");
    let profile = json!({ "id": 7, "mail": "a@example.com", "host": "eu", "more": 1 });
    let peer = peer(&key, json_response(200, &profile)).await;
    let row = json!({ "url": format!("{}/me", peer.base), "sub": ["/id"], "email": "/mail", "keep": ["host", "none"] });
    let of_profile = Account { sub: "7".into(), email: Some("a@example.com".into()), ..Account::default() };
    for (name, row, id_token, expected) in [
        ("no openid", json!({ "profile": row }), None, Ok(of_profile.clone())),
        (
            "no nonce required",
            json!({ "openid": openid(&peer, "optional"), "profile": row }),
            None,
            Ok(of_profile),
        ),
        (
            "a nonce required",
            json!({ "openid": openid(&peer, "required"), "profile": row }),
            None,
            Err(IdentityError::NoIdToken),
        ),
        ("no profile", json!({ "openid": openid(&peer, "optional") }), None, Err(IdentityError::NoIdToken)),
        (
            "both",
            json!({ "openid": openid(&peer, "required"), "profile": row }),
            Some(key.token_of(&claims(&json!({})))),
            Ok(Account { sub: "u1".into(), email: Some("a@example.com".into()), ..Account::default() }),
        ),
        ("neither", json!({}), None, Err(IdentityError::Unknown)),
    ] {
        let idp = peer.idp(row);
        let grant = grant(&idp, &json!({ "access_token": "at-1", "id_token": id_token }));
        let identity = peer.providers.identify(&idp, "app", &grant, "n", now()).await;
        if let Ok(identity) = &identity {
            let extra = if identity.account.sub == "7" { json!({ "host": "eu" }) } else { json!({}) };
            assert_eq!(Value::Object(identity.extra.clone()), extra, "{name}");
        }
        assert_eq!(identity.map(|identity| identity.account), expected, "{name}");
    }
}

#[tokio::test]
async fn the_token_response_may_name_the_account() {
    let mut peer = peer(&TokenKey::new("k1"), json_response(500, &json!({}))).await;
    let idp = peer.idp(json!({ "profile": { "sub": ["/team/id"] } }));
    let named = grant(&idp, &json!({ "access_token": "at-1", "team": { "id": "T1" } }));
    let identity = peer.providers.identify(&idp, "app", &named, "n", now()).await;
    assert_eq!(identity.unwrap().account.sub, "T1");
    let unnamed = grant(&idp, &json!({ "access_token": "at-1" }));
    let identity = peer.providers.identify(&idp, "app", &unnamed, "n", now()).await;
    assert_eq!(identity, Err(IdentityError::Unknown));
    assert!(peer.requests.try_recv().is_err());
}

#[tokio::test]
async fn a_profile_is_asked_for_as_its_row_says() {
    for (auth, line, header) in [
        ("bearer", "GET /me HTTP/1.1", "Bearer at-1"),
        ("bearer_post", "POST /me HTTP/1.1", "Bearer at-1"),
        ("oauth", "GET /me HTTP/1.1", "OAuth at-1"),
    ] {
        let mut peer = Peer::new(json_response(200, &json!({ "id": "u" }))).await;
        let idp = peer
            .idp(json!({ "profile": { "url": format!("{}/me", peer.base), "auth": auth, "sub": ["/id"] } }));
        let grant = grant(&idp, &json!({ "access_token": "at-1" }));
        assert!(peer.providers.identify(&idp, "app", &grant, "n", now()).await.is_ok());
        let call = peer.one_call().await;
        assert_eq!(
            (call.line.as_str(), call.header("authorization"), call.body.as_str()),
            (line, Some(header), "")
        );
    }
}

#[tokio::test]
async fn a_profile_that_cannot_be_read_is_unavailable_or_unknown() {
    let act = |head: &str, body: &str| Act(head.to_owned(), body.into());
    for (act, expected) in [
        (act("503 X", ""), IdentityError::Unavailable),
        (act("429 X", ""), IdentityError::Unavailable),
        (act("", ""), IdentityError::Unavailable),
        (act("401 X", ""), IdentityError::Unknown),
        (act("302 X\r\nlocation: /me2", ""), IdentityError::Unknown),
        (act("200 X", "<html>"), IdentityError::Unknown),
        (act("200 X", r#"{"ok":false}"#), IdentityError::Unknown),
    ] {
        let peer = Peer::new(act.clone()).await;
        let idp = peer.idp(json!({ "profile": { "url": format!("{}/me", peer.base), "sub": ["/id"] } }));
        let grant = grant(&idp, &json!({ "access_token": "at-1" }));
        assert_eq!(
            peer.providers.identify(&idp, "app", &grant, "n", now()).await,
            Err(expected),
            "{}",
            act.0
        );
    }
    // The keys cannot be fetched.
    let peer = Peer::new(act("503 X", "")).await;
    let idp = peer.idp(json!({ "openid": openid(&peer, "required") }));
    let grant = grant(&idp, &json!({ "access_token": "at-1", "id_token": TokenKey::new("k").token() }));
    assert_eq!(
        peer.providers.identify(&idp, "app", &grant, "n", now()).await,
        Err(IdentityError::Unavailable)
    );
}
