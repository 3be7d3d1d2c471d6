//! The catalog of event types: a row for each, and one that counts them, their size, and the changes
//! to any. Every change moves that count, so a single small read shows whether
//! the catalog that is known is still the latest.

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use domain::{
    Timestamp,
    event::{
        EventData, EventType,
        catalog::{self, CatalogEntry},
        schema::SchemaText,
    },
    saturating,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{
    Fault,
    store::table::{
        Item, Table, keys,
        rows::{Order, Span},
        transactions::{has_reason, reasons},
    },
};

const DOING: &str = "reading the catalog";

/// A type with the count of the changes to it: a change is made on the condition that the count is
/// still the one that was read.
#[derive(Debug, Clone)]
pub struct VersionedEntry {
    /// The type.
    pub entry: CatalogEntry,
    /// How often it was changed.
    pub changes: u64,
}

/// The result of a change to the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatalogWriteOutcome {
    /// It is made.
    Made,
    /// It was changed concurrently; read again.
    Changed,
    /// The catalog has no room for it.
    Full,
}

#[derive(Serialize, Deserialize)]
struct EventTypeRow {
    r#type: EventType,
    description: String,
    /// Schema and example are kept as they were written, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    schema: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    example: Option<String>,
    version: u32,
    archived: bool,
    enforce: bool,
    created_at: i64,
    updated_at: i64,
    changes: u64,
}

#[derive(Deserialize)]
struct CatalogRow {
    revision: u64,
}

impl EventTypeRow {
    fn new(entry: &CatalogEntry, changes: u64) -> Self {
        Self {
            r#type: entry.event_type.clone(),
            description: entry.description.clone(),
            schema: entry.schema.as_ref().map(|schema| schema.as_str().to_owned()),
            example: entry.example.as_ref().map(|example| example.as_str().to_owned()),
            version: entry.version,
            archived: entry.archived,
            enforce: entry.enforce,
            created_at: entry.created_at.millis(),
            updated_at: entry.updated_at.millis(),
            changes,
        }
    }

    fn read(self) -> Result<VersionedEntry, Fault> {
        let entry = CatalogEntry {
            event_type: self.r#type,
            description: self.description,
            schema: self.schema.map(json::<SchemaText, _>).transpose()?,
            example: self.example.map(json::<EventData, _>).transpose()?,
            version: self.version,
            archived: self.archived,
            enforce: self.enforce,
            created_at: Timestamp::from_millis(self.created_at),
            updated_at: Timestamp::from_millis(self.updated_at),
        };
        Ok(VersionedEntry { entry, changes: self.changes })
    }
}

/// A text of a row that was checked before it was written.
fn json<T: TryFrom<Box<RawValue>, Error = E>, E: ToString>(text: String) -> Result<T, Fault> {
    let raw = RawValue::from_string(text).map_err(Fault::on(DOING))?;
    T::try_from(raw).map_err(|why| Fault::new(DOING, why.to_string()))
}

fn read<T: DeserializeOwned>(row: Item) -> Result<T, Fault> {
    serde_dynamo::from_item(row).map_err(Fault::on(DOING))
}

/// The event types of the catalog.
#[derive(Debug, Clone)]
pub struct EventTypes {
    table: Table,
}

impl EventTypes {
    pub(crate) fn new(table: Table) -> Self {
        Self { table }
    }

    /// How often the catalog was changed; 0 where there is none.
    pub async fn revision(&self) -> Result<u64, Fault> {
        let row = self.table.get_row::<CatalogRow>(keys::catalog(), true).await?;
        Ok(row.map_or(0, |row| row.revision))
    }

    /// One type of the catalog, as it is now.
    pub async fn get(&self, event_type: &EventType) -> Result<Option<VersionedEntry>, Fault> {
        let row = self.table.get_row::<EventTypeRow>(keys::event_type(event_type), true).await?;
        row.map(EventTypeRow::read).transpose()
    }

    /// The whole catalog, in the order of the types' names.
    pub async fn all(&self) -> Result<Vec<CatalogEntry>, Fault> {
        let rows = self.table.rows_under(keys::catalog().0, keys::EVENT_TYPES, DOING).await?;
        rows.into_iter().map(|row| Ok(read::<EventTypeRow>(row)?.read()?.entry)).collect()
    }

    /// Up to `limit` types of the catalog, in the order of their names: those behind `after`, archived
    /// or not where that is asked for.
    pub async fn list(
        &self,
        after: Option<&EventType>,
        archived: Option<bool>,
        limit: usize,
    ) -> Result<Vec<CatalogEntry>, Fault> {
        let first = after.map_or_else(|| keys::EVENT_TYPES.to_owned(), |after| keys::event_type(after).1);
        // `~` sorts behind everything that types are spelled with.
        let last = format!("{}~", keys::EVENT_TYPES);
        let read = |item| {
            let entry = read::<EventTypeRow>(item)?.read()?.entry;
            let listed =
                Some(&entry.event_type) != after && archived.is_none_or(|asked| asked == entry.archived);
            Ok(listed.then_some(entry))
        };
        let span = Span { pk: keys::catalog().0, first, last };
        self.table.page(span, Order::ByName, limit, DOING, read).await
    }

    /// Writes a type of the catalog: a new one, or in place of what was read.
    pub async fn write(
        &self,
        before: Option<&VersionedEntry>,
        entry: &CatalogEntry,
    ) -> Result<CatalogWriteOutcome, Fault> {
        let doing = "writing to the catalog";
        let changes = before.map_or(1, |before| before.changes + 1);
        let row = EventTypeRow::new(entry, changes);
        let put = self.table.replacement(keys::event_type(&entry.event_type), &row)?;
        let put = match before {
            None => put.condition_expression("attribute_not_exists(pk)"),
            Some(before) => put
                .condition_expression(UNCHANGED)
                .expression_attribute_values(":known", count(before.changes))
                .expression_attribute_values(":made", made(before)),
        };
        let put = TransactWriteItem::builder().put(put.build().map_err(Fault::on(doing))?).build();
        let sizes = (before.map_or(0, |before| before.entry.size()), entry.size());
        self.change_catalog(i32::from(before.is_none()), sizes, put, doing).await
    }

    /// Takes a type out of the catalog.
    pub async fn delete(&self, before: &VersionedEntry) -> Result<CatalogWriteOutcome, Fault> {
        let doing = "taking out of the catalog";
        let delete = self
            .table
            .deletion(keys::event_type(&before.entry.event_type))
            .condition_expression(UNCHANGED)
            .expression_attribute_values(":known", count(before.changes))
            .expression_attribute_values(":made", made(before))
            .build()
            .map_err(Fault::on(doing))?;
        let delete = TransactWriteItem::builder().delete(delete).build();
        self.change_catalog(-1, (before.entry.size(), 0), delete, doing).await
    }

    /// One change to a type, together with the count of them all.
    async fn change_catalog(
        &self,
        more: i32,
        (before, after): (usize, usize),
        change: TransactWriteItem,
        doing: &'static str,
    ) -> Result<CatalogWriteOutcome, Fault> {
        let growth = saturating::<i64>(after) - saturating::<i64>(before);
        let update = self
            .table
            .change(keys::catalog())
            .update_expression("ADD event_types :more, size_in_all :growth, revision :one")
            .expression_attribute_values(":more", AttributeValue::N(more.to_string()))
            .expression_attribute_values(":growth", AttributeValue::N(growth.to_string()))
            .expression_attribute_values(":one", count(1));
        let mut room = Vec::new();
        let mut update = update;
        if more > 0 {
            room.push("event_types < :limit");
            update = update.expression_attribute_values(
                ":limit",
                AttributeValue::N(catalog::EVENT_TYPE_LIMIT.to_string()),
            );
        }
        if growth > 0 {
            let left = saturating::<i64>(catalog::CATALOG_SIZE_LIMIT) - growth;
            room.push("size_in_all <= :left");
            update = update.expression_attribute_values(":left", AttributeValue::N(left.to_string()));
        }
        if !room.is_empty() {
            let room = room.join(" AND ");
            update = update.condition_expression(format!("attribute_not_exists(pk) OR ({room})"));
        }
        let update = update.build().map_err(Fault::on(doing))?;
        let writes = vec![TransactWriteItem::builder().update(update).build(), change];
        match self.table.transact(writes).await {
            Ok(()) => Ok(CatalogWriteOutcome::Made),
            Err(error) if reasons(&error).nth(1) == Some("ConditionalCheckFailed") => {
                Ok(CatalogWriteOutcome::Changed)
            }
            Err(error) if has_reason(&error, "ConditionalCheckFailed") => Ok(CatalogWriteOutcome::Full),
            Err(error) if has_reason(&error, "TransactionConflict") => Ok(CatalogWriteOutcome::Changed),
            Err(error) => Err(Fault::on(doing)(error)),
        }
    }
}

/// That a row is still the one that was read, and none that was made in its place since.
const UNCHANGED: &str = "changes = :known AND created_at = :made";

fn made(before: &VersionedEntry) -> AttributeValue {
    AttributeValue::N(before.entry.created_at.millis().to_string())
}

fn count(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}
