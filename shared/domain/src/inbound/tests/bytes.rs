//! Cases 11 to 28: bytes, encodings, keys and URLs.

use super::kit::{NOW, base64, custom, form, get, hex, post, preset, table};
use crate::inbound::{
    engine::Reject::{MalformedSignature, MissingSignature, StaleTimestamp, WrongSignature},
    table::parse_table,
};

const KEY: &str = "whsec_test_key_of_these_cases";

/// What Twilio signs with the token `12345`.
fn sha1(text: &str) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"12345");
    data_encoding::BASE64.encode(ring::hmac::sign(&key, text.as_bytes()).as_ref())
}

#[test]
fn case_11_stripes_old_scheme_never_counts() {
    let table = table("stripe");
    let signature = hex(KEY, format!("{NOW}.{{}}"));
    let check = |header: String| post("{}").header("stripe-signature", header).verify(&table, &[KEY]);
    assert_eq!(check(format!("t={NOW},v1={signature},v0=00")), Ok(()));
    assert_eq!(check(format!("t={NOW},v0={signature}")), Err(MalformedSignature));
    assert_eq!(check(format!("t={NOW},v1=00,v0={signature}")), Err(WrongSignature));
    assert_eq!(check(format!("t={NOW},v1=00,v1={signature}")), Ok(()));
    // The key is the whole text of the secret.
    let decoded = hex(&KEY["whsec_".len()..], format!("{NOW}.{{}}"));
    assert_eq!(check(format!("t={NOW},v1={decoded}")), Err(WrongSignature));
}

#[test]
fn case_13_githubs_bytes_are_never_decoded() {
    let preset = preset("github");
    let call = |body: &[u8]| {
        post(body)
            .header("x-hub-signature-256", format!("sha256={}", hex(KEY, body)))
            .header("x-github-event", "issues")
            .header("x-github-delivery", "d-1")
    };
    let events = call("{\"title\":\"Grüße 🎉\"}".as_bytes()).events(&preset, &[KEY]).unwrap();
    assert_eq!(events.events[0].data.as_str(), "{\"title\":\"Grüße 🎉\"}");
    // It verifies, and is no JSON then.
    let malformed = call(b"{\"title\":\"\xff\"}").events(&preset, &[KEY]).unwrap_err();
    assert_eq!(malformed, "not an event of github: the body is not valid JSON");
}

#[test]
fn case_14_metas_escapes_are_signed() {
    let table = table("meta");
    let sent = r#"{"text":"\u00e4\/\u0040"}"#;
    let signature = format!("sha256={}", hex(KEY, sent));
    let check =
        |body: &str| post(body).header("x-hub-signature-256", signature.clone()).verify(&table, &[KEY]);
    assert_eq!(check(sent), Ok(()));
    assert_eq!(check(r#"{"text":"ä/@"}"#), Err(WrongSignature));
}

#[test]
fn case_16_twilios_query_is_signed_as_sent() {
    let table = table("twilio");
    let url = "https://hooks.example.com/in/twilio/src_1";
    let check = |signed: &str, query: &str| {
        let signature = sha1(&format!("{url}?{signed}"));
        get(query).url(url).header("x-twilio-signature", signature).verify(&table, &["12345"])
    };
    assert_eq!(check("b=456&a=123", "b=456&a=123"), Ok(()));
    assert_eq!(check("b=456&a=123", "a=123&b=456"), Err(WrongSignature));
    assert_eq!(check("a=1+2", "a=1%202"), Err(WrongSignature));
    assert_eq!(check("a='x'", "a=%27x%27"), Ok(()));
    // Values of one name are sorted and count once.
    let body = "B=2&A=2&A=1&A=2";
    let call = form(body).url(url).header("x-twilio-signature", sha1(&format!("{url}A1A2B2")));
    assert_eq!(call.verify(&table, &["12345"]), Ok(()));
}

#[test]
fn case_18_twilios_port_and_hash() {
    let table = table("twilio");
    let (with, without) = ("https://hooks.example.com:443/a", "https://hooks.example.com/a");
    for (signed, stored, expected) in [
        (with, without, Ok(())),
        (without, with, Ok(())),
        ("https://hooks.example.com:8443/a", without, Err(WrongSignature)),
        ("http://hooks.example.com/a", without, Err(WrongSignature)),
    ] {
        let call = get("").url(stored).header("x-twilio-signature", sha1(signed));
        assert_eq!(call.verify(&table, &["12345"]), expected, "{signed} {stored}");
    }
    // SHA-256 counts only where the header says so, and the table allows it.
    let call = get("").url(without).header("x-twilio-signature", base64("12345", without));
    assert_eq!(call.verify(&table, &["12345"]), Err(WrongSignature));
    let setting = "x-twilio-webhooks-signature-settings";
    let allowed = call.clone().header(setting, "key=CR1,algorithm=HMAC_SHA256");
    assert_eq!(allowed.verify(&table, &["12345"]), Ok(()));
    assert_eq!(allowed.header(setting, "algorithm=NONE").verify(&table, &["12345"]), Ok(()));
    let other = call.header(setting, "key=CR1,algorithm=NONE");
    assert_eq!(other.verify(&table, &["12345"]), Err(WrongSignature));
}

#[test]
fn case_18_twilios_json_is_signed_by_its_hash() {
    let table = table("twilio");
    let url = "https://hooks.example.com/a";
    let hash = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    // The hash comes after a query with which the URL was registered.
    for (registered, before) in [(url, ""), ("https://hooks.example.com/a?tenant=1", "tenant=1&")] {
        let query = format!("{before}bodySHA256={hash}");
        let signed = sha1(&format!("{url}?{query}"));
        let call = |body: &str| {
            post(body).url(registered).query(&query).header("x-twilio-signature", signed.as_str())
        };
        assert_eq!(call("{}").verify(&table, &["12345"]), Ok(()), "{registered}");
        assert_eq!(call("{ }").verify(&table, &["12345"]), Err(WrongSignature), "{registered}");
    }
    // The URL alone never vouches for a body.
    let call = post("{}").url(url).header("x-twilio-signature", sha1(url));
    assert_eq!(call.verify(&table, &["12345"]), Err(MalformedSignature));
}

#[test]
fn case_19_squares_url_is_the_stored_one() {
    let table = table("square");
    let stored = "https://hooks.example.com/in/square/src_1";
    let signature = base64(KEY, format!("{stored}{{}}"));
    let call = post("{}")
        .header("x-square-hmacsha256-signature", signature)
        .header("host", "hooks.example.com")
        .header("x-forwarded-host", "hooks.example.com");
    assert_eq!(call.clone().url(stored).verify(&table, &[KEY]), Ok(()));
    // Several can be stored while a domain changes.
    let both = call.clone().url("https://new.example.com/in/square/src_1").url(stored);
    assert_eq!(both.verify(&table, &[KEY]), Ok(()));
    for other in [
        "https://abc.execute-api.eu-central-1.amazonaws.com/in/square/src_1",
        "https://hooks.example.com/in/square/src_1/",
        "http://hooks.example.com/in/square/src_1",
    ] {
        assert_eq!(call.clone().url(other).verify(&table, &[KEY]), Err(WrongSignature), "{other}");
    }
    assert_eq!(call.verify(&table, &[KEY]), Err(WrongSignature), "no URL is stored");
}

#[test]
fn case_20_hubspot() {
    let table = table("hubspot_v3");
    let url = "https://hooks.example.com/in/hubspot_v3/src_1";
    let call =
        |signed_time: &str, header_time: &str, signed_query: &str, query: &str, method: &'static str| {
            let signature = base64(KEY, format!("{method}{url}{signed_query}[]{signed_time}"));
            let call = post("[]").url(url).query(query).header("x-hubspot-signature-v3", signature);
            super::kit::Call { method, ..call.header("x-hubspot-request-timestamp", header_time) }
        };
    let time = "1707926838792";
    let now = 1_707_926_838;
    for (call, now, expected) in [
        (call(time, time, "", "", "POST"), now, Ok(())),
        (call(time, time, "", "", "GET"), now, Ok(())),
        (call(time, time, "?a=b%3Ac", "a=b%3Ac", "POST"), now, Ok(())),
        (call(time, time, "?a=b:c?d", "a=b%3Ac%3Fd", "POST"), now, Ok(())),
        (call(time, time, "?a=b:c", "a=b%3Ad", "POST"), now, Err(WrongSignature)),
        // The time stays text: no float, no other number of digits.
        (call("1707926838792.0", time, "", "", "POST"), now, Err(WrongSignature)),
        (call("1707926838792.0", "1707926838792.0", "", "", "POST"), now, Err(MalformedSignature)),
        (call(time, "1707926838793", "", "", "POST"), now, Err(WrongSignature)),
        (call(time, time, "", "", "POST"), now + 300, Ok(())),
        (call(time, time, "", "", "POST"), now + 302, Err(StaleTimestamp)),
        (call(time, time, "", "", "POST"), now - 3000, Ok(())),
    ] {
        assert_eq!(call.verify_at(&table, &[KEY], now), expected, "{} {:?} {now}", call.query, call.headers);
    }
}

#[test]
fn case_21_every_header_of_docusign_against_every_secret() {
    let table = table("docusign");
    let call = post("{}")
        .header("x-docusign-signature-1", base64("b2xk=", "{}"))
        .header("x-docusign-signature-2", base64("bmV3=", "{}"));
    for (secrets, expected) in [
        (&["bmV3="][..], Ok(())),
        (&["b2xk="], Ok(())),
        (&["x", "bmV3="], Ok(())),
        // The key is text, though it looks like base64.
        (&["new", "old"], Err(WrongSignature)),
    ] {
        assert_eq!(call.verify(&table, secrets), expected, "{secrets:?}");
    }
    assert_eq!(post("{}").verify(&table, &["b2xk="]), Err(MissingSignature));
}

#[test]
fn case_22_shopifys_secrets_overlap() {
    let table = table("shopify");
    let call = |key: &str, body: &str| post(body).header("x-shopify-hmac-sha256", base64(key, body));
    assert_eq!(call("old", "{}").verify(&table, &["new", "old"]), Ok(()));
    assert_eq!(call("new", "{}").verify(&table, &["new", "old"]), Ok(()));
    assert_eq!(call("old", "{}").verify(&table, &["new"]), Err(WrongSignature));
    assert_eq!(call("new", "").verify(&table, &["new"]), Ok(()));
    assert_eq!(table.responses.refused.status, 401);
}

#[test]
fn case_26_quos_milliseconds() {
    let table = table("quo_legacy");
    let signature = base64("decoded key", format!("{NOW}000.{{}}"));
    let secret = "ZGVjb2RlZCBrZXk=";
    let check = |header: String, now| {
        post("{}").header("openphone-signature", header).verify_at(&table, &[secret], now)
    };
    assert_eq!(check(format!("hmac;1;{NOW}000;{signature}"), NOW), Ok(()));
    assert_eq!(check(format!("hmac;1;{NOW}000;{signature}"), NOW + 301), Err(StaleTimestamp));
    for malformed in ["hmac;2;1;QQ==", "hmac;1;QQ==", "other;1;1;QQ==", "hmac;1;now;QQ==", "", ";;;"] {
        assert_eq!(check(malformed.to_owned(), NOW), Err(MalformedSignature), "{malformed}");
    }
    // Each signature has its own time.
    let two = format!("hmac;1;1;{signature},hmac;1;{NOW}000;{signature}");
    assert_eq!(check(two, NOW), Ok(()));
    let swapped = format!("hmac;1;1;{signature},hmac;1;{NOW}000;QQ==");
    assert_eq!(check(swapped, NOW), Err(WrongSignature));
}

#[test]
fn case_28_joined_headers_are_malformed() {
    let good = hex(KEY, format!("{NOW}.{{}}"));
    let stripe = table("stripe");
    let joined = format!("t={NOW},v1={good},t=2,v1=bb");
    assert_eq!(
        post("{}").header("stripe-signature", joined).verify(&stripe, &[KEY]),
        Err(MalformedSignature)
    );
    // The same where the edge did not join them.
    let twice = post("{}")
        .header("stripe-signature", format!("t=1,v1={good}"))
        .header("stripe-signature", format!("t={NOW},v1=bb"));
    assert_eq!(twice.verify(&stripe, &[KEY]), Err(MalformedSignature));
    let github = format!("sha256={0},sha256={0}", hex(KEY, "{}"));
    let call = post("{}").header("x-hub-signature-256", github);
    assert_eq!(call.verify(&table("github"), &[KEY]), Err(MalformedSignature));
    let signature = base64("key", format!("id.{NOW}.{{}}"));
    let standard = |header: String| {
        let call = post("{}").header("webhook-id", "id").header("webhook-timestamp", NOW.to_string());
        call.header("webhook-signature", header).verify(&table("standard_webhooks"), &["whsec_a2V5"])
    };
    assert_eq!(standard(format!("v1,{signature}")), Ok(()));
    assert_eq!(standard(format!("v2,{signature} v1,{signature}")), Ok(()));
    assert_eq!(standard(format!("v1,{signature},v1,{signature}")), Err(MalformedSignature));
    assert_eq!(standard(format!("v2,{signature}")), Err(MalformedSignature));
    // Two parameters of one name are neither.
    let query = format!("signature={0}&signature={0}", hex(KEY, "[]"));
    assert_eq!(post("[]").query(&query).verify(&table("pandadoc"), &[KEY]), Err(MalformedSignature));
}

#[test]
fn case_28_many_signatures_are_bounded() {
    let good = hex(KEY, format!("{NOW}.{{}}"));
    let header = |zeros: usize| format!("t={NOW}{},v1={good}", ",v1=00".repeat(zeros));
    let check = |zeros| post("{}").header("stripe-signature", header(zeros)).verify(&table("stripe"), &[KEY]);
    assert_eq!((check(15), check(16)), (Ok(()), Err(MalformedSignature)));
    // Those of all headers together.
    let docusign = |zeros: usize| {
        let names = (0..zeros).map(|number| format!("x-docusign-signature-{number}"));
        let headers: Vec<_> = names.map(|name| (&*name.leak(), "QQ==".to_owned())).collect();
        let mut call = post("{}");
        call.headers.extend(headers);
        call.header("x-docusign-signature-last", base64(KEY, "{}")).verify(&table("docusign"), &[KEY])
    };
    assert_eq!((docusign(99), docusign(100)), (Ok(()), Err(MalformedSignature)));
}

/// 256 MiB: the body once for each time, form of the URL and secret. None of these secrets is a key, so that the test need
/// not hash so much.
#[test]
fn the_work_of_a_verification_is_bounded() {
    let positional = r#"{"signature":{"from":"header:s","encoding":"base64","layout":{"positional":{"item_separator":",","separator":";","signature":1}}},
        "algorithm":"hmac-sha256","key":{"encoding":"hex"},"signed":"{ts}{body}","timestamp":{"from":"position:0","unit":"s"}}"#;
    let times = |count: usize| (0..count).map(|time| format!("{time};QQ==")).collect::<Vec<_>>().join(",");
    let plain = r#"{"signature":{"from":"header:s"},"algorithm":"hmac-sha256","key":{"encoding":"hex"},"signed":"{body}{url}","url_variants":["port"]}"#;
    let keyed = r#"{"signature":{"from":"header:s","layout":{"list":{"separator":" ","assign":",","keys":["a"]}}},
        "algorithm":"ed25519","key":{"encoding":"spki"},"signed":"{body}"}"#;
    let fits = r#"{"signature":{"from":"header:s"},"algorithm":"hmac-sha256","signed":"{method}"}"#;
    let items = r#"{"signature":{"from":"json:/items/*/sig"},"algorithm":"hmac-sha256","key":{"encoding":"hex"},"signed":"{item:/id}"}"#;
    let body = vec![b'x'; 1024 * 1024];
    let check = |methods: &str, signature: &str, body: &[u8], urls: usize, secrets: usize| {
        let mut call = post(body).header("s", signature);
        call.urls = (0..urls).map(|number| format!("https://acme.example/{number}")).collect();
        let secrets = vec!["no key"; secrets];
        call.verify(&custom(methods), &secrets)
    };
    let (too_much, wrong) = (Err(MalformedSignature), Err(WrongSignature));
    assert_eq!(check(positional, &times(16), &body, 1, 16), wrong);
    assert_eq!(check(positional, &times(16), &body, 1, 17), too_much);
    assert_eq!(check(positional, &times(1), &body, 1, 256), wrong);
    // Each URL has two forms.
    assert_eq!(check(plain, "00", &body, 4, 32), wrong);
    assert_eq!(check(plain, "00", &body, 4, 33), too_much);
    // A public key reads the text once for each signature.
    assert_eq!(check(keyed, &["a,00"; 16].join(" "), &body, 1, 16), wrong);
    assert_eq!(check(keyed, &["a,00"; 16].join(" "), &body, 1, 17), too_much);
    // All methods together.
    let both = format!("{plain},{plain}");
    assert_eq!((check(&both, "00", &body, 2, 32), check(&both, "00", &body, 2, 33)), (wrong, too_much));
    // A method that fits before counts.
    let mut secrets = vec!["no key"; 128];
    secrets.push(KEY);
    let both = custom(&format!("{fits},{plain}"));
    let mut call = post(&body).header("s", hex(KEY, "POST"));
    call.urls = vec!["https://acme.example/".to_owned()];
    assert_eq!(call.verify(&both, &secrets), Ok(()));
    // Signatures of items read their items, not the body for each of them.
    let list = |count: usize| {
        let item = r#"{"id":"1","sig":"00","text":"TEXT"}"#.replace("TEXT", &"x".repeat(200));
        format!(r#"{{"items":[{}]}}"#, vec![item; count].join(","))
    };
    let of_items = |json: String, secrets: usize| {
        let json = json.into_bytes();
        let table = format!(
            r#"{{"scheme":{{"methods":[{items}]}},"events":{{"items":["json:/items/*"],"event_type":["text:a"],"dedupe":[["item_hash"]]}}}}"#
        );
        post(json).verify(&parse_table(&table).unwrap(), &vec!["no key"; secrets])
    };
    assert_eq!(of_items(list(4000), 10), wrong);
    assert_eq!(of_items(list(4000), 400), too_much);
}
