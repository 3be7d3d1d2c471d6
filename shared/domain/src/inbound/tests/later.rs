//! Senders that have no preset yet: the engine's words suffice for a custom source.

use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::json;

use super::kit::{Call, NOW, custom, hex, post};
use crate::inbound::{
    challenge::Outcome,
    engine::Reject::{self, MalformedSignature, StaleTimestamp, WrongSignature},
    table::parse_table,
};

const KEY: &str = "test_key_of_a_later_sender";

fn sha1(text: &str) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, KEY.as_bytes());
    data_encoding::BASE64.encode(ring::hmac::sign(&key, text.as_bytes()).as_ref())
}

#[test]
fn custom_tables_verify_other_senders() {
    let body = json!({ "webhookTimestamp": NOW * 1000, "token": KEY }).to_string();
    let pair = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap();
    let public = data_encoding::BASE64.encode(pair.public_key().as_ref());
    let ed25519 = data_encoding::BASE64.encode(pair.sign(format!("{NOW}|{body}").as_bytes()).as_ref());
    let cases: [(&str, &str, &str, Call); 6] = [
        (
            "Telnyx",
            r#"{"signature":{"from":"header:telnyx-signature-ed25519","encoding":"base64"},"algorithm":"ed25519",
                "key":{"encoding":"base64"},"signed":"{ts}|{body}",
                "timestamp":{"from":"header:telnyx-timestamp","unit":"s","max_past":300,"max_future":300}}"#,
            &public,
            post(&body)
                .header("telnyx-signature-ed25519", ed25519)
                .header("telnyx-timestamp", NOW.to_string()),
        ),
        (
            "Linear",
            r#"{"signature":{"from":"header:linear-signature"},"algorithm":"hmac-sha256","signed":"{body}",
                "timestamp":{"from":"json:/webhookTimestamp","unit":"ms","max_past":60,"max_future":60}}"#,
            KEY,
            post(&body).header("linear-signature", hex(KEY, &body)),
        ),
        (
            "Trello",
            r#"{"signature":{"from":"header:x-trello-webhook","encoding":"base64"},"algorithm":"hmac-sha1",
                "signed":"{body}{url}"}"#,
            KEY,
            post(&body)
                .url("https://hooks.example.com/a")
                .header("x-trello-webhook", sha1(&format!("{body}https://hooks.example.com/a"))),
        ),
        (
            "WorkOS, with a space after the comma",
            r#"{"signature":{"from":"header:workos-signature","layout":{"pairs":{"separator":",","assign":"=","keys":["v1"]}}},
                "algorithm":"hmac-sha256","signed":"{ts}.{body}",
                "timestamp":{"from":"pair:t","unit":"ms","max_past":180,"max_future":180}}"#,
            KEY,
            post(&body).header(
                "workos-signature",
                format!("t={NOW}000, v1={}", hex(KEY, format!("{NOW}000.{body}"))),
            ),
        ),
        (
            "Aircall, with a token in the body",
            r#"{"signature":{"from":"json:/token"},"algorithm":"token"}"#,
            KEY,
            post(&body),
        ),
        (
            "GitLab",
            r#"{"signature":{"from":"header:x-gitlab-token"},"algorithm":"token"}"#,
            KEY,
            post(&body).header("x-gitlab-token", KEY),
        ),
    ];
    for (name, method, secret, call) in cases {
        let table = custom(method);
        assert_eq!(call.verify(&table, &[secret]), Ok(()), "{name}");
        assert_eq!(call.verify(&table, &["another"]), Err(WrongSignature), "{name}");
        let has_time = method.contains("timestamp");
        let late = call.verify_at(&table, &[secret], NOW + 301);
        assert_eq!(late, if has_time { Err(StaleTimestamp) } else { Ok(()) }, "{name}");
        let mut changed = call.clone();
        changed.body.insert(1, b' ');
        let expected: Result<(), Reject> =
            if method.contains("{body}") { Err(WrongSignature) } else { Ok(()) };
        assert_eq!(changed.verify(&table, &[secret]), expected, "{name}");
    }
}

/// `GoCardless` expects 498 for a wrong signature; Notion's first request brings the secret in its body.
#[test]
fn custom_tables_have_their_own_statuses_and_handshakes() {
    let json = r#"{"scheme":{"methods":[{"signature":{"from":"header:s","layout":{"plain":{"prefixes":["sha256="]}}},
            "algorithm":"hmac-sha256","signed":"{body}"}]},
        "events":{"event_type":["json:/type"],"dedupe":[["json:/id"]]},
        "challenges":[{"methods":["POST"],"when":[{"present":"json:/verification_token"}],"signature":"never",
            "value":"json:/verification_token","guard":"visible","value_is_secret":true,"response":{"status":200}}],
        "responses":{"accepted":{"status":204},"refused":{"status":498}}}"#;
    let table = parse_table(json).unwrap();
    assert_eq!((table.responses.accepted.status, table.responses.refused.status), (204, 498));
    let first = post(r#"{"verification_token":"secret_1"}"#);
    let Outcome::KeepSecret(secret, _) = first.handshake(&table, &[], None, true) else { panic!("kept") };
    assert_eq!(secret.expose(), "secret_1");
    assert_eq!(first.handshake(&table, &["secret_1"], None, false), Outcome::NoChallenge);
    let call = post("{}").header("s", format!("sha256={}", hex("secret_1", "{}")));
    assert_eq!(call.verify(&table, &["secret_1"]), Ok(()));
    let unprefixed = post("{}").header("s", hex("secret_1", "{}"));
    assert_eq!(unprefixed.verify(&table, &["secret_1"]), Err(MalformedSignature));
}
