//! Deliveries with their attempts, in the events table.
//!
//! A delivery without an attempt has no item, unless something was to be kept about it. All
//! changes of a batch of messages are written together, each on its own condition.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{
    DeliveryId, EndpointId, EventId, TenantId, Timestamp,
    delivery::{
        Delivery, Retention, Standing, Status,
        engine::change::{Change, Place, RecordOutcome},
    },
    event::EventType,
};

use super::{
    attempts,
    pages::{Snapshot, read_snapshot},
};
use crate::{
    Fault,
    store::table::{
        Item, Table,
        attributes::{
            expires_at, flag, integer, malformed, millis, number, optional, parsed, retention, text,
        },
        keys,
        statements::{Patience, Statement, StatementOutcome},
    },
};

const DOING: &str = "recording attempts";

/// How long before its event was accepted a row must have been written to be of an earlier event of the
/// same id: by far more than clocks differ. An id comes again where its idempotency key is used again
/// after the retention.
const LEFTOVER_AGE: Duration = Duration::from_mins(10);

/// By how much a delivery's row ends before its event's, so that an id that is used again finds none.
/// DynamoDB removes both some days late.
pub(super) const ENDS_BEFORE_EVENT: Duration = Duration::from_hours(24);

/// Summaries that one call reads: about 1 MB in memory.
const SUMMARIES: i32 = 1000;

/// A place in the due index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DuePlace {
    /// Its partition: of a time, or of an endpoint whose work is held.
    pub pk: String,
    /// When it is due, or since when it is held.
    pub at: Timestamp,
}

/// A change to one generation of a delivery, as the engine decided it.
#[derive(Debug, Clone)]
pub struct DeliveryChange {
    /// Which one.
    pub key: DeliveryKey,
    /// Whether the endpoint is the operator's.
    pub operator: bool,
    /// The event's type, for lists; kept where the delivery is written for the first time.
    pub event_type: Option<EventType>,
    /// What changes, and on which condition.
    pub change: Change,
    /// When the event was accepted, where that is known.
    pub accepted_at: Option<Timestamp>,
    /// How long the event is kept from then on.
    pub retention: Retention,
    /// When the change is made.
    pub now: Timestamp,
}

impl DeliveryChange {
    /// The owner of the endpoint.
    pub(crate) fn owner(&self) -> TenantId {
        self.key.tenant.owner_of_endpoint(self.operator)
    }

    /// The place in the due index after the change.
    fn place(&self) -> Option<DuePlace> {
        self.change.place.map(|place| match place {
            Place::Due(at) => DuePlace { pk: keys::due(self.key.id, at), at },
            Place::Held(at) => DuePlace { pk: keys::held(&self.owner(), self.key.id), at },
        })
    }
}

/// A delivery and whose event it is of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeliveryKey {
    /// Whose event it is.
    pub tenant: TenantId,
    /// Which delivery.
    pub id: DeliveryId,
    /// 0 until it is replayed.
    pub generation: u32,
}

/// A delivery without its attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliverySummary {
    /// 0 until it is replayed.
    pub generation: u32,
    /// How many attempts are on record.
    pub attempts: u32,
    /// Its status, as it is written.
    pub status: Status,
    /// When the next try is due; unless it is parked or finished.
    pub next_attempt_at: Option<Timestamp>,
    /// Whether it has a place in the due index, which is a driver in itself.
    pub in_due_index: bool,
    /// Whether the endpoint is the operator's.
    pub operator: bool,
}

impl DeliverySummary {
    /// What of it shows whether it still has a driver.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing {
            status: self.status,
            next_attempt_at: self.next_attempt_at,
            in_due_index: self.in_due_index,
        }
    }
}

/// What shows which deliveries of an event are unfinished or have no driver.
#[derive(Debug)]
pub struct EventOverview {
    /// The endpoints it goes to.
    pub snapshot: Snapshot,
    /// Its deliveries that have a row, also those that the snapshot does not name, in the order of their
    /// endpoints and generations. A row that cannot be read fails alone: it is there, so it is not left
    /// out.
    pub summaries: Vec<(EndpointId, Result<DeliverySummary, Fault>)>,
}

/// The attributes that an overview reads.
const OVERVIEW: [&str; 13] = [
    "sk",
    "list_sk",
    "created_at",
    "generation",
    "attempt_count",
    "status",
    "next_attempt_at",
    "due_pk",
    "operator",
    "endpoints",
    "operator_endpoints",
    "pages",
    "snapshot",
];

/// Deliveries, and changes to them.
#[derive(Debug, Clone)]
pub struct Deliveries {
    table: Table,
}

impl Deliveries {
    pub(crate) fn new(table: Table) -> Self {
        Self { table }
    }

    /// One delivery in its present generation, read consistently; `None` where nothing is kept
    /// about it. `accepted_at` is when its event was accepted, where that is known.
    pub async fn get(
        &self,
        key: &DeliveryKey,
        accepted_at: Option<Timestamp>,
    ) -> Result<Option<Delivery>, Fault> {
        let item = self.item(key).await?.filter(|item| !is_leftover(item, accepted_at));
        item.map(|item| read_delivery(&item)).transpose()
    }

    async fn item(&self, key: &DeliveryKey) -> Result<Option<Item>, Fault> {
        self.table.get(keys::delivery(&key.tenant, key.id, key.generation), true, "reading a delivery").await
    }

    /// How long an event is kept, without its deliveries; `None` where it is not there.
    pub async fn retention(&self, tenant: &TenantId, event: EventId) -> Result<Option<Retention>, Fault> {
        let (pk, sk) = keys::event(tenant, event);
        let query = self.table.between(pk, sk.clone(), sk).projection_expression("created_at, expires_at");
        let response = query.send().await.map_err(Fault::on("reading the retention of an event"))?;
        let read = |item: &Item| retention(item, millis(item, "created_at")?);
        response.items().first().map(read).transpose()
    }

    /// An event's deliveries that have a row, and the endpoints that it goes to, in one query where that
    /// finds less than 1 MB; `None` where the event is not there. Rows of an earlier event of the same id are
    /// left out.
    ///
    /// Read eventually consistently: callers verify it later, by a condition on their write or by a
    /// message that is checked.
    pub async fn overview(&self, tenant: &TenantId, event: EventId) -> Result<Option<EventOverview>, Fault> {
        let (pk, event_sk) = keys::event(tenant, event);
        let mut rows: Vec<(Item, EndpointId)> = Vec::new();
        let mut start = None;
        loop {
            // The event's own item is behind those of its deliveries; its pages are behind both.
            let mut query = self
                .table
                .between(pk.clone(), keys::DELIVERIES.to_owned(), event_sk.clone())
                // Some of these words are reserved, so all of them go by another name. The payload stays out.
                .projection_expression(
                    "#sk, #list_sk, #created_at, #generation, #attempt_count, #status, #next_attempt_at, #due_pk, #operator, \
                     #endpoints, #operator_endpoints, #pages, #snapshot",
                );
            for name in OVERVIEW {
                query = query.expression_attribute_names(format!("#{name}"), name);
            }
            let response = query
                .limit(SUMMARIES)
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(Fault::on("listing deliveries"))?;
            for item in response.items() {
                let sk = text(item, "sk")?;
                if sk == event_sk {
                    let accepted_at = millis(item, "created_at")?;
                    let of_this_event = |(row, _): &(Item, _)| !is_leftover(row, Some(accepted_at));
                    let rows = rows.into_iter().filter(of_this_event);
                    let summaries = rows.map(|(row, endpoint)| (endpoint, read_summary(&row))).collect();
                    return Ok(Some(EventOverview { snapshot: read_snapshot(item)?, summaries }));
                }
                let (endpoint, _) = keys::parse_delivery(sk).ok_or_else(|| malformed("sk"))?;
                rows.push((item.clone(), endpoint));
            }
            start = response.last_evaluated_key;
            if start.is_none() {
                return Ok(None);
            }
        }
    }

    /// Makes changes, which name a delivery once at most, and returns the result for each.
    ///
    /// A change is made on the condition that the delivery has as many attempts as were known, that
    /// it is not finished, and, where it leaves the delivery to a message, that the due index has no
    /// place for it.
    pub async fn record(&self, changes: &[DeliveryChange]) -> Vec<Result<RecordOutcome, Fault>> {
        self.record_with(changes, Vec::new(), Patience::Short).await.0
    }

    /// The same, with further statements in the same call, and their results.
    pub(crate) async fn record_with(
        &self,
        changes: &[DeliveryChange],
        more: Vec<Statement>,
        patience: Patience,
    ) -> (Vec<Result<RecordOutcome, Fault>>, Vec<Result<StatementOutcome, Fault>>) {
        let statements: Vec<_> = changes.iter().map(|change| self.statement(change)).collect();
        // A change that cannot be serialised fails alone.
        let (good, bad): (Vec<_>, Vec<_>) =
            statements.into_iter().enumerate().partition(|(_, statement)| statement.is_ok());
        let (indexes, mut good): (Vec<_>, Vec<_>) =
            good.into_iter().filter_map(|(index, statement)| Some((index, statement.ok()?))).unzip();
        let mut results: Vec<Option<Result<RecordOutcome, Fault>>> = changes.iter().map(|_| None).collect();
        for (index, statement) in bad {
            results[index] = statement.err().map(Err);
        }
        good.extend(more);
        let mut applied = self.table.execute_with(good, patience, DOING).await;
        let more = applied.split_off(indexes.len().min(applied.len()));
        for (index, applied) in indexes.into_iter().zip(applied) {
            results[index] = Some(match applied {
                Ok(StatementOutcome::Applied) => Ok(RecordOutcome::New),
                Ok(StatementOutcome::ConditionFailed(item)) => self.conflict(&changes[index], item).await,
                Err(fault) => Err(fault),
            });
        }
        let no_result = || Err(Fault::new(DOING, "a change has no result"));
        (results.into_iter().map(|result| result.unwrap_or_else(no_result)).collect(), more)
    }

    /// Makes one change, as [`Self::record`] does.
    pub async fn record_one(&self, change: DeliveryChange) -> Result<RecordOutcome, Fault> {
        let no_result = || Err(Fault::new("recording a change", "it has no result"));
        self.record(&[change]).await.pop().unwrap_or_else(no_result)
    }

    async fn conflict(&self, change: &DeliveryChange, item: Option<Item>) -> Result<RecordOutcome, Fault> {
        let mut stored = match item {
            Some(item) => Some(item),
            None => self.item(&change.key).await?,
        };
        if let Some(item) = stored
            .as_ref()
            .filter(|item| change.change.recorded_attempts.is_none() && is_leftover(item, change.accepted_at))
        {
            let replacing = Statement::replace(&self.table, item, Self::first_item(change)?, "list_sk");
            match self.table.execute(vec![replacing], DOING).await.pop() {
                Some(Ok(StatementOutcome::Applied)) => return Ok(RecordOutcome::New),
                Some(Ok(StatementOutcome::ConditionFailed(found))) => {
                    stored = match found {
                        Some(found) => Some(found),
                        None => self.item(&change.key).await?,
                    };
                }
                Some(Err(fault)) => return Err(fault),
                None => {}
            }
        }
        let stored = stored.map(|item| read_delivery(&item)).transpose()?;
        let stored =
            stored.ok_or_else(|| Fault::new(DOING, "the delivery of an earlier attempt is missing"))?;
        Ok(if change.change.is_made_in(&stored) {
            RecordOutcome::New
        } else {
            RecordOutcome::Conflict(stored)
        })
    }

    fn statement(&self, all: &DeliveryChange) -> Result<Statement, Fault> {
        let (DeliveryKey { tenant, id, generation }, change) = (&all.key, &all.change);
        let Some(known) = change.recorded_attempts else {
            return Ok(Statement::insert(&self.table, Self::first_item(all)?));
        };
        let written = ChangeAttributes::of(all)?;
        let mut update = Statement::update(&self.table)
            .set("attempt_count", written.attempt_count)
            .set("status", written.status)
            .set("list_pk", written.list_pk);
        if let Some((name, text)) = written.attempt {
            // The long excerpt is the last attempt's alone.
            update = update
                .set(&name, text)
                .put("last_excerpt", written.excerpt)
                .put("failing_pk", written.failing_pk)
                .put("failure", written.failure);
        }
        let condition = update
            .put("next_attempt_at", written.next_attempt_at)
            .put("parked_reason", written.parked_reason)
            .put("due_pk", written.due_pk)
            .put("due_at", written.due_at)
            .at(keys::delivery(tenant, *id, *generation))
            .and("attempt_count", number(i64::from(known)))
            .and_one_of("status", &UNFINISHED);
        Ok(if change.leaves_it_to_a_message() { condition.and_missing("due_pk") } else { condition }.done())
    }

    /// The row of a delivery of which nothing was stored before.
    fn first_item(all: &DeliveryChange) -> Result<Item, Fault> {
        let DeliveryKey { tenant, id, generation } = &all.key;
        let written = ChangeAttributes::of(all)?;
        let (pk, sk) = keys::delivery(tenant, *id, *generation);
        let ends_from = all.accepted_at.map_or(all.now, |accepted_at| accepted_at - ENDS_BEFORE_EVENT);
        let mut item = Item::from([
            ("pk".to_owned(), AttributeValue::S(pk)),
            ("sk".to_owned(), AttributeValue::S(sk)),
            ("generation".to_owned(), number(i64::from(*generation))),
            ("attempt_count".to_owned(), written.attempt_count),
            ("status".to_owned(), written.status),
            ("list_pk".to_owned(), written.list_pk),
            ("list_sk".to_owned(), AttributeValue::S(keys::list_place(all.now, id.event, *generation))),
            ("expires_at".to_owned(), expires_at(ends_from, all.retention)),
        ]);
        item.extend(written.attempt);
        let more = [
            ("next_attempt_at", written.next_attempt_at),
            ("parked_reason", written.parked_reason),
            ("due_pk", written.due_pk),
            ("due_at", written.due_at),
            ("last_excerpt", written.excerpt),
            ("failing_pk", written.failing_pk),
            ("failure", written.failure),
            ("operator", all.operator.then_some(AttributeValue::Bool(true))),
            ("type", all.event_type.as_ref().map(|name| AttributeValue::S(name.to_string()))),
        ];
        item.extend(more.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        Ok(item)
    }
}

/// What a change writes, as attributes.
struct ChangeAttributes {
    attempt_count: AttributeValue,
    status: AttributeValue,
    list_pk: AttributeValue,
    /// The attempt's name and text.
    attempt: Option<(String, AttributeValue)>,
    excerpt: Option<AttributeValue>,
    /// Its partition among the deliveries whose last attempt failed. A change without an attempt leaves it as it is.
    failing_pk: Option<AttributeValue>,
    /// Why that attempt failed.
    failure: Option<AttributeValue>,
    next_attempt_at: Option<AttributeValue>,
    parked_reason: Option<AttributeValue>,
    due_pk: Option<AttributeValue>,
    due_at: Option<AttributeValue>,
}

impl ChangeAttributes {
    fn of(all: &DeliveryChange) -> Result<Self, Fault> {
        let change = &all.change;
        let attempt = change.attempt.as_ref();
        let stored = attempt.map(attempts::write).transpose()?;
        let (attempt_text, excerpt) = match attempt.zip(stored) {
            Some((attempt, (text, excerpt))) => (
                Some((format!("a{}", attempt.number), AttributeValue::S(text))),
                excerpt.map(|text| AttributeValue::S(text.to_owned())),
            ),
            None => (None, None),
        };
        let failure = attempt.and_then(|attempt| attempt.failure);
        let place = all.place();
        let count = attempt.map_or(change.recorded_attempts.unwrap_or(0), |attempt| attempt.number);
        Ok(Self {
            attempt_count: number(i64::from(count)),
            status: AttributeValue::S(change.status.as_str().to_owned()),
            list_pk: AttributeValue::S(keys::list(&all.owner(), all.key.id, change.status.group())),
            attempt: attempt_text,
            excerpt,
            failing_pk: failure.map(|_| AttributeValue::S(keys::failing(&all.owner(), all.key.id))),
            failure: failure.map(|failure| AttributeValue::S(failure.as_str().to_owned())),
            next_attempt_at: change.next_attempt_at.map(|at| number(at.millis())),
            parked_reason: change.parked_reason.map(|reason| AttributeValue::S(reason.as_str().to_owned())),
            due_at: place.as_ref().map(|place| number(place.at.millis())),
            due_pk: place.map(|place| AttributeValue::S(place.pk)),
        })
    }
}

/// Whether a row is of an earlier event of the same id, and so means nothing for the one that was
/// accepted then.
fn is_leftover(item: &Item, accepted_at: Option<Timestamp>) -> bool {
    let known = written_at(item).zip(accepted_at);
    known.is_some_and(|(written_at, accepted_at)| written_at + LEFTOVER_AGE < accepted_at)
}

/// When a row was first written.
fn written_at(item: &Item) -> Option<Timestamp> {
    let (written_at, ..) = text(item, "list_sk").ok().and_then(keys::parse_list_place)?;
    Some(written_at)
}

/// The statuses in which a delivery can still be changed.
pub(crate) const UNFINISHED: [&str; 3] = ["pending", "retrying", "parked"];

pub(crate) fn read_delivery(item: &Item) -> Result<Delivery, Fault> {
    let count: u32 = integer(item, "attempt_count")?;
    let last_excerpt = item.get("last_excerpt").map(|_| text(item, "last_excerpt")).transpose()?;
    let attempts = (1..=count)
        .map(|n| attempts::read(text(item, &format!("a{n}"))?, last_excerpt.filter(|_| n == count)));
    let status = parsed(item, "status")?;
    Ok(Delivery {
        status: Status::shown(status, count),
        generation: integer(item, "generation")?,
        attempts: attempts.collect::<Result<_, _>>()?,
        next_attempt_at: optional(item, "next_attempt_at", millis)?,
        parked_reason: optional(item, "parked_reason", parsed)?,
        in_due_index: item.contains_key("due_pk"),
    })
}

fn read_summary(item: &Item) -> Result<DeliverySummary, Fault> {
    Ok(DeliverySummary {
        generation: integer(item, "generation")?,
        attempts: integer(item, "attempt_count")?,
        status: parsed(item, "status")?,
        next_attempt_at: optional(item, "next_attempt_at", millis)?,
        in_due_index: item.contains_key("due_pk"),
        operator: flag(item, "operator"),
    })
}

/// The delivery that an item's key names.
pub(crate) fn read_key(item: &Item) -> Result<DeliveryKey, Fault> {
    let (tenant, event) = keys::parse_event_partition(text(item, "pk")?).ok_or_else(|| malformed("pk"))?;
    let (endpoint, generation) = keys::parse_delivery(text(item, "sk")?).ok_or_else(|| malformed("sk"))?;
    Ok(DeliveryKey { tenant, id: DeliveryId { event, endpoint }, generation })
}
