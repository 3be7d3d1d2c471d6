//! The engine on the row of Stripe, whose behaviour must not change.

use proptest::prelude::*;

use super::*;
use crate::inbound::{Provider, reading::Request};

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
    let scheme = &Provider::Stripe.preset().table.scheme;
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

#[test]
fn any_flipped_bit_is_noticed() {
    let header = format!("t=1700000000,v1={SIGNATURE}");
    for index in 0..BODY.len() {
        let mut body = BODY.to_vec();
        body[index] ^= 1;
        assert_eq!(check(Some(&header), &body, &[SECRET], 1_700_000_000), Err(Reject::WrongSignature));
    }
}

proptest! {
    #[test]
    fn no_header_panics_or_passes(header: String, body: Vec<u8>) {
        prop_assert!(check(Some(&header), &body, &[SECRET], 1_700_000_000).is_err());
    }
}
