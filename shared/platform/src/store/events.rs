//! The events table: events with their snapshots, and deliveries with their attempts.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client,
    operation::{put_item::PutItemError, update_item::UpdateItemError},
    primitives::Blob,
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure},
};
use domain::{
    DeliveryId, EndpointId, EventId, SourceId, TenantId, Timestamp,
    delivery::{Attempt, Delivery, Status},
    event::{EventData, EventType},
};
use futures_util::future::try_join_all;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Item, Table,
    keys::{self, TIMELINE_SHARDS},
};
use crate::Fault;

/// How long events and deliveries are kept, in days. Longer than the retry schedule.
pub const RETENTION_DAYS: i64 = 30;

/// An event, as it is stored once and for all.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    /// Which one.
    pub id: EventId,
    /// Its type.
    pub event_type: EventType,
    /// When it happened.
    pub timestamp: Timestamp,
    /// When it was accepted.
    pub at: Timestamp,
    /// The source it came in by, if any.
    pub source_id: Option<SourceId>,
    /// The bytes that are signed and sent, as JSON that was checked once.
    pub payload: Box<RawValue>,
    /// What else could be published under the same idempotency key and be the same.
    pub fingerprint: [u8; 32],
    /// The endpoints it goes to, whatever is subscribed later.
    pub endpoints: Vec<EndpointId>,
}

impl StoredEvent {
    /// The event's own object, out of the payload.
    pub fn data(&self) -> Result<EventData, Fault> {
        #[derive(Deserialize)]
        struct Payload {
            data: EventData,
        }
        let payload: Payload =
            serde_json::from_str(self.payload.get()).map_err(Fault::on("reading an event"))?;
        Ok(payload.data)
    }
}

/// An event in a list.
#[derive(Debug, Clone)]
pub struct EventSummary {
    /// Which one.
    pub id: EventId,
    /// Its type.
    pub event_type: EventType,
    /// When it happened.
    pub timestamp: Timestamp,
    /// When it was accepted.
    pub at: Timestamp,
    /// The source it came in by, if any.
    pub source_id: Option<SourceId>,
}

/// What came of storing an event.
#[derive(Debug)]
pub enum Put {
    /// It is there now.
    New,
    /// It, or another under the same key, was there before.
    Exists(Box<StoredEvent>),
}

/// What came of recording an attempt.
#[derive(Debug)]
pub enum Recorded {
    /// It is there now.
    New,
    /// Another attempt stands in its place, or the delivery is finished.
    Lost(Delivery),
}

/// The table.
#[derive(Debug, Clone)]
pub struct Events {
    table: Table,
}

impl Events {
    /// The events in this table.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { table: Table { client, name: table } }
    }

    /// Stores an event, unless there is one under its id.
    pub async fn put(&self, tenant: &TenantId, event: &StoredEvent) -> Result<Put, Fault> {
        let put = self
            .table
            .put(event_item(tenant, event))
            .condition_expression("attribute_not_exists(pk)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match put {
            Ok(_) => Ok(Put::New),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(failed)) => {
                    let stored = match &failed.item {
                        Some(item) => read_event(event.id, item)?,
                        None => self.get(tenant, event.id).await?.ok_or_else(|| {
                            Fault::new("storing an event", "it exists and then it does not")
                        })?,
                    };
                    Ok(Put::Exists(Box::new(stored)))
                }
                _ => Err(Fault::on("storing an event")(error)),
            },
        }
    }

    /// One event, read consistently.
    pub async fn get(&self, tenant: &TenantId, id: EventId) -> Result<Option<StoredEvent>, Fault> {
        let item = self.get_item(keys::event(tenant, id)).await?;
        item.map(|item| read_event(id, &item)).transpose()
    }

    /// One delivery in its present generation, read consistently; `None` before its first attempt.
    pub async fn delivery(
        &self,
        tenant: &TenantId,
        id: DeliveryId,
        generation: u32,
    ) -> Result<Option<Delivery>, Fault> {
        let item = self.get_item(keys::delivery(tenant, id, generation)).await?;
        item.map(|item| read_delivery(&item)).transpose()
    }

    /// The deliveries of an event that were attempted, by endpoint.
    pub async fn deliveries(
        &self,
        tenant: &TenantId,
        event: EventId,
    ) -> Result<HashMap<EndpointId, Delivery>, Fault> {
        let doing = "listing deliveries";
        let rows =
            self.table.rows_under(keys::event_partition(tenant, event), keys::DELIVERIES, doing).await?;
        let delivery = |item: &Item| {
            let endpoint = text(item, "sk")?.split('#').nth(1).and_then(|id| id.parse().ok());
            let endpoint = endpoint.ok_or_else(|| Fault::new(doing, "a sort key is odd"))?;
            Ok((endpoint, read_delivery(item)?))
        };
        // Generations come in order, so the last one stays.
        rows.iter().map(delivery).collect()
    }

    /// A tenant's events, newest first: those before `before`, down to the day `oldest`.
    ///
    /// Walks the timeline day by day, all shards of a day at once, and stops when the page is full.
    pub async fn list(
        &self,
        tenant: &TenantId,
        newest: Timestamp,
        before: Option<(Timestamp, EventId)>,
        oldest: Timestamp,
        limit: usize,
    ) -> Result<Vec<EventSummary>, Fault> {
        let mut found: Vec<EventSummary> = Vec::new();
        // A cursor is the client's: one from the future would walk through empty days.
        let mut day = before.map_or(newest, |(at, _)| at.min(newest)).day();
        while day >= oldest.day() && found.len() < limit {
            let wanted = limit - found.len();
            let shards =
                (0..TIMELINE_SHARDS).map(|shard| self.list_shard(tenant, day, shard, before, wanted));
            let mut of_day: Vec<_> = try_join_all(shards).await?.into_iter().flatten().collect();
            of_day.sort_by_key(|event| std::cmp::Reverse((event.at, event.id)));
            of_day.truncate(wanted);
            found.extend(of_day);
            day -= 1;
        }
        Ok(found)
    }

    async fn list_shard(
        &self,
        tenant: &TenantId,
        day: i64,
        shard: u8,
        before: Option<(Timestamp, EventId)>,
        limit: usize,
    ) -> Result<Vec<EventSummary>, Fault> {
        // `~` sorts behind every digit: the end of the timeline.
        let end = before.map_or_else(|| "~".to_owned(), |(at, id)| keys::timeline_place(at, id));
        let answer = self
            .table
            .client
            .query()
            .table_name(&self.table.name)
            .index_name("timeline")
            .key_condition_expression("timeline_pk = :pk AND timeline_sk < :end")
            .expression_attribute_values(
                ":pk",
                AttributeValue::S(keys::timeline_partition(tenant, day, shard)),
            )
            .expression_attribute_values(":end", AttributeValue::S(end))
            .scan_index_forward(false)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(Fault::on("listing events"))?;
        answer.items().iter().map(read_summary).collect()
    }

    /// Records attempt number `attempt.n` and what follows from it.
    ///
    /// Conditional on the generation, on the attempt before it being the last one recorded, and
    /// on the delivery not being finished. The first attempt makes the item.
    pub async fn record(
        &self,
        tenant: &TenantId,
        id: DeliveryId,
        generation: u32,
        attempt: &Attempt,
        status: Status,
        next_attempt_at: Option<Timestamp>,
    ) -> Result<Recorded, Fault> {
        let (pk, sk) = keys::delivery(tenant, id, generation);
        let attempt_text = serde_json::to_string(attempt).map_err(Fault::on("recording an attempt"))?;
        let lost = if attempt.n == 1 {
            let mut item = Item::from([
                ("pk".to_owned(), AttributeValue::S(pk)),
                ("sk".to_owned(), AttributeValue::S(sk)),
                ("gen".to_owned(), number(i64::from(generation))),
                ("n".to_owned(), number(1)),
                ("a1".to_owned(), AttributeValue::S(attempt_text)),
                ("status".to_owned(), AttributeValue::S(status.as_str().to_owned())),
                ("expires_at".to_owned(), expires_at(attempt.at)),
            ]);
            if let Some(at) = next_attempt_at {
                item.insert("next_at".to_owned(), number(at.millis()));
            }
            let put = self
                .table
                .put(item)
                .condition_expression("attribute_not_exists(pk)")
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                .send()
                .await;
            match put {
                Ok(_) => return Ok(Recorded::New),
                Err(error) => match error.as_service_error() {
                    Some(PutItemError::ConditionalCheckFailedException(failed)) => failed.item.clone(),
                    _ => return Err(Fault::on("recording an attempt")(error)),
                },
            }
        } else {
            let next =
                if next_attempt_at.is_some() { "SET next_at = :next, " } else { "REMOVE next_at SET " };
            let mut update = self
                .table
                .client
                .update_item()
                .table_name(&self.table.name)
                .key("pk", AttributeValue::S(pk))
                .key("sk", AttributeValue::S(sk))
                .update_expression(format!("{next}n = :n, #attempt = :attempt, #status = :status"))
                .condition_expression("gen = :gen AND n = :before AND #status = :retrying")
                .expression_attribute_names("#attempt", format!("a{}", attempt.n))
                .expression_attribute_names("#status", "status")
                .expression_attribute_values(":n", number(i64::from(attempt.n)))
                .expression_attribute_values(":before", number(i64::from(attempt.n) - 1))
                .expression_attribute_values(":gen", number(i64::from(generation)))
                .expression_attribute_values(":attempt", AttributeValue::S(attempt_text))
                .expression_attribute_values(":status", AttributeValue::S(status.as_str().to_owned()))
                .expression_attribute_values(
                    ":retrying",
                    AttributeValue::S(Status::Retrying.as_str().to_owned()),
                )
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
            if let Some(at) = next_attempt_at {
                update = update.expression_attribute_values(":next", number(at.millis()));
            }
            match update.send().await {
                Ok(_) => return Ok(Recorded::New),
                Err(error) => match error.as_service_error() {
                    Some(UpdateItemError::ConditionalCheckFailedException(failed)) => failed.item.clone(),
                    _ => return Err(Fault::on("recording an attempt")(error)),
                },
            }
        };
        let stored = match lost {
            Some(item) => Some(read_delivery(&item)?),
            None => self.delivery(tenant, id, generation).await?,
        };
        stored
            .map(Recorded::Lost)
            .ok_or_else(|| Fault::new("recording an attempt", "the delivery of an earlier attempt is gone"))
    }

    async fn get_item(&self, key: keys::Key) -> Result<Option<Item>, Fault> {
        self.table.get(key, true, "reading the events table").await
    }
}

fn event_item(tenant: &TenantId, event: &StoredEvent) -> Item {
    let (pk, sk) = keys::event(tenant, event.id);
    let (day, place) = keys::timeline(tenant, event.id, event.at);
    let endpoints = event.endpoints.iter().map(|id| AttributeValue::S(id.to_string())).collect();
    let mut item = Item::from([
        ("pk".to_owned(), AttributeValue::S(pk)),
        ("sk".to_owned(), AttributeValue::S(sk)),
        ("type".to_owned(), AttributeValue::S(event.event_type.to_string())),
        ("timestamp".to_owned(), number(event.timestamp.millis())),
        ("at".to_owned(), number(event.at.millis())),
        ("payload".to_owned(), AttributeValue::S(event.payload.get().to_owned())),
        ("fingerprint".to_owned(), AttributeValue::B(Blob::new(event.fingerprint))),
        ("endpoints".to_owned(), AttributeValue::L(endpoints)),
        ("timeline_pk".to_owned(), AttributeValue::S(day)),
        ("timeline_sk".to_owned(), AttributeValue::S(place)),
        ("expires_at".to_owned(), expires_at(event.at)),
    ]);
    if let Some(source) = event.source_id {
        item.insert("source_id".to_owned(), AttributeValue::S(source.to_string()));
    }
    item
}

fn read_event(id: EventId, item: &Item) -> Result<StoredEvent, Fault> {
    let fingerprint = item.get("fingerprint").and_then(|value| value.as_b().ok());
    let endpoints =
        item.get("endpoints").and_then(|value| value.as_l().ok()).ok_or_else(|| odd("endpoints"))?;
    Ok(StoredEvent {
        id,
        event_type: parsed(item, "type")?,
        timestamp: millis(item, "timestamp")?,
        at: millis(item, "at")?,
        source_id: source_id(item)?,
        payload: RawValue::from_string(text(item, "payload")?.to_owned()).map_err(|_| odd("payload"))?,
        fingerprint: fingerprint
            .and_then(|blob| blob.as_ref().try_into().ok())
            .ok_or_else(|| odd("fingerprint"))?,
        endpoints: endpoints
            .iter()
            .map(|value| value.as_s().ok().and_then(|id| id.parse().ok()).ok_or_else(|| odd("endpoints")))
            .collect::<Result<_, _>>()?,
    })
}

fn read_summary(item: &Item) -> Result<EventSummary, Fault> {
    let place = keys::parse_timeline_place(text(item, "timeline_sk")?);
    let (at, id) = place.ok_or_else(|| odd("timeline_sk"))?;
    Ok(EventSummary {
        id,
        at,
        event_type: parsed(item, "type")?,
        timestamp: millis(item, "timestamp")?,
        source_id: source_id(item)?,
    })
}

fn read_delivery(item: &Item) -> Result<Delivery, Fault> {
    let count: u32 = integer(item, "n")?;
    let attempts = (1..=count).map(|n| {
        let attempt = text(item, &format!("a{n}"))?;
        serde_json::from_str(attempt).map_err(Fault::on("reading an attempt"))
    });
    let status = match text(item, "status")? {
        "retrying" => Status::Retrying,
        "succeeded" => Status::Succeeded,
        "exhausted" => Status::Exhausted,
        _ => return Err(odd("status")),
    };
    Ok(Delivery {
        status,
        generation: integer(item, "gen")?,
        attempts: attempts.collect::<Result<_, _>>()?,
        next_attempt_at: if item.contains_key("next_at") { Some(millis(item, "next_at")?) } else { None },
    })
}

fn odd(attribute: &str) -> Fault {
    Fault::new("reading the events table", format!("the attribute {attribute} is missing or odd"))
}

fn text<'a>(item: &'a Item, name: &str) -> Result<&'a str, Fault> {
    item.get(name).and_then(|value| value.as_s().ok()).map(String::as_str).ok_or_else(|| odd(name))
}

fn parsed<T: std::str::FromStr>(item: &Item, name: &str) -> Result<T, Fault> {
    text(item, name)?.parse().map_err(|_| odd(name))
}

fn integer<T: std::str::FromStr>(item: &Item, name: &str) -> Result<T, Fault> {
    let digits = item.get(name).and_then(|value| value.as_n().ok());
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| odd(name))
}

fn millis(item: &Item, name: &str) -> Result<Timestamp, Fault> {
    integer(item, name).map(Timestamp::from_millis)
}

fn source_id(item: &Item) -> Result<Option<SourceId>, Fault> {
    if item.contains_key("source_id") { parsed(item, "source_id").map(Some) } else { Ok(None) }
}

fn number(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// When DynamoDB may drop the item, in the seconds since 1970 that its TTL wants.
fn expires_at(from: Timestamp) -> AttributeValue {
    number(from.secs() + RETENTION_DAYS * 86_400)
}
