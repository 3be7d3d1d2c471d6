//! The engine on the row of Stripe, whose behaviour must not change; and the parsers of keys.

use proptest::prelude::*;

use super::*;
use crate::inbound::{presets, reading::Request};

const SECRET: &str = "whsec_test_secret_of_this_test";
const BODY: &[u8] = br#"{"id": "evt_1", "object": "event", "type": "invoice.paid", "created": 1700000000}"#;
/// `HMAC-SHA256(SECRET, "1700000000." + BODY)`, made with OpenSSL.
const SIGNATURE: &str = "d5328cce2fc4265375de2f67c5d615a58b05849c97604055205438d854176f54";

fn check(header: Option<&str>, body: &[u8], secrets: &[&str], now: i64) -> Result<(), Reject> {
    let secrets: Vec<_> = secrets.iter().map(|secret| Secret::new((*secret).to_owned())).collect();
    let headers: Vec<_> = header.map(|header| ("stripe-signature", header)).into_iter().collect();
    let request =
        Request { method: "POST", public_urls: &[], path_secret: None, query: "", headers: &headers, body };
    let keys = Keys { secrets: &secrets, published: None };
    let scheme = &presets::get("stripe").unwrap().table.scheme;
    verify(scheme, request, keys, Timestamp::from_secs(now)).outcome.map(|_| ())
}

#[test]
fn stripe() {
    let good = format!("t=1700000000,v1={SIGNATURE},v0=ignored");
    let rolled = format!("t=1700000000,v1={},v1={SIGNATURE}", "00".repeat(32));
    let now = 1_700_000_000;
    for (header, secrets, now, expected) in [
        (Some(good.as_str()), &[SECRET][..], now, Ok(())),
        (Some(&good), &[SECRET], now + 300, Ok(())),
        (Some(&good), &[SECRET], now - 300, Ok(())),
        (Some(&good), &["whsec_another_secret_x", SECRET], now, Ok(())),
        (Some(&rolled), &[SECRET], now, Ok(())),
        (Some(&good), &[SECRET], now + 301, Err(Reject::StaleTimestamp)),
        (Some(&good), &[SECRET], now - 301, Err(Reject::StaleTimestamp)),
        (Some(&good), &["whsec_another_secret_x"], now + 301, Err(Reject::WrongSignature)),
        (Some(&good), &[], now, Err(Reject::WrongSignature)),
        (None, &[SECRET], now, Err(Reject::MissingSignature)),
        (Some(""), &[SECRET], now, Err(Reject::MalformedSignature)),
        (Some("t=1700000000"), &[SECRET], now, Err(Reject::MalformedSignature)),
        (Some("t=,v1=00"), &[SECRET], now, Err(Reject::MalformedSignature)),
        (Some("t=soon,v1=00"), &[SECRET], now, Err(Reject::MalformedSignature)),
        (Some("t=1700000000,v1="), &[SECRET], now, Err(Reject::MalformedSignature)),
        (Some("t=1700000000,v1=ä"), &[SECRET], now, Err(Reject::MalformedSignature)),
        (Some("t=1700000001,v1=00"), &[SECRET], now, Err(Reject::WrongSignature)),
    ] {
        assert_eq!(check(header, BODY, secrets, now), expected, "{header:?} {secrets:?} {now}");
    }
}

/// A form that is none: the layout of the signature fits, and then a part of the signed text is missing.
#[test]
fn every_step_is_reported_once() {
    let preset = crate::inbound::presets::find("mandrill").unwrap().unwrap();
    let headers = [("x-mandrill-signature", "AAAA")];
    let urls = ["https://hooks.example.com/a".to_owned()];
    let request = Request {
        method: "POST",
        public_urls: &urls,
        path_secret: None,
        query: "",
        headers: &headers,
        body: b"{}",
    };
    let secrets = [Secret::new(SECRET.to_owned())];
    let keys = Keys { secrets: &secrets, published: None };
    let report = verify(&preset.table.scheme, request, keys, Timestamp::from_secs(0));
    let verdicts: Vec<_> = report.checks.iter().map(|check| (check.step, check.verdict)).collect();
    assert_eq!(
        verdicts,
        [
            (Step::Presence, Verdict::Pass),
            (Step::Layout, Verdict::Fail),
            (Step::Signature, Verdict::Skip),
            (Step::BodyHash, Verdict::Skip),
            (Step::Time, Verdict::Skip),
        ]
    );
}

#[test]
fn any_flipped_bit_is_noticed() {
    let header = format!("t=1700000000,v1={SIGNATURE}");
    for index in 0..BODY.len() {
        let mut body = BODY.to_vec();
        body[index] ^= 1;
        assert_eq!(check(Some(&header), &body, &[SECRET], 1_700_000_000), Err(Reject::WrongSignature));
    }
}

/// Every way in which bytes can be a key.
fn formats() -> impl Iterator<Item = (scheme::KeyFormat, scheme::Algorithm)> {
    use scheme::{Algorithm, KeyEncoding};
    let algorithms =
        [Algorithm::HmacSha256, Algorithm::EcdsaP256Sha256, Algorithm::Ed25519, Algorithm::RsaSha256];
    let encodings = [KeyEncoding::Raw, KeyEncoding::Base64, KeyEncoding::Hex, KeyEncoding::Spki];
    encodings.into_iter().flat_map(move |encoding| {
        algorithms.map(|algorithm| (scheme::KeyFormat { encoding, ..Default::default() }, algorithm))
    })
}

/// Public keys made with OpenSSL: the key of one algorithm is none of another.
#[test]
fn public_keys() {
    use scheme::{Algorithm, KeyEncoding, KeyFormat};
    let ed25519 = "MCowBQYDK2VwAyEAi2HR1srL4o18O8BRa7gVJY7G7bupbN3H9AwJrHCDiOg=";
    let p256 = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEDr2LjtURuePQzplybdC+u4CwrqDqBaWjcMMsTbhdbcwHBcepxo7yAQGhHPTnlvFYPAZFceEu/1FwCM/QmGUhA==";
    let format = KeyFormat { encoding: KeyEncoding::Spki, ..Default::default() };
    let length = |text: &str, algorithm| key(&format, algorithm, text).map(|key| key.len());
    assert_eq!(length(ed25519, Algorithm::Ed25519), Some(32));
    assert_eq!(length(p256, Algorithm::EcdsaP256Sha256), Some(65));
    for (text, algorithm) in [
        (ed25519, Algorithm::EcdsaP256Sha256),
        (p256, Algorithm::Ed25519),
        (p256, Algorithm::RsaSha256),
        (p256, Algorithm::HmacSha256),
        (&p256[..40], Algorithm::EcdsaP256Sha256),
    ] {
        assert_eq!(length(text, algorithm), None, "{text} {algorithm:?}");
    }
    // Bytes after the key are no part of one.
    let longer = format!("{}AAAA", ed25519.trim_end_matches('='));
    assert_eq!(length(&longer, Algorithm::Ed25519), None);
}

proptest! {
    #[test]
    fn no_secret_panics_as_a_key(text: String, der: Vec<u8>) {
        for (format, algorithm) in formats() {
            for text in [text.clone(), data_encoding::BASE64.encode(&der), data_encoding::HEXLOWER.encode(&der)] {
                if let Some(key) = key(&format, algorithm, &text) {
                    prop_assert!(!key.is_empty());
                    prop_assert!(!algorithm::matches(algorithm, &key, &[], &[&der]));
                }
            }
        }
    }

    #[test]
    fn no_text_panics_as_a_jws(head in "[A-Za-z0-9_.{}\":-]{0,40}", header in "\\{\"alg\":\"(RS256|none)\",\"kid\":\"[a-z]?\"\\}") {
        let url = data_encoding::BASE64URL_NOPAD;
        let text = format!("{}.{}.{}", url.encode(header.as_bytes()), url.encode(b"{}"), url.encode(head.as_bytes()));
        for text in [head.as_str(), &text] {
            let is_valid = matches!(jws::verify(text, &KeySet::default()), jws::Outcome::Valid(_));
            prop_assert!(!is_valid);
        }
    }

    #[test]
    fn no_header_panics_or_passes(header: String, body: Vec<u8>) {
        prop_assert!(check(Some(&header), &body, &[SECRET], 1_700_000_000).is_err());
    }
}
