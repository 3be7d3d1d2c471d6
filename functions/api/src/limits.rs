//! Limits as clients see them: the `RateLimit` headers, and the problem of a request or an event that exceeds one.
//!
//! Headers: <https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/>.

use ::http::{HeaderValue, header::HeaderName};
use domain::{
    TenantId, Timestamp,
    access::Caller,
    saturating,
    tenant::{Limits, limits::RequestRate},
    usage::Counts,
};
use platform::{
    lambda::{
        http::Response,
        problem::{Kind, Problem},
    },
    quota::{EventAdmission, RateState, RequestAdmission},
};

use crate::{http::call::Call, state::Api};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");

/// The name of the policy, in headers and problems.
const REQUESTS: &str = "tenant-requests";

/// Counts a request for its tenant. One of a tenant's key is limited; the operator's key is not. `rate` is the limit as the
/// response shows it, whatever it is.
pub(crate) async fn admit(
    api: &Api,
    caller: &Caller,
    tenant: &TenantId,
    limits: &Limits,
    now: Timestamp,
    rate: &mut Option<RateState>,
) -> Result<(), Problem> {
    let limit = RequestRate::of(limits, api.tenant_requests_per_second);
    let limit = limit.filter(|_| *caller != Caller::Operator);
    match api.quotas.request(tenant, limit, now).await {
        RequestAdmission::Accepted(state) => {
            *rate = state;
            Ok(())
        }
        RequestAdmission::Refused(state, seconds) => {
            let RequestRate { per_second, burst } = state.rate;
            let detail =
                format!("the limit {REQUESTS} is reached: {per_second} requests per second, {burst} at once");
            let mut problem = Problem::new(Kind::TooManyRequests, detail);
            problem.retry_after = Some(seconds);
            *rate = Some(state);
            Err(problem)
        }
    }
}

/// Shows a rate limit and what remains of it.
pub(crate) fn show(RateState { rate, remaining, reset_secs }: RateState, response: &mut Response) {
    for (name, value) in [
        (POLICY, format!("\"{REQUESTS}\";q={};w={}", rate.burst, rate.window_secs())),
        (STATE, format!("\"{REQUESTS}\";r={remaining};t={reset_secs}")),
    ] {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers.insert(name, value);
        }
    }
}

/// Refuses events beyond the tenant's quotas.
pub(crate) async fn check_events(api: &Api, call: &Call, events: usize) -> Result<(), Problem> {
    let tenant = call.tenant()?;
    match api.quotas.events(tenant, &call.limits, saturating(events), call.now).await? {
        EventAdmission::Accepted => Ok(()),
        EventAdmission::Refused(quota, until) => {
            let span = if quota.is_monthly { "month" } else { "day" };
            let detail =
                format!("the quota events_per_{span} is used up: {} events until {until}", quota.events);
            let mut problem = Problem::new(Kind::TooManyRequests, detail);
            problem.retry_after = Some(saturating::<u16>(until.since(call.now).as_secs()).max(1));
            Err(problem)
        }
    }
}

/// Counts events that were accepted, of so many bytes of data.
pub(crate) fn count_events(api: &Api, tenant: &TenantId, events: usize, bytes: usize, now: Timestamp) {
    let counts = Counts { events: saturating(events), event_bytes: saturating(bytes), ..Counts::default() };
    api.quotas.count(tenant, counts, now);
}
