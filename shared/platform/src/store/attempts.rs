//! Attempts as their delivery's item keeps them: short, since every byte is paid for on each later
//! attempt, and a delivery that succeeds at once is to take one write unit.
//!
//! An attempt is one attribute, with an excerpt that takes 512 bytes at most. The longer excerpt of the
//! last attempt is an attribute of its own, which the next attempt takes away without knowing it.

use std::collections::BTreeMap;

use domain::{
    Timestamp,
    attempt::{EARLIER_EXCERPT_LIMIT, Timing, fitting},
    delivery::{self, Attempt, Failure},
};
use serde::Serialize;

use crate::Fault;

/// What is stored of an [`Attempt`], under the same names: what says nothing is left out, and its
/// error in words follows from the rest.
#[derive(Serialize)]
struct Stored<'a> {
    n: u32,
    at: Timestamp,
    duration_ms: u32,
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
pub(super) fn write(attempt: &Attempt) -> Result<(String, Option<&str>), Fault> {
    let whole = attempt.response_excerpt.as_deref();
    let short = whole.map(|text| fitting(text, EARLIER_EXCERPT_LIMIT));
    let stored = Stored {
        n: attempt.n,
        at: attempt.at,
        duration_ms: attempt.duration_ms,
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
pub(super) fn read(text: &str, excerpt: Option<&str>) -> Result<Attempt, Fault> {
    let mut attempt: Attempt = serde_json::from_str(text).map_err(Fault::on("reading an attempt"))?;
    attempt.error = delivery::in_words(attempt.status_code, attempt.failure);
    if let Some(excerpt) = excerpt {
        attempt.response_excerpt = Some(excerpt.to_owned());
    }
    Ok(attempt)
}

#[cfg(test)]
mod tests {
    use domain::{
        attempt::{EXCERPT_LIMIT, Told, kept_headers},
        delivery::Outcome,
    };

    use super::*;

    fn answered(status: u16, body: &str, headers: &[(&str, &str)]) -> Attempt {
        let outcome = Outcome::Answered { status, retry_after: None, excerpt: body.to_owned() };
        let value = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, v)| v.as_bytes());
        let timing = Timing {
            dns_ms: Some(12),
            connect_ms: Some(34),
            tls_ms: Some(56),
            first_byte_ms: Some(789),
            reused: false,
        };
        Attempt::new(3, Timestamp::from_secs(1_800_000_000), 1234, &outcome)
            .telling(Told { timing, headers: kept_headers(status, value) })
    }

    #[test]
    fn what_is_written_is_read() {
        let long = "é".repeat(EXCERPT_LIMIT / 2);
        let failed = Attempt::new(1, Timestamp::EPOCH, 1, &Outcome::Failed(Failure::Timeout));
        for attempt in [
            answered(200, "ok", &[("server", "s")]),
            answered(302, "", &[("location", "/a")]),
            answered(500, &long, &[]),
            failed,
        ] {
            let (text, excerpt) = write(&attempt).unwrap();
            assert!(!text.contains("null"), "{text}");
            assert_eq!(read(&text, excerpt).unwrap(), attempt);
        }
    }

    #[test]
    fn an_earlier_attempt_keeps_the_beginning_of_its_excerpt() {
        let attempt = answered(500, &format!("x{}", "é".repeat(1000)), &[]);
        let (text, excerpt) = write(&attempt).unwrap();
        assert_eq!(excerpt.unwrap().len(), 2001);
        let kept = read(&text, None).unwrap().response_excerpt.unwrap();
        assert_eq!(kept, format!("x{}", "é".repeat(255)));
        assert_eq!(write(&answered(500, &"x".repeat(512), &[])).unwrap().1, None);
        // What JSON writes longer takes no more.
        let attempt = answered(500, &"\u{1}".repeat(512), &[]);
        let (text, excerpt) = write(&attempt).unwrap();
        assert_eq!(
            (read(&text, None).unwrap().response_excerpt.unwrap().len(), excerpt.unwrap().len()),
            (85, 512)
        );
    }

    #[test]
    fn a_success_leaves_room_in_one_write_unit() {
        let long = "\"é\n".repeat(1000);
        let headers = domain::attempt::KEPT_HEADERS.map(|name| (name, "\"some value\""));
        let attempt = answered(200, &long, &headers);
        let (text, excerpt) = write(&attempt).unwrap();
        // Keys and the rest of the item take about 190 bytes where the tenant's id is the longest.
        assert!(text.len() <= 760, "{}", text.len());
        assert_eq!(excerpt, None);
    }

    #[test]
    fn attempts_of_before_are_read() {
        let text = r#"{"n":1,"at":"2026-11-24T12:00:00.000Z","duration_ms":7,"status_code":500,"failure":"status","error":"the endpoint answered 500","response_excerpt":"no"}"#;
        let attempt = read(text, None).unwrap();
        assert_eq!((attempt.timing, attempt.response_headers.len()), (None, 0));
        assert_eq!(attempt.error.as_deref(), Some("the endpoint answered 500"));
    }
}
