//! Why there is no token or no connection, as problems.

use std::time::Duration;

use domain::{
    ConnectionId,
    connection::{record::LastError, session::Outcome},
    saturating,
};
use platform::{
    connection::keeper::{NoToken, NotConnected},
    lambda::problem::{Kind, Problem},
};

use super::checks::invalid;

/// The problem of a connection that gives no token.
pub(crate) fn no_token(id: ConnectionId, reason: NoToken) -> Problem {
    match reason {
        NoToken::NotFound => Problem::not_found("connection"),
        NoToken::Revoked => Problem::new(
            Kind::ConnectionRevoked,
            "the connection was ended; the person can connect again by a new connect session",
        ),
        NoToken::Pending => Problem::new(
            Kind::ConnectionPending,
            "the connection waits for its confirmation: POST /v1/connect-sessions/{session_id}/confirm",
        ),
        NoToken::Reauthorize(error) => reauthorize(id, error.as_ref()),
        NoToken::MissingScopes(scopes) => {
            let detail = format!(
                "these scopes are not granted: {}; ask for them by POST /v1/connections/{id}/reconnect",
                scopes.join(" ")
            );
            Problem::new(Kind::MissingScopes, detail)
        }
        NoToken::Unavailable { retry_after } => {
            let detail = "the identity provider gives no token at the moment, and no valid one is left";
            after(retry_after, Problem::new(Kind::IdpUnavailable, detail))
        }
        NoToken::TooSoon { retry_after } => {
            let detail = "the connection was refreshed a moment ago; providers count refreshes";
            after(retry_after, Problem::new(Kind::TooManyRequests, detail))
        }
        NoToken::Fault(fault) => fault.into(),
    }
}

fn reauthorize(id: ConnectionId, error: Option<&LastError>) -> Problem {
    let reason = error.map_or("the provider gave no refresh token", |error| error.code.message());
    let hint = error.map_or("ask the person to connect again", |error| error.code.hint());
    let detail = format!("{reason}; {hint}; POST /v1/connections/{id}/reconnect makes a link for that");
    Problem::new(Kind::ConnectionReauthorize, detail)
}

fn after(wait: Duration, problem: Problem) -> Problem {
    let secs = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    Problem { retry_after: Some(saturating(secs.max(1))), ..problem }
}

/// The problem of an import that is refused.
pub(super) fn not_connected(reason: NotConnected) -> Problem {
    match reason {
        NotConnected::Refused(Outcome::AccountLinkedElsewhere) => {
            let detail = "is an account that another person has connected";
            Problem::field(Kind::AlreadyExists, "/account/sub", detail)
        }
        NotConnected::Refused(Outcome::LimitReached) => {
            Problem::new(Kind::LimitReached, "the tenant has as many connections as it may have")
        }
        NotConnected::Refused(outcome) => invalid("/account", outcome.words().1),
        NotConnected::Fault(fault) => fault.into(),
    }
}

#[cfg(test)]
mod tests {
    use domain::{Timestamp, connection::record::ErrorCode};

    use super::*;

    #[test]
    fn each_reason_has_its_problem() {
        let id = ConnectionId::new(Timestamp::from_secs(0), [1; 10]);
        let error = LastError {
            code: ErrorCode::GrantRevoked,
            at: Timestamp::from_secs(0),
            idp_error: Some("invalid_grant".into()),
            status_code: Some(400),
        };
        let millis = Duration::from_millis;
        for (reason, kind, words, retry_after) in [
            (NoToken::NotFound, Kind::NotFound, "connection", None),
            (NoToken::Revoked, Kind::ConnectionRevoked, "new connect session", None),
            (NoToken::Pending, Kind::ConnectionPending, "confirm", None),
            (NoToken::Reauthorize(Some(error)), Kind::ConnectionReauthorize, "connect again", None),
            (NoToken::Reauthorize(None), Kind::ConnectionReauthorize, "/reconnect", None),
            (NoToken::MissingScopes(vec!["a".into(), "b".into()]), Kind::MissingScopes, "a b", None),
            (NoToken::Unavailable { retry_after: millis(10) }, Kind::IdpUnavailable, "provider", Some(1)),
            (NoToken::TooSoon { retry_after: millis(28_200) }, Kind::TooManyRequests, "refreshed", Some(29)),
        ] {
            let problem = no_token(id, reason);
            assert_eq!((problem.kind, problem.retry_after), (kind, retry_after), "{}", problem.detail);
            assert!(problem.detail.contains(words), "{}", problem.detail);
        }
    }
}
