//! Cases R4, R6, R7, R8, R14, F8, F9 and F17 of the research: one row each response.

use serde_json::json;

use super::*;
use crate::connection::samples::idp;

fn respond(idp: &Idp, status: u16, content_type: &str, body: &str) -> TokenOutcome {
    let response = TokenResponse {
        status,
        content_type: Some(content_type),
        retry_after: Some("7").filter(|_| status == 429),
        body: body.as_bytes(),
    };
    response.outcome(idp, Timestamp::from_secs(1_000_000))
}

/// An outcome in a word, with its code.
fn word(outcome: &TokenOutcome) -> String {
    let code = |error: &IdpError| error.code.clone().unwrap_or_default();
    match outcome {
        TokenOutcome::Granted(_) => "granted".to_owned(),
        TokenOutcome::Dead(error) => format!("dead {}", code(error)),
        TokenOutcome::ClientRefused(error) => format!("client {}", code(error)),
        TokenOutcome::Refused(error) => format!("refused {}", code(error)),
        TokenOutcome::Later { may_have_run, .. } => format!("later {may_have_run}"),
    }
}

#[test]
fn r6_r7_r8_f8_only_the_providers_own_word_ends_a_connection() {
    let (json, html) = ("application/json", "text/html");
    let row = idp(json!({ "dead_codes": ["token_revoked", "BAD_REFRESH_TOKEN", "bad_refresh_token"] }));
    for (status, content_type, body, expected) in [
        (200, json, r#"{"access_token":"a"}"#, "granted"),
        (201, json, r#"{"access_token":"a"}"#, "granted"),
        // R6: transient, whatever the body says.
        (502, html, "<html>Bad gateway</html>", "later true"),
        (503, json, r#"{"error":"invalid_grant"}"#, "later true"),
        (504, html, "", "later true"),
        (500, json, r#"{"error":"server_error"}"#, "later true"),
        (429, json, r#"{"error":"invalid_grant"}"#, "later false"),
        (408, html, "", "later true"),
        (401, html, "", "later false"),
        (400, html, "<html>", "later false"),
        (403, html, "blocked", "later false"),
        (302, html, "", "later true"),
        (200, html, "<html>Maintenance</html>", "later true"),
        (200, json, "", "later true"),
        (200, json, "[]", "later true"),
        (200, json, "{}", "later true"),
        (400, json, r#"{"error":"temporarily_unavailable"}"#, "later false"),
        // R7: our client.
        (401, json, r#"{"error":"invalid_client"}"#, "client invalid_client"),
        (400, json, r#"{"error":"unauthorized_client"}"#, "client unauthorized_client"),
        // R8: words for a dead grant.
        (400, json, r#"{"error":"invalid_grant"}"#, "dead invalid_grant"),
        (401, json, r#"{"error":"invalid_grant"}"#, "dead invalid_grant"),
        (400, "text/html", r#"{"error":"invalid_grant"}"#, "dead invalid_grant"),
        (400, json, r#"{"error":"invalid_grant: Token is expired"}"#, "dead invalid_grant: Token is expired"),
        (200, json, r#"{"ok":false,"error":"token_revoked"}"#, "dead token_revoked"),
        (400, json, r#"{"status":"BAD_REFRESH_TOKEN","message":"x"}"#, "dead BAD_REFRESH_TOKEN"),
        // F8: an error in a 200.
        (200, json, r#"{"error":"bad_refresh_token"}"#, "dead bad_refresh_token"),
        (
            200,
            json,
            r#"{"error":"bad_verification_code","access_token":"a"}"#,
            "refused bad_verification_code",
        ),
        (200, json, r#"{"ok":false}"#, "refused not_ok"),
        (400, json, r#"{"error":{"code":1}}"#, "refused malformed_error"),
        (400, json, r#"{"error":"invalid_scope"}"#, "refused invalid_scope"),
        (400, "application/x-www-form-urlencoded", "error=invalid_grant", "dead invalid_grant"),
    ] {
        assert_eq!(word(&respond(&row, status, content_type, body)), expected, "{status} {body}");
    }
    let TokenOutcome::Later { wait, .. } = respond(&row, 429, json, "") else { panic!("not later") };
    assert_eq!(wait, Some(Duration::from_secs(7)));
}

fn granted(row: &Idp, content_type: &str, body: &str) -> Grant {
    match respond(row, 200, content_type, body) {
        TokenOutcome::Granted(grant) => *grant,
        other => panic!("{other:?}"),
    }
}

#[test]
fn f9_a_grant_is_read_by_content() {
    let row = idp(json!({}));
    for (content_type, body) in [
        (
            "application/json; charset=utf-8",
            r#"{"access_token":"a","token_type":"bearer","expires_in":3600}"#,
        ),
        ("text/javascript", r#"{"access_token":"a","token_type":"bearer","expires_in":"3600"}"#),
        ("text/plain", r#"{"access_token":"a","token_type":"bearer","expires_in":3600.0}"#),
        ("application/x-www-form-urlencoded", "access_token=a&token_type=bearer&expires_in=3600"),
        ("text/plain", "access_token=a&token_type=bearer&expires_in=3600"),
    ] {
        let grant = granted(&row, content_type, body);
        assert_eq!(grant.access_token.expose(), "a", "{body}");
        assert_eq!(grant.token_type, "bearer", "{body}");
        assert_eq!(grant.expires_in, Some(Duration::from_hours(1)), "{body}");
    }
}

#[test]
fn r14_a_lifetime_that_is_missing_is_the_rows_and_never_1970() {
    let hour = Some(Duration::from_hours(1));
    for (row, expires_in, expected) in [
        (json!({}), "", None),
        (json!({ "lifetime_secs": 3600 }), "", hour),
        (json!({ "lifetime_secs": 3600 }), r#","expires_in":0"#, hour),
        (json!({}), r#","expires_in":0"#, None),
        (json!({}), r#","expires_in":-1"#, None),
        (json!({}), r#","expires_in":null"#, None),
        (json!({}), r#","expires_in":"soon""#, None),
        (json!({}), r#","expires_in":1e300"#, Some(Duration::from_hours(87600))),
    ] {
        let grant = granted(&idp(row), "application/json", &format!(r#"{{"access_token":"a"{expires_in}}}"#));
        assert_eq!(grant.expires_in, expected, "{expires_in}");
    }
}

#[test]
fn r4_an_empty_refresh_token_is_none_and_f7_a_missing_type_is_bearer() {
    let row = idp(json!({}));
    let grant = granted(&row, "application/json", r#"{"access_token":"a","refresh_token":""}"#);
    assert_eq!((grant.refresh_token, grant.token_type.as_str()), (None, "Bearer"));
    let grant = granted(
        &row,
        "application/json",
        r#"{"access_token":"a","refresh_token":"r","refresh_token_expires_in":31536000}"#,
    );
    assert_eq!(grant.refresh_token.unwrap().expose(), "r");
    assert_eq!(grant.refresh_expires_in, Some(Duration::from_hours(24 * 365)));
}

#[test]
fn f17_scopes_are_separated_by_spaces_or_commas() {
    for (scope, expected) in [
        (r#","scope":"a b""#, Some(vec!["a", "b"])),
        (r#","scope":"a,b""#, Some(vec!["a", "b"])),
        (r#","scope":["a","b"]"#, Some(vec!["a", "b"])),
        (r#","scopes":["a","b"]"#, Some(vec!["a", "b"])),
        (r#","scope":"""#, Some(vec![])),
        ("", None),
        (r#","scope":null"#, None),
    ] {
        let grant =
            granted(&idp(json!({})), "application/json", &format!(r#"{{"access_token":"a"{scope}}}"#));
        let expected =
            expected.map(|scopes| scopes.iter().map(|&scope| scope.to_owned()).collect::<Vec<_>>());
        assert_eq!(grant.scopes, expected, "{scope}");
    }
}

#[test]
fn what_a_row_keeps_is_kept_and_nothing_else() {
    let row = idp(json!({ "keep": ["instance_url"], "profile": { "sub": ["/id"] } }));
    let body = r#"{"access_token":"a","id":"u1","instance_url":"https://x.example","signature":"s"}"#;
    let grant = granted(&row, "application/json", body);
    assert_eq!(Value::Object(grant.extra), json!({ "instance_url": "https://x.example" }));
    assert_eq!(grant.account.unwrap().sub, "u1");
}

#[test]
fn f27_no_debug_shows_a_token() {
    let body = r#"{"access_token":"secret-a","refresh_token":"secret-r","id_token":"secret-i"}"#;
    let text = format!("{:?}", granted(&idp(json!({})), "application/json", body));
    assert!(!text.contains("secret-"), "{text}");
}

proptest::proptest! {
    #[test]
    fn no_response_panics_and_none_over_499_ends_a_connection(
        status in 100u16..600,
        content_type in proptest::option::of(".{0,40}"),
        body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
    ) {
        let row = idp(json!({}));
        let response = TokenResponse { status, content_type: content_type.as_deref(), retry_after: None, body: &body };
        let outcome = response.outcome(&row, Timestamp::from_secs(0));
        let is_later = matches!(outcome, TokenOutcome::Later { .. });
        proptest::prop_assert!(status < 500 || is_later);
    }
}
