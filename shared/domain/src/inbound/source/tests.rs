use super::*;
use crate::inbound::table::parse_table;

fn source(networks: &[&str]) -> Source {
    Source {
        id: SourceId::new(Timestamp::from_secs(0), [0; 10]),
        tenant: TenantId::operator(),
        provider: Provider::CUSTOM,
        description: String::new(),
        created_at: Timestamp::from_secs(0),
        secret_shard: 0,
        secret_count: 0,
        awaits_secret_until: Some(Timestamp::from_secs(100)),
        settings: SourceSettings {
            allowed_networks: networks.iter().map(|text| text.parse().unwrap()).collect(),
            ..SourceSettings::default()
        },
        revision: 0,
    }
}

#[test]
fn only_addresses_of_the_allowlist_may_send() {
    for (networks, address, expected) in [
        (&[][..], Some("203.0.113.9"), true),
        (&[], None, true),
        (&["192.0.2.0/24"], Some("192.0.2.255"), true),
        (&["192.0.2.0/24"], Some("192.0.3.0"), false),
        (&["192.0.2.0/24"], None, false),
        (&["192.0.2.0/24"], Some("nonsense"), false),
        (&["192.0.2.7"], Some("192.0.2.7"), true),
        (&["192.0.2.7"], Some("192.0.2.8"), false),
        (&["192.0.2.0/24"], Some("::ffff:192.0.2.1"), true),
        (&["2001:db8::/32", "192.0.2.0/24"], Some("2001:db8:1::1"), true),
        (&["2001:db8::/32"], Some("2001:db9::1"), false),
        (&["::ffff:0:0/96"], Some("192.0.2.1"), true),
        (&["::ffff:0:0/96"], Some("2001:db8::1"), false),
        (&["::ffff:192.0.2.0/120"], Some("192.0.2.255"), true),
        (&["::ffff:192.0.2.0/120"], Some("::ffff:192.0.2.1"), true),
        (&["::ffff:192.0.2.0/120"], Some("192.0.3.0"), false),
        (&["::ffff:192.0.2.7"], Some("192.0.2.7"), true),
        (&["::/0"], Some("2001:db8::1"), true),
        (&["::ffff:0:0/95"], Some("192.0.2.1"), false),
    ] {
        assert_eq!(source(networks).allows(address), expected, "{networks:?} {address:?}");
    }
}

#[test]
fn a_new_table_does_not_make_secrets_of_public_keys() {
    let method = |algorithm: &str, key: &str| {
        let signed = if algorithm == "token" { "" } else { r#","signed":"{body}""# };
        format!(r#"{{"signature":{{"from":"header:s"}},"algorithm":"{algorithm}","key":{{{key}}}{signed}}}"#)
    };
    let table = |methods: &[&String]| {
        let methods: Vec<_> = methods.iter().map(|method| method.as_str()).collect();
        let json = format!(
            r#"{{"scheme":{{"methods":[{}]}},"events":{{"event_type":["json:/type"],"dedupe":[["json:/id"]]}}}}"#,
            methods.join(",")
        );
        parse_table(&json).unwrap()
    };
    let public = "MCowBQYDK2VwAyEAi2HR1srL4o18O8BRa7gVJY7G7bupbN3H9AwJrHCDiOg=";
    let (ed25519, raw) = (method("ed25519", r#""encoding":"spki""#), method("ed25519", ""));
    let (hmac, hex) = (method("hmac-sha256", ""), method("hmac-sha256", r#""encoding":"hex""#));
    let (token, prefixed) =
        (method("token", ""), method("hmac-sha256", r#""strip_prefix":"sk_","prefix_required":true"#));
    let digits = "0123456789abcdef0123456789abcdef";
    for (before, after, secrets, expected) in [
        (&[&ed25519][..], &[&hmac][..], &[public][..], Some("/scheme/methods")),
        (&[&ed25519], &[&token], &[public], Some("/scheme/methods")),
        (&[&hmac], &[&ed25519], &[digits], Some("/scheme/methods")),
        (&[&hmac], &[&raw], &[digits], Some("/scheme/methods")),
        (&[&ed25519, &prefixed], &[&hmac], &[public], Some("/scheme/methods")),
        (&[&ed25519, &prefixed], &[&hmac], &["sk_0123456789abcdef"], None),
        (&[&prefixed], &[&prefixed, &ed25519], &["sk_0123456789abcdef"], None),
        (&[&prefixed], &[&prefixed, &raw], &["sk_0123456789abcdef"], Some("/scheme/methods")),
        (&[&ed25519], &[&hmac], &[], None),
        (&[&hmac], &[&ed25519], &[], None),
        (&[&hmac], &[&hex], &[digits], None),
        (&[&hmac], &[&hex], &[digits, "no hexadecimal at all"], Some("")),
        (&[&hex], &[&hmac, &token], &[digits], None),
        (&[&ed25519], &[&raw], &[public], None),
        // One that fits nothing is a key of neither.
        (&[&hex], &[&hmac], &["no hexadecimal at all"], None),
    ] {
        let kept: Vec<_> = secrets.iter().map(|text| Secret::new((*text).to_owned())).collect();
        let found = check_new_table(&table(before), &table(after), &kept).err();
        let found = found.map(|violation| {
            assert!(!secrets.iter().any(|secret| violation.detail.contains(secret)));
            violation.pointer
        });
        assert_eq!(found.as_deref(), expected, "{before:?} {after:?} {secrets:?}");
    }
}

#[test]
fn a_verify_token_is_kept_as_its_hash() {
    let token = Secret::new("a_verify_token_of_this_test".to_owned());
    let kept = VerifyToken::new(&token).unwrap();
    assert!(kept.is(token.expose()) && !kept.is("a_verify_token_of_this_tesT") && !kept.is(""));
    assert_eq!(kept.to_string().parse::<VerifyToken>().ok(), Some(kept.clone()));
    assert!(!kept.to_string().contains(token.expose()));
    for short_or_malformed in ["", "short", "with white space in it", &"x".repeat(257)] {
        assert!(VerifyToken::new(&Secret::new(short_or_malformed.to_owned())).is_err());
    }
    assert_eq!("00".parse::<VerifyToken>(), Err(InvalidHash));
}

#[test]
fn a_handshake_has_a_window() {
    let source = source(&[]);
    assert!(source.awaits_secret(Timestamp::from_secs(99)));
    assert!(!source.awaits_secret(Timestamp::from_secs(100)));
    assert!(!Source { awaits_secret_until: None, ..source }.awaits_secret(Timestamp::from_secs(0)));
}
