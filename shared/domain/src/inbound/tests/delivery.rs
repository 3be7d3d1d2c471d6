//! Cases 29 to 41: batches, ids, responses, and what is not signed.

use ring::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use serde_json::{Value, json};

use super::kit::{NOW, form, hex, post, preset, table};
use crate::inbound::{
    engine::{
        KeySet,
        Reject::{self, MalformedSignature, MissingSignature, StaleTimestamp, WrongSignature},
    },
    presets,
};

const KEY: &str = "test_secret_of_the_cases";

#[test]
fn case_29_brevo_gets_429_and_never_5xx() {
    let responses = table("brevo").responses;
    assert_eq!((responses.unavailable.status, responses.unavailable.retry_after), (429, Some(600)));
    assert_eq!((responses.accepted.status, responses.refused.status), (200, 401));
    assert!([500, 502, 503].iter().all(|status| responses.never.contains(status)));
}

#[test]
fn case_30_brevos_fields() {
    let preset = preset("brevo");
    let click = |link: &str| {
        json!({ "event": "click", "email": "a@example.com", "message-id": "<1>", "ts": 1_520_331_023,
            "ts_event": 1_520_331_023, "ts_epoch": 1_520_363_423_000_u64, "link": link, "tag": "[\"tag1\",\"tag2\"]" })
    };
    let body = json!([click("https://a.example"), click("https://b.example"), click("https://a.example")])
        .to_string();
    let events =
        post(&body).header("authorization", format!("Bearer {KEY}")).events(&preset, &[KEY]).unwrap().events;
    let ids: Vec<_> = events.iter().map(|event| event.event_id.as_str()).collect();
    // Two links in one second are two events; one link twice is one.
    assert_ne!(ids[0], ids[1]);
    assert_eq!(ids[0], ids[2]);
    // The other times are in the zone of the account.
    assert_eq!(events[0].timestamp.unwrap().to_string(), "2018-03-06T19:10:23.000Z");
    let basic = format!("Basic {}", data_encoding::BASE64.encode(b"user:test_secret_of_cases"));
    let wrong = post(&body).header("authorization", basic);
    assert_eq!(wrong.verify(&preset.table, &["user:test_secret_of_cases"]), Ok(()));
    assert_eq!(wrong.verify(&preset.table, &["user:another_secret"]), Err(WrongSignature));
}

#[test]
fn case_31_brevos_inbound_mail() {
    let preset = preset("brevo");
    let mail = json!({ "items": [{ "Uuid": ["u-1", "u-2"], "SpamScore": 1.0, "Headers": { "Received": ["a", "b"] } }] });
    let call = post(mail.to_string()).header("x-webhook-token", KEY);
    let event = call.events(&preset, &[KEY]).unwrap().events.remove(0);
    assert_eq!((event.event_id.as_str(), event.event_type.as_str()), ("u-1", "brevo.inbound"));
}

#[test]
fn one_malformed_item_of_500_keeps_499() {
    let preset = preset("brevo");
    let mut items: Vec<Value> = (0..500)
        .map(|index| json!({ "event": "opened", "email": "a@example.com", "message-id": index, "ts_epoch": 1 }))
        .collect();
    items[250] = json!({ "event": "opened" });
    let call = post(json!(items).to_string()).header("x-webhook-token", KEY);
    let extraction = call.events(&preset, &[KEY]).unwrap();
    let malformed: Vec<_> = extraction.malformed.iter().map(|(index, _)| *index).collect();
    assert_eq!((extraction.events.len(), malformed), (499, vec![250]));
    items[250] =
        json!({ "event": "not a type!", "email": "a@example.com", "message-id": 250, "ts_epoch": 1 });
    items.truncate(250);
    items.push(json!("no object"));
    let call = post(json!(items).to_string()).header("x-webhook-token", KEY);
    let extraction = call.events(&preset, &[KEY]).unwrap();
    assert_eq!((extraction.events.len(), extraction.malformed.len()), (250, 1));
}

#[test]
fn case_32_sendgrids_ids_change_on_repeats() {
    let preset = preset("sendgrid");
    let event = |id: &str, sg_message_id: Option<&str>| {
        let mut event =
            json!({ "email": "a@example.com", "event": "open", "timestamp": 1, "sg_event_id": id });
        if let Some(id) = sg_message_id {
            event["sg_message_id"] = id.into();
        }
        event
    };
    let body =
        json!([event("1", Some("m")), event("2", Some("m")), event("3", None), event("3", None)]).to_string();
    // The row's own rules, with a token in the place of SendGrid's key.
    let mut preset = preset;
    preset.table.scheme = table("reso_entity_event").scheme;
    let events =
        post(&body).header("authorization", format!("Bearer {KEY}")).events(&preset, &[KEY]).unwrap().events;
    assert_eq!(events[0].event_id, events[1].event_id);
    assert_eq!((events[2].event_id.as_str(), events[3].event_id.as_str()), ("3", "3"));
}

#[test]
fn case_34_google_calendar() {
    let preset = preset("google_calendar");
    let call = |state: &str| {
        let mut call =
            post("").header("x-goog-channel-token", KEY).header("x-goog-resource-state", state.to_owned());
        call.headers.remove(0);
        call.header("x-goog-channel-id", "ch").header("x-goog-message-number", "7")
    };
    // A sync is verified and is no event.
    let sync = call("sync").events(&preset, &[KEY]).unwrap();
    assert!(sync.events.is_empty() && sync.malformed.is_empty());
    let event = call("exists").events(&preset, &[KEY]).unwrap().events.remove(0);
    let data: Value = serde_json::from_str(event.data.as_str()).unwrap();
    assert_eq!(data["x-goog-resource-state"], "exists");
    assert!(data.get("x-goog-channel-token").is_none(), "the token is no data");
    assert_eq!(call("sync").verify(&preset.table, &["another"]), Err(WrongSignature));
}

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

#[test]
fn case_38_statuses_that_end_retries_are_never_sent() {
    assert_eq!(table("mailgun").responses.never, [406]);
    assert_eq!(table("postmark").responses.never, [403]);
    for name in presets::names() {
        let responses = table(name).responses;
        let sent = [&responses.accepted, &responses.refused, &responses.unavailable];
        assert!(sent.iter().all(|reply| !responses.never.contains(&reply.status)), "{name}");
        assert_eq!(responses.refused.status, 401, "{name}");
        let expected = if name == "microsoft_graph" { 202 } else { 200 };
        assert_eq!(responses.accepted.status, expected, "{name}");
    }
    let twilio = table("twilio").responses.accepted;
    assert_eq!(
        (twilio.content_type.as_deref(), twilio.body.as_deref()),
        (Some("text/xml"), Some("<Response/>"))
    );
}

#[test]
fn case_39_dropbox_sign_signs_time_and_type_only() {
    let preset = preset("dropbox_sign");
    let body = |kind: &str| {
        let hash = hex(KEY, format!("{NOW}{kind}"));
        let event =
            json!({ "event": { "event_time": NOW.to_string(), "event_type": kind, "event_hash": hash } });
        format!("--b\r\nContent-Disposition: form-data; name=\"json\"\r\n\r\n{event}\r\n--b--\r\n")
    };
    let call = |kind: &str| {
        let mut call = post(body(kind));
        call.headers = vec![("content-type", "multipart/form-data; boundary=b".to_owned())];
        call
    };
    assert_eq!(call("signature_request_sent").events(&preset, &[KEY]).unwrap().events.len(), 1);
    assert!(call("callback_test").events(&preset, &[KEY]).unwrap().events.is_empty());
    assert_eq!(preset.table.responses.accepted.body.as_deref(), Some("Hello API Event Received"));
    assert!(preset.unsigned.iter().any(|place| place.to_string() == "json:"));
}

#[test]
fn case_40_a_replay_with_another_id_is_noticed_by_its_body() {
    let preset = preset("github");
    let body = r#"{"action":"opened"}"#;
    let call = |id: &str| {
        post(body)
            .header("x-hub-signature-256", format!("sha256={}", hex(KEY, body)))
            .header("x-github-event", "issues")
            .header("x-github-delivery", id.to_owned())
            .events(&preset, &[KEY])
            .unwrap()
            .events
            .remove(0)
    };
    let (first, replay) = (call("d-1"), call("d-2"));
    assert_ne!(first.event_id, replay.event_id);
    assert_eq!(first.body_id, replay.body_id);
    assert!(first.body_id.is_some());
}

/// The content type is not signed either.
#[test]
fn case_40_a_json_text_is_never_read_as_a_form() {
    let preset = preset("github");
    let body = r#"{"title":"x&payload=%7B%22action%22%3A%22forged%22%7D&"}"#;
    let mut call = form(body)
        .header("x-hub-signature-256", format!("sha256={}", hex(KEY, body)))
        .header("x-github-event", "issues")
        .header("x-github-delivery", "d-1");
    for kind in ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", ""] {
        call.headers[0].1 = kind.to_owned();
        let event = call.events(&preset, &[KEY]).unwrap().events.remove(0);
        assert_eq!((event.event_type.as_str(), event.data.as_str()), ("github.issues", body), "{kind}");
    }
}

#[test]
fn case_41_a_missing_secret_refuses() {
    let table = table("zoom");
    for key in ["", KEY] {
        let signature = format!("v0={}", hex(key, format!("v0:{NOW}:{{}}")));
        let call =
            post("{}").header("x-zm-request-timestamp", NOW.to_string()).header("x-zm-signature", signature);
        for secrets in [&[][..], &[""], &["", ""]] {
            assert_eq!(call.verify(&table, secrets), Err(WrongSignature), "{key:?} {secrets:?}");
        }
    }
    // What Cal.com sends where it has no secret.
    let call = post("{}").header("x-cal-signature-256", "no-secret-provided");
    assert_eq!(call.verify(&super::kit::table("cal_com"), &[KEY]), Err(MalformedSignature));
    let token = post("").header("x-goog-channel-token", "");
    assert_eq!(token.verify(&super::kit::table("google_calendar"), &[""]), Err(Reject::MalformedSignature));
    let basic = post("{}").header("authorization", "Basic ");
    assert_eq!(basic.verify(&super::kit::table("pipedrive"), &[""]), Err(MalformedSignature));
}

#[test]
fn published_test_secrets_are_refused() {
    for (name, secret) in
        [("zendesk", "dGhpc19zZWNyZXRfaXNfZm9yX3Rlc3Rpbmdfb25seQ=="), ("mandrill", "test-webhook")]
    {
        let error = preset(name).check_secret(secret).unwrap_err();
        assert!(error.contains("published secret"), "{name}: {error}");
    }
    for (name, secret) in [
        ("stripe", "short"),
        ("stripe", "whsec_123"),
        ("sendgrid", "x"),
        ("close", "xyz xyz"),
        ("svix", "whsec_!"),
    ] {
        let error = preset(name).check_secret(secret).unwrap_err();
        assert!(error.starts_with("must be ") && !error.contains(secret), "{name}: {error}");
    }
}
