//! Limits as clients see them: the `RateLimit` headers, and the problem of a request or an event that exceeds one.
//!
//! Headers: <https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/>.

use ::http::{HeaderValue, header::HeaderName};
use domain::{
    TenantId, Timestamp,
    access::{Caller, caller::KeyRate},
    saturating,
    tenant::{Limits, limits::RequestRate},
    usage::Counts,
};
use platform::{
    lambda::{
        http::Response,
        problem::{Kind, Problem},
    },
    publish::NewEvent,
    quota::{Quota, QuotaAdmission, QuotaUse, RateOwner, RateState, RequestRates},
};

use crate::{http::call::Call, state::Api};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");

/// The name of the policy, in headers and problems.
fn name_of(owner: RateOwner) -> &'static str {
    match owner {
        RateOwner::Tenant => "tenant-requests",
        RateOwner::Key => "key-requests",
    }
}

/// Counts a request for its tenant. One of a tenant's key is limited; the operator's key is not. `shown` are the limits as
/// the response shows them, whatever they are.
pub(crate) async fn admit(
    api: &Api,
    caller: &Caller,
    tenant: &TenantId,
    limits: &Limits,
    now: Timestamp,
    shown: &mut Vec<RateState>,
) -> Result<(), Problem> {
    let of_tenant = RequestRate::of(limits, api.tenant_requests_per_second);
    let rates = match caller {
        Caller::Operator => RequestRates::default(),
        Caller::Key { .. } | Caller::Portal { .. } => RequestRates {
            tenant: of_tenant,
            key: caller.key_rate().map(|KeyRate { key, rate }| (key, rate)),
        },
    };
    let admission = api.quotas.request(tenant, rates, now).await;
    *shown = admission.states;
    let Some((state, seconds)) = admission.refused else { return Ok(()) };
    let (name, RequestRate { per_second, burst }) = (name_of(state.owner), state.rate);
    let detail = format!("the limit {name} is reached: {per_second} requests per second, {burst} at once");
    let mut problem = Problem::new(Kind::TooManyRequests, detail);
    problem.retry_after = Some(seconds);
    Err(problem)
}

/// Shows rate limits and what remains of them.
pub(crate) fn show(states: &[RateState], response: &mut Response) {
    let list = |item: fn(&RateState) -> String| states.iter().map(item).collect::<Vec<_>>().join(", ");
    let policy = |RateState { owner, rate, .. }: &RateState| {
        format!("\"{}\";q={};w={}", name_of(*owner), rate.burst, rate.window_secs())
    };
    let state = |RateState { owner, remaining, reset_secs, .. }: &RateState| {
        format!("\"{}\";r={remaining};t={reset_secs}", name_of(*owner))
    };
    for (name, value) in [(POLICY, list(policy)), (STATE, list(state))] {
        if !states.is_empty()
            && let Ok(value) = HeaderValue::try_from(value)
        {
            response.headers.insert(name, value);
        }
    }
}

/// Refuses events beyond the tenant's quotas: themselves, or the deliveries that they lead to.
pub(crate) async fn check_events<'e>(
    api: &Api,
    call: &Call,
    count: usize,
    events: impl IntoIterator<Item = &'e NewEvent>,
) -> Result<(), Problem> {
    // Counted for those alone that have a quota.
    let deliveries = if call.limits.limits_deliveries() {
        api.publisher.planned_deliveries(call.tenant()?, events).await?
    } else {
        0
    };
    check(api, call, QuotaUse { events: saturating(count), deliveries }).await
}

/// Refuses a replay where the quota of deliveries is used up.
pub(crate) async fn check_replay(api: &Api, call: &Call) -> Result<(), Problem> {
    check(api, call, QuotaUse { events: 0, deliveries: 1 }).await
}

async fn check(api: &Api, call: &Call, wanted: QuotaUse) -> Result<(), Problem> {
    match api.quotas.admit(call.tenant()?, &call.limits, wanted, call.now).await? {
        QuotaAdmission::Accepted => Ok(()),
        QuotaAdmission::Refused(Quota { name, most, subject, .. }, until) => {
            let detail = format!("the quota {name} is used up: {most} {subject} until {until}");
            let mut problem = Problem::new(Kind::TooManyRequests, detail);
            problem.retry_after = Some(saturating::<u16>(until.since(call.now).as_secs()).max(1));
            Err(problem)
        }
    }
}

/// Counts events that were accepted, of so many bytes of data, with the deliveries that they lead to.
pub(crate) fn count_events(api: &Api, tenant: &TenantId, accepted: QuotaUse, bytes: usize, now: Timestamp) {
    let QuotaUse { events, deliveries } = accepted;
    let counts = Counts {
        events,
        event_bytes: saturating(bytes),
        planned_deliveries: deliveries,
        ..Counts::default()
    };
    api.quotas.count(tenant, counts, now);
}
