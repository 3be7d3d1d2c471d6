//! A tenant's own table: its faults are named by field, and no text makes the engine panic.

use proptest::prelude::*;

use super::kit::{Call, custom, hex, post};
use crate::inbound::{
    engine::{
        Reject,
        Verdict::{Fail, Pass, Skip},
        template::Template,
    },
    presets,
    reading::{Place, Pointer},
    table::{Table, parse_table, read_table},
};

const EVENTS: &str = r#""events":{"event_type":["json:/type"],"dedupe":[["json:/id"]]}"#;

/// The pointers of the faults of a table with this one method.
fn faults(method: &str) -> Vec<String> {
    let json = format!(r#"{{"scheme":{{"methods":[{method}]}},{EVENTS}}}"#);
    let violations = parse_table(&json).err().unwrap_or_default();
    violations.into_iter().map(|violation| violation.pointer).collect()
}

#[test]
fn faults_of_a_method_are_named_by_field() {
    let from = r#""signature":{"from":"header:x-signature"}"#;
    for (method, expected) in [
        (format!(r#"{{{from},"algorithm":"hmac-sha256","signed":"{{body}}"}}"#), vec![]),
        (format!(r#"{{{from},"algorithm":"hmac-sha256"}}"#), vec!["/signed"]),
        (format!(r#"{{{from},"algorithm":"token","signed":"{{body}}"}}"#), vec!["/signed"]),
        (format!(r#"{{{from},"algorithm":"hmac-sha256","signed":"{{ts}}{{body}}"}}"#), vec!["/timestamp"]),
        (format!(r#"{{{from},"algorithm":"hmac-sha256","signed":"fixed"}}"#), vec!["/signed"]),
        (format!(r#"{{{from},"algorithm":"hmac-sha256","signed":"{{secret}}{{body}}"}}"#), vec!["/signed"]),
        (format!(r#"{{{from},"algorithm":"sha256","signed":"{{body}}"}}"#), vec!["/signed"]),
        (format!(r#"{{{from},"algorithm":"sha256","signed":"{{body}}{{secret}}"}}"#), vec![]),
        (format!(r#"{{{from},"algorithm":"jws-rs256"}}"#), vec!["/claims"]),
        (
            format!(r#"{{{from},"algorithm":"hmac-sha256","signed":"{{body}}","url_variants":["port"]}}"#),
            vec!["/url_variants"],
        ),
        (
            // A time that is not signed proves nothing.
            format!(
                r#"{{{from},"algorithm":"hmac-sha256","signed":"{{body}}",
                    "timestamp":{{"from":"header:x-time","unit":"s","max_past":300}}}}"#
            ),
            vec!["/timestamp/from"],
        ),
        (
            format!(
                r#"{{{from},"algorithm":"hmac-sha256","signed":"{{ts}}.{{body}}",
                    "timestamp":{{"from":"pair:t","unit":"s"}}}}"#
            ),
            vec!["/timestamp/from"],
        ),
        (
            r#"{"signature":{"from":"header:x-signature?"},"algorithm":"hmac-sha256","signed":"{body}"}"#
                .to_owned(),
            vec!["/signature/from"],
        ),
        (
            r#"{"signature":{"from":"text:abc"},"algorithm":"hmac-sha256","signed":"{body}"}"#.to_owned(),
            vec!["/signature/from"],
        ),
        (
            r#"{"signature":{"from":"header:s","layout":{"pairs":{"separator":"","assign":"=","keys":[]}}},
                "algorithm":"hmac-sha256","signed":"{body}"}"#
                .to_owned(),
            vec!["/signature/layout/pairs/separator", "/signature/layout/pairs/keys"],
        ),
        // Work that a stranger can cause is bounded.
        (format!(r#"{{{from},"algorithm":"hmac-sha256","signed":"{{body}}{{body}}"}}"#), vec!["/signed"]),
        (
            format!(r#"{{{from},"algorithm":"hmac-sha256","signed":"{{body}}{{form_sorted}}"}}"#),
            vec!["/signed"],
        ),
        (
            format!(r#"{{{from},"algorithm":"hmac-sha256","signed":"{{body}}{}"}}"#, "{query:a}".repeat(16)),
            vec!["/signed"],
        ),
        (
            format!(
                r#"{{{from},"algorithm":"hmac-sha256","signed":"{{body}}{{url}}","url_variants":["port","decoded","port"]}}"#
            ),
            vec!["/url_variants"],
        ),
        (
            format!(
                r#"{{{from},"algorithm":"hmac-sha256","signed":"{{body}}","when":[{}]}}"#,
                [r#"{"present":"json:/a"}"#; 9].join(",")
            ),
            vec!["/when"],
        ),
        (
            format!(r#"{{{from},"algorithm":"hmac-sha256","signed":"{{{}}}"}}"#, ["json:/a"; 9].join("|")),
            vec!["/signed"],
        ),
    ] {
        let expected: Vec<_> =
            expected.into_iter().map(|field| format!("/scheme/methods/0{field}")).collect();
        assert_eq!(faults(&method), expected, "{method}");
    }
}

/// The pointers of the faults of a table with these methods and events.
fn faults_of_table(methods: &str, events: &str) -> Vec<String> {
    let json = format!(r#"{{"scheme":{{"methods":[{methods}]}},"events":{{{events}}}}}"#);
    let violations = parse_table(&json).err().unwrap_or_default();
    violations.into_iter().map(|violation| violation.pointer).collect()
}

#[test]
fn faults_of_signed_items_are_named_by_field() {
    let method = |signed: &str, time: &str| {
        format!(
            r#"{{"signature":{{"from":"json:/items/*/sig"}},"algorithm":"hmac-sha256","signed":"{signed}"{time}}}"#
        )
    };
    let time = |place: &str| format!(r#","timestamp":{{"from":"{place}","unit":"s"}}"#);
    let own = r#""items":["json:/items/*"],"event_type":["item:/type","text:a"],"dedupe":[["item:/id"],["item_hash"]]"#;
    let simple = method("{item:/id}", "");
    for (method, events, expected) in [
        (simple.clone(), own.to_owned(), vec![]),
        (method("{ts}.{item:/id}", &time("item:/ts")), own.to_owned(), vec![]),
        (method("{item:/id}{body}", ""), own.to_owned(), vec!["/scheme/methods/0/signed"]),
        (method("{item:/id|json:/id}", ""), own.to_owned(), vec!["/scheme/methods/0/signed"]),
        (
            method("{ts}{item:/id}", &time("json:/ts")),
            own.to_owned(),
            vec!["/scheme/methods/0/signed", "/scheme/methods/0/timestamp/from"],
        ),
        // Another list, several lists or none: its items would count as verified.
        (simple.clone(), own.replace("json:/items/*", "json:/others/*"), vec!["/events/items"]),
        (simple.clone(), own.replace("json:/items/*", "json:/items/*/parts/*"), vec!["/events/items"]),
        (
            simple.clone(),
            own.replace(r#""json:/items/*""#, r#""json:/items/*","json:/*""#),
            vec!["/events/items"],
        ),
        (simple.clone(), own.replace(r#""json:/items/*""#, ""), vec!["/events/items"]),
        // What is outside of the item is signed by nothing.
        (simple.clone(), own.replace("item:/type", "json:/type"), vec!["/events/event_type/0"]),
        (simple.clone(), own.replace("item_hash", "body_hash"), vec!["/events/dedupe/1/0"]),
        (
            simple.clone(),
            format!(r#"{own},"occurred_at":{{"from":"item:/at|header:date","unit":"s"}}"#),
            vec!["/events/occurred_at/from"],
        ),
        (
            simple.clone(),
            format!(
                r#"{own},"normal":[{{"kind":"item:/k","types":{{"a":"lead.created"}},"fields":{{"id":"json:/id"}}}}]"#
            ),
            vec!["/events/normal/0/fields/id"],
        ),
        (simple, format!(r#"{own},"data":"json:""#), vec!["/events/data"]),
    ] {
        assert_eq!(faults_of_table(&method, &events), expected, "{method} {events}");
    }
    // Where the whole body is signed, only copies of it are refused.
    let whole = r#"{"signature":{"from":"header:s"},"algorithm":"hmac-sha256","signed":"{body}"}"#;
    let events = r#""items":["json:/*"],"event_type":["json:/type"],"dedupe":[["body_hash"]]"#;
    assert_eq!(faults_of_table(whole, events), Vec::<String>::new());
    assert_eq!(faults_of_table(whole, &format!(r#"{events},"data":"json:""#)), ["/events/data"]);
}

/// The signed bytes are an id of one event, and only where they have no time that refuses a repeat.
#[test]
fn faults_of_a_body_that_is_an_id() {
    let rest = r#""event_type":["json:/type"],"dedupe":[["header:id"]],"body_is_id":true"#;
    let batch = format!(r#""items":["json:/*"],{rest}"#);
    let signed = r#"{"signature":{"from":"header:s"},"algorithm":"hmac-sha256","signed":"{body}"}"#;
    let timed = r#"{"signature":{"from":"header:s"},"algorithm":"hmac-sha256","signed":"{ts}{body}",
        "timestamp":{"from":"header:t","unit":"s"}}"#;
    let token = r#"{"signature":{"from":"header:s"},"algorithm":"token"}"#;
    for (method, events, is_valid) in
        [(signed, rest, true), (timed, rest, false), (token, rest, false), (signed, &batch, false)]
    {
        let expected: &[&str] = if is_valid { &[] } else { &["/events/body_is_id"] };
        assert_eq!(faults_of_table(method, events), expected, "{method} {events}");
    }
}

#[test]
fn long_lists_are_refused() {
    let method = r#"{"signature":{"from":"header:s"},"algorithm":"hmac-sha256","signed":"{body}"}"#;
    let events = |types: usize, ids: usize, parts: usize| {
        let list = |text: &str, count: usize| vec![text.to_owned(); count].join(",");
        let id = format!("[{}]", list(r#""json:/id""#, parts));
        format!(r#""event_type":[{}],"dedupe":[{}]"#, list(r#""json:/type""#, types), list(&id, ids))
    };
    for (types, ids, parts, expected) in [
        (8, 8, 8, vec![]),
        (9, 1, 1, vec!["/events/event_type"]),
        (1, 9, 1, vec!["/events/dedupe"]),
        (1, 1, 9, vec!["/events/dedupe/0"]),
    ] {
        assert_eq!(faults_of_table(method, &events(types, ids, parts)), expected, "{types} {ids} {parts}");
    }
}

/// A stranger knows a public key, and would sign with it where another method takes it as a secret.
#[test]
fn public_keys_are_never_secrets() {
    let method = |algorithm: &str, key: &str| {
        let signed = if algorithm == "token" { "" } else { r#","signed":"{body}""# };
        format!(r#"{{"signature":{{"from":"header:s"}},"algorithm":"{algorithm}","key":{{{key}}}{signed}}}"#)
    };
    let required = |prefix: &str| format!(r#""strip_prefix":"{prefix}","prefix_required":true"#);
    let optional = r#""strip_prefix":"sk_""#;
    let public = required("pk_");
    for (first, second, expected) in [
        (method("hmac-sha256", ""), method("ed25519", ""), vec!["/scheme/methods/0/key"]),
        (method("rsa-sha256", ""), method("token", ""), vec!["/scheme/methods/1/key"]),
        (method("ed25519", &public), method("hmac-sha256", ""), vec!["/scheme/methods/1/key"]),
        (method("ed25519", &public), method("hmac-sha256", optional), vec!["/scheme/methods/1/key"]),
        (method("ed25519", &public), method("hmac-sha256", &public), vec!["/scheme/methods/1/key"]),
        (method("ed25519", &public), method("hmac-sha1", &required("p")), vec!["/scheme/methods/1/key"]),
        (method("ed25519", &public), method("hmac-sha256", &required("sk_")), vec![]),
        (method("ed25519", ""), method("ecdsa-p256-sha256", ""), vec![]),
        (method("hmac-sha256", ""), method("token", ""), vec![]),
        (
            r#"{"signature":{"from":"header:j"},"algorithm":"jws-rs256","claims":{"issuer":"i","leeway":0}}"#
                .to_owned(),
            method("hmac-sha256", ""),
            vec!["/scheme/methods/1/key"],
        ),
    ] {
        let events = r#""event_type":["json:/type"],"dedupe":[["json:/id"]]"#;
        assert_eq!(faults_of_table(&format!("{first},{second}"), events), expected, "{first} {second}");
    }
}

#[test]
fn faults_of_the_shape_are_named_by_field() {
    let method = r#"{"signature":{"from":"header:s"},"algorithm":"hmac-sha256","signed":"{body}"}"#;
    for (json, pointer, detail) in [
        ("{}".to_owned(), "", "missing field `scheme`"),
        ("[".to_owned(), "", "EOF"),
        (
            format!(r#"{{"scheme":{{"methods":[{method}],"methods2":1}},{EVENTS}}}"#),
            "/scheme/methods2",
            "is unknown; expected `form` or `methods`",
        ),
        (format!(r#"{{"scheme":{{"methods":[]}},{EVENTS}}}"#), "/scheme/methods", "1 to 8"),
        (
            format!(r#"{{"scheme":{{"methods":[{}]}},{EVENTS}}}"#, method.replace("hmac-sha256", "md5")),
            "/scheme/methods/0/algorithm",
            "is unknown; expected one of `hmac-sha256`",
        ),
        (
            format!(r#"{{"scheme":{{"methods":[{}]}},{EVENTS}}}"#, method.replace("{body}", "{bodie}")),
            "/scheme/methods/0/signed",
            "unknown word {bodie}",
        ),
        (
            format!(r#"{{"scheme":{{"methods":[{}]}},{EVENTS}}}"#, method.replace("header:s", "header:S")),
            "/scheme/methods/0/signature/from",
            "lower case",
        ),
        (
            format!(
                r#"{{"scheme":{{"methods":[{method}]}},"events":{{"event_type":[],"dedupe":[["json:/id"]]}}}}"#
            ),
            "/events/event_type",
            "at least one",
        ),
        (
            format!(
                r#"{{"scheme":{{"methods":[{method}]}},{EVENTS},"responses":{{"refused":{{"status":99}}}}}}"#
            ),
            "/responses/refused/status",
            "200 to 599",
        ),
        (
            format!(r#"{{"scheme":{{"methods":[{method}]}},{EVENTS},"responses":{{"never":[401]}}}}"#),
            "/responses/refused/status",
            "that the sender may get",
        ),
        ("x".repeat(17 * 1024), "", "at most 16384 bytes"),
    ] {
        let violations = parse_table(&json).unwrap_err();
        let found = &violations[0];
        assert!(found.pointer == pointer && found.detail.contains(detail), "{json:.200}: {found}");
    }
}

/// A secret in the wrong field of a table is in no response and no log.
#[test]
fn faults_show_neither_values_nor_our_types() {
    let value = "whsec_a_secret, expected in another field";
    let method = |field: &str, json: String| {
        format!(
            r#"{{"scheme":{{"methods":[{{"signature":{{"from":"header:s"}},"algorithm":"hmac-sha256","signed":"{{body}}","{field}":{json}}}]}},{EVENTS}}}"#
        )
    };
    let text = serde_json::to_string(value).unwrap();
    for json in [
        method("key", text.clone()),
        method("key", format!(r#"{{"encoding":{text}}}"#)),
        method("key", format!(r#"{{"prefix_required":{text}}}"#)),
        method("key", format!("{{{text}:1}}")),
        method("when", text.clone()),
        method("when", format!("[{text}]")),
        method("url_variants", format!("[{text}]")),
        method("timestamp", format!(r#"{{"from":"header:t","unit":{text}}}"#)),
        format!(r#"{{"scheme":{text},{EVENTS}}}"#),
    ] {
        let violations = parse_table(&json).unwrap_err();
        let details: Vec<_> = violations.iter().map(|violation| violation.detail.as_str()).collect();
        let shown = details.join(" ");
        assert!(!shown.contains("whsec_") && !shown.contains("struct "), "{json}: {shown}");
        assert!(
            shown.starts_with("has the wrong type") || shown.starts_with("is unknown"),
            "{json}: {shown}"
        );
    }
}

/// What is stored has the defaults of all fields, so a table that fits as it is written may be too long.
#[test]
fn a_table_is_stored_only_where_it_can_be_read() {
    let method = r#"{"signature":{"from":"header:s"},"algorithm":"hmac-sha256","signed":"{body}"}"#;
    let json = |length: usize| {
        let table = |text: &str| {
            format!(
                r#"{{"scheme":{{"methods":[{method}]}},{EVENTS},"responses":{{"accepted":{{"status":200,"body":"{text}"}}}}}}"#
            )
        };
        table(&"x".repeat(length - table("").len()))
    };
    let mut longest = 0;
    for length in 15 * 1024..=16 * 1024 {
        let Ok(table) = parse_table(&json(length)) else { continue };
        let stored = serde_json::to_string(&table).unwrap();
        assert!(stored.len() <= 16 * 1024 && read_table(&stored).as_ref() == Ok(&table), "{length}");
        assert_eq!(parse_table(&stored).as_ref(), Ok(&table), "what was read can be written back");
        longest = stored.len();
    }
    assert_eq!(longest, 16 * 1024);
    let faults = parse_table(&json(16_350)).unwrap_err();
    assert_eq!((faults.len(), faults[0].pointer.as_str()), (1, ""));
    assert!(read_table(&json(20_000)).is_ok(), "a row is read whatever the limit was when it was written");
}

#[test]
fn a_hash_of_the_secret_and_the_body() {
    let table =
        custom(r#"{"signature":{"from":"query:sig"},"algorithm":"sha256","signed":"{body}.{secret}"}"#);
    // SHA-256 of `{}.key`, made with OpenSSL.
    let call = post("{}").query("sig=2c963a8d84d2084e3f9be072c44b9c3b283158ba4bf8176a05eff3b335901b7f");
    assert_eq!(call.verify(&table, &["another"]), Err(Reject::WrongSignature));
    assert_eq!(call.verify(&table, &["key"]), Ok(()));
    call.report(&table, &["key"], 0, |report| {
        assert_eq!(report.signed().unwrap(), b"{}.{secret}", "the secret is left out");
    });
}

#[test]
fn a_report_shows_every_step_and_no_secret() {
    let table = presets::find("stripe").unwrap().unwrap().table;
    let secret = "whsec_a_secret_that_is_not_shown";
    let call = post("{}").header("stripe-signature", format!("t=100,v1={}", hex(secret, "100.{}")));
    call.report(&table, &["whsec_another_secret_0", secret], 130, |report| {
        assert!(report.outcome.is_ok());
        assert_eq!((report.secret, report.age_ms, report.method), (Some(1), Some(30_000), 0));
        assert_eq!(report.signed().as_deref(), Some(&b"100.{}"[..]));
        let shown = serde_json::to_value(&report.checks).unwrap();
        let verdicts: Vec<_> =
            shown.as_array().unwrap().iter().map(|check| check["verdict"].as_str().unwrap()).collect();
        assert_eq!(verdicts, ["pass", "pass", "pass", "skip", "pass"], "{shown}");
        assert!(!shown.to_string().contains("whsec_"));
    });
    call.report(&table, &["whsec_another_secret_0"], 130, |report| {
        let verdicts: Vec<_> = report.checks.iter().map(|check| check.verdict).collect();
        assert_eq!(verdicts, [Pass, Pass, Fail, Skip, Skip]);
        assert_eq!(report.signed().as_deref(), Some(&b"100.{}"[..]), "shown for a refusal too");
    });
}

fn any_call() -> impl Strategy<Value = Call> {
    let header = prop_oneof![
        any::<String>(),
        "[a-z0-9=,;. v]{0,40}",
        Just("t=1,v1=00".to_owned()),
        "(Bearer|Basic|sha256=|v1,|hmac;1;)[ -~]{0,40}",
    ];
    let body = prop_oneof![
        any::<Vec<u8>>(),
        "[ -~]{0,60}".prop_map(String::into_bytes),
        r#"[\[{"a1:,}\]%&=]{0,40}"#.prop_map(String::into_bytes)
    ];
    (header, body, "[ -~]{0,30}", any::<bool>()).prop_map(|(header, body, query, is_form)| {
        let mut call = post(body).query(&query).url("https://hooks.example.com/a");
        if is_form {
            call.headers[0].1 = "multipart/form-data; boundary=a".to_owned();
        }
        for name in HEADERS {
            call = call.header(name, header.clone());
        }
        call
    })
}

const HEADERS: [&str; 12] = [
    "stripe-signature",
    "authorization",
    "x-hub-signature-256",
    "x-twilio-signature",
    "webhook-signature",
    "webhook-timestamp",
    "webhook-id",
    "openphone-signature",
    "x-docusign-signature-1",
    "x-zm-signature",
    "x-zm-request-timestamp",
    "x-mandrill-signature",
];

fn all_tables() -> &'static [(String, Table)] {
    static TABLES: std::sync::LazyLock<Vec<(String, Table)>> = std::sync::LazyLock::new(|| {
        presets::names().map(|name| (name.to_owned(), presets::find(name).unwrap().unwrap().table)).collect()
    });
    &TABLES
}

proptest! {
    #[test]
    fn no_request_panics_or_verifies(call in any_call()) {
        for (name, table) in all_tables() {
            prop_assert!(call.verify(table, &["whsec_a2V5", "a secret"]).is_err(), "{name}");
            let _ = call.challenge(table, &["whsec_a2V5"], Some("token"));
        }
    }

    #[test]
    fn no_text_panics_as_a_place(text: String) {
        if let Ok(place) = text.parse::<Place>() {
            prop_assert_eq!(place.to_string(), text);
        }
    }

    #[test]
    fn a_place_reads_back(kind in "(header|query|form|json|item|claim|pair|text)", name in "[a-z/~]{0,12}", rest in "(#/[a-z]{1,4})?[?]?") {
        let text = format!("{kind}:{name}{rest}");
        if let Ok(place) = text.parse::<Place>() {
            prop_assert_eq!(place.to_string(), text);
        }
    }

    #[test]
    fn no_text_panics_as_a_template(text in "[{}a-z:/ ]{0,30}") {
        if let Ok(template) = text.parse::<Template>() {
            prop_assert_eq!(template.to_string(), text);
        }
    }

    #[test]
    fn a_pointer_finds_what_serde_finds(keys in proptest::collection::vec("[a-z~/0-9é]{0,4}", 1..5)) {
        let mut value = serde_json::json!(7);
        let mut pointer = String::new();
        for key in &keys {
            crate::pointer::push(&mut pointer, key);
        }
        for key in keys.iter().rev() {
            value = serde_json::json!({ "other": [1], key: value });
        }
        let raw = serde_json::value::to_raw_value(&value).unwrap();
        let found = pointer.parse::<Pointer>().unwrap().get(&raw).map(|raw| raw.get().to_owned());
        prop_assert_eq!(found, value.pointer(&pointer).map(ToString::to_string));
    }

    #[test]
    fn no_text_panics_as_a_table(text: String) {
        prop_assert!(parse_table(&text).is_err());
    }
}
