//! Case 35, Apple's JWS, and RSA signatures of the body.

use ring::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use serde_json::{Value, json};

use super::kit::{NOW, post, table};
use crate::inbound::engine::{
    KeySet,
    Reject::{MalformedSignature, MissingSignature, StaleTimestamp, WrongSignature},
};

/// A key pair for tests, 2048 bits, in PKCS #8; made with OpenSSL.
const RSA_TEST_KEY: &str = include_str!("rsa_test_key.txt");

fn rsa() -> RsaKeyPair {
    let text: String = RSA_TEST_KEY.lines().collect();
    RsaKeyPair::from_pkcs8(&data_encoding::BASE64.decode(text.as_bytes()).unwrap()).unwrap()
}

fn sign(pair: &RsaKeyPair, text: &str) -> Vec<u8> {
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
    signature
}

#[test]
fn case_35_apple() {
    let table = table("apple_sign_in");
    let pair = rsa();
    let url = data_encoding::BASE64URL_NOPAD;
    let public: ring::rsa::PublicKeyComponents<Vec<u8>> = pair.public().into();
    let (n, e) = (url.encode(&public.n), url.encode(&public.e));
    let keys = |kid: &str, alg: &str| -> KeySet {
        serde_json::from_value(
            json!({ "keys": [{ "kty": "RSA", "kid": kid, "alg": alg, "use": "sig", "n": n, "e": e }] }),
        )
        .unwrap()
    };
    let known = keys("k1", "RS256");
    let claims = |change: Value| {
        let mut claims = json!({ "iss": "https://appleid.apple.com", "aud": "com.example.app", "iat": NOW, "jti": "j1",
            "events": r#"{"type":"account-delete","sub":"1","event_time":1}"# });
        claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        claims
    };
    let jws = |header: Value, claims: Value| {
        let input = format!(
            "{}.{}",
            url.encode(header.to_string().as_bytes()),
            url.encode(claims.to_string().as_bytes())
        );
        let signature = url.encode(&sign(&pair, &input));
        post(json!({ "payload": format!("{input}.{signature}") }).to_string())
    };
    let header = json!({ "alg": "RS256", "kid": "k1" });
    let check = |header: &Value, change: Value, audiences: &[&str], keys: &KeySet| {
        jws(header.clone(), claims(change)).published(&table, audiences, keys)
    };
    let app = &["com.example.app"][..];
    for (change, audiences, expected) in [
        (json!({}), app, Ok(())),
        (json!({ "exp": NOW - 59 }), app, Ok(())),
        (json!({ "exp": NOW - 61 }), app, Err(StaleTimestamp)),
        (json!({ "exp": "soon" }), app, Err(StaleTimestamp)),
        (json!({ "iat": NOW + 301 }), app, Err(StaleTimestamp)),
        (json!({ "aud": "com.example.other" }), app, Err(WrongSignature)),
        (json!({ "aud": null }), app, Err(WrongSignature)),
        (json!({ "iss": "https://evil.example" }), app, Err(WrongSignature)),
        (json!({}), &[], Err(WrongSignature)),
        (json!({ "aud": "" }), &[""], Err(WrongSignature)),
    ] {
        assert_eq!(check(&header, change.clone(), audiences, &known), expected, "{change}");
    }
    for (header, expected) in [
        (json!({ "alg": "none", "kid": "k1" }), MalformedSignature),
        (json!({ "alg": "HS256", "kid": "k1" }), MalformedSignature),
        (json!({ "alg": "RS384", "kid": "k1" }), MalformedSignature),
        (json!({ "alg": "RS256" }), MalformedSignature),
        (json!({ "alg": "RS256", "kid": "k1", "crit": ["exp"] }), MalformedSignature),
        (json!({ "alg": "RS256", "kid": "k2" }), WrongSignature),
    ] {
        assert_eq!(check(&header, json!({}), app, &known), Err(expected), "{header}");
    }
    assert_eq!(check(&header, json!({}), app, &keys("k1", "RS512")), Err(WrongSignature));
    assert_eq!(check(&header, json!({}), app, &KeySet::default()), Err(WrongSignature));
    assert_eq!(post(r#"{"payload":"a.b"}"#).published(&table, app, &known), Err(MalformedSignature));
    assert_eq!(post("{}").published(&table, app, &known), Err(MissingSignature));
    // A key that the set lacks is named, so that the set can be read again.
    jws(json!({ "alg": "RS256", "kid": "k2" }), claims(json!({}))).report(&table, app, NOW, |report| {
        assert_eq!(report.unknown_key.as_deref(), Some("k2"));
    });
}

#[test]
fn rsa_signatures_of_the_body() {
    let pair = rsa();
    // SubjectPublicKeyInfo around the key.
    let key = pair.public().as_ref();
    let der = |tag: u8, content: &[u8]| {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82][..], &length, content].concat()
    };
    let identifier =
        [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    let info = der(0x30, &[&identifier[..], &der(0x03, &[&[0], key].concat())].concat());
    let secret = data_encoding::BASE64.encode(&info);
    let table = super::kit::custom(
        r#"{"signature":{"from":"header:x-wh-signature","encoding":"base64"},"algorithm":"rsa-sha256",
            "key":{"encoding":"spki"},"signed":"{body}"}"#,
    );
    let call =
        |body: &str| post(body).header("x-wh-signature", data_encoding::BASE64.encode(&sign(&pair, "{}")));
    assert_eq!(call("{}").verify(&table, &[&secret]), Ok(()));
    assert_eq!(call("{ }").verify(&table, &[&secret]), Err(WrongSignature));
    assert_eq!(call("{}").verify(&table, &["AAAA", "no key", ""]), Err(WrongSignature));
}
