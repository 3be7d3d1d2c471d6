use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::{
    Timestamp,
    client::apis::{brevo, stripe},
};

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

#[test]
fn the_rows_fit_their_calls() {
    for integration in IntegrationName::ALL.iter().map(|name| name.row()) {
        let mut names = BTreeSet::new();
        for row in integration.calls {
            let name = row.call.name;
            assert!(names.insert(name), "{name} twice");
            assert!(row.summary.ends_with('.'), "{name}");
            let in_path: Vec<_> =
                row.parameters.iter().filter(|parameter| parameter.place == Place::Path).collect();
            let whole = row.parameters.iter().any(|parameter| parameter.place == Place::WholePath);
            assert_eq!(in_path.len() + usize::from(whole), row.call.path.matches('{').count(), "{name}");
            for parameter in row.parameters {
                let path = format!("{{{}}}", parameter.name);
                let is_there = matches!(parameter.place, Place::Path | Place::WholePath);
                assert_eq!(row.call.path.contains(&path), is_there, "{name} {}", parameter.name);
                assert!(row.has_body() || parameter.place != Place::Body, "{name} {}", parameter.name);
                assert!(row.fixed.iter().all(|(fixed, _)| *fixed != parameter.name), "{name}");
            }
            let parameters: BTreeSet<_> = row.parameters.iter().map(|parameter| parameter.name).collect();
            assert_eq!(parameters.len(), row.parameters.len(), "{name}");
        }
    }
    // Each call of a window's group is counted by it.
    for integration in IntegrationName::ALL.iter().map(|name| name.row()) {
        for row in integration.calls {
            let mut meter = crate::client::Meter::default();
            let now = Timestamp::from_secs(1_790_000_000);
            let is_limited = (0..100_000)
                .any(|_| meter.charge_call(integration.api.windows, row.call.group, now).is_err());
            assert!(is_limited, "{} has no limit", row.call.name);
        }
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "it is a table")]
fn parameters_find_their_places_or_are_named() {
    let prepare = |integration: &Integration, call: &str, parameters: &Value, extra: &Value| {
        integration.prepare(integration.find(call).unwrap(), &object(parameters), &object(extra))
    };
    let none = json!({});
    let long = "x".repeat(300);
    for (call, parameters, extra, pointer) in [
        ("customers.get", json!({}), &none, "/id"),
        ("customers.get", json!({"id": 5}), &none, "/id"),
        ("customers.get", json!({"id": ".."}), &none, "/id"),
        ("customers.get", json!({"id": ""}), &none, "/id"),
        ("customers.get", json!({"id": "a\nb"}), &none, "/id"),
        ("customers.get", json!({"id": long}), &none, "/id"),
        ("customers.get", json!({"id": null}), &none, "/id"),
        ("customers.get", json!({"id": "cus_1", "expand": "x"}), &none, "/expand"),
        ("customers.create", json!({"e/mail": "a@b.c"}), &none, "/e~1mail"),
        ("customers.create", json!({"email": 5}), &none, "/email"),
        ("customers.create", json!({"metadata": ["x"]}), &none, "/metadata"),
        ("customers.create", json!({}), &json!({"email": "a@b.c"}), "/extra/email"),
        ("subscriptions.create", json!({"customer": "cus_1"}), &none, "/items"),
        ("subscriptions.create", json!({"customer": null, "items": []}), &none, "/customer"),
        (
            "subscriptions.create",
            json!({"customer": "cus_1", "items": []  , "cancel_at_period_end": "yes"}),
            &none,
            "/cancel_at_period_end",
        ),
        ("refunds.create", json!({"amount": 1.5}), &none, "/amount"),
        ("refunds.create", json!({"amount": "100"}), &none, "/amount"),
        ("objects.fetch", json!({"url": "https://evil.example/v1/x/y"}), &none, "/url"),
        ("objects.fetch", json!({"url": "//evil.example/x/y"}), &none, "/url"),
        ("objects.fetch", json!({"url": "/v1/../v2/x"}), &none, "/url"),
        ("objects.fetch", json!({"url": "/v1/x/y?z=1"}), &none, "/url"),
        ("objects.fetch", json!({"url": "/v1/x/%2e%2e"}), &none, "/url"),
        ("objects.fetch", json!({"url": "/v1"}), &none, "/url"),
        ("objects.fetch", json!({"url": "@evil.example/v1/x/y"}), &none, "/url"),
    ] {
        let refused = prepare(&stripe::INTEGRATION, call, &parameters, extra);
        assert_eq!(refused.map_err(|why| why.pointer), Err(pointer.to_owned()), "{call} {parameters}");
    }
    let fixed = prepare(&brevo::INTEGRATION, "contacts.upsert", &none, &json!({"updateEnabled": false}));
    assert_eq!(fixed.unwrap_err().pointer, "/extra/updateEnabled");

    for (integration, call, parameters, extra, path, query, body) in [
        (
            stripe::INTEGRATION,
            "customers.get",
            json!({"id": "cus_1/x", "expand": ["sources"]}),
            json!({"created": 1}),
            "/v1/customers/cus_1%2Fx",
            "created=1&expand[0]=sources",
            None,
        ),
        (
            stripe::INTEGRATION,
            "customers.update",
            json!({"id": "cus_1", "metadata": "", "name": null}),
            json!({"tax_exempt": "none"}),
            "/v1/customers/cus_1",
            "",
            Some(json!({"metadata": null, "name": null, "tax_exempt": "none"})),
        ),
        (
            stripe::INTEGRATION,
            "subscriptions.cancel",
            json!({"id": "sub_1", "prorate": true}),
            json!({}),
            "/v1/subscriptions/sub_1",
            "prorate=true",
            None,
        ),
        (
            stripe::INTEGRATION,
            "objects.fetch",
            json!({"url": "/v1/billing/meters/mtr_1"}),
            json!({}),
            "/v1/billing/meters/mtr_1",
            "",
            None,
        ),
        (
            brevo::INTEGRATION,
            "contacts.upsert",
            json!({"ext_id": "con_1"}),
            json!({}),
            "/contacts",
            "",
            Some(json!({"ext_id": "con_1", "updateEnabled": true})),
        ),
        (
            brevo::INTEGRATION,
            "contacts.suppress",
            json!({"identifier": "a+b@c.de", "identifierType": "email_id"}),
            json!({}),
            "/contacts/a%2Bb%40c.de",
            "identifierType=email_id",
            Some(json!({"emailBlacklisted": true})),
        ),
    ] {
        let prepared = prepare(&integration, call, &parameters, &extra).unwrap();
        let expected = PreparedCall { path: path.to_owned(), query: query.to_owned(), body };
        assert_eq!(prepared, expected, "{call} {parameters}");
    }
}

#[test]
fn a_refusal_is_shown_without_keys_and_with_its_field() {
    let create = stripe::INTEGRATION.find("subscriptions.create").unwrap();
    let body = json!({"error": {
        "type": "invalid_request_error", "code": "resource_missing", "param": "items[0][price]",
        "message": "No such price: 'price_1'\n; key sk_live_abc123, rk_test_*****9, pi_1_secret_xyz.",
    }});
    let error = stripe::INTEGRATION.error(create, &body);
    assert_eq!(error.code.as_deref(), Some("resource_missing"));
    assert_eq!(error.pointer.as_deref(), Some("/items/0/price"));
    assert_eq!(
        error.message.as_deref(),
        Some("No such price: 'price_1' ; key [redacted], [redacted], [redacted].")
    );
    let typed = json!({"error": {"type": "idempotency_error", "param": "unknown"}});
    let error = stripe::INTEGRATION.error(create, &typed);
    assert_eq!(
        (error.code.as_deref(), error.message, error.pointer),
        (Some("idempotency_error"), None, None)
    );
    let send = brevo::INTEGRATION.find("smtp.send").unwrap();
    let long = json!({"code": "invalid_parameter", "message": "é".repeat(1000)});
    assert_eq!(brevo::INTEGRATION.error(send, &long).message.unwrap().chars().count(), MESSAGE_LIMIT);
    for nothing in [Value::Null, json!("text"), json!([1]), json!({"code": 5, "message": ["x"]})] {
        let error = brevo::INTEGRATION.error(send, &nothing);
        assert_eq!(error, VendorError { code: None, message: None, pointer: None });
    }
}

#[test]
fn a_key_is_the_same_for_the_same_call_alone() {
    let tenant: TenantId = "acme".parse().unwrap();
    let other: TenantId = "acme2".parse().unwrap();
    let connection = ConnectionId::new(Timestamp::from_secs(0), [1; 10]);
    let [create, refund] =
        ["customers.create", "refunds.create"].map(|name| &stripe::INTEGRATION.find(name).unwrap().call);
    let subject =
        KeySubject { tenant: &tenant, caller: "key_1", connection, call: create, key: "k", revision: b"{}" };
    let keys = [
        subject,
        KeySubject { tenant: &other, ..subject },
        KeySubject { caller: "key_2", ..subject },
        KeySubject { connection: ConnectionId::new(Timestamp::from_secs(0), [2; 10]), ..subject },
        KeySubject { call: refund, ..subject },
        KeySubject { key: "k2", ..subject },
        KeySubject { revision: b"{ }", ..subject },
    ]
    .map(|subject| subject.derived());
    assert_eq!(BTreeSet::from(keys.clone()).len(), keys.len());
    assert_eq!(subject.derived(), keys[0]);
    let parts: Vec<_> = keys[0].split('-').map(str::len).collect();
    assert_eq!(parts, [8, 4, 4, 4, 12]);
    assert_eq!(&keys[0][14..15], "8");
}

#[test]
fn only_a_connection_of_the_vendor_is_accepted() {
    for (idp, expected) in
        [("stripe", true), ("stripe-test", true), ("stripes", false), ("google", false), ("brevo", false)]
    {
        assert_eq!(stripe::INTEGRATION.accepts(idp), expected, "{idp}");
    }
}
