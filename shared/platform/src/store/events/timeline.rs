//! The timeline: a tenant's events by the time at which they were accepted.

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{EventId, SourceId, TenantId, Timestamp, event::EventType, saturating};
use futures_util::future::try_join_all;

use crate::{
    Fault,
    store::table::{
        Item, Table,
        attributes::{malformed, millis, optional, parsed, text},
        keys::{self, TIMELINE_SHARDS},
    },
};

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

/// Tenants' events in order of time.
#[derive(Debug, Clone)]
pub struct Timeline {
    table: Table,
}

impl Timeline {
    pub(crate) fn new(table: Table) -> Self {
        Self { table }
    }

    /// A tenant's events, newest first: those before `before`, down to the day `oldest` and none before `since`.
    ///
    /// Walks the timeline day by day, all shards of a day at once, and stops when the page is full.
    pub async fn list(
        &self,
        tenant: &TenantId,
        newest: Timestamp,
        before: Option<(Timestamp, EventId)>,
        (oldest, since): (Timestamp, Option<Timestamp>),
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
            of_day.retain(|event| since.is_none_or(|since| event.at >= since));
            of_day.sort_by_key(|event| std::cmp::Reverse((event.at, event.id)));
            of_day.truncate(wanted);
            found.extend(of_day);
            day -= 1;
        }
        Ok(found)
    }

    /// Up to `limit` places of one shard of one day of a tenant's timeline, of what was accepted after
    /// `from` and until `to`, in order. `after` is the place behind which a walk continues.
    pub async fn chunk(
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
        let response = self
            .table
            .query()
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
        let places = response.items().iter().map(|item| text(item, "timeline_sk").map(ToOwned::to_owned));
        let places: Vec<_> = places.collect::<Result<_, _>>()?;
        let more = response.last_evaluated_key.is_some() && !places.is_empty();
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
        let response = self
            .table
            .query()
            .index_name("timeline")
            .key_condition_expression("timeline_pk = :pk AND timeline_sk < :end")
            .expression_attribute_values(
                ":pk",
                AttributeValue::S(keys::timeline_partition(tenant, day, shard)),
            )
            .expression_attribute_values(":end", AttributeValue::S(end))
            .scan_index_forward(false)
            .limit(saturating::<i32>(limit))
            .send()
            .await
            .map_err(Fault::on("listing events"))?;
        response.items().iter().map(read_summary).collect()
    }
}

fn read_summary(item: &Item) -> Result<EventSummary, Fault> {
    let place = keys::parse_timeline_place(text(item, "timeline_sk")?);
    let (at, id) = place.ok_or_else(|| malformed("timeline_sk"))?;
    Ok(EventSummary {
        id,
        at,
        event_type: parsed(item, "type")?,
        timestamp: millis(item, "timestamp")?,
        source_id: optional(item, "source_id", parsed)?,
    })
}
