//! Signatures that others have published, each with its source.

use super::kit::{Call, form, post, table};
use crate::inbound::{
    engine::Reject,
    table::{Table, parse_table},
};

fn check(table: &Table, call: &Call, secret: &str, now: i64) {
    assert_eq!(call.verify_at(table, &[secret], now), Ok(()));
    let mut changed = call.clone();
    changed.body.push(b' ');
    assert_eq!(changed.verify_at(table, &[secret], now), Err(Reject::WrongSignature));
}

/// <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries#testing-the-webhook-payload-validation>
#[test]
fn github() {
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let call = post("Hello, World!").header("x-hub-signature-256", signature);
    check(&table("github"), &call, "It's a Secret to Everybody", 0);
}

/// <https://docs.svix.com/receiving/verifying-payloads/how-manual> and the tests of the libraries of
/// <https://github.com/standard-webhooks/standard-webhooks>.
#[test]
fn standard_webhooks_and_svix() {
    let body = r#"{"event_type":"ping","data":{"success":true}}"#;
    let secret = "whsec_plJ3nmyCDGBKInavdOK15jsl";
    for (name, id, timestamp, signature) in [
        ("svix", "svix-id", "svix-timestamp", "svix-signature"),
        ("standard_webhooks", "webhook-id", "webhook-timestamp", "webhook-signature"),
    ] {
        let call = post(body)
            .header(id, "msg_loFOjxBNrRLzqYUf")
            .header(timestamp, "1731705121")
            .header(signature, "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=");
        check(&table(name), &call, secret, 1_731_705_121);
    }
    let call = post(r#"{"test": 2432232314}"#)
        .header("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek")
        .header("webhook-timestamp", "1614265330")
        .header("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    let table = table("standard_webhooks");
    check(&table, &call, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 1_614_265_330);
    // Without the prefix it could be a public key.
    let unprefixed = call.verify_at(&table, &["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], 1_614_265_330);
    assert_eq!(unprefixed, Err(Reject::WrongSignature));
}

/// <https://www.twilio.com/docs/usage/webhooks/webhooks-security>
#[test]
fn twilio() {
    let body =
        "CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212";
    let call = form(body)
        .url("https://mycompany.com/myapp.php")
        .query("foo=1&bar=2")
        .header("x-twilio-signature", "RSOYDt4T1cUTdK1PDd93/VVr8B8=");
    check(&table("twilio"), &call, "12345", 0);
}

/// <https://docs.slack.dev/authentication/verifying-requests-from-slack/>
#[test]
fn slack() {
    let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let call = form(body)
        .header("x-slack-request-timestamp", "1531420618")
        .header("x-slack-signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503");
    check(&table("slack"), &call, "8f742231b10e8888abcd99yyyzzz85a5", 1_531_420_618);
}

/// <https://developer.squareup.com/docs/webhooks/step3validate>
#[test]
fn square() {
    let call = post(r#"{"hello":"world"}"#)
        .url("https://example.com/webhook")
        .header("x-square-hmacsha256-signature", "2kRE5qRU2tR+tBGlDwMEw2avJ7QM4ikPYD/PJ3bd9Og=");
    check(&table("square"), &call, "asdf1234", 0);
}

/// The example and the tests of `EventCallbackHelper` in <https://github.com/hellosign/dropbox-sign>.
#[test]
fn dropbox_sign() {
    let key = "324e3b0840f065eb51f3fd63231d0d33daa35d4ed10d27718839e81737065782";
    let event = |event_type: &str| {
        form(&format!(
            r#"json={{"event":{{"event_type":"{event_type}","event_time":"1669926463","event_hash":"ff8b03439122f9160500c3fb855bdee5a9ccba5fff27d3b258745d8f3074832f"}}}}"#
        ))
    };
    let table = table("dropbox_sign");
    assert_eq!(event("account_confirmed").verify_at(&table, &[key], 1_669_926_463), Ok(()));
    let changed = event("account_deleted").verify_at(&table, &[key], 1_669_926_463);
    assert_eq!(changed, Err(Reject::WrongSignature));
}

/// The tests of <https://github.com/sendgrid/sendgrid-nodejs/tree/main/packages/eventwebhook>.
#[test]
fn sendgrid() {
    let key = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEDr2LjtURuePQzplybdC+u4CwrqDqBaWjcMMsTbhdbcwHBcepxo7yAQGhHPTnlvFYPAZFceEu/1FwCM/QmGUhA==";
    let signature =
        "MEUCIQCtIHJeH93Y+qpYeWrySphQgpNGNr/U+UyUlBkU6n7RAwIgJTz2C+8a8xonZGi6BpSzoQsbVRamr2nlxFDWYNH2j/0=";
    let call = post(r#"{"category":"example_payload","event":"test_event","message_id":"message_id"}"#)
        .header("x-twilio-email-event-webhook-signature", signature)
        .header("x-twilio-email-event-webhook-timestamp", "1588788367");
    let table = table("sendgrid");
    check(&table, &call, key, 0);
    let pem =
        format!("-----BEGIN PUBLIC KEY-----\n{}\n{}\n-----END PUBLIC KEY-----\n", &key[..64], &key[64..]);
    check(&table, &call, &pem, 0);
    let another = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqTxd43gyp8IOEto2LdIfjRQrIbsd4SXZkLW6jDutdhXSJCWHw8REntlo7aNDthvj+y7GjUuFDb/R1NGe1OPzpA==";
    assert_eq!(call.verify_at(&table, &[another], 0), Err(Reject::WrongSignature));
}

/// Case 23. The key and the values of <https://github.com/Adyen/adyen-python-api-library/issues/117> and of the tests of
/// Adyen's libraries. Nothing in the values is escaped, and each item is signed on its own.
#[test]
fn case_23_adyen() {
    let table = parse_table(
        r#"{"scheme":{"methods":[{"signature":{"from":"json:/notificationItems/*/NotificationRequestItem/additionalData/hmacSignature",
            "encoding":"base64"},"algorithm":"hmac-sha256","key":{"encoding":"hex"},
            "signed":"{item:/NotificationRequestItem/pspReference}:{item:/NotificationRequestItem/originalReference?}:{item:/NotificationRequestItem/merchantAccountCode}:{item:/NotificationRequestItem/merchantReference}:{item:/NotificationRequestItem/amount/value}:{item:/NotificationRequestItem/amount/currency}:{item:/NotificationRequestItem/eventCode}:{item:/NotificationRequestItem/success}"}]},
            "events":{"items":["json:/notificationItems/*"],"event_type":["item:/NotificationRequestItem/eventCode"],
            "dedupe":[["item:/NotificationRequestItem/pspReference","item:/NotificationRequestItem/eventCode"]]}}"#,
    )
    .unwrap();
    let key = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056";
    let item = |reference: &str, signature: &str| {
        format!(
            r#"{{"NotificationRequestItem":{{"pspReference":"7914073381342284","merchantAccountCode":"TestMerchant",
                "merchantReference":"{reference}","amount":{{"value":1130,"currency":"EUR"}},"eventCode":"AUTHORISATION",
                "success":"true","additionalData":{{"hmacSignature":"{signature}"}}}}}}"#
        )
    };
    let items = [
        item("14-08-2020-09:53:00", "GOvjEg3thbHSbHOsBoako+q6qmde2H1nFTQ/8bvMzsE="),
        item("14-08-2020-09:54:00", "GOvjEg3thbHSbHOsBoako+q6qmde2H1nFTQ/8bvMzsE="),
        item("TestPayment-1407325143704", "coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0="),
    ];
    let call = post(format!(r#"{{"live":"false","notificationItems":[{}]}}"#, items.join(",")));
    call.report(&table, &[key], 0, |report| {
        let verified = report.outcome.ok().unwrap();
        assert_eq!(verified.items.as_deref(), Some(&[true, false, true][..]));
    });
    let call = post(format!(r#"{{"notificationItems":[{}]}}"#, items[1]));
    assert_eq!(call.verify_at(&table, &[key], 0), Err(Reject::WrongSignature));
}

/// Case 25, from public programs that agree.
#[test]
fn case_25_follow_up_boss_signs_base64() {
    let body = r#"{"eventId":"e1","event":"peopleCreated","resourceIds":[1]}"#;
    let signature = "07925be5820e6b032f8048875da3791a7a2d381ed390a6af30f8ea4e84e912c4";
    check(&table("follow_up_boss"), &post(body).header("fub-signature", signature), "sys-key", 0);
}

/// Case 27, computed from the vendor's page.
#[test]
fn case_27_the_key_of_close_is_hexadecimal() {
    let signature = "23d7aa62935506353700a48ebb7a1d28b93d5d94b11a71f150328b4243751326";
    let call = post("{}").header("close-sig-timestamp", "1544271440").header("close-sig-hash", signature);
    check(&table("close"), &call, "00ff10", 1_544_271_440);
    assert_eq!(
        call.verify_at(&table("close"), &["no hexadecimal"], 1_544_271_440),
        Err(Reject::WrongSignature)
    );
}

/// A public key is not secret, so it must never be read as a key of HMAC, nor without the prefix that says what it is.
#[test]
fn a_public_key_of_standard_webhooks_requires_its_prefix() {
    use ring::signature::{Ed25519KeyPair, KeyPair};
    let pair = Ed25519KeyPair::from_seed_unchecked(&[3; 32]).unwrap();
    let public = data_encoding::BASE64.encode(pair.public_key().as_ref());
    let table = table("standard_webhooks");
    let call = |version: &str, signature: String| {
        post("{}")
            .header("webhook-id", "id")
            .header("webhook-timestamp", "100")
            .header("webhook-signature", format!("{version},{signature}"))
    };
    let signed = call("v1a", data_encoding::BASE64.encode(pair.sign(b"id.100.{}").as_ref()));
    assert_eq!(signed.verify_at(&table, &[&format!("whpk_{public}")], 100), Ok(()));
    assert_eq!(signed.verify_at(&table, &[&public], 100), Err(Reject::WrongSignature));
    let forged = call("v1", super::kit::base64(pair.public_key().as_ref(), "id.100.{}"));
    assert_eq!(forged.verify_at(&table, &[&format!("whpk_{public}")], 100), Err(Reject::WrongSignature));
}
