//! Cases 29 to 41: batches, ids, responses, and what is not signed.

use serde_json::{Value, json};

use super::kit::{NOW, form, hex, post, preset, table};
use crate::inbound::{
    engine::Reject::{MalformedSignature, MissingSignature, WrongSignature},
    extraction::{ProviderEvent, extract},
    presets,
    table::{Table, parse_table},
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
    // What has none of these times is an event too, and once.
    let list =
        json!({ "event": "list_addition", "email": ["a@example.com"], "list_id": [1], "date": "2018-03-06" });
    let other =
        json!({ "event": "list_addition", "email": ["b@example.com"], "list_id": [1], "date": "2018-03-06" });
    let call = post(json!([list, list, other]).to_string()).header("authorization", format!("Bearer {KEY}"));
    let extraction = call.events(&preset, &[KEY]).unwrap();
    let ids: Vec<_> = extraction.events.iter().map(|event| event.event_id.as_str()).collect();
    assert!(extraction.malformed.is_empty() && ids[0] == ids[1] && ids[1] != ids[2], "{ids:?}");
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
    items[250] = json!({ "event": "not a type!" });
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

/// More items than any provider sends are refused as a whole, before each is looked at.
#[test]
fn the_items_of_a_request_are_bounded() {
    let item = json!({ "ResourceName": "Property", "EntityEventSequence": 1, "clientState": KEY });
    let call = |count: usize| {
        let body = json!({ "value": vec![item.clone(); count] }).to_string();
        post(body).header("authorization", format!("Bearer {KEY}")).header("entityeventsource", "mls")
    };
    let preset = preset("reso_entity_event");
    assert_eq!(call(5000).events(&preset, &[KEY]).unwrap().events.len(), 5000);
    let malformed = call(5001).events(&preset, &[KEY]).unwrap_err();
    assert!(malformed.contains("more than 5000 items"), "{malformed}");
    let graph = table("microsoft_graph");
    assert_eq!(call(5000).verify(&graph, &[KEY]), Ok(()));
    assert_eq!(call(5001).verify(&graph, &[KEY]), Err(MissingSignature));
}

/// <https://learn.microsoft.com/en-us/graph/change-notifications-delivery-webhooks#change-notification-example>, and the
/// `id` of <https://learn.microsoft.com/en-us/graph/api/resources/changenotification>. Of a resource without an etag every
/// later update would be a repeat of the first one.
#[test]
fn an_update_without_an_etag_is_no_repeat_of_another_one() {
    let preset = preset("microsoft_graph");
    let id = |etag: Option<&str>, id: Option<&str>, until: &str| {
        let mut item = json!({
            "subscriptionId": "7f105c7d-2dc5-4530-97cd-4e7ae6534c07", "changeType": "updated", "clientState": KEY,
            "subscriptionExpirationDateTime": until, "resource": "Users/1/Messages/2",
            "resourceData": { "@odata.type": "#Microsoft.Graph.Message", "id": "AAMkADUzNTYxNjVh" },
        });
        if let Some(etag) = etag {
            item["resourceData"]["@odata.etag"] = etag.into();
        }
        if let Some(id) = id {
            item["id"] = id.into();
        }
        let body = json!({ "value": [item] }).to_string();
        post(body).events(&preset, &[KEY]).unwrap().events.remove(0).event_id
    };
    let (first, renewed) = ("2026-01-01T11:00:00Z", "2026-01-02T11:00:00Z");
    for (one, other, is_repeat) in [
        ((Some("W/1"), None, first), (Some("W/1"), None, renewed), true),
        ((Some("W/1"), None, first), (Some("W/2"), None, first), false),
        ((Some("W/1"), Some("a"), first), (Some("W/1"), Some("b"), first), true),
        ((None, Some("a"), first), (None, Some("a"), renewed), true),
        ((None, Some("a"), first), (None, Some("b"), first), false),
        ((None, None, first), (None, None, first), true),
        ((None, None, first), (None, None, renewed), false),
    ] {
        let ids = [one, other].map(|(etag, own, until)| id(etag, own, until));
        assert_eq!(ids[0] == ids[1], is_repeat, "{one:?} {other:?}");
    }
}

/// A text beside the items is a part of each of their events, so a long one would be there thousands of times.
#[test]
fn long_texts_are_not_copied_for_every_item() {
    let table = |dedupe: &str, event_type: &str| {
        let json = format!(
            r#"{{"scheme":{{"methods":[{{"signature":{{"from":"header:s"}},"algorithm":"token"}}]}},
                "events":{{"items":["json:/items/*"],"event_type":["{event_type}"],"dedupe":[{dedupe}],"account":"json:/account",
                "occurred_at":{{"from":"json:/at","unit":"s"}},
                "normal":[{{"kind":"text:a","types":{{"a":"lead.created"}},
                    "fields":{{"id":"item:/id","name":"json:/name","email":"item:/email|json:/name","phone":"item:/phone"}}}}]}}}}"#
        );
        parse_table(&json).unwrap()
    };
    let events = |table: &Table, text: &str, count: usize| {
        let item = json!({ "id": "1", "phone": "5".repeat(5000) });
        let items = if count == 1 { vec![item] } else { vec![json!({ "id": "1" }); count] };
        let body =
            json!({ "blob": text, "account": text, "name": text, "at": text, "items": items }).to_string();
        post(body).header("s", KEY).report(table, &[KEY], NOW, |report| {
            let verified = report.outcome.unwrap();
            extract(&table.events, "custom", None, verified).unwrap()
        })
    };
    let plain = table(r#"["json:/blob"]"#, "text:made");
    for (length, is_whole) in
        [(100, true), (101, false), (256, false), (257, false), (4096, false), (4097, false)]
    {
        let text = "1".repeat(length);
        let event = events(&plain, &text, 1).events.remove(0);
        assert_eq!(event.account, is_whole.then(|| text.clone()), "{length}");
        let is_id = event.event_id == text;
        assert_eq!((is_id, event.event_id.len()), if length <= 256 { (true, length) } else { (false, 64) });
        let data = event.normal.unwrap().data.to_value().unwrap();
        let expected = if length <= 4096 { json!(text) } else { json!(null) };
        assert_eq!((&data["name"], &data["email"]), (&expected, &expected), "{length}");
        assert_eq!(data["phone"], "5".repeat(5000), "a text of the item itself is whole");
        assert_eq!(event.timestamp, None);
    }
    // Long ids that differ only at their end are others.
    let id = |end: &str| events(&plain, &format!("{}{end}", "x".repeat(1000)), 1).events.remove(0).event_id;
    assert!(id("a") != id("b") && id("a") == id("a"));
    let blob = "x".repeat(900_000);
    for dedupe in [r#"["json:/blob"]"#, r#"["json:/blob","item:/id"]"#] {
        let found = events(&table(dedupe, "text:made"), &blob, 5000).events;
        let size = |event: &ProviderEvent| {
            let normal = event.normal.as_ref().map_or(0, |normal| normal.data.as_str().len());
            event.event_id.len() + event.account.as_ref().map_or(0, String::len) + normal
        };
        assert_eq!(found.len(), 5000);
        assert!(found.iter().all(|event| size(event) < 500), "{}", size(&found[0]));
    }
    let malformed = events(&table(r#"["item:/id"]"#, "json:/blob"), &blob, 5000).malformed;
    assert_eq!(malformed.len(), 5000);
    assert!(malformed.iter().all(|(_, why)| why.to_string().len() < 500));
}

#[test]
fn a_malformed_time_is_no_time_unless_the_row_is_strict() {
    let body = |name: &str| json!({ "id": "1", "type": "a", name: "soon" }).to_string();
    let stripe = body("created");
    let call = post(&stripe)
        .header("stripe-signature", format!("t={NOW},v1={}", hex(KEY, format!("{NOW}.{stripe}"))));
    let extraction = call.events(&preset("stripe"), &[KEY]).unwrap();
    assert_eq!((extraction.events.len(), extraction.malformed.len()), (0, 1));
    assert_eq!(extraction.malformed[0].1.to_string(), "not an event of stripe: its time is malformed");
    let quo = body("createdAt");
    let signature = super::kit::base64("key", format!("{NOW}000.{quo}"));
    let call = post(&quo).header("openphone-signature", format!("hmac;1;{NOW}000;{signature}"));
    let event = call.events(&preset("quo_legacy"), &["a2V5"]).unwrap().events.remove(0);
    assert_eq!(event.timestamp, None);
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

#[test]
fn case_38_statuses_that_end_retries_are_never_sent() {
    assert_eq!(table("mailgun").responses.never, [406]);
    assert_eq!(table("postmark").responses.never, [403]);
    for name in presets::names() {
        let responses = table(name).responses;
        let sent = [&responses.accepted, &responses.refused, &responses.unavailable];
        assert!(sent.iter().all(|reply| !responses.never.contains(&reply.status)), "{name}");
        let (accepted, refused) = match name {
            "microsoft_graph" => (202, 401),
            "discord" => (204, 401),
            "gocardless" => (204, 498),
            // RFC 8935, sections 2.2 and 2.3.
            "google_risc" => (202, 400),
            _ => (200, 401),
        };
        assert_eq!((responses.accepted.status, responses.refused.status), (accepted, refused), "{name}");
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
    let signed = |kind: &str| hex(KEY, format!("{NOW}{kind}"));
    let body = |kind: &str, hash: String| {
        let event =
            json!({ "event": { "event_time": NOW.to_string(), "event_type": kind, "event_hash": hash } });
        format!("--b\r\nContent-Disposition: form-data; name=\"json\"\r\n\r\n{event}\r\n--b--\r\n")
    };
    let with_hash = |kind: &str, hash: String| {
        let mut call = post(body(kind, hash));
        call.headers = vec![("content-type", "multipart/form-data; boundary=b".to_owned())];
        call
    };
    let call = |kind: &str| with_hash(kind, signed(kind));
    // The hash verifies in either case, so a repeat in another case must have the same id.
    let kind = "signature_request_sent";
    let id = |hash: String| with_hash(kind, hash).events(&preset, &[KEY]).unwrap().events.remove(0).event_id;
    assert_eq!(id(signed(kind)), id(signed(kind).to_uppercase()));
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

#[test]
fn case_40_topics_that_share_a_body_are_two_events() {
    let preset = preset("shopify");
    let body = r#"{"id":1}"#;
    let body_id = |topic: &str| {
        let call = post(body).header("x-shopify-hmac-sha256", super::kit::base64(KEY, body));
        let call = call.header("x-shopify-topic", topic.to_owned()).header("x-shopify-event-id", "e-1");
        call.events(&preset, &[KEY]).unwrap().events.remove(0).body_id.unwrap()
    };
    assert_eq!(body_id("orders/create"), body_id("orders/create"));
    assert_ne!(body_id("orders/create"), body_id("orders/updated"));
}

/// Twilio signs the fields in order, so a stranger can send them in another one.
#[test]
fn case_40_a_form_in_another_order_is_the_same() {
    let preset = preset("twilio");
    let url = "https://hooks.example.com/a";
    let body_id = |body: &str, token: &str| {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, KEY.as_bytes());
        let signed = format!("{url}MessageSidSM1MessageStatussent");
        let signature = data_encoding::BASE64.encode(ring::hmac::sign(&key, signed.as_bytes()).as_ref());
        let call = form(body).url(url).header("x-twilio-signature", signature);
        let call = call.header("i-twilio-idempotency-token", token.to_owned());
        call.events(&preset, &[KEY]).unwrap().events.remove(0).body_id
    };
    let first = body_id("MessageSid=SM1&MessageStatus=sent", "t-1");
    assert_eq!(first, body_id("MessageStatus=sent&MessageSid=SM%31", "t-2"));
    assert!(first.is_some());
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

/// Nor does it make a form of what the sender never sends as one.
#[test]
fn case_40_a_form_is_no_event_of_a_sender_of_json() {
    let body = "id=1&type=invoice.paid";
    let call =
        form(body).header("stripe-signature", format!("t={NOW},v1={}", hex(KEY, format!("{NOW}.{body}"))));
    let malformed = call.events(&preset("stripe"), &[KEY]).unwrap_err();
    assert_eq!(malformed, "not an event of stripe: the body is not valid JSON");
}

/// What is signed without a time can be repeated for ever.
#[test]
fn dotloop_signs_its_time() {
    let body = r#"{"eventId":"1","eventType":"a"}"#;
    let signature = {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, KEY.as_bytes());
        data_encoding::HEXLOWER.encode(ring::hmac::sign(&key, body.as_bytes()).as_ref())
    };
    let call = post(body).header("x-dotloop-signature", signature);
    assert_eq!(call.verify(&table("dotloop"), &[KEY]), Err(MalformedSignature));
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
    assert_eq!(token.verify(&super::kit::table("google_calendar"), &[""]), Err(MalformedSignature));
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
        ("stripe", "whsec_0123456789abcdef\n"),
        ("stripe", "whsec_0123456789 abcdef"),
        ("stripe", "whsec_                "),
        ("sendgrid", "x"),
        ("close", "xyz xyz"),
        ("svix", "whsec_!"),
    ] {
        let error = preset(name).check_secret(secret).unwrap_err();
        assert!(error.starts_with("must be ") && !error.contains(secret), "{name}: {error}");
    }
}
