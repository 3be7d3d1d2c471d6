//! Brevo, version 3. Source: <https://developers.brevo.com/reference>, and Brevo's own client for Node 6.0.

use std::time::Duration;

use crate::client::{
    api::{Api, Auth, Call, CallGroup, CallMethod, Encoding, IdempotencyKeyPlace},
    class::{Class, Conflict, ResponseView},
    integration::{
        CallRow, ErrorPointers, Integration, Parameter,
        ParameterType::{Boolean, Integer, List, Object, Text},
    },
    wait::{WaitHeader, WaitUnit},
    window::Window,
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);

const MAIL: CallGroup = CallGroup::Named("mail");
const CONTACTS: CallGroup = CallGroup::Named("contacts");
const SMTP: CallGroup = CallGroup::Named("smtp");

/// The API. Each group of calls has limits of its own, those of an account without a paid plan. In any span a window lets
/// its permits and its burst through, which together are what is documented at most.
pub const API: Api = Api {
    name: "brevo",
    title: "Brevo",
    base: "https://api.brevo.com/v3",
    auth: Auth::Header("api-key"),
    encoding: Encoding::Json,
    headers: &[],
    windows: &[
        Window::calls(900, SECOND, 100).of(MAIL),
        Window::calls(8, SECOND, 2).of(CONTACTS),
        Window::calls(32_000, HOUR, 4000).of(CONTACTS),
        Window::calls(270, HOUR, 30).of(SMTP),
        // Everything else: 100 an hour.
        Window::calls(80, HOUR, 20).of(CallGroup::General),
    ],
    waits: &[
        WaitHeader::new("x-sib-ratelimit-reset", WaitUnit::Seconds),
        WaitHeader::new("retry-after", WaitUnit::RetryAfter),
    ],
    classify,
    idempotency: IdempotencyKeyPlace::Body("/headers/idempotencyKey"),
    response_limit: 1 << 20,
    docs: "https://developers.brevo.com/reference",
};

/// What a CRM can call.
pub const INTEGRATION: Integration = Integration {
    api: &API,
    calls: CALLS,
    version_header: None,
    // Documented as 15 minutes, and as 30.
    keys_kept: Duration::from_mins(14),
    errors: ErrorPointers { codes: &["/code"], message: "/message", parameter: None },
};

/// A second copy must still fit into the time of a request, after a pause.
const TIMEOUT_SECS: u64 = 9;

const fn call(name: &'static str, method: CallMethod, path: &'static str, group: CallGroup) -> Call {
    Call::write(name, method, path).in_group(group).within(TIMEOUT_SECS)
}

const fn text(name: &'static str) -> Parameter {
    Parameter::body(name, Text)
}

const IDENTIFIER: Parameter = Parameter::path("identifier");
const IDENTIFIER_TYPE: Parameter = Parameter::query("identifierType", Text);

const CALLS: &[CallRow] = &[
    CallRow::new(
        call("smtp.send", CallMethod::Post, "/smtp/email", MAIL).keyed(),
        "Send a mail, by a template or with a text of its own.",
        &[
            Parameter::body("to", List).required(),
            Parameter::body("templateId", Integer),
            Parameter::body("params", Object),
            Parameter::body("sender", Object),
            Parameter::body("replyTo", Object),
            Parameter::body("cc", List),
            Parameter::body("bcc", List),
            text("subject"),
            text("htmlContent"),
            text("textContent"),
            text("scheduledAt"),
            Parameter::body("attachment", List),
            Parameter::body("headers", Object),
            Parameter::body("tags", List),
        ],
    ),
    // Repeatable, since a contact that exists is updated.
    CallRow::new(
        call("contacts.upsert", CallMethod::Post, "/contacts", CONTACTS).repeatable(),
        "Create a contact, or update the one with this address or `ext_id`.",
        &[
            text("email"),
            text("ext_id"),
            Parameter::body("attributes", Object),
            Parameter::body("listIds", List),
            Parameter::body("emailBlacklisted", Boolean),
            Parameter::body("smsBlacklisted", Boolean),
        ],
    )
    .fixing(&[("updateEnabled", true)]),
    CallRow::new(
        Call::get("contacts.get", "/contacts/{identifier}").in_group(CONTACTS).within(TIMEOUT_SECS),
        "Read a contact by its address, its id or its `ext_id`.",
        &[IDENTIFIER, IDENTIFIER_TYPE],
    ),
    CallRow::new(
        call("contacts.update", CallMethod::Put, "/contacts/{identifier}", CONTACTS),
        "Change a contact.",
        &[
            IDENTIFIER,
            IDENTIFIER_TYPE,
            text("ext_id"),
            Parameter::body("attributes", Object),
            Parameter::body("listIds", List),
            Parameter::body("unlinkListIds", List),
            Parameter::body("emailBlacklisted", Boolean),
            Parameter::body("smsBlacklisted", Boolean),
        ],
    ),
    CallRow::new(
        call("contacts.suppress", CallMethod::Put, "/contacts/{identifier}", CONTACTS),
        "Unsubscribe a contact from all mails.",
        &[IDENTIFIER, IDENTIFIER_TYPE],
    )
    .fixing(&[("emailBlacklisted", true)]),
    CallRow::new(
        Call::get("suppressions.list", "/smtp/blockedContacts").in_group(SMTP).within(TIMEOUT_SECS),
        "List the addresses that get no transactional mail, with the reasons.",
        &[
            Parameter::query("startDate", Text),
            Parameter::query("endDate", Text),
            Parameter::query("limit", Integer),
            Parameter::query("offset", Integer),
            Parameter::query("sort", Text),
        ],
    ),
    CallRow::new(
        call("suppressions.delete", CallMethod::Delete, "/smtp/blockedContacts/{email}", SMTP),
        "Let an address get transactional mail again.",
        &[Parameter::path("email")],
    ),
    CallRow::new(
        call("webhooks.create", CallMethod::Post, "/webhooks", CallGroup::General),
        "Create a webhook, such as one that sends to a source.",
        &[
            text("url").required(),
            Parameter::body("events", List).required(),
            text("type"),
            text("description"),
            text("channel"),
            Parameter::body("auth", Object),
            Parameter::body("headers", List),
            Parameter::body("batched", Boolean),
        ],
    ),
    CallRow::new(
        Call::get("webhooks.list", "/webhooks").within(TIMEOUT_SECS),
        "List webhooks.",
        &[Parameter::query("type", Text), Parameter::query("sort", Text)],
    ),
    CallRow::new(
        call("webhooks.delete", CallMethod::Delete, "/webhooks/{id}", CallGroup::General),
        "Delete a webhook.",
        &[Parameter::path("id")],
    ),
];

fn classify(received: &ResponseView<'_>) -> Class {
    match (received.status, received.text("/code")) {
        (400, Some("duplicate_parameter")) => Class::Conflict(Conflict::Exists),
        _ => received.by_status(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        Timestamp,
        client::{Meter, Refusal},
    };

    #[test]
    fn each_response_has_its_class() {
        let malformed = Class::Refused(Refusal::Malformed);
        for (name, status, body, expected) in [
            ("created", 201, Value::Null, Class::Success),
            ("updated", 204, Value::Null, Class::Success),
            ("B1: rate", 429, json!({"code": "too_many_requests"}), Class::Throttled { wait: None }),
            ("B4: in use", 400, json!({"code": "duplicate_parameter"}), Class::Conflict(Conflict::Exists)),
            ("malformed", 400, json!({"code": "invalid_parameter"}), malformed.clone()),
            ("no credits", 402, json!({"code": "not_enough_credits"}), malformed),
            ("key", 401, json!({"code": "unauthorized"}), Class::Unauthorized),
            ("missing", 404, json!({"code": "document_not_found"}), Class::NotFound),
            ("failure", 500, Value::Null, Class::Transient),
        ] {
            let received = ResponseView { status, header: &|_| None, error: &body, method: CallMethod::Post };
            assert_eq!(classify(&received), expected, "{name}");
        }
    }

    #[test]
    fn no_limit_is_passed_and_each_group_has_its_own() {
        let now = Timestamp::from_millis(1_790_000_000_000);
        let mut meter = Meter::default();
        // B2: a burst of 20 of 100 an hour; the rest is spread over it.
        let general = (0..150).filter(|_| meter.charge_call(API.windows, CallGroup::General, now).is_ok());
        assert_eq!(general.count(), 20);
        let wait = meter.charge_call(API.windows, CallGroup::General, now).unwrap_err();
        assert_eq!(wait, Duration::from_secs(45));
        assert_eq!(meter.charge_call(API.windows, MAIL, now), Ok(()));
        assert_eq!(meter.charge_call(API.windows, CONTACTS, now), Ok(()));
        assert_eq!(meter.charge_call(API.windows, SMTP, now), Ok(()));
    }

    #[test]
    fn it_waits_as_long_as_brevo_says() {
        let reset = |name: &str| (name == "x-sib-ratelimit-reset").then_some("3");
        let received =
            ResponseView { status: 429, header: &reset, error: &Value::Null, method: CallMethod::Get };
        assert_eq!(received.wait(API.waits, Timestamp::EPOCH), Some(Duration::from_secs(3)), "B1");
    }
}
