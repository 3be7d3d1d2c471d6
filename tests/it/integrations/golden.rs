//! Each call beside the same one by the vendor's own SDK: method, path, query, body and the headers that matter are equal.

use std::collections::BTreeMap;

use reqwest::Url;
use serde_json::{Value, json};
use testkit::{ReceivedRequest, Reply, Stack, foreign::Driver};

use super::{KEY, Vendor};

/// What must be equal, with a stand-in for each idempotency key.
#[derive(Debug, PartialEq)]
struct ComparedRequest {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    body: Value,
    headers: BTreeMap<String, String>,
}

/// The headers that a vendor decides by.
const DECISIVE: &[&str] = &[
    "authorization",
    "api-key",
    "stripe-version",
    "stripe-account",
    "stripe-context",
    "content-type",
    "idempotency-key",
];

fn compared(request: &ReceivedRequest) -> ComparedRequest {
    let url = Url::parse(&format!("http://vendor.example{}", request.path)).unwrap();
    let pairs = |url: &Url| -> BTreeMap<String, String> { url.query_pairs().into_owned().collect() };
    let form = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).unwrap();
        pairs(&Url::parse(&format!("http://vendor.example/?{text}")).unwrap())
    };
    let content_type = |value: &str| value.split(';').next().unwrap_or_default().to_owned();
    let headers = request.headers.iter().filter(|(name, _)| DECISIVE.contains(&name.as_str()));
    let mut headers: BTreeMap<_, _> = headers.cloned().collect();
    // A request without a body has no type of one, whatever an SDK says.
    if request.body.is_empty() {
        headers.remove("content-type");
    }
    let is_form =
        request.headers.iter().any(|(name, value)| name == "content-type" && value.contains("form"));
    let mut body = match request.body.as_ref() {
        b"" => Value::Null,
        bytes if is_form => json!(form(bytes)),
        bytes => serde_json::from_slice(bytes).unwrap(),
    };
    if let Some(key) = body.pointer_mut("/headers/idempotencyKey") {
        *key = json!("a key");
    }
    for (name, value) in &mut headers {
        match name.as_str() {
            "idempotency-key" => "a key".clone_into(value),
            "content-type" => *value = content_type(value),
            _ => {}
        }
    }
    ComparedRequest {
        method: request.method.clone(),
        path: url.path().to_owned(),
        query: pairs(&url),
        body,
        headers,
    }
}

/// A call of ours, and the order for the SDK that must lead to the same request.
struct Case {
    call: &'static str,
    body: Value,
    order: Value,
}

#[allow(clippy::needless_pass_by_value, reason = "rows are easier to read")]
fn case(call: &'static str, parameters: Value, method: &str, args: Value) -> Case {
    Case { call, body: json!({ "parameters": parameters }), order: json!({ "call": method, "args": args }) }
}

async fn compare(name: &'static str, cases: Vec<Case>) {
    let tenant = Stack::shared().tenant().await;
    let vendor =
        Vendor::of(&tenant, name, vec![Reply::json(200, &json!({ "id": "x_1", "object": "thing" }))]).await;
    let mut sdk = Driver::vendor_sdk(name, vendor.receiver.address(), KEY).await;
    let calls = domain_calls(&vendor).await;
    for call in &calls {
        assert!(cases.iter().any(|case| case.call == call), "{call} is not compared");
    }
    for Case { call, body, order } in cases {
        let response = sdk.order(order).await;
        assert_eq!(response, json!({ "ok": true }), "{call}");
        let theirs = compared(vendor.receiver.requests().last().unwrap());
        let mut made = vendor.body(Value::Null);
        made.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        vendor.send(call, &made, None).await.expect(200);
        let ours = compared(vendor.receiver.requests().last().unwrap());
        assert_eq!(ours, theirs, "{call}");
    }
}

/// The names of all calls of an API.
async fn domain_calls(vendor: &Vendor) -> Vec<String> {
    let listed: Value = vendor.tenant.read("/v1/integrations").await;
    let row = listed["data"].as_array().unwrap().iter().find(|row| row["api"] == vendor.name).unwrap();
    row["calls"].as_array().unwrap().iter().map(|call| testkit::stack::text(call, "name")).collect()
}

#[tokio::test]
#[allow(clippy::too_many_lines, reason = "it is a table")]
async fn each_call_of_stripe_is_that_of_its_own_client() {
    let thin = json!({
        "id": "evt_test_1", "object": "v2.core.event", "type": "v1.billing.meter.error_report_triggered",
        "context": "acct_9", "created": "2026-11-28T12:00:00.000Z", "livemode": false,
        "related_object": { "id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/mtr_1" },
    });
    let mut cases = vec![
        case(
            "customers.create",
            json!({ "email": "a+b@c.de", "name": "Zoë & Co", "metadata": { "crm_id": "con_1" }, "address": { "line1": "1 Elm St" } }),
            "customers.create",
            json!([{ "email": "a+b@c.de", "name": "Zoë & Co", "metadata": { "crm_id": "con_1" }, "address": { "line1": "1 Elm St" } }]),
        ),
        // An empty value unsets.
        case(
            "customers.update",
            json!({ "id": "cus_1", "metadata": { "crm_id": "" }, "phone": "" }),
            "customers.update",
            json!(["cus_1", { "metadata": { "crm_id": "" }, "phone": "" }]),
        ),
        case(
            "customers.get",
            json!({ "id": "cus_1", "expand": ["sources", "subscriptions"] }),
            "customers.retrieve",
            json!(["cus_1", { "expand": ["sources", "subscriptions"] }]),
        ),
        case(
            "subscriptions.create",
            json!({
                "customer": "cus_1", "items": [{ "price": "price_1", "quantity": 2 }, { "price": "price_2" }],
                "cancel_at_period_end": false, "trial_period_days": 14, "expand": ["latest_invoice"],
            }),
            "subscriptions.create",
            json!([{
                "customer": "cus_1", "items": [{ "price": "price_1", "quantity": 2 }, { "price": "price_2" }],
                "cancel_at_period_end": false, "trial_period_days": 14, "expand": ["latest_invoice"],
            }]),
        ),
        case(
            "subscriptions.update",
            json!({ "id": "sub_1", "items": [{ "id": "si_1", "deleted": true }], "proration_behavior": "none" }),
            "subscriptions.update",
            json!(["sub_1", { "items": [{ "id": "si_1", "deleted": true }], "proration_behavior": "none" }]),
        ),
        case(
            "subscriptions.cancel",
            json!({ "id": "sub_1", "prorate": true }),
            "subscriptions.cancel",
            json!(["sub_1", { "prorate": true }]),
        ),
        case(
            "invoices.create",
            json!({ "customer": "cus_1", "auto_advance": false, "days_until_due": 30, "collection_method": "send_invoice" }),
            "invoices.create",
            json!([{ "customer": "cus_1", "auto_advance": false, "days_until_due": 30, "collection_method": "send_invoice" }]),
        ),
        case("invoices.finalize", json!({ "id": "in_1" }), "invoices.finalizeInvoice", json!(["in_1"])),
        case("invoices.get", json!({ "id": "in_1" }), "invoices.retrieve", json!(["in_1"])),
        case(
            "refunds.create",
            json!({ "payment_intent": "pi_1", "amount": 500, "reason": "requested_by_customer" }),
            "refunds.create",
            json!([{ "payment_intent": "pi_1", "amount": 500, "reason": "requested_by_customer" }]),
        ),
        case(
            "payment_links.create",
            json!({
                "line_items": [{ "price": "price_1", "quantity": 1 }],
                "after_completion": { "type": "redirect", "redirect": { "url": "https://crm.example/done?x=1&y=2" } },
            }),
            "paymentLinks.create",
            json!([{
                "line_items": [{ "price": "price_1", "quantity": 1 }],
                "after_completion": { "type": "redirect", "redirect": { "url": "https://crm.example/done?x=1&y=2" } },
            }]),
        ),
        Case {
            call: "events.fetch",
            body: json!({ "parameters": { "id": "evt_test_1" }, "account": "acct_9" }),
            order: json!({ "thin": thin, "call": "events.fetch" }),
        },
        Case {
            call: "objects.fetch",
            body: json!({ "parameters": { "url": "/v1/billing/meters/mtr_1" }, "account": "acct_9" }),
            order: json!({ "thin": thin, "call": "objects.fetch" }),
        },
    ];
    // For an account of Connect, and with another version of the API.
    cases.push(Case {
        call: "refunds.create",
        body: json!({ "parameters": { "charge": "ch_1" }, "account": "acct_1", "version": "2025-10-29.clover" }),
        order: json!({
            "call": "refunds.create",
            "args": [{ "charge": "ch_1" }, { "stripeAccount": "acct_1", "apiVersion": "2025-10-29.clover" }],
        }),
    });
    // What the table does not know is passed on.
    cases.push(Case {
        call: "customers.create",
        body: json!({ "parameters": {}, "extra": { "tax_id_data": [{ "type": "eu_vat", "value": "DE1" }] } }),
        order: json!({ "call": "customers.create", "args": [{ "tax_id_data": [{ "type": "eu_vat", "value": "DE1" }] }] }),
    });
    compare("stripe", cases).await;
}

#[tokio::test]
async fn each_call_of_brevo_is_that_of_its_own_client() {
    let mail = |key: Option<&str>| {
        let mut mail = json!({ "to": [{ "email": "zoe@example.com", "name": "Zoë" }], "templateId": 7, "params": { "NAME": "Zoë" } });
        if let Some(key) = key {
            mail["headers"] = json!({ "idempotencyKey": key });
        }
        mail
    };
    let attributes = json!({ "FIRSTNAME": "Zoë" });
    let webhook = json!({ "url": "https://crm.example/in/brevo", "events": ["delivered", "hardBounce"], "type": "transactional" });
    let cases = vec![
        case(
            "smtp.send",
            mail(None),
            "transactionalEmails.sendTransacEmail",
            json!([mail(Some("of the SDK"))]),
        ),
        case(
            "contacts.upsert",
            json!({ "email": "a+b@c.de", "ext_id": "con_1", "attributes": attributes, "listIds": [3] }),
            "contacts.createContact",
            json!([{ "email": "a+b@c.de", "ext_id": "con_1", "attributes": attributes, "listIds": [3], "updateEnabled": true }]),
        ),
        case(
            "contacts.get",
            json!({ "identifier": "a+b@c.de", "identifierType": "email_id" }),
            "contacts.getContactInfo",
            json!([{ "identifier": "a+b@c.de", "identifierType": "email_id" }]),
        ),
        case(
            "contacts.update",
            json!({ "identifier": "con_1", "identifierType": "ext_id", "attributes": attributes, "unlinkListIds": [3] }),
            "contacts.updateContact",
            json!([{ "identifier": "con_1", "identifierType": "ext_id", "attributes": attributes, "unlinkListIds": [3] }]),
        ),
        case(
            "contacts.suppress",
            json!({ "identifier": "a+b@c.de" }),
            "contacts.updateContact",
            json!([{ "identifier": "a+b@c.de", "emailBlacklisted": true }]),
        ),
        case(
            "suppressions.list",
            json!({ "limit": 10, "offset": 20, "startDate": "2026-11-01", "endDate": "2026-11-28" }),
            "transactionalEmails.getTransacBlockedContacts",
            json!([{ "limit": 10, "offset": 20, "startDate": "2026-11-01", "endDate": "2026-11-28" }]),
        ),
        case(
            "suppressions.delete",
            json!({ "email": "a+b@c.de" }),
            "transactionalEmails.unblockOrResubscribeATransactionalContact",
            json!([{ "email": "a+b@c.de" }]),
        ),
        case("webhooks.create", webhook.clone(), "webhooks.createWebhook", json!([webhook])),
        case(
            "webhooks.list",
            json!({ "type": "marketing" }),
            "webhooks.getWebhooks",
            json!([{ "type": "marketing" }]),
        ),
        case("webhooks.delete", json!({ "id": "5" }), "webhooks.deleteWebhook", json!([{ "webhookId": 5 }])),
    ];
    compare("brevo", cases).await;
}
