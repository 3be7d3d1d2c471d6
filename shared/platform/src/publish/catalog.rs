//! The catalog of event types as publishing needs it: which types are archived, and which data violates
//! an enforced schema.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use domain::{
    event::{
        EventData, EventType,
        catalog::{Entry, judge},
        schema::{Schema, SchemaText},
    },
    pointer::Violation,
};

use crate::{Fault, store::registry::event_types::EventTypes};

/// Why the catalog does not let an event be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// Its type is archived.
    Archived,
    /// Its data violates the type's schema; the pointers lead into the data.
    Data(Vec<Violation>),
}

/// The catalog. It is read as one list, and only where it changed since; a schema is compiled once,
/// for the first event of its type.
#[derive(Debug)]
pub struct Catalog {
    event_types: EventTypes,
    cache_age: Duration,
    known: Mutex<CachedRules>,
}

#[derive(Debug, Clone, Default)]
struct CachedRules {
    /// When it was read last.
    at: Option<Instant>,
    revision: u64,
    rules: Arc<Rules>,
}

/// What the catalog requires of events at one time. Types without a requirement are not among them.
#[derive(Debug, Default)]
pub struct Rules(HashMap<EventType, Arc<Rule>>);

#[derive(Debug)]
struct Rule {
    archived: bool,
    enforced: Option<SchemaText>,
    schema: OnceLock<Option<Schema>>,
}

impl Catalog {
    /// The catalog of these event types, read again after `cache_age`.
    #[must_use]
    pub fn new(event_types: EventTypes, cache_age: Duration) -> Self {
        Self { event_types, cache_age, known: Mutex::default() }
    }

    /// What the catalog requires of events, at most as old as the cache may be.
    pub async fn rules(&self) -> Result<Arc<Rules>, Fault> {
        let known = self.lock().clone();
        if known.at.is_some_and(|at| at.elapsed() < self.cache_age) {
            return Ok(known.rules);
        }
        // The count before the list: the next read detects a change in between.
        let (at, revision) = (Instant::now(), self.event_types.revision().await?);
        let rules = if revision == known.revision {
            known.rules
        } else {
            Arc::new(known.rules.renewed(self.event_types.all().await?))
        };
        *self.lock() = CachedRules { at: Some(at), revision, rules: Arc::clone(&rules) };
        Ok(rules)
    }

    /// Makes the next read skip the cache.
    pub fn forget(&self) {
        self.lock().at = None;
    }

    /// A panic while the lock was held leaves it whole: each change is one assignment.
    fn lock(&self) -> std::sync::MutexGuard<'_, CachedRules> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rules {
    /// The rules of this catalog. Those that are as before are kept, with their schemas ready.
    fn renewed(&self, types: Vec<Entry>) -> Self {
        let rule = |entry: Entry| {
            let enforced = entry.schema.filter(|_| entry.enforce);
            if !entry.archived && enforced.is_none() {
                return None;
            }
            let before = self.0.get(&entry.event_type).filter(|rule| {
                let texts = [&rule.enforced, &enforced].map(|text| text.as_ref().map(SchemaText::as_str));
                rule.archived == entry.archived && texts[0] == texts[1]
            });
            let new = || Arc::new(Rule { archived: entry.archived, enforced, schema: OnceLock::new() });
            Some((entry.event_type, before.cloned().unwrap_or_else(new)))
        };
        Self(types.into_iter().filter_map(rule).collect())
    }

    /// Why an event of this type with this data is not published, if it is not.
    pub fn unfit(&self, event_type: &EventType, data: &EventData) -> Result<Option<Unfit>, Fault> {
        let Some(rule) = self.0.get(event_type) else { return Ok(None) };
        if rule.archived {
            return Ok(Some(Unfit::Archived));
        }
        let Some(text) = &rule.enforced else { return Ok(None) };
        let schema = rule.schema.get_or_init(|| Schema::compile(text).ok());
        let malformed = || Fault::new("reading the catalog", "a stored schema is malformed");
        let violations = judge(schema.as_ref().ok_or_else(malformed)?, data);
        Ok((!violations.is_empty()).then_some(Unfit::Data(violations)))
    }
}

#[cfg(test)]
mod tests;
