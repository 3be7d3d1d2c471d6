//! Errors as clients see them: RFC 9457 problem details, each with a stable `type`.
//!
//! One of the two mappings from errors to HTTP; the other is the inbound functions', whose
//! answers follow each provider's manner. The types are listed in `docs/problems.md`.

use domain::inbound::verify::Reject;
use http::{Method, StatusCode};
use serde::Serialize;

use crate::Fault;

/// What kinds of problem there are; the word is the end of the `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 400: the request cannot be understood.
    InvalidRequest,
    /// 401: no key, or not one of ours.
    Unauthorized,
    /// 401: an inbound request whose signature does not hold.
    Rejected(Reject),
    /// 403: the key may not do this.
    Forbidden,
    /// 404: there is no such thing for this tenant.
    NotFound,
    /// 405: the path exists, but not with this method.
    MethodNotAllowed,
    /// 409: it exists already.
    AlreadyExists,
    /// 409: the idempotency key was used for another body.
    IdempotencyConflict,
    /// 409: others kept changing the same thing.
    Conflict,
    /// 409: its endpoint is disabled or was deleted.
    EndpointUnavailable,
    /// 409: it has ended already.
    AlreadyFinished,
    /// 409: the endpoint has a replay running.
    ReplayRunning,
    /// 413: more bytes than are taken.
    TooLarge,
    /// 415: the body is not JSON.
    UnsupportedMediaType,
    /// 422: understood, but a field is not acceptable.
    InvalidField,
    /// 422: a limit of the tenant is reached.
    LimitReached,
    /// 429: more of these than may come at once.
    TooManyRequests,
    /// 500: our failure.
    Internal,
}

impl Kind {
    /// Every kind, for the documentation.
    pub const ALL: [Self; 21] = [
        Self::InvalidRequest,
        Self::Unauthorized,
        Self::Rejected(Reject::MissingSignature),
        Self::Rejected(Reject::MalformedSignature),
        Self::Rejected(Reject::WrongSignature),
        Self::Rejected(Reject::StaleTimestamp),
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::AlreadyExists,
        Self::IdempotencyConflict,
        Self::Conflict,
        Self::EndpointUnavailable,
        Self::AlreadyFinished,
        Self::ReplayRunning,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::InvalidField,
        Self::LimitReached,
        Self::TooManyRequests,
        Self::Internal,
    ];

    fn row(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::InvalidRequest => (400, "invalid-request", "The request cannot be understood"),
            Self::Unauthorized => (401, "unauthorized", "A valid API key is needed"),
            Self::Rejected(reject) => (401, reject.as_str(), "The signature does not hold"),
            Self::Forbidden => (403, "forbidden", "The API key may not do this"),
            Self::NotFound => (404, "not-found", "There is no such thing"),
            Self::MethodNotAllowed => (405, "method-not-allowed", "The method is not allowed here"),
            Self::AlreadyExists => (409, "already-exists", "It exists already"),
            Self::IdempotencyConflict => {
                (409, "idempotency-conflict", "The idempotency key was used for something else")
            }
            Self::Conflict => (409, "conflict", "It is being changed by others; try again"),
            Self::EndpointUnavailable => {
                (409, "endpoint-unavailable", "The endpoint is disabled or was deleted")
            }
            Self::AlreadyFinished => (409, "already-finished", "It has ended already"),
            Self::ReplayRunning => (409, "replay-running", "The endpoint has a replay running"),
            Self::TooLarge => (413, "too-large", "The body is too large"),
            Self::UnsupportedMediaType => (415, "unsupported-media-type", "The body must be JSON"),
            Self::InvalidField => (422, "invalid-field", "A field is not acceptable"),
            Self::LimitReached => (422, "limit-reached", "A limit is reached"),
            Self::TooManyRequests => (429, "too-many-requests", "Too many of these at once"),
            Self::Internal => (500, "internal", "Something failed on our side"),
        }
    }

    /// The HTTP status code.
    #[must_use]
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The stable `type`.
    #[must_use]
    pub fn uri(self) -> String {
        format!("urn:core-webhooks:problem:{}", self.row().1)
    }

    /// The `title`.
    #[must_use]
    pub fn title(self) -> &'static str {
        self.row().2
    }
}

/// One error in the body, or in a header or parameter.
#[derive(Debug, Clone, Serialize)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) into the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// The name of the header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// The name of the path or query parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// What is wrong with it.
    pub detail: String,
}

/// A problem, ready to be answered.
#[derive(Debug)]
pub struct Problem {
    /// Which kind.
    pub kind: Kind,
    /// What happened, for a person.
    pub detail: String,
    /// The fields it is about.
    pub errors: Vec<FieldError>,
    /// The methods that are allowed, where another was used.
    pub allow: Vec<Method>,
    /// After how many seconds to come again, where there are too many.
    pub retry_after: Option<u16>,
    /// What really happened, for the log alone.
    pub fault: Option<Fault>,
}

impl Problem {
    /// A problem that is not about one field.
    #[must_use]
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            allow: Vec::new(),
            retry_after: None,
            fault: None,
        }
    }

    /// There is no such thing, or it is another tenant's: both sound the same.
    #[must_use]
    pub fn not_found(what: &str) -> Self {
        Self::new(Kind::NotFound, format!("there is no {what} with this id"))
    }

    /// A field of the body is wrong.
    #[must_use]
    pub fn field(kind: Kind, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let (pointer, detail) = (pointer.into(), detail.into());
        let place = if pointer.is_empty() { "the body" } else { &pointer };
        let mut problem = Self::new(kind, format!("{place}: {detail}"));
        problem.errors.push(FieldError { pointer: Some(pointer), header: None, parameter: None, detail });
        problem
    }

    /// A header is missing or wrong.
    #[must_use]
    pub fn header(kind: Kind, name: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let mut problem = Self::new(kind, format!("header {name}: {detail}"));
        problem.errors.push(FieldError {
            pointer: None,
            header: Some(name.to_owned()),
            parameter: None,
            detail,
        });
        problem
    }

    /// A path or query parameter is wrong.
    #[must_use]
    pub fn parameter(name: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let mut problem = Self::new(Kind::InvalidRequest, format!("parameter {name}: {detail}"));
        problem.errors.push(FieldError {
            pointer: None,
            header: None,
            parameter: Some(name.to_owned()),
            detail,
        });
        problem
    }

    /// The document of RFC 9457. `request_id` is what support can be asked with.
    #[must_use]
    pub fn body(&self, request_id: &str) -> String {
        #[derive(Serialize)]
        struct Body<'a> {
            r#type: String,
            title: &'a str,
            status: u16,
            detail: &'a str,
            #[serde(skip_serializing_if = "<[_]>::is_empty")]
            errors: &'a [FieldError],
            request_id: &'a str,
        }
        let body = Body {
            r#type: self.kind.uri(),
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            detail: &self.detail,
            errors: &self.errors,
            request_id,
        };
        // A struct of strings always serialises.
        serde_json::to_string(&body).unwrap_or_default()
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let mut problem = Self::new(
            Kind::Internal,
            "the request was not carried out, or not to its end; with the same idempotency key it is safe to try again",
        );
        problem.fault = Some(fault);
        problem
    }
}
