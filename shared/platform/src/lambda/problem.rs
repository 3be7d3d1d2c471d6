//! Errors as clients see them: RFC 9457 problem details, each with a stable `type`.
//!
//! One of the two mappings from errors to HTTP; the other is that of the inbound functions, whose
//! responses are those that each provider expects. The types are listed in `docs/problems.md`.

use domain::inbound::engine::Reject;
use http::{Method, StatusCode};
use serde::Serialize;
use strum::{EnumIter, IntoEnumIterator, IntoStaticStr, VariantArray};

use crate::Fault;

/// The kinds of problem. The name in kebab-case is the end of the `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum Kind {
    /// 400: the request is malformed.
    InvalidRequest,
    /// 401: the API key is missing or unknown.
    Unauthorized,
    /// 401: an inbound request with an invalid signature; the reason is the end of the `type`.
    #[strum(disabled)]
    Rejected(Reject),
    /// 403: the API key lacks the scope, or belongs to another tenant.
    Forbidden,
    /// 403: the tenant is suspended.
    TenantSuspended,
    /// 404: the path, or the object of this tenant, does not exist.
    NotFound,
    /// 405: the path exists, but not with this method.
    MethodNotAllowed,
    /// 409: the object already exists.
    AlreadyExists,
    /// 409: the idempotency key was used for another body.
    IdempotencyConflict,
    /// 409: other requests kept changing the same object.
    Conflict,
    /// 409: the endpoint is disabled or was deleted.
    EndpointUnavailable,
    /// 409: the delivery or replay has finished.
    AlreadyFinished,
    /// 409: the endpoint has a replay running.
    ReplayRunning,
    /// 409: the inbound request was refused, or its source was deleted.
    NotReplayable,
    /// 409: no request of the source's sender can be signed here.
    Unsignable,
    /// 409: only the person can give another grant.
    ConnectionReauthorize,
    /// 409: the connection waits for its confirmation.
    ConnectionPending,
    /// 409: the connection was ended.
    ConnectionRevoked,
    /// 409: the connection lacks scopes that the caller requires.
    MissingScopes,
    /// 409: what the path names has nothing of this kind.
    NotSupported,
    /// 412: the object is not as the client read it.
    PreconditionFailed,
    /// 413: the body exceeds a limit.
    TooLarge,
    /// 415: the body is not JSON.
    UnsupportedMediaType,
    /// 422: a field of the body is invalid.
    InvalidField,
    /// 422: a limit of the tenant is reached.
    LimitReached,
    /// 422: a third party refuses what was requested of it.
    ThirdPartyRefused,
    /// 429: too many of these requests at once.
    TooManyRequests,
    /// 500: a failure on our side.
    Internal,
    /// 502: a third party was called, and whether it did what was requested is unknown.
    EffectUnknown,
    /// 503: the identity provider gives no token at the moment.
    IdpUnavailable,
    /// 503: a third party does not respond as it should.
    ThirdPartyUnavailable,
}

impl Kind {
    /// Every kind, for the documentation.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::iter().chain(Reject::VARIANTS.iter().copied().map(Self::Rejected))
    }

    /// The HTTP status code.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::InvalidRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized | Self::Rejected(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden | Self::TenantSuspended => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::AlreadyExists
            | Self::IdempotencyConflict
            | Self::Conflict
            | Self::EndpointUnavailable
            | Self::AlreadyFinished
            | Self::ReplayRunning
            | Self::NotReplayable
            | Self::Unsignable
            | Self::ConnectionReauthorize
            | Self::ConnectionPending
            | Self::ConnectionRevoked
            | Self::MissingScopes
            | Self::NotSupported => StatusCode::CONFLICT,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::InvalidField | Self::LimitReached | Self::ThirdPartyRefused => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::EffectUnknown => StatusCode::BAD_GATEWAY,
            Self::IdpUnavailable | Self::ThirdPartyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The stable `type`.
    #[must_use]
    pub fn uri(self) -> String {
        let word = match self {
            Self::Rejected(reject) => reject.as_str(),
            kind => kind.into(),
        };
        format!("urn:core-webhooks:problem:{word}")
    }

    /// The `title`.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::InvalidRequest => "Invalid request",
            Self::Unauthorized => "Invalid API key",
            Self::Rejected(_) => "Invalid signature",
            Self::Forbidden => "Forbidden",
            Self::TenantSuspended => "Tenant suspended",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "Method not allowed",
            Self::AlreadyExists => "Already exists",
            Self::IdempotencyConflict => "Idempotency key already used",
            Self::Conflict => "Conflicting update; retry",
            Self::EndpointUnavailable => "Endpoint disabled or deleted",
            Self::AlreadyFinished => "Already finished",
            Self::ReplayRunning => "Replay already running",
            Self::NotReplayable => "Inbound request not replayable",
            Self::Unsignable => "Request cannot be signed",
            Self::ConnectionReauthorize => "Connection must be granted again",
            Self::ConnectionPending => "Connection not confirmed yet",
            Self::ConnectionRevoked => "Connection ended",
            Self::MissingScopes => "Scopes not granted",
            Self::NotSupported => "Not supported",
            Self::PreconditionFailed => "Precondition failed",
            Self::TooLarge => "Body too large",
            Self::UnsupportedMediaType => "Unsupported media type",
            Self::InvalidField => "Invalid field",
            Self::LimitReached => "Limit reached",
            Self::ThirdPartyRefused => "Refused by a third party",
            Self::TooManyRequests => "Too many requests",
            Self::Internal => "Internal error",
            Self::EffectUnknown => "Effect unknown",
            Self::IdpUnavailable => "Identity provider unavailable",
            Self::ThirdPartyUnavailable => "Third party unavailable",
        }
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

/// A problem, ready to be sent.
#[derive(Debug)]
pub struct Problem {
    /// Which kind.
    pub kind: Kind,
    /// What happened, in words.
    pub detail: String,
    /// The invalid parts of the request.
    pub errors: Vec<FieldError>,
    /// The methods that are allowed, where another was used.
    pub allow: Vec<Method>,
    /// After how many seconds to retry, where that is known.
    pub retry_after: Option<u16>,
    /// The cause, for the log alone.
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

    /// The object does not exist, or is another tenant's: the response is the same, so that it reveals nothing.
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

    /// The document of RFC 9457. `request_id` finds the request in the log.
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
            "the request failed on our side, and may have been carried out in part; retry it with the same idempotency key",
        );
        problem.fault = Some(fault);
        problem
    }
}
