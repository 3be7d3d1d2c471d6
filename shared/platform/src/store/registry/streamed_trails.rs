//! How far the audit trails were sent to the stream, and which have entries to be sent. These rows are not in the table of
//! the trails, where rows are only inserted.

use domain::TenantId;
use serde::{Deserialize, Serialize};

use crate::{
    Fault,
    store::table::{
        Item, Table,
        attributes::{integer, number, parsed},
        delete_if,
        keys::access as keys,
        rows::item,
    },
};

/// A trail that has entries to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TouchedTrail {
    /// Whose it is.
    pub tenant: TenantId,
    /// The number of the entry that was noted last.
    seq: i64,
}

#[derive(Serialize, Deserialize)]
struct MarkRow {
    seq: u64,
}

/// The rows.
#[derive(Debug, Clone)]
pub struct StreamedTrails {
    table: Table,
}

impl StreamedTrails {
    pub(crate) fn new(table: Table) -> Self {
        Self { table }
    }

    /// Notes that a trail has an entry of this number.
    pub async fn touch(&self, tenant: &TenantId, seq: u64) -> Result<(), Fault> {
        let put = self.table.put(item(keys::touched_trail(tenant), &MarkRow { seq })?);
        put.send().await.map(|_| ()).map_err(Fault::on("noting a trail for the stream"))
    }

    /// The trails of one shard that have entries to be sent.
    pub async fn touched(&self, shard: u8) -> Result<Vec<TouchedTrail>, Fault> {
        const DOING: &str = "reading the trails for the stream";
        // A space sorts before every character of a tenant's id.
        let (first, last) = (" ".to_owned(), "~".to_owned());
        let rows = self.table.rows_between(keys::touched_trails(shard), first, last, DOING).await?;
        let read = |row: Item| Ok(TouchedTrail { tenant: parsed(&row, "sk")?, seq: integer(&row, "seq")? });
        rows.into_iter().map(read).collect()
    }

    /// Notes that all of a trail was sent, unless an entry was added since it was read that it has some.
    pub async fn clear(&self, trail: &TouchedTrail) -> Result<(), Fault> {
        let delete = self
            .table
            .delete(keys::touched_trail(&trail.tenant))
            .condition_expression("seq = :seq")
            .expression_attribute_values(":seq", number(trail.seq));
        delete_if(delete, "noting that a trail was sent").await.map(|_| ())
    }

    /// The number of the last entry of a trail that was sent; 0 before the first.
    pub async fn mark(&self, tenant: &TenantId) -> Result<u64, Fault> {
        let row = self.table.get_row::<MarkRow>(keys::streamed_trail(tenant), true).await?;
        Ok(row.map_or(0, |row| row.seq))
    }

    /// Notes that a trail was sent up to the entry of this number.
    pub async fn set_mark(&self, tenant: &TenantId, seq: u64) -> Result<(), Fault> {
        let put = self.table.put(item(keys::streamed_trail(tenant), &MarkRow { seq })?);
        put.send().await.map(|_| ()).map_err(Fault::on("noting how far a trail was sent"))
    }
}
