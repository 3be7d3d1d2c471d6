//! Deletions of tenants: requested, under way, and their proofs. The rows are the operator's.

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use domain::{
    TenantId, saturating,
    tenant::{Deletion, erasure::Erasure},
};
use serde::Serialize;

use crate::{
    Fault,
    store::table::{Item, Table, keys, keys::Key, rows::item, transactions::first_condition_held},
};

/// That the trail of an erased tenant is to be signed once more; its key says all.
#[derive(Serialize)]
struct UnsignedRow {}

/// Deletions of tenants.
#[derive(Debug, Clone)]
pub struct Erasures {
    table: Table,
}

impl Erasures {
    pub(crate) fn new(table: Table) -> Self {
        Self { table }
    }

    /// All that are not done.
    pub async fn open(&self) -> Result<Vec<Erasure>, Fault> {
        const DOING: &str = "reading the deletions of tenants";
        let rows = self.table.rows_under(keys::deletions_partition(), keys::OPEN_DELETIONS, DOING).await?;
        rows.into_iter().map(|row| serde_dynamo::from_item(row).map_err(Fault::on(DOING))).collect()
    }

    /// The deletion of a tenant that is not done; otherwise the newest one that is.
    pub async fn of_tenant(&self, tenant: &TenantId) -> Result<Option<Erasure>, Fault> {
        const DOING: &str = "reading the deletion of a tenant";
        if let Some(open) = self.table.get_row(keys::open_deletion(tenant), true).await? {
            return Ok(Some(open));
        }
        let first = keys::deletion_proofs(tenant);
        let query = self.table.between(keys::deletions_partition(), first.clone(), format!("{first}~"));
        let newest = query.scan_index_forward(false).consistent_read(true).limit(1);
        let response = newest.send().await.map_err(Fault::on(DOING))?;
        let row = response.items.unwrap_or_default().pop();
        row.map(|row| serde_dynamo::from_item(row).map_err(Fault::on(DOING))).transpose()
    }

    /// Up to `limit` deletions behind a place, each with its own: those that are not done first, then by tenant.
    pub async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<(String, Erasure)>, Fault> {
        const DOING: &str = "listing the deletions of tenants";
        let query = self
            .table
            .query()
            .key_condition_expression("pk = :pk AND sk > :after")
            .expression_attribute_values(":pk", AttributeValue::S(keys::deletions_partition()))
            .expression_attribute_values(":after", AttributeValue::S(after.unwrap_or(" ").to_owned()));
        let response = query.limit(saturating(limit)).send().await.map_err(Fault::on(DOING))?;
        let read = |row: Item| {
            let place = row.get("sk").and_then(|sk| sk.as_s().ok()).cloned().unwrap_or_default();
            Ok((place, serde_dynamo::from_item(row).map_err(Fault::on(DOING))?))
        };
        response.items.unwrap_or_default().into_iter().map(read).collect()
    }

    /// Saves how far a deletion has come.
    pub async fn save(&self, erasure: &Erasure) -> Result<(), Fault> {
        let put = self.table.put(item(keys::open_deletion(&erasure.tenant_id), erasure)?);
        put.send().await.map(|_| ()).map_err(Fault::on("saving the deletion of a tenant"))
    }

    /// Removes the tenant's row and its place in the list, and keeps the proof instead. False where that is done.
    pub async fn finish(&self, erasure: &Erasure) -> Result<bool, Fault> {
        const DOING: &str = "finishing the deletion of a tenant";
        let tenant = &erasure.tenant_id;
        let began_at = erasure.deletion.began_at.unwrap_or(erasure.deletion.deletes_at);
        let open =
            self.table.deletion(keys::open_deletion(tenant)).condition_expression("attribute_exists(pk)");
        let open = open.build().map_err(Fault::on("deleting a row"))?;
        let open = TransactWriteItem::builder().delete(open).build();
        let row = self.table.removal(keys::tenant(tenant), None)?;
        let listing = self.table.removal(keys::tenant_listing(tenant), None)?;
        let proof = put_write(&self.table, keys::deletion_proof(tenant, began_at), erasure)?;
        let unsigned = put_write(&self.table, keys::access::unsigned_trail(tenant), &UnsignedRow {})?;
        first_condition_held(self.table.transact(vec![open, row, listing, proof, unsigned]).await, DOING)
    }

    /// Tenants that were erased and whose trails have not been signed since.
    pub async fn unsigned_trails(&self) -> Result<Vec<TenantId>, Fault> {
        const DOING: &str = "reading the trails of erased tenants";
        // A space sorts before every character of a tenant's id.
        let (first, last) = (" ".to_owned(), "~".to_owned());
        let rows =
            self.table.rows_between(keys::access::UNSIGNED_TRAILS.to_owned(), first, last, DOING).await?;
        let read = |row: Item| row.get("sk")?.as_s().ok()?.parse().ok();
        Ok(rows.into_iter().filter_map(read).collect())
    }

    /// Notes that the trail of an erased tenant was signed.
    pub async fn note_signed(&self, tenant: &TenantId) -> Result<(), Fault> {
        let delete = self.table.delete(keys::access::unsigned_trail(tenant));
        delete.send().await.map(|_| ()).map_err(Fault::on("noting the signature of an erased tenant's trail"))
    }
}

/// The write of a transaction that keeps the row of a requested deletion as the tenant's row has it.
pub(super) fn request_write(
    table: &Table,
    tenant: &TenantId,
    deletion: Option<&Deletion>,
) -> Result<TransactWriteItem, Fault> {
    let key = keys::open_deletion(tenant);
    match deletion {
        None => table.removal(key, None),
        Some(deletion) => put_write(table, key, &Erasure::new(tenant.clone(), deletion.clone())),
    }
}

fn put_write<T: Serialize>(table: &Table, key: Key, row: &T) -> Result<TransactWriteItem, Fault> {
    let put = table.replacement(key, row)?.build().map_err(Fault::on("writing the deletion of a tenant"))?;
    Ok(TransactWriteItem::builder().put(put).build())
}
