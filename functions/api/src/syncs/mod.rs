//! Syncs: what is read from third parties, and goes on being read; some of it can be written too.

pub(crate) mod appointments;
mod integrations;
mod view;

use std::sync::Arc;

use domain::{
    ConnectionId, SyncId, TenantId,
    connection::Status,
    saturating,
    sync::{SyncSettings, SyncState, kind::KindName, settings::InvalidSettings},
    tenant::limits::SYNCS,
};
use platform::{
    lambda::problem::{Kind, Problem},
    store::{
        registry::syncs::{CLAIM, DataSync, SourceClaim, SyncSwitch},
        sync::channels::ChannelsLeft,
    },
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

pub(crate) use self::{integrations::list as integrations, view::SyncView};
use crate::{
    connections::calendars::may_be_of,
    http::{body::Nothing, call::Call, page::Page},
    state::Api,
};

/// What changes without a request.
pub(crate) const VOLATILE: &[&str] = &[
    "status",
    "last_error",
    "failure_count",
    "next_run_at",
    "record_count",
    "pass",
    "last_full_pass_at",
    "last_pass_at",
    "held_removal_count",
    "totals",
];

/// The longest label, in characters.
const LABEL_LIMIT: usize = 200;

/// A sync to create.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateSync {
    /// What to read; see `GET /v1/integrations`.
    kind: KindName,
    /// The connection by which it is read.
    connection_id: ConnectionId,
    /// Your words about it.
    #[serde(default)]
    label: Option<String>,
    /// The settings that the kind requires.
    #[serde(default)]
    settings: SyncSettings,
}

pub(crate) async fn create(api: Arc<Api>, call: Call, body: CreateSync) -> Result<SyncView, Problem> {
    let kind = body.kind.row();
    if let Some(label) = &body.label
        && (label.trim().is_empty() || label.chars().count() > LABEL_LIMIT)
    {
        return Err(Problem::field(Kind::InvalidField, "/label", "must have 1 to 200 characters"));
    }
    let checked = body.settings.check(kind.settings, kind.api.base, &api.egress_allow);
    checked.map_err(|InvalidSettings { pointer, message }| {
        Problem::field(Kind::InvalidField, pointer, message)
    })?;
    let tenant = call.tenant()?;
    match api.keeper.connections().get(tenant, body.connection_id).await? {
        None => return Err(Problem::field(Kind::InvalidField, "/connection_id", "unknown connection")),
        Some(stored) if matches!(stored.connection.status, Status::Revoked | Status::Pending) => {
            let why = "must be a connection that was not revoked and does not wait for its confirmation";
            return Err(Problem::field(Kind::InvalidField, "/connection_id", why));
        }
        Some(stored) if kind.idp.is_some_and(|idp| !may_be_of(&stored.connection, idp)) => {
            let why = format!("must be a connection at {}", kind.idp.unwrap_or_default());
            return Err(Problem::field(Kind::InvalidField, "/connection_id", why));
        }
        Some(_) => {}
    }
    let (at, random) = call.id_parts()?;
    let id = SyncId::new(at, random);
    if call.may_be_created()
        && let Some(sync) = api.syncs.get(tenant, id).await?
    {
        // The request before may have ended before it put the entry again.
        api.sync_entries.put(tenant, kind.engine, id, call.now).await?;
        call.unchanged();
        return Ok(SyncView::new(&sync));
    }
    let limit = check_count(&api, tenant, call.limits.syncs).await?;
    let sync = DataSync {
        id,
        tenant: tenant.clone(),
        kind: body.kind,
        connection_id: body.connection_id,
        label: body.label,
        settings: body.settings,
        paused: false,
        resync: false,
        created_at: call.now,
        updated_at: call.now,
        state: SyncState::default(),
        next_run_at: Some(call.now),
    };
    match api.syncs.claim_source(&sync, call.now).await? {
        SourceClaim::Own => {}
        SourceClaim::Other(other) => {
            let why = format!("are read by {other} already; each change would be published twice");
            return Err(Problem::field(Kind::AlreadyExists, "/settings", why));
        }
        SourceClaim::Undecided => {
            let detail =
                "another sync of the same settings is being created, or its creation has just failed";
            let retry_after = Some(saturating(CLAIM.as_secs()));
            return Err(Problem { retry_after, ..Problem::new(Kind::Conflict, detail) });
        }
    }
    if let Err(problem) = prepare(&api, &call, &sync).await {
        // There is no sync that reads it. Where this fails too, the claim ends in a minute.
        api.syncs.release_source(&sync).await.ok();
        return Err(problem);
    }
    if !api.syncs.create(&sync, limit).await? {
        // Its entry removes itself.
        api.syncs.release_source(&sync).await.ok();
        return Err(limit_reached(limit));
    }
    // Again, since its function may have been faster than the row.
    api.sync_entries.put(tenant, kind.engine, sync.id, call.now).await?;
    Ok(SyncView::new(&sync))
}

/// How many syncs the tenant may have. It is refused here if it has as many: what is checked with the write is too late
/// for the entry and the audit trail.
async fn check_count(api: &Api, tenant: &TenantId, limit: Option<u32>) -> Result<u32, Problem> {
    let limit = limit.unwrap_or(SYNCS);
    if tenant.is_operator() {
        return Ok(limit);
    }
    let count = api.tenants.get_now(tenant).await?.map_or(0, |row| row.sync_count);
    if count.max(0) >= i64::from(limit) { Err(limit_reached(limit)) } else { Ok(limit) }
}

fn limit_reached(limit: u32) -> Problem {
    Problem::new(Kind::LimitReached, format!("the tenant may have at most {limit} syncs"))
}

/// What comes before the row of a new sync: one without an entry would never run, and an entry without a row removes
/// itself.
async fn prepare(api: &Api, call: &Call, sync: &DataSync) -> Result<(), Problem> {
    let after = json!({"kind": sync.kind, "connection_id": sync.connection_id, "settings": sync.settings});
    call.record(api, sync.id, None, Some(after)).await?;
    let engine = sync.kind.row().engine;
    Ok(api.sync_entries.put(&sync.tenant, engine, sync.id, call.now).await?)
}

async fn find(api: &Api, call: &Call) -> Result<DataSync, Problem> {
    let id: SyncId = call.id("sync_id", "sync")?;
    api.syncs.get(call.tenant()?, id).await?.ok_or_else(|| Problem::not_found("sync"))
}

pub(crate) async fn get(api: Arc<Api>, call: Call) -> Result<SyncView, Problem> {
    Ok(SyncView::new(&find(&api, &call).await?))
}

pub(crate) async fn list(api: Arc<Api>, call: Call) -> Result<Page<SyncView>, Problem> {
    let (tenant, before, limit) = (call.tenant()?, call.before::<SyncId>()?, call.limit()?);
    let syncs = api.syncs.list(tenant, before, limit + 1).await?;
    let data = syncs.iter().map(SyncView::new).collect();
    Ok(Page::cut(data, limit, |last: &SyncView| last.id.to_string())?)
}

pub(crate) async fn pause(api: Arc<Api>, call: Call, _: Nothing) -> Result<SyncView, Problem> {
    switch(&api, &call, SyncSwitch::Paused(true)).await
}

pub(crate) async fn resume(api: Arc<Api>, call: Call, _: Nothing) -> Result<SyncView, Problem> {
    switch(&api, &call, SyncSwitch::Paused(false)).await
}

pub(crate) async fn resync(api: Arc<Api>, call: Call, _: Nothing) -> Result<SyncView, Problem> {
    switch(&api, &call, SyncSwitch::Resync).await
}

async fn switch(api: &Api, call: &Call, switch: SyncSwitch) -> Result<SyncView, Problem> {
    let sync = find(api, call).await?;
    let (before, after, changes) = match switch {
        SyncSwitch::Paused(paused) => {
            (json!({"paused": sync.paused}), json!({"paused": paused}), sync.paused != paused)
        }
        SyncSwitch::Resync => (json!({"resync": sync.resync}), json!({"resync": true}), !sync.resync),
    };
    if changes {
        call.record(api, sync.id, Some(before), Some(after)).await?;
        if !api.syncs.switch(&sync.tenant, sync.id, switch, call.now).await? {
            return Err(Problem::not_found("sync"));
        }
    } else {
        call.unchanged();
    }
    // Also where nothing changed: a request before this one may have got no further.
    let engine = sync.kind.row().engine;
    if switch == SyncSwitch::Paused(true) && sync.state.watch.channels.is_empty() {
        api.sync_entries.remove(&sync.tenant, engine, sync.id).await?;
    } else {
        // A paused one runs once more, to close its channels. What the third party asked for still holds: a resync does not
        // pass its limits.
        let due = sync.state.must_wait_until(call.now).unwrap_or(call.now);
        api.sync_entries.put(&sync.tenant, engine, sync.id, due).await?;
    }
    get_view(api, call).await
}

async fn get_view(api: &Api, call: &Call) -> Result<SyncView, Problem> {
    Ok(SyncView::new(&find(api, call).await?))
}

pub(crate) async fn delete(api: Arc<Api>, call: Call) -> Result<(), Problem> {
    let sync = find(&api, &call).await?;
    let before = json!({"kind": sync.kind, "connection_id": sync.connection_id, "settings": sync.settings});
    call.record(&api, sync.id, Some(before), None).await?;
    if !sync.state.watch.channels.is_empty() {
        let left = ChannelsLeft {
            connection: sync.connection_id,
            kind: sync.kind,
            base_url: sync.settings.base_url.clone(),
            channels: sync.state.watch.channels.clone(),
        };
        api.push_channels.leave(&sync.tenant, sync.id, &left).await?;
    }
    // Its function forgets what is known of its records, which can be a million rows. The entry is put on both sides of
    // the deletion: one that the function takes in between leads to a run, which removes or moves it.
    let engine = sync.kind.row().engine;
    api.sync_entries.put(&sync.tenant, engine, sync.id, call.now).await?;
    api.syncs.delete(&sync.tenant, sync.id).await?;
    api.syncs.release_source(&sync).await?;
    api.sync_entries.put(&sync.tenant, engine, sync.id, call.now).await?;
    Ok(())
}
