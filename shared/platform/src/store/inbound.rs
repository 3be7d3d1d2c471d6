//! The log of inbound requests, in the events table: one row for each, with its body.
//!
//! A row's partition is made of the tenant and of the time that the id begins with, so a request is found by its id
//! alone, and the newest ones by day. Rows of one source are filtered while they are read.

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use domain::{
    InboundRequestId, SourceId, TenantId, Timestamp,
    delivery::Retention,
    event::payload::{self, EncodedPayload, Encoding},
    inbound::record::{RECORDED_EVENT_COUNT_LIMIT, RecordedEvent, RequestRecord, RequestStatus},
    saturating,
};
use futures_util::future::try_join_all;
use sha2::{Digest, Sha256};

use super::table::{
    Item, Table,
    attributes::{expires_at, number, parsed, text},
    keys::{self, INBOUND_SHARDS},
    rows,
    statements::StatementOutcome,
    update_if,
};
use crate::{
    Fault,
    aws::s3::{self, Objects},
};

/// The largest body that an item holds as it is stored, in bytes: DynamoDB allows 400 KB in all.
const ITEM_LIMIT: usize = 200 * 1024;

/// What a row takes besides its body, in bytes.
const ITEM_OVERHEAD: usize = 900;

/// How long the record of a refused request is kept.
const REFUSAL_KEPT_SECS: i64 = 24 * 3600;

/// Queries of one call of the list. A source that gets one of a thousand of its tenant's requests has short pages.
const LIST_QUERY_LIMIT: usize = 40;

/// The attributes of a body.
const BODY: [&str; 4] = ["body", "body_deflated", "body_key", "body_encoding"];

/// Which requests a list shows.
#[derive(Debug, Clone, Copy, Default)]
pub struct InboundFilter {
    /// Those at one source.
    pub source: Option<SourceId>,
    /// Those with one status.
    pub status: Option<RequestStatus>,
}

/// A part of the list of inbound requests.
#[derive(Debug)]
pub struct InboundPage {
    /// The newest first.
    pub records: Vec<RequestRecord>,
    /// Where the list continues; nothing at its end.
    pub next: Option<InboundRequestId>,
}

/// The inbound requests of tenants.
#[derive(Debug, Clone)]
pub struct InboundRequests {
    table: Table,
    objects: Objects,
}

impl InboundRequests {
    pub(crate) fn new(table: Table, objects: Objects) -> Self {
        Self { table, objects }
    }

    /// Keeps a request for so long. The body of a refused one is not passed, and its record goes after a day.
    pub async fn put(
        &self,
        tenant: &TenantId,
        record: &RequestRecord,
        body: Option<&[u8]>,
        retention: Retention,
    ) -> Result<(), Fault> {
        let mut item = rows::item(keys::inbound_request(tenant, record.id), record)?;
        let at = record.created_at();
        let expires = match record.status {
            RequestStatus::Refused => number(at.secs() + REFUSAL_KEPT_SECS),
            _ => expires_at(at, retention),
        };
        item.insert("expires_at".to_owned(), expires);
        if let Some(body) = body.filter(|body| !body.is_empty()) {
            self.write_body(&mut item, (tenant, record.id), body, retention).await?;
        }
        match self.table.insert(&item, "logging an inbound request").await? {
            StatementOutcome::Applied => Ok(()),
            StatementOutcome::ConditionFailed(_) => {
                Err(Fault::new("logging an inbound request", "its id exists"))
            }
        }
    }

    async fn write_body(
        &self,
        item: &mut Item,
        (tenant, id): (&TenantId, InboundRequestId),
        body: &[u8],
        retention: Retention,
    ) -> Result<(), Fault> {
        let EncodedPayload { encoding, bytes } = payload::encode_bytes(body, ITEM_OVERHEAD);
        if bytes.len() <= ITEM_LIMIT {
            let name = match encoding {
                Encoding::Plain => "body",
                Encoding::Deflate => "body_deflated",
            };
            item.insert(name.to_owned(), AttributeValue::B(Blob::new(bytes)));
            return Ok(());
        }
        let digest = HEXLOWER.encode(&Sha256::digest(&bytes));
        let key = format!("{}{id}/{digest}", s3::payload_prefix(tenant, retention));
        self.objects.put(&key, bytes).await?;
        item.insert("body_key".to_owned(), AttributeValue::S(key));
        item.insert("body_encoding".to_owned(), AttributeValue::S(encoding.as_str().to_owned()));
        Ok(())
    }

    /// One request with its body, read consistently. The body is nothing where it was not kept.
    pub async fn get(
        &self,
        tenant: &TenantId,
        id: InboundRequestId,
    ) -> Result<Option<(RequestRecord, Option<Bytes>)>, Fault> {
        const DOING: &str = "reading an inbound request";
        let Some(mut item) = self.table.get(keys::inbound_request(tenant, id), true, DOING).await? else {
            return Ok(None);
        };
        let body = self.read_body(&item).await?;
        item.retain(|name, _| !BODY.contains(&name.as_str()));
        let record: RequestRecord = serde_dynamo::from_item(item).map_err(Fault::on(DOING))?;
        let is_empty = record.body_size == 0 && record.status != RequestStatus::Refused;
        Ok(Some((record, body.map(Bytes::from).or_else(|| is_empty.then(Bytes::new)))))
    }

    async fn read_body(&self, item: &Item) -> Result<Option<Vec<u8>>, Fault> {
        const DOING: &str = "reading the body of an inbound request";
        let bytes = |name: &str| item.get(name).and_then(|value| value.as_b().ok()).map(Blob::as_ref);
        let (encoding, bytes) = if item.contains_key("body_key") {
            let key = text(item, "body_key")?;
            let bytes = self.objects.get(key).await?;
            let missing = || Fault::new(DOING, "the object is missing");
            (parsed(item, "body_encoding")?, bytes.ok_or_else(missing)?)
        } else if let Some(bytes) = bytes("body_deflated") {
            (Encoding::Deflate, bytes.to_vec())
        } else if let Some(bytes) = bytes("body") {
            (Encoding::Plain, bytes.to_vec())
        } else {
            return Ok(None);
        };
        payload::decode_bytes(encoding, bytes, s3::OBJECT_LIMIT).map(Some).map_err(Fault::on(DOING))
    }

    /// Adds events to the record of a request: those of a replay. Nothing happens where the record has expired, or names
    /// as many as its row has room for.
    pub async fn add_events(
        &self,
        tenant: &TenantId,
        id: InboundRequestId,
        events: &[RecordedEvent],
    ) -> Result<(), Fault> {
        const DOING: &str = "logging the events of a replay";
        let events = events.get(..RECORDED_EVENT_COUNT_LIMIT).unwrap_or(events);
        let events: AttributeValue = serde_dynamo::to_attribute_value(events).map_err(Fault::on(DOING))?;
        let update = self
            .table
            .update(keys::inbound_request(tenant, id))
            .update_expression("SET #events = list_append(if_not_exists(#events, :none), :events)")
            .condition_expression(
                "attribute_exists(pk) AND (attribute_not_exists(#events) OR size(#events) < :limit)",
            )
            .expression_attribute_names("#events", "events")
            .expression_attribute_values(":limit", number(saturating(RECORDED_EVENT_COUNT_LIMIT)))
            .expression_attribute_values(":none", AttributeValue::L(Vec::new()))
            .expression_attribute_values(":events", events);
        update_if(update, DOING).await.map(|_| ())
    }

    /// Requests of a tenant, the newest first: up to `limit` of those before `before`, down to the day `oldest`.
    ///
    /// Walks the log day by day, all shards of a day at once. It stops when the page is full, or after
    /// [`LIST_QUERY_LIMIT`] queries, and then a page is shorter than its limit.
    pub async fn list(
        &self,
        tenant: &TenantId,
        filter: InboundFilter,
        before: Option<InboundRequestId>,
        (newest, oldest): (Timestamp, Timestamp),
        limit: usize,
    ) -> Result<InboundPage, Fault> {
        let mut records: Vec<RequestRecord> = Vec::new();
        let mut queries = 0;
        // A cursor is the client's: one from the future would walk through empty days.
        let mut day = before.map_or(newest, |id| id.created_at().min(newest)).day();
        let mut before = before;
        loop {
            let wanted = limit - records.len();
            let shards = (0..INBOUND_SHARDS)
                .map(|shard| self.chunk(keys::inbound_partition(tenant, day, shard), filter, before, wanted));
            let chunks = try_join_all(shards).await?;
            queries += chunks.len();
            // Below the place where a shard stopped, rows may be missing.
            let floor = chunks.iter().filter_map(|chunk| chunk.stopped_at).max();
            let mut of_day: Vec<_> = chunks.into_iter().flat_map(|chunk| chunk.records).collect();
            of_day.retain(|record| floor.is_none_or(|floor| record.id >= floor));
            of_day.sort_unstable_by_key(|record| std::cmp::Reverse(record.id));
            let cut = of_day.len() > wanted;
            of_day.truncate(wanted);
            let last = of_day.last().map(|record| record.id);
            records.extend(of_day);
            let continues_before = if cut { last } else { floor };
            match continues_before {
                Some(place) if records.len() >= limit || queries >= LIST_QUERY_LIMIT => {
                    return Ok(InboundPage { records, next: Some(place) });
                }
                Some(place) => before = Some(place),
                None => {
                    day -= 1;
                    if day < oldest.day() {
                        return Ok(InboundPage { records, next: None });
                    }
                    if records.len() >= limit || queries >= LIST_QUERY_LIMIT {
                        let next = InboundRequestId::first_of_day(day + 1);
                        return Ok(InboundPage { records, next: Some(next) });
                    }
                }
            }
        }
    }

    /// One query of one shard of one day.
    async fn chunk(
        &self,
        pk: String,
        filter: InboundFilter,
        before: Option<InboundRequestId>,
        limit: usize,
    ) -> Result<Chunk, Fault> {
        const DOING: &str = "listing inbound requests";
        // `~` sorts behind every id.
        let end = before.map_or_else(|| "~".to_owned(), |id| id.to_string());
        let mut query = self
            .table
            .query()
            .key_condition_expression("pk = :pk AND sk < :end")
            .expression_attribute_values(":pk", AttributeValue::S(pk))
            .expression_attribute_values(":end", AttributeValue::S(end))
            .scan_index_forward(false);
        let mut conditions = Vec::new();
        if let Some(source) = filter.source {
            conditions.push("source_id = :source");
            query = query.expression_attribute_values(":source", AttributeValue::S(source.to_string()));
        }
        if let Some(status) = filter.status {
            conditions.push("#status = :status");
            query = query
                .expression_attribute_names("#status", "status")
                .expression_attribute_values(":status", AttributeValue::S(status.as_str().to_owned()));
        }
        // Unfiltered, the limit is that of rows; filtered, DynamoDB stops after a megabyte.
        query = match conditions.as_slice() {
            [] => query.limit(saturating::<i32>(limit).saturating_add(1)),
            conditions => query.filter_expression(conditions.join(" AND ")),
        };
        let response = query.send().await.map_err(Fault::on(DOING))?;
        let stopped_at = response.last_evaluated_key.as_ref().map(|key| parsed(key, "sk")).transpose()?;
        let record = |mut item: Item| {
            item.retain(|name, _| !BODY.contains(&name.as_str()));
            serde_dynamo::from_item(item).map_err(Fault::on(DOING))
        };
        let records = response.items.unwrap_or_default().into_iter().map(record);
        Ok(Chunk { records: records.collect::<Result<_, _>>()?, stopped_at })
    }
}

/// What one query found.
struct Chunk {
    records: Vec<RequestRecord>,
    /// The last row that was read, where more may follow.
    stopped_at: Option<InboundRequestId>,
}
