//! What went wrong with a call.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::StatusCode;

use super::retry::RetryKind;

/// Why a call has no result.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The service was not reached, so nothing was done.
    NotSent(String),
    /// There is no complete response: it may have been carried out.
    NoResponse(String),
    /// The service responded with success, and with a body that cannot be read.
    Malformed(String),
    /// The service responded with an error.
    Refused(ErrorResponse),
}

/// An error as a service reports it.
#[derive(Debug)]
pub(crate) struct ErrorResponse {
    service: &'static str,
    pub(super) status: StatusCode,
    /// The name of the error, without its namespace.
    pub(crate) code: String,
    pub(super) message: String,
    /// The whole body.
    pub(crate) body: Bytes,
    /// How long the service asks to wait.
    pub(super) retry_after: Option<Duration>,
}

impl CallError {
    /// Whether the call may have been carried out.
    pub(crate) fn may_have_effect(&self) -> bool {
        match self {
            Self::NotSent(_) => false,
            Self::NoResponse(_) | Self::Malformed(_) => true,
            Self::Refused(response) => response.status.is_server_error(),
        }
    }

    /// The error that the service reports under this code.
    pub(crate) fn with_code(&self, code: &str) -> Option<&ErrorResponse> {
        match self {
            Self::Refused(response) if response.code == code => Some(response),
            _ => None,
        }
    }

    /// Whether the same call may succeed later.
    pub(crate) fn is_temporary(&self) -> bool {
        matches!(self, Self::Malformed(_)) || RetryKind::of(self).is_some()
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent(why) => write!(f, "the request was not sent: {why}"),
            Self::NoResponse(why) => write!(f, "no response: {why}"),
            Self::Malformed(why) => write!(f, "the response is malformed: {why}"),
            Self::Refused(ErrorResponse { service, status, code, message, .. }) => {
                write!(f, "{service} responded with {}, {code}", status.as_u16())?;
                // Of a wrong signature, the message has what was signed: the session token, too.
                if code.contains("Signature") || message.is_empty() {
                    Ok(())
                } else {
                    write!(f, ": {message}")
                }
            }
        }
    }
}

impl std::error::Error for CallError {}

impl ErrorResponse {
    pub(super) fn read(service: &'static str, parts: &http::response::Parts, body: Bytes) -> Self {
        let fields: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let text = |name: &str| fields[name].as_str();
        let code = text("__type").map_or("", error_code);
        let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let code = if code.is_empty() { header("x-amzn-errortype").map_or("", error_code) } else { code };
        let retry_after = header("x-amz-retry-after").and_then(|millis| millis.parse().ok());
        Self {
            service,
            status: parts.status,
            code: code.to_owned(),
            message: text("message").or_else(|| text("Message")).unwrap_or_default().to_owned(),
            retry_after: retry_after.map(Duration::from_millis),
            body,
        }
    }
}

/// The name of an error, of which services write `namespace#Name:uri`.
pub(super) fn error_code(kind: &str) -> &str {
    let name = kind.rsplit('#').next().unwrap_or_default();
    name.split(':').next().unwrap_or_default()
}
