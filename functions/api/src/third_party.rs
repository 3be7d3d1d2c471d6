//! Calls to third parties that a request leads to: the lease of their connection, and what a reply is as a problem.

use std::time::Duration;

use domain::{
    ConnectionId, Timestamp,
    client::{self, Class, Conflict, Refusal},
    saturating,
};
use platform::{
    Fault,
    client::{ConnectionSession, Reply},
    lambda::problem::{Kind, Problem},
    runtime::clock,
};
use serde_json::Value;

use crate::{connections::problems::no_token, http::call::Call, state::Api};

/// The time for all calls of a request. A function has 29 seconds, and takes some of them before and after its calls.
const CALLS: Duration = Duration::from_secs(22);

/// When to try a connection again that another request or a sync uses.
const BUSY_SECS: u16 = 5;

/// When to try a third party again that did not respond as it should.
const RETRY_SECS: u16 = 30;

/// The problems of a call, besides those that all routes share.
pub(crate) const PROBLEMS: [Kind; 8] = [
    Kind::NotSupported,
    Kind::ConnectionReauthorize,
    Kind::ConnectionPending,
    Kind::ConnectionRevoked,
    Kind::TooManyRequests,
    Kind::ThirdPartyRefused,
    Kind::ThirdPartyUnavailable,
    Kind::IdpUnavailable,
];

/// The same with one more.
pub(crate) const fn problems_and(more: Kind) -> [Kind; 9] {
    let mut all = [more; 9];
    let (_, others) = all.split_at_mut(1);
    others.copy_from_slice(&PROBLEMS);
    all
}

/// What a call is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About<'a> {
    /// The connection by which it is made.
    pub(crate) connection: ConnectionId,
    /// The third party's API.
    pub(crate) api: &'a client::Api,
    /// What was requested, as in "there is no calendar with this id".
    pub(crate) what: &'a str,
}

/// Takes the lease of a connection for the calls of a request. It is returned with `api.connection_calls.end`, whatever
/// they come to.
pub(crate) async fn begin(
    api: &Api,
    call: &Call,
    connection: ConnectionId,
) -> Result<ConnectionSession, Problem> {
    let tenant = call.tenant()?;
    // Its own keys can read what is stored, and that is all.
    if api.tenants.get(tenant).await?.is_some_and(|tenant| tenant.suspended.is_some()) {
        let detail = "no calls to third parties are made for a suspended tenant";
        return Err(Problem::new(Kind::TenantSuspended, detail));
    }
    let deadline = clock::machine_now() + CALLS;
    let session = api.connection_calls.begin(tenant, connection, deadline).await?;
    session.ok_or_else(|| {
        let detail = "the connection is busy: a sync or another request makes calls by it";
        Problem { retry_after: Some(BUSY_SECS), ..Problem::new(Kind::TooManyRequests, detail) }
    })
}

/// The body of a 2xx, or the problem that a reply is.
pub(crate) fn success(reply: Reply, about: About<'_>) -> Result<Value, Problem> {
    let now = clock::now();
    match reply {
        Reply::Success(body) => Ok(body),
        Reply::Handed(class) => Err(refused(&class, about)),
        Reply::Parked { until, class } => Err(parked(&class, until, now, about)),
        Reply::OutOfTime => Err(unavailable(about, "took too long; repeat the request", 1)),
        Reply::NoToken(reason) => Err(no_token(about.connection, reason)),
        Reply::Unreadable => Err(unavailable(about, "sent a response that cannot be read", RETRY_SECS)),
        Reply::EffectUnknown => {
            let what = "did not respond; the request may have been carried out, so read before you repeat it";
            Err(unavailable(about, what, RETRY_SECS))
        }
    }
}

/// What a response is that only its caller understands.
fn refused(class: &Class, about: About<'_>) -> Problem {
    let title = about.api.title;
    let refused = |why| Problem::new(Kind::ThirdPartyRefused, format!("{title} {why}"));
    match class {
        Class::NotFound => Problem::not_found(about.what),
        Class::Conflict(Conflict::Exists) => {
            Problem::new(Kind::AlreadyExists, format!("{title} has a {} with this id", about.what))
        }
        Class::Conflict(Conflict::Changed) => Problem::header(
            Kind::PreconditionFailed,
            "If-Match",
            "the object has changed since it was read; read it again",
        ),
        Class::Refused(Refusal::Forbidden) => {
            refused("does not let this account do it: a right or a scope is missing")
        }
        Class::Refused(Refusal::Unsupported) => refused("does not support this here"),
        Class::Refused(Refusal::Malformed) => refused("does not accept the request"),
        Class::TooMuch => unavailable(about, "takes too long for this", RETRY_SECS),
        class => {
            let fault = Fault::new("reading a reply", format!("{} is no end of a request", class.name()));
            fault.into()
        }
    }
}

/// What has to wait longer than a request can.
fn parked(class: &Class, until: Timestamp, now: Timestamp, about: About<'_>) -> Problem {
    let title = about.api.title;
    let secs = saturating::<u16>((until.millis() - now.millis()).max(0) / 1000 + 1);
    let detail = match class {
        Class::Throttled { .. } => format!("{title} asks for fewer requests"),
        Class::Busy { .. } => format!("another request at {title} has what this one requires"),
        Class::Suspended { writes_only: true, .. } => {
            format!("{title} takes no changes by this account for hours")
        }
        Class::Suspended { .. } => format!("{title} has suspended this account for a while"),
        _ => return unavailable(about, "does not respond as it should", secs),
    };
    Problem { retry_after: Some(secs), ..Problem::new(Kind::TooManyRequests, detail) }
}

fn unavailable(about: About<'_>, what: &str, retry_after: u16) -> Problem {
    let problem = Problem::new(Kind::ThirdPartyUnavailable, format!("{} {what}", about.api.title));
    Problem { retry_after: Some(retry_after), ..problem }
}

#[cfg(test)]
mod tests {
    use domain::client::apis::google_calendar;
    use platform::connection::keeper::NoToken;

    use super::*;

    #[test]
    fn each_reply_has_its_problem() {
        let connection = ConnectionId::new(Timestamp::from_secs(0), [1; 10]);
        let about = About { connection, api: &google_calendar::API, what: "calendar" };
        let parked = |class| Reply::Parked { until: clock::now() + Duration::from_secs(90), class };
        let suspended = |writes_only| Class::Suspended { wait: None, writes_only };
        for (reply, kind, has_wait) in [
            (Reply::Handed(Class::NotFound), Kind::NotFound, false),
            (Reply::Handed(Class::Conflict(Conflict::Exists)), Kind::AlreadyExists, false),
            (Reply::Handed(Class::Conflict(Conflict::Changed)), Kind::PreconditionFailed, false),
            (Reply::Handed(Class::Refused(Refusal::Forbidden)), Kind::ThirdPartyRefused, false),
            (Reply::Handed(Class::Refused(Refusal::Malformed)), Kind::ThirdPartyRefused, false),
            (Reply::Handed(Class::Refused(Refusal::Unsupported)), Kind::ThirdPartyRefused, false),
            (Reply::Handed(Class::TooMuch), Kind::ThirdPartyUnavailable, true),
            (Reply::Handed(Class::PositionLost), Kind::Internal, false),
            (parked(Class::Throttled { wait: None }), Kind::TooManyRequests, true),
            (parked(Class::Busy { by_copy: false }), Kind::TooManyRequests, true),
            (parked(suspended(true)), Kind::TooManyRequests, true),
            (parked(suspended(false)), Kind::TooManyRequests, true),
            (parked(Class::Transient), Kind::ThirdPartyUnavailable, true),
            (Reply::OutOfTime, Kind::ThirdPartyUnavailable, true),
            (Reply::Unreadable, Kind::ThirdPartyUnavailable, true),
            (Reply::EffectUnknown, Kind::ThirdPartyUnavailable, true),
            (Reply::NoToken(NoToken::Reauthorize(None)), Kind::ConnectionReauthorize, false),
            (Reply::NoToken(NoToken::NotFound), Kind::NotFound, false),
        ] {
            let name = reply.name();
            let problem = success(reply, about).unwrap_err();
            assert_eq!((problem.kind, problem.retry_after.is_some()), (kind, has_wait), "{name}");
        }
        let problem = success(parked(suspended(true)), about).unwrap_err();
        assert!(problem.retry_after.is_some_and(|secs| (90..=92).contains(&secs)), "{problem:?}");
        assert!(success(Reply::Success(Value::Null), about).is_ok());
    }
}
