//! What a response means, whichever API gave it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::wait::WaitHeader;
use crate::Timestamp;

/// A response as a row reads it.
#[derive(Clone, Copy)]
pub struct ResponseView<'a> {
    /// The status.
    pub status: u16,
    /// The value of a header, by its name in lower case.
    pub header: &'a dyn Fn(&str) -> Option<&'a str>,
    /// The body of a response that is no 2xx, where it is JSON; else `null`.
    pub error: &'a Value,
    /// Which method the call had.
    pub method: super::api::CallMethod,
}

/// What a response means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Class {
    /// It did what was requested.
    Success,
    /// Too many calls: the same call works later.
    Throttled {
        /// What the API said about when, beside its headers.
        wait: Option<Duration>,
    },
    /// The token or the account is blocked for a while. One more call makes it worse.
    Suspended {
        /// What the API said about how long.
        wait: Option<Duration>,
        /// Whether only writes are.
        writes_only: bool,
    },
    /// Another request has what this one requires: it works within seconds, and no limit is reached.
    Busy {
        /// Whether that is a copy of this one with the same key, which may be carried out.
        by_copy: bool,
    },
    /// The API failed: the same call works later.
    Transient,
    /// The API failed, and says that the same call will fail again. Whether it did something is unknown.
    Failed,
    /// The API takes too long for what was requested: a smaller page works.
    TooMuch,
    /// The token is not accepted.
    Unauthorized,
    /// The position that a delta continues is not known any more: everything must be read again.
    PositionLost,
    /// What was requested is not there, or not any more.
    NotFound,
    /// It meets something that is there.
    Conflict(Conflict),
    /// It will never work.
    Refused(Refusal),
}

/// What a write met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// The id is in use.
    Exists,
    /// It has changed since it was read.
    Changed,
}

/// Why a call will never work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The account may not do this: a right or a scope is missing.
    Forbidden,
    /// The API says that the request is malformed, which is a fault of ours or of a setting.
    Malformed,
    /// The API does not support this for what it was requested for.
    Unsupported,
}

impl Class {
    /// Its name in metrics and logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Throttled { .. } => "throttled",
            Self::Suspended { .. } => "suspended",
            Self::Busy { .. } => "busy",
            Self::Transient => "transient",
            Self::Failed => "failed",
            Self::TooMuch => "too_much",
            Self::Unauthorized => "unauthorized",
            Self::PositionLost => "position_lost",
            Self::NotFound => "not_found",
            Self::Conflict(_) => "conflict",
            Self::Refused(_) => "refused",
        }
    }

    /// Whether a write with this response may have been carried out: an error of the API's own does not say that it was
    /// not, and a copy in progress says that it soon is.
    #[must_use]
    pub fn may_be_done(&self) -> bool {
        matches!(
            self,
            Self::Success | Self::Transient | Self::Failed | Self::TooMuch | Self::Busy { by_copy: true }
        )
    }

    /// Its name in metrics: fewer, since each value of a dimension costs money.
    #[must_use]
    pub fn metric_name(&self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Throttled { .. } | Self::Suspended { .. } => "throttled",
            Self::Busy { .. } | Self::Transient | Self::Failed | Self::TooMuch => FAILED,
            Self::Unauthorized => "unauthorized",
            Self::PositionLost | Self::NotFound | Self::Conflict(_) | Self::Refused(_) => "refused",
        }
    }
}

/// The name in metrics of a call that had no response, or one that cannot be read.
pub const FAILED: &str = "failed";

/// What a status means by HTTP alone, which rows fall back to.
#[must_use]
pub fn by_status(status: u16) -> Class {
    match status {
        200..=299 | 304 => Class::Success,
        401 => Class::Unauthorized,
        403 => Class::Refused(Refusal::Forbidden),
        404 | 410 => Class::NotFound,
        409 => Class::Conflict(Conflict::Exists),
        412 => Class::Conflict(Conflict::Changed),
        429 => Class::Throttled { wait: None },
        408 | 425 | 500..=599 => Class::Transient,
        _ => Class::Refused(Refusal::Malformed),
    }
}

impl ResponseView<'_> {
    /// What the status means by HTTP alone.
    #[must_use]
    pub fn by_status(&self) -> Class {
        by_status(self.status)
    }

    /// Whether it is a 2xx.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self.status, 200..=299)
    }

    /// A text of the error at this JSON Pointer.
    #[must_use]
    pub fn text(&self, pointer: &str) -> Option<&str> {
        self.error.pointer(pointer)?.as_str()
    }

    /// The longest wait that its headers ask for.
    #[must_use]
    pub fn wait(&self, waits: &[WaitHeader], now: Timestamp) -> Option<Duration> {
        waits.iter().filter_map(|wait| wait.read((self.header)(wait.name)?, now)).max()
    }
}
