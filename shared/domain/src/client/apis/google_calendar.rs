//! Google Calendar, version 3. Source: Google's discovery document `calendar.v3`, and
//! <https://developers.google.com/workspace/calendar/api/guides/errors>.

use std::time::Duration;

use crate::client::{
    api::{Api, Auth, Call, CallGroup, CallMethod, Encoding, IdempotencyKeyPlace},
    class::{Class, Conflict, Refusal, ResponseView},
    wait::{WaitHeader, WaitUnit},
    window::Window,
};

/// The API.
pub const API: Api = Api {
    name: "google-calendar",
    title: "Google Calendar",
    base: "https://www.googleapis.com/calendar/v3",
    auth: Auth::Bearer,
    encoding: Encoding::Json,
    headers: &[],
    // Per user and project since 2026-05-01: 600 in a sliding minute. Half, since the CRM may use the same client for more.
    // Changes of events have a window too, which keeps that a calendar is read-only.
    windows: &[
        Window::calls(300, Duration::from_mins(1), 50),
        Window::calls(300, Duration::from_mins(1), 50).of(CallGroup::Write),
    ],
    waits: &[WaitHeader::new("retry-after", WaitUnit::RetryAfter)],
    classify,
    idempotency: IdempotencyKeyPlace::None,
    response_limit: 16 << 20,
    docs: "https://developers.google.com/workspace/calendar/api/v3/reference",
};

/// Lists the calendars of an account.
pub const LIST_CALENDARS: Call = Call::get("calendarList.list", "/users/me/calendarList").within(7);
/// Lists events, all of them or those that changed.
pub const LIST_EVENTS: Call = Call::get("events.list", "/calendars/{calendar}/events");
/// Reads an event.
pub const GET_EVENT: Call = Call::get("events.get", "/calendars/{calendar}/events/{event}").within(7);
/// Creates an event; repeatable, since its id is ours.
pub const INSERT_EVENT: Call =
    Call::write("events.insert", CallMethod::Post, "/calendars/{calendar}/events").repeatable().within(9);
/// Changes an event; repeatable, since it names the version that it changes.
pub const PATCH_EVENT: Call =
    Call::write("events.patch", CallMethod::Patch, "/calendars/{calendar}/events/{event}")
        .repeatable()
        .within(9);
/// Removes an event.
pub const DELETE_EVENT: Call =
    Call::write("events.delete", CallMethod::Delete, "/calendars/{calendar}/events/{event}").within(9);
/// Opens a channel; not repeatable, since the id of a channel can be used once.
pub const WATCH_EVENTS: Call =
    Call::write("events.watch", CallMethod::Post, "/calendars/{calendar}/events/watch")
        .in_group(CallGroup::General);
/// Closes a channel.
pub const STOP_CHANNEL: Call = Call::write("channels.stop", CallMethod::Post, "/channels/stop")
    .repeatable()
    .in_group(CallGroup::General);

/// For how long writes to a calendar wait that Google made read-only ("Calendar usage limits exceeded"): hours, by its
/// documentation, without a number.
const READ_ONLY: Duration = Duration::from_hours(1);

/// Reads both forms of Google's errors: `error.errors[].reason`, and `error.details[].reason` with `error.status`.
fn classify(received: &ResponseView<'_>) -> Class {
    if received.is_success() {
        return Class::Success;
    }
    let reason = received.text("/error/errors/0/reason").or_else(|| {
        let details = received.error.pointer("/error/details")?.as_array()?;
        details.iter().find_map(|detail| detail.get("reason")?.as_str())
    });
    match (received.status, reason.unwrap_or_default()) {
        // Also as 403 with `PERMISSION_DENIED`, which is no matter of rights.
        (_, "rateLimitExceeded" | "userRateLimitExceeded" | "RATE_LIMIT_EXCEEDED") => {
            Class::Throttled { wait: None }
        }
        (403, "quotaExceeded") => Class::Suspended { wait: Some(READ_ONLY), writes_only: true },
        (403, "dailyLimitExceeded") => Class::Suspended { wait: None, writes_only: false },
        (400, "pushNotSupportedForRequestedResource") => Class::Refused(Refusal::Unsupported),
        (400, "channelIdNotUnique") => Class::Conflict(Conflict::Exists),
        // `deleted` is the third meaning of 410: it comes from a delete.
        (410, "fullSyncRequired" | "updatedMinTooLongAgo") => Class::PositionLost,
        (_, "backendError") => Class::Transient,
        // Only an insert has an id that can be in use. Another one met a change at the same time.
        (409, _) if received.method != CallMethod::Post => Class::Transient,
        _ => received.by_status(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn old(code: u16, reason: &str) -> Value {
        json!({"error": {"code": code, "message": "…", "errors": [{"domain": "x", "reason": reason}]}})
    }

    #[test]
    fn each_response_has_its_class() {
        let denied = json!({"error": {"code": 403, "status": "PERMISSION_DENIED", "errors": [
            {"domain": "usageLimits", "reason": "rateLimitExceeded"}]}});
        let detailed = json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": [
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "RATE_LIMIT_EXCEEDED"}]}});
        let throttled = Class::Throttled { wait: None };
        let forbidden = Class::Refused(Refusal::Forbidden);
        for (name, status, body, expected) in [
            ("success", 200, Value::Null, Class::Success),
            ("removed", 204, Value::Null, Class::Success),
            ("G12: a limit as a matter of rights", 403, denied, throttled.clone()),
            ("a user's limit", 403, old(403, "userRateLimitExceeded"), throttled.clone()),
            ("429", 429, Value::Null, throttled.clone()),
            ("429 in the new form", 429, detailed, throttled),
            (
                "G13: read-only",
                403,
                old(403, "quotaExceeded"),
                Class::Suspended { wait: Some(READ_ONLY), writes_only: true },
            ),
            (
                "the project's day",
                403,
                old(403, "dailyLimitExceeded"),
                Class::Suspended { wait: None, writes_only: false },
            ),
            ("forbidden", 403, old(403, "forbidden"), forbidden.clone()),
            ("not the organizer", 403, old(403, "forbiddenForNonOrganizer"), forbidden.clone()),
            ("missing scope", 403, old(403, "insufficientPermissions"), forbidden),
            ("token", 401, old(401, "authError"), Class::Unauthorized),
            ("G1: the token of a delta", 410, old(410, "fullSyncRequired"), Class::PositionLost),
            ("too long ago", 410, old(410, "updatedMinTooLongAgo"), Class::PositionLost),
            ("removed before", 410, old(410, "deleted"), Class::NotFound),
            ("no calendar", 404, old(404, "notFound"), Class::NotFound),
            ("the id is in use", 409, old(409, "duplicate"), Class::Conflict(Conflict::Exists)),
            ("changed since", 412, old(412, "conditionNotMet"), Class::Conflict(Conflict::Changed)),
            (
                "G7: no push",
                400,
                old(400, "pushNotSupportedForRequestedResource"),
                Class::Refused(Refusal::Unsupported),
            ),
            (
                "G14: token and timeMin",
                400,
                old(400, "syncTokenWithRequestRestrictions"),
                Class::Refused(Refusal::Malformed),
            ),
            ("failure", 503, old(503, "backendError"), Class::Transient),
            ("failure without a body", 500, Value::Null, Class::Transient),
            (
                "errors that are no list",
                403,
                json!({"error": {"errors": 3, "details": "x"}}),
                Class::Refused(Refusal::Forbidden),
            ),
        ] {
            let received = ResponseView { status, header: &|_| None, error: &body, method: CallMethod::Post };
            assert_eq!(classify(&received), expected, "{name}");
        }
        for method in [CallMethod::Patch, CallMethod::Delete] {
            let body = old(409, "conflict");
            let received = ResponseView { status: 409, header: &|_| None, error: &body, method };
            assert_eq!(classify(&received), Class::Transient, "{method:?}");
        }
    }
}
