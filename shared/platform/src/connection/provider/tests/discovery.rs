use domain::connection::{
    authorize::AuthorizationRequest,
    idp::{ClientAuth, Revocation, RevokeForm, RevokedToken, Rotation, TokenAlgorithm},
};

use super::*;

/// A provider with this metadata besides what is required.
async fn peer(more: Value) -> Peer {
    Peer::by_path(move |path, base| {
        if path != "/a/.well-known/openid-configuration" {
            return json_response(404, &json!({}));
        }
        let mut document = json!({
            "issuer": format!("{base}/a"),
            "authorization_endpoint": format!("{base}/authorize"),
            "token_endpoint": format!("{base}/token"),
            "jwks_uri": format!("{base}/jwks"),
        });
        document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json_response(200, &document)
    })
    .await
}

async fn discover(more: Value) -> Result<Idp, DiscoveryError> {
    let peer = peer(more).await;
    peer.providers.discover(&format!("{}/a", peer.base)).await
}

#[tokio::test]
async fn a_row_is_what_the_provider_publishes() {
    let peer = peer(json!({
        "revocation_endpoint": "https://idp.example.com/revoke",
        "scopes_supported": ["openid", "email", "offline_access"],
        "response_types_supported": ["code", "id_token"],
        "id_token_signing_alg_values_supported": ["none", "HS256", "ES256", "RS256"],
        "token_endpoint_auth_methods_supported": ["private_key_jwt", "client_secret_post"],
        "revocation_endpoint_auth_methods_supported": ["client_secret_basic"],
        "code_challenge_methods_supported": ["plain", "S256"],
        "authorization_response_iss_parameter_supported": true,
        "something_else": { "unknown": true },
    }))
    .await;
    let row = peer.providers.discover(&format!("{}/a", peer.base)).await.unwrap();
    assert_eq!(row.title, "idp.example.com");
    assert_eq!(row.authorize_url, format!("{}/authorize", peer.base));
    assert_eq!(row.token_url, format!("{}/token", peer.base));
    assert_eq!((row.auth, row.pkce, row.requires_iss), (ClientAuth::Post, true, true));
    assert_eq!(
        (row.base_scopes, row.scopes),
        (vec!["openid".into(), "offline_access".into()], vec!["email".to_owned()])
    );
    assert_eq!(row.first_authorize_parameters["prompt"], "consent");
    assert_eq!(row.rotation, Rotation::Rotates);
    let openid = row.openid.unwrap();
    assert_eq!((openid.issuer, openid.jwks_url), (format!("{}/a", peer.base), format!("{}/jwks", peer.base)));
    assert_eq!(openid.algorithms, [TokenAlgorithm::Rs256, TokenAlgorithm::Es256]);
    assert_eq!(
        row.revocation,
        Some(Revocation {
            url: "https://idp.example.com/revoke".into(),
            form: RevokeForm::Form,
            token: RevokedToken::Refresh,
            auth: Some(ClientAuth::Basic),
            ends_grant: false,
        })
    );
}

#[tokio::test]
async fn what_is_not_published_has_the_standards_default() {
    let row = discover(json!({})).await.unwrap();
    assert_eq!((row.auth, row.pkce, row.requires_iss), (ClientAuth::Basic, false, false));
    assert_eq!(
        (&row.base_scopes[..], &row.scopes[..]),
        (&["openid".to_owned()][..], &["email".to_owned(), "profile".to_owned()][..])
    );
    assert_eq!(
        (&row.revocation, row.openid.as_ref().unwrap().algorithms.as_slice()),
        (&None, &[TokenAlgorithm::Rs256][..])
    );
    assert_eq!(row.violations(&LOOPBACK.parse().unwrap()), []);
    let request = AuthorizationRequest {
        idp: &row,
        client_id: "app",
        redirect_uri: "https://api.example/callback",
        scopes: &row.base_scopes,
        state: "s",
        nonce: "n",
        verifier: "v",
        login_hint: None,
        holds_refresh_token: false,
    };
    assert!(request.url().unwrap().contains("/authorize?response_type=code&client_id=app"));
}

#[tokio::test]
async fn how_to_authenticate_is_chosen_of_what_is_listed() {
    let field = "token_endpoint_auth_methods_supported";
    let s256 = json!(["S256"]);
    for (methods, pkce, algorithms, expected) in [
        (json!(["client_secret_post", "client_secret_basic"]), json!([]), json!(null), Ok(ClientAuth::Basic)),
        (json!(["none", "private_key_jwt"]), s256.clone(), json!(["ES256"]), Ok(ClientAuth::PrivateKeyJwt)),
        (json!(["none", "private_key_jwt"]), s256.clone(), json!(["RS256"]), Ok(ClientAuth::None)),
        (json!(["none"]), json!(["plain"]), json!(null), Err(DiscoveryError::Unsupported(field))),
        (json!(["client_secret_jwt"]), s256.clone(), json!(null), Err(DiscoveryError::Unsupported(field))),
    ] {
        let row = discover(json!({
            (field): methods, "code_challenge_methods_supported": pkce,
            "token_endpoint_auth_signing_alg_values_supported": algorithms,
        }))
        .await;
        assert_eq!(row.map(|row| row.auth), expected, "{methods}");
    }
}

#[tokio::test]
async fn another_issuer_or_no_document_is_no_row() {
    for (more, expected) in [
        // Discovery, section 4.3.
        (json!({ "issuer": "https://other.example" }), DiscoveryError::OtherIssuer),
        (json!({ "issuer": null }), DiscoveryError::Malformed),
        (json!({ "jwks_uri": 1 }), DiscoveryError::Malformed),
        (
            json!({ "response_types_supported": ["id_token"] }),
            DiscoveryError::Unsupported("response_types_supported"),
        ),
        (
            json!({ "id_token_signing_alg_values_supported": ["HS256", "none"] }),
            DiscoveryError::Unsupported("id_token_signing_alg_values_supported"),
        ),
    ] {
        assert_eq!(discover(more.clone()).await, Err(expected), "{more}");
    }
    let peer = peer(json!({})).await;
    let base = &peer.base;
    for (issuer, expected) in [
        // The same document, and another text.
        (format!("{base}/a/"), DiscoveryError::OtherIssuer),
        (format!("{base}/b"), DiscoveryError::Status(404)),
        (format!("{base}/a?b"), DiscoveryError::InvalidIssuer),
        (format!("{base}/{{tenantid}}"), DiscoveryError::InvalidIssuer),
        ("idp".to_owned(), DiscoveryError::InvalidIssuer),
        (
            "https://10.0.0.1".to_owned(),
            DiscoveryError::Unreachable(domain::delivery::Failure::BlockedAddress),
        ),
    ] {
        assert_eq!(peer.providers.discover(&issuer).await, Err(expected), "{issuer}");
    }
}
