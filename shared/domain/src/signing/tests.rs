use ring::signature::{ED25519, UnparsedPublicKey};

use super::*;

/// The key pair of svix-server's documentation and tests.
const SVIX_PRIVATE: &str =
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
const SVIX_PUBLIC: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";

fn hex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
}

fn of(prefix: &str, bytes: usize) -> String {
    encoded(prefix, &vec![1; bytes])
}

/// The vector that the reference libraries of Standard Webhooks share in their tests.
#[test]
fn signs_v1_like_the_reference_libraries() {
    let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let signature = key.sign_text("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
    assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    assert_eq!(key.public_key(), None);
}

/// The same message under `v1a`, as svix-server's tests have it; the specification shows this
/// signature as its example.
#[test]
fn signs_v1a_like_svix_server() {
    let key = SigningKey::parse(SVIX_PRIVATE).unwrap();
    let signature = key.sign_text("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
    assert_eq!(
        signature,
        "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
    );
    assert_eq!(key.public_key().unwrap(), SVIX_PUBLIC);
}

/// RFC 8032, section 7.1, TEST 1 to 3: seed, public key, message, signature.
#[test]
fn ed25519_is_that_of_rfc_8032() {
    let vectors = [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    ];
    for (seed, public, message, signature) in vectors {
        let key = SigningKey::ed25519_from_seed(hex(seed).try_into().unwrap());
        assert_eq!(key.public_key().unwrap(), encoded(PUBLIC, &hex(public)));
        let Kind::Ed25519(_, pair) = &key.0 else { panic!("another kind") };
        assert_eq!(pair.sign(&hex(message)).as_ref(), hex(signature));
    }
}

#[test]
fn reads_back_what_it_shows() {
    for key in [SigningKey::from_random([7; 24]), SigningKey::ed25519_from_seed([7; SEED])] {
        let text = key.to_secret();
        let read = SigningKey::parse(text.expose()).unwrap();
        assert_eq!(read.to_secret(), text);
        assert_eq!(read.public_key(), key.public_key());
        assert_eq!(read.sign_text("evt", 1, b"{}"), key.sign_text("evt", 1, b"{}"));
        assert_eq!(format!("{key:?}"), "[redacted]");
    }
    // The seed alone is the same key, and is shown with its public key.
    assert_eq!(SigningKey::parse(SVIX_PRIVATE).unwrap().to_secret().expose(), SVIX_PRIVATE);
    let seed = encoded(PRIVATE, &decoded(&SVIX_PRIVATE[PRIVATE.len()..]).unwrap()[..SEED]);
    assert_eq!(SigningKey::parse(&seed).unwrap().to_secret().expose(), SVIX_PRIVATE);
}

#[test]
fn one_signature_per_key_in_their_order() {
    let keys = [
        SigningKey::ed25519_from_seed([1; SEED]),
        SigningKey::from_random([2; 24]),
        SigningKey::from_random([3; 24]),
    ];
    let id = EventId::new(Timestamp::from_millis(1), [0; 10]);
    let at = Timestamp::from_millis(1_700_000_000_999);
    let header = signature_header(&keys, id, at, b"{}");
    let signatures: Vec<_> = header.split(' ').collect();
    assert_eq!(signatures.len(), 3);
    for (key, signature) in keys.iter().zip(&signatures) {
        assert_eq!(key.sign(id, at, b"{}"), **signature);
    }
    assert!(signatures[1].starts_with("v1,"));
    // Any verifier that has the public key agrees.
    let public = decoded(&keys[0].public_key().unwrap()[PUBLIC.len()..]).unwrap();
    let signature = decoded(signatures[0].strip_prefix("v1a,").unwrap()).unwrap();
    let signed = format!("{id}.1700000000.{{}}");
    UnparsedPublicKey::new(&ED25519, &*public).verify(signed.as_bytes(), &signature).unwrap();
    assert_eq!(signature_header::<SigningKey>(&[], id, at, b"{}"), "");
}

#[test]
fn refuses_what_is_no_key() {
    let wrong_half = encoded(PRIVATE, &[[1; SEED], [2; SEED]].concat());
    let svix = SVIX_PRIVATE.replace("whsk_", "");
    let refused = [
        "",
        "whsec_",
        "whsk_",
        "whsec_!!",
        "whsk_!!",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        " whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n",
        "WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_\u{fc}",
        &of(SYMMETRIC, 23),
        &of(SYMMETRIC, 65),
        &of(PRIVATE, 31),
        &of(PRIVATE, 33),
        &of(PRIVATE, 63),
        &of(PRIVATE, 65),
        &of(PRIVATE, 96),
        &wrong_half,
        &svix,
        // Without its padding, as svix-server refuses it too.
        SVIX_PRIVATE.trim_end_matches('='),
        SVIX_PUBLIC,
        &SVIX_PUBLIC.replace("whpk_", "whsk_ "),
    ];
    for text in refused {
        assert!(SigningKey::parse(text).is_err(), "{text}");
    }
    for text in [of(SYMMETRIC, 24), of(SYMMETRIC, 64), of(PRIVATE, 32)] {
        assert!(SigningKey::parse(&text).is_ok(), "{text}");
    }
}
