//! Syncs: what is read from third parties, and goes on being read.

mod integrations;
mod view;

use std::sync::Arc;

use domain::{
    ConnectionId, SyncId,
    connection::Status,
    sync::{SyncSettings, SyncState, kind::KindName, settings::InvalidSettings},
};
use platform::{
    lambda::problem::{Kind, Problem},
    store::{
        registry::syncs::{DataSync, SyncSwitch},
        sync::channels::ChannelsLeft,
    },
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

pub(crate) use self::{integrations::list as integrations, view::SyncView};
use crate::{
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
        Some(_) => {}
    }
    let (at, random) = call.id_parts()?;
    let id = SyncId::new(at, random);
    // Before the row: one without an entry would never run, and an entry without a row removes itself.
    api.sync_entries.put(tenant, kind.engine, id, call.now).await?;
    if call.may_be_created()
        && let Some(sync) = api.syncs.get(tenant, id).await?
    {
        call.unchanged();
        return Ok(SyncView::new(&sync));
    }
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
    let after = json!({"kind": sync.kind, "connection_id": sync.connection_id, "settings": sync.settings});
    call.record(&api, sync.id, None, Some(after)).await?;
    api.syncs.create(&sync).await?;
    // Again, since its function may have been faster than the row.
    api.sync_entries.put(tenant, kind.engine, sync.id, call.now).await?;
    Ok(SyncView::new(&sync))
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
    api.sync_entries.put(&sync.tenant, engine, sync.id, call.now).await?;
    Ok(())
}
