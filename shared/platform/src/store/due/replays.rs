//! Replays: a row each, which is its own entry in the due index while it runs, and a row for each
//! endpoint that has one running. Both are written together, so neither is ever left alone.

use aws_sdk_dynamodb::types::{AttributeValue, Put, ReturnValue, TransactWriteItem};
use domain::{
    EndpointId, ReplayId, TenantId, Timestamp,
    delivery::Retention,
    recovery::replay::{PausedFor, Selection, Status},
    saturating,
};
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};

use super::index::DueReplay;
use crate::{
    Fault,
    store::{
        events::deliveries::DuePlace,
        table::{
            Item, Table,
            attributes::{expires_at, number, parsed},
            keys, put_if,
            transactions::first_condition_held,
            update_if,
        },
    },
};

/// A replay, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// Which one.
    pub id: ReplayId,
    /// The endpoint that gets it.
    pub endpoint_id: EndpointId,
    /// Whose events it delivers: the owner's own, or those of a tenant where the endpoint is the
    /// operator's.
    pub tenant_id: TenantId,
    /// What it delivers.
    pub selection: Selection,
    /// From when on; inclusive.
    pub since: Timestamp,
    /// Until when; exclusive.
    pub until: Timestamp,
    /// How long its events are kept at most.
    #[serde(default)]
    pub retention_days: Retention,
    /// Deliveries a second.
    pub rate: u32,
    /// Its status.
    pub status: Status,
    /// What it waits for, while it is paused.
    pub paused_for: Option<PausedFor>,
    /// How many deliveries or events it has examined.
    pub scanned_count: u64,
    /// How many deliveries it has started.
    pub started_count: u64,
    /// Its place in what it goes through; `None` at its beginning.
    pub cursor: Option<String>,
    /// How far it has come.
    pub position: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Why it failed, or why its last step did, as a sentence.
    pub error: Option<String>,
    /// Steps that failed one after the other.
    #[serde(default)]
    pub faults: u32,
}

/// Replays, and which endpoints have one running.
#[derive(Debug, Clone)]
pub struct Replays {
    table: Table,
}

impl Replays {
    pub(crate) fn new(table: Table) -> Self {
        Self { table }
    }

    /// Makes a replay that begins at once. False where the endpoint has one running.
    pub async fn create(&self, owner: &TenantId, replay: &Replay) -> Result<bool, Fault> {
        const DOING: &str = "writing a replay";
        let (pk, sk) = keys::running(owner, replay.endpoint_id);
        let running = Item::from([
            ("pk".to_owned(), AttributeValue::S(pk)),
            ("sk".to_owned(), AttributeValue::S(sk)),
            ("id".to_owned(), AttributeValue::S(replay.id.to_string())),
        ]);
        let first = Put::builder()
            .table_name(self.table.name())
            .set_item(Some(running))
            .condition_expression("attribute_not_exists(pk)")
            .build()
            .map_err(Fault::on(DOING))?;
        let created = replay.created_at;
        let row = Put::builder()
            .table_name(self.table.name())
            .set_item(Some(replay_item(owner, replay, Some(created), created)?))
            .condition_expression("attribute_not_exists(pk)")
            .build()
            .map_err(Fault::on(DOING))?;
        let writes = vec![
            TransactWriteItem::builder().put(first).build(),
            TransactWriteItem::builder().put(row).build(),
        ];
        first_condition_held(self.table.transact(writes).await, DOING)
    }

    /// How many replays of an owner are running.
    pub async fn running_count(&self, owner: &TenantId) -> Result<usize, Fault> {
        let doing = "counting replays";
        Ok(self.table.rows_under(keys::replays_partition(owner), keys::RUNNING, doing).await?.len())
    }

    /// The replays of an owner that are running: ten at most, and a read for each.
    pub async fn running(&self, owner: &TenantId) -> Result<Vec<Replay>, Fault> {
        let doing = "listing running replays";
        let markers = self.table.rows_under(keys::replays_partition(owner), keys::RUNNING, doing).await?;
        let ids: Vec<ReplayId> = markers.iter().map(|item| parsed(item, "id")).collect::<Result<_, _>>()?;
        let replays = try_join_all(ids.into_iter().map(|id| self.get(owner, id))).await?;
        Ok(replays.into_iter().flatten().collect())
    }

    /// One replay, read consistently.
    pub async fn get(&self, owner: &TenantId, id: ReplayId) -> Result<Option<Replay>, Fault> {
        let item = self.table.get(keys::replay(owner, id), true, "reading a replay").await?;
        item.map(read_replay).transpose()
    }

    /// Replays of an owner, the newest first: up to `limit` of those before `before`, of one endpoint
    /// where that is asked for.
    pub async fn list(
        &self,
        owner: &TenantId,
        endpoint: Option<EndpointId>,
        before: Option<ReplayId>,
        limit: usize,
    ) -> Result<Vec<Replay>, Fault> {
        // `~` sorts behind every id.
        let last = before.map_or_else(|| format!("{}~", keys::REPLAYS), |id| keys::replay(owner, id).1);
        let mut found = Vec::new();
        let mut start = None;
        loop {
            let response = self
                .table
                .between(keys::replays_partition(owner), keys::REPLAYS.to_owned(), last.clone())
                .scan_index_forward(false)
                .consistent_read(true)
                // One more, since the bound itself is among them.
                .limit(saturating::<i32>(limit).saturating_add(1))
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(Fault::on("listing replays"))?;
            for item in response.items.unwrap_or_default() {
                let replay = read_replay(item)?;
                if Some(replay.id) != before && endpoint.is_none_or(|wanted| wanted == replay.endpoint_id) {
                    found.push(replay);
                }
            }
            start = response.last_evaluated_key;
            if start.is_none() || found.len() >= limit {
                found.truncate(limit);
                return Ok(found);
            }
        }
    }

    /// Stops a replay before its next step. False where it is not running any more.
    pub async fn cancel(&self, owner: &TenantId, replay: &Replay, now: Timestamp) -> Result<bool, Fault> {
        const DOING: &str = "cancelling a replay";
        let text = |status: Status| serde_dynamo::to_attribute_value(status).map_err(Fault::on(DOING));
        let finished = serde_dynamo::to_attribute_value(now).map_err(Fault::on(DOING))?;
        let update = self
            .table
            .change(keys::replay(owner, replay.id))
            .update_expression(
                "SET #status = :cancelled, finished_at = :now, paused_for = :nothing REMOVE due_pk, due_at",
            )
            .condition_expression("#status = :running")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":cancelled", text(Status::Cancelled)?)
            .expression_attribute_values(":running", text(Status::Running)?)
            .expression_attribute_values(":now", finished)
            .expression_attribute_values(":nothing", AttributeValue::Null(true))
            .build()
            .map_err(Fault::on(DOING))?;
        let writes = vec![
            TransactWriteItem::builder().update(update).build(),
            self.not_running(owner, replay.endpoint_id, DOING)?,
        ];
        first_condition_held(self.table.transact(writes).await, DOING)
    }

    /// Takes a replay for one step: moves its entry ahead, if it is still where it was found.
    pub async fn take(&self, entry: &DueReplay, lease: Timestamp) -> Result<Option<Replay>, Fault> {
        let taken = self
            .table
            .update(keys::replay(&entry.owner, entry.id))
            .update_expression("SET due_pk = :pk, due_at = :due")
            .condition_expression("due_pk = :old_pk AND due_at = :old_due")
            .expression_attribute_values(":pk", AttributeValue::S(keys::due_replay(entry.id, lease)))
            .expression_attribute_values(":due", number(lease.millis()))
            .expression_attribute_values(":old_pk", AttributeValue::S(entry.place.pk.clone()))
            .expression_attribute_values(":old_due", number(entry.place.at.millis()))
            .return_values(ReturnValue::AllNew);
        let taken = update_if(taken, "taking a replay").await?;
        taken.and_then(|response| response.attributes).map(read_replay).transpose()
    }

    /// Saves the progress of a replay whose entry is still at `entry`, and when it continues. False
    /// where it is not: the replay was cancelled.
    pub async fn save(
        &self,
        entry: &DueReplay,
        replay: &Replay,
        due: Timestamp,
        now: Timestamp,
    ) -> Result<bool, Fault> {
        let put = self
            .table
            .put(replay_item(&entry.owner, replay, Some(due), now)?)
            .condition_expression("due_pk = :pk AND due_at = :due")
            .expression_attribute_values(":pk", AttributeValue::S(entry.place.pk.clone()))
            .expression_attribute_values(":due", number(entry.place.at.millis()));
        put_if(put, "saving a replay's progress").await
    }

    /// Ends a replay whose entry is still at `entry`. False where it is not.
    pub async fn end(&self, entry: &DueReplay, replay: &Replay, now: Timestamp) -> Result<bool, Fault> {
        const DOING: &str = "ending a replay";
        let put = Put::builder()
            .table_name(self.table.name())
            .set_item(Some(replay_item(&entry.owner, replay, None, now)?))
            .condition_expression("due_pk = :pk AND due_at = :due")
            .expression_attribute_values(":pk", AttributeValue::S(entry.place.pk.clone()))
            .expression_attribute_values(":due", number(entry.place.at.millis()))
            .build()
            .map_err(Fault::on(DOING))?;
        let writes = vec![
            TransactWriteItem::builder().put(put).build(),
            self.not_running(&entry.owner, replay.endpoint_id, DOING)?,
        ];
        first_condition_held(self.table.transact(writes).await, DOING)
    }

    /// Only a write that ends the endpoint's running replay in the same transaction may do this.
    fn not_running(
        &self,
        owner: &TenantId,
        endpoint: EndpointId,
        doing: &'static str,
    ) -> Result<TransactWriteItem, Fault> {
        let delete = self.table.deletion(keys::running(owner, endpoint)).build().map_err(Fault::on(doing))?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }
}

fn replay_item(
    owner: &TenantId,
    replay: &Replay,
    due: Option<Timestamp>,
    now: Timestamp,
) -> Result<Item, Fault> {
    let mut item: Item = serde_dynamo::to_item(replay).map_err(Fault::on("writing a replay"))?;
    let (pk, sk) = keys::replay(owner, replay.id);
    let mut put = |name: &str, value| item.insert(name.to_owned(), value);
    put("pk", AttributeValue::S(pk));
    put("sk", AttributeValue::S(sk));
    // As long as it runs, it is kept.
    put("expires_at", expires_at(now, Retention::DEFAULT));
    if let Some(due) = due {
        put("due_pk", AttributeValue::S(keys::due_replay(replay.id, due)));
        put("due_at", number(due.millis()));
    }
    Ok(item)
}

fn read_replay(item: Item) -> Result<Replay, Fault> {
    serde_dynamo::from_item(item).map_err(Fault::on("reading a replay"))
}

/// The place of a replay's entry that is due then.
pub(crate) fn replay_place(id: ReplayId, due: Timestamp) -> DuePlace {
    DuePlace { pk: keys::due_replay(id, due), at: due }
}
