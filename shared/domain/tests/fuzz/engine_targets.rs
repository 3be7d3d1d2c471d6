//! Targets of the engine: no input verifies without the secret, and what verifies becomes well-formed events.

use std::sync::LazyLock;

use data_encoding::HEXLOWER;
use domain::{
    Secret, Timestamp,
    inbound::{
        challenge::{Outcome, State, respond},
        diagnosis::{Context, diagnose},
        engine::{KeySet, Keys, verify},
        extraction::extract,
        presets::{self, Preset},
        reading::{ITEM_COUNT_LIMIT, Request},
        source::VerifyToken,
        table::{Table, parse_table},
    },
};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use crate::{
    parser_targets::{request, text},
    seeds::{parts, samples},
};

const NOW: i64 = 1_795_464_000;

/// No input holds it: the seeds have other secrets.
const SECRET: &str = "a_secret_that_no_input_of_these_targets_is_signed_with";

static PRESETS: LazyLock<Vec<Preset>> =
    LazyLock::new(|| presets::names().map(|name| presets::find(name).unwrap().unwrap()).collect());

fn hex(text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    HEXLOWER.encode(&mac.finalize().into_bytes())
}

/// A table with one method, which signs the time and the body.
fn with_layout(layout: &str, time: &str) -> Table {
    let json = format!(
        r#"{{"scheme":{{"methods":[{{"signature":{{"from":"header:s","layout":{layout}}},"algorithm":"hmac-sha256",
            "signed":"{{ts}}.{{body}}","timestamp":{{"from":"{time}","unit":"s"}}}}]}},
            "events":{{"event_type":["text:a"],"dedupe":[["body_hash"]]}}}}"#
    );
    parse_table(&json).unwrap()
}

/// Two headers that are joined by a comma are never one: a time of the first never counts for a signature of the
/// second (case 28). Any text before a valid header is harmless or makes it invalid.
pub(crate) fn layout(input: &[u8]) {
    static TABLES: LazyLock<[(Table, String); 4]> = LazyLock::new(|| {
        let signed = hex(&format!("{NOW}.{{}}"));
        [
            (
                with_layout(r#"{"pairs":{"separator":",","assign":"=","keys":["v1"]}}"#, "pair:t"),
                format!("t={NOW},v1={signed}"),
            ),
            (
                with_layout(
                    r#"{"positional":{"item_separator":",","separator":";","expect":[[0,"hmac"]],"signature":2}}"#,
                    "position:1",
                ),
                format!("hmac;{NOW};{signed}"),
            ),
            (
                with_layout(r#"{"list":{"separator":" ","assign":",","keys":["v1"]}}"#, "header:t"),
                format!("v1,{signed}"),
            ),
            (with_layout(r#"{"plain":{"prefixes":["sha256="]}}"#, "header:t"), format!("sha256={signed}")),
        ]
    });
    let [given, ..] = parts(input);
    let Some(given) = text(given) else { return };
    let secrets = [Secret::new(SECRET.to_owned())];
    let keys = Keys { secrets: &secrets, published: None };
    let now = NOW.to_string();
    for (index, (table, valid)) in TABLES.iter().enumerate() {
        let is_ok = |header: &str, body: &[u8]| {
            let headers = [("s", header), ("t", now.as_str())];
            let at = Timestamp::from_secs(NOW);
            verify(&table.scheme, request(&headers, "", body), keys, at).outcome.is_ok()
        };
        assert!(is_ok(valid, b"{}"));
        assert!(!is_ok(given, b"{}"), "{given:?} is valid without the secret");
        assert!(!is_ok(valid, b"{} "), "the body is signed");
        let joined = format!("{given},{valid}");
        if is_ok(&joined, b"{}") {
            let has_time = given.split(',').any(|pair| pair.trim().starts_with("t="));
            assert!(index != 0 || !has_time, "{joined:?} has two times");
            assert!(index != 3, "{joined:?} is two signatures");
        }
    }
}

/// A JWS is valid only as it was sent.
pub(crate) fn jws(input: &[u8]) {
    static VALID: LazyLock<Vec<(String, Vec<Secret>, KeySet)>> = LazyLock::new(|| {
        let read = |(_, sample): (String, Value)| {
            let body: Value = serde_json::from_str(sample["request"]["body"].as_str().unwrap()).unwrap();
            let secrets = sample["secrets"].as_array().unwrap().iter();
            (
                body["payload"].as_str().unwrap().to_owned(),
                secrets.map(|secret| Secret::new(secret.as_str().unwrap().to_owned())).collect(),
                serde_json::from_value(sample["published_keys"].clone()).unwrap(),
            )
        };
        samples("apple_sign_in").into_iter().map(read).collect()
    });
    let preset = PRESETS.iter().find(|preset| preset.name == "apple_sign_in").unwrap();
    let [given, ..] = parts(input);
    // The input as it is, as the text of a JWS, and as a part of a valid one.
    let Some(given) = text(given) else { return };
    for (valid, secrets, published) in &*VALID {
        let (head, tail) = valid.split_once('.').unwrap();
        let texts = [
            given.to_owned(),
            format!("{given}.{tail}"),
            format!("{head}.{given}"),
            format!("{valid}{given}"),
        ];
        let bodies = texts.iter().map(|text| (text, serde_json::json!({ "payload": text }).to_string()));
        for (text, body) in bodies {
            let keys = Keys { secrets, published: Some(published) };
            let report = verify(
                &preset.table.scheme,
                request(&[], "", body.as_bytes()),
                keys,
                Timestamp::from_secs(NOW),
            );
            assert!(report.outcome.is_err() || text == valid, "{text}");
        }
    }
}

/// A request of this input to a preset: the first part is in every header that the row reads.
fn with_request<T>(preset: &Preset, input: &[u8], use_it: impl FnOnce(Request<'_>) -> T) -> Option<T> {
    let [given, query, body] = parts(input);
    let (given, query) = (text(given)?, text(query)?);
    let table = serde_json::to_string(&preset.table).unwrap();
    let names = table.split("header:").skip(1).map(|rest| {
        rest.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-').next().unwrap_or_default()
    });
    let mut headers: Vec<_> = names.map(|name| (name, given)).collect();
    headers.sort_unstable();
    headers.dedup();
    let time = NOW.to_string();
    for (name, value) in &mut headers {
        // Half of the headers that name a time have one, so that what follows is reached.
        if name.contains("timestamp") && given.len() % 2 == 0 {
            *value = &time;
        }
    }
    headers.push(("content-type", "application/x-www-form-urlencoded"));
    let urls = ["https://hooks.example.com/in/source".to_owned()];
    Some(use_it(Request {
        method: if body.is_empty() { "GET" } else { "POST" },
        public_urls: &urls,
        path_secret: None,
        query,
        headers: &headers,
        body,
    }))
}

/// No request verifies with a secret that its sender does not have, at no preset.
pub(crate) fn verify_presets(input: &[u8]) {
    let secrets: Vec<_> =
        [SECRET.to_owned(), format!("whsec_{}", "A".repeat(32)), "0b".repeat(32)].map(Secret::new).into();
    for preset in &*PRESETS {
        let secrets = preset.secrets(secrets.clone());
        let keys = Keys { secrets: &secrets, published: None };
        let at = Timestamp::from_secs(NOW);
        with_request(preset, input, |request| {
            let report = verify(&preset.table.scheme, request, keys, at);
            assert!(report.outcome.is_err(), "{} accepts {:?}", preset.name, report.checks);
            assert_eq!(report.checks.len(), 5, "{}: {:?}", preset.name, report.checks);
        });
    }
}

/// A diagnosis is a sentence without the secret, in a bounded time (`TIME_LIMIT`).
pub(crate) fn diagnosis(input: &[u8]) {
    let secrets = [Secret::new(SECRET.to_owned())];
    let others = [Secret::new("another_secret_of_this_tenant".to_owned())];
    for name in ["github", "stripe", "square", "zendesk", "linear"] {
        let preset = PRESETS.iter().find(|preset| preset.name == name).unwrap();
        let context = Context {
            scheme: &preset.table.scheme,
            keys: Keys { secrets: &secrets, published: None },
            other_secrets: &others,
            now: Timestamp::from_secs(NOW),
        };
        let said = with_request(preset, input, |request| diagnose(context, request)).flatten();
        if let Some(said) = said {
            assert!(said.ends_with('.') && !said.contains(SECRET), "{name}: {said}");
        }
    }
}

/// A response has no type that a browser guesses, and what it signs is nothing that an event could be.
pub(crate) fn challenge(input: &[u8]) {
    let secrets = [Secret::new(SECRET.to_owned())];
    let token = VerifyToken::new(&Secret::new("the_verify_token".to_owned())).unwrap();
    for preset in PRESETS.iter().filter(|preset| !preset.table.challenges.is_empty()) {
        for awaits_secret in [false, true] {
            let keys = Keys { secrets: &secrets, published: None };
            let state = State { keys, verify_token: Some(&token), awaits_secret };
            let at = Timestamp::from_secs(NOW);
            let outcome = with_request(preset, input, |request| respond(&preset.table, request, state, at));
            let reply = match outcome {
                Some(Outcome::Respond(reply)) => reply,
                Some(Outcome::KeepSecret(secret, reply)) => {
                    assert!(awaits_secret && (1..=256).contains(&secret.expose().len()), "{}", preset.name);
                    reply
                }
                Some(Outcome::Refuse(status, _)) => {
                    assert!([400, 401, 403].contains(&status), "{}", preset.name);
                    continue;
                }
                Some(Outcome::NoChallenge) | None => continue,
            };
            assert!(reply.headers.contains(&("x-content-type-options".to_owned(), "nosniff".to_owned())));
            assert!((200..300).contains(&reply.status) && !reply.body.contains(SECRET));
            if ["zoom", "linkedin"].contains(&preset.name.as_str()) {
                let body: Value = serde_json::from_str(&reply.body).unwrap();
                let signed = body["plainToken"].as_str().or(body["challengeCode"].as_str()).unwrap();
                assert!(signed.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)));
                assert!(reply.body.contains(&hex(signed)));
            }
        }
    }
}

/// Whatever a verified document is, its events are limited, and each has an id, a type of the provider and JSON.
pub(crate) fn extraction(input: &[u8]) {
    static TOKEN: LazyLock<Table> = LazyLock::new(|| {
        let json = r#"{"scheme":{"methods":[{"signature":{"from":"header:token"},"algorithm":"token"}]},
            "events":{"event_type":["text:a"],"dedupe":[["body_hash"]]}}"#;
        parse_table(json).unwrap()
    });
    let [_, query, body] = parts(input);
    let body = if body.is_empty() { input } else { body };
    let secrets = [Secret::new(SECRET.to_owned())];
    let keys = Keys { secrets: &secrets, published: None };
    let headers = [("token", SECRET), ("x-github-event", "push"), ("x-github-delivery", "d")];
    for preset in &*PRESETS {
        let request = request(&headers, text(query).unwrap_or_default(), body);
        let verified = verify(&TOKEN.scheme, request, keys, Timestamp::from_secs(NOW))
            .outcome
            .unwrap_or_else(|why| panic!("{why}"));
        let form = preset.table.scheme.form.as_ref();
        let Ok(found) = extract(&preset.table.events, &preset.name, form, verified) else { continue };
        let count = found.events.len() + found.malformed.len() + found.unverified_count;
        assert!(count <= ITEM_COUNT_LIMIT, "{}: {count} items", preset.name);
        for event in found.events {
            assert!(!event.event_id.is_empty(), "{}", preset.name);
            assert!(event.event_type.as_str().starts_with(&format!("{}.", preset.name)));
            assert!(serde_json::from_str::<&serde_json::value::RawValue>(event.data.as_str()).is_ok());
        }
    }
}
