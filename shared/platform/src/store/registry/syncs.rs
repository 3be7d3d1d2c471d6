//! Syncs: a row each. The API writes the settings, and the function that runs a sync writes its state; the API writes that
//! too where it has written a record, under the lease of the connection, which a run holds as well.
//!
//! What a sync reads has a row of its own, so that no two syncs of a tenant publish the same changes.

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::{
    operation::update_item::builders::UpdateItemFluentBuilder,
    types::{AttributeValue, TransactWriteItem},
};
use domain::{
    ConnectionId, SyncId, TenantId, Timestamp,
    sync::{SyncSettings, SyncState, kind::KindName},
};
use serde::{Deserialize, Serialize};

use super::tenants::{counting, counting_less};
use crate::{
    Fault,
    store::table::{
        Item, Table,
        attributes::number,
        delete_if,
        keys::sync as keys,
        put_if,
        rows::{Order, Span, item},
        transactions::first_condition_held,
        update_if,
    },
};

/// The attribute of a tenant that counts its syncs.
const COUNT: &str = "sync_count";

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

/// Which sync reads something.
#[derive(Serialize, Deserialize)]
struct SourceRow {
    sync: SyncId,
    claimed_at: i64,
}

/// Syncs of one connection that are looked through.
const READERS: usize = 1000;

/// The syncs of a kind that read by a connection.
#[derive(Debug)]
pub struct Readers {
    tenant: TenantId,
    connection: ConnectionId,
    kind: KindName,
    found: HashMap<String, SyncId>,
}

impl Readers {
    /// The one that reads what these settings name.
    #[must_use]
    pub fn of(&self, settings: &SyncSettings) -> Option<SyncId> {
        self.found.get(&keys::synced(&self.tenant, self.connection, self.kind, settings).1).copied()
    }
}

/// How long the creation of a sync can take.
pub const CLAIM: Duration = Duration::from_mins(1);

/// How often a claim is tried while others change what it is about.
const CLAIM_TRIES: u32 = 3;

/// What there is after a sync has claimed what it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceClaim {
    /// The sync has it.
    Own,
    /// Another one reads it.
    Other(SyncId),
    /// Another one is being created, or its creation broke off within [`CLAIM`].
    Undecided,
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

    /// Stores a new sync. False where the tenant has as many as it may. The operator's are not counted: its row is made
    /// with its first endpoint.
    pub async fn create(&self, sync: &DataSync, limit: u32) -> Result<bool, Fault> {
        const DOING: &str = "storing a sync";
        let put = self.table.put_new(keys::sync(&sync.tenant, sync.id), &row(sync)?)?;
        if sync.tenant.is_operator() {
            self.table.transact(vec![put]).await.map_err(Fault::on(DOING))?;
            return Ok(true);
        }
        let writes = vec![counting(&self.table, &sync.tenant, COUNT, limit)?, put];
        first_condition_held(self.table.transact(writes).await, DOING)
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
            .saving(tenant, id, state, DOING)?
            .update_expression("SET #state = :state, next_run_at = :next")
            .expression_attribute_values(":next", number(next_run_at.millis()));
        Ok(update_if(update, DOING).await?.is_some())
    }

    /// Saves the state of a sync for the holder of its connection's lease that has written one of its records. False where
    /// the sync was deleted.
    pub async fn save_counts(&self, tenant: &TenantId, id: SyncId, state: &SyncState) -> Result<bool, Fault> {
        const DOING: &str = "saving the counts of a sync";
        let update = self.saving(tenant, id, state, DOING)?.update_expression("SET #state = :state");
        Ok(update_if(update, DOING).await?.is_some())
    }

    /// An update with a state, of a sync that was not deleted.
    fn saving(
        &self,
        tenant: &TenantId,
        id: SyncId,
        state: &SyncState,
        doing: &'static str,
    ) -> Result<UpdateItemFluentBuilder, Fault> {
        let update = self.table.update(keys::sync(tenant, id));
        Ok(update
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":state", state_value(state, doing)?))
    }

    /// Notes that a sync reads what these settings name, unless another one does so already.
    pub async fn claim_source(&self, sync: &DataSync, now: Timestamp) -> Result<SourceClaim, Fault> {
        const DOING: &str = "noting what a sync reads";
        let key = keys::synced(&sync.tenant, sync.connection_id, sync.kind, &sync.settings);
        let mut held: Option<SyncId> = None;
        // The row of a sync that is gone is taken over.
        for _ in 0..CLAIM_TRIES {
            let row = SourceRow { sync: sync.id, claimed_at: now.millis() };
            let put = self.table.put(item(key.clone(), &row)?);
            let put = match &held {
                None => put.condition_expression("attribute_not_exists(pk)"),
                Some(held) => put
                    .condition_expression("sync = :held")
                    .expression_attribute_values(":held", AttributeValue::S(held.to_string())),
            };
            if put_if(put, DOING).await? {
                return Ok(SourceClaim::Own);
            }
            let Some(known) = self.table.get_row::<SourceRow>(key.clone(), true).await? else {
                // Its sync was deleted meanwhile.
                held = None;
                continue;
            };
            if known.sync == sync.id {
                return Ok(SourceClaim::Own);
            }
            if self.get(&sync.tenant, known.sync).await?.is_some() {
                return Ok(SourceClaim::Other(known.sync));
            }
            // One that is just being created has no row of its own yet.
            if now.since(Timestamp::from_millis(known.claimed_at)) < CLAIM {
                return Ok(SourceClaim::Undecided);
            }
            held = Some(known.sync);
        }
        Ok(SourceClaim::Undecided)
    }

    /// Forgets that a sync reads what it reads.
    pub async fn release_source(&self, sync: &DataSync) -> Result<(), Fault> {
        let key = keys::synced(&sync.tenant, sync.connection_id, sync.kind, &sync.settings);
        let delete = self
            .table
            .delete(key)
            .condition_expression("sync = :id")
            .expression_attribute_values(":id", AttributeValue::S(sync.id.to_string()));
        delete_if(delete, "forgetting what a sync reads").await.map(|_| ())
    }

    /// The syncs of a kind that read by a connection.
    pub async fn readers(
        &self,
        tenant: &TenantId,
        connection: ConnectionId,
        kind: KindName,
    ) -> Result<Readers, Fault> {
        const DOING: &str = "reading what syncs read";
        let first = keys::synced_by(connection, kind);
        let span = Span { pk: tenant.to_string(), last: format!("{first}~"), first };
        let read = |item: Item| {
            let sk = item.get("sk").and_then(|sk| sk.as_s().ok()).cloned().unwrap_or_default();
            let row: SourceRow = serde_dynamo::from_item(item).map_err(Fault::on(DOING))?;
            Ok(Some((sk, row.sync)))
        };
        let found = self.table.page(span, Order::ByName, READERS, DOING, read).await?;
        Ok(Readers { tenant: tenant.clone(), connection, kind, found: found.into_iter().collect() })
    }

    /// Removes a sync; false where there is none.
    pub async fn delete(&self, tenant: &TenantId, id: SyncId) -> Result<bool, Fault> {
        const DOING: &str = "deleting a sync";
        let delete = self.table.deletion(keys::sync(tenant, id)).condition_expression("attribute_exists(pk)");
        let delete = delete.build().map_err(Fault::on(DOING))?;
        let mut writes = vec![TransactWriteItem::builder().delete(delete).build()];
        if !tenant.is_operator() {
            writes.push(counting_less(&self.table, tenant, COUNT)?);
        }
        first_condition_held(self.table.transact(writes).await, DOING)
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
