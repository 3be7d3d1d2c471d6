//! Stripe, version `2026-10-28.endive`. Source: <https://docs.stripe.com/api>, and Stripe's own client for Node 23.1.

use std::time::Duration;

use crate::client::{
    api::{Api, Auth, Call, CallMethod, Encoding, IdempotencyKeyPlace},
    class::{Class, Conflict, ResponseView},
    integration::{
        CallRow, ErrorPointers, Integration, Parameter,
        ParameterType::{Boolean, Integer, List, Object, Text},
        Place,
    },
    wait::{WaitHeader, WaitUnit},
    window::Window,
};

/// The API.
pub const API: Api = Api {
    name: "stripe",
    title: "Stripe",
    base: "https://api.stripe.com",
    auth: Auth::Bearer,
    encoding: Encoding::Form,
    headers: &[("stripe-version", "2026-10-28.endive")],
    // 25 a second in a sandbox and at each endpoint, 100 a second live. In any second, permits and burst pass together.
    windows: &[Window::calls(20, Duration::from_secs(1), 5)],
    waits: &[WaitHeader::new("retry-after", WaitUnit::RetryAfter)],
    classify,
    idempotency: IdempotencyKeyPlace::Header("idempotency-key"),
    response_limit: 1 << 20,
    docs: "https://docs.stripe.com/api",
};

/// What a CRM can call.
pub const INTEGRATION: Integration = Integration {
    api: &API,
    calls: CALLS,
    version_header: Some("stripe-version"),
    // Documented as 24 hours at least.
    keys_kept: Duration::from_hours(20),
    errors: ErrorPointers {
        codes: &["/error/code", "/error/type"],
        message: "/error/message",
        parameter: Some("/error/param"),
    },
};

/// After a limit of rate, which has no header that says for how long.
const RATE_PAUSE: Duration = Duration::from_secs(3);

/// Stripe can take long for invoices. A second copy must still fit into the time of a request, after a pause.
const TIMEOUT_SECS: u64 = 9;

const ACCOUNT: &str = "stripe-account";
const CONTEXT: &str = "stripe-context";

const fn get(name: &'static str, path: &'static str) -> Call {
    Call::get(name, path).within(TIMEOUT_SECS)
}

const fn post(name: &'static str, path: &'static str) -> Call {
    Call::write(name, CallMethod::Post, path).keyed().within(TIMEOUT_SECS)
}

const fn text(name: &'static str) -> Parameter {
    Parameter::body(name, Text)
}

/// A call of the first version, for an account that a header may name.
const fn row(call: Call, does: &'static str, parameters: &'static [Parameter]) -> CallRow {
    CallRow::new(call, does, parameters).for_account(ACCOUNT)
}

const METADATA: Parameter = Parameter::body("metadata", Object);
const EXPAND: Parameter = Parameter::body("expand", List);
const EXPANDED: Parameter = Parameter::query("expand", List);
const ID: Parameter = Parameter::path("id");

const CALLS: &[CallRow] = &[
    row(
        post("customers.create", "/v1/customers"),
        "Create a customer.",
        &[
            text("email"),
            text("name"),
            text("phone"),
            text("description"),
            text("payment_method"),
            Parameter::body("address", Object),
            Parameter::body("shipping", Object),
            Parameter::body("invoice_settings", Object),
            METADATA,
            EXPAND,
        ],
    ),
    row(
        post("customers.update", "/v1/customers/{id}"),
        "Change a customer.",
        &[
            ID,
            text("email"),
            text("name"),
            text("phone"),
            text("description"),
            Parameter::body("address", Object),
            Parameter::body("shipping", Object),
            Parameter::body("invoice_settings", Object),
            METADATA,
            EXPAND,
        ],
    ),
    row(get("customers.get", "/v1/customers/{id}"), "Read a customer.", &[ID, EXPANDED]),
    row(
        post("subscriptions.create", "/v1/subscriptions"),
        "Create a subscription.",
        &[
            text("customer").required(),
            Parameter::body("items", List).required(),
            text("default_payment_method"),
            text("collection_method"),
            text("payment_behavior"),
            text("proration_behavior"),
            text("currency"),
            text("description"),
            Parameter::body("days_until_due", Integer),
            Parameter::body("trial_period_days", Integer),
            Parameter::body("cancel_at_period_end", Boolean),
            METADATA,
            EXPAND,
        ],
    ),
    row(
        post("subscriptions.update", "/v1/subscriptions/{id}"),
        "Change a subscription.",
        &[
            ID,
            Parameter::body("items", List),
            text("default_payment_method"),
            text("collection_method"),
            text("payment_behavior"),
            text("proration_behavior"),
            text("description"),
            Parameter::body("days_until_due", Integer),
            Parameter::body("cancel_at_period_end", Boolean),
            Parameter::body("pause_collection", Object),
            METADATA,
            EXPAND,
        ],
    ),
    row(
        Call::write("subscriptions.cancel", CallMethod::Delete, "/v1/subscriptions/{id}")
            .within(TIMEOUT_SECS),
        "Cancel a subscription at once.",
        &[ID, Parameter::query("invoice_now", Boolean), Parameter::query("prorate", Boolean)],
    ),
    row(
        post("invoices.create", "/v1/invoices"),
        "Create a draft of an invoice.",
        &[
            text("customer"),
            text("subscription"),
            text("currency"),
            text("description"),
            text("collection_method"),
            text("pending_invoice_items_behavior"),
            Parameter::body("auto_advance", Boolean),
            Parameter::body("days_until_due", Integer),
            METADATA,
            EXPAND,
        ],
    ),
    row(
        post("invoices.finalize", "/v1/invoices/{id}/finalize"),
        "Finalize a draft of an invoice.",
        &[ID, Parameter::body("auto_advance", Boolean), EXPAND],
    ),
    row(get("invoices.get", "/v1/invoices/{id}"), "Read an invoice.", &[ID, EXPANDED]),
    row(
        post("refunds.create", "/v1/refunds"),
        "Refund a payment, all of it or an amount.",
        &[
            text("payment_intent"),
            text("charge"),
            text("reason"),
            Parameter::body("amount", Integer),
            Parameter::body("refund_application_fee", Boolean),
            Parameter::body("reverse_transfer", Boolean),
            METADATA,
            EXPAND,
        ],
    ),
    row(
        post("payment_links.create", "/v1/payment_links"),
        "Create a payment link.",
        &[
            Parameter::body("line_items", List).required(),
            text("currency"),
            text("billing_address_collection"),
            Parameter::body("after_completion", Object),
            Parameter::body("allow_promotion_codes", Boolean),
            Parameter::body("payment_method_types", List),
            METADATA,
            EXPAND,
        ],
    ),
    CallRow::new(
        get("events.fetch", "/v2/core/events/{id}"),
        "Read the event of a thin event, with its data.",
        &[ID],
    )
    .for_account(CONTEXT),
    CallRow::new(
        get("objects.fetch", "{url}"),
        "Read the object that an event is about, by the `url` of its `related_object`.",
        &[Parameter { name: "url", place: Place::WholePath, kind: Text, is_required: true }],
    )
    .for_account(CONTEXT),
];

/// Reads `Stripe-Should-Retry` first, as Stripe's own clients do: it knows whether a repeat can succeed.
fn classify(received: &ResponseView<'_>) -> Class {
    if received.is_success() {
        return Class::Success;
    }
    let should_retry = (received.header)("stripe-should-retry");
    let throttled = |wait| Class::Throttled { wait };
    match (received.status, should_retry) {
        // The object is locked by another request. That is no limit, so it holds no other call back.
        (429, Some("true")) => Class::Busy { by_copy: false },
        (429, None) if received.text("/error/code") == Some("lock_timeout") => Class::Busy { by_copy: false },
        (429, _) => throttled(Some(RATE_PAUSE)),
        (401 | 403 | 404, _) => received.by_status(),
        (409 | 500..=599, Some("false")) => Class::Failed,
        // A request with the same key has not ended, whatever the header says.
        (409, _) => Class::Busy { by_copy: true },
        (_, Some("true")) => Class::Transient,
        // The key was for another request, so this one was not carried out, and says nothing about that one.
        (400, _) if received.text("/error/type") == Some("idempotency_error") => {
            Class::Conflict(Conflict::Exists)
        }
        _ => received.by_status(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::client::Refusal;

    #[test]
    fn each_response_has_its_class() {
        let throttled = |wait| Class::Throttled { wait };
        let malformed = Class::Refused(Refusal::Malformed);
        for (name, status, should_retry, body, expected) in [
            ("success", 200, None, Value::Null, Class::Success),
            ("S1: failure", 503, None, Value::Null, Class::Transient),
            ("S1: failure that can be repeated", 500, Some("true"), Value::Null, Class::Transient),
            ("S2: no repeat", 500, Some("false"), Value::Null, Class::Failed),
            ("S5: key", 401, None, Value::Null, Class::Unauthorized),
            ("S5: key, whatever the header says", 401, Some("true"), Value::Null, Class::Unauthorized),
            ("restricted key", 403, Some("false"), Value::Null, Class::Refused(Refusal::Forbidden)),
            ("a locked object", 429, Some("true"), Value::Null, Class::Busy { by_copy: false }),
            (
                "a locked object by its code",
                429,
                None,
                json!({"error": {"code": "lock_timeout"}}),
                Class::Busy { by_copy: false },
            ),
            ("rate", 429, None, json!({"error": {"code": "rate_limit"}}), throttled(Some(RATE_PAUSE))),
            ("rate, by the header", 429, Some("false"), Value::Null, throttled(Some(RATE_PAUSE))),
            ("the key is in use", 409, None, Value::Null, Class::Busy { by_copy: true }),
            ("the key is in use: repeat", 409, Some("true"), Value::Null, Class::Busy { by_copy: true }),
            ("the key is used up", 409, Some("false"), Value::Null, Class::Failed),
            (
                "the key was for another body",
                400,
                Some("false"),
                json!({"error": {"type": "idempotency_error"}}),
                Class::Conflict(Conflict::Exists),
            ),
            ("declined", 402, Some("false"), json!({"error": {"code": "card_declined"}}), malformed),
            ("missing", 404, Some("false"), Value::Null, Class::NotFound),
        ] {
            let received = ResponseView {
                status,
                header: &|name| (name == "stripe-should-retry").then_some(should_retry).flatten(),
                error: &body,
                method: CallMethod::Post,
            };
            assert_eq!(classify(&received), expected, "{name}");
        }
    }
}
