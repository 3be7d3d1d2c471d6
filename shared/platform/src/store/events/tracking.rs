//! The rows of an event's deliveries, as people read them: the latest generation of each, or
//! all generations of one.
//!
//! A delivery that waits for its first attempt in a lane has no item, so an event's deliveries are
//! its snapshot and what is found here: an event that was replayed goes to endpoints that its
//! snapshot does not name.

use domain::{DeliveryId, EndpointId, EventId, TenantId, Timestamp, delivery::Delivery};

use super::deliveries::read_delivery;
use crate::{
    Fault,
    store::table::{
        Item, Table,
        attributes::{flag, malformed, text},
        keys,
    },
};

/// Rows that one call reads, each with its attempts.
const ROWS: i32 = 300;

/// A delivery that has a row.
#[derive(Debug, Clone)]
pub struct DeliveryRow {
    /// Where it goes.
    pub endpoint: EndpointId,
    /// Whether the endpoint is the operator's.
    pub operator: bool,
    /// When it was first written; unknown of what was written before lists were kept.
    pub created_at: Option<Timestamp>,
    /// Itself.
    pub delivery: Delivery,
}

/// Deliveries as people read them.
#[derive(Debug, Clone)]
pub struct TrackedDeliveries {
    table: Table,
}

impl TrackedDeliveries {
    pub(crate) fn new(table: Table) -> Self {
        Self { table }
    }

    /// A delivery in its latest generation, read consistently; `None` where it has no row.
    pub async fn latest(&self, tenant: &TenantId, id: DeliveryId) -> Result<Option<DeliveryRow>, Fault> {
        Ok(self.generations(tenant, id, 1).await?.pop())
    }

    /// The latest generations of one delivery, the newest first, at most `limit`, read
    /// consistently.
    pub async fn generations(
        &self,
        tenant: &TenantId,
        id: DeliveryId,
        limit: i32,
    ) -> Result<Vec<DeliveryRow>, Fault> {
        let (pk, first) = keys::generations(tenant, id);
        let last = format!("{first}~");
        let response = self
            .table
            .between(pk, first, last)
            .consistent_read(true)
            .scan_index_forward(false)
            .limit(limit)
            .send()
            .await
            .map_err(Fault::on("reading a delivery"))?;
        response.items().iter().map(read_row).collect()
    }

    /// The deliveries of an event that have a row, each in its latest generation, the
    /// newest endpoint first: those of endpoints before `before` and not before `last`, as far as
    /// `shown` lets them through. Reads no further than it must to know the first `wanted`.
    pub async fn of_event(
        &self,
        tenant: &TenantId,
        event: EventId,
        (before, last): (Option<EndpointId>, Option<EndpointId>),
        shown: impl Fn(&DeliveryRow) -> bool,
        wanted: usize,
    ) -> Result<Vec<DeliveryRow>, Fault> {
        let pk = keys::event_partition(tenant, event);
        // `~` sorts behind everything that keys are spelled with; a prefix before what it begins.
        let first = last.map_or_else(|| keys::DELIVERIES.to_owned(), keys::generations_of_delivery);
        let end = before.map_or_else(|| format!("{}~", keys::DELIVERIES), keys::generations_of_delivery);
        let mut found: Vec<DeliveryRow> = Vec::new();
        if first > end {
            // DynamoDB refuses bounds in the wrong order.
            return Ok(found);
        }
        let mut start = None;
        loop {
            let response = self
                .table
                .between(pk.clone(), first.clone(), end.clone())
                .scan_index_forward(false)
                .consistent_read(true)
                .limit(ROWS)
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(Fault::on("listing deliveries"))?;
            for item in response.items() {
                let row = read_row(item)?;
                // Generations come latest first, so the first one stays.
                if found.last().is_none_or(|before| before.endpoint != row.endpoint) && shown(&row) {
                    found.push(row);
                }
            }
            start = response.last_evaluated_key;
            if start.is_none() || found.len() >= wanted {
                return Ok(found);
            }
        }
    }
}

fn read_row(item: &Item) -> Result<DeliveryRow, Fault> {
    let (endpoint, _) = keys::parse_delivery(text(item, "sk")?).ok_or_else(|| malformed("sk"))?;
    let place = item.get("list_sk").and_then(|place| place.as_s().ok());
    Ok(DeliveryRow {
        endpoint,
        operator: flag(item, "operator"),
        created_at: place.and_then(|place| keys::parse_list_place(place)).map(|(at, ..)| at),
        delivery: read_delivery(item)?,
    })
}
