//! Replays: jobs that redeliver many events to one endpoint.

use std::sync::Arc;

use domain::{
    EndpointId, ReplayId, TenantId, Timestamp,
    delivery::Retention,
    endpoint::State,
    recovery::replay::{PausedFor, RATE, RATES, RUNNING_PER_TENANT, Selection, Status},
};
use platform::{
    lambda::problem::{Kind, Problem},
    store::due::replays::Replay,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    http::{body::Nothing, call::Call, page::Page},
    limits,
    state::Api,
};

/// A replay to create.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateReplay {
    selection: Selection,
    /// The start of the time range. A start before the tenant's retention means all events.
    since: Timestamp,
    /// The end of the time range; now by default.
    #[serde(default)]
    until: Option<Timestamp>,
    /// Deliveries per second, at most the endpoint's rate limit; 10 by default.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100))]
    rate: Option<u32>,
    /// The tenant of the events, if the endpoint is the operator's; by default the operator itself.
    #[serde(default)]
    tenant_id: Option<TenantId>,
}

/// A replay and its progress.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ReplayView {
    id: ReplayId,
    endpoint_id: EndpointId,
    selection: Selection,
    /// The start of the time range, inclusive.
    since: Timestamp,
    /// The end of the time range, exclusive.
    until: Timestamp,
    /// Deliveries per second.
    rate: u32,
    /// The tenant of the events, if the endpoint is the operator's; otherwise null.
    tenant_id: Option<TenantId>,
    status: Status,
    /// Why it is paused; null if it is not.
    paused_for: Option<PausedFor>,
    /// The number of deliveries or events that were scanned.
    scanned_count: u64,
    /// The number of deliveries that were started.
    started_count: u64,
    /// Its progress, a time between `since` and `until`.
    position: Timestamp,
    created_at: Timestamp,
    /// When it finished; null while it runs.
    finished_at: Option<Timestamp>,
    /// Why it failed, in words.
    error: Option<String>,
}

impl ReplayView {
    pub(crate) fn new(owner: &TenantId, replay: Replay) -> Self {
        let names_tenant = owner.is_operator() && replay.selection != Selection::Failed;
        Self {
            id: replay.id,
            endpoint_id: replay.endpoint_id,
            selection: replay.selection,
            since: replay.since,
            until: replay.until,
            rate: replay.rate,
            tenant_id: names_tenant.then_some(replay.tenant_id),
            status: replay.status,
            paused_for: replay.paused_for,
            scanned_count: replay.scanned_count,
            started_count: replay.started_count,
            position: replay.position,
            created_at: replay.created_at,
            finished_at: replay.finished_at,
            error: replay.error,
        }
    }
}

fn invalid(pointer: &str, why: impl Into<String>) -> Problem {
    Problem::field(Kind::InvalidField, pointer, why)
}

/// The time range, limited to the retention.
fn span(
    body: &CreateReplay,
    retention: Retention,
    now: Timestamp,
) -> Result<(Timestamp, Timestamp), Problem> {
    let until = body.until.unwrap_or(now);
    if until > now {
        return Err(invalid("/until", "must not be in the future"));
    }
    if body.since >= until {
        return Err(invalid("/since", "must be before until"));
    }
    let oldest = now - retention.span();
    if until <= oldest {
        return Err(invalid(
            "/until",
            format!("must be within the {} days that events are kept", retention.days()),
        ));
    }
    Ok((body.since.max(oldest), until))
}

/// How long the events of a replay are kept at most.
async fn retention(
    api: &Api,
    owner: &TenantId,
    body: &CreateReplay,
    now: Timestamp,
) -> Result<Retention, Problem> {
    if owner.is_operator() && body.selection == Selection::Failed {
        // Of all tenants.
        return Ok(Retention::LONGEST);
    }
    Ok(api.tenants.longest_retention(body.tenant_id.as_ref().unwrap_or(owner), now).await?)
}

/// The tenant whose events are delivered.
async fn events_owner(api: &Api, owner: &TenantId, body: &CreateReplay) -> Result<TenantId, Problem> {
    let Some(tenant) = &body.tenant_id else { return Ok(owner.clone()) };
    if !owner.is_operator() {
        return Err(invalid("/tenant_id", "only allowed for the operator's endpoints"));
    }
    if body.selection == Selection::Failed {
        return Err(invalid(
            "/tenant_id",
            "only allowed with `missing` or `all`; `failed` always covers all tenants",
        ));
    }
    if !tenant.is_operator() && api.tenants.get(tenant).await?.is_none() {
        return Err(invalid("/tenant_id", "unknown tenant"));
    }
    Ok(tenant.clone())
}

pub(crate) async fn create(api: Arc<Api>, call: Call, body: CreateReplay) -> Result<ReplayView, Problem> {
    let endpoint: EndpointId = call.id("endpoint_id", "endpoint")?;
    let owner = call.tenant()?;
    let found = api.endpoints.get_now(owner, endpoint).await?;
    found
        .filter(|endpoint| endpoint.state != State::Deleted)
        .ok_or_else(|| Problem::not_found("endpoint"))?;
    let retention = retention(&api, owner, &body, call.now).await?;
    let (since, until) = span(&body, retention, call.now)?;
    let rate = body.rate.unwrap_or(RATE);
    if !RATES.contains(&rate) {
        let (least, most) = (RATES.start(), RATES.end());
        return Err(invalid("/rate", format!("must be a whole number from {least} to {most}")));
    }
    let (at, random) = call.id_parts()?;
    let id = ReplayId::new(at, random);
    if call.may_be_created()
        && let Some(created) = api.replays.get(owner, id).await?
    {
        call.unchanged();
        return Ok(ReplayView::new(owner, created));
    }
    let tenant = events_owner(&api, owner, &body).await?;
    if api.replays.running_count(owner).await? >= RUNNING_PER_TENANT {
        let why = format!("a tenant has at most {RUNNING_PER_TENANT} replays running");
        return Err(Problem::new(Kind::LimitReached, why));
    }
    limits::check_replay(&api, &call).await?;
    let replay = Replay {
        id,
        endpoint_id: endpoint,
        tenant_id: tenant,
        selection: body.selection,
        since,
        until,
        retention_days: retention,
        rate,
        status: Status::Running,
        paused_for: None,
        scanned_count: 0,
        started_count: 0,
        cursor: None,
        position: since,
        created_at: call.now,
        finished_at: None,
        error: None,
        faults: 0,
    };
    let what = json!({
        "endpoint_id": endpoint, "tenant_id": replay.tenant_id, "selection": replay.selection,
        "since": since, "until": until, "rate": rate,
    });
    call.record(&api, replay.id, None, Some(what)).await?;
    if !api.replays.create(owner, &replay).await? {
        let why = "the endpoint has a replay running; wait until it finishes, or cancel it";
        return Err(Problem::new(Kind::ReplayRunning, why));
    }
    Ok(ReplayView::new(owner, replay))
}

async fn find(api: &Api, call: &Call) -> Result<Replay, Problem> {
    let id: ReplayId = call.id("replay_id", "replay")?;
    api.replays.get(call.tenant()?, id).await?.ok_or_else(|| Problem::not_found("replay"))
}

pub(crate) async fn get(api: Arc<Api>, call: Call) -> Result<ReplayView, Problem> {
    Ok(ReplayView::new(call.tenant()?, find(&api, &call).await?))
}

pub(crate) async fn list(api: Arc<Api>, call: Call) -> Result<Page<ReplayView>, Problem> {
    let endpoint = call.query("endpoint_id").map(str::parse::<EndpointId>).transpose();
    let endpoint = endpoint.map_err(|why| Problem::parameter("endpoint_id", why.to_string()))?;
    let (owner, before) = (call.tenant()?, call.before::<ReplayId>()?);
    let limit = call.limit()?;
    let replays = api.replays.list(owner, endpoint, before, limit + 1).await?;
    let data = replays.into_iter().map(|replay| ReplayView::new(owner, replay)).collect();
    Ok(Page::cut(data, limit, |last: &ReplayView| last.id.to_string())?)
}

pub(crate) async fn cancel(api: Arc<Api>, call: Call, _: Nothing) -> Result<ReplayView, Problem> {
    let replay = find(&api, &call).await?;
    let owner = call.tenant()?;
    if replay.status == Status::Running {
        let status = |status| Some(json!({ "status": status }));
        call.record(&api, replay.id, status(Status::Running), status(Status::Cancelled)).await?;
    } else {
        call.unchanged();
    }
    let cancelled = replay.status == Status::Running && api.replays.cancel(owner, &replay, call.now).await?;
    let replay =
        if cancelled || replay.status == Status::Running { find(&api, &call).await? } else { replay };
    if replay.status != Status::Cancelled {
        return Err(Problem::new(Kind::AlreadyFinished, "the replay has already finished"));
    }
    Ok(ReplayView::new(owner, replay))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_range_is_within_the_retention() {
        const DAY: i64 = 86_400;
        let now = Timestamp::from_secs(100 * DAY);
        let at = |days: i64| Timestamp::from_secs(days * DAY);
        for (kept, since, until, expected) in [
            (30, 99, None, Ok((99, 100))),
            (30, 90, Some(95), Ok((90, 95))),
            (30, 1, None, Ok((70, 100))),
            (90, 1, Some(70), Ok((10, 70))),
            (30, 100, None, Err("/since")),
            (30, 95, Some(95), Err("/since")),
            (30, 99, Some(101), Err("/until")),
            (30, 1, Some(70), Err("/until")),
            (25, 1, Some(75), Err("/until")),
        ] {
            let body = CreateReplay {
                selection: Selection::All,
                since: at(since),
                until: until.map(at),
                rate: None,
                tenant_id: None,
            };
            let found = span(&body, Retention::of_days(kept).unwrap(), now);
            let pointer = found.as_ref().err().and_then(|problem| problem.errors[0].pointer.clone());
            assert_eq!(pointer.as_deref(), expected.err(), "{since} {until:?}");
            assert_eq!(found.ok(), expected.ok().map(|(since, until)| (at(since), at(until))));
        }
    }
}
