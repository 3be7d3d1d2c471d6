//! Attempts as their delivery's item keeps them: short, since every byte is paid for on each later
//! attempt, and a delivery that succeeds at once is to take one write unit.
//!
//! An attempt is one attribute, with an excerpt that takes 512 bytes at most. The longer excerpt of the
//! last attempt is an attribute of its own, which the next attempt removes without reading it.

use std::collections::BTreeMap;

use domain::{
    Timestamp,
    delivery::{
        self, Attempt, Failure,
        attempt::{EARLIER_EXCERPT_LIMIT, Timing, fitting},
    },
};
use serde::Serialize;

use crate::Fault;

/// What is stored of an [`Attempt`], under the same names: empty fields are left out, and its
/// error text follows from the rest.
#[derive(Serialize)]
struct StoredAttempt<'a> {
    number: u32,
    started_at: Timestamp,
    duration_ms: u32,
    /// Most are, so only `false` is stored.
    #[serde(skip_serializing_if = "Clone::clone")]
    sent: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    timing: Option<StoredTiming>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_headers: Option<&'a BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_excerpt: Option<&'a str>,
}

#[derive(Serialize)]
struct StoredTiming {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    reused: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    dns_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connect_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_byte_ms: Option<u32>,
}

impl From<Timing> for StoredTiming {
    fn from(Timing { reused, dns_ms, connect_ms, tls_ms, first_byte_ms }: Timing) -> Self {
        Self { reused, dns_ms, connect_ms, tls_ms, first_byte_ms }
    }
}

/// The text of an attempt, and its excerpt where that is longer than the text has it.
pub(crate) fn write(attempt: &Attempt) -> Result<(String, Option<&str>), Fault> {
    let whole = attempt.response_excerpt.as_deref();
    let short = whole.map(|text| fitting(text, EARLIER_EXCERPT_LIMIT));
    let stored = StoredAttempt {
        number: attempt.number,
        started_at: attempt.started_at,
        duration_ms: attempt.duration_ms,
        sent: attempt.sent,
        timing: attempt.timing.map(StoredTiming::from),
        status_code: attempt.status_code,
        failure: attempt.failure,
        response_headers: Some(&attempt.response_headers).filter(|headers| !headers.is_empty()),
        response_excerpt: short,
    };
    let text = serde_json::to_string(&stored).map_err(Fault::on("recording attempts"))?;
    Ok((text, whole.filter(|_| short != whole)))
}

/// Reads what was written, with the long excerpt where it is this attempt's.
pub(crate) fn read(text: &str, excerpt: Option<&str>) -> Result<Attempt, Fault> {
    let mut attempt: Attempt = serde_json::from_str(text).map_err(Fault::on("reading an attempt"))?;
    attempt.error = delivery::in_words(attempt.status_code, attempt.failure, attempt.sent);
    if let Some(excerpt) = excerpt {
        attempt.response_excerpt = Some(excerpt.to_owned());
    }
    Ok(attempt)
}

#[cfg(test)]
mod tests;
