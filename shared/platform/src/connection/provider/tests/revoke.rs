use super::*;

async fn revoke(peer: &Peer, revocation: Option<Value>, tokens: [Option<&str>; 2]) -> RevokeOutcome {
    let mut row = json!({ "auth": "post" });
    if let Some(revocation) = revocation {
        row["revocation"] = revocation;
    }
    let [access, refresh] = tokens.map(|token| token.map(secret));
    let client = text_client("a/b c", HARD_SECRET);
    peer.providers.revoke(&peer.idp(row), &client, access.as_ref(), refresh.as_ref(), now()).await
}

fn ok() -> Act {
    Act("200 OK".into(), Vec::new())
}

#[tokio::test]
async fn f26_every_form_is_as_its_provider_documents_it() {
    let basic = |user: &str, password: &str| {
        Some(format!("Basic {}", BASE64.encode(format!("{user}:{password}").as_bytes())))
    };
    let form = Some("application/x-www-form-urlencoded");
    let hard = "p%2Ba%25s%3As%2Fw+ord%3D%26";
    for (more, line, header, media_type, body) in [
        (
            json!({}),
            "POST /revoke",
            None,
            form,
            format!("token=r%2F1&client_id=a%2Fb+c&client_secret={hard}"),
        ),
        (json!({ "auth": "basic" }), "POST /revoke", basic("a%2Fb+c", hard), form, "token=r%2F1".to_owned()),
        (
            json!({ "auth": "basic_raw", "token": "access_token" }),
            "POST /revoke",
            basic("a/b c", HARD_SECRET),
            form,
            "token=a%2F1".to_owned(),
        ),
        (json!({ "auth": "none" }), "POST /revoke", None, form, "token=r%2F1&client_id=a%2Fb+c".to_owned()),
        (json!({ "form": "form_without_client" }), "POST /revoke", None, form, "token=r%2F1".to_owned()),
        (
            json!({ "form": "bearer", "token": "access_token" }),
            "POST /revoke",
            Some("Bearer a/1".to_owned()),
            None,
            String::new(),
        ),
        (
            json!({ "form": "delete_json", "token": "access_token", "url": "/applications/{client_id}/grant" }),
            "DELETE /applications/a%2Fb%20c/grant",
            basic("a/b c", HARD_SECRET),
            Some("application/json"),
            r#"{"access_token":"a/1"}"#.to_owned(),
        ),
        (
            json!({ "form": "delete_path", "url": "/tokens/{token}" }),
            "DELETE /tokens/r%2F1",
            None,
            None,
            String::new(),
        ),
    ] {
        let mut peer = Peer::new(ok()).await;
        let mut revocation = json!({ "url": "/revoke" });
        revocation.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        revocation["url"] = json!(peer.base.clone() + revocation["url"].as_str().unwrap());
        assert_eq!(
            revoke(&peer, Some(revocation), [Some("a/1"), Some("r/1")]).await,
            RevokeOutcome::Done(200),
            "{more}"
        );
        let call = peer.one_call().await;
        assert_eq!(call.line, format!("{line} HTTP/1.1"), "{more}");
        assert_eq!(call.header("authorization"), header.as_deref(), "{more}");
        assert_eq!(call.header("content-type"), media_type, "{more}");
        assert_eq!(call.body, body, "{more}");
    }
}

#[tokio::test]
async fn f26_a_token_that_is_gone_shows_the_end_of_the_grant_unless_another_can_live_on() {
    let (both, only_access) = ([Some("a"), Some("r")], [Some("a"), None]);
    let refresh = json!({});
    let access = json!({ "token": "access_token" });
    let bearer = json!({ "form": "bearer", "token": "access_token" });
    let delete = json!({ "form": "delete_json", "token": "access_token" });
    let failed = |status| RevokeOutcome::Failed(Some(status));
    for (row, tokens, status, body, expected) in [
        (&refresh, both, 200, "", RevokeOutcome::Done(200)),
        (&refresh, both, 204, "", RevokeOutcome::Done(204)),
        (&refresh, only_access, 200, "{}", RevokeOutcome::Done(200)),
        (&refresh, both, 400, r#"{"error":"invalid_token"}"#, RevokeOutcome::Done(400)),
        (&refresh, both, 400, r#"{"error":"unsupported_token_type"}"#, failed(400)),
        (&refresh, both, 401, r#"{"error":"invalid_client"}"#, failed(401)),
        (&refresh, both, 404, "", failed(404)),
        (&refresh, both, 503, r#"{"error":"invalid_token"}"#, failed(503)),
        (&refresh, both, 302, "", failed(302)),
        (&access, both, 400, r#"{"error":"invalid_token"}"#, failed(400)),
        (&access, only_access, 400, r#"{"error":"invalid_token"}"#, RevokeOutcome::Done(400)),
        (&access, [None, Some("r")], 200, "", RevokeOutcome::Failed(None)),
        (&bearer, only_access, 200, r#"{"ok":true,"revoked":true}"#, RevokeOutcome::Done(200)),
        (&bearer, only_access, 200, r#"{"ok":false,"error":"token_revoked"}"#, RevokeOutcome::Done(200)),
        (&bearer, only_access, 200, r#"{"ok":false,"error":"ratelimited"}"#, failed(200)),
        (&bearer, both, 401, "", failed(401)),
        (&delete, only_access, 404, r#"{"message":"Not Found"}"#, RevokeOutcome::Done(404)),
        (&delete, both, 404, r#"{"message":"Not Found"}"#, failed(404)),
        (&delete, only_access, 422, "", failed(422)),
    ] {
        let peer = Peer::new(Act(format!("{status} X"), body.into())).await;
        let mut revocation = row.clone();
        revocation["url"] = json!(format!("{}/revoke", peer.base));
        assert_eq!(
            revoke(&peer, Some(revocation), tokens).await,
            expected,
            "{row} {tokens:?} {status} {body}"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_not() {
    let mut peer = Peer::new(ok()).await;
    assert_eq!(revoke(&peer, None, [Some("a"), None]).await, RevokeOutcome::NotSupported);
    let path = json!({ "form": "delete_path", "url": format!("{}/tokens/{{token}}", peer.base) });
    assert_eq!(revoke(&peer, Some(path), [None, Some("..")]).await, RevokeOutcome::Failed(None));
    let signed = json!({ "url": format!("{}/revoke", peer.base), "auth": "signed_secret" });
    assert_eq!(revoke(&peer, Some(signed), [None, Some("r")]).await, RevokeOutcome::Failed(None));
    let bearer = json!({ "form": "bearer", "token": "access_token", "url": format!("{}/revoke", peer.base) });
    assert_eq!(revoke(&peer, Some(bearer), [Some("a\r\nb"), None]).await, RevokeOutcome::Failed(None));
    assert!(peer.requests.try_recv().is_err());
    let dropping = Peer::new(Act(String::new(), Vec::new())).await;
    let form = json!({ "url": format!("{}/revoke", dropping.base) });
    assert_eq!(revoke(&dropping, Some(form), [None, Some("r")]).await, RevokeOutcome::Failed(None));
}
