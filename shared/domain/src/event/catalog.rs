//! The catalog of event types, in which the operator documents them.
//!
//! A type can be published without being in it.
//! One that is in it can be archived, and its schema can be enforced.

use serde_json::Value;

use super::{
    EventData, EventType, VALUES_LIMIT,
    schema::{Schema, SchemaText},
};
use crate::{Patch, Timestamp, pointer::Violation};

/// Types that the catalog holds.
pub const EVENT_TYPE_LIMIT: u32 = 500;

/// Longest example, in bytes.
pub const EXAMPLE_LIMIT: usize = 32 * 1024;

/// Size of all descriptions, schemas and examples together, in bytes: functions keep the schemas in
/// memory, of which they have 128 MB, and a response that lists everything can have 6 MB.
pub const CATALOG_SIZE_LIMIT: usize = 2 * 1024 * 1024;

/// One event type, as the catalog describes it.
#[derive(Debug, Clone)]
pub struct CatalogEntry {
    /// Which type.
    pub event_type: EventType,
    /// The operator's description.
    pub description: String,
    /// The schema of its data.
    pub schema: Option<SchemaText>,
    /// An example of its data.
    pub example: Option<EventData>,
    /// Counts the schemas it has had, from 1.
    pub version: u32,
    /// Whether publishing it is refused.
    pub archived: bool,
    /// Whether data that violates the schema is refused.
    pub enforce: bool,
    /// When it was put into the catalog.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// A change to a type; what is `None` or absent stays.
#[derive(Debug, Clone, Default)]
pub struct CatalogChange {
    /// The operator's description.
    pub description: Option<String>,
    /// The schema of its data.
    pub schema: Patch<SchemaText>,
    /// An example of its data.
    pub example: Patch<EventData>,
    /// Whether publishing it is refused.
    pub archived: Option<bool>,
    /// Whether data that violates the schema is refused.
    pub enforce: Option<bool>,
}

impl CatalogEntry {
    /// A type without description.
    #[must_use]
    pub fn new(event_type: EventType, now: Timestamp) -> Self {
        Self {
            event_type,
            description: String::new(),
            schema: None,
            example: None,
            version: 1,
            archived: false,
            enforce: false,
            created_at: now,
            updated_at: now,
        }
    }

    /// The entry with a change made to it, if it is right then. Another schema is another version,
    /// except on an entry that is new.
    pub fn changed(&self, change: CatalogChange, now: Timestamp, new: bool) -> Result<Self, Violation> {
        let mut entry = self.clone();
        if let Some(description) = change.description {
            entry.description = description;
        }
        let same = match (&self.schema, &change.schema) {
            (_, Patch::Absent) | (None, Patch::Clear) => true,
            (Some(before), Patch::Set(after)) => before.is_like(after),
            (None, Patch::Set(_)) | (Some(_), Patch::Clear) => false,
        };
        if !same && !new {
            entry.version = entry.version.saturating_add(1);
        }
        change.schema.apply(&mut entry.schema);
        change.example.apply(&mut entry.example);
        entry.archived = change.archived.unwrap_or(entry.archived);
        entry.enforce = change.enforce.unwrap_or(entry.enforce);
        entry.updated_at = now;
        entry.check()?;
        Ok(entry)
    }

    /// Whether two are equal, apart from their times.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let said = |entry: &Self| {
            let schema = entry.schema.as_ref().map(|schema| schema.as_str().to_owned());
            let example = entry.example.as_ref().map(|example| example.as_str().to_owned());
            (entry.description.clone(), schema, example, entry.archived, entry.enforce)
        };
        self.event_type == other.event_type && said(self) == said(other)
    }

    /// What it adds to the size of the catalog, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        let schema = self.schema.as_ref().map_or(0, |schema| schema.as_str().len());
        let example = self.example.as_ref().map_or(0, |example| example.as_str().len());
        self.description.len() + schema + example
    }

    fn check(&self) -> Result<(), Violation> {
        let schema = self.schema.as_ref().map(Schema::compile).transpose();
        let schema = schema.map_err(|violation| violation.within("/schema"))?;
        if self.enforce && schema.is_none() {
            return Err(Violation::new("/enforce", "requires a schema"));
        }
        let Some(example) = &self.example else { return Ok(()) };
        if example.as_str().len() > EXAMPLE_LIMIT {
            return Err(Violation::new("/example", format!("must be at most {EXAMPLE_LIMIT} bytes long")));
        }
        let wrong = schema.and_then(|schema| violations(&schema, example).into_iter().next());
        wrong.map_or(Ok(()), |violation| Err(violation.within("/example")))
    }
}

/// What is wrong with an event's data.
#[must_use]
pub fn violations(schema: &Schema, data: &EventData) -> Vec<Violation> {
    if data.has_too_many_values() {
        let detail = format!("holds more than {VALUES_LIMIT} values, too many to validate");
        return vec![Violation::new("", detail)];
    }
    match data.to_value() {
        Some(data @ Value::Object(_)) => schema.violations(&data),
        _ => vec![Violation::new("", "holds a number or a string that cannot be read")],
    }
}

#[cfg(test)]
mod tests;
