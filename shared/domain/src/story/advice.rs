//! What a person can do about a failed attempt: one table, for test events and for stories.

use crate::delivery::{Attempt, Failure};

/// What to do about a request that found no connection in time. A receiver that does not respond is
/// advised otherwise.
const NOT_REACHED: &str = "Check the host's name servers, and that its firewall accepts connections from the internet instead of ignoring them: no connection was ready within the time limit.";

/// What to do about an attempt.
#[must_use]
pub fn after(attempt: &Attempt) -> &'static str {
    match attempt.failure {
        None => "Nothing. Any 2xx means that the webhook was received.",
        Some(Failure::Timeout) if !attempt.sent => NOT_REACHED,
        Some(failure) => advice(failure, attempt.status_code),
    }
}

/// What to do about a failure, with the status code if there was a response. Whole sentences.
#[must_use]
pub fn advice(failure: Failure, status: Option<u16>) -> &'static str {
    match failure {
        Failure::HttpStatus => about_status(status),
        Failure::Dns => "Check the host in the endpoint's URL, and its records in the public DNS.",
        Failure::Connect => {
            "Check that the receiver is running and listens on the port in the URL, and that its firewall accepts connections from the internet."
        }
        Failure::Tls => {
            "Check the receiver's certificate: it must be issued by a public authority for this host, not expired, and sent with its whole chain."
        }
        Failure::Timeout => {
            "Make the receiver respond with 2xx as soon as it has stored the webhook, and process it afterwards. The endpoint's timeout_seconds can be at most 15."
        }
        Failure::Protocol => {
            "Check why the connection was closed before a response: a crash, a limit of a proxy, a port that does not speak HTTP, or a response whose status line or length is malformed."
        }
        Failure::Body => "Make the receiver send its whole response body in time; an empty body is enough.",
        Failure::BlockedAddress => {
            "Use a URL whose host resolves to public addresses only: private, local and reserved addresses are not called."
        }
    }
}

fn about_status(status: Option<u16>) -> &'static str {
    match status {
        Some(300..=399) => {
            "Set the endpoint's URL to the target of the redirect: redirects are not followed."
        }
        Some(400 | 422) => {
            "Check the receiver's log for the reason. It must verify the raw body with this endpoint's signing key, and its clock must be right."
        }
        Some(401 | 403 | 407) => {
            "Check what refuses the request: the receiver's signature check, or a gateway or bot filter in front of it. If it requires a header, add that to the endpoint's headers."
        }
        Some(404) => "Check the path of the endpoint's URL, and that the receiver is deployed there.",
        Some(405) => "Check the path of the endpoint's URL, and make the receiver accept POST at this path.",
        Some(410) => {
            "410 means that the receiver is gone for good, and disables the endpoint. If it is not, make it respond with another status."
        }
        Some(413) => "Raise the request-body limit of the receiver or its proxy.",
        Some(415) => "Make the receiver accept application/json.",
        Some(429) => {
            "Set a rate_limit for the endpoint that the receiver can keep up with, or raise the receiver's own limit."
        }
        Some(502..=504) => {
            "Check that the receiver is running and not overloaded: a gateway or load balancer responded in its place."
        }
        Some(500..=599) => {
            "Check the receiver's log at the time of the attempt; webhook-id identifies the request."
        }
        _ => {
            "Make the receiver respond with 2xx as soon as it has stored the webhook; response_excerpt shows its response."
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{
        Timestamp,
        delivery::{Outcome, attempt::AttemptDetails},
        endpoint::TIMEOUT_SECONDS,
    };

    #[test]
    fn every_failure_has_its_own_advice() {
        use Failure::{BlockedAddress, Body, Connect, Dns, HttpStatus, Protocol, Timeout, Tls};
        let failures = [Dns, Connect, Tls, Timeout, Protocol, Body, BlockedAddress].map(|kind| (kind, None));
        let statuses = [302, 400, 401, 404, 405, 410, 413, 415, 418, 429, 500, 503];
        let all: Vec<_> = failures
            .into_iter()
            .chain(statuses.map(|status| (HttpStatus, Some(status))))
            .map(|(failure, status)| advice(failure, status))
            .collect();
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
        assert!(all.iter().all(|words| words.ends_with('.')), "{all:?}");
        assert!(advice(Timeout, None).contains(&format!("at most {}.", TIMEOUT_SECONDS.end())));
    }

    #[test]
    fn a_test_event_and_a_delivery_are_advised_the_same() {
        let after = |outcome: &Outcome, sent| {
            let details = AttemptDetails { sent, ..AttemptDetails::default() };
            after(&Attempt::new(1, Timestamp::EPOCH, 1, outcome).with_details(details))
        };
        let response = |status| Outcome::Response { status, retry_after: None, excerpt: String::new() };
        for (status, word) in [
            (301, "redirect"),
            (401, "gateway"),
            (404, "path"),
            (405, "POST"),
            (410, "disables"),
            (429, "rate_limit"),
            (500, "log"),
            (503, "load balancer"),
            (418, "2xx"),
        ] {
            let words = after(&response(status), true);
            assert!(words.contains(word), "{status}: {words}");
            assert_eq!(words, advice(Failure::HttpStatus, Some(status)));
        }
        assert_eq!(after(&Outcome::Failed(Failure::Tls), false), advice(Failure::Tls, None));
        assert_eq!(after(&Outcome::Failed(Failure::Timeout), true), advice(Failure::Timeout, None));
        assert!(after(&Outcome::Failed(Failure::Timeout), false).contains("firewall"));
        assert!(after(&response(204), true).starts_with("Nothing"));
    }
}
