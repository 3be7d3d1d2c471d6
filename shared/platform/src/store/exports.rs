//! Exports of tenants. Their rows are in the events table, which has a TTL: an export is a record of work, not a setting.

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use domain::{
    ExportId, TenantId,
    tenant::export::{Export, ROW_KEPT},
};
use serde::{Deserialize, Serialize};

use crate::{
    Fault,
    store::table::{
        Item, Table,
        attributes::{parsed, text},
        keys::exports as keys,
        put_if,
        rows::{Order, Span, item},
        transactions::first_condition_held,
    },
};

/// An export, as it is stored.
#[derive(Serialize, Deserialize)]
struct Row {
    #[serde(flatten)]
    export: Export,
    /// In seconds, as the table's TTL requires.
    expires_at: i64,
}

/// That a tenant has an export that is not finished.
#[derive(Serialize)]
struct OpenRow {
    export_id: ExportId,
    expires_at: i64,
}

/// Exports of tenants.
#[derive(Debug, Clone)]
pub struct Exports {
    table: Table,
}

impl Exports {
    pub(crate) fn new(table: Table) -> Self {
        Self { table }
    }

    /// Makes an export. False where the tenant has one that is not finished.
    pub async fn create(&self, export: &Export) -> Result<bool, Fault> {
        let row = row_of(export);
        let open = OpenRow { export_id: export.id, expires_at: row.expires_at };
        let writes = vec![
            self.table.put_new(keys::open_export(&export.tenant_id), &open)?,
            self.table.put_new(keys::export(&export.tenant_id, export.id), &row)?,
        ];
        first_condition_held(self.table.transact(writes).await, "writing an export")
    }

    /// All that are not finished.
    pub async fn open(&self) -> Result<Vec<(TenantId, ExportId)>, Fault> {
        const DOING: &str = "listing open exports";
        // All ids of tenants are between these.
        let (first, last) = ("!".to_owned(), "~".to_owned());
        let rows = self.table.rows_between(keys::open_exports_partition(), first, last, DOING).await?;
        let read = |row: &Item| {
            let tenant = text(row, "sk")?.parse();
            let tenant = tenant.map_err(|_| Fault::new(DOING, "a row is malformed"))?;
            Ok((tenant, parsed(row, "export_id")?))
        };
        rows.iter().map(read).collect()
    }

    /// One export, read consistently.
    pub async fn get(&self, tenant: &TenantId, id: ExportId) -> Result<Option<Export>, Fault> {
        let row: Option<Row> = self.table.get_row(keys::export(tenant, id), true).await?;
        Ok(row.map(|row| row.export))
    }

    /// Exports of a tenant, the newest first: up to `limit` of those before `before`.
    pub async fn list(
        &self,
        tenant: &TenantId,
        before: Option<ExportId>,
        limit: usize,
    ) -> Result<Vec<Export>, Fault> {
        const DOING: &str = "listing exports";
        // `~` sorts behind every id.
        let last = before.map_or_else(|| format!("{}~", keys::EXPORTS), |id| keys::export(tenant, id).1);
        let span = Span { pk: keys::exports_partition(tenant), first: keys::EXPORTS.to_owned(), last };
        let read = |row: Item| {
            let row: Row = serde_dynamo::from_item(row).map_err(Fault::on(DOING))?;
            Ok(Some(row.export).filter(|export| Some(export.id) != before))
        };
        self.table.page(span, Order::NewestFirst, limit, DOING, read).await
    }

    /// Saves how far an export has come. False where its row was removed.
    pub async fn save(&self, export: &Export) -> Result<bool, Fault> {
        let put = self.table.put(item(keys::export(&export.tenant_id, export.id), &row_of(export))?);
        put_if(put.condition_expression("attribute_exists(pk)"), "saving an export").await
    }

    /// Saves an export that has ended; the tenant may have another one. False where that is done.
    pub async fn finish(&self, export: &Export) -> Result<bool, Fault> {
        const DOING: &str = "finishing an export";
        let key = keys::export(&export.tenant_id, export.id);
        let put = self.table.replacement(key, &row_of(export))?.condition_expression("attribute_exists(pk)");
        let put = TransactWriteItem::builder().put(put.build().map_err(Fault::on(DOING))?).build();
        let closing = self.closing(&export.tenant_id, export.id)?;
        first_condition_held(self.table.transact(vec![put, closing]).await, DOING)
    }

    /// Notes that an export is not open, since its row was removed.
    pub async fn close(&self, tenant: &TenantId, id: ExportId) -> Result<(), Fault> {
        let closing = self.closing(tenant, id)?;
        first_condition_held(self.table.transact(vec![closing]).await, "closing an export").map(|_| ())
    }

    fn closing(&self, tenant: &TenantId, id: ExportId) -> Result<TransactWriteItem, Fault> {
        let delete = self
            .table
            .deletion(keys::open_export(tenant))
            .condition_expression("attribute_not_exists(pk) OR export_id = :id")
            .expression_attribute_values(":id", AttributeValue::S(id.to_string()));
        let delete = delete.build().map_err(Fault::on("closing an export"))?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }
}

fn row_of(export: &Export) -> Row {
    Row { export: export.clone(), expires_at: (export.created_at + ROW_KEPT).secs() }
}
