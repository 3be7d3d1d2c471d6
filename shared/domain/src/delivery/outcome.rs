//! The outcome of one HTTP request: a response or a failure.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why an attempt did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The endpoint responded, but not with 2xx.
    HttpStatus,
    /// The host's name was not found.
    Dns,
    /// No connection to the host.
    Connect,
    /// The host's certificate or TLS was invalid.
    Tls,
    /// No complete response within the timeout.
    Timeout,
    /// The connection broke, or what came was not HTTP.
    Protocol,
    /// The endpoint responded with 2xx, but the response's body broke off or had not ended when the
    /// timeout ended: a receiver that died while it responded may not have kept the webhook.
    Body,
    /// The address may not be called.
    BlockedAddress,
}

impl Failure {
    /// Every failure.
    pub const ALL: [Self; 8] = [
        Self::HttpStatus,
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::Protocol,
        Self::Body,
        Self::BlockedAddress,
    ];

    /// Its identifier, as responses have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HttpStatus => "http_status",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::Body => "body",
            Self::BlockedAddress => "blocked_address",
        }
    }
}

/// The text is not the identifier of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidFailure;

impl FromStr for Failure {
    type Err = InvalidFailure;

    fn from_str(text: &str) -> Result<Self, InvalidFailure> {
        Self::ALL.into_iter().find(|failure| failure.as_str() == text).ok_or(InvalidFailure)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HttpStatus => "the endpoint did not respond with 2xx",
            Self::Dns => "the host name could not be resolved",
            Self::Connect => "no connection could be made to the host",
            Self::Tls => "the TLS handshake failed; check the certificate and its chain",
            Self::Timeout => "the endpoint did not respond in time",
            Self::Protocol => "the connection broke before a complete HTTP response arrived",
            Self::Body => {
                "the endpoint's response began with 2xx, but its body broke off or did not end in time"
            }
            Self::BlockedAddress => "the host resolves to an address that may not be called",
        })
    }
}

/// The outcome of one HTTP request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The endpoint responded.
    Response {
        /// HTTP status code.
        status: u16,
        /// The `Retry-After` header, if there was one.
        retry_after: Option<String>,
        /// The beginning of the body, at most [`EXCERPT_LIMIT`](super::attempt::EXCERPT_LIMIT) bytes.
        excerpt: String,
    },
    /// It did not.
    Failed(Failure),
}

impl Outcome {
    /// Whether the webhook counts as received.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Response { status: 200..=299, .. })
    }

    /// Whether the endpoint is gone for good: 410.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Response { status: 410, .. })
    }

    /// Whether the endpoint works, but accepts no more for a while: 429 (RFC 6585, section 4).
    #[must_use]
    pub fn is_too_many(&self) -> bool {
        matches!(self, Self::Response { status: 429, .. })
    }

    /// Whether the endpoint, or a proxy before it, has too much to do: 429, 502, 504
    /// (Standard Webhooks 1.0.0 names these for throttling), or any response that says when to come
    /// again.
    #[must_use]
    pub fn is_throttle(&self) -> bool {
        match self {
            Self::Response { status: 429 | 502 | 504, .. } => true,
            Self::Response { status: 503, retry_after, .. } => retry_after.is_some(),
            _ => false,
        }
    }
}

/// What went wrong, in words, and whether the receiver can have the webhook.
#[must_use]
pub fn in_words(status_code: Option<u16>, failure: Option<Failure>, sent: bool) -> Option<String> {
    failure.map(|failure| match status_code {
        Some(status @ 300..=399) => {
            format!("the endpoint responded with {status}; redirects are not followed")
        }
        Some(status) => format!("the endpoint responded with {status}"),
        None if !sent => format!("{failure}; the request was never sent"),
        None => failure.to_string(),
    })
}
