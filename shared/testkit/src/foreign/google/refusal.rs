//! Errors as Google sends them, and those that a test orders.

use std::time::Duration;

use serde_json::{Value, json};

/// A response that is an error.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) body: Value,
}

/// An error in Google's envelope. `place` is the parameter or header that it is about.
pub(super) fn refusal(status: u16, reason: &str, message: &str, place: Option<&str>) -> Refusal {
    let domain = match reason {
        _ if reason.ends_with("LimitExceeded") || reason == "quotaExceeded" => "usageLimits",
        "fullSyncRequired"
        | "updatedMinTooLongAgo"
        | "forbiddenForNonOrganizer"
        | "requiredAccessLevel"
        | "timeRangeEmpty"
        | "notACalendarUser" => "calendar",
        _ => "global",
    };
    let mut error = json!({ "domain": domain, "reason": reason, "message": message });
    if let Some(place) = place {
        error["location"] = json!(place);
        let is_header = ["Authorization", "If-Match"].contains(&place);
        error["locationType"] = json!(if is_header { "header" } else { "parameter" });
    }
    let mut body = json!({ "error": { "code": status, "message": message, "errors": [error] } });
    let spelled = match status {
        401 => Some("UNAUTHENTICATED"),
        // Google says so of throttled calls too.
        403 => Some("PERMISSION_DENIED"),
        429 => Some("RESOURCE_EXHAUSTED"),
        _ => None,
    };
    if let Some(spelled) = spelled {
        body["error"]["status"] = json!(spelled);
    }
    Refusal { status, body }
}

pub(super) fn unauthorized() -> Refusal {
    refusal(401, "authError", "Invalid Credentials", Some("Authorization"))
}

pub(super) fn not_found() -> Refusal {
    refusal(404, "notFound", "Not Found", None)
}

pub(super) fn invalid(message: &str, place: &str) -> Refusal {
    refusal(400, "invalid", message, Some(place))
}

/// A failure that the next calls meet.
#[derive(Debug, Clone)]
pub struct Failure {
    pub(super) method: String,
    pub(super) calendar: Option<String>,
    pub(super) account: Option<String>,
    pub(super) times: u32,
    pub(super) skips: u32,
    pub(super) kind: FailureKind,
    pub(super) latency: Duration,
}

/// How a call fails.
#[derive(Debug, Clone)]
pub(super) enum FailureKind {
    /// Only the latency.
    Slow,
    /// An error in place of the work.
    Error { status: u16, reason: String },
    /// A body that is not Google's.
    Raw { status: u16, body: String },
    /// The connection is cut, before the work or after it.
    Cut { done: bool },
}

impl Failure {
    fn new(method: &str, kind: FailureKind) -> Self {
        let method = method.to_owned();
        Self { method, calendar: None, account: None, times: 1, skips: 0, kind, latency: Duration::ZERO }
    }

    /// The next call of this method, such as `events.list`, or of any for `*`, fails with a status and one of Google's
    /// reasons.
    pub fn error(method: &str, status: u16, reason: &str) -> Self {
        Self::new(method, FailureKind::Error { status, reason: reason.to_owned() })
    }

    /// It fails with a body that is not in Google's envelope, as a load balancer sends it.
    pub fn raw(method: &str, status: u16, body: &str) -> Self {
        Self::new(method, FailureKind::Raw { status, body: body.to_owned() })
    }

    /// The connection is cut, and nothing is done.
    pub fn cut(method: &str) -> Self {
        Self::new(method, FailureKind::Cut { done: false })
    }

    /// The work is done, and the response is lost.
    pub fn lost_response(method: &str) -> Self {
        Self::new(method, FailureKind::Cut { done: true })
    }

    /// It takes this long, and succeeds.
    pub fn slow(method: &str, latency: Duration) -> Self {
        Self::new(method, FailureKind::Slow).after(latency)
    }

    /// So many calls meet it.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }

    /// So many calls succeed first.
    #[must_use]
    pub fn skipping(self, skips: u32) -> Self {
        Self { skips, ..self }
    }

    /// Only calls about this calendar.
    #[must_use]
    pub fn of_calendar(self, calendar: &str) -> Self {
        Self { calendar: Some(calendar.to_owned()), ..self }
    }

    /// Only calls of this account.
    #[must_use]
    pub fn of_account(self, account: &str) -> Self {
        Self { account: Some(account.to_owned()), ..self }
    }

    /// It takes this long first.
    #[must_use]
    pub fn after(self, latency: Duration) -> Self {
        Self { latency, ..self }
    }
}
