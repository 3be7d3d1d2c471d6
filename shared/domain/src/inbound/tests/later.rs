//! Senders that got a preset later: custom tables verify them too, and what is special in their presets.

use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::json;

use super::kit::{Call, NOW, base64, custom, form, hex, post, preset, table};
use crate::inbound::{
    challenge::Outcome,
    engine::Reject::{self, MalformedSignature, StaleTimestamp, WrongSignature},
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

/// Notion's first request brings the secret in its body, and only a source that waits for it keeps it.
#[test]
fn notions_first_request_brings_the_secret() {
    let table = table("notion");
    let first = post(r#"{"verification_token":"secret_1"}"#);
    let Outcome::KeepSecret(secret, _) = first.handshake(&table, &[], None, true) else { panic!("kept") };
    assert_eq!(secret.expose(), "secret_1");
    assert_eq!(first.handshake(&table, &["secret_1"], None, false), Outcome::NoChallenge);
    let long = post(format!(r#"{{"verification_token":"{}"}}"#, "s".repeat(257)));
    assert!(matches!(long.handshake(&table, &[], None, true), Outcome::Refuse(400, _)));
    let call = post("{}").header("x-notion-signature", format!("sha256={}", hex("secret_1", "{}")));
    assert_eq!(call.verify(&table, &["secret_1"]), Ok(()));
    let unprefixed = post("{}").header("x-notion-signature", hex("secret_1", "{}"));
    assert_eq!(unprefixed.verify(&table, &["secret_1"]), Err(MalformedSignature));
}

/// Front signs its challenge as an event.
#[test]
fn fronts_challenge_is_signed() {
    let table = table("front");
    let body = r#"{"type":"sync","authorization":{"id":"cmp_abc"}}"#;
    let signature = base64(KEY, format!("{NOW}000:{body}"));
    let call = post(body)
        .header("x-front-request-timestamp", format!("{NOW}000"))
        .header("x-front-challenge", "abc");
    let signed = call.clone().header("x-front-signature", signature);
    let Outcome::Respond(reply) = signed.challenge(&table, &[KEY], None) else { panic!("responded") };
    assert_eq!((reply.status, reply.body.as_str()), (200, r#"{"challenge":"abc"}"#));
    for (call, key) in [(signed, "another"), (call, KEY)] {
        assert!(matches!(call.challenge(&table, &[key], None), Outcome::Refuse(401, _)));
    }
}

/// `WooCommerce`'s first request is a form without a signature; a form with one is an event.
#[test]
fn woocommerces_first_request_is_no_event() {
    let table = table("woocommerce");
    let ping = form("webhook_id=7");
    let Outcome::Respond(reply) = ping.challenge(&table, &[KEY], None) else { panic!("responded") };
    assert_eq!(reply.status, 200);
    assert_eq!(ping.verify(&table, &[KEY]), Err(Reject::MissingSignature));
    let signed = ping.header("x-wc-webhook-signature", base64(KEY, "webhook_id=7"));
    assert_eq!(signed.challenge(&table, &[KEY], None), Outcome::NoChallenge);
    let body = r#"{"note":"webhook_id=7"}"#;
    assert_eq!(post(body).challenge(&table, &[KEY], None), Outcome::NoChallenge);
}

/// Two events of one second have one delivery id; a copy with another delivery id has the second id of the first.
#[test]
fn woocommerces_delivery_id_counts_with_the_body() {
    let preset = preset("woocommerce");
    let event = |body: &str, delivery: &str| {
        let call = post(body)
            .header("x-wc-webhook-topic", "order.updated")
            .header("x-wc-webhook-delivery-id", delivery)
            .header("x-wc-webhook-signature", base64(KEY, body));
        call.events(&preset, &[KEY]).unwrap().events.remove(0)
    };
    let (first, second) = (event(r#"{"id":1}"#, "d"), event(r#"{"id":2}"#, "d"));
    assert!(first.event_id != second.event_id && first.body_id != second.body_id);
    let copy = event(r#"{"id":1}"#, "another");
    assert_ne!(copy.event_id, first.event_id);
    assert_eq!(copy.body_id, first.body_id);
}

/// Aircall's token is in the body, and must not be in an event.
#[test]
fn aircalls_token_is_in_no_event() {
    let body = json!({ "event": "call.created", "timestamp": NOW, "token": KEY, "data": { "id": 1 } });
    let event = post(body.to_string()).events(&preset("aircall"), &[KEY]).unwrap().events.remove(0);
    assert_eq!(event.data.as_str(), r#"{"id":1}"#);
}
