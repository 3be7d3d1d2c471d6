use data_encoding::{BASE64, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;
use sha2::Sha256;

use super::*;
use crate::inbound::{engine::Keys, presets};

const KEY: &str = "whsec_dGVzdCBrZXkgb2YgdGhlc2UgdGVzdHM=";
const NOW: i64 = 1_735_689_600;

fn hmac(key: impl AsRef<[u8]>, text: impl AsRef<[u8]>) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_ref()).unwrap();
    mac.update(text.as_ref());
    mac.finalize().into_bytes().to_vec()
}

struct Call<'t> {
    provider: &'t str,
    headers: Vec<(&'t str, String)>,
    body: &'t [u8],
    url: Option<&'t str>,
    query: &'t str,
    secrets: Vec<&'t str>,
    others: Vec<&'t str>,
}

impl<'t> Call<'t> {
    fn new(provider: &'t str, body: &'t (impl AsRef<[u8]> + ?Sized)) -> Self {
        let (headers, others) = (Vec::new(), Vec::new());
        Self { provider, headers, body: body.as_ref(), url: None, query: "", secrets: vec![KEY], others }
    }

    fn header(mut self, name: &'t str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn diagnosis(&self) -> Option<String> {
        let scheme = presets::find(self.provider).unwrap().unwrap().table.scheme;
        let secrets =
            |texts: &[&str]| -> Vec<_> { texts.iter().map(|text| Secret::new((*text).to_owned())).collect() };
        let (own, others) = (secrets(&self.secrets), secrets(&self.others));
        let context = Context {
            scheme: &scheme,
            keys: Keys { secrets: &own, published: None },
            other_secrets: &others,
            now: Timestamp::from_secs(NOW),
        };
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let urls: Vec<_> = self.url.into_iter().map(str::to_owned).collect();
        let request = Request {
            method: "POST",
            public_urls: &urls,
            path_secret: None,
            query: self.query,
            headers: &headers,
            body: self.body,
        };
        diagnose(context, request)
    }

    fn check(&self, expected: &str) {
        let sentence = self.diagnosis().unwrap_or_default();
        assert!(sentence.contains(expected), "{sentence:?} lacks {expected:?}");
        assert!(sentence.ends_with('.') && sentence.matches(". ").count() == 0, "one sentence: {sentence}");
        for secret in self.secrets.iter().chain(&self.others).filter(|secret| secret.len() > 3) {
            assert!(!sentence.contains(secret.trim()), "{sentence} shows a secret");
        }
    }
}

/// GitHub's layout: HMAC of the body in hexadecimal.
fn github<'t>(signed: &str, received: &'t str) -> Call<'t> {
    let signature = format!("sha256={}", HEXLOWER.encode(&hmac(KEY, signed)));
    Call::new("github", received).header("x-hub-signature-256", signature)
}

#[test]
fn a_valid_request_has_no_remedy() {
    assert_eq!(github("{}", "{}").diagnosis(), None);
}

#[test]
fn a_body_that_was_changed() {
    let compact = r#"{"a":"ä/b","c":[1,{}],"d":{"e":1.50}}"#;
    for (signed, received, expected) in [
        (
            "{\"a\":1}\r\n",
            "{\"a\":1}",
            "line break at the end of the body was removed: 9 bytes were signed, 7 received",
        ),
        ("{\"a\":1}\n", "{\"a\":1}", "8 bytes were signed, 7 received"),
        ("{\"a\":1}", "{\"a\":1}\n", "added around the body: 7 bytes were signed, 8 received"),
        (compact, r#"{"a": "ä/b", "c": [1, {}], "d": {"e": 1.50}}"#, "parsed and written again"),
        (r#"{"a": "ä/b", "c": [1, {}], "d": {"e": 1.50}}"#, compact, "parsed and written again"),
        (r#"{"a":"\u00e4\/b","c":[1,{}],"d":{"e":1.50}}"#, compact, "parsed and written again"),
        (r#"{"a": "\u00e4/b", "c": [1, {}], "d": {"e": 1.50}}"#, compact, "parsed and written again"),
        (
            "{\n  \"a\": \"ä/b\",\n  \"c\": [\n    1,\n    {}\n  ],\n  \"d\": {\n    \"e\": 1.50\n  }\n}",
            compact,
            "parsed and written again",
        ),
    ] {
        github(signed, received).check(expected);
    }
}

#[test]
fn a_body_that_was_cut() {
    github("{\"a\":12}", "{\"a\":1}")
        .header("content-length", "8")
        .check("sent 8 bytes, but 7 were verified");
}

#[test]
fn a_secret_in_another_form() {
    let decoded = BASE64.decode(&KEY.as_bytes()[6..]).unwrap();
    let stripe = |key: &[u8]| {
        let signature = HEXLOWER.encode(&hmac(key, format!("{NOW}.{{}}")));
        Call::new("stripe", "{}").header("stripe-signature", format!("t={NOW},v1={signature}"))
    };
    stripe(&decoded).check("the base64 after whsec_, decoded, as key");
    stripe(&KEY.as_bytes()[6..]).check("the text after whsec_ as key");
    let svix = |key: &[u8]| {
        let signature = BASE64.encode(&hmac(key, format!("id.{NOW}.{{}}")));
        Call::new("svix", "{}")
            .header("svix-id", "id")
            .header("svix-timestamp", NOW.to_string())
            .header("svix-signature", format!("v1,{signature}"))
    };
    svix(KEY.as_bytes()).check("the whole text of the secret as key");
    let mut hex = github("{}", "{}");
    hex.secrets = vec!["00ff10"];
    hex.headers[0].1 = format!("sha256={}", HEXLOWER.encode(&hmac([0, 0xff, 0x10], "{}")));
    hex.check("decoded from hexadecimal");
    let spaced = format!(" {KEY}\n");
    let mut call = github("{}", "{}");
    call.secrets = vec![&spaced];
    call.check("white space around it");
}

#[test]
fn a_secret_of_another_source() {
    let mut call = github("{}", "{}");
    call.secrets = vec!["not this one"];
    call.others = vec!["nor this", KEY];
    call.check("secret of another source");
    call.secrets.clear();
    call.check("has no secret");
    call.secrets = vec!["not this one"];
    call.others.clear();
    assert_eq!(call.diagnosis(), None);
}

#[test]
fn a_signature_in_another_encoding() {
    let mut call = github("{}", "{}");
    call.headers[0].1 = format!("sha256={}", BASE64.encode(&hmac(KEY, "{}")));
    call.check("in base64, but hex is expected");
    let call = Call::new("shopify", "{}").header("x-shopify-hmac-sha256", HEXLOWER.encode(&hmac(KEY, "{}")));
    call.check("in hex, but base64 is expected");
}

#[test]
fn a_time_in_another_unit() {
    let slack = |time: &str| {
        let signature = format!("v0={}", HEXLOWER.encode(&hmac(KEY, format!("v0:{time}:{{}}"))));
        Call::new("slack", "{}")
            .header("x-slack-signature", signature)
            .header("x-slack-request-timestamp", time)
    };
    slack(&format!("{NOW}000")).check("in milliseconds, but seconds are expected");
    slack(&(NOW - 400).to_string()).check("signed 400 s ago");
    slack(&(NOW + 400).to_string()).check("400 s in the future");
    slack("2025-01-01T00:00:00Z").check("is RFC 3339, but seconds are expected");
    slack("soon").check("is no time");
    let quo = format!("hmac;1;{NOW};{}", BASE64.encode(&hmac("key", format!("{NOW}.{{}}"))));
    let mut call = Call::new("quo_legacy", "{}").header("openphone-signature", quo);
    call.secrets = vec!["a2V5"];
    call.check("in seconds, but milliseconds are expected");
}

#[test]
fn a_url_that_looks_the_same() {
    let signature = |url: &str| BASE64.encode(&hmac(KEY, format!("{url}{{}}")));
    let stored = "https://hooks.example.com/a";
    for (signed, expected) in [
        ("https://hooks.example.com/a/", "with a slash at its end"),
        ("http://hooks.example.com/a", "with http"),
        ("https://hooks.example.com:443/a", "with a port"),
        ("https://www.hooks.example.com/a", "with www"),
    ] {
        let mut call = Call::new("square", "{}").header("x-square-hmacsha256-signature", signature(signed));
        call.url = Some(stored);
        call.check(expected);
        call.url = None;
        call.check("the source has none");
    }
    let mut call = Call::new("square", "{}").header("x-square-hmacsha256-signature", signature(stored));
    call.url = Some(stored);
    call.query = "tenant=1";
    call.check("without its query");
}

#[test]
fn a_signature_that_is_missing_or_doubled() {
    Call::new("github", "{}").header("x-hub-signature", "sha1=00").check("but x-hub-signature: select");
    Call::new("github", "{}").check("enable signing at the sender");
    let mut call = github("{}", "{}");
    let once = call.headers[0].1.clone();
    call.headers[0].1 = format!("{once},{once}");
    call.check("was sent twice");
}

/// Indentation makes a nested text grow by the square of its depth.
#[test]
fn a_nested_text_is_not_rewritten() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let deep_list = format!("{}{}1{}", "[".repeat(100), "1,".repeat(10_000), "]".repeat(100));
    for (body, is_rewritten) in [(nested(20), true), (nested(129), false), (deep_list, false)] {
        let is_some = Style::all().all(|style| rewritten(&body, style).is_some());
        assert_eq!(is_some, is_rewritten, "{body:.200}");
    }
    let body = nested(100_000);
    assert_eq!(github("another", &body).diagnosis(), None);
}

proptest! {
    #[test]
    fn no_request_panics(body: String, signature: String, provider in 0..presets::names().count()) {
        let name = presets::names().nth(provider).unwrap();
        let mut call = Call::new(name, body.as_str());
        for header in ["x-hub-signature-256", "stripe-signature", "authorization", "x-twilio-signature"] {
            call = call.header(header, signature.clone());
        }
        call.url = Some("https://hooks.example.com/a");
        let _ = call.diagnosis();
    }

    #[test]
    fn a_rewritten_text_is_the_same_value(body in "\\{\"[a-zé/]{0,5}\":(\\[\\]|\\{\\}|1|\\[1,\"x\"\\]|\\{\"b\":null\\})\\}") {
        let value: serde_json::Value = serde_json::from_str(&body).unwrap();
        for style in Style::all() {
            let other = rewritten(&body, style).unwrap();
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&other).unwrap(), value.clone(), "{}", other);
        }
    }
}
