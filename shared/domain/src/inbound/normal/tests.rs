use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::*;
use crate::inbound::{
    extraction::{Extraction, extract},
    presets,
    reading::Request,
    tests::verified,
};

/// What a provider's body is normalised to.
fn normalised(provider: &str, body: &Value) -> Vec<(String, Value)> {
    let preset = presets::find(provider).unwrap().unwrap();
    let headers = [("content-type", "application/json")];
    let body = body.to_string();
    let request = Request {
        method: "POST",
        public_urls: &[],
        path_secret: None,
        query: "",
        headers: &headers,
        body: body.as_bytes(),
    };
    let Extraction { events, malformed, .. } =
        extract(&preset.table.events, provider, None, verified(request)).unwrap();
    assert!(malformed.is_empty(), "{malformed:?}");
    let normal = events.into_iter().filter_map(|event| event.normal);
    normal
        .map(|event| (event.event_type.to_string(), serde_json::from_str(event.data.as_str()).unwrap()))
        .collect()
}

fn cases() -> Vec<(&'static str, Value, &'static str, Value)> {
    let email = |provider: &str, url: Value, reason: Value| json!({ "provider": provider, "email": "a@example.com", "message_id": "m1", "url": url, "reason": reason });
    let mailgun = |event: Value| {
        let mut data =
            json!({ "recipient": "a@example.com", "message": { "headers": { "message-id": "m1" } } });
        data.as_object_mut().unwrap().extend(event.as_object().unwrap().clone());
        json!({ "signature": { "token": "t" }, "event-data": data })
    };
    let brevo = |event: &str| json!({ "event": event, "email": "a@example.com", "message-id": "m1", "ts_epoch": 1, "reason": "full" });
    let sendgrid = |event: &str| json!([{ "event": event, "email": "a@example.com", "sg_message_id": "m1", "timestamp": 1, "url": "https://e.example" }]);
    let postmark = |event: Value| {
        let mut data = json!({ "MessageID": "m1", "Recipient": "a@example.com" });
        data.as_object_mut().unwrap().extend(event.as_object().unwrap().clone());
        data
    };
    let stripe = |kind: &str, object: Value| json!({ "id": "evt_1", "type": kind, "created": 1, "data": { "object": object } });
    let (none, link) = (Value::Null, json!("https://e.example"));
    let gocardless = |cause: &str| json!({ "events": [{ "id": "EV1", "resource_type": "payments", "action": "confirmed", "links": { "payment": "PM1" }, "details": { "cause": cause } }] });
    vec![
        (
            "gocardless",
            gocardless("payment_confirmed"),
            "payment.succeeded",
            json!({ "provider": "gocardless", "id": "PM1", "amount": null, "currency": null, "customer": null }),
        ),
        ("gocardless", gocardless("payment_submitted"), "", none.clone()),
        ("brevo", brevo("delivered"), "email.delivered", email("brevo", none.clone(), json!("full"))),
        ("brevo", brevo("hard_bounce"), "email.bounced", email("brevo", none.clone(), json!("full"))),
        ("sendgrid", sendgrid("click"), "email.clicked", email("sendgrid", link.clone(), none.clone())),
        ("sendgrid", sendgrid("spamreport"), "email.complained", email("sendgrid", link, none.clone())),
        (
            "mailgun",
            mailgun(json!({ "event": "opened" })),
            "email.opened",
            email("mailgun", none.clone(), none.clone()),
        ),
        (
            "mailgun",
            mailgun(
                json!({ "event": "failed", "severity": "permanent", "delivery-status": { "message": "no user" } }),
            ),
            "email.bounced",
            email("mailgun", none.clone(), json!("no user")),
        ),
        ("mailgun", mailgun(json!({ "event": "failed", "severity": "temporary" })), "", none.clone()),
        (
            "postmark",
            postmark(json!({ "RecordType": "SubscriptionChange", "SuppressSending": true })),
            "email.unsubscribed",
            email("postmark", none.clone(), none.clone()),
        ),
        (
            "postmark",
            postmark(json!({ "RecordType": "SubscriptionChange", "SuppressSending": false })),
            "",
            none.clone(),
        ),
        (
            "stripe",
            stripe(
                "payment_intent.succeeded",
                json!({ "id": "pi_1", "amount_received": 1050, "currency": "eur", "customer": "c" }),
            ),
            "payment.succeeded",
            json!({ "provider": "stripe", "id": "pi_1", "amount": 1050, "currency": "eur", "customer": "c" }),
        ),
        ("stripe", json!({ "id": "evt_1", "type": "invoice.paid", "created": 1 }), "", none.clone()),
        ("stripe", stripe("plan.created", json!({ "id": "p" })), "", none.clone()),
        (
            "paddle",
            json!({ "event_id": "e", "event_type": "transaction.completed", "data": { "id": "txn_1", "currency_code": "EUR",
                "customer_id": "c", "details": { "totals": { "grand_total": "1050" } } } }),
            "payment.succeeded",
            json!({ "provider": "paddle", "id": "txn_1", "amount": 1050, "currency": "eur", "customer": "c" }),
        ),
        (
            "typeform",
            json!({ "event_id": "e", "event_type": "form_response", "form_response": { "token": "t1", "form_id": "f1",
                "answers": [{ "type": "text", "text": "x" }, { "type": "email", "email": "a@example.com" }] } }),
            "lead.created",
            json!({ "provider": "typeform", "id": "t1", "email": "a@example.com", "name": null, "phone": null, "form": "f1" }),
        ),
        (
            "calendly",
            json!({ "event": "invitee.created", "created_at": "x", "payload": { "uri": "u", "email": "a@example.com", "name": "Zoë" } }),
            "lead.created",
            json!({ "provider": "calendly", "id": "u", "email": "a@example.com", "name": "Zoë", "phone": null, "form": null }),
        ),
        (
            "meta",
            json!({ "object": "page", "entry": [{ "changes": [{ "field": "leadgen", "value": { "leadgen_id": "1", "form_id": "2" } }] }] }),
            "lead.created",
            json!({ "provider": "meta", "id": "1", "email": null, "name": null, "phone": null, "form": "2" }),
        ),
    ]
}

#[test]
fn every_provider_gives_one_shape() {
    let mut shapes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (provider, body, event_type, data) in cases() {
        let found = normalised(provider, &body);
        if event_type.is_empty() {
            assert_eq!(found, [], "{provider} {body}");
            continue;
        }
        assert_eq!(found, [(event_type.to_owned(), data.clone())], "{provider}");
        let keys = data.as_object().unwrap().keys().cloned().collect();
        let subject = event_type.split('.').next().unwrap().to_owned();
        assert_eq!(shapes.entry(subject).or_insert_with(|| Clone::clone(&keys)), &keys, "{event_type}");
        let schema = event_type.parse::<NormalType>().unwrap().schema();
        assert!(jsonschema::is_valid(&schema, &data), "{event_type}: {data}");
        assert!(!jsonschema::is_valid(&schema, &json!({ "provider": "x" })), "{event_type}");
    }
}

#[test]
fn faults_of_a_rule_are_named_by_field() {
    let rule = |fields: Value| -> Vec<String> {
        let rule = json!({ "kind": "json:/type", "types": { "a": "lead.created" }, "fields": fields });
        let rule: NormalRule = serde_json::from_value(rule).unwrap();
        rule.violations().into_iter().map(|violation| violation.pointer).collect()
    };
    assert_eq!(rule(json!({ "id": "json:/id" })), [""; 0]);
    assert_eq!(rule(json!({ "email": "json:/email" })), ["/fields"]);
    assert_eq!(rule(json!({ "id": "json:/id", "a/b": "json:/x" })), ["/fields/a~1b"]);
}

#[test]
fn every_word_is_an_event_type() {
    for event_type in NormalType::ALL {
        assert!(event_type.as_str().parse::<crate::event::EventType>().is_ok());
    }
}
