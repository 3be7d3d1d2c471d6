//! Cases 1 to 10: challenges and handshakes.

use super::kit::{Call, base64, custom, form, get, hex, post, table};
use crate::{
    Secret,
    inbound::{challenge::Outcome, engine::Reject, table::parse_table},
};

const KEY: &str = "test_secret";

/// The response's status, content type and body; refusals as their status.
fn shown(outcome: Outcome) -> (u16, String, String) {
    match outcome {
        Outcome::NoChallenge => (0, String::new(), String::new()),
        Outcome::Refuse(status, _) => (status, String::new(), String::new()),
        Outcome::Respond(reply) | Outcome::KeepSecret(_, reply) => {
            let kind = reply.headers.iter().find(|(name, _)| name == "content-type");
            assert!(reply.headers.contains(&("x-content-type-options".into(), "nosniff".into())));
            (reply.status, kind.map(|(_, kind)| kind.clone()).unwrap_or_default(), reply.body)
        }
    }
}

fn status(outcome: Outcome) -> u16 {
    shown(outcome).0
}

#[test]
fn case_01_linkedins_challenge_signs_no_events() {
    let table = table("linkedin");
    // Without a guard the response to this would be a valid signature of the forged body.
    let forged = r#"{"type":"LEAD_ACTION","forged":true}"#;
    let signature = "a3b65634b7bd0f7a3ce21ceaedbf0e5b83b1b5dfa44dcde714ceff16e4700e16";
    assert_eq!(post(forged).header("x-li-signature", signature).verify(&table, &[KEY]), Ok(()));
    let query = "challengeCode=hmacsha256%3D%7B%22type%22%3A%22LEAD_ACTION%22%2C%22forged%22%3Atrue%7D";
    assert_eq!(status(get(query).challenge(&table, &[KEY], None)), 400);
    for malformed in
        ["", "890e4665-4dfe-4ab1-b689-ed553bceeed", "890e4665-4dfe-4ab1-b689-ed553bceeedz", "a,b"]
    {
        let call = get(&format!("challengeCode={malformed}"));
        assert_eq!(status(call.challenge(&table, &[KEY], None)), 400, "{malformed}");
    }
    // Two codes are no code.
    let code = "890e4665-4dfe-4ab1-b689-ed553bceeed0";
    let twice = get(&format!("challengeCode={code}&challengeCode={code}"));
    assert_eq!(status(twice.challenge(&table, &[KEY], None)), 400);
    let (status, kind, body) = shown(get(&format!("challengeCode={code}")).challenge(&table, &[KEY], None));
    assert_eq!((status, kind.as_str()), (200, "application/json"));
    assert_eq!(body, format!(r#"{{"challengeCode":"{code}","challengeResponse":"{}"}}"#, hex(KEY, code)));
    // Without a secret there is nothing to sign with.
    assert_eq!(shown(get(&format!("challengeCode={code}")).challenge(&table, &[], None)).0, 401);
}

fn zoom(token: &str) -> Call {
    let payload =
        serde_json::json!({ "event": "endpoint.url_validation", "payload": { "plainToken": token } });
    post(payload.to_string())
}

#[test]
fn case_02_zooms_crc_signs_no_events() {
    let table = table("zoom");
    let inner = r#"{"event":"meeting.ended","forged":true}"#;
    let signature = "v0=d1706a90f474555d44d77041c4bf0ee96a39a4a25b37fbfe5561e03fd559f423";
    let forged =
        post(inner).header("x-zm-request-timestamp", "1735689600").header("x-zm-signature", signature);
    assert_eq!(forged.verify(&table, &[KEY]), Ok(()));
    let crc = zoom(&format!("v0:1735689600:{inner}"));
    assert_eq!(status(crc.challenge(&table, &[KEY], None)), 400);
    for malformed in ["", "a:b", "a b", "ä", &"a".repeat(65)] {
        assert_eq!(status(zoom(malformed).challenge(&table, &[KEY], None)), 400, "{malformed}");
    }
    let token = "qgg8vlvZRS6UYooatFL8Aw";
    let expected = format!(r#"{{"plainToken":"{token}","encryptedToken":"{}"}}"#, hex(KEY, token));
    assert_eq!(
        shown(zoom(token).challenge(&table, &[KEY], None)),
        (200, "application/json".to_owned(), expected.clone())
    );
    // Where the CRC is signed, its signature must be valid.
    let body = String::from_utf8(zoom(token).body).unwrap();
    let signed = |key: &str| {
        let signature = format!("v0={}", hex(key, format!("v0:1735689600:{body}")));
        zoom(token).header("x-zm-request-timestamp", "1735689600").header("x-zm-signature", signature)
    };
    assert_eq!(shown(signed(KEY).challenge(&table, &[KEY], None)).2, expected);
    assert_eq!(status(signed("another").challenge(&table, &[KEY], None)), 401);
}

const EVENTS: &str = r#""events":{"event_type":["json:/type"],"dedupe":[["json:/id"]]}"#;
const METHOD: &str =
    r#"{"signature":{"from":"header:x-signature"},"algorithm":"hmac-sha256","signed":"{body}"}"#;

fn with_challenge(challenge: &str) -> String {
    format!(r#"{{"scheme":{{"methods":[{METHOD}]}},{EVENTS},"challenges":[{challenge}]}}"#)
}

#[test]
fn case_03_a_custom_source_signs_nothing_without_a_guard() {
    let (guard, signed) = ("/challenges/0/guard", "/scheme/methods/0/signed");
    let identifier = r#""guard":"identifier","#;
    for (row, text, expected) in [
        ("", "v0:{body}", vec![guard]),
        (r#""guard":"visible","#, "v0:{body}", vec![guard]),
        (r#""guard":"uuid","#, "v0:{body}", vec![]),
        (identifier, "v0:{body}", vec![]),
        // The hash of a forged body is an identifier, and so can a body be.
        (identifier, "{body_hash}", vec![signed]),
        (identifier, "{body}", vec![signed]),
        (identifier, "v0_{body}-v0", vec![signed]),
    ] {
        let json = with_challenge(&format!(
            r#"{{"methods":["GET"],"signature":"never","value":"query:crc_token",{row}
                "response":{{"status":200,"body":"sha256={{hmac}}"}}}}"#
        ));
        let json = json.replace("{body}", text);
        let violations = parse_table(&json).err().unwrap_or_default();
        let pointers: Vec<_> = violations.iter().map(|violation| violation.pointer.as_str()).collect();
        assert_eq!(pointers, expected, "{row} {text}");
    }
}

#[test]
fn case_04_the_first_stranger_does_not_own_asanas_secret() {
    let table = table("asana");
    let handshake = post("").header("x-hook-secret", "0123456789abcdef");
    // Only while the source waits.
    assert_eq!(handshake.handshake(&table, &[], None, false), Outcome::NoChallenge);
    assert_eq!(handshake.verify(&table, &[KEY]), Err(Reject::MissingSignature));
    let Outcome::KeepSecret(secret, reply) = handshake.handshake(&table, &[], None, true) else {
        panic!("kept")
    };
    assert_eq!(secret, Secret::new("0123456789abcdef".to_owned()));
    assert!(reply.headers.contains(&("x-hook-secret".to_owned(), "0123456789abcdef".to_owned())));
    assert_eq!((reply.status, reply.body.as_str()), (200, ""));
    // A value that would be two headers is no secret.
    for malformed in ["a\r\nset-cookie: b", "a b", ""] {
        let call = post("").header("x-hook-secret", malformed);
        assert_eq!(status(call.handshake(&table, &[], None, true)), 400, "{malformed:?}");
    }
    // Later the header counts for nothing: the signature decides.
    let body = r#"{"events":[]}"#;
    let later = post(body).header("x-hook-secret", "attacker");
    let signed = later.clone().header("x-hook-signature", hex(KEY, body));
    assert_eq!(signed.challenge(&table, &[KEY], None), Outcome::NoChallenge);
    assert_eq!(signed.verify(&table, &[KEY]), Ok(()));
    let wrong = later.header("x-hook-signature", hex("attacker", body));
    assert_eq!(wrong.verify(&table, &[KEY]), Err(Reject::WrongSignature));
}

#[test]
fn case_05_metas_get_has_no_signature() {
    let table = table("meta");
    let query = "hub.mode=subscribe&hub.verify_token=T&hub.challenge=PROBE123";
    let plain = "text/plain; charset=utf-8".to_owned();
    assert_eq!(shown(get(query).challenge(&table, &[KEY], Some("T"))), (200, plain, "PROBE123".to_owned()));
    for (query, token, expected) in [
        (query, Some("another"), 403),
        (query, Some(""), 403),
        (query, None, 403),
        ("hub.mode=subscribe&hub.challenge=PROBE123", Some("T"), 403),
        // Nothing is not equal to nothing.
        ("hub.mode=subscribe&hub.challenge=PROBE123", None, 403),
        ("hub.mode=subscribe&hub.verify_token=&hub.challenge=PROBE123", Some(""), 403),
        ("hub.mode=unsubscribe&hub.verify_token=T&hub.challenge=PROBE123", Some("T"), 400),
        ("hub.verify_token=T&hub.challenge=PROBE123", Some("T"), 0),
    ] {
        assert_eq!(status(get(query).challenge(&table, &[KEY], token)), expected, "{query}");
    }
}

#[test]
fn case_06_microsoft_graph_gets_its_token_as_text() {
    let table = table("microsoft_graph");
    let mut call = post("").query("validationToken=Validation%3A+Testing+client+%3Cb%3E");
    call.headers.clear();
    let plain = "text/plain; charset=utf-8".to_owned();
    // Before any secret, and with what a browser would render.
    let expected = (200, plain, "Validation: Testing client <b>".to_owned());
    assert_eq!(shown(call.challenge(&table, &[], None)), expected);
    assert_eq!(table.responses.accepted.status, 202);
}

#[test]
fn case_07_xeros_intent_to_receive() {
    let table = table("xero");
    let body =
        r#"{"events":[],"firstEventSequence": 0,"lastEventSequence": 0, "entropy": "LUWDSUDGSWNZVALZXBEV"}"#;
    let key = "LR+QgKlbRciIPYpi65tTKLaZ3FzLLofCNEQWrRXqWXJeDFrfexzfVI9SmnVuCWDJ4jnjHB9ECtOyxZSofRxwWw==";
    let signature = "BjzNbYUfrzg4g8wxm+dKHaZVrKxr2m75E296fUbD1E4=";
    let check = |signature: &str| post(body).header("x-xero-signature", signature).verify(&table, &[key]);
    assert_eq!(check(signature), Ok(()));
    // Sent on purpose; the slash is not to be stripped. It makes the base64 malformed.
    assert!(check(&format!("/{signature}")).is_err());
    assert_eq!(check(&signature.replace("Bj", "Cj")), Err(Reject::WrongSignature));
    let replies = &table.responses;
    assert_eq!((replies.accepted.status, replies.accepted.body.as_deref()), (200, Some("")));
    assert_eq!((replies.refused.status, replies.refused.body.as_deref()), (401, Some("")));
}

#[test]
fn case_08_slack() {
    let table = table("slack");
    let body =
        r#"{"type":"url_verification","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"}"#;
    let signature = format!("v0={}", hex(KEY, format!("v0:1735689600:{body}")));
    let call = post(body).header("x-slack-request-timestamp", "1735689600");
    let signed = call.clone().header("x-slack-signature", signature);
    let (status_of_it, _, challenge) = shown(signed.challenge(&table, &[KEY], None));
    assert_eq!((status_of_it, challenge.len()), (200, 52));
    assert_eq!(status(signed.challenge(&table, &["another"], None)), 401);
    assert_eq!(status(call.challenge(&table, &[KEY], None)), 401);
    // An event that contains the words of the probe is none.
    let link = r#"{"type":"event_callback","url":"https://e.com/?a=1&ssl_check=1&b=2"}"#;
    for call in [post(link), form(link)] {
        assert_eq!(call.challenge(&table, &[KEY], None), Outcome::NoChallenge);
    }
    assert_eq!(
        shown(form("ssl_check=1&token=x").challenge(&table, &[], None)),
        (200, String::new(), String::new())
    );
}

#[test]
fn case_09_discord_probes_with_wrong_signatures() {
    use ring::signature::{Ed25519KeyPair, KeyPair};
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let public = data_encoding::HEXLOWER.encode(pair.public_key().as_ref());
    let table = table("discord");
    let sign = |text: &str| data_encoding::HEXLOWER.encode(pair.sign(text.as_bytes()).as_ref());
    let send = |body: &str, signature: String| {
        post(body)
            .header("x-signature-timestamp", "1735689600")
            .header("x-signature-ed25519", signature)
            .challenge(&table, &[&public], None)
    };
    for (body, expected) in [(r#"{"type":1}"#, (200, r#"{"type":1}"#)), (r#"{"type":0}"#, (204, ""))] {
        assert_eq!(status(send(body, sign("another text"))), 401, "{body}");
        let (status, _, responded) = shown(send(body, sign(&format!("1735689600{body}"))));
        assert_eq!((status, responded.as_str()), expected, "{body}");
    }
    // An event of an app has the type 1 too.
    let event = r#"{"type":1,"event":{"type":"APPLICATION_AUTHORIZED"}}"#;
    assert_eq!(send(event, sign(&format!("1735689600{event}"))), Outcome::NoChallenge);
}

#[test]
fn case_10_probes() {
    for (name, method, expected) in [
        ("mailchimp", "GET", 200),
        ("mailchimp", "HEAD", 200),
        ("mandrill", "HEAD", 200),
        ("intercom", "HEAD", 200),
        ("trello", "HEAD", 200),
        ("trello", "GET", 0),
        ("mandrill", "POST", 0),
        ("stripe", "GET", 0),
    ] {
        let call = Call { method, ..get("") };
        assert_eq!(
            shown(call.challenge(&table(name), &[], None)),
            (expected, String::new(), String::new()),
            "{name}"
        );
    }
    let call = get("").header("x-okta-verification-challenge", r#"a"{value}"#);
    assert_eq!(shown(call.challenge(&table("okta"), &[], None)).2, r#"{"verification":"a\"{value}"}"#);
    let dropbox = parse_table(&with_challenge(
        r#"{"methods":["GET"],"signature":"never","value":"query:challenge","guard":"visible",
            "response":{"status":200,"content_type":"text/plain","body":"{value}"}}"#,
    ))
    .unwrap();
    assert_eq!(shown(get("challenge=abc").challenge(&dropbox, &[], None)).2, "abc");
}

/// A challenge never vouches for an event: the same request still has to verify.
#[test]
fn challenges_are_no_events() {
    let table = table("zoom");
    assert_eq!(zoom("abc").verify(&table, &[KEY]), Err(Reject::MissingSignature));
    let custom = custom(METHOD);
    let call = post("{}").header("x-signature", base64(KEY, "{}"));
    assert_eq!(call.verify(&custom, &[KEY]), Err(Reject::MalformedSignature));
}
