use domain::connection::idp::ClientAuth;

use super::*;

#[test]
fn stored_credentials_are_what_the_row_requires() {
    let key = stored_key();
    let text = |text: &str| secret(&json!({ "client_secret": text }).to_string());
    let without = |name: &str| {
        let mut stored: Value = serde_json::from_str(key.expose()).unwrap();
        stored.as_object_mut().unwrap().remove(name);
        secret(&stored.to_string())
    };
    let bad_key = secret(&json!({ "private_key": "hush", "team_id": "T", "key_id": "K" }).to_string());
    for (stored, auth, expected) in [
        (text(HARD_SECRET), ClientAuth::Basic, Ok(())),
        (text("s"), ClientAuth::BasicRaw, Ok(())),
        (text("s"), ClientAuth::Post, Ok(())),
        (text(""), ClientAuth::Post, Err("client_secret is required")),
        (
            text("hush "),
            ClientAuth::Post,
            Err("client_secret must not begin or end with a space, nor contain control characters"),
        ),
        (
            text("hush\n"),
            ClientAuth::Basic,
            Err("client_secret must not begin or end with a space, nor contain control characters"),
        ),
        (text(&"x".repeat(4097)), ClientAuth::Post, Err("client_secret must be at most 4096 bytes long")),
        (text("s"), ClientAuth::SignedSecret, Err("private_key is required")),
        (secret("hush"), ClientAuth::Post, Err("the credentials must be a JSON object of strings")),
        (
            secret(r#"{"client_secret":1}"#),
            ClientAuth::Post,
            Err("the credentials must be a JSON object of strings"),
        ),
        (key.clone(), ClientAuth::SignedSecret, Ok(())),
        (key.clone(), ClientAuth::Basic, Err("client_secret is required")),
        (without("team_id"), ClientAuth::SignedSecret, Err("team_id and key_id are required")),
        (without("key_id"), ClientAuth::SignedSecret, Err("team_id and key_id are required")),
        (without("key_id"), ClientAuth::PrivateKeyJwt, Ok(())),
        (without("team_id"), ClientAuth::PrivateKeyJwt, Ok(())),
        (
            bad_key,
            ClientAuth::PrivateKeyJwt,
            Err(
                "the key must be the whole file, from `-----BEGIN PRIVATE KEY-----` to `-----END PRIVATE KEY-----`",
            ),
        ),
        (secret("{}"), ClientAuth::None, Ok(())),
    ] {
        let checked = ClientSecret::check(&stored, auth);
        assert_eq!(checked, expected, "{auth}");
        assert!(!format!("{checked:?}").contains("hush"));
    }
}

#[test]
fn f27_debug_shows_no_secret() {
    let shown = format!("{:?} {:?}", text_client("app", "hush"), key_client(ClientAuth::SignedSecret));
    assert!(!shown.contains("hush") && shown.contains("[redacted]"), "{shown}");
    let key: Value = serde_json::from_str(stored_key().expose()).unwrap();
    let pem = key["private_key"].as_str().unwrap();
    let parsed = ClientSecret::parse(&secret(&key.to_string()), ClientAuth::SignedSecret).unwrap();
    let shown = format!("{parsed:?}");
    assert!(!shown.contains(&pem.lines().nth(1).unwrap()[..20]) && !shown.contains("48, 129"), "{shown}");
}
