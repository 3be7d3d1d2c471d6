//! The due index: what is due in a span of time, or held for an endpoint.

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{
    ConnectionId, EndpointId, ReplayId, SyncId, TenantId, Timestamp,
    delivery::{
        Status,
        engine::{change::Place, due::DueChange},
    },
    sync::kind::Engine,
};

use crate::{
    Fault,
    store::{
        events::deliveries::{DeliveryKey, DuePlace, read_key},
        table::{
            Item, Table,
            attributes::{flag, malformed, millis, number, text},
            keys,
            statements::Statement,
        },
    },
};

/// A delivery in the index.
#[derive(Debug, Clone)]
pub struct DueDelivery {
    /// Which one.
    pub key: DeliveryKey,
    /// Whether its endpoint is the operator's.
    pub operator: bool,
    /// Its place.
    pub place: DuePlace,
}

impl DueDelivery {
    /// Its place among the deliveries of its endpoint, once it has this status.
    fn list(&self, status: Status) -> String {
        let owner = self.key.tenant.owner_of_endpoint(self.operator);
        keys::list(&owner, self.key.id, status.group())
    }
}

/// The entry of an endpoint for which work is held.
#[derive(Debug, Clone)]
pub struct DueEndpoint {
    /// Whose endpoint it is.
    pub owner: TenantId,
    /// Which one.
    pub endpoint: EndpointId,
    /// Its place.
    pub place: DuePlace,
}

/// The entry of a replay, which is its own row.
#[derive(Debug, Clone)]
pub struct DueReplay {
    /// Whose replay it is.
    pub owner: TenantId,
    /// Which one.
    pub id: ReplayId,
    /// Its place.
    pub place: DuePlace,
}

/// The entry of a connection whose token is refreshed.
#[derive(Debug, Clone)]
pub struct DueConnection {
    /// Whose connection it is.
    pub tenant: TenantId,
    /// Which one.
    pub connection: ConnectionId,
    /// Its place.
    pub place: DuePlace,
}

/// The entry of a sync.
#[derive(Debug, Clone)]
pub struct DueSync {
    /// Whose sync it is.
    pub tenant: TenantId,
    /// Which function runs it.
    pub engine: Engine,
    /// Which one.
    pub sync: SyncId,
    /// Its place.
    pub place: DuePlace,
}

/// A page of the index.
#[derive(Debug, Default)]
pub struct DuePage {
    /// Deliveries, the longest due first.
    pub deliveries: Vec<DueDelivery>,
    /// Endpoints.
    pub endpoints: Vec<DueEndpoint>,
    /// Replays.
    pub replays: Vec<DueReplay>,
    /// Connections, the longest due first.
    pub connections: Vec<DueConnection>,
    /// Syncs, the longest due first.
    pub syncs: Vec<DueSync>,
    /// Where the next page begins, if there may be one.
    pub end: Option<PageEnd>,
}

/// Where a page ended.
#[derive(Debug, Clone)]
pub struct PageEnd(Item);

impl DuePage {
    fn add(&mut self, item: &Item) -> Result<(), Fault> {
        let place = DuePlace { pk: text(item, "due_pk")?.to_owned(), at: millis(item, "due_at")? };
        let sk = text(item, "sk")?;
        if sk.starts_with(keys::REPLAYS) {
            let (owner, id) = keys::parse_replay(text(item, "pk")?, sk).ok_or_else(|| malformed("sk"))?;
            self.replays.push(DueReplay { owner, id, place });
        } else if sk.starts_with(keys::CONNECTIONS_DUE) {
            let (tenant, connection) =
                keys::parse_connection_due(text(item, "pk")?, sk).ok_or_else(|| malformed("sk"))?;
            self.connections.push(DueConnection { tenant, connection, place });
        } else if sk.starts_with(keys::sync::SYNCS_DUE) {
            let (tenant, engine, sync) =
                keys::sync::parse_sync_due(text(item, "pk")?, sk).ok_or_else(|| malformed("sk"))?;
            self.syncs.push(DueSync { tenant, engine, sync, place });
        } else if sk == keys::DRAIN {
            let (owner, endpoint) =
                keys::parse_drain_partition(text(item, "pk")?).ok_or_else(|| malformed("pk"))?;
            self.endpoints.push(DueEndpoint { owner, endpoint, place });
        } else {
            let operator = flag(item, "operator");
            self.deliveries.push(DueDelivery { key: read_key(item)?, operator, place });
        }
        Ok(())
    }

    /// Whether nothing is due.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
            && self.endpoints.is_empty()
            && self.replays.is_empty()
            && self.connections.is_empty()
            && self.syncs.is_empty()
    }
}

/// The index, and its entries of deliveries.
#[derive(Debug, Clone)]
pub struct DueIndex {
    table: Table,
}

impl DueIndex {
    pub(crate) fn new(table: Table) -> Self {
        Self { table }
    }

    /// What is due in one partition of the index by `until`, at most `limit` entries.
    pub async fn page(&self, pk: String, until: Timestamp, limit: i32) -> Result<DuePage, Fault> {
        self.page_after(pk, until, limit, None).await
    }

    /// The same, behind what an earlier page ended with.
    pub async fn page_after(
        &self,
        pk: String,
        until: Timestamp,
        limit: i32,
        after: Option<PageEnd>,
    ) -> Result<DuePage, Fault> {
        let doing = "reading the due index";
        let response = self
            .table
            .query()
            .index_name("due")
            .key_condition_expression("due_pk = :pk AND due_at <= :until")
            .expression_attribute_values(":pk", AttributeValue::S(pk))
            .expression_attribute_values(":until", number(until.millis()))
            .limit(limit)
            .set_exclusive_start_key(after.map(|PageEnd(key)| key))
            .send()
            .await
            .map_err(Fault::on(doing))?;
        let end = response.last_evaluated_key.clone().map(PageEnd);
        let mut page = DuePage { end, ..DuePage::default() };
        for item in response.items() {
            // One malformed entry must not block all behind it.
            if let Err(fault) = page.add(item) {
                tracing::error!(%fault, "skipped unreadable entry of the due index");
            }
        }
        Ok(page)
    }

    /// Makes the same change to deliveries that were found in the index. Says to which; the others are no longer
    /// where they were found.
    pub async fn change(&self, found: &[DueDelivery], change: DueChange) -> Vec<Result<bool, Fault>> {
        let statements = found.iter().map(|found| self.statement(found, change)).collect();
        let doing = match change {
            DueChange::Take(_) => "taking what is due",
            DueChange::Release(_) => "releasing held deliveries",
            DueChange::Discard => "discarding held deliveries",
        };
        self.table.apply(statements, doing).await
    }

    fn statement(&self, found: &DueDelivery, change: DueChange) -> Statement {
        let DeliveryKey { tenant, id, generation } = &found.key;
        let mut update = Statement::update(&self.table);
        if let Some(status) = change.status() {
            update = update
                .set("status", AttributeValue::S(status.as_str().to_owned()))
                .set("list_pk", AttributeValue::S(found.list(status)))
                .put("next_attempt_at", change.next_attempt_at().map(|at| number(at.millis())))
                .remove("parked_reason");
        }
        let place = change.place().map(Place::at);
        update
            .put("due_pk", place.map(|at| AttributeValue::S(keys::due(*id, at))))
            .put("due_at", place.map(|at| number(at.millis())))
            .at(keys::delivery(tenant, *id, *generation))
            .and("due_pk", AttributeValue::S(found.place.pk.clone()))
            .and("due_at", number(found.place.at.millis()))
            .done()
    }
}
