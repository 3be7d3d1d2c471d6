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
        catalog::{CatalogEntry, violations},
        schema::{Schema, SchemaText},
    },
    pointer::Violation,
};

use crate::{
    Fault,
    store::registry::{COUNT_PATIENCE, LIST_PATIENCE, event_types::EventTypes, in_time},
};

/// How long rules are used while the catalog cannot be read.
const USED_ON_FAULT: Duration = Duration::from_mins(1);

/// When the catalog is read again after it could not be.
const WAIT_AFTER_FAULT: Duration = Duration::from_secs(5);

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
    /// When it was known to be the latest.
    confirmed_at: Option<Instant>,
    /// Until when it is used without a look at the table.
    used_until: Option<Instant>,
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

impl CachedRules {
    fn is_usable_on_fault(&self, now: Instant) -> bool {
        self.confirmed_at.is_some_and(|at| now.duration_since(at) < USED_ON_FAULT)
    }
}

impl Catalog {
    /// The catalog of these event types, read again after `cache_age`.
    #[must_use]
    pub fn new(event_types: EventTypes, cache_age: Duration) -> Self {
        Self { event_types, cache_age, known: Mutex::default() }
    }

    /// What the catalog requires of events: at most as old as the cache may be, or a minute while the catalog
    /// cannot be read.
    pub async fn rules(&self) -> Result<Arc<Rules>, Fault> {
        let known = self.lock().clone();
        let now = Instant::now();
        if known.used_until.is_some_and(|until| now < until) {
            return Ok(known.rules);
        }
        let latest = match self.latest(&known, now).await {
            Err(fault) if known.is_usable_on_fault(now) => {
                tracing::warn!(%fault, "could not read the catalog; what was read before is used");
                CachedRules { used_until: Some(Instant::now() + WAIT_AFTER_FAULT), ..known }
            }
            latest => latest?,
        };
        let rules = Arc::clone(&latest.rules);
        *self.lock() = latest;
        Ok(rules)
    }

    async fn latest(&self, known: &CachedRules, now: Instant) -> Result<CachedRules, Fault> {
        let usable = known.is_usable_on_fault(now);
        // The count before the list: the next read detects a change in between.
        let revision = in_time(usable, COUNT_PATIENCE, self.event_types.revision()).await?;
        let rules = if revision == known.revision {
            Arc::clone(&known.rules)
        } else {
            Arc::new(known.rules.renewed(in_time(usable, LIST_PATIENCE, self.event_types.all()).await?))
        };
        let used_until = Some(now + self.cache_age);
        Ok(CachedRules { confirmed_at: Some(now), used_until, revision, rules })
    }

    /// Makes the next read skip the cache.
    pub fn forget(&self) {
        let mut known = self.lock();
        (known.used_until, known.confirmed_at) = (None, None);
    }

    /// A panic while the lock was held leaves it whole: each change is one assignment.
    fn lock(&self) -> std::sync::MutexGuard<'_, CachedRules> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rules {
    /// The rules of this catalog. Those that are as before are kept, with their schemas ready.
    fn renewed(&self, types: Vec<CatalogEntry>) -> Self {
        let rule = |entry: CatalogEntry| {
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
        let violations = violations(schema.as_ref().ok_or_else(malformed)?, data);
        Ok((!violations.is_empty()).then_some(Unfit::Data(violations)))
    }
}

#[cfg(test)]
mod tests;
