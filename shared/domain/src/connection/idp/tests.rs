//! What a row may say, and what is refused.

use serde_json::{Value, json};

use super::{checks::OWN_PARAMETERS, *};
use crate::{
    endpoint::{URL_LIMIT, egress::Allow},
    pointer::Violation,
};

/// A row with every part that is checked.
fn document() -> Value {
    json!({
        "title": "Example",
        "authorize_url": "https://idp.example.com/authorize",
        "token_url": "https://idp.example.com/token",
        "openid": { "issuer": "https://idp.example.com", "jwks_url": "https://idp.example.com/keys" },
        "profile": { "url": "https://idp.example.com/me", "sub": ["/id"] },
        "revocation": { "url": "https://idp.example.com/revoke" },
    })
}

/// The row with other values at these pointers; a null takes the member away.
fn row(changes: &[(&str, Value)]) -> Idp {
    let mut document = document();
    for (pointer, value) in changes {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = document.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        if value.is_null() {
            parent.remove(name);
        } else {
            parent.insert(name.to_owned(), value.clone());
        }
    }
    serde_json::from_value(document).unwrap()
}

fn violations(row: &Idp) -> Vec<Violation> {
    row.violations(&Allow::default())
}

/// One change leads to one violation, at this pointer.
fn check(cases: &[(&str, Value, &str)]) {
    for (pointer, value, expected) in cases {
        let found = violations(&row(&[(pointer, value.clone())]));
        let pointers: Vec<&str> = found.iter().map(|violation| violation.pointer.as_str()).collect();
        assert_eq!(pointers, [*expected], "{pointer} = {value}");
        assert!(!found[0].detail.is_empty());
    }
}

fn texts(count: usize) -> Value {
    (0..count).map(|index| format!("text{index}")).collect()
}

fn long_text(length: usize) -> String {
    "x".repeat(length)
}

#[test]
fn names_are_short_and_plain() {
    for text in ["google", "a", "a1", "my-crm-2", "connections", "connect-2", &long_text(40)] {
        let name: IdpName = text.parse().unwrap();
        assert_eq!(name.as_str(), text);
        assert_eq!(name.to_string(), text);
    }
    let refused = [
        "",
        "1a",
        "-a",
        "Google",
        "my_crm",
        "a b",
        "a/b",
        "a.b",
        "ü",
        "connect",
        "notifications",
        &long_text(41),
    ];
    for text in refused {
        assert_eq!(text.parse::<IdpName>(), Err(InvalidIdpName), "{text}");
        assert!(serde_json::from_value::<IdpName>(json!(text)).is_err(), "{text}");
    }
}

#[test]
fn a_scope_asks_for_no_other() {
    let longest = long_text(SCOPE_LENGTH_LIMIT);
    for scope in
        ["openid", "https://www.googleapis.com/auth/calendar", "user:read:user", "!", "#[]~", &longest]
    {
        assert_eq!(check_scopes("/scopes", &[scope.to_owned()]), Ok(()), "{scope}");
    }
    let too_long = long_text(SCOPE_LENGTH_LIMIT + 1);
    for scope in ["", "a b", "a,b", "a\"b", "a\\b", "a\tb", "a\n", "a\u{7f}", "é", &too_long] {
        let scopes = ["openid".to_owned(), scope.to_owned()];
        assert_eq!(check_scopes("/scopes", &scopes).unwrap_err().pointer, "/scopes/1", "{scope:?}");
    }
    let scopes = |count: usize| vec!["openid".to_owned(); count];
    assert_eq!(check_scopes("/scopes", &scopes(SCOPE_COUNT_LIMIT)), Ok(()));
    assert_eq!(check_scopes("/scopes", &scopes(SCOPE_COUNT_LIMIT + 1)).unwrap_err().pointer, "/scopes");
}

#[test]
fn what_a_row_leaves_out_follows_the_standards() {
    let row = row(&[]);
    assert_eq!(violations(&row), []);
    assert_eq!(row.refresh_url(), "https://idp.example.com/token");
    assert_eq!(row.scope_separator.character(), ' ');
    assert_eq!((row.auth, row.pkce, row.response_mode), (ClientAuth::Basic, true, ResponseMode::Query));
    assert_eq!((row.rotation, row.pace, row.lifetime_secs), (Rotation::Keeps, RefreshPace::Ahead, None));
    assert!(row.replaces_scopes && !row.requires_iss);
    let openid = row.openid.unwrap();
    assert_eq!((openid.algorithms, openid.nonce), (vec![TokenAlgorithm::Rs256], NonceRule::Required));
    assert_eq!(row.profile.unwrap().auth, ProfileAuth::Bearer);
    let revocation = row.revocation.unwrap();
    assert_eq!((revocation.form, revocation.token), (RevokeForm::Form, RevokedToken::Refresh));
    assert!(!revocation.ends_grant);
}

#[test]
fn tokens_can_be_refreshed_elsewhere() {
    let row = row(&[("/refresh_url", json!("https://idp.example.com/refresh"))]);
    assert_eq!(violations(&row), []);
    assert_eq!(row.refresh_url(), "https://idp.example.com/refresh");
}

#[test]
fn what_is_unknown_is_refused() {
    for (pointer, value) in [
        ("/colour", json!("blue")),
        ("/openid/colour", json!("blue")),
        ("/profile/colour", json!("blue")),
        ("/revocation/colour", json!("blue")),
        ("/auth", json!("digest")),
        ("/response_mode", json!("fragment")),
        ("/rotation", json!("sometimes")),
        ("/openid/algorithms", json!(["none"])),
        ("/openid/algorithms", json!(["HS256"])),
        ("/pkce", json!("plain")),
        ("/title", json!(null)),
        ("/authorize_url", json!(null)),
        ("/token_url", json!(null)),
    ] {
        let mut document = document();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        document.pointer_mut(parent).unwrap()[name] = value.clone();
        assert!(serde_json::from_value::<Idp>(document).is_err(), "{pointer} = {value}");
    }
}

#[test]
fn only_public_addresses_are_called() {
    let long = format!("https://idp.example.com/{}", long_text(URL_LIMIT));
    let refused = [
        "",
        "idp.example.com/token",
        "http://idp.example.com/token",
        "ftp://idp.example.com/token",
        "https://127.0.0.1/token",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/token",
        "https://localhost/token",
        "https://idp.example.com/token#fragment",
        &long,
    ];
    let pointers = [
        "/authorize_url",
        "/token_url",
        "/refresh_url",
        "/openid/jwks_url",
        "/profile/url",
        "/revocation/url",
    ];
    for pointer in pointers {
        let cases: Vec<_> = refused.iter().map(|url| (pointer, json!(url), pointer)).collect();
        check(&cases);
    }
}

#[test]
fn the_local_stack_may_be_called_where_it_is_allowed() {
    let row = row(&[("/token_url", json!("http://127.0.0.1:9000/token"))]);
    assert_eq!(violations(&row).len(), 1);
    assert_eq!(row.violations(&"127.0.0.1/32".parse().unwrap()), []);
}

#[test]
fn an_address_of_revocation_has_places() {
    for (url, form, expected) in [
        ("https://api.example.com/applications/{client_id}/grant", "delete_json", true),
        ("https://api.example.com/tokens/{token}", "delete_path", true),
        ("https://api.example.com/tokens", "delete_path", false),
        ("https://api.example.com/tokens/{token}", "form", false),
        // A resolver is asked about the name of a host.
        ("https://{token}.example.com/tokens", "delete_path", false),
        ("https://{token}.example.com/{token}", "delete_path", false),
        ("https://{client_id}.example.com/", "form", false),
    ] {
        let row = row(&[("/revocation/url", json!(url)), ("/revocation/form", json!(form))]);
        assert_eq!(violations(&row).is_empty(), expected, "{url}");
    }
}

#[test]
fn one_bad_value_is_one_violation() {
    check(&[
        ("/title", json!(""), "/title"),
        ("/title", json!(long_text(513)), "/title"),
        ("/scopes", json!(["a b"]), "/scopes/0"),
        ("/scopes", texts(101), "/scopes"),
        ("/base_scopes", json!(["openid", "a,b"]), "/base_scopes/1"),
        ("/base_scopes", texts(101), "/base_scopes"),
        ("/dead_codes", json!([""]), "/dead_codes"),
        ("/dead_codes", texts(21), "/dead_codes"),
        ("/denied_codes", json!([long_text(513)]), "/denied_codes"),
        ("/keep", json!([""]), "/keep"),
        ("/keep", texts(21), "/keep"),
        ("/openid/issuer", json!(""), "/openid/issuer"),
        ("/openid/issuer", json!(long_text(513)), "/openid/issuer"),
        ("/openid/algorithms", json!([]), "/openid/algorithms"),
        ("/openid/trusted_audiences", json!([""]), "/openid/trusted_audiences"),
        ("/openid/trusted_audiences", texts(21), "/openid/trusted_audiences"),
        ("/profile/sub", json!([]), "/profile/sub"),
        ("/profile/email", json!("email"), "/profile"),
        ("/profile/keep", texts(21), "/profile/keep"),
        ("/profile/keep", json!([""]), "/profile/keep"),
        ("/lifetime_secs", json!(0), "/lifetime_secs"),
        ("/lifetime_secs", json!(59), "/lifetime_secs"),
        ("/lifetime_secs", json!(31_536_001), "/lifetime_secs"),
    ]);
    for secs in [60, 7200, 31_536_000] {
        assert_eq!(violations(&row(&[("/lifetime_secs", json!(secs))])), []);
    }
}

#[test]
fn something_names_the_account() {
    for one in ["/openid", "/profile"] {
        assert_eq!(violations(&row(&[(one, json!(null))])), [], "{one}");
    }
    let found = violations(&row(&[("/openid", json!(null)), ("/profile", json!(null))]));
    assert_eq!(found.iter().map(|violation| violation.pointer.as_str()).collect::<Vec<_>>(), ["/profile"]);
}

#[test]
fn a_client_without_a_secret_has_pkce() {
    assert_eq!(violations(&row(&[("/auth", json!("none"))])), []);
    assert_eq!(violations(&row(&[("/pkce", json!(false))])), []);
    let found = violations(&row(&[("/auth", json!("none")), ("/pkce", json!(false))]));
    assert_eq!(found.iter().map(|violation| violation.pointer.as_str()).collect::<Vec<_>>(), ["/pkce"]);
}

const PARAMETERS: [&str; 3] = ["/authorize_parameters", "/first_authorize_parameters", "/token_parameters"];

#[test]
fn a_row_sets_no_parameter_of_the_flow() {
    for name in OWN_PARAMETERS {
        for pointer in PARAMETERS {
            let found = violations(&row(&[(pointer, json!({ "audience": "crm", name: "x" }))]));
            assert_eq!(found.len(), 1, "{pointer} {name}");
            assert_eq!(found[0].pointer, pointer);
            assert!(found[0].detail.contains(name), "{name}: {}", found[0].detail);
        }
    }
    // What would switch a protection off or take the code elsewhere.
    for name in [
        "state",
        "nonce",
        "code_challenge",
        "code_challenge_method",
        "redirect_uri",
        "response_type",
        "response_mode",
        "request",
        "request_uri",
        "client_id",
        "scope",
    ] {
        assert!(OWN_PARAMETERS.contains(&name), "{name}");
    }
}

#[test]
fn parameters_are_bounded() {
    let many = |count: usize| (0..count).map(|index| (format!("name{index}"), json!("x"))).collect::<Value>();
    for pointer in PARAMETERS {
        assert_eq!(violations(&row(&[(pointer, many(20))])), []);
        assert_eq!(violations(&row(&[(pointer, json!({ "audience": "" }))])), []);
        check(&[
            (pointer, many(21), pointer),
            (pointer, json!({ "": "x" }), pointer),
            (pointer, json!({ "x".repeat(513): "x" }), pointer),
            (pointer, json!({ "audience": long_text(513) }), pointer),
        ]);
    }
}

#[test]
fn a_row_is_stored_as_it_was_read() {
    let changes = [
        ("/token_parameters", json!({ "audience": "crm" })),
        ("/lifetime_secs", json!(7200)),
        ("/scope_separator", json!("comma")),
        ("/profile/keep", json!(["dc"])),
    ];
    let row = row(&changes);
    let stored = serde_json::to_value(&row).unwrap();
    assert_eq!(serde_json::from_value::<Idp>(stored).unwrap(), row);
    assert_eq!(row.scope_separator.character(), ',');
}
