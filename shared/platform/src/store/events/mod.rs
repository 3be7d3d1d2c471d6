//! The events table: events with their payloads, and the endpoints each goes to.

pub(crate) mod attempts;
pub mod deliveries;
pub mod generations;
pub mod lists;
pub mod tracking;

use aws_sdk_dynamodb::{
    Client,
    operation::put_item::PutItemError,
    primitives::Blob,
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure},
};
use domain::{
    EventId, SourceId, TenantId, Timestamp,
    delivery::lane,
    endpoint::{SNAPSHOT_INLINE, SNAPSHOT_PAGE, Target},
    event::{
        EventData, EventType,
        channel::Channels,
        payload::{self, Encoded, Encoding},
    },
    ids::key,
};
use futures_util::future::try_join_all;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{
    Item, Table,
    table::{
        attributes::{expires_at, flag, integer, millis, number, odd, parsed, text},
        keys::{self, TIMELINE_SHARDS},
        statements::{Applied, Statement},
    },
};
use crate::{
    Fault,
    aws::s3::{self, Objects},
    runtime::clock,
};

/// The largest payload that an item holds as it is stored, in bytes: DynamoDB allows 400 KB in all.
const ITEM_LIMIT: usize = 200 * 1024;

/// What an event's item takes besides its payload, in bytes, with a few endpoints.
const ITEM_OVERHEAD: usize = 500;

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
    /// The bytes that are signed and sent.
    pub payload: Payload,
    /// What else could be published under the same idempotency key and be the same.
    pub fingerprint: [u8; 32],
    /// The endpoints it goes to, whatever is subscribed later.
    pub snapshot: Snapshot,
    /// The channels that it is on.
    pub channels: Channels,
}

/// An event's payload: JSON that was checked once, byte for byte.
#[derive(Debug, Clone)]
pub enum Payload {
    /// It is in the event's item.
    Here {
        /// The text.
        json: Box<RawValue>,
        /// As it is stored; only of an event that is about to be.
        encoded: Option<Encoded>,
    },
    /// It is an object of its own, since an item has no room for it.
    Object {
        /// Where.
        key: String,
        /// How it is encoded there.
        encoding: Encoding,
    },
}

/// The endpoints that an event goes to.
#[derive(Debug, Clone)]
pub enum Snapshot {
    /// They stand in the event's item.
    Inline(Vec<Target>),
    /// They stand on pages of their own, written before the event.
    Pages {
        /// Tells these pages from those of a publish that lost to this one.
        id: String,
        /// How many there are.
        count: u32,
    },
}

/// Endpoints of one page of a wide fan-out.
#[derive(Debug, Clone)]
pub struct Page {
    /// Which ones.
    pub targets: Vec<Target>,
    /// Whether their first attempts ride the slow lane.
    pub slow: bool,
}

impl StoredEvent {
    /// Whether the payload can ride in a message.
    #[must_use]
    pub fn fits_inline(&self) -> bool {
        self.payload_here().is_some_and(|json| lane::fits_inline(json.get()))
    }

    /// The payload, where it is in the event's item.
    #[must_use]
    pub fn payload_here(&self) -> Option<&RawValue> {
        match &self.payload {
            Payload::Here { json, .. } => Some(json),
            Payload::Object { .. } => None,
        }
    }
}

/// The event's own object, out of the payload.
pub fn data(payload: &RawValue) -> Result<EventData, Fault> {
    #[derive(Deserialize)]
    struct Payload {
        data: EventData,
    }
    let payload: Payload = serde_json::from_str(payload.get()).map_err(Fault::on("reading an event"))?;
    Ok(payload.data)
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

/// A part of one shard of one day of a tenant's timeline.
#[derive(Debug, Clone, Default)]
pub struct TimelineChunk {
    /// Where its events stand, in order, as [`keys::timeline_place`] spells it.
    pub places: Vec<String>,
    /// Whether more may follow behind the last of them.
    pub more: bool,
}

/// What came of storing an event.
#[derive(Debug)]
pub enum Put {
    /// It is there now.
    New,
    /// It, or another under the same key, was there before.
    Exists(Box<StoredEvent>),
}

/// The table.
#[derive(Debug, Clone)]
pub struct Events {
    pub(super) table: Table,
    objects: Objects,
}

impl Events {
    /// The events in this table, with the payloads in this bucket that it has no room for.
    #[must_use]
    pub fn new(client: Client, table: String, objects: Objects) -> Self {
        Self { table: Table { client, name: table }, objects }
    }

    /// Makes the payload of an event ready to be stored with it. A large one is stored here, since
    /// the item that points to it must never be there before it is.
    pub async fn keep_payload(
        &self,
        tenant: &TenantId,
        event: EventId,
        json: Box<RawValue>,
    ) -> Result<Payload, Fault> {
        let encoded = payload::encode(json.get(), ITEM_OVERHEAD);
        if encoded.bytes.len() <= ITEM_LIMIT {
            return Ok(Payload::Here { json, encoded: Some(encoded) });
        }
        let Encoded { encoding, bytes } = encoded;
        let key = s3::payload_key(tenant, event, &Sha256::digest(&bytes).into());
        self.objects.put(&key, bytes).await?;
        Ok(Payload::Object { key, encoding })
    }

    /// The payload of an event, wherever it is.
    pub async fn payload(&self, event: StoredEvent) -> Result<Box<RawValue>, Fault> {
        const DOING: &str = "reading a payload";
        match event.payload {
            Payload::Here { json, .. } => Ok(json),
            Payload::Object { key, encoding } => {
                let bytes = self.objects.get(&key).await?;
                decode(encoding, bytes.ok_or_else(|| Fault::new(DOING, "the object is gone"))?)
            }
        }
    }

    /// Stores the endpoints of an event before the event itself: in its item, or on pages where
    /// there are many. Slow ones stand on pages of their own.
    pub async fn put_snapshot(
        &self,
        tenant: &TenantId,
        event: EventId,
        targets: Vec<Target>,
        is_slow: impl Fn(&Target) -> bool,
        now: Timestamp,
    ) -> Result<Snapshot, Fault> {
        const DOING: &str = "storing where an event goes";
        if targets.len() <= SNAPSHOT_INLINE {
            return Ok(Snapshot::Inline(targets));
        }
        let id = key::hex(&clock::random::<6>()?);
        let (slow, fast): (Vec<_>, Vec<_>) = targets.into_iter().partition(is_slow);
        let chunks = fast.chunks(SNAPSHOT_PAGE).map(|chunk| (chunk, false));
        let chunks: Vec<_> = chunks.chain(slow.chunks(SNAPSHOT_PAGE).map(|chunk| (chunk, true))).collect();
        let count = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
        let statements = (0..).zip(chunks).map(|(page, (targets, slow))| {
            let (pk, sk) = keys::page(tenant, event, &id, page);
            let mut item = Item::from([
                ("pk".to_owned(), AttributeValue::S(pk)),
                ("sk".to_owned(), AttributeValue::S(sk)),
                ("slow".to_owned(), AttributeValue::Bool(slow)),
                ("expires_at".to_owned(), expires_at(now)),
            ]);
            write_targets(&mut item, targets);
            Statement::insert(&self.table, item)
        });
        for applied in self.table.execute(statements.collect(), DOING).await {
            if let Applied::No(_) = applied? {
                return Err(Fault::new(DOING, "a page of this name was there before"));
            }
        }
        Ok(Snapshot::Pages { id, count })
    }

    /// One page of the endpoints of an event.
    pub async fn page(
        &self,
        tenant: &TenantId,
        event: EventId,
        snapshot: &str,
        page: u32,
    ) -> Result<Option<Page>, Fault> {
        let item = self.get_item(keys::page(tenant, event, snapshot, page)).await?;
        item.map(|item| Ok(Page { targets: read_targets(&item)?, slow: flag(&item, "slow") })).transpose()
    }

    /// All endpoints that an event goes to.
    pub async fn targets(&self, tenant: &TenantId, event: &StoredEvent) -> Result<Vec<Target>, Fault> {
        match &event.snapshot {
            Snapshot::Inline(targets) => Ok(targets.clone()),
            Snapshot::Pages { id, count } => {
                let pages = (0..*count).map(|page| self.page(tenant, event.id, id, page));
                let pages = try_join_all(pages).await?;
                let gone = || Fault::new("reading where an event goes", "a page is gone");
                let pages = pages.into_iter().map(|page| Ok(page.ok_or_else(gone)?.targets));
                Ok(pages.collect::<Result<Vec<_>, Fault>>()?.concat())
            }
        }
    }

    /// Stores events, each unless there is one under its id, and says what came of each.
    pub async fn put_all(&self, tenant: &TenantId, events: &[StoredEvent]) -> Vec<Result<Put, Fault>> {
        if let [event] = events {
            // The plain call says in one go what stands in the way.
            return vec![self.put(tenant, event).await];
        }
        let statements = events.iter().map(|event| Statement::insert(&self.table, event_item(tenant, event)));
        let applied = self.table.execute(statements.collect(), "storing events").await;
        let mut results = Vec::with_capacity(events.len());
        for (event, applied) in events.iter().zip(applied) {
            results.push(match applied {
                Ok(Applied::Yes) => Ok(Put::New),
                Ok(Applied::No(_)) => self.existing(tenant, event.id).await,
                Err(fault) => Err(fault),
            });
        }
        results
    }

    async fn existing(&self, tenant: &TenantId, id: EventId) -> Result<Put, Fault> {
        let stored = self.get(tenant, id).await?;
        let gone = || Fault::new("storing an event", "it exists and then it does not");
        Ok(Put::Exists(Box::new(stored.ok_or_else(gone)?)))
    }

    async fn put(&self, tenant: &TenantId, event: &StoredEvent) -> Result<Put, Fault> {
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
                Some(PutItemError::ConditionalCheckFailedException(failed)) => match &failed.item {
                    Some(item) => Ok(Put::Exists(Box::new(read_event(event.id, item)?))),
                    None => self.existing(tenant, event.id).await,
                },
                _ => Err(Fault::on("storing an event")(error)),
            },
        }
    }

    /// One event, read consistently.
    pub async fn get(&self, tenant: &TenantId, id: EventId) -> Result<Option<StoredEvent>, Fault> {
        let item = self.get_item(keys::event(tenant, id)).await?;
        item.map(|item| read_event(id, &item)).transpose()
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

    /// Up to `limit` places of one shard of one day of a tenant's timeline, of what was accepted after
    /// `from` and until `to`, in order. `after` is the place behind which a walk goes on.
    pub async fn timeline_chunk(
        &self,
        tenant: &TenantId,
        (day, shard): (i64, u8),
        (from, to): (Timestamp, Timestamp),
        after: Option<&str>,
        limit: i32,
    ) -> Result<TimelineChunk, Fault> {
        // The place begins with the time, and `~` sorts behind what follows it; so it does behind a
        // whole place, since none begins with another.
        let end = |at: Timestamp| format!("{:015}~", at.millis());
        let first = after.map_or_else(|| end(from), |place| format!("{place}~"));
        let last = end(to);
        if first > last {
            // DynamoDB refuses bounds in the wrong order.
            return Ok(TimelineChunk::default());
        }
        let pk = keys::timeline_partition(tenant, day, shard);
        let answer = self
            .table
            .client
            .query()
            .table_name(&self.table.name)
            .index_name("timeline")
            .key_condition_expression("timeline_pk = :pk AND timeline_sk BETWEEN :first AND :last")
            .expression_attribute_values(":pk", AttributeValue::S(pk))
            .expression_attribute_values(":first", AttributeValue::S(first))
            .expression_attribute_values(":last", AttributeValue::S(last))
            .projection_expression("timeline_sk")
            .limit(limit)
            .send()
            .await
            .map_err(Fault::on("listing events"))?;
        let places = answer.items().iter().map(|item| text(item, "timeline_sk").map(ToOwned::to_owned));
        let places: Vec<_> = places.collect::<Result<_, _>>()?;
        let more = answer.last_evaluated_key.is_some() && !places.is_empty();
        Ok(TimelineChunk { places, more })
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

    pub(super) async fn get_item(&self, key: keys::Key) -> Result<Option<Item>, Fault> {
        self.table.get(key, true, "reading the events table").await
    }
}

fn event_item(tenant: &TenantId, event: &StoredEvent) -> Item {
    let (pk, sk) = keys::event(tenant, event.id);
    let (day, place) = keys::timeline(tenant, event.id, event.at);
    let mut item = Item::from([
        ("pk".to_owned(), AttributeValue::S(pk)),
        ("sk".to_owned(), AttributeValue::S(sk)),
        ("type".to_owned(), AttributeValue::S(event.event_type.to_string())),
        ("timestamp".to_owned(), number(event.timestamp.millis())),
        ("at".to_owned(), number(event.at.millis())),
        ("fingerprint".to_owned(), AttributeValue::B(Blob::new(event.fingerprint))),
        ("timeline_pk".to_owned(), AttributeValue::S(day)),
        ("timeline_sk".to_owned(), AttributeValue::S(place)),
        ("expires_at".to_owned(), expires_at(event.at)),
    ]);
    write_payload(&mut item, &event.payload);
    match &event.snapshot {
        Snapshot::Inline(targets) => write_targets(&mut item, targets),
        Snapshot::Pages { id, count } => {
            item.insert("pages".to_owned(), number(i64::from(*count)));
            item.insert("snapshot".to_owned(), AttributeValue::S(id.clone()));
        }
    }
    if !event.channels.is_empty() {
        let names = event.channels.iter().map(|channel| AttributeValue::S(channel.as_str().to_owned()));
        item.insert("channels".to_owned(), AttributeValue::L(names.collect()));
    }
    if let Some(source) = event.source_id {
        item.insert("source_id".to_owned(), AttributeValue::S(source.to_string()));
    }
    item
}

fn write_payload(item: &mut Item, payload: &Payload) {
    let mut put = |name: &str, value| item.insert(name.to_owned(), value);
    match payload {
        Payload::Here { encoded: Some(Encoded { encoding: Encoding::Deflate, bytes }), .. } => {
            put("payload_deflated", AttributeValue::B(Blob::new(bytes.clone())));
        }
        Payload::Here { json, .. } => {
            put("payload", AttributeValue::S(json.get().to_owned()));
        }
        Payload::Object { key, encoding } => {
            put("payload_key", AttributeValue::S(key.clone()));
            put("payload_encoding", AttributeValue::S(encoding.as_str().to_owned()));
        }
    }
}

fn read_payload(item: &Item) -> Result<Payload, Fault> {
    let here = |json| Payload::Here { json, encoded: None };
    if item.contains_key("payload_key") {
        let encoding: Encoding =
            text(item, "payload_encoding")?.parse().map_err(|_| odd("payload_encoding"))?;
        Ok(Payload::Object { key: text(item, "payload_key")?.to_owned(), encoding })
    } else if let Some(blob) = item.get("payload_deflated").and_then(|value| value.as_b().ok()) {
        decode(Encoding::Deflate, blob.as_ref().to_vec()).map(here)
    } else {
        decode(Encoding::Plain, text(item, "payload")?.as_bytes().to_vec()).map(here)
    }
}

fn decode(encoding: Encoding, bytes: Vec<u8>) -> Result<Box<RawValue>, Fault> {
    const DOING: &str = "reading a payload";
    let json = payload::decode(encoding, bytes, s3::LIMIT).map_err(Fault::on(DOING))?;
    RawValue::from_string(json).map_err(|_| Fault::new(DOING, "it is no JSON"))
}

/// The operator's endpoints stand apart: they are looked up elsewhere.
fn write_targets(item: &mut Item, targets: &[Target]) {
    for (name, operator) in [("endpoints", false), ("operator_endpoints", true)] {
        let ids = targets.iter().filter(|target| target.operator == operator);
        let ids: Vec<_> = ids.map(|target| AttributeValue::S(target.endpoint.to_string())).collect();
        if !ids.is_empty() || !operator {
            item.insert(name.to_owned(), AttributeValue::L(ids));
        }
    }
}

fn read_targets(item: &Item) -> Result<Vec<Target>, Fault> {
    let mut targets = Vec::new();
    for (name, operator) in [("endpoints", false), ("operator_endpoints", true)] {
        let ids = item.get(name).and_then(|value| value.as_l().ok()).map(Vec::as_slice).unwrap_or_default();
        for id in ids {
            let endpoint = id.as_s().ok().and_then(|id| id.parse().ok()).ok_or_else(|| odd(name))?;
            targets.push(Target { endpoint, operator });
        }
    }
    Ok(targets)
}

fn read_event(id: EventId, item: &Item) -> Result<StoredEvent, Fault> {
    let fingerprint = item.get("fingerprint").and_then(|value| value.as_b().ok());
    let snapshot = if item.contains_key("pages") {
        Snapshot::Pages { id: text(item, "snapshot")?.to_owned(), count: integer(item, "pages")? }
    } else {
        Snapshot::Inline(read_targets(item)?)
    };
    Ok(StoredEvent {
        id,
        event_type: parsed(item, "type")?,
        timestamp: millis(item, "timestamp")?,
        at: millis(item, "at")?,
        source_id: source_id(item)?,
        payload: read_payload(item)?,
        fingerprint: fingerprint
            .and_then(|blob| blob.as_ref().try_into().ok())
            .ok_or_else(|| odd("fingerprint"))?,
        snapshot,
        channels: channels(item)?,
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

/// Events on no channel have no such attribute, as all had before there were any.
fn channels(item: &Item) -> Result<Channels, Fault> {
    let Some(names) = item.get("channels") else { return Ok(Channels::new()) };
    let names = names.as_l().map_err(|_| odd("channels"))?;
    let channel = |name: &AttributeValue| name.as_s().ok().and_then(|name| name.parse().ok());
    names.iter().map(|name| channel(name).ok_or_else(|| odd("channels"))).collect()
}

fn source_id(item: &Item) -> Result<Option<SourceId>, Fault> {
    if item.contains_key("source_id") { parsed(item, "source_id").map(Some) } else { Ok(None) }
}
