//! Events with their payloads, each stored once and never changed.

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use domain::{
    EventId, InboundRequestId, SourceId, TenantId, Timestamp,
    delivery::{Retention, lane},
    event::{
        EventData, EventType,
        channel::Channels,
        payload::{self, EncodedPayload, Encoding},
    },
};
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::pages::{Snapshot, read_snapshot, write_targets};
use crate::{
    Fault,
    aws::s3::{self, Objects},
    store::table::{
        Item, Table,
        attributes::{expires_at, malformed, millis, number, optional, parsed, retention, text},
        keys,
        statements::{Statement, StatementOutcome},
    },
};

/// The largest payload that an item holds as it is stored, in bytes: DynamoDB allows 400 KB in all.
const ITEM_LIMIT: usize = 200 * 1024;

/// Events read concurrently that were stored before.
const EXISTING_READS: usize = 16;

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
    /// How long it is kept from then on.
    pub retention: Retention,
    /// The source it came in by, if any.
    pub source_id: Option<SourceId>,
    /// The request it came with first, if any.
    pub inbound_request_id: Option<InboundRequestId>,
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
        encoded: Option<EncodedPayload>,
    },
    /// It is an object of its own, since an item has no room for it.
    Object {
        /// The object's key.
        key: String,
        /// How it is encoded there.
        encoding: Encoding,
    },
}

impl StoredEvent {
    /// Whether the payload fits into a message.
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

/// The result of storing an event.
#[derive(Debug)]
pub enum PutOutcome {
    /// It was stored.
    New,
    /// This event, or another under the same key, was stored before.
    Exists(Box<StoredEvent>),
}

/// Events and their payloads.
#[derive(Debug, Clone)]
pub struct StoredEvents {
    table: Table,
    objects: Objects,
}

impl StoredEvents {
    /// The events in this table, with the payloads in this bucket that it has no room for.
    pub(crate) fn new(table: Table, objects: Objects) -> Self {
        Self { table, objects }
    }

    /// Makes the payload of an event ready to be stored with it. A large one is stored here, since
    /// the item that points to it must never be there before it is.
    pub async fn store_payload(
        &self,
        tenant: &TenantId,
        event: EventId,
        json: Box<RawValue>,
        retention: Retention,
    ) -> Result<Payload, Fault> {
        let encoded = payload::encode(json.get(), ITEM_OVERHEAD);
        if encoded.bytes.len() <= ITEM_LIMIT {
            return Ok(Payload::Here { json, encoded: Some(encoded) });
        }
        let EncodedPayload { encoding, bytes } = encoded;
        let key = s3::payload_key(tenant, event, &Sha256::digest(&bytes).into(), retention);
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
                decode(encoding, bytes.ok_or_else(|| Fault::new(DOING, "the object is missing"))?)
            }
        }
    }

    /// Stores events, each unless there is one under its id, and returns the result for each.
    pub async fn put_all(&self, tenant: &TenantId, events: &[StoredEvent]) -> Vec<Result<PutOutcome, Fault>> {
        if let [event] = events {
            // The plain call also returns the existing row.
            return vec![self.put(tenant, event).await];
        }
        let statements = events.iter().map(|event| Statement::insert(&self.table, event_item(tenant, event)));
        let applied = self.table.execute(statements.collect(), "storing events").await;
        let ids: Vec<_> = events.iter().map(|event| event.id).collect();
        let results = ids.into_iter().zip(applied).map(|(id, applied)| async move {
            match applied {
                Ok(StatementOutcome::Applied) => Ok(PutOutcome::New),
                Ok(StatementOutcome::ConditionFailed(_)) => self.existing(tenant, id).await,
                Err(fault) => Err(fault),
            }
        });
        // Concurrently, since all events of a repeated batch exist.
        stream::iter(results).buffered(EXISTING_READS).collect().await
    }

    async fn existing(&self, tenant: &TenantId, id: EventId) -> Result<PutOutcome, Fault> {
        let stored = self.get(tenant, id).await?;
        let missing = || Fault::new("storing an event", "it exists, but cannot be found");
        Ok(PutOutcome::Exists(Box::new(stored.ok_or_else(missing)?)))
    }

    async fn put(&self, tenant: &TenantId, event: &StoredEvent) -> Result<PutOutcome, Fault> {
        match self.table.insert(&event_item(tenant, event), "storing an event").await? {
            StatementOutcome::Applied => Ok(PutOutcome::New),
            StatementOutcome::ConditionFailed(Some(item)) => {
                Ok(PutOutcome::Exists(Box::new(read_event(event.id, &item)?)))
            }
            StatementOutcome::ConditionFailed(None) => self.existing(tenant, event.id).await,
        }
    }

    /// One event, read consistently.
    pub async fn get(&self, tenant: &TenantId, id: EventId) -> Result<Option<StoredEvent>, Fault> {
        let item = self.table.get(keys::event(tenant, id), true, "reading an event").await?;
        item.map(|item| read_event(id, &item)).transpose()
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
        ("created_at".to_owned(), number(event.at.millis())),
        ("fingerprint".to_owned(), AttributeValue::B(Blob::new(event.fingerprint))),
        ("timeline_pk".to_owned(), AttributeValue::S(day)),
        ("timeline_sk".to_owned(), AttributeValue::S(place)),
        ("expires_at".to_owned(), expires_at(event.at, event.retention)),
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
    if let Some(request) = event.inbound_request_id {
        item.insert("inbound_request_id".to_owned(), AttributeValue::S(request.to_string()));
    }
    item
}

fn write_payload(item: &mut Item, payload: &Payload) {
    let mut put = |name: &str, value| item.insert(name.to_owned(), value);
    match payload {
        Payload::Here { encoded: Some(EncodedPayload { encoding: Encoding::Deflate, bytes }), .. } => {
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
        let encoding: Encoding = parsed(item, "payload_encoding")?;
        Ok(Payload::Object { key: text(item, "payload_key")?.to_owned(), encoding })
    } else if let Some(blob) = item.get("payload_deflated").and_then(|value| value.as_b().ok()) {
        decode(Encoding::Deflate, blob.as_ref().to_vec()).map(here)
    } else {
        decode(Encoding::Plain, text(item, "payload")?.as_bytes().to_vec()).map(here)
    }
}

fn decode(encoding: Encoding, bytes: Vec<u8>) -> Result<Box<RawValue>, Fault> {
    const DOING: &str = "reading a payload";
    let json = payload::decode(encoding, bytes, s3::OBJECT_LIMIT).map_err(Fault::on(DOING))?;
    RawValue::from_string(json).map_err(|_| Fault::new(DOING, "it is not JSON"))
}

fn read_event(id: EventId, item: &Item) -> Result<StoredEvent, Fault> {
    let fingerprint = item.get("fingerprint").and_then(|value| value.as_b().ok());
    let at = millis(item, "created_at")?;
    Ok(StoredEvent {
        id,
        event_type: parsed(item, "type")?,
        timestamp: millis(item, "timestamp")?,
        at,
        retention: retention(item, at)?,
        source_id: optional(item, "source_id", parsed)?,
        inbound_request_id: optional(item, "inbound_request_id", parsed)?,
        payload: read_payload(item)?,
        fingerprint: fingerprint
            .and_then(|blob| blob.as_ref().try_into().ok())
            .ok_or_else(|| malformed("fingerprint"))?,
        snapshot: read_snapshot(item)?,
        channels: channels(item)?,
    })
}

/// Events on no channel have no such attribute, as all had before there were any.
fn channels(item: &Item) -> Result<Channels, Fault> {
    let Some(names) = item.get("channels") else { return Ok(Channels::new()) };
    let names = names.as_l().map_err(|_| malformed("channels"))?;
    let channel = |name: &AttributeValue| name.as_s().ok().and_then(|name| name.parse().ok());
    names.iter().map(|name| channel(name).ok_or_else(|| malformed("channels"))).collect()
}
