use data_encoding::BASE64;
use domain::Timestamp;
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
        KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
        RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
    },
};
use serde_json::json;

use super::{SigningAlgorithm::*, *};
use domain::Secret;

pub(in crate::connection) const ES256: SigningAlgorithm = Es256;

const ALL: [SigningAlgorithm; 9] = [Rs256, Rs384, Rs512, Ps256, Ps384, Ps512, Es256, Es384, EdDsa];

/// A key pair for tests, 2048 bits, in PKCS #8; the one of the domain's tests.
const RSA_TEST_KEY: &str = include_str!("../../../../domain/src/inbound/tests/rsa_test_key.txt");

fn encode(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

fn ecdsa(how: &'static ring::signature::EcdsaSigningAlgorithm) -> (EcdsaKeyPair, Vec<u8>) {
    let random = SystemRandom::new();
    let der = EcdsaKeyPair::generate_pkcs8(how, &random).unwrap().as_ref().to_vec();
    (EcdsaKeyPair::from_pkcs8(how, &der, &random).unwrap(), der)
}

/// A key of P-256 that signs tokens.
pub(in crate::connection) struct TokenKey {
    id: &'static str,
    pair: EcdsaKeyPair,
}

impl TokenKey {
    pub(in crate::connection) fn new(id: &'static str) -> Self {
        Self { id, pair: ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING).0 }
    }

    pub(in crate::connection) fn public(&self) -> Value {
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        json!({ "kty": "EC", "crv": "P-256", "kid": self.id, "x": encode(x), "y": encode(y) })
    }

    pub(in crate::connection) fn token(&self) -> String {
        token(&json!({ "alg": "ES256", "kid": self.id }), |text| self.sign(text))
    }

    /// A token with these claims.
    pub(in crate::connection) fn token_of(&self, claims: &Value) -> String {
        token_of(&json!({ "alg": "ES256", "kid": self.id }), claims, |text| self.sign(text))
    }

    fn sign(&self, text: &[u8]) -> Vec<u8> {
        self.pair.sign(&SystemRandom::new(), text).unwrap().as_ref().to_vec()
    }
}

/// A token that has expired and is not valid yet, which must not matter here.
fn token(header: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let claims =
        json!({ "iss": "https://idp", "sub": "1", "aud": ["a", "b"], "exp": 1, "nbf": 4_000_000_000_u64 });
    token_of(header, &claims, sign)
}

fn token_of(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let input =
        format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
    let signature = encode(&sign(input.as_bytes()));
    format!("{input}.{signature}")
}

fn keys(keys: &[Value]) -> Jwks {
    Jwks::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

#[test]
fn every_algorithm_verifies_and_only_where_listed() {
    let random = SystemRandom::new();
    let rsa =
        RsaKeyPair::from_pkcs8(&BASE64.decode(RSA_TEST_KEY.lines().collect::<String>().as_bytes()).unwrap())
            .unwrap();
    let public: ring::rsa::PublicKeyComponents<Vec<u8>> = rsa.public().into();
    // One leading zero, as some providers publish it.
    let n = [vec![0], public.n].concat();
    let rsa_key =
        json!({ "kty": "RSA", "kid": "rsa", "use": "sig", "n": encode(&n), "e": encode(&public.e) });
    let p256 = TokenKey::new("p256");
    let p384 = ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING).0;
    let (x, y) = p384.public_key().as_ref()[1..].split_at(48);
    let p384_key = json!({ "kty": "EC", "crv": "P-384", "kid": "p384", "x": encode(x), "y": encode(y) });
    let ed = Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&random).unwrap().as_ref()).unwrap();
    let ed_key =
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": encode(ed.public_key().as_ref()) });
    let published = keys(&[rsa_key, p256.public(), p384_key, ed_key]);
    assert_eq!(published.len(), 4);

    let by_rsa = |how: &'static dyn RsaEncoding, text: &[u8]| {
        let mut signature = vec![0; rsa.public().modulus_len()];
        rsa.sign(how, &random, text, &mut signature).unwrap();
        signature
    };
    for algorithm in ALL {
        let sign = |text: &[u8]| match algorithm {
            Rs256 => by_rsa(&RSA_PKCS1_SHA256, text),
            Rs384 => by_rsa(&RSA_PKCS1_SHA384, text),
            Rs512 => by_rsa(&RSA_PKCS1_SHA512, text),
            Ps256 => by_rsa(&RSA_PSS_SHA256, text),
            Ps384 => by_rsa(&RSA_PSS_SHA384, text),
            Ps512 => by_rsa(&RSA_PSS_SHA512, text),
            Es256 => p256.sign(text),
            Es384 => p384.sign(&random, text).unwrap().as_ref().to_vec(),
            EdDsa => ed.sign(text).as_ref().to_vec(),
        };
        let name = algorithm.to_string();
        assert_eq!(name.parse(), Ok(algorithm));
        let unnamed = token(&json!({ "alg": name }), sign);
        let claims = verify_id_token(&unnamed, &published, &[algorithm]).unwrap();
        assert_eq!((&claims["sub"], &claims["exp"]), (&json!("1"), &json!(1)), "{name}");
        let others: Vec<_> = ALL.into_iter().filter(|other| *other != algorithm).collect();
        assert_eq!(verify_id_token(&unnamed, &published, &others), Err(TokenError::Unsupported), "{name}");
        // The same signature under the name of each other algorithm.
        for other in others {
            let named = token(&json!({ "alg": other.to_string() }), sign);
            assert!(verify_id_token(&named, &published, &ALL).is_err(), "{name} as {other}");
        }
    }
}

#[test]
fn tokens_that_are_refused() {
    use TokenError::{InvalidSignature, Malformed, UnknownKey, Unsupported};
    let (key, other) = (TokenKey::new("k1"), TokenKey::new("k2"));
    let good = key.token();
    let signed = |header: Value| token(&header, |text| key.sign(text));
    let unsigned = good.rsplit_once('.').unwrap().0;
    let none = token(&json!({ "alg": "none" }), |_| Vec::new());
    // The public key as the secret of an HMAC.
    let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key.pair.public_key().as_ref());
    let hmac = token(&json!({ "alg": "HS256", "kid": "k1" }), |text| {
        ring::hmac::sign(&secret, text).as_ref().to_vec()
    });
    let claims = encode(json!({ "sub": "2" }).to_string().as_bytes());
    let parts: Vec<_> = good.split('.').collect();
    for (name, token, published, expected) in [
        ("good", good.clone(), vec![key.public()], Ok(())),
        ("good, among others", good.clone(), vec![other.public(), key.public()], Ok(())),
        (
            "no kid, among others",
            signed(json!({ "alg": "ES256" })),
            vec![other.public(), key.public()],
            Ok(()),
        ),
        ("unknown kid", good.clone(), vec![other.public()], Err(UnknownKey)),
        ("no keys", good.clone(), vec![], Err(UnknownKey)),
        ("no kid and no keys", signed(json!({ "alg": "ES256" })), vec![], Err(UnknownKey)),
        ("another key of this name", good.clone(), vec![TokenKey::new("k1").public()], Err(InvalidSignature)),
        (
            "no kid, another key",
            signed(json!({ "alg": "ES256" })),
            vec![other.public()],
            Err(InvalidSignature),
        ),
        (
            "other claims",
            format!("{}.{claims}.{}", parts[0], parts[2]),
            vec![key.public()],
            Err(InvalidSignature),
        ),
        ("no signature", format!("{unsigned}."), vec![key.public()], Err(InvalidSignature)),
        ("none", none, vec![key.public()], Err(Unsupported)),
        ("HMAC", hmac, vec![key.public()], Err(Unsupported)),
        (
            "an extension",
            signed(json!({ "alg": "ES256", "crit": ["b64"] })),
            vec![key.public()],
            Err(Unsupported),
        ),
        ("two parts", unsigned.to_owned(), vec![key.public()], Err(Malformed)),
        ("four parts", format!("{good}.x"), vec![key.public()], Err(Malformed)),
        ("five parts", format!("{good}.x.y"), vec![key.public()], Err(Malformed)),
        ("nothing", String::new(), vec![key.public()], Err(Malformed)),
        ("no base64", format!("!{good}"), vec![key.public()], Err(Malformed)),
        ("alg is no text", signed(json!({ "alg": 1 })), vec![key.public()], Err(Malformed)),
        ("too long", "a".repeat(LONGEST_TOKEN + 1), vec![key.public()], Err(Malformed)),
    ] {
        let got = verify_id_token(&token, &keys(&published), &[Es256, Rs256]).map(|_| ());
        assert_eq!(got, expected, "{name}");
    }
}

#[test]
fn keys_that_are_left_out() {
    let key = TokenKey::new("k1");
    let with = |name: &str, value: Value| {
        let mut public = key.public();
        public[name] = value;
        public
    };
    for (name, public, is_usable) in [
        ("as published", key.public(), true),
        ("for signatures", with("use", json!("sig")), true),
        ("for this algorithm", with("alg", json!("ES256")), true),
        ("to verify", with("key_ops", json!(["verify"])), true),
        ("with unknown fields", with("x5c", json!(["MII"])), true),
        ("for encryption", with("use", json!("enc")), false),
        ("to encrypt", with("key_ops", json!(["encrypt"])), false),
        ("for another algorithm", with("alg", json!("ECDH-ES")), false),
        ("of another curve", with("crv", json!("secp256k1")), false),
        ("with a short coordinate", with("x", json!("AAAA")), false),
        ("no key", json!("key"), false),
        ("a secret", json!({ "kty": "oct", "kid": "k1", "k": "c2VjcmV0" }), false),
        ("of an unknown type", json!({ "kty": "AKP", "kid": "k1", "pub": "AAAA" }), false),
    ] {
        let other = TokenKey::new("k2");
        let published = keys(&[public, other.public()]);
        let expected = if is_usable { Ok(()) } else { Err(TokenError::UnknownKey) };
        assert_eq!(verify_id_token(&key.token(), &published, &[Es256]).map(|_| ()), expected, "{name}");
        assert!(verify_id_token(&other.token(), &published, &[Es256]).is_ok(), "{name}: the other");
    }
    for malformed in ["", "[]", "{}", r#"{"keys":{}}"#] {
        assert_eq!(
            Jwks::parse(malformed.as_bytes()).map(|keys| keys.len()),
            Err(MalformedKeys),
            "{malformed}"
        );
    }
}

fn pem(der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
}

/// The form of Apple's files: the curve is named a second time, within the private key (RFC 5915, `parameters`).
fn as_apple_writes(der: &[u8]) -> Vec<u8> {
    let parameters = [0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    let public = der.len() - 70;
    let mut der = [&der[..public], &parameters, &der[public..]].concat();
    // The lengths of the outer sequence, of the octet string and of the inner sequence.
    for index in [2, 28, 30] {
        der[index] += 12;
    }
    der
}

#[test]
fn assertions_carry_their_claims() {
    let (pair, der) = ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING);
    let published = keys(&[TokenKey { id: "KEYID", pair }.public()]);
    let key = Es256Key::from_pem(&pem(&der), Some("KEYID".into())).unwrap();
    let now = Timestamp::from_secs(1_800_000_000);
    let times = json!({ "iat": 1_800_000_000, "exp": 1_800_000_300 });
    let read = |assertion: &Secret| {
        let header: Value = serde_json::from_slice(
            &BASE64URL_NOPAD.decode(assertion.expose().split('.').next().unwrap().as_bytes()).unwrap(),
        )
        .unwrap();
        assert_eq!(header, json!({ "typ": "JWT", "alg": "ES256", "kid": "KEYID" }));
        let claims = verify_id_token(assertion.expose(), &published, &[Es256]).unwrap();
        assert_eq!((&claims["iat"], &claims["exp"]), (&times["iat"], &times["exp"]));
        claims
    };
    let apple = read(
        &apple_client_secret(&key, "TEAM", "com.example.app", "https://appleid.apple.com", now).unwrap(),
    );
    assert_eq!(
        [&apple["iss"], &apple["sub"], &apple["aud"]],
        ["TEAM", "com.example.app", "https://appleid.apple.com"]
    );
    assert!(!apple.contains_key("jti"));
    let assertion = || read(&client_assertion(&key, "client", "https://idp/token", now).unwrap());
    let (one, other) = (assertion(), assertion());
    assert_eq!([&one["iss"], &one["sub"], &one["aud"]], ["client", "client", "https://idp/token"]);
    assert_ne!(one["jti"], other["jti"]);
}

#[test]
fn keys_in_pem() {
    let der = ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING).1;
    let p384 = ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING).1;
    let good = pem(&der);
    let one_line = good.replace('\n', " ");
    for (name, text, expected) in [
        ("as written", good.clone(), Ok(())),
        ("as Apple writes it", pem(&as_apple_writes(&der)), Ok(())),
        ("Windows", good.replace('\n', "\r\n"), Ok(())),
        ("one line", one_line, Ok(())),
        ("escaped", good.replace('\n', "\\n"), Ok(())),
        ("with text around", format!("key:\n{good}\nend"), Ok(())),
        ("nothing", String::new(), Err(KeyError::NoArmour)),
        ("without its lines", BASE64.encode(&der), Err(KeyError::NoArmour)),
        ("cut off", good[..100].to_owned(), Err(KeyError::NoArmour)),
        ("SEC 1", good.replace("PRIVATE KEY", "EC PRIVATE KEY"), Err(KeyError::OtherKind)),
        ("encrypted", good.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"), Err(KeyError::OtherKind)),
        ("public", good.replace("PRIVATE KEY", "PUBLIC KEY"), Err(KeyError::OtherKind)),
        ("no base64", good.replace("MIG", "***"), Err(KeyError::NotBase64)),
        ("empty", pem(&[]), Err(KeyError::NotP256)),
        ("P-384", pem(&p384), Err(KeyError::NotP256)),
    ] {
        let read = Es256Key::from_pem(&text, None);
        if let Ok(key) = &read {
            assert!(!format!("{key:?}").contains("MIG"), "{name}");
            assert!(apple_client_secret(key, "T", "C", "A", Timestamp::from_secs(1)).is_ok(), "{name}");
        }
        assert_eq!(read.map(|_| ()), expected, "{name}");
    }
}
