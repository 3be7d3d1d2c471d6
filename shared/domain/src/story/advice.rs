//! What a person can do about what came of an attempt.

use crate::delivery::{Failure, Outcome};

/// What to do about an outcome, for whoever runs the endpoint.
#[must_use]
pub fn advice(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Answered { status, .. } => about_status(*status),
        Outcome::Failed(failure) => about_failure(*failure),
    }
}

fn about_status(status: u16) -> &'static str {
    match status {
        200..=299 => "Nothing. Any 2xx means that the webhook was received.",
        300..=399 => "Set the endpoint's URL to where the redirect leads; redirects are not followed.",
        400 | 422 => {
            "See in the receiver's log why it refuses: it must verify the raw body, as it came, with this endpoint's signing key and a clock that is right."
        }
        401 | 403 => {
            "See what refuses the request, the receiver itself or a gateway or bot filter before it; what it asks for can be sent by the endpoint's headers."
        }
        404 => "Check the path of the endpoint's URL, and that the receiver is deployed there.",
        405 => "Let the receiver take POST at this path.",
        410 => {
            "410 says that nothing is wanted any more: a real webhook would disable the endpoint. Answer another status if it is wanted."
        }
        413 => "Raise the largest body that the receiver, or what stands before it, takes.",
        415 => "Let the receiver take application/json.",
        429 => "Answer fewer of these: set a rate_limit for the endpoint, or raise the receiver's own limit.",
        502..=504 => "See whether the receiver runs: a gateway or balancer answered in its place.",
        500..=599 => "See in the receiver's log what failed at this time; webhook-id names the request.",
        _ => "Let the receiver answer 2xx once it has kept the webhook.",
    }
}

fn about_failure(failure: Failure) -> &'static str {
    match failure {
        Failure::HttpStatus => "Let the receiver answer 2xx once it has kept the webhook.",
        Failure::Dns => "Check the host in the endpoint's URL, and that the public DNS has it.",
        Failure::Connect => {
            "See that the receiver runs and listens on this port, and that no firewall keeps the internet out."
        }
        Failure::Tls => {
            "Check the certificate: it must be valid today, name this host, and be sent with its whole chain."
        }
        Failure::Timeout => {
            "Answer as soon as the webhook is kept and do the work afterwards, or give the endpoint a longer timeout (15 s at most)."
        }
        Failure::Protocol => {
            "See why the connection was closed before an answer: a crash, a proxy's limit, or a port that speaks no HTTP."
        }
        Failure::Body => "Send the whole body of the answer in time, or none.",
        Failure::BlockedAddress => {
            "Use a URL whose host leads to public addresses only; private, local and reserved ones are not called."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_advice_of_its_own() {
        let answered =
            |status| advice(&Outcome::Answered { status, retry_after: None, excerpt: String::new() });
        for (status, word) in [
            (204, "Nothing"),
            (301, "redirect"),
            (401, "gateway"),
            (404, "path"),
            (405, "POST"),
            (410, "disable"),
            (429, "rate_limit"),
            (500, "log"),
            (503, "balancer"),
            (418, "2xx"),
        ] {
            assert!(answered(status).contains(word), "{status}: {}", answered(status));
        }
        assert!(advice(&Outcome::Failed(Failure::Tls)).contains("certificate"));
        assert!(advice(&Outcome::Failed(Failure::Timeout)).contains("timeout"));
    }
}
