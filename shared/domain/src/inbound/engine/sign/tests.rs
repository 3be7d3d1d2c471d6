use super::*;
use crate::inbound::{presets, reading::Place};

const NOW: i64 = 1_700_000_000;

/// A text that every preset with a symmetric key accepts as its secret, in one of these forms.
fn secrets() -> Vec<Secret> {
    let texts = [
        "0123456789abcdef0123456789abcdef",
        "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
        "user:a-password-of-32-characters-x",
        "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    ];
    texts.map(|text| Secret::new(text.to_owned())).to_vec()
}

fn draft<'a>(body: &'a [u8], urls: &'a [String], headers: &'a [(String, String)]) -> Draft<'a> {
    Draft { method: "POST", public_urls: urls, headers, body, id: "test_1" }
}

/// `sign` verifies what it returns, so a preset that it can sign is one that it signs correctly.
#[test]
fn presets_with_a_signature_in_a_header_are_signed() {
    let urls = ["https://hooks.acme.example/in".to_owned()];
    let now = Timestamp::from_secs(NOW);
    let body = br#"{"id":"1","type":"made","event":"made"}"#;
    let mut signed = Vec::new();
    for name in presets::names() {
        let preset = presets::get(name).unwrap();
        for secret in secrets() {
            if preset.check_secret(secret.expose()).is_ok()
                && let Ok(parts) = sign(&preset.table, draft(body, &urls, &[]), &secret, now)
            {
                let key = secret.expose();
                assert!(
                    !parts.shown.contains(key) && !parts.shown.contains(&BASE64.encode(key.as_bytes())),
                    "{name}"
                );
                signed.push(name);
                break;
            }
        }
    }
    for name in [
        "github",
        "hubspot_v3",
        "shopify",
        "slack",
        "standard_webhooks",
        "stripe",
        "svix",
        "zendesk",
        "mailchimp",
    ] {
        assert!(signed.contains(&name), "{name} is none of {signed:?}");
    }
    // Public keys and signatures of items cannot be made.
    for name in ["sendgrid", "apple_sign_in", "highlevel"] {
        assert!(!signed.contains(&name), "{name}");
    }
    assert!(signed.len() >= 20, "{signed:?}");
}

#[test]
fn a_signature_is_laid_out_as_the_sender_does() {
    let list = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
    let pair = "pair:t".parse::<Place>().unwrap();
    let position = "position:2".parse::<Place>().unwrap();
    let plain = |prefixes: &[&str]| Layout::Plain { prefixes: list(prefixes), prefix_optional: false };
    let pairs =
        Layout::Pairs { separator: ",".to_owned(), assign: "=".to_owned(), keys: list(&["v1", "v2"]) };
    let of_list = Layout::List { separator: " ".to_owned(), assign: ",".to_owned(), keys: list(&["v1"]) };
    let positional = Layout::Positional {
        item_separator: ",".to_owned(),
        separator: ";".to_owned(),
        expect: vec![(0, "hmac".to_owned())],
        signature: 3,
    };
    for (layout, place, expected) in [
        (plain(&[]), None, "ab"),
        (plain(&["sha256=", "sha1="]), None, "sha256=ab"),
        (pairs.clone(), Some(&pair), "t=7,v1=ab"),
        (pairs, None, "v1=ab"),
        (of_list, None, "v1,ab"),
        (positional, Some(&position), "hmac;;7;ab"),
    ] {
        let origin = place.and_then(|place| place.origins().next());
        assert_eq!(laid_out(&layout, "ab", origin, Some("7")).as_deref(), Some(expected));
    }
    let parameters = [("a b".to_owned(), "ä&=".to_owned()), ("c".to_owned(), "-._~".to_owned())];
    assert_eq!(query_text(&parameters), "a%20b=%C3%A4%26%3D&c=-._~");
}

#[test]
fn what_the_source_cannot_make_is_unsignable() {
    let preset = presets::get("stripe").unwrap();
    let now = Timestamp::from_secs(NOW);
    let empty = Secret::new(String::new());
    assert_eq!(sign(&preset.table, draft(b"{}", &[], &[]), &empty, now).err(), Some(Unsignable));
    let sendgrid = presets::get("sendgrid").unwrap();
    for secret in secrets() {
        assert!(sign(&sendgrid.table, draft(b"[]", &[], &[]), &secret, now).is_err());
    }
}
