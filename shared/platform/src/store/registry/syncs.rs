//! Syncs: a row each. The API writes the settings, the function that runs a sync writes its state, and neither writes
//! what the other one does.

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{
    ConnectionId, SyncId, TenantId, Timestamp,
    sync::{SyncSettings, SyncState, kind::KindName},
};
use serde::{Deserialize, Serialize};

use crate::{
    Fault,
    store::table::{
        Item, Table,
        attributes::number,
        keys::sync as keys,
        put_if,
        rows::{Order, Span, item},
        update_if,
    },
};

/// A sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSync {
    /// Which one.
    pub id: SyncId,
    /// Whose it is.
    pub tenant: TenantId,
    /// What it reads.
    pub kind: KindName,
    /// By which connection.
    pub connection_id: ConnectionId,
    /// The tenant's words about it.
    pub label: Option<String>,
    /// Its settings.
    pub settings: SyncSettings,
    /// Whether it was paused.
    pub paused: bool,
    /// Whether everything is to be read again, from the next run on.
    pub resync: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its settings last changed.
    pub updated_at: Timestamp,
    /// How far it has come.
    pub state: SyncState,
    /// When it runs next, as it was last decided.
    pub next_run_at: Option<Timestamp>,
}

/// The row. Settings and state are JSON, so that each is written whole.
#[derive(Serialize, Deserialize)]
struct SyncRow {
    id: SyncId,
    tenant: TenantId,
    kind: KindName,
    connection_id: ConnectionId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    settings: String,
    #[serde(default)]
    paused: bool,
    #[serde(default)]
    resync: bool,
    created_at: i64,
    updated_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next_run_at: Option<i64>,
}

/// What the API changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncSwitch {
    /// It is paused, or goes on.
    Paused(bool),
    /// Everything is read again.
    Resync,
}

/// Syncs.
#[derive(Debug, Clone)]
pub struct Syncs {
    table: Table,
}

impl Syncs {
    pub(crate) fn new(table: Table) -> Self {
        Self { table }
    }

    /// Stores a new sync.
    pub async fn create(&self, sync: &DataSync) -> Result<(), Fault> {
        const DOING: &str = "storing a sync";
        let put = self.table.put(item(keys::sync(&sync.tenant, sync.id), &row(sync)?)?);
        let put = put.condition_expression("attribute_not_exists(pk)");
        if put_if(put, DOING).await? { Ok(()) } else { Err(Fault::new(DOING, "its id is in use")) }
    }

    /// One sync, read consistently.
    pub async fn get(&self, tenant: &TenantId, id: SyncId) -> Result<Option<DataSync>, Fault> {
        let item = self.table.get(keys::sync(tenant, id), true, "reading a sync").await?;
        item.map(read).transpose()
    }

    /// Up to `limit` syncs of a tenant that are older than `before`, the newest first.
    pub async fn list(
        &self,
        tenant: &TenantId,
        before: Option<SyncId>,
        limit: usize,
    ) -> Result<Vec<DataSync>, Fault> {
        let last = before.map_or_else(|| format!("{}~", keys::SYNCS), |id| keys::sync(tenant, id).1);
        let span = Span { pk: tenant.to_string(), first: keys::SYNCS.to_owned(), last };
        let newer = |sync: &DataSync| before.is_none_or(|before| sync.id != before);
        let read = |item| read(item).map(|sync| Some(sync).filter(newer));
        self.table.page(span, Order::NewestFirst, limit, "reading syncs", read).await
    }

    /// Flips a switch; the sync as it is then, or `None` where there is none.
    pub async fn switch(
        &self,
        tenant: &TenantId,
        id: SyncId,
        switch: SyncSwitch,
        now: Timestamp,
    ) -> Result<bool, Fault> {
        let (name, value) = match switch {
            SyncSwitch::Paused(paused) => ("paused", paused),
            SyncSwitch::Resync => ("resync", true),
        };
        let update = self
            .table
            .update(keys::sync(tenant, id))
            .update_expression("SET #switch = :value, updated_at = :now")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_names("#switch", name)
            .expression_attribute_values(":value", AttributeValue::Bool(value))
            .expression_attribute_values(":now", number(now.millis()));
        Ok(update_if(update, "switching a sync").await?.is_some())
    }

    /// Begins a resync: the request for it is taken. False where another run took it, or there is no sync any more.
    pub async fn take_resync(&self, tenant: &TenantId, id: SyncId, state: &SyncState) -> Result<bool, Fault> {
        const DOING: &str = "beginning a resync";
        let update = self
            .table
            .update(keys::sync(tenant, id))
            .update_expression("SET #state = :state REMOVE resync")
            .condition_expression("resync = :true")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":state", state_value(state, DOING)?)
            .expression_attribute_values(":true", AttributeValue::Bool(true));
        Ok(update_if(update, DOING).await?.is_some())
    }

    /// Saves how far a sync has come, and when it runs next. False where the sync was deleted.
    pub async fn save_state(
        &self,
        tenant: &TenantId,
        id: SyncId,
        state: &SyncState,
        next_run_at: Timestamp,
    ) -> Result<bool, Fault> {
        const DOING: &str = "saving the state of a sync";
        let update = self
            .table
            .update(keys::sync(tenant, id))
            .update_expression("SET #state = :state, next_run_at = :next")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":state", state_value(state, DOING)?)
            .expression_attribute_values(":next", number(next_run_at.millis()));
        Ok(update_if(update, DOING).await?.is_some())
    }

    /// Removes a sync; false where there is none.
    pub async fn delete(&self, tenant: &TenantId, id: SyncId) -> Result<bool, Fault> {
        use aws_sdk_dynamodb::types::ReturnValue;
        let delete = self.table.delete(keys::sync(tenant, id)).return_values(ReturnValue::AllOld);
        let deleted = delete.send().await.map_err(Fault::on("deleting a sync"))?;
        Ok(deleted.attributes.is_some_and(|item| !item.is_empty()))
    }
}

fn state_value(state: &SyncState, doing: &'static str) -> Result<AttributeValue, Fault> {
    serde_json::to_string(state).map(AttributeValue::S).map_err(Fault::on(doing))
}

fn row(sync: &DataSync) -> Result<SyncRow, Fault> {
    Ok(SyncRow {
        id: sync.id,
        tenant: sync.tenant.clone(),
        kind: sync.kind,
        connection_id: sync.connection_id,
        label: sync.label.clone(),
        settings: serde_json::to_string(&sync.settings).map_err(Fault::on("writing a sync"))?,
        paused: sync.paused,
        resync: sync.resync,
        created_at: sync.created_at.millis(),
        updated_at: sync.updated_at.millis(),
        state: None,
        next_run_at: sync.next_run_at.map(Timestamp::millis),
    })
}

fn read(item: Item) -> Result<DataSync, Fault> {
    const DOING: &str = "reading a sync";
    let row: SyncRow = serde_dynamo::from_item(item).map_err(Fault::on(DOING))?;
    let state = row.state.map(|text| serde_json::from_str(&text).map_err(Fault::on(DOING))).transpose()?;
    Ok(DataSync {
        id: row.id,
        tenant: row.tenant,
        kind: row.kind,
        connection_id: row.connection_id,
        label: row.label,
        settings: serde_json::from_str(&row.settings).map_err(Fault::on(DOING))?,
        paused: row.paused,
        resync: row.resync,
        created_at: Timestamp::from_millis(row.created_at),
        updated_at: Timestamp::from_millis(row.updated_at),
        state: state.unwrap_or_default(),
        next_run_at: row.next_run_at.map(Timestamp::from_millis),
    })
}
