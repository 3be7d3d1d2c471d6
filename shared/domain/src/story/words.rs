//! Words of a story: what to do about a failure, times, spans of time.

use std::time::Duration;

use crate::{Timestamp, delivery::Failure, endpoint::TIMEOUT_SECONDS};

/// What to look at after such a failure. Ends in a full stop.
pub(super) fn advice(failure: Failure, status: Option<u16>) -> String {
    let fixed = match (failure, status) {
        (Failure::HttpStatus, Some(300..=399)) => {
            "Give the endpoint the URL that it redirects to: redirects are not followed."
        }
        (Failure::HttpStatus, Some(401 | 403 | 407)) => {
            "The receiver refuses us: check how it verifies the signature, and with which key, and let our requests through its access control."
        }
        (Failure::HttpStatus, Some(404 | 405)) => {
            "Check the path of the endpoint's URL: the receiver does not take POST there."
        }
        (Failure::HttpStatus, Some(410)) => "The receiver says that it is gone for good.",
        (Failure::HttpStatus, Some(413)) => "Let the receiver take larger bodies.",
        (Failure::HttpStatus, Some(429)) => {
            "The receiver asks for less at a time: give the endpoint a rate_limit that it can keep up with."
        }
        (Failure::HttpStatus, Some(502..=504)) => {
            "The receiver, or what stands before it, is down or has too much to do: see to it that it runs."
        }
        (Failure::HttpStatus, Some(500..)) => {
            "The receiver failed: look into its log at the time of the attempt."
        }
        (Failure::HttpStatus, _) => {
            "The receiver refuses this webhook: look into its log, and at response_excerpt for what it said."
        }
        (Failure::Dns, _) => "Check the host in the endpoint's URL, and its records in the public DNS.",
        (Failure::Connect, _) => {
            "See to it that the receiver runs, and that its firewall lets our requests through to the port in the URL."
        }
        (Failure::Tls, _) => {
            "Check the receiver's certificate: it must be of a public authority, for this host, not expired, and sent with its whole chain."
        }
        (Failure::Timeout, _) => {
            let longest = TIMEOUT_SECONDS.end();
            return format!(
                "Let the receiver answer with 2xx as soon as it has kept the webhook, and work on it afterwards. The endpoint's timeout can be {longest} s at most."
            );
        }
        (Failure::Protocol, _) => {
            "See to it that the receiver speaks HTTP at this port, and does not close connections before it has answered."
        }
        (Failure::Body, _) => "Let the receiver end its answer: an empty body is enough.",
        (Failure::BlockedAddress, _) => {
            "Give the endpoint a URL whose host resolves to public addresses only."
        }
    };
    fixed.to_owned()
}

/// A time without its milliseconds.
pub(super) fn seconds(at: Timestamp) -> String {
    let text = at.to_string();
    text.split_once('.').map_or(text.clone(), |(head, _)| format!("{head}Z"))
}

/// A span of time, in its two largest units.
pub(super) fn span(span: Duration) -> String {
    // A wait that is all but over is still one.
    let secs = span.as_millis().div_ceil(1000);
    let units = [(secs / 86_400, "d"), (secs / 3600 % 24, "h"), (secs / 60 % 60, "min"), (secs % 60, "s")];
    let shown =
        units.into_iter().skip_while(|(count, _)| *count == 0).take(2).filter(|(count, _)| *count > 0);
    shown.map(|(count, unit)| format!("{count} {unit}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
